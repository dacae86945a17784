"""The ways a user starts the kit: papermill, python -m asc_kit, Snakemake; and what they say when the input is at fault."""

import json
import os
import re
import subprocess
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from conftest import ROOT, cli, write_corpus

from asc_kit import config
from asc_kit.common import InputError
from asc_kit.data import corpus as corpora
from asc_kit.data.corpus import COLUMNS
from asc_kit.run import batch, recipes
from asc_kit.run.experiment import prepare
from asc_kit.run.runs import Run

RECIPE = {
    "folds": 3, "submissions": [1, "logistic"], "augmentation": {"crop_seconds": 0.5},
    "training": {"epochs": 2, "batch_size": 4, "selection": "none"},
}  # fmt: skip


def start(*command, **options):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT, **options)


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    return file


def test_papermill_alone_trains_a_run(tmp_path, tiny, recipe):
    values = dict(
        config=recipe, submission=1, seed=3, dataset_root=tiny, experiment="mine", results_dir=tmp_path / "r", epochs=1
    )
    flags = [part for name, value in values.items() for part in ("-p", name, value)]
    done = start("papermill", "notebooks/05_train.ipynb", tmp_path / "out.ipynb", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / "r" / "mine" / "submission_1" / "seed_3"
    about = json.loads((folder / "run.json").read_text())
    assert (
        about["epochs"] == 1
        and about["config"]["seed"] == 3
        and len(pd.read_csv(folder / "predictions.tsv", sep="\t")) == 4
    )
    other = write_corpus(
        tmp_path / "other", [(f"audio/{c}-{p}.wav", c, f"{c}{p}", "b") for c in ("bus", "park") for p in (1, 2, 3)]
    )
    (other / "evaluation_setup").mkdir()
    for side, names in (("train", "bus-1 park-1"), ("evaluate", "bus-2 park-2")):  # two clips are in no list
        lines = [f"audio/{name}.wav\t{name.split('-')[0]}" for name in names.split()]
        (other / "evaluation_setup" / f"fold1_{side}.csv").write_text(
            "\n".join(["filename\tscene_label", *lines]) + "\n"
        )
    given = {k: str(v) if k != "seed" else v for k, v in values.items() if k not in ("config", "epochs")}
    batch.execute("notebooks/06_evaluate.ipynb", tmp_path / "06.ipynb", given | {"other_root": str(other)})
    assert json.loads((folder / "predictions_other" / "overall.json").read_text())["n"] == 4
    with pytest.raises(InputError, match=r"seed_8: no such run yet; train it"):
        Run.trained("1", 8, 1, "mine", str(tmp_path / "r"), None, str(tiny), None)  # as 06 begins


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["run", "notebooks/05_train.ipynb", "OUT", "-p", "epoch=1"], 1, "unknown parameter 'epoch'"),
        (["run", "notebooks/99.ipynb", "OUT"], 1, "no such notebook"),
        (["run", "README.md", "OUT"], 1, "README.md: is no notebook"), (["plan", "results/tau2022/figures/by_device.png"], 1, "by_device.png: not YAML"),
        (["run", "notebooks/05_train.ipynb", "OUT", "-p", "epochs"], 1, "must read NAME=VALUE"),
        (["run", "notebooks/05_train.ipynb", "OUT", "-p", "submission=7"], 1, "submission: '7' is unknown"),
        (["run", "notebooks/01_corpus.ipynb", "OUT", "-p", "dataset_root=/nowhere"], 1, "/nowhere: no such folder"),
        (["run"], 2, "Missing argument"), (["nothing"], 2, "No such command"),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_the_exit_status_tells(tmp_path, arguments, status, what):
    out = tmp_path / "out.ipynb"
    done = cli(*[out if a == "OUT" else a for a in arguments])
    assert done.returncode == status and what in done.stderr and "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == (status == 1)


def test_executed_copies_of_equal_runs_are_equal_bytes(tmp_path):
    """And a cell that batches leave out, as an explorer is, keeps its name there."""
    cells = [nbformat.v4.new_code_cell("n: int = 1  # clips", metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell("print(n)"), nbformat.v4.new_markdown_cell("the end"),
             nbformat.v4.new_code_cell("print('seen')", id="explorer", metadata={"tags": ["skip-execution"]})]  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "book.ipynb")
    for name in ("a", "b"):
        batch.execute(tmp_path / "book.ipynb", tmp_path / f"{name}.ipynb", {"n": 2})
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()
    done = {cell.id: cell for cell in nbformat.read(tmp_path / "a.ipynb", as_version=4).cells}
    assert not done["explorer"].outputs and done["3"].outputs[0].text == "2\n"  # the injected cell is the second


@pytest.mark.parametrize("name", ["01_corpus", pytest.param("02_features", marks=pytest.mark.long), "03_augmentation"])
def test_data_notebooks_take_a_corpus_without_devices(tmp_path, name):
    rows = [(f"audio/{c}-{p}.wav", c, f"{c}-{p}", "") for c in ("beach", "cafe/restaurant", "car") for p in range(6)]
    rows = [(name.replace("cafe/", ""), *rest) for name, *rest in rows]
    folder = write_corpus(tmp_path / "plain", rows)
    values = {"dataset_root": str(folder)}
    if name == "01_corpus":
        values |= {"results_dir": str(tmp_path / "r"), "experiment": "plain"}
    batch.execute(f"notebooks/{name}.ipynb", tmp_path / "out.ipynb", values)


def test_the_corpus_notebook_takes_recordings_of_many_clips(tmp_path):
    for number in range(12):  # two classes of six recordings, each of two clips and a half
        file = tmp_path / "mine" / ("bus", "park")[number % 2] / f"place{number // 2}" / "r.wav"
        file.parent.mkdir(parents=True)
        soundfile.write(file, 0.1 * np.random.default_rng(number).standard_normal(25 * 8000), 8000)
    values = {"dataset_root": str(tmp_path / "mine"), "results_dir": str(tmp_path / "r"), "experiment": "mine"}
    batch.execute("notebooks/01_corpus.ipynb", tmp_path / "out.ipynb", values)
    assert len(pd.read_csv(tmp_path / "r" / "mine" / "truth.tsv", sep="\t")) >= 2


def test_parameters_cells_say_type_default_and_meaning_in_15_lines():
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        lines = nbformat.read(file, as_version=4).cells
        lines = next(c for c in lines if "parameters" in c.metadata.get("tags", [])).source.splitlines()
        assert len(lines) <= 15 and all(re.fullmatch(r"\w+: \w+ = [^#]+  # .+", line) for line in lines), file


@pytest.mark.parametrize("file", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda f: f.stem)
def test_notebooks_are_tidy(file):
    """A parameters cell whose lines carry defaults, an assertion, no long cell, and small outputs that name no folder."""
    cells = nbformat.read(file, as_version=4).cells
    code = [c for c in cells if c.cell_type == "code"]
    parameters = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    assert len(parameters) == 1 and parameters[0] is code[0]
    assert any("assert" in c.source for c in code) and cells[0].source.startswith("# ")
    assert all(len(c.source.splitlines()) <= 25 for c in code if c is not parameters[0])
    done = all(c.execution_count for c in code if c.source)
    assert done or file.stem == "11_performance", (
        "committed as executed: make golden"
    )  # results/performance has that run
    assert not any(output.output_type == "error" for c in code for output in c.outputs)
    assert file.stat().st_size < 1_500_000 and "<audio" not in file.read_text()
    kinds = {kind for c in code for output in c.outputs for kind in output.get("data", {})}
    assert not any("widget" in kind for kind in kinds), "no file keeps a widget alive: make golden leaves its words"
    assert str(ROOT) not in file.read_text()


@pytest.mark.parametrize(("seeds", "runs"), [("[0,3]", 4), ("[2]", 2), ("1", 2), ("[x]", 0)])
def test_seeds_and_submissions_are_chosen_on_the_command_line(tmp_path, tiny, recipe, seeds, runs):
    values = [f"dataset_root={tiny}", f"results_dir={tmp_path / 'r'}", "submissions=[1,logistic]", f"seeds={seeds}"]
    done = start("snakemake", "-n", "--cores", 1, "--configfile", recipe, "--config", *values)
    jobs = re.findall(r"^(?:local)?rule (train_\w+):$", done.stdout + done.stderr, re.M)
    assert len(jobs) == runs and (done.returncode == 0) == (runs > 0)
    assert runs or "error: seeds: 'x' is not possible; give a whole number" in done.stderr


def workflow(tmp_path, tiny, recipe):
    """An experiment's folder, and the command that makes it."""
    (tmp_path / "work").mkdir()
    command = ["snakemake", "--cores", 2, "--configfile", recipe, "--directory", tmp_path / "work", "--workflow-profile",
               ROOT / "profiles" / "default", "--snakefile", ROOT / "Snakefile", "--config", f"dataset_root={tiny}",
               "name=mine", f"results_dir={tmp_path / 'r'}"]  # fmt: skip
    return tmp_path / "r" / "mine", command


def test_snakemake_goes_on_without_a_failed_run(tmp_path, tiny, recipe):
    home, command = workflow(tmp_path, tiny, recipe)
    trap = failed_run(home, command)
    trap.rmdir()
    planned = start(*command, "--dry-run")  # the run that failed, and what follows from it; the other stays
    jobs = re.findall(r"^(?:local)?rule (\w+):$", planned.stdout + planned.stderr, re.M)
    assert sorted(jobs) == ["all", "evaluate_1_seed_0", "report", "tables", "tables", "train_1_seed_0"], jobs


def failed_run(home, command):
    """The workflow with a run that fails, whatever it does; what stands in its way."""
    trap = home / "submission_1" / "seed_0" / "checkpoint"
    trap.mkdir(parents=True)
    (trap / "lock").mkdir()  # a file that cannot be opened
    failed = start(*command)
    assert failed.returncode == 1
    assert f"submission 1, seed 0, fold 1: FAILED; open {trap.parent / '05_train.ipynb'}" in failed.stderr
    assert "submission logistic, seed 0, fold 1: done" in failed.stderr
    table = pd.read_csv(home / "tables" / "table_7.csv").set_index("submission")
    assert table.n["logistic"] == 4 and table.n["1"] == 0 and "missing or failed" in table.note["1"]
    assert (home / "index.html").exists() and (trap.parent / "05_train.ipynb").exists()
    return trap / "lock"


@pytest.mark.long
def test_snakemake_completes_a_failed_run_later(tmp_path, tiny, recipe):
    home, command = workflow(tmp_path, tiny, recipe)
    failed_run(home, command).rmdir()
    mended = start(*command)
    assert mended.returncode == 0, mended.stderr[-3000:]
    table = pd.read_csv(home / "tables" / "table_7.csv").set_index("submission")
    assert table.n["1"] == 4 and 0 <= table.accuracy["1"] <= 1
    assert "train_logistic" not in mended.stdout + mended.stderr  # the run that was there stays
    again = start(*command)
    assert again.returncode == 0 and "Nothing to be done" in again.stderr + again.stdout

    planned = start(*command, "seeds=[0,1]", "--dry-run", "--configfile", os.path.relpath(recipe, ROOT))
    jobs = re.findall(r"^(?:local)?rule (train_\w+):$", planned.stdout + planned.stderr, re.M)
    assert sorted(jobs) == ["train_1_seed_1", "train_logistic_seed_1"], planned.stderr[-2000:]  # seed 0 stays

    rows = pd.read_csv(tiny / "meta.csv", sep="\t", dtype=str)[COLUMNS]
    rows.to_csv(home / "truth.tsv", sep="\t", index=False)
    planned = start(*command, "--dry-run")
    assert planned.returncode == 0 and "train_" not in planned.stdout + planned.stderr  # another fold's clips came in
    rows.replace("audio/", "audio/of-others-", regex=True).to_csv(home / "truth.tsv", sep="\t", index=False)
    other = start(*command, "--dry-run")
    assert other.returncode == 1 and f"{home}: holds runs of other recordings (audio/of-others-" in other.stderr


@pytest.mark.long
def test_an_ablation_and_what_goes_beyond_are_added_to_what_is_there(tmp_path, tiny, recipe):
    home, command = workflow(tmp_path, tiny, recipe)
    assert start(*command).returncode == 0
    changed = RECIPE | {
        "beyond": ["b"],
        "ablation_submission": "1",
        "ablation": {"crop": {"mixup": "off"}, "mixup": {"epochs": 1}},
    }
    recipe.write_text(yaml.safe_dump(changed))
    varied = start(*command)
    assert varied.returncode == 0, varied.stderr[-3000:]
    assert "ablation crop, seed 0, fold 1: done" in varied.stderr and "train_1_seed_0" not in varied.stderr
    table = pd.read_csv(home / "tables" / "ablation.csv").set_index("variant")
    assert table.n.tolist() == [4, 4, 4] and table.accuracy_difference.notna().tolist() == [False, True, True]
    assert {"mean over crops", "alone"} == set(pd.read_csv(home / "tables" / "beyond.csv").way)
    assert pd.read_csv(home / "tables" / "simulated_devices.csv").device.tolist() == ["b"]
    page = (home / "index.html").read_text()
    assert all(f'<h2 id="{name}">' in page for name in ("ablation", "beyond", "simulated_devices"))
    assert "figures/simulated_devices.csv" in page and "figures/ablation.csv" in page
    assert json.loads((home / "ablation_mixup/seed_0/run.json").read_text())["config"]["training"]["epochs"] == 1


def test_committed_results_are_not_taken_for_those_of_other_recordings(tiny):
    done = start("make", "-o", "setup", "reproduce", "EXPERIMENT=tut2017", f"DATA={tiny}", "CORES=1 --dry-run")
    assert done.returncode == 2 and "results/tut2017: holds runs of other recordings" in done.stderr
    assert "NAME=mine" in done.stderr
    plan = start("make", "-n", "reproduce", "EXPERIMENT=tut2017", f"DATA={tiny}", "NAME=mine").stdout
    assert f'--config "dataset_root={tiny}" "name=mine"' in plan
    plan = start("make", "-n", "reproduce", f"DATA={tiny}", f"RESPONSES={tiny}").stdout
    assert f'--config "dataset_root={tiny}"  "responses={tiny}"' in plan
    machine = os.environ | {"NAME": "DESKTOP-1"}  # as some systems call the machine
    plan = start("make", "-n", "reproduce", "EXPERIMENT=tut2017", f"DATA={tiny}", env=machine).stdout
    assert f'--config "dataset_root={tiny}"' in plan and "name=" not in plan


def test_what_is_chosen_on_the_command_line_is_what_the_tables_ask_for(tmp_path, tiny, recipe):
    values = [
        f"dataset_root={tiny}",
        f"results_dir={tmp_path / 'r'}",
        "submissions=[logistic]",
        "seeds=[3]",
        "name=mine",
    ]
    command = ["snakemake", "--cores", 1, "--configfile", recipe, "--directory", tmp_path / "work", "--snakefile",
               ROOT / "Snakefile"]  # fmt: skip
    (tmp_path / "work").mkdir()
    assert (
        start(*command, "--config", *values, "-n").returncode == 0 and not (tmp_path / "r").exists()
    )  # writes nothing
    prepare(recipes.load(str(recipe)), corpora.read(tiny), tmp_path / "r" / "mine")  # as 01 does
    done = start(*command, tmp_path / "r" / "mine" / "08_submissions.ipynb", "--config", *values)
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(tmp_path / "r" / "mine" / "tables" / "table_7.csv").set_index("submission")
    assert pd.isna(table.note["logistic"]) and table.n["logistic"] == 4
    assert table.note["1"] == "not part of this experiment"
    assert (tmp_path / "r" / "mine" / "submission_logistic" / "seed_3" / "run.json").exists()


@pytest.mark.parametrize(
    ("config", "what"),
    [(["submission=1"], "unknown 'submission'"), (["training={epochs: 3}"], "unknown 'training'"), (["submissions=[9]"], "submission: '9' is unknown"),
     (["dataset_root=/nowhere"], "/nowhere: no such folder"), (["seeds=[]"], "seeds: []; give one or more"), (["seeds=[0,0]"], "and none twice")],
)  # fmt: skip
def test_snakemake_refuses_before_anything_starts(tmp_path, config, what):
    done = start(
        "snakemake", "--cores", 1, "--configfile", "config/demo.yaml", "--config", f"results_dir={tmp_path}", *config
    )
    assert done.returncode == 1 and what in done.stderr and "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


def test_an_experiment_without_data_says_how_to_name_it(tmp_path):
    done = start(
        "snakemake", "--cores", 1, "--configfile", "config/tut2017.yaml", "--config", f"results_dir={tmp_path}"
    )
    assert done.returncode == 1 and "make reproduce EXPERIMENT=tut2017 DATA=DIR" in done.stderr


def test_a_folder_with_a_space_is_one(tmp_path):
    for name in ("a  b", "a/"):
        assert f'"dataset_root={ROOT / name}"' in start("make", "-n", "reproduce", f"DATA={name}").stdout


def test_tables_follow_the_pages_template_and_the_published_numbers(tmp_path):
    source = (ROOT / "Snakefile").read_text()
    kit = SimpleNamespace(ROOT=tmp_path, digest=config.digest, code_digest=config.code_digest)
    names = dict(kit=kit, nbformat=nbformat, recipe=recipes.Recipe("x"), workflow=SimpleNamespace(basedir=ROOT))
    exec(source[source.index("def made_by") : source.index("def summary")], names)
    folder = tmp_path / "asc_kit" / "report"
    (folder / "published").mkdir(parents=True)
    states = []
    for page, numbers in ("ab", "ab", "cb", "cd"):
        (folder / "page.html").write_text(page)
        (folder / "published" / "table_1.csv").write_text(numbers)
        states.append(names["made_by"]("12_report"))
    assert states[0] == states[1] and len(set(states)) == 3
