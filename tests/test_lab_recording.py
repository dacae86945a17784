"""10_your_recording: which model and recording are taken, what is said, drawn and played, and each control."""

import json
import os
from datetime import datetime

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
from conftest import ROOT
from test_folding import CLASSES, trained

from asc_kit.common import InputError
from asc_kit.data import corpus as corpora
from asc_kit.deploy import calibration, compact, recordings
from asc_kit.lab import recording as lab

RATE = 44100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three recordings, one of which is none."""
    folder = tmp_path_factory.mktemp("sounds")
    for name, seconds, rate in (("a.wav", 3, RATE), ("b.flac", 1, 8000), ("long.wav", 75, RATE)):
        noise = np.random.default_rng(len(name)).standard_normal(round(seconds * rate))
        soundfile.write(folder / name, 0.1 * noise, rate)
    (folder / "c.wav").write_text("not sound")
    return folder


def model_in(folder):
    compact.save(*trained("1"), CLASSES, folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model without a temperature."""
    return lab.Listener(model_in(tmp_path_factory.mktemp("plain")))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model with a temperature of 2.5, whose training clips were white noise of half the level of a.wav."""
    file = model_in(tmp_path_factory.mktemp("fitted"))
    model, random = compact.load(file), np.random.default_rng(0)
    waves = [random.standard_normal((1, 10 * RATE)) * random.uniform(0.04, 0.06) for _ in range(60)]
    known = np.concatenate([calibration.statistics(model.features(lab.torch.tensor(w).float())) for w in waves])
    effect = {"temperature": 2.5, "log_loss_before": 1.25, "log_loss_after": 1.125, "clips": 77}
    profile = calibration.profile(known[:50], [f"p{i % 5}" for i in range(50)], known[50:])
    calibration.write(file.with_name(calibration.NAME), model.config, effect, profile, {})
    return lab.Listener(file)


def test_the_demo_is_taken_before_the_real_recordings_and_the_largest_before_the_newest(tmp_path):
    assert lab.choose_model("results/x/model.safetensors", tmp_path) == ROOT / "results/x/model.safetensors"
    real = ROOT / "results" / "small" / "model.safetensors"
    assert lab.choose_model(None, tmp_path) == tmp_path / real.relative_to(ROOT / "results") and real.is_file()
    for age, name in enumerate(("1/seed_0", "4/seed_1", "4/seed_0", "baseline/seed_0")):
        file = tmp_path / "demo" / f"submission_{name}" / "model.safetensors"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1000 - 10 * age, 1000 - 10 * age))
    assert lab.choose_model(None, tmp_path) == tmp_path / "demo" / "submission_4" / "seed_1" / "model.safetensors"


def test_the_recording_of_the_kit_is_a_synthetic_clip_that_nothing_is_trained_on(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("ASC_CACHE", str(tmp_path))
    monkeypatch.setenv("ASC_SMOKE", "1")
    file = lab.choose_recording()
    training, evaluation = corpora.read(file.parents[1]).split(1, 5)
    names = [str(file.relative_to(file.parents[1]))]
    assert evaluation.filename.isin(names).any() and not training.filename.isin(names).any() and lab.synthetic(file)
    assert not lab.synthetic(folder / "a.wav") and lab.choose_recording(str(folder / "a.wav")) == folder / "a.wav"


@pytest.mark.parametrize(("name", "windows", "seconds"), [("a.wav", 3, 3), ("b.flac", 1, 1), ("long.wav", 19, 60)])
def test_what_is_found_is_what_predict_says_and_the_first_minute(plain, folder, name, windows, seconds):
    found = plain.classify(folder / name)
    expected = recordings.score(plain.model, folder / name)
    assert np.array_equal(found.result.probabilities, expected.probabilities) and not found.synthetic
    assert len(found.timeline.segments) == windows and len(found.wave) == pytest.approx(seconds * RATE, abs=1)
    assert found.timeline.segments[-1].end == pytest.approx(found.seconds, abs=1e-3) and found.result.unlike == ()


def test_words_without_a_temperature(plain, folder):
    lines = plain.words(plain.classify(folder / "b.flac"))
    assert any("at 8000 Hz it holds nothing above 4000 Hz" in line for line in lines)
    assert "note: 8000 Hz resampled to 44100 Hz" in lines
    (missing,) = [line for line in lines if "temperature" in line]
    assert "temperature.json: no such file" in missing and "is not known" in missing
    assert not any(line.startswith("synthetic") for line in lines)


def test_words_with_a_temperature_and_of_a_stranger(fitted, folder, tmp_path):
    lines = fitted.words(fitted.classify(folder / "long.wav"))  # louder than what it was trained on
    assert "unlike the training data: 8 of 8 windows of 10 s" in " ".join(lines)
    assert ("temperature 2.5, not applied here: on the 77 held-out clips it was fitted on, log loss is 1.250 without it, "
            "1.125 with it") in lines  # fmt: skip
    soundfile.write(tmp_path / "like.wav", 0.05 * np.random.default_rng(5).standard_normal(10 * RATE), RATE)
    lines = fitted.words(fitted.classify(tmp_path / "like.wav"))
    assert "like the training data" in lines
    assert any("is not known: its windows have another length" in line for line in
               fitted.words(fitted.classify(folder / "b.flac")))  # fmt: skip


def scored(*rows):
    parts = tuple(recordings.Segment(i, i + 1.0, np.array(row)) for i, row in enumerate(rows))
    return recordings.Scored(ROOT, np.mean(rows, axis=0), parts, (), ())


def test_unsure_and_sure(plain):
    sure, other = np.full(10, 0.01), np.full(10, 0.01)
    sure[2], other[4] = 0.91, 0.91
    found = lab.Classified(scored(sure), scored(sure, sure, other), np.zeros(9), True)
    lines = plain.words(found)
    assert lines[0] == "c; the first are c 0.91, a 0.01, b 0.01" and lines[-1].startswith("synthetic: ")
    found = lab.Classified(scored(sure, other), scored(sure, other), np.zeros(9), False)
    assert plain.words(found)[0] == "unsure: no class has a probability of 0.5; the first are c 0.46, e 0.46, a 0.01"


def test_the_picture_shows_the_probabilities_as_bars_and_in_time(fitted, folder):
    found = fitted.classify(folder / "a.wav")
    figure = fitted.draw(found)
    mel, bars, times, *_ = figure.axes
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(found.result.probabilities)
    values = times.collections[0].get_array().reshape(10, 3)
    assert np.allclose(values.T, [part.probabilities for part in found.timeline.segments])
    assert [label.get_text() for label in bars.get_yticklabels()] == list(CLASSES)
    assert mel.get_title() == "log-mel of a.wav" and times.yaxis_inverted() and bars.yaxis_inverted()
    assert mel.images[0].get_array().shape == (32, fitted.model.config.features.frames(len(found.wave)))
    plt.close(figure)


@pytest.fixture
def shown(fitted, folder):
    return lab.Recording(fitted, folder / "a.wav")


def sent(file, name=None):
    """What the browser's upload gives."""
    return ({"name": name or file.name, "type": "audio/x-wav", "size": file.stat().st_size,
             "content": memoryview(file.read_bytes()), "last_modified": datetime(2026, 1, 1)},)  # fmt: skip


def test_a_recording_is_uploaded_and_shown(shown, folder):
    first, open_before = shown.image.value, plt.get_fignums()
    assert '<img alt="log-mel and probabilities of a.wav: ' in first and "2.5, not applied" in shown.words.value
    shown.upload.value = sent(folder / "b.flac")
    assert shown.image.value != first and "8000 Hz" in shown.words.value and "real recording" in shown.sound.value
    assert plt.get_fignums() == open_before


def test_a_fault_is_one_line_and_nothing_of_the_last_recording_stays(shown, folder):
    shown.upload.value = sent(folder / "c.wav")
    assert "c.wav: is not audio" in shown.message.value and shown.message.value.count("<span") == 1
    assert {part.layout.display for part in (shown.words, shown.sound, shown.image)} == {"none"}
    shown.upload.value = sent(folder / "a.wav")
    assert shown.message.value == "" and shown.image.layout.display is None and shown.words.value


def test_an_upload_stays_in_its_own_folder_also_the_second_of_the_same_name(shown, folder):
    shown.upload.value = sent(folder / "b.flac", "../../x.flac")
    assert "8000 Hz" in shown.words.value and shown.file.name == "x.flac"
    assert not (folder.parent.parent / "x.flac").exists() and shown.file.parent.name.startswith("asc-kit-upload")
    first = shown.image.value
    shown.upload.value = sent(folder / "a.wav", "x.flac")
    assert shown.image.value != first and "8000 Hz" not in shown.words.value


def test_the_player_plays_in_jupyterlab(shown, folder, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "x")
    shown.upload.value = sent(folder / "long.wav")
    assert "<audio" in shown.sound.value


def test_a_damaged_temperature_is_said_and_the_model_is_used(tmp_path, folder):
    file = model_in(tmp_path)
    (tmp_path / calibration.NAME).write_text(json.dumps({"temperature": 2}))
    listener = lab.Listener(file)
    assert listener.about is None and any("is no whole temperature.json" in line
                                             for line in listener.words(listener.classify(folder / "a.wav")))  # fmt: skip
    with pytest.raises(InputError, match="no such model"):
        lab.Listener(tmp_path / "other.safetensors")
