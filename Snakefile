# The order of work: corpus -> train (submission x seed x fold) -> evaluate -> tables -> report, each step a notebook.
#
#   snakemake --cores N --configfile config/NAME.yaml [--config dataset_root=DIR responses=DIR name=NAME
#     submissions='[2]' seeds='[0,1]']
#
# profiles/default/config.yaml adds: go on when a run fails, and go on after a killed workflow. A run of another
# configuration, of other code (words and layout do not count) or on other data is out of date; where clips that were
# scored are gone or labelled otherwise, nothing is run: that is another experiment. Checkpoints are no
# outputs: a failed job's outputs are deleted, and a run must be able to go on.
import os
import sys

import nbformat
import yaml
from snakemake.exceptions import WorkflowError

from asc_kit.run import batch, parameters, recipes, truth
from asc_kit import config as kit
from asc_kit.data import corpus as corpora
from asc_kit.common import InputError, locked, replacing
from asc_kit.run.runs import Run

os.environ["OMP_NUM_THREADS"] = "1"  # jobs share the cores; a run sets the threads of its recipe itself
RECIPE = str(workflow.configfiles[0]) if workflow.configfiles else "config/demo.yaml"
OVERRIDES = ("dataset_root", "responses", "name", "submissions", "seeds", "results_dir")

try:
    written = yaml.safe_load(kit.path(RECIPE).read_text())
    typed = parameters.typed(workflow.config_settings.config_args)  # Snakemake itself reads 010 as a number
    given = {k: v for k, v in config.items() if k not in written or written[k] != v} | typed
    unknown = sorted(given.keys() - set(OVERRIDES))
    if unknown:
        raise InputError(f"--config: unknown {unknown[0]!r}; it takes {', '.join(OVERRIDES)}, and the recipe the rest")
    for name in given.keys() & {"dataset_root", "responses", "name", "results_dir"}:
        given[name] = parameters.as_text(name, given[name], typed)
    if "submissions" in typed:
        given["submissions"] = parameters.items(typed["submissions"])
    if "seeds" in typed:
        given["seeds"] = [parameters.read("seeds", seed, int) for seed in parameters.items(typed["seeds"])]
    CHOSEN = {name: given[name] for name in ("responses", "submissions", "seeds") if name in given}
    recipe = recipes.load(RECIPE, **CHOSEN)
    DATA = given.get("dataset_root") or recipe.dataset_root or ""
    OWN = kit.path(RECIPE).with_name("command.json").exists()  # of asc-kit train, which judges the folds itself
    if OWN and (chosen := sorted(given.keys() & {"submissions", "seeds", "name", "results_dir"})):
        raise InputError(f"--config: {chosen[0]}: {RECIPE} is of asc-kit train, which chooses it; see its --help")
    usual = ("held_out", kit.path(RECIPE).parent) if OWN else (recipe.name, "results")
    NAME, RESULTS = given.get("name") or usual[0], kit.path(given.get("results_dir") or usual[1])
    HOME = RESULTS / NAME
    RUNS = [Run(recipe, settings, HOME, DATA) for settings in recipe.configs()]
    RUNS += [Run(recipe, settings, HOME, DATA, variant) for variant, settings in recipe.variants()]
    if not DATA and recipe.expected:
        from asc_kit.run import plan

        print(plan.text(recipe))
        print(f"\nNothing was run: give DATA=DIR once it is there (python -m asc_kit fetch "
              f"{recipe.expected['dataset']} --root DIR)", file=sys.stderr)
        sys.exit(0)
    if not DATA and recipe.synthetic is None:
        raise InputError(f"dataset_root: {NAME} needs a folder of recordings; give it with --config dataset_root=DIR, "
                         f"or make reproduce EXPERIMENT={recipe.name} DATA=DIR")
    CORPUS = corpora.read(kit.path(DATA), recipe.split) if DATA else None
    if CORPUS:  # a clone has no record of what made the runs that came with it
        truth.refuse_other(HOME, CORPUS)
        CORPUS.check_folds(recipe.folds)
    if workflow.is_main_process:  # two at once would delete each other's outputs
        guard = locked(kit.cache() / "locks" / f"{kit.digest(str(HOME))}.workflow",
                       f"{NAME}: another snakemake is working on it; wait for it")
        guard.__enter__()  # held until this process ends
except InputError as error:
    sys.exit(f"error: {error}")

ASKED = str(HOME / "recipe.yaml") if CHOSEN else RECIPE  # the notebooks judge what is missing by it
SHARED = dict(config=ASKED, experiment=NAME, results_dir=str(RESULTS))
WITH_DATA = SHARED | ({"dataset_root": DATA} if DATA else {})
BY_FOLDER = {str(run.folder): run for run in RUNS}
SCORED = [f"{run.folder}/predictions.tsv" for run in RUNS]
TABLE_BOOKS, PAGE = (*recipe.table_notebooks, "12_report"), f"{HOME}/index.html"
WANTED = [PAGE, *(f"{run.folder}/06_evaluate.ipynb" for run in RUNS)]
if OWN:
    TABLE_BOOKS, WANTED = (), SCORED


def of_run(run) -> dict:
    """Notebook parameters of a run."""
    variant = {"variant": run.variant} if run.variant else {}
    return WITH_DATA | dict(submission=run.config.submission, seed=run.config.seed, fold=run.config.fold) | variant


def of_tables(name, predict=False) -> dict:
    """Notebook parameters of a notebook that makes tables; ``predict`` also scores again, which takes the audio."""
    if name == "14_beyond" and predict:
        return WITH_DATA | {"predict": True, "devices": recipe.beyond}
    return SHARED


def memory(settings) -> int:
    """MB of a training, for a cluster: 2.6 kB for each time-frequency bin of a batch, and the libraries.

    results/performance/11_performance.ipynb has what was measured, 2.4 kB; whole clips are taken for 10 s.
    """
    seconds = settings.augmentation.crop_seconds or 10
    frames = settings.training.batch_size * seconds * settings.features.sample_rate / settings.features.hop
    return round(2500 + 0.0026 * frames * settings.features.n_mels)


def book(name, output, parameters) -> None:
    try:
        batch.execute(f"notebooks/{name}.ipynb", output, parameters)
    except InputError as error:
        raise WorkflowError(f"error: {error}") from None


def files_state() -> str:
    """Changes with the data set: its own settings, or its lists and the audio they use by name, size and time."""
    if CORPUS is None:
        return f"{recipe.synthetic} {kit.code_digest('data/demo', 'data/sounds')}"
    status = [(name, (CORPUS.root / name).stat()) for name in CORPUS.used() if (CORPUS.root / name).exists()]
    files = [f"{name} {s.st_size} {s.st_mtime_ns}" for name, s in status]
    return kit.digest(CORPUS.table.to_csv(), str(CORPUS.lists), *files)


def made_by(name) -> str:
    """Changes with a notebook's code, and with the code, template and published numbers that make the tables."""
    cells = nbformat.read(f"{workflow.basedir}/notebooks/{name}.ipynb", as_version=4).cells
    library = ("metrics", "report/evaluation", "report/predictions", "report/tables", "report/words", "report/figures",
               "report/page", "complexity", "report/ablation", "report/beyond", "report/claims", "report/audit",
               "report/score", "run/rescore", "data/demo")
    variants = str((recipe.ablation, recipe.ablation_submission))
    folder = kit.ROOT / "asc_kit" / "report"
    read = [file.read_text() for file in (folder / "page.html", *sorted(folder.glob("published/*.csv")))]
    return kit.digest(recipe.title, variants, *(cell.source for cell in cells), kit.code_digest(*library), *read)


def summary() -> None:
    """What is there, and the notebook to open for what is not."""
    steps = {"corpus": (HOME / "truth.tsv", HOME / "01_corpus.ipynb")}
    for run in RUNS:
        title = f"{run.folder.parent.name.replace('_', ' ', 1)}, seed {run.config.seed}, fold {run.config.fold}"
        steps[title] = (run.folder / "run.json", run.folder / "05_train.ipynb")
        evaluated = run.folder / "06_evaluate.ipynb"
        if str(evaluated) in WANTED:
            steps[f"{title}, evaluation"] = (evaluated, evaluated)
    if PAGE in WANTED:
        steps["page"] = (HOME / "index.html", HOME / "12_report.ipynb")
    print(f"{NAME}:", file=sys.stderr)
    for title, (made, notebook) in steps.items():
        state = "done" if made.exists() else f"FAILED; open {notebook}" if notebook.exists() else "not made"
        print(f"  {title}: {state}", file=sys.stderr)
    print(f"  {PAGE if PAGE in WANTED else HOME}", file=sys.stderr)


STATE, CODE, EVALUATE = files_state(), kit.code_digest(*kit.CODE), made_by("06_evaluate")


onstart:
    if CHOSEN:
        asked = {"name": kit.path(RECIPE).stem} | written | CHOSEN
        if "smoke" in asked:
            asked["smoke"] = {name: value for name, value in asked["smoke"].items() if name not in CHOSEN}
        HOME.mkdir(parents=True, exist_ok=True)
        with replacing(kit.path(ASKED)) as part:
            part.write_text(f"# {RECIPE}, and what --config chose\n{yaml.safe_dump(asked, sort_keys=False)}")


onsuccess:
    summary()


onerror:
    for name in TABLE_BOOKS:  # the tables are made all the same; what is missing is an empty row that says so
        try:
            batch.execute(f"notebooks/{name}.ipynb", HOME / f"{name}.ipynb", of_tables(name))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
    summary()


rule all:
    input:
        WANTED,


rule corpus:
    output:
        f"{HOME}/truth.tsv",
    log:
        f"{HOME}/01_corpus.ipynb",
    params:
        state=STATE,
    run:
        book("01_corpus", log[0], WITH_DATA)


for run in RUNS:
    own = f"{run.folder.parent.name.removeprefix('submission_')}_{run.folder.name}"

    rule:
        name:
            f"train_{own}"
        input:
            ancient(f"{HOME}/truth.tsv"),  # another fold's clips may come in; other data shows in the identity
        output:
            # and models, of which committed runs have those of seed 0 alone
            f"{run.folder}/predictions.tsv",
            f"{run.folder}/run.json",
        log:
            f"{run.folder}/05_train.ipynb",
        params:  # no names of recipe or data folder: another spelling of them is no reason to train again
            folder=str(run.folder),
            identity=f"{run.config.hash} {CODE} {STATE}",
        threads: run.config.training.threads
        resources:
            mem_mb=memory(run.config),
        priority: run.config.features.n_mels  # the longest first, so that the cores end together
        run:
            book("05_train", log[0], of_run(BY_FOLDER[params.folder]))

    rule:
        name:
            f"evaluate_{own}"
        input:
            f"{run.folder}/predictions.tsv",
        output:
            f"{run.folder}/06_evaluate.ipynb",
        params:
            values=of_run(run),
            code=EVALUATE,
        run:
            book("06_evaluate", output[0], params.values)


rule tables:
    input:
        SCORED,
    output:
        f"{HOME}/{{name}}.ipynb",
    wildcard_constraints:
        name="07_mel_bins|08_submissions|13_ablation|14_beyond",
    params:
        code=lambda wildcards: made_by(wildcards.name),
        values=lambda wildcards: of_tables(wildcards.name, predict=True),
    run:
        book(wildcards.name, output[0], params.values)


rule report:
    input:
        SCORED,
        [f"{HOME}/{name}.ipynb" for name in TABLE_BOOKS[:-1]],
    output:
        PAGE,
        [f"{HOME}/tables/table_{n}.{ending}" for n in range(1, 8) for ending in ("csv", "md")],
    log:
        f"{HOME}/12_report.ipynb",
    params:
        code=made_by("12_report"),
    run:
        book("12_report", log[0], SHARED)
