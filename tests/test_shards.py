"""A manifest scored in shards by Snakemake: a shard with failures alone is scored again, and nothing is lost with it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from test_recordings import CLASSES, model_file, record  # noqa: F401  (a fixture)

from asc_kit.deploy import manifest


def workflow(tmp_path, model_file, *more, **options):  # noqa: F811
    """The workflow's command line, over ``set/list.txt``, in shards of 10."""
    (tmp_path / "work").mkdir(exist_ok=True)
    return [str(part) for part in (
        "snakemake", "-s", ROOT / "predict.smk", "--cores", 2, "--directory", tmp_path / "work", "--workflow-profile",
        ROOT / "profiles" / "default", "--config", f"model={model_file}", f"manifest={tmp_path / 'set' / 'list.txt'}",
        f"out={tmp_path / 'out.tsv'}", "shard=10", *more)]  # fmt: skip


def start(command):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture
def names(tmp_path):
    names = [f"{i:02}.wav" for i in range(25)]
    for i, name in enumerate(names):
        record(tmp_path / "set" / name, 0.3, seed=i)
    (tmp_path / "set" / "list.txt").write_text("\n".join(names) + "\n")
    return names


def test_only_a_shard_with_failures_is_scored_again_and_the_join_equals_one_call(tmp_path, names, model_file):  # noqa: F811
    bad = tmp_path / "set" / "13.wav"
    good = bad.read_bytes()
    bad.write_text("no sound")
    done = start(workflow(tmp_path, model_file))
    assert done.returncode == 1 and "24 of 25 recordings scored, 1 failed" in done.stderr, done.stderr[-2000:]
    rows = [line.split("\t")[0] for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert rows == ["filename", *[name for name in names if name != "13.wav"]]
    (failure,) = (tmp_path / "out.failed.tsv").read_text().splitlines()[1:]
    assert failure.startswith(f"13.wav\t{bad}: ") and "is not audio" in failure

    (home,) = (tmp_path / "out.tsv.shards").iterdir()
    times = {file: file.stat().st_mtime_ns for file in home.glob("*.tsv")}
    bad.write_bytes(good)
    for name in names[:3]:
        (tmp_path / "set" / name).unlink()  # what is in a whole shard is not looked for
    done = start(workflow(tmp_path, model_file))
    assert done.returncode == 0 and "25 of 25 recordings scored" in done.stderr, done.stderr[-2000:]
    changed = [file for file, before in times.items() if file.exists() and file.stat().st_mtime_ns != before]
    assert len(times) == 4 and len(changed) == 1  # three tables, one of failures
    assert not list(home.glob("*.failed.tsv"))
    assert not (tmp_path / "out.failed.tsv").exists()

    for i, name in enumerate(names[:3]):
        record(tmp_path / "set" / name, 0.3, seed=i)
    direct = start([sys.executable, "-m", "asc_kit", "predict", str(model_file), "--manifest",
                    str(tmp_path / "set" / "list.txt"), "--out", str(tmp_path / "direct.tsv")])  # fmt: skip
    assert direct.returncode == 0
    assert (tmp_path / "direct.tsv").read_bytes() == (tmp_path / "out.tsv").read_bytes()

    before = (tmp_path / "out.tsv").read_bytes()
    assert "Nothing to be done" in (again := start(workflow(tmp_path, model_file))).stderr + again.stdout
    assert again.returncode == 0 and (tmp_path / "out.tsv").read_bytes() == before


@pytest.mark.long
def test_a_killed_workflow_goes_on_with_the_same_bytes(tmp_path, names, model_file):  # noqa: F811
    command = workflow(tmp_path, model_file)
    command[command.index("--cores") + 1] = "1"  # one shard after the other
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    killed = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("out.tsv.shards/*/*.done")) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    first = {file: file.stat().st_mtime_ns for file in tmp_path.glob("out.tsv.shards/*/*.tsv")}
    assert 1 <= len(first) < 3 and not (tmp_path / "out.tsv").exists()
    done = start(workflow(tmp_path, model_file))
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split("\t")[0] for line in (tmp_path / "out.tsv").read_text().splitlines()[1:]] == names
    whole = {file.with_suffix(".tsv") for file in tmp_path.glob("out.tsv.shards/*/*.done")}
    assert len(whole) == 3 and sum(file.stat().st_mtime_ns == before for file, before in first.items()) >= 1


@pytest.mark.parametrize(
    ("more", "what"),
    [(["shards=3"], "unknown 'shards'"), (["out=/proc/none/x.tsv"], "cannot be written"),
     pytest.param(["shard=0"], "shard: 0 is not possible", marks=pytest.mark.long),
     pytest.param(["model=/nowhere"], "no such model", marks=pytest.mark.long),
     pytest.param(["manifest=/nowhere"], "cannot be read", marks=pytest.mark.long)],
)  # fmt: skip
def test_faults_show_before_any_job(tmp_path, names, model_file, more, what):  # noqa: F811
    done = start(workflow(tmp_path, model_file, *more))
    assert done.returncode == 1 and what in done.stderr and "Traceback" not in done.stderr
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
    assert not (tmp_path / "out.tsv").exists()


def test_shards_are_called_by_what_they_hold():
    names = [f"{i}.wav" for i in range(25)]
    small, longer = manifest.shards(names[:20], 10), manifest.shards(names, 10)
    assert list(longer)[:2] == list(small) and [len(part) for part in longer.values()] == [10, 10, 5]
    assert [name for part in longer.values() for name in part] == names


def test_join_of_tables_and_failures_is_in_order_and_streams(tmp_path):
    tables = [tmp_path / f"{i}.tsv" for i in range(3)]
    for i, table in enumerate(tables[::2]):
        row = manifest.row(f"{i}a", [0.1] * 7 + [0.3], CLASSES)
        manifest.write(table, CLASSES, [row], {f"{i}b": "cannot"} if i else {})
    assert manifest.join(tables, tmp_path / "all.tsv") == (2, 1)
    assert [line.split("\t")[:2] for line in (tmp_path / "all.tsv").read_text().splitlines()[1:]] == [
        ["0a", "street_pedestrian"], ["1a", "street_pedestrian"]]  # fmt: skip
    assert (tmp_path / "all.failed.tsv").read_text() == "filename\treason\n1b\tcannot\n"
    code = (f"from pathlib import Path; from asc_kit.deploy import manifest; manifest.write(Path({str(tables[0])!r}), "
            "(), ['\\xe9'], {'\\xe8': '\\xe8'})")  # fmt: skip
    ascii_alone = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ascii_alone, check=True)
    assert [file.read_text(encoding="utf-8")[-4:] for file in (tables[0], manifest.failures_of(tables[0]))] == [
        "l\né\n", "è\tè\n"]  # fmt: skip
    before = (tmp_path / "all.tsv").read_bytes()
    assert manifest.join([tmp_path / "none.tsv"], tmp_path / "all.tsv") == (0, 0)
    assert (tmp_path / "all.tsv").read_bytes() == before
