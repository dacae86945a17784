"""Recordings of any kind, classified: windows, streams, workers, and what is said of those that are at fault."""

import dataclasses
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import typer
from conftest import ROOT, cli
from hypothesis import given
from hypothesis import strategies as st
from test_own import fake_ffmpeg

from asc_kit import network
from asc_kit.__main__ import app
from asc_kit.common import InputError
from asc_kit.data import audio, own
from asc_kit.deploy import calibration, compact, recordings
from asc_kit.run.recipes import Recipe

CLASSES = tuple("airport bus metro metro_station park public_square shopping_mall street_pedestrian".split())
RATE = 44100


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A random network that has seen some noise, so that its classes differ."""
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    settings = Recipe("test").config("1")
    torch.manual_seed(0)
    net = network.build(settings, len(CLASSES))
    with torch.no_grad():
        net.classifier.weight.mul_(20)
    for _ in range(20):
        net.train()(torch.randn(4, 1, 64, settings.features.n_mels) * 8 - 60)
    compact.save(net, settings, CLASSES, file)
    return file


@pytest.fixture(scope="module")
def model(model_file):
    return compact.load(model_file)


def noise(seconds, rate=RATE, channels=1, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))


def record(file, seconds=1.0, rate=RATE, channels=1, subtype=None, seed=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, noise(seconds, rate, channels, seed), rate, subtype=subtype)
    return file


def whole(model, file):
    """The probabilities of a file's windows by other means: decoded at once, then sliced."""
    wave = audio.decode(file, RATE)[0]
    count = max(1, int(len(wave) / (10 * RATE) + 0.5))
    ends = [*(10 * RATE * k for k in range(1, count)), len(wave)]
    parts = [wave[start:end] for start, end in zip([0, *ends], ends)]
    scores = np.concatenate([model.probabilities(torch.from_numpy(part)[None]) for part in parts])
    return scores, np.array([len(part) for part in parts])


def command(*arguments):
    """Exit status of the command, in this process."""
    return app(["predict", *map(str, arguments)], standalone_mode=False) or 0


@given(st.integers(0, 2000), st.integers(2, 300), st.lists(st.integers(1, 500), min_size=1))
def test_every_sample_is_in_one_window_whatever_the_pieces(samples, size, cuts):
    wave, places = np.arange(samples, dtype=np.float32), np.cumsum([0, *cuts])
    found = list(recordings.windows([wave[a:b] for a, b in zip(places, [*places[1:], samples])], size))
    assert np.array_equal(np.concatenate(found), wave) or places[-1] > samples
    assert all(len(window) == size for window in found[:-1])
    assert 2 * len(found[-1]) < 3 * size and (len(found) == 1 or 2 * len(found[-1]) >= size)


@pytest.mark.parametrize(("seconds", "count"), [(0.5, 1), (10, 1), (14.9, 1), (15.1, 2), (24.9, 2), (25.1, 3), (60, 6)])
def test_a_recording_is_the_mean_of_its_windows(tmp_path, model, seconds, count):
    file = record(tmp_path / "a.wav", seconds)
    found = recordings.score(model, file)
    scores, lengths = whole(model, file)
    assert len(found.segments) == count == len(scores)
    assert np.allclose([part.probabilities for part in found.segments], scores, atol=1e-12)
    assert np.allclose(found.probabilities, np.average(scores, axis=0, weights=lengths), atol=1e-12)
    assert found.segments[0].start == 0 and found.segments[-1].end == pytest.approx(seconds, abs=1e-4)
    assert all(a.end == b.start for a, b in zip(found.segments, found.segments[1:]))


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype", "note"),
    [("a.wav", 48000, 2, "PCM_24", "2 channels mixed down; 48000 Hz resampled to 44100 Hz"),
     ("a.flac", 32000, 1, "PCM_16", "32000 Hz resampled to 44100 Hz"), ("a.ogg", 44100, 1, None, ""),
     ("a.mp3", 44100, 2, None, "2 channels mixed down"), ("a.wav", 44100, 8, "FLOAT", "8 channels mixed down"),
     ("a.wav", 192000, 1, "PCM_16", "192000 Hz resampled to 44100 Hz"),
     ("a.aiff", 96000, 1, "PCM_24", "96000 Hz resampled to 44100 Hz")],
)  # fmt: skip
def test_formats_rates_and_channels_are_as_decoded_at_once(tmp_path, model, name, rate, channels, subtype, note):
    file = record(tmp_path / name, 21.3, rate, channels, subtype)
    found, (scores, lengths) = recordings.score(model, file), whole(model, file)
    assert np.allclose(found.probabilities, np.average(scores, axis=0, weights=lengths), atol=1e-9)
    assert "; ".join(found.notes) == note and not found.doubts


def test_results_come_in_order_and_do_not_depend_on_the_workers(tmp_path, model):
    files = [record(tmp_path / f"{i}.wav", 11.5 if i % 5 == 0 else 0.3 + 0.1 * (i % 4), seed=i) for i in range(20)]
    files.insert(3, tmp_path / "missing.wav")
    runs = [list(recordings.score_all(model, files, workers=workers)) for workers in (1, 3)]
    assert str(runs[0].pop(3)) == str(runs[1].pop(3)) == f"{files.pop(3)}: no such file; fetch it again, or " \
        "remove its line from the list"  # fmt: skip
    assert [found.file for found in runs[1]] == files
    assert all((one.probabilities == three.probabilities).all() for one, three in zip(*runs, strict=True))
    assert len({found.probabilities.tobytes() for found in runs[0]}) == 20


def test_leaving_early_ends_the_workers(model, monkeypatch):
    begun = []
    monkeypatch.setattr(recordings, "score", lambda model, file, **_: begun.append(file) or time.sleep(0.01))
    results = recordings.score_all(model, [Path(f"{i}.wav") for i in range(1000)], workers=2)
    next(results)
    results.close()
    assert len(begun) < 100


def test_folders_are_searched_and_what_is_no_sound_is_left_out(tmp_path):
    for name in ("b/c.flac", "b/a.WAV", "z.wav", "b/._a.wav", "b/.git/a.wav", "b/x.wav/notes.txt", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "b" / "pipe.wav")  # `score` says what it is
    found = recordings.find([tmp_path / "notes.txt", tmp_path, tmp_path / "b"])
    inside = ["b/a.WAV", "b/c.flac", "b/pipe.wav"]
    names = ["notes.txt", *inside, "z.wav", *inside]
    assert [str(f.relative_to(tmp_path)) for f in found] == names


def test_linked_folders_are_searched_and_circles_are_not(tmp_path):
    for name in ("own/bus/a.wav", "elsewhere/b.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "own" / "park").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "own")
    found = recordings.find([tmp_path / "own"])
    assert [str(file.relative_to(tmp_path / "own")) for file in found] == ["bus/a.wav", "park/b.wav"]


def test_a_folder_that_cannot_be_read_is_named_and_the_others_go_on(tmp_path, model_file, monkeypatch, capsys):
    (tmp_path / "secret").mkdir()
    record(tmp_path / "park" / "a.wav", 1)
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)  # the tests may run as root, who reads everything
    assert command(model_file, tmp_path) == 1
    said = capsys.readouterr()
    assert "park/a.wav" in said.out and "secret: cannot be read (Permission denied)" in said.err
    with pytest.raises(InputError, match=r"secret: cannot be read \(Permission denied\)"):
        own.build(tmp_path)  # where it might hold a class


def test_the_table(tmp_path, model_file, model, capsys):
    files = [record(tmp_path / f"{i}.wav", 1, seed=i) for i in range(3)]
    assert command(model_file, *files, "--top", 2) == 0
    head, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert head == ["file", "label", "probability", "label_2", "probability_2", "remark"]
    for file, row in zip(files, rows, strict=True):
        p = whole(model, file)[0][0]
        first, second = np.argsort(-p)[:2]
        expected = [str(file), CLASSES[first], f"{p[first]:.4f}", CLASSES[second], f"{p[second]:.4f}"]
        assert row == [*expected, "unsure" if p.max() < 0.5 else ""]


def test_json_and_the_timeline(tmp_path, model_file, model, capsys):
    files = [record(tmp_path / "a.wav", 23), tmp_path / "missing.wav", record(tmp_path / "b.wav", 2, seed=1)]
    assert command(model_file, *files, "--json", "--segments", 5) == 1
    out, err = capsys.readouterr()
    first, second = json.loads(out)
    assert first.keys() == {"file", "label", "probabilities", "timeline"} and first["file"] == str(files[0])
    assert [(row["start"], row["end"]) for row in first["timeline"]] == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]
    assert list(first["probabilities"]) == list(CLASSES) and sum(first["probabilities"].values()) == pytest.approx(1)
    assert all(row["label"] == max(row["probabilities"], key=row["probabilities"].get) for row in first["timeline"])
    mean = sum(row["probabilities"]["bus"] * (row["end"] - row["start"]) for row in first["timeline"]) / 23
    assert first["probabilities"]["bus"] == pytest.approx(mean) and len(second["timeline"]) == 1
    assert f"error: {files[1]}: no such file" in err and "1 of 3 recordings could not be scored" in err
    assert command(model_file, *files[:1], "--segments", 10) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 3 and rows[2].split("\t")[1:3] == ["10.00", "23.00"]


@pytest.mark.parametrize("flags", [["--json"], ["--json", "--top", "2"]])
def test_json_is_whole_without_any_result(tmp_path, model_file, capsys, flags):
    assert command(model_file, tmp_path / "a.wav", *flags) == 1
    assert json.loads(capsys.readouterr().out) == []
    assert command(model_file, record(tmp_path / "b.wav"), *flags) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry.keys() == {"file", "label", "probabilities"} and len(entry["probabilities"]) in (8, 2)


def test_a_temperature_changes_probabilities_and_no_label(tmp_path, model_file, model, capsys):
    file = record(tmp_path / "a.wav")
    p = whole(model, file)[0][0]
    assert command(model_file, file, "--json", "--temperature", 2) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    expected = np.sqrt(p) / np.sqrt(p).sum()
    assert np.allclose(list(entry["probabilities"].values()), expected) and entry["label"] == CLASSES[p.argmax()]
    with pytest.raises(InputError, match="temperature.json: no such file"):
        command(model_file, file, "--temperature", "fitted")
    known = calibration.profile(np.random.default_rng(0).normal(size=(9, 16)), ["a"] * 9, np.empty((0, 16)))
    beside = model_file.with_name(calibration.NAME)
    calibration.write(beside, model.config, {"temperature": 2.0, "clips": 5}, known, {})
    assert command(model_file, file, "--json", "--temperature", "fitted") == 0
    out, err = capsys.readouterr()
    beside.unlink()
    (found,) = json.loads(out)
    assert found["probabilities"] == entry["probabilities"] and "temperature 2, fitted on 5 held-out clips" in err
    for value in ("0", "-1", "nan", "inf", "much", "1e-40"):
        with pytest.raises(InputError, match="temperature: .* give a number from 0.01 to 100"):
            command(model_file, file, f"--temperature={value}")


def at_fault(kind, file):
    if kind == "nothing":
        file.write_bytes(b"")
    elif kind == "no samples":
        soundfile.write(file, np.empty(0), RATE)
    elif kind == "text":
        file.write_text("not sound at all, and long enough to be looked into")
    elif kind == "silent":
        soundfile.write(file, np.zeros(RATE), RATE)
    elif kind == "NaN":
        wave = noise(1)
        wave[70] = np.nan
        soundfile.write(file, wave, RATE, subtype="FLOAT")
    elif kind == "0.05 s":
        record(file, 0.05)
    elif kind == "truncated":
        record(file, 30)
        file.write_bytes(file.read_bytes()[:-100_000])
    elif kind == "empty folder":
        file.mkdir()


@pytest.mark.parametrize(
    ("kind", "what"),
    [("missing", "no such file"), ("nothing", "is empty"), ("no samples", "holds no samples"),
     ("silent", "is silent"), ("text", "is not audio"), ("NaN", "holds NaN"),
     ("truncated", "truncated"), ("empty folder", "no recordings in it"),
     ("0.05 s", "lasts 0.050 s, shorter than the features' window of 0.063 s")],
)  # fmt: skip
def test_a_recording_at_fault_is_one_line_and_the_others_go_on(tmp_path, model_file, capsys, kind, what):
    bad, good = tmp_path / "bad.wav", record(tmp_path / "good.wav", 0.5)
    at_fault(kind, bad)
    assert command(model_file, bad, good) == 1
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == ["file", str(good)]
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and lines[0].startswith(f"error: {bad}: ") and what in lines[0]


@pytest.mark.parametrize(
    ("change", "what"),
    [(dict(rate=8000), "at 8000 Hz it holds nothing above 4000 Hz, where the network hears up to 16000: doubtful"),
     (dict(rate=22050), "at 22050 Hz it holds nothing above 11025 Hz"), 
     (dict(seconds=0.1), "lasts 0.10 s; the network"), (dict(gap=12), "is silent for 10.0 of 20.0 s: doubtful")],
)  # fmt: skip
def test_a_doubtful_result_is_given_and_said_to_be(tmp_path, model_file, capsys, change, what):
    wave = noise(20 if "gap" in change else change.get("seconds", 1), change.get("rate", RATE))
    if "gap" in change:
        wave[: 10 * RATE] = 0
    soundfile.write(tmp_path / "a.wav", wave, change.get("rate", RATE))
    assert command(model_file, tmp_path / "a.wav") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and out.rstrip("\n").endswith("doubtful")
    assert f"warning: {tmp_path / 'a.wav'}: {what}" in err
    assert command(model_file, tmp_path / "a.wav", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert [f"{doubt}: doubtful" for doubt in entry["doubts"] if doubt.startswith(what.removesuffix(": doubtful"))]


QUIETLY = {
    "one bit": np.random.default_rng(1).integers(-1, 2, 2 * RATE) / 32768,
    "a click and zeros": np.where(np.arange(2 * RATE) == 0, 0.1, 0),
    "-80 dB": 1e-4 * np.random.default_rng(1).standard_normal(2 * RATE),
    "float of 24 bits": 2.0**-23 * np.random.default_rng(1).standard_normal(2 * RATE),
}


@pytest.mark.parametrize("name", QUIETLY)
def test_near_silence_is_doubtful(tmp_path, model, name):
    soundfile.write(tmp_path / "a.wav", QUIETLY[name], RATE, subtype="FLOAT" if "float" in name else "PCM_16")
    (doubt,) = recordings.score(model, tmp_path / "a.wav").doubts
    assert doubt in ("is silent for 2.0 of 2.0 s", "is silent for 1.9 of 2.0 s")


def test_what_is_unlike_the_training_clips_is_doubtful(tmp_path, model, capsys):
    """By the profile beside the model, where one lies: of white noise at about one level, and a recording far below."""
    levels = np.random.default_rng(9).uniform(0.8, 1.2, 40)
    heard = [torch.from_numpy(level * noise(1, seed=seed).T).float() for seed, level in enumerate(levels)]
    known = np.concatenate([calibration.statistics(model.features(wave)) for wave in heard])
    about = calibration.profile(known, [f"p{i % 5}" for i in range(40)], known[:0])
    home = tmp_path / "model"
    home.mkdir()
    file = home / "compact.safetensors"
    compact.save_folded(dataclasses.replace(model, origin={"seconds": 1.0}), file)
    calibration.write(home / calibration.NAME, model.config, {"temperature": 1.0, "clips": 5}, about, {})
    for name, level in (("like.wav", 1), ("soft.wav", 0.01)):
        soundfile.write(tmp_path / name, level * noise(1, seed=77), RATE, subtype="FLOAT")
    assert command(file, tmp_path / "like.wav", tmp_path / "soft.wav") == 0
    out, err = capsys.readouterr()
    assert [line.split("\t")[-1].endswith("doubtful") for line in out.splitlines()[1:]] == [False, True]
    assert f"warning: {tmp_path / 'soft.wav'}: is unlike what the network was trained on: doubtful" in err
    assert command(file, tmp_path / "soft.wav", "--json", "--temperature", "fitted") == 0
    assert recordings.STRANGE in json.loads(capsys.readouterr().out)[0]["doubts"]
    record(tmp_path / "long.wav", 10, seed=5)  # a profile of clips of 1 s tells nothing of 10 s
    assert recordings.score(compact.load(file), tmp_path / "long.wav", about={"profile": about}).unlike == ()
    (home / calibration.NAME).write_text("{}")
    assert command(file, tmp_path / "soft.wav") == 0
    out, err = capsys.readouterr()
    assert "warning: " in err and "is no whole temperature.json" in err and "doubtful" not in out


def test_pauses_are_no_doubt_and_samples_beyond_full_scale_are_scored_as_they_are(tmp_path, model):
    """As the exported file scores them: not clipped."""
    wave = 8 * noise(12)
    wave[3 * RATE : 4 * RATE] = 0
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    found, (scores, _) = recordings.score(model, tmp_path / "a.wav"), whole(model, tmp_path / "a.wav")
    assert np.abs(wave).max() > 2 and np.allclose(found.probabilities, scores[0], atol=1e-9)
    assert found.notes == ("beyond full scale",) and found.doubts == ()
    soundfile.write(tmp_path / "a.wav", 32767 * noise(1), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match="where full scale is 1"):
        recordings.score(model, tmp_path / "a.wav")


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.mark.parametrize("kind", ["pickle", "truncated", "missing"])
def test_a_foreign_model_is_one_line(tmp_path, model_file, kind):
    file, trap = tmp_path / "model.safetensors", tmp_path / "trap"
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Trap(trap)))
    elif kind == "truncated":
        file.write_bytes(model_file.read_bytes()[:-1000])
    with pytest.raises(InputError, match="no such model" if kind == "missing" else "is no whole safetensors"):
        command(file, record(tmp_path / "a.wav"))
    assert not trap.exists()


def test_a_manifest_is_scored_into_a_table(tmp_path, model_file, model):
    names = [f"audio/{i}.wav" for i in range(4)]
    for i, name in enumerate(names[:3]):
        record(tmp_path / "set" / name, 0.5, seed=i)
    (tmp_path / "set" / "meta.csv").write_text("filename\tscene_label\n" + "".join(f"{n}\tbus\n" for n in names))
    out, listed = tmp_path / "out.tsv", tmp_path / "set" / "meta.csv"
    assert command(model_file, "--manifest", listed, "--out", out) == 1
    head, *rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert head == ["filename", "scene_label", *CLASSES] and [row[0] for row in rows] == names[:3]
    p = whole(model, tmp_path / "set" / names[1])[0][0]
    assert np.allclose(list(map(float, rows[1][2:])), p, atol=1e-9) and rows[1][1] == CLASSES[p.argmax()]
    failed = (tmp_path / "out.failed.tsv").read_text().splitlines()
    assert failed[0] == "filename\treason" and failed[1].startswith("audio/3.wav\t") and "no such file" in failed[1]
    record(tmp_path / "set" / names[3], 0.5, seed=3)
    assert command(model_file, "--manifest", listed, "--out", out) == 0
    again = [line.split("\t") for line in out.read_text().splitlines()[1:]]
    assert again[:3] == rows and again[3][0] == names[3] and not (tmp_path / "out.failed.tsv").exists()


@pytest.mark.parametrize("target", ["list.txt", "model.safetensors", "a.wav", "link.tsv", "pipe"])
def test_what_is_read_is_not_written_over(tmp_path, model_file, target):
    record(tmp_path / "a.wav")
    (tmp_path / "list.txt").write_text("a.wav\n")
    shutil.copy(model_file, tmp_path / "model.safetensors")
    (tmp_path / "link.tsv").symlink_to(tmp_path / "list.txt")
    os.mkfifo(tmp_path / "pipe")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    what = "no ordinary file" if target == "pipe" else "is read here, and would be written over"
    with pytest.raises(InputError, match=f"{target}: .*{what}"):
        command(tmp_path / "model.safetensors", "--manifest", tmp_path / "list.txt", "--out", tmp_path / target)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


def test_names_stay_in_their_field_and_line(tmp_path, model_file, capsys):
    names = ["tab\there.wav", "new\nline.wav", "next\x85line.wav", " lead.wav"]
    for name in names:
        record(tmp_path / name)
    assert command(model_file, *(tmp_path / name for name in names)) == 0
    rows = capsys.readouterr().out.split("\n")[1:-1]
    assert [row.split("\t")[0].rpartition("/")[2] for row in rows] == ["tab\\there.wav", "new\\nline.wav", *names[2:]]
    (tmp_path / "list.txt").write_text("\r\n".join(names[2:]) + "\r\n")
    assert command(model_file, "--manifest", tmp_path / "list.txt", "--out", tmp_path / "out.tsv") == 0
    assert [line.split("\t")[0] for line in (tmp_path / "out.tsv").read_text().split("\n")[1:-1]] == names[2:]


@pytest.mark.parametrize(
    ("text", "flags", "what"),
    [("a.wav\nb.wav\na.wav\n", [], "names a.wav twice"), ("\n\n", [], "names no recording"),
     (None, [], "cannot be read"),
     ("a.wav\n", ["--out", "/proc/none/x.tsv"], "cannot be written"), ("a.wav\n", ["--out", "/"], "is a folder"),
     ("a.wav\n", ["--segments", "0.2"], "segments: 0.2 s is out of range")],
)  # fmt: skip
def test_faults_of_the_manifest_and_the_table_show_before_the_work(tmp_path, model_file, text, flags, what):
    listed, out = tmp_path / "list.txt", tmp_path / "out.tsv"
    if text is not None:
        listed.write_text(text)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=what) as caught:
        command(model_file, "--manifest", listed, "--out", out, *flags)
    assert "\n" not in str(caught.value) and sorted(tmp_path.iterdir()) == before


def test_a_table_has_odd_names_among_its_failures_and_is_not_written_over_them(tmp_path, model_file):
    record(tmp_path / "a.wav", 0.5)
    listed, out, failed = tmp_path / "list.txt", tmp_path / "out.tsv", tmp_path / "out.failed.tsv"
    listed.write_text(f"a.wav\n{'x' * 300}.wav\n")  # longer than a file system takes
    assert command(model_file, "--manifest", listed, "--out", out) == 1
    before = failed.read_bytes()
    with pytest.raises(InputError, match="out.failed.tsv: is read here, and would be written over"):
        command(model_file, "--manifest", failed, "--out", out)
    assert failed.read_bytes() == before


LISTEN = """
import resource, sys
from pathlib import Path
from asc_kit import kernels
from asc_kit.deploy import compact, quick, recordings
kernels.keep_memory()  # as predict does
model, *files = sys.argv[1:]
model = quick.quickened(compact.load(model))
for file in files:
    found = recordings.score(model, Path(file))
    print(len(found.segments), found.segments[-1].end, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peaks(model_file, *files):
    """Windows, seconds and peak memory (MB) so far of each file, in one new process."""
    done = subprocess.run([sys.executable, "-c", LISTEN, str(model_file), *map(str, files)], cwd=ROOT, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return [tuple(map(float, line.split())) for line in done.stdout.splitlines()]


def long_recording(file, minutes, rate):
    with soundfile.SoundFile(file, "w", rate, 1, subtype="PCM_16") as sound:
        minute = noise(60, rate)
        for _ in range(minutes):
            sound.write(minute)
    return file


def test_twenty_minutes_take_the_memory_of_one(tmp_path, model_file):
    files = [long_recording(tmp_path / f"{minutes}.wav", minutes, RATE) for minutes in (1, 20)]
    one, twenty = peaks(model_file, *files)
    assert one[:2] == (6, 60) and twenty[:2] == (120, 1200) and twenty[2] < one[2] + 20


@pytest.mark.long
def test_three_hours_take_the_memory_of_a_minute(tmp_path, model_file):
    files = [long_recording(tmp_path / f"{minutes}.wav", minutes, 16000) for minutes in (1, 180)]
    one, hours = peaks(model_file, *files)
    assert hours[:2] == (1080, 10800) and hours[2] < one[2] + 20


def test_the_command_starts_fast_and_imports_no_more_than_it_needs(tmp_path, model_file):
    heavy = "{'sklearn', 'scipy', 'matplotlib', 'snakemake', 'papermill', 'onnx'}"
    code = ("import sys; from asc_kit.__main__ import app; app(sys.argv[1:], standalone_mode=False); "
            f"print(sorted({heavy} & set(sys.modules)))")  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, "predict", str(model_file), str(record(tmp_path / "a.wav"))],
                          cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.splitlines()[-1] == "[]"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4  # 2.1 s on a quiet core


@pytest.mark.parametrize("flags", [["--json"], ["--top", 2], ["a.wav", "--root", "."]])
def test_options_that_would_say_nothing_are_usage(tmp_path, flags):
    listed = [] if "a.wav" in flags else ["--manifest", tmp_path / "list.txt", "--out", tmp_path / "out.tsv"]
    with pytest.raises(typer.BadParameter, match="give files, or --manifest and --out"):
        command("model", *flags, *listed)


def test_names_that_are_not_utf_8_end_nothing(tmp_path, model_file):
    """On a strict standard output: soundfile takes no such name, and ffmpeg does."""
    name, wave = os.fsdecode(b"caf\xe9"), record(tmp_path / "a.wav")
    path = fake_ffmpeg(tmp_path / "bin", wave)
    for suffix in ("m4a", "wav"):
        (tmp_path / f"{name}.{suffix}").write_bytes(wave.read_bytes())
    strict = os.environ | {"PATH": path, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-m", "asc_kit", "predict", str(model_file), str(tmp_path)],
                          cwd=ROOT, capture_output=True, text=True, env=strict)  # fmt: skip
    rows = [line.split("\t")[0].removeprefix(f"{tmp_path}/") for line in done.stdout.splitlines()]
    assert done.returncode == 1 and rows == ["file", "a.wav", r"caf\udce9.m4a"]
    assert rf"error: {tmp_path}/caf\udce9.wav: its name is not UTF-8; rename it" in done.stderr


def test_exit_status_of_usage_and_of_faults(tmp_path, model_file):
    done = cli("predict", model_file)
    assert done.returncode == 2 and "give files, or --manifest and --out" in " ".join(done.stderr.split())
    done = cli("predict", model_file, tmp_path / "a.wav")
    assert done.returncode == 1
    assert done.stdout == "file\tlabel\tprobability\tremark\n"
