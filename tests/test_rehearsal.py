"""The rehearsal of the report's experiment, at a tiny share: its tree of names, its meter and its table."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import soundfile
from conftest import ROOT

from asc_kit.common import InputError
from asc_kit.data import check
from asc_kit.data import corpus as corpora
from asc_kit.run import recipes
from benchmarks import rehearsal
from benchmarks.rehearsal import DEVELOPMENT, EVALUATION, Meter

SECONDS = 0.5


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """TAU's two lists in small: every class and device, a location a clip."""
    folder = tmp_path_factory.mktemp("lists")
    for side, devices, first in (("train", "aaaaaaaa b c s1 s2 s3", 1), ("evaluate", "a b c s1 s2 s3 s4 s5 s6", 200)):
        names = [name for word in devices.split() for name in (word if word.isalpha() else [word])]
        rows = [f"audio/{scene}-lyon-{first + n}-{n}-{name}.wav\t{scene}" for scene in check.TRAINING_A
                for n, name in enumerate(names)]  # fmt: skip
        (folder / f"fold1_{side}.csv").write_text("filename\tscene_label\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(lists, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal, "SOURCE_A", 13)  # four of a class in no list
        patch.setattr(rehearsal, "EVALUATED", 800)
        patch.setattr(rehearsal, "SCENES", dict.fromkeys(rehearsal.SCENES, (0,)))
        return rehearsal.build(tmp_path_factory.mktemp("work") / "data", lists, 0.25, SECONDS)


def test_the_tree_has_the_lists_names_for_every_class_and_device(lists, data):
    corpus = corpora.read(data / DEVELOPMENT)
    training, evaluation = corpus.split(1, 1)
    official = corpora.read(lists).split(1, 1)
    assert set(training.filename) < set(official[0].filename) and set(evaluation.filename) == set(official[1].filename)
    assert len(training) == 10 * (2 + 5)  # a quarter of device a's eight clips a class, and one of the others'
    rest = corpus.table[~corpus.table.filename.isin(corpus.used())]
    assert set(rest.source_label) == {"a", "s4", "s5", "s6"} and set(rest.scene_label) == set(check.TRAINING_A)


def test_all_of_tau_is_listed_where_the_lists_are_whole():
    lists = ROOT.parent / "shared" / "data" / "tau2020_splits" / "v2"
    if not lists.is_dir():
        pytest.skip("TAU 2020's lists are not beside the repository (shared/data/tau2020_splits)")
    sides = rehearsal.names(lists, 1)
    assert {side: len(rows) for side, rows in sides.items()} == {
        "training": 13962, "evaluation": 2968, "in no list": 23035 - 13962 - 2968
    }  # fmt: skip
    assert not set.intersection(*(set(rows.filename) for rows in sides.values()))
    assert len(rehearsal.evaluated(1)) == 7920


def test_the_audio_is_as_wide_as_taus_synthetic_and_mostly_links(data):
    corpus = corpora.read(data / DEVELOPMENT)
    files = [data / DEVELOPMENT / name for name in corpus.table.filename]
    info = soundfile.info(files[0])
    assert (info.samplerate, info.channels, info.subtype, info.duration) == (44100, 1, "PCM_24", SECONDS)
    assert len({file.stat().st_ino for file in files}) < len(files) / 2
    assert (data / DEVELOPMENT / "README.md").read_text().startswith("SYNTHETIC") and corpus.synthetic
    assert corpora.read(data / EVALUATION).synthetic and not corpora.read(data / EVALUATION).labelled


def test_links_among_synthetic_clips_are_no_duplicates_but_copies_are(data):
    report = check.check(data / DEVELOPMENT)
    assert report.whole and any("SYNTHETIC clips are links to another of them" in note for note in report.notes)
    (file := next((data / DEVELOPMENT / "audio").iterdir())).rename(data / "aside")
    file.write_bytes((data / "aside").read_bytes())
    faults = check.check(data / DEVELOPMENT).faults
    (data / "aside").replace(file)
    assert list(faults) == ["duplicate"]


def test_a_tree_is_left_as_it_is_and_other_settings_are_refused(lists, data):
    before = (data / DEVELOPMENT / "meta.csv").stat()
    rehearsal.build(data, lists, 0.25, SECONDS)
    assert (data / DEVELOPMENT / "meta.csv").stat() == before
    with pytest.raises(InputError, match="has other settings than share 1"):
        rehearsal.build(data, lists, 1.0, SECONDS)


def test_a_step_that_is_done_is_not_started_again_and_one_that_failed_is(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "TICK", 0.01)
    append = [sys.executable, "-c", f"open({str(tmp_path / 'log')!r}, 'a').write('x')"]
    for _ in range(2):
        Meter(tmp_path / "measured.json", tmp_path).run(append, "store")
    assert (tmp_path / "log").read_text() == "x"
    fails = [sys.executable, "-c", f"open({str(tmp_path / 'log')!r}, 'a').write('y'); raise SystemExit(1)"]
    for _ in range(2):
        with pytest.raises(InputError, match="package: failed, the lines above say why"):
            Meter(tmp_path / "measured.json", tmp_path).run(fails, "package")
    assert (tmp_path / "log").read_text() == "xyy"


def test_what_a_killed_start_left_running_is_ended(tmp_path):
    left = psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    other = psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    children = [[left.pid, left.create_time()], [other.pid, other.create_time() - 1]]  # the second number was reused
    (tmp_path / "measured.json").write_text(json.dumps({"all": {"children": children}}))
    Meter(tmp_path / "measured.json", tmp_path).end_left_over()
    assert left.wait(60) != 0 and other.poll() is None
    other.kill()
    other.wait(60)


def test_the_table_tells_what_the_whole_recipe_would_take(data, tmp_path):
    meter = Meter(tmp_path / "measured.json", tmp_path / "results" / "rehearsal")
    run = meter.home / "submission_4" / "seed_0"
    run.mkdir(parents=True)
    about = {"config": {"submission": "4"}, "epochs": 1, "data": {"training": 60}}
    (run / "run.json").write_text(json.dumps(about))
    seen = {"peak_mb": 5.0, "starts": 2}
    meter.steps = {"store": seen | {"seconds": 32.0, "epoch_seconds": 0.0},
                   "train_4_seed_0": seen | {"seconds": 140.0, "epoch_seconds": 120.0}}  # fmt: skip
    report = recipes.load("config/report.yaml")
    made = rehearsal.table(meter, data, recipes.load("config/rehearsal.yaml"), report).set_index("step")
    assert list(made) == ["clips", "seconds", "clips_a_second", "peak_memory_mb", "disk_mb", "starts", "epoch_seconds",
                          "epochs", "hours"]  # fmt: skip
    assert made.clips["store"] == 160 and made.clips_a_second["store"] == 5 and made.starts["store"] == 2
    assert made.epochs["train_4_seed_0"] == 500
    assert made.hours["train_4_seed_0"] == pytest.approx((140 + 499 * 120) / 3600, abs=0.1)


def test_the_recipe_is_the_reports_with_one_epoch():
    report, rehearsed = recipes.load("config/report.yaml"), recipes.load("config/rehearsal.yaml")
    assert rehearsed.submissions == report.submissions and rehearsed.name == "rehearsal"
    for name in report.submissions:
        assert rehearsed.config(name) == report.config(name, epochs=1)


RECIPE = """
submissions: ["1"]
augmentation: {crop_seconds: 0.5}
training: {epochs: 4, batch_size: 4, selection: none}
"""
# where a start is killed: what then lies in its folder, and what does not yet
MOMENTS = {"store": ("cache/stores/*/samples.i16", "cache/stores/*/store.json"),
           "training": ("results/small/*/seed_0/checkpoint/last.pt", "results/small/*/seed_0/model.safetensors"),
           "evaluation": ("results/small/*/seed_0/run.json", "results/small/*/seed_0/06_evaluate.ipynb")}  # fmt: skip


def there(work: Path, pattern: str) -> bool:
    return any(work.glob(pattern))


@pytest.mark.long
def test_killed_in_the_store_a_training_and_an_evaluation_it_makes_the_same_tables(lists, tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE)

    def start(work):
        command = [sys.executable, "-m", "benchmarks.rehearsal", "--lists", lists, "--work", work, "--share", "0.02",
                   "--seconds", "1", "--recipe", recipe]  # fmt: skip
        return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, text=True)

    def made(work):
        home = work / "results" / "small"
        kept = [*home.glob("tables/*.csv"), *home.glob("*/seed_0/predictions.tsv"), home / "truth.tsv"]
        assert len(kept) > 7
        return {file.relative_to(home): file.read_bytes() for file in kept}

    unbroken, killed = start(tmp_path / "unbroken"), tmp_path / "killed"
    assert "SYNTHETIC clips: scores mean nothing." in unbroken.communicate()[0] and unbroken.returncode == 0
    for moment, (begun, whole) in MOMENTS.items():
        process = start(killed)
        while not there(killed, begun) and process.poll() is None:
            time.sleep(0.01)
        missed = there(killed, whole)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not missed, moment
    last = start(killed)
    assert last.communicate() and last.returncode == 0
    assert made(killed) == made(tmp_path / "unbroken")
