"""The plan of an experiment whose data is not there."""

import re
import subprocess
from collections import Counter
from dataclasses import replace

import pytest
from conftest import ROOT, write_corpus

from asc_kit.common import InputError
from asc_kit.data.corpus import read
from asc_kit.run import plan, recipes

REPORT = recipes.load("config/report.yaml")


def snakemake(*arguments, recipe="report"):
    command = ["snakemake", "--cores", "1", "--configfile", f"config/{recipe}.yaml", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_disk_follows_from_the_published_sizes_and_counts():
    sizes = plan.disk(REPORT).set_index("what").gigabytes
    assert sizes["recordings"] == pytest.approx(23035 * 441000 * 3 / 1e9)
    assert sizes["decoded store"] == pytest.approx((13962 + 2968) * 441000 * 2 / 1e9)
    assert 27 < sizes["archives"] < 28  # "27 GB"


def test_work_of_a_step():
    table = plan.trainings(REPORT).set_index("submission")
    assert list(table.index) == ["baseline", "1", "2", "3", "4"]
    assert table.clips["4"] == 500 * round(13962 * 0.85) and table.clips["baseline"] == 200 * round(13962 * 0.7)


def test_hours_on_a_gpu_are_those_of_its_benchmark_where_it_was_run(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "GPU", str(tmp_path / "gpu.csv"))
    assert "hours on a GPU" not in plan.trainings(REPORT)
    (tmp_path / "gpu.csv").write_text(
        "system,way,what,value,unit,limit\n2,recipe,training,2000,clips/s,\n2,bfloat16,training,5000,clips/s,\n"
        "2,recipe,scoring,9000,clips/s,\nbaseline,recipe,training,4000,clips/s,\n")  # fmt: skip
    table = plan.trainings(REPORT).set_index("submission")
    assert table["hours on a GPU"]["2"] == pytest.approx(table.clips["2"] / 2000 / 3600)
    assert table["hours on a GPU"].notna().sum() == 2


def test_hours_on_a_core_are_the_rehearsals_where_there_is_one(tmp_path, monkeypatch):
    file = tmp_path / "rehearsal.csv"
    file.write_text("step,clips,seconds,epoch_seconds\nstore,16930,90,\ntrain_2_seed_0,11868,700,593.4\n")
    monkeypatch.setattr(plan, "REHEARSAL", str(file))
    assert plan.measured("2") == pytest.approx(20) and plan.measured("4") is None
    hours = plan.trainings(REPORT).set_index("submission")["hours on a core"]
    assert hours["2"] == pytest.approx(500 * round(13962 * 0.85) / 20 / 3600) and hours["4"] == ""
    assert f"rates of one epoch in {file}" in plan.text(REPORT)
    file.unlink()
    assert plan.measured("2") is None


def test_an_ablations_trainings_are_planned_whoever_else_is_trained():
    recipe = replace(REPORT, submissions=("4",), ablation={"crop": {"mixup": None}})
    assert plan.trainings(recipe).set_index("submission").runs.to_dict() == {"4": 1, "2": 1}


def test_a_cluster_is_asked_for_more_memory_than_was_measured():
    """results/performance/11_performance.ipynb and the Snakefile's formula, for the report's own step of 160 mel bins."""
    source = (ROOT / "Snakefile").read_text()
    names = {}
    exec(source[source.index("def memory") : source.index("def book")], names)
    assert names["memory"](REPORT.config("4")) > 13556 + 1000  # 11_performance's peak, and what a job has beside it


def test_a_recipe_that_says_nothing_of_its_data_is_refused():
    with pytest.raises(InputError, match="tut2017: says nothing of its data set"):
        plan.text(recipes.load("config/tut2017.yaml"))


def test_floors_alone_have_a_plan():
    assert "floors: seconds" in plan.text(recipes.load("config/report.yaml", submissions=["logistic"]))


def test_without_data_the_workflow_is_the_plan():
    done = snakemake()
    assert done.returncode == 0 and plan.text(REPORT) in done.stdout
    assert "Nothing was run: give DATA=DIR" in done.stderr and not (ROOT / "results" / "report").exists()


@pytest.mark.parametrize("recipe", ["report", "tut2017_full"])  # the second has an ablation, and what goes beyond
def test_the_plans_steps_are_the_workflows_jobs(tmp_path, recipe):
    """A dry run on a made-up data set of the same layout has the jobs that the plan counts."""
    rows = [(f"audio/{c}-{p}.wav", c, f"{c}-{p}", "a") for c in ("park", "tram") for p in range(6)]
    root = write_corpus(tmp_path / "data", rows)
    assert read(root).labelled
    done = snakemake("-n", "--config", f"dataset_root={root}", f"results_dir={tmp_path / 'r'}", recipe=recipe)
    assert done.returncode == 0, done.stderr[-2000:]
    names = re.findall(r"^(?:local)?rule (\w+):$", done.stdout + done.stderr, re.M)
    jobs = Counter(name.split("_")[0] for name in names)
    steps = plan.steps(recipes.load(f"config/{recipe}.yaml")).groupby("step").times.sum()
    assert (jobs["corpus"], jobs["train"], jobs["evaluate"], jobs["tables"], jobs["report"]) == (
        steps["decode"], steps["train and score"], steps["look at a run"], steps["tables"], steps["report"]
    )  # fmt: skip
