"""What an experiment will take before its data is there: steps, disk, and the time and memory of its trainings.

Counts and bytes follow from the recipe and from what it says of its data set (``expected``). Hours on a core come from
the rates of committed runs; hours on a GPU are computed from its data sheet, as a bound, and marked so.
"""

import json
from dataclasses import dataclass
from statistics import median

import pandas as pd

from asc_kit import complexity
from asc_kit import config as configuration
from asc_kit.common.errors import InputError
from asc_kit.config import FLOORS, Config
from asc_kit.data import fetch
from asc_kit.run.recipes import Recipe

MEASURED = "results/tut2017_full"  # whose runs tell the rates
READ = 1655  # crops of 8 s a second that one core reads from the disk: results/performance/11_performance.ipynb
SAMPLE = 2  # bytes of a sample in the store


@dataclass(frozen=True)
class Gpu:
    """Peak operations a second in float32 and bfloat16 (T4: float16), bytes a second and bytes: the data sheet's."""

    float32: float
    bfloat16: float
    bandwidth: float
    memory: float


GPUS = {"NVIDIA T4": Gpu(8.1e12, 65e12, 320e9, 16e9), "NVIDIA A100 40 GB": Gpu(19.5e12, 312e12, 1555e9, 40e9)}


def steps(recipe: Recipe) -> pd.DataFrame:
    """step, notebook, times: the jobs of the Snakefile."""
    runs = len(recipe.configs()) + len(recipe.variants())
    rows = [("decode", "01_corpus", 1), ("train and score", "05_train", runs), ("look at a run", "06_evaluate", runs)]
    rows += [("tables", name, 1) for name in recipe.table_notebooks] + [("report", "12_report", 1)]
    return pd.DataFrame(rows, columns=["step", "notebook", "times"])


def disk(recipe: Recipe) -> pd.DataFrame:
    """what, gigabytes, from: archives, unpacked recordings, the decoded store, results."""
    data, runs = _expected(recipe), len(recipe.configs()) + len(recipe.variants())
    archives = fetch.read_registry(fetch.REGISTRY)
    if data["dataset"] not in set(archives.dataset):
        raise InputError(f"{recipe.name}: expected: dataset {data['dataset']!r} is none that fetch knows")
    archives = archives[archives.dataset == data["dataset"]].bytes.astype(int).sum()
    samples = data["seconds"] * recipe.config("4").features.sample_rate
    used = data["training"] + data["evaluation"]
    rows = [
        ("archives", archives, "their published sizes"),
        ("recordings", data["clips"] * samples * data["bytes_a_sample"], "clips x samples x bytes of a sample"),
        ("decoded store", used * samples * SAMPLE, "training and evaluation clips x samples x 2 bytes"),
        ("results", runs * (data["evaluation"] * 200 + 3e6), "predictions, models, checkpoints and notebooks of a run"),
    ]
    table = pd.DataFrame(rows, columns=["what", "gigabytes", "from"])
    return table.assign(gigabytes=table.gigabytes / 1e9)


def trainings(recipe: Recipe) -> pd.DataFrame:
    """A row a network, for all its runs at their whole length.

    Returns
    -------
    submission, runs, epochs, clips : of a run, clips x epochs
    gigaoperations, gigabytes : what a clip's step must at least compute and move
    batch_gigabytes : activations of a batch, the larger part of a GPU's memory
    hours on a core : at the rates of `MEASURED`; empty where there is no such run
    and for each of `GPUS` the hours below which it cannot be, computed
    """
    rows = []
    for name in dict.fromkeys([*recipe.submissions, *(one.submission for _, one in recipe.variants())]):
        config = recipe.config(name)
        if config.architecture.network in FLOORS:
            continue  # seconds
        runs = sum(one.submission == name for one in [*recipe.configs(), *(one for _, one in recipe.variants())])
        batch = config.training.batch_size
        clips = config.training.epochs * _training_clips(recipe, config)
        seconds = config.augmentation.crop_seconds or _expected(recipe)["seconds"]
        operations, kept = (work / 2 for work in complexity.work_of_step(config, 10, 2, seconds))
        row = {"submission": name, "runs": runs, "epochs": config.training.epochs, "clips": clips,
               "gigaoperations": operations / 1e9, "gigabytes": 4 * kept / 1e9, "batch_gigabytes": batch * kept / 1e9,
               "hours on a core": runs * clips / rate / 3600 if (rate := measured(name)) else ""}  # fmt: skip
        for title, gpu in GPUS.items():
            least = max(operations / getattr(gpu, config.training.precision), 4 * kept / gpu.bandwidth, 1 / READ)
            row[f"hours on {title}, at least"] = runs * clips * least / 3600
        rows.append(row)
    return pd.DataFrame(rows)


def _expected(recipe: Recipe) -> dict:
    if not recipe.expected:
        raise InputError(f"{recipe.name}: says nothing of its data set (expected: ...); give dataset_root")
    return recipe.expected


def _training_clips(recipe: Recipe, config: Config) -> int:
    """An epoch's, without the validation part."""
    held = config.training.validation_fraction if config.training.selection == "validation" else 0
    return round(_expected(recipe)["training"] * (1 - held))


def measured(submission: str) -> float | None:
    """Clips a second of a submission's committed runs, the median; from nothing to predictions, two runs at a time."""
    rates = []
    for file in configuration.path(MEASURED).glob(f"submission_{submission}/seed_*/run.json"):
        about = json.loads(file.read_text())
        rates.append(about["epochs"] * about["data"]["training"] / about["seconds"])
    return median(rates) if rates else None


def text(recipe: Recipe) -> str:
    """The plan, for people."""
    work = trainings(recipe)
    total = disk(recipe).gigabytes.sum()
    parts = [
        f"Plan of {recipe.name}: {recipe.title}",
        "Steps, in order",
        steps(recipe).to_string(index=False),
        f"Disk, {total:.0f} GB in all",
        disk(recipe).to_string(index=False, float_format="{:.2f}".format),
        "Training, at its whole length (early stopping ends it sooner)",
        work.set_index("submission").T.to_string(float_format="{:.3g}".format) if len(work) else "floors: seconds",
        f"Hours on a core: measured rates of {MEASURED} (bfloat16, other clips), scaled to this many clips. Hours on a "
        "GPU: computed, not measured: the longest of operations at its peak rate, bytes at its memory's rate, and "
        f"crops read at {READ} a second by one core. On a core a step takes about eleven times that bound.",
    ]
    return "\n\n".join(parts)
