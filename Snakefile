# The order of work: corpus -> train (submission x seed x fold) -> evaluate -> tables -> report, each step a notebook.
#
#   snakemake --cores N --configfile config/NAME.yaml [--config dataset_root=DIR name=NAME submissions='[2]' seeds='[0,1]']
#
# profiles/default/config.yaml adds: go on when a run fails, and go on after a killed workflow. A run of another
# configuration, of other code or on other data is out of date. Checkpoints are no outputs: a failed job's outputs are
# deleted, and a run must be able to go on.
import os
import sys
from dataclasses import replace
from pathlib import Path

from snakemake.exceptions import WorkflowError

from asc_kit import batch
from asc_kit import config as kit
from asc_kit.errors import InputError
from asc_kit.runs import Run

os.environ["OMP_NUM_THREADS"] = "1"  # jobs share the cores; a run sets the threads of its recipe itself
RECIPE = str(workflow.configfiles[0]) if workflow.configfiles else "config/demo.yaml"
OVERRIDES = ("dataset_root", "name", "submissions", "seeds", "results_dir")

try:
    recipe = kit.load(RECIPE)
    given = {k: v for k, v in config.items() if k in OVERRIDES}
    from_file = {k for k in config if k in kit.Recipe.__dataclass_fields__ or k in ("smoke", "results_dir")}
    if set(config) - from_file:
        raise InputError(f"--config: unknown {sorted(set(config) - from_file)[0]!r}; known are {', '.join(OVERRIDES)}")
    several = {k: tuple(v if isinstance(v, list) else [v]) for k, v in given.items() if k in ("submissions", "seeds")}
    recipe = replace(recipe, **several)
    recipe = replace(recipe, submissions=tuple(map(str, recipe.submissions)))
    DATA = given.get("dataset_root") or recipe.dataset_root
    NAME = given.get("name") or recipe.name
    RESULTS = kit.path(given.get("results_dir", "results"))
    RUNS = [Run(recipe, settings, RESULTS / NAME, DATA) for settings in recipe.configs()]
    if not DATA and recipe.synthetic is None:
        raise InputError(f"dataset_root: {NAME} needs a folder of recordings; give it with --config dataset_root=DIR, "
                         f"or make reproduce EXPERIMENT={recipe.name} DATA=DIR")
    if DATA and not (kit.path(DATA) / "meta.csv").is_file():
        raise InputError(f"dataset_root: {kit.path(DATA)} holds no meta.csv; give a data set in the DCASE layout")
except InputError as error:
    sys.exit(f"error: {error}")

HOME = RESULTS / NAME
SHARED = dict(config=str(RECIPE), experiment=NAME, results_dir=str(RESULTS))
LIBRARY = kit.ROOT / "asc_kit"
SCORED = [f"{run.folder}/predictions.tsv" for run in RUNS]
TABLE_BOOKS = ("07_mel_bins", "08_submissions", "12_report")


def of_run(run) -> dict:
    """Notebook parameters of a run."""
    values = dict(submission=run.config.submission, seed=run.config.seed, fold=run.config.fold)
    return SHARED | values | ({"dataset_root": str(DATA)} if DATA else {})


def book(name, output, parameters) -> None:
    try:
        batch.execute(f"notebooks/{name}.ipynb", output, parameters)
    except InputError as error:
        raise WorkflowError(f"error: {error}") from None


def files_state() -> str:
    """Changes with the data set: its own settings, or its lists and audio by name, size and time."""
    if not DATA:
        return f"{recipe.synthetic} {kit.code_digest('data/demo', 'data/sounds')}"
    files = sorted(p for p in kit.path(DATA).rglob("*") if p.is_file())
    return kit.digest(*(f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files))


def summary() -> None:
    """What is there, and the notebook to open for what is not."""
    lines = []
    for run in RUNS:
        whole = (run.folder / "predictions.tsv").exists() and (run.folder / "run.json").exists()
        note = "done" if whole else f"FAILED; open {run.folder / '05_train.ipynb'}"
        lines.append(f"  submission {run.config.submission}, seed {run.config.seed}, fold {run.config.fold}: {note}")
    print("\n".join([f"{NAME}:", *lines, f"  page: {HOME / 'index.html'}"]), file=sys.stderr)


onsuccess:
    summary()


onerror:
    for name in TABLE_BOOKS:  # the tables are made all the same; what is missing is an empty row that says so
        try:
            batch.execute(f"notebooks/{name}.ipynb", HOME / f"{name}.ipynb", SHARED)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
    summary()


rule all:
    input:
        f"{HOME}/index.html",
        [f"{run.folder}/06_evaluate.ipynb" for run in RUNS],


rule corpus:
    output:
        f"{HOME}/truth.tsv",
    log:
        f"{HOME}/01_corpus.ipynb",
    params:
        state=files_state(),
    run:
        book("01_corpus", log[0], SHARED | ({"dataset_root": str(DATA)} if DATA else {}))


for run in RUNS:
    own = f"{run.config.submission}_{run.folder.name}"
    files = ["predictions.tsv", "run.json"] + ["model.safetensors", "history.csv"] * (run.config.submission != "logistic")

    rule:
        name:
            f"train_{own}"
        input:
            f"{HOME}/truth.tsv",
        output:
            [f"{run.folder}/{name}" for name in files],
        log:
            f"{run.folder}/05_train.ipynb",
        params:
            values=of_run(run),
            # changes when the run is out of date: its configuration, or code (not comments)
            identity=f"{run.config.hash} {kit.code_digest(*kit.CODE)}",
        threads: run.config.training.threads
        priority: run.config.features.n_mels  # the longest first, so that the cores end together
        run:
            book("05_train", log[0], params.values)

    rule:
        name:
            f"evaluate_{own}"
        input:
            f"{run.folder}/predictions.tsv",
        output:
            f"{run.folder}/06_evaluate.ipynb",
        params:
            values=of_run(run),
        run:
            book("06_evaluate", output[0], params.values)


rule tables:
    input:
        SCORED,
    output:
        f"{HOME}/{{name}}.ipynb",
    wildcard_constraints:
        name="07_mel_bins|08_submissions",
    run:
        book(wildcards.name, output[0], SHARED)


rule report:
    input:
        SCORED,
        f"{HOME}/07_mel_bins.ipynb",
        f"{HOME}/08_submissions.ipynb",
        sources=[str(p) for p in sorted((LIBRARY / "report").rglob("*")) if p.suffix in (".py", ".csv", ".html")],
    output:
        f"{HOME}/index.html",
        [f"{HOME}/tables/table_{n}.{ending}" for n in range(1, 8) for ending in ("csv", "md")],
    log:
        f"{HOME}/12_report.ipynb",
    run:
        book("12_report", log[0], SHARED)
