"""What an experiment will take before its data is there: steps, disk, and the hours of its trainings.

Counts and bytes follow from the recipe and from what it says of its data set (``expected``), hours from the rates of
the rehearsal.
"""

import pandas as pd

from asc_kit import config as configuration
from asc_kit.common import InputError
from asc_kit.config import FLOORS
from asc_kit.data import fetch
from asc_kit.run.recipes import Recipe

REHEARSAL = "results/performance/rehearsal.csv"  # tells the rates; benchmarks/rehearsal.py writes it
GPU = "results/performance/gpu.csv"  # of benchmarks/gpu.py, where it was run


def steps(recipe: Recipe) -> pd.DataFrame:
    """step, notebook, times: the jobs of the Snakefile."""
    runs = len(recipe.configs()) + len(recipe.variants())
    rows = [("decode", "01_corpus", 1), ("train and score", "05_train", runs), ("look at a run", "06_evaluate", runs)]
    rows += [("tables", name, 1) for name in recipe.table_notebooks] + [("report", "12_report", 1)]
    return pd.DataFrame(rows, columns=["step", "notebook", "times"])


def disk(recipe: Recipe) -> pd.DataFrame:
    """what, gigabytes, from: archives, unpacked recordings, the decoded store, results."""
    data, runs = recipe.expected, len(recipe.configs()) + len(recipe.variants())
    archives = fetch.read_registry(fetch.REGISTRY).query("dataset == @data['dataset']").bytes
    samples = data["seconds"] * recipe.config("4").features.sample_rate
    used = data["training"] + data["evaluation"]
    rows = [
        ("archives", archives.astype(int).sum(), "their published sizes"),
        ("recordings", data["clips"] * samples * data["bytes_a_sample"], "clips x samples x bytes of a sample"),
        ("decoded store", used * samples * 2, "training and evaluation clips x samples x 2 bytes"),
        ("results", runs * (data["evaluation"] * 200 + 3e6), "predictions, models, checkpoints and notebooks of a run"),
    ]
    table = pd.DataFrame(rows, columns=["what", "gigabytes", "from"])
    return table.assign(gigabytes=table.gigabytes / 1e9)


def trainings(recipe: Recipe) -> pd.DataFrame:
    """A row a network, for all its runs at their whole length.

    Returns
    -------
    submission, runs, epochs
    clips : of a run, clips x epochs, without the validation part
    hours on a core : at the rates that `measured` has; empty where it has none
    hours on a GPU : at the rates of `GPU`, where it is
    """
    rows = []
    runs = pd.Series([one.submission for one in (*recipe.configs(), *(one for _, one in recipe.variants()))])
    for name in runs.unique():
        config = recipe.config(name)
        if config.architecture.network in FLOORS:
            continue  # seconds
        training, count = config.training, runs.eq(name).sum()
        held = training.validation_fraction if training.selection == "validation" else 0
        clips = training.epochs * round(recipe.expected["training"] * (1 - held))
        rate = measured(name)
        rows.append({"submission": name, "runs": count, "epochs": training.epochs, "clips": clips,
                     "hours on a core": count * clips / rate / 3600 if rate else ""})  # fmt: skip
    work, file = pd.DataFrame(rows), configuration.path(GPU)
    if file.exists() and len(work):
        rates = pd.read_csv(file).query("way == 'recipe' and what == 'training'").set_index("system").value
        work["hours on a GPU"] = work.runs * work.clips / work.submission.map(rates) / 3600
    return work


def measured(submission: str) -> float | None:
    """Clips a second of a training beside another: of the rehearsal's epoch with its validation."""
    if not (file := configuration.path(REHEARSAL)).exists():
        return None
    row = pd.read_csv(file).set_index("step").reindex([f"train_{submission}_seed_0"]).iloc[0]
    return None if pd.isna(row.epoch_seconds) else row.clips / row.epoch_seconds


def text(recipe: Recipe) -> str:
    """The plan, for people.

    Raises
    ------
    InputError : the recipe says nothing of its data set.
    """
    if not recipe.expected:
        raise InputError(f"{recipe.name}: says nothing of its data set (expected: ...); give dataset_root")
    work, space = trainings(recipe), disk(recipe)
    parts = [
        f"Plan of {recipe.name}: {recipe.title}",
        "Steps, in order",
        steps(recipe).to_string(index=False),
        f"Disk, {space.gigabytes.sum():.0f} GB in all",
        space.to_string(index=False, float_format="{:.2f}".format),
        "Training, at its whole length (early stopping ends it sooner)",
        work.to_string(index=False, float_format="{:.3g}".format) if len(work) else "floors: seconds",
        f"Hours on a core: rates of one epoch in {REHEARSAL} (float32, as many SYNTHETIC clips).",
    ]
    return "\n\n".join(parts)
