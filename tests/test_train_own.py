"""asc-kit train: recordings of one's own, from a folder to a verdict and models."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import ROOT, cli

from asc_kit import metrics, network
from asc_kit.common import InputError
from asc_kit.config import Features
from asc_kit.config import Network as Architecture
from asc_kit.data import corpus
from asc_kit.deploy import compact
from asc_kit.features import LogMel
from asc_kit.report import verdict
from asc_kit.run import floors, own
from asc_kit.run.recipes import Recipe
from asc_kit.run.workers import train_plan
from benchmarks import own_rule

BANDS = ((100, 300), (300, 700), (700, 1500), (1500, 2800), (2800, 4500), (4500, 7000))
COMMAND = (sys.executable, "-m", "asc_kit", "train")


def machines(root, classes=3, rooms=3, clips=2, seconds=0.5, rate=8000):
    """A spectrum a class, a tilt a room, a noise a clip."""
    frequency = np.fft.rfftfreq(round(seconds * rate), 1 / rate)
    for kind, (low, high) in enumerate(BANDS[:classes]):
        for room in range(rooms):
            tilt = np.random.default_rng((kind, room)).normal(0, 0.3)
            for clip in range(clips):
                noise = np.random.default_rng((kind, room, clip)).standard_normal(round(seconds * rate))
                gain = np.where((frequency >= low) & (frequency < high), 1, 0.25) * (1 + frequency / 1000) ** tilt
                wave = np.fft.irfft(np.fft.rfft(noise) * gain, len(noise))
                file = root / f"machine {kind + 1}" / f"Räum {room + 1}" / f"clip {clip}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(file, 0.1 * wave / np.abs(wave).max(), rate, subtype="PCM_16")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder, where the models are, and what the command said."""
    home = tmp_path_factory.mktemp("own")
    folder, out = machines(home / "machines"), home / "out"
    done = subprocess.run([*COMMAND, folder, "--out", out, "-p", "epochs=2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, out, done


def test_the_verdict_is_what_the_held_out_predictions_say(trained):
    _, out, done = trained
    truth = pd.read_csv(out / "held_out" / "truth.tsv", sep="\t").set_index("filename")
    scores = {}
    for system in verdict.NAMES:
        files = sorted((out / "held_out" / f"submission_{system}").glob("*/predictions.tsv"))
        rows = pd.concat([pd.read_csv(file, sep="\t") for file in files]).set_index("filename")
        assert len(files) == 3 and sorted(rows.index) == sorted(truth.index)  # every clip once
        classes = list(rows.columns[1:])
        labels = truth.scene_label.loc[rows.index].map(classes.index).to_numpy()
        p = rows[classes].to_numpy()
        scores[system] = metrics.log_loss(p, labels), round(100 * metrics.accuracy(p, labels))
    order = sorted(scores, key=scores.get)
    assert order == ["logistic", "both", "network"]  # two epochs teach a network nothing
    first = done.stdout.splitlines()[0]
    said = re.fullmatch(r"Take the logistic regression: (\d+) % \[\d+, \d+\] of 18 clips from places it never heard; "
                        r"the mean of both has (\d+) % \[\d+, \d+\], the network has (\d+) % \[\d+, \d+\]\.", first)  # fmt: skip
    assert [int(number) for number in said.groups()] == [scores[system][1] for system in order]
    losses = [f"{verdict.NAMES[system]} {scores[system][0]:.2f}" for system in order]
    assert f"\nThe lower log loss decides (a guess has 1.10): {', '.join(losses)}; the first is lower" in done.stdout
    page = (out / "report.html").read_text()
    assert first in page and "70.5" not in page  # none of the report's numbers
    assert page.count("<audio") == round(18 * (1 - scores["logistic"][1] / 100))


def test_the_split_is_by_place_and_said_file_by_file(trained):
    folder, out, done = trained
    split = pd.read_csv(out / "split.csv")
    assert list(split.columns) == ["filename", "scene_label", "identifier", "fold"] and len(split) == 18
    assert all((folder / name).is_file() for name in split.filename)
    assert split.groupby("identifier").fold.nunique().tolist() == [1, 1, 1] and set(split.fold) == {1, 2, 3}
    assert "3 classes, 18 clips of 0.5 s, 8000 Hz" in done.stderr and "split by place into 3 folds" in done.stderr
    for fold, rows in split.groupby("fold"):
        name = "seed_0" + (f"_fold_{fold}" if fold > 1 else "")
        scored = pd.read_csv(out / "held_out" / "submission_network" / name / "predictions.tsv", sep="\t")
        assert len(scored) == len(rows)


def test_every_model_can_be_taken_away(trained):
    import onnxruntime

    folder, out, _ = trained
    file = folder / "machine 2" / "Räum 1" / "clip 0.wav"
    wave = torch.from_numpy(soundfile.read(file, dtype="float32")[0])[None]
    assert (out / "best").resolve() == (out / "logistic").resolve()
    alone = {}
    for system in verdict.NAMES:
        home = out / system
        assert {f.name for f in home.iterdir()} == {"model.safetensors", "compact.safetensors", "model.onnx",
                                                    "temperature.json", "MODEL_CARD.md", "run.json"}  # fmt: skip
        model = compact.load(home / "model.safetensors")
        alone[system] = expected = model.probabilities(wave)
        assert model.config.split == "all" and model.config.features.sample_rate == 8000
        small = compact.load(home / "compact.safetensors")
        np.testing.assert_allclose(small.probabilities(wave), expected, atol=2e-3)
        session = onnxruntime.InferenceSession(home / "model.onnx")
        np.testing.assert_allclose(
            session.run(None, {"waveform": wave.numpy()})[0], small.probabilities(wave), atol=1e-3
        )
        done = cli("predict", home / "model.safetensors", file, "--json", "--temperature", "fitted")
        said = json.loads(done.stdout)
        assert set(said[0]["probabilities"]) == {"machine 1", "machine 2", "machine 3"}
        assert "the network was made for" not in done.stdout + done.stderr  # it is as long as the training clips
        card = (home / "MODEL_CARD.md").read_text()
        assert "18 clips from 3 places" in card and "8000 Hz" in card and "machine 2" in card
    mean = np.sqrt(alone["network"] * alone["logistic"])
    np.testing.assert_allclose(alone["both"], mean / mean.sum(1, keepdims=True), atol=2e-3)


def test_a_network_that_torch_cannot_export_is_taken_away_without_its_onnx_file(tmp_path, monkeypatch):
    """As one that takes a single length, whose verdict must not be lost for that."""
    file = tmp_path / "model.onnx"
    file.write_text("an older model's")

    def refuse(*given):
        raise InputError("export: torch cannot write this network as ONNX")

    monkeypatch.setattr("asc_kit.deploy.onnx.export", refuse)
    assert verdict._export(None, file) == "not written: export: torch cannot write this network as ONNX"
    assert not file.exists()


@pytest.mark.long
def test_a_network_of_ones_own_is_trained_beside_the_recordings_and_taken_away(tmp_path):
    """By a class of a module in the current folder, which a later command imports only where it is told to."""
    (tmp_path / "mine.py").write_text((ROOT / "examples" / "own_network.py").read_text())
    folder, given = machines(tmp_path / "machines", classes=2), ("-p", "network=mine:Small", "-p", "epochs=1")
    done = subprocess.run([*COMMAND, folder.name, *given], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    model, file = "machines-model/network/model.safetensors", str(next(folder.rglob("*.wav")))
    predict = [sys.executable, "-m", "asc_kit", "predict", model, file]
    done = subprocess.run(predict, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "give --allow-code" in done.stderr
    done = subprocess.run([*predict, "--json", "--allow-code"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)[0]["label"] in ("machine 1", "machine 2")
    card = (tmp_path / "machines-model" / "network" / "MODEL_CARD.md").read_text()
    assert "`mine:Small`: these commands need its module" in card
    assert not (tmp_path / "machines-model" / "both").exists()  # it is of the report's network alone


@pytest.mark.parametrize(
    ("changes", "style"),
    [({}, {}), (dict(relative=0.5, activation="relu"), dict(relative=0.5, activation="relu")),
     (dict(axis_order="frequency_time"), None), (dict(n_mels=32), None), (dict(float16="arithmetic"), None),
     (dict(rows=[["Conv2d", 1, [1, 1], [5, 3], 6], ["Conv2d", 1, [1, 1], [1, 1], 100]]), None),
     (dict(network="examples.own_network:OwnNetwork"), None)],
)  # fmt: skip
def test_the_mean_is_of_the_reports_network_and_of_equal_features(changes, style):
    recipe = Recipe("x", systems={"network": {"n_mels": 64, **changes}})
    made = verdict._both(SimpleNamespace(final=lambda name: SimpleNamespace(config=recipe.config(name))))
    assert made is None if style is None else made.architecture == Architecture("both", style)


def test_the_mean_reads_features_as_its_network_does():
    recipe = Recipe("x", features={"axis_order": "frequency_time"}, systems={"network": {"n_mels": 64}})
    made = verdict._both(SimpleNamespace(final=lambda name: SimpleNamespace(config=recipe.config(name))))
    assert network.build(made, 3).network.axis_order == "frequency_time"
    for options, said in (({"relative": 2}, "relative: 2"), ({"rows": []}, "rows"), ({"squeeze_excite": "no"}, "no")):
        with pytest.raises(InputError, match=said):
            Recipe("x", systems={"both": {"network": "both", "options": options}}).config("both")


def test_microphones_that_are_given_are_heard_by_both_systems(tmp_path):
    """A worker is another process, which is not given their folder by name."""
    soundfile.write(tmp_path / "click.wav", np.eye(1, 8)[0], 8000)
    folder, heard = (machines(tmp_path / "machines", classes=2), {"device_response": 0.5, "responses": str(tmp_path)})
    made = own.plan(folder, tmp_path / "out", workers=1, epochs=1, **heard)
    train_plan(made)
    for run in (*made.runs("network"), *made.runs("logistic")):
        augmentation = run.about["config"]["augmentation"]
        assert re.fullmatch("mic_responses-[0-9a-f]{12}", augmentation["responses"]), run.title
        assert augmentation["device_response"] == 0.5
    soundfile.write(tmp_path / "other.wav", np.eye(1, 9)[0], 8000)  # what is whole was trained through one alone
    with pytest.raises(InputError, match="another configuration .augmentation.responses is"):
        train_plan(own.plan(folder, tmp_path / "out", workers=1, epochs=1, **heard))
    with pytest.raises(InputError, match="responses: without device_response no clip is heard"):
        own.plan(folder, tmp_path / "other", responses=str(tmp_path))
    with pytest.raises(InputError, match="network: both is not trained here"):
        own.plan(folder, tmp_path / "other", network="both")
    assert not (tmp_path / "other").exists()


def test_the_same_command_again_trains_nothing_and_another_is_refused(trained, monkeypatch):
    folder, out, done = trained
    monkeypatch.setattr("asc_kit.deploy.onnx.export", lambda *given: None)  # they are there, and take half a minute
    times = {file: file.stat().st_mtime_ns for file in out.glob("*/*/*/run.json")}
    again = cli("train", folder, "--out", out, "-p", "epochs=2")
    assert again.stdout == done.stdout and len(times) == 8
    assert times == {file: file.stat().st_mtime_ns for file in out.glob("*/*/*/run.json")}
    other = cli("train", folder, "--out", out, "-p", "epochs=3")
    assert other.returncode == 1 and "holds another training (settings:" in other.stderr.splitlines()[-1]


def test_the_recipe_it_writes_is_the_same_folds_for_snakemake(trained, tmp_path):
    folder, out, _ = trained
    shutil.copytree(out, tmp_path / "out", symlinks=True)

    def wanted():
        command = ("snakemake", "-n", "--cores", "1", "--configfile", tmp_path / "out" / "recipe.yaml")
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return sorted(set(re.findall(r"rule (\w+):", done.stdout)))

    assert wanted() == []
    shutil.rmtree(tmp_path / "out" / "held_out" / "submission_network" / "seed_0_fold_2")
    assert wanted() == ["all", "train_network_seed_0_fold_2"]
    command = ("snakemake", "-n", "--configfile", tmp_path / "out" / "recipe.yaml", "--config", "seeds=[0,1]")
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "is of asc-kit train, which chooses it" in done.stderr


def test_seeds_are_trainings_of_every_fold_and_one_model(tmp_path):
    done = cli("train", machines(tmp_path / "machines"), "--out", tmp_path / "out", "--seeds", "2", "--plan")
    assert done.returncode == 0 and done.stdout == "" and "the network is trained 7 times" in done.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["command.json", "recipe.yaml", "split.csv"]
    kept = json.loads((tmp_path / "out" / "command.json").read_text())
    assert kept.pop("seeds") == 2
    (tmp_path / "out" / "command.json").write_text(json.dumps(kept))  # as older ones are: of one seed
    with pytest.raises(InputError, match=r"another training \(seeds: 1 there, 2 here\)"):
        own.plan(tmp_path / "machines", tmp_path / "out", seeds=2)
    (tmp_path / "out" / "command.json").write_text(json.dumps(kept | {"seeds": 2}))
    made = own.plan(tmp_path / "machines", tmp_path / "out", seeds=2)
    assert [(run.config.seed, run.config.fold) for run in made.runs("network")] == [
        (0, 1), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]  # fmt: skip


@pytest.mark.long
def test_what_is_stopped_goes_on(tmp_path):
    folder, out = machines(tmp_path / "machines"), tmp_path / "out"
    command = [*COMMAND, folder, "--out", out, "-p", "epochs=60"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(out.glob("held_out/*/*/checkpoint/previous.pt")):
        time.sleep(0.2)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1
    assert (
        process.stderr.read().splitlines()[-1] == "error: stopped; what is done is kept, and the same command goes on"
    )
    subprocess.run(command, check=True, capture_output=True)
    assert "going on after epoch" in (out / "log.txt").read_text()
    assert len(list(out.glob("*/*/*/run.json"))) == 8


@pytest.mark.long
def test_six_machines_in_four_rooms(tmp_path):
    """The whole rule, in minutes; the recommended system is right."""
    folder = machines(tmp_path / "machines", classes=6, rooms=4, clips=4, seconds=3, rate=16000)
    done = subprocess.run([*COMMAND, folder, "--out", tmp_path / "out"], capture_output=True, text=True, check=True)
    assert int(re.match(r"Take the [a-z ]+: (\d+) %", done.stdout)[1]) >= 98


@pytest.mark.parametrize("count", [16, 40, 100, 392, 2000, 20_000])
def test_a_training_has_some_hundred_steps_whatever_the_clips(count):
    settings = own.rule(count)
    batch = settings["batch_size"]
    steps = settings["epochs"] * (count // batch + (count % batch > 1))
    assert 200 <= steps <= 1500 + count / batch + 1 and batch <= count


def test_the_rules_benchmark_scores_other_places_and_changes_one_thing(tiny):
    data = own_rule.subset(tiny, 4)
    training, scored = data.split(1, 1, 0)
    assert len(training) == 4 and len(scored) == 6 and set(training.scene_label) == {"bus", "park"}
    assert not set(training.identifier) & set(scored.identifier)
    usual, longer = (own_rule.settings(100, 10.0, change) for change in ({}, {"crop": 2}))
    assert own.rule(100).items() <= usual.items() and usual["crop_seconds"] == 2
    assert longer == usual | {"crop_seconds": 4}


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 32000, 44100, 48000])
def test_features_last_as_long_and_stay_below_half_the_rate(rate):
    given = own.features_at(rate)
    assert given["hop"] / rate == pytest.approx(690 / 44100, rel=0.01) and given["window"] == 4 * given["hop"]
    assert given["f_max"] == min(16000, rate / 2)
    assert LogMel(Features(n_mels=64, **given))(torch.zeros(1, rate)).shape == (1, 1, rate // given["hop"] + 1, 64)


def test_a_logistic_regression_as_a_network_says_what_scikit_learn_says():
    """Through float16, and with a class that no training clip has."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], 30)
    means = random.normal(-40, 0.5, (4, 8))
    x = torch.from_numpy(means[labels][:, None, None] + random.normal(0, 8, (90, 1, 50, 8))).float()
    rows = pd.DataFrame({"scene_label": np.array(list("abcd"))[labels], "identifier": [f"p{i % 6}" for i in range(90)]})
    statistics = floors.statistics([x])
    fitted, chosen = floors.fit("logistic", statistics, rows, tuple("abcd"))
    expected = floors.probabilities(fitted, chosen["temperature"], statistics, 4)
    net = floors.as_network(fitted, chosen["temperature"], 8, 4)
    halves = network.Logistic(8, 4)
    halves.load_state_dict({name: value.half().float() for name, value in net.state_dict().items()})
    np.testing.assert_allclose(metrics.softmax(halves(x).detach().numpy()), expected, atol=2e-3)
    assert 0.01 < np.abs(expected - expected.round()).max()  # not all 0 or 1


def test_a_class_of_one_place_is_split_by_recording_and_that_is_said(tmp_path, capsys):
    folder = machines(tmp_path / "machines")
    for room in (2, 3):
        for file in (folder / "machine 1" / f"Räum {room}").iterdir():
            file.unlink()
    plan = own.plan(folder, tmp_path / "out", epochs=1)
    assert plan.recipe.split == "recording" and plan.recipe.folds == 5
    assert "warning: a class was recorded at one place alone" in capsys.readouterr().err
    assert plan.split().filename.is_unique


def test_recordings_without_places_are_no_places_and_that_is_said(tmp_path, capsys):
    folder = machines(tmp_path / "machines")
    for file in folder.rglob("*.wav"):
        file.rename(file.parents[1] / f"{file.parent.name} {file.name}")
    plan = own.plan(folder, tmp_path / "out", epochs=1)
    said = capsys.readouterr().err
    assert plan.kind == "recording" and plan.recipe.folds == 5 and plan.split().filename.is_unique
    assert (plan.split().identifier == plan.split().filename).all()
    assert "split by recording" in said and "warning: no places are named" in said


@pytest.mark.parametrize("shared", [True, False])
def test_places_of_a_list_are_places_however_many_recordings(tmp_path, capsys, shared):
    """Two halls in each of as many recordings, or a place a recording: named, they are what is divided."""
    folder, lines = machines(tmp_path / "machines", clips=1), ["filename,scene_label,identifier,start,end"]
    for number, file in enumerate(sorted(folder.rglob("*.wav"))):
        for part in range(2):
            place = f"hall {(number + part) % 9}" if shared else f"hall {number}"
            lines.append(f"{file.relative_to(tmp_path)},{file.parts[-3]},{place},{part / 4},{(part + 1) / 4}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    plan = own.plan(tmp_path / "list.csv", tmp_path / "out", epochs=1)
    said = capsys.readouterr().err
    assert plan.kind == "place" and "split by place" in said and "no place" not in said and "at 9 places" in said
    assert plan.split().groupby("identifier").fold.nunique().eq(1).all()


def one_class(root):
    machines(root, classes=1)


def one_recording_of_a_class(root):
    machines(root, classes=2)
    for file in list((root / "machine 2").rglob("*.wav"))[1:]:
        file.unlink()


def a_clip_of_50_ms(root):
    machines(root)
    soundfile.write(root / "machine 1" / "Räum 1" / "short.wav", np.full(400, 0.1), 8000)


def a_broken_file(root):
    machines(root)
    (root / "machine 1" / "Räum 1" / "broken.wav").write_bytes(b"RIFF" + bytes(100))


def no_class_folders(root):
    root.mkdir()
    soundfile.write(root / "a.wav", np.full(8000, 0.1), 8000)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (one_class, "every clip has the class 'machine 1'"),
        (one_recording_of_a_class, "the class 'machine 2' has one recording"),
        (a_clip_of_50_ms, "short.wav: lasts 0.05 s"),
        (a_broken_file, "broken.wav: "),
        (no_class_folders, "1 recordings lie in it, not in folders named by class"),
    ],
)
def test_bad_folders_are_one_line_and_nothing_is_made(made, message, tmp_path):
    made(tmp_path / "mine")
    with pytest.raises(InputError, match=re.escape(message)):
        own.plan(tmp_path / "mine", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_broken_files_are_left_out_where_that_is_asked_for(tmp_path, capsys):
    a_broken_file(tmp_path / "mine")
    plan = own.plan(tmp_path / "mine", tmp_path / "out", skip_broken=True, epochs=1)
    assert len(plan.corpus.table) == 18 and "left out: " in capsys.readouterr().err


def test_broken_files_of_a_listed_data_set_too(tiny, tmp_path, capsys):
    """As an archive unpacks, in a folder of its own; places are those that the names tell."""
    listed = pd.read_csv(tiny / "meta.csv", sep="\t").drop(columns="identifier")
    listed.to_csv(tiny / "meta.csv", sep="\t", index=False)
    above = tmp_path / "above"
    above.mkdir()
    shutil.move(tiny, above / "tiny")
    names = sorted(file.name for file in (above / "tiny" / "audio").iterdir())
    broken = above / "tiny" / "audio" / names[0]
    broken.write_bytes(b"RIFF" + bytes(100))
    plan = own.plan(above, tmp_path / "out", skip_broken=True, epochs=1)
    assert f"left out: {broken}" in capsys.readouterr().err
    split = plan.split()
    assert sorted(split.filename) == [f"tiny/audio/{name}" for name in names[1:]]
    assert set(split.identifier) == {f"oslo-{number}" for number in range(6)} and set(split.scene_label) == {
        "bus",
        "park",
    }


def test_too_few_minutes_and_a_folder_in_use_are_said(tmp_path):
    folder = machines(tmp_path / "machines")
    with pytest.raises(InputError, match=r"minutes: 0.1 are too few for 200 steps a training; give \d+"):
        own.plan(folder, tmp_path / "out", minutes=0.1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds something else than a training"):
        own.plan(folder, tmp_path / "out")


def test_few_minutes_are_enough_for_small_batches(tmp_path, monkeypatch):
    """A step takes a second for 32 clips: three rounds of 200 are ten minutes and more, of 16 clips five."""
    monkeypatch.setattr(own, "_step_seconds", lambda made: made.runs("network")[0].config.training.batch_size / 32)
    folder = machines(tmp_path / "machines", rooms=5, clips=16, seconds=0.1)  # 240 clips, five folds
    found = {}
    for minutes in (None, 20, 8):
        plan = own.plan(folder, tmp_path / f"out{minutes}", minutes, workers=2)
        run = plan.runs("network")[1]
        found[minutes] = run.config.training.batch_size, plan.steps(run), minutes is None or plan.minutes <= minutes
    assert [batch for batch, *_ in found.values()] == [32, 32, 16] and all(fits for *_, fits in found.values())
    assert found[None][1] > found[20][1] >= 200 and found[8][1] >= 200
    with pytest.raises(InputError, match="minutes: 8 are too few for 200 steps a training; give 1"):
        own.plan(folder, tmp_path / "out", 8, 2, batch_size=32)


def test_all_clips_are_trained_on_and_none_is_scored(tiny):
    training, evaluation = corpus.read(tiny, "all").split(1, 5)
    assert len(training) == 12 and evaluation.empty


def test_a_disk_without_links_has_the_better_models_folder(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    for name in ("logistic", "network"):  # the second takes the first's place
        assert verdict._link(tmp_path / "best", name) == tmp_path / "best"
        assert os.readlink(tmp_path / "best") == name
    monkeypatch.setattr(os, "symlink", refuse)
    assert verdict._link(tmp_path / "best", "logistic") == tmp_path / "logistic"
    assert not list(tmp_path.iterdir())  # nor does a link of before lead to the other
