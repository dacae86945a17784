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

from asc_kit.common.errors import InputError
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
    waves = [random.standard_normal((1, RATE)) * random.uniform(0.04, 0.06) for _ in range(60)]
    known = np.concatenate([calibration.statistics(model.features(lab.torch.tensor(w).float())) for w in waves])
    effect = {"temperature": 2.5, "log_loss_before": 1.25, "log_loss_after": 1.125, "clips": 77}
    profile = calibration.profile(known[:50], [f"p{i % 5}" for i in range(50)], known[50:])
    calibration.write(file.with_name(calibration.NAME), model.config, effect, profile)
    return lab.Listener(file)


def test_the_demo_is_taken_before_the_real_recordings_and_the_largest_before_the_newest(tmp_path):
    assert lab.choose_model("results/x/model.safetensors", tmp_path) == ROOT / "results/x/model.safetensors"
    real = ROOT / "results" / "tut2017_full" / "submission_2" / "seed_0" / "model.safetensors"
    assert lab.choose_model(None, tmp_path) == tmp_path / real.relative_to(ROOT / "results") and real.is_file()
    for age, name in enumerate(("1/seed_0", "4/seed_1", "4/seed_0", "baseline/seed_0")):
        file = tmp_path / "demo" / f"submission_{name}" / "model.safetensors"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1000 - 10 * age, 1000 - 10 * age))
    assert lab.choose_model(None, tmp_path) == tmp_path / "demo" / "submission_4" / "seed_1" / "model.safetensors"


def test_the_recording_of_the_kit_is_synthetic_and_made_once(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("ASC_CACHE", str(tmp_path))
    file = lab.choose_recording()
    wave, rate = soundfile.read(file)
    assert rate == RATE and len(wave) == 30 * RATE and 0.01 < np.abs(wave).max() <= 1
    written = file.stat().st_mtime_ns
    assert lab.choose_recording() == file and file.stat().st_mtime_ns == written
    assert len(recordings.find([file.parent])) == len(lab.CLIPS) and lab.synthetic(file)
    assert not lab.synthetic(folder / "a.wav") and lab.choose_recording(str(folder / "a.wav")) == folder / "a.wav"


@pytest.mark.parametrize(("name", "windows", "seconds"), [("a.wav", 3, 3), ("b.flac", 1, 1), ("long.wav", 19, 60)])
def test_what_is_heard_is_what_predict_says_and_the_first_minute(plain, folder, name, windows, seconds):
    heard = plain.hear(folder / name)
    expected = recordings.score(plain.model, folder / name)
    assert np.array_equal(heard.result.probabilities, expected.probabilities) and not heard.synthetic
    assert len(heard.timeline.segments) == windows and len(heard.wave) == pytest.approx(seconds * RATE, abs=1)
    assert heard.timeline.segments[-1].end == pytest.approx(heard.seconds, abs=1e-3) and heard.unlike == ()
    assert heard.level.shape == (plain.model.config.features.frames(len(heard.wave)), 32)


def test_a_temperature_gives_what_predict_gives_with_it(fitted, folder):
    cool, plain = (fitted.hear(folder / "long.wav", applied) for applied in (True, False))
    expected = recordings.score(fitted.model, folder / "long.wav", temperature=2.5)
    assert np.array_equal(cool.result.probabilities, expected.probabilities)
    assert cool.timeline.segments[3].probabilities.max() < plain.timeline.segments[3].probabilities.max()


def test_words_without_a_temperature(plain, folder):
    lines = plain.words(plain.hear(folder / "b.flac"))
    assert any("at 8000 Hz it holds nothing above 4000 Hz" in line for line in lines)
    assert "note: 8000 Hz resampled to 44100 Hz" in lines
    (missing,) = [line for line in lines if "temperature" in line]
    assert "temperature.json: no such file" in missing and "is not known" in missing
    assert not any(line.startswith("synthetic") for line in lines)


def test_words_with_a_temperature_and_of_a_stranger(fitted, folder, tmp_path):
    lines = fitted.words(fitted.hear(folder / "long.wav", applied=True))  # louder than what it was trained on
    assert "unlike the training data: 8 of 8 windows of 10 s" in " ".join(lines)
    assert ("temperature 2.5, applied here: on the 77 validation clips it was fitted on, log loss is 1.250 without it, "
            "1.125 with it") in lines  # fmt: skip
    soundfile.write(tmp_path / "like.wav", 0.05 * np.random.default_rng(5).standard_normal(RATE), RATE)
    lines = fitted.words(fitted.hear(tmp_path / "like.wav"))
    assert "not unlike the training data" in lines and any("not applied here" in line for line in lines)


def scored(*rows):
    parts = tuple(recordings.Segment(i, i + 1.0, np.array(row)) for i, row in enumerate(rows))
    return recordings.Scored(ROOT, np.mean(rows, axis=0), parts, (), ())


def test_unsure_sure_and_changes_in_time(plain):
    sure, other = np.full(10, 0.01), np.full(10, 0.01)
    sure[2], other[4] = 0.91, 0.91
    heard = lab.Classified(scored(sure), scored(sure, sure, other), np.zeros(9), np.zeros((9, 9)), (), True, False)
    lines = plain.words(heard)
    assert lines[0] == "c; the first are c 0.91, a 0.01, b 0.01" and lines[1] == "in time: 0 to 2 s c, 2 to 3 s e"
    assert lines[-1].startswith("synthetic: ")
    heard = lab.Classified(
        scored(sure, other), scored(*[sure, other] * 4), np.zeros(9), np.zeros((9, 9)), (), False, False
    )
    assert plain.words(heard)[:2] == ["unsure: no class has a probability of 0.5; the first are c 0.46, e 0.46, a 0.01",
                                      "in time: changes 7 times, between c, e"]  # fmt: skip


def test_the_picture_shows_the_probabilities_as_bars_and_in_time(fitted, folder):
    tempered = fitted.hear(folder / "a.wav", applied=True)
    figure = fitted.draw(tempered)
    mel, bars, times, *_ = figure.axes
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(tempered.result.probabilities)
    assert bars.get_title() == "with the temperature"
    drawn = times.collections[0].get_array().reshape(10, 3)
    assert np.allclose(drawn.T, [part.probabilities for part in tempered.timeline.segments])
    assert [label.get_text() for label in bars.get_yticklabels()] == list(CLASSES) and "log-mel" in mel.get_title()
    assert f"a.wav: {CLASSES[tempered.result.probabilities.argmax()]}, probability" in figure.get_suptitle()
    plt.close(figure)


@pytest.fixture
def shown(fitted, folder):
    return lab.Recording(fitted, folder / "a.wav")


def test_a_recording_is_chosen_and_shown(shown, folder):
    assert [name for name, _ in shown.file.options] == ["a.wav", "b.flac", "c.wav", "long.wav"]
    first = shown.image.value
    assert '<img alt="log-mel and probabilities of a.wav: ' in first and "2.5, not applied" in shown.words.value
    shown.file.value = folder / "b.flac"
    assert shown.image.value != first and "8000 Hz" in shown.words.value and "real recording" in shown.sound.value
    assert plt.get_fignums() == []


def test_a_fault_is_one_line_and_nothing_of_the_last_recording_stays(shown, folder):
    shown.file.value = folder / "c.wav"
    assert "c.wav: is not audio" in shown.message.value and shown.message.value.count("<span") == 1
    assert {part.layout.display for part in (shown.words, shown.sound, shown.image)} == {"none"}
    shown.file.value = folder / "a.wav"
    assert shown.message.value == "" and shown.image.layout.display is None and shown.words.value


def test_the_temperature_is_applied_and_taken_back(shown, plain, folder):
    before = shown.image.value, shown.words.value
    shown.applied.value = True
    assert "temperature 2.5, applied" in shown.words.value and shown.image.value != before[0]
    shown.applied.value = False
    assert (shown.image.value, shown.words.value) == before
    assert not shown.applied.disabled and lab.Recording(plain, folder / "a.wav").applied.disabled


def sent(file, name=None):
    """What the browser's upload gives."""
    return ({"name": name or file.name, "type": "audio/x-wav", "size": file.stat().st_size,
             "content": memoryview(file.read_bytes()), "last_modified": datetime(2026, 1, 1)},)  # fmt: skip


def test_an_upload_is_classified_also_the_second_of_the_same_name(shown, folder):
    shown.upload.value = sent(folder / "b.flac", "../../x.flac")
    assert shown.file.label == "uploaded: x.flac" and "8000 Hz" in shown.words.value
    assert not (folder.parent.parent / "x.flac").exists() and shown.file.value.parent.name.startswith("asc-kit-upload")
    first = shown.image.value
    shown.upload.value = sent(folder / "a.wav", "x.flac")
    assert shown.image.value != first and "8000 Hz" not in shown.words.value
    assert [name for name, _ in shown.file.options].count("uploaded: x.flac") == 1


def test_another_folder(shown, folder, tmp_path):
    shown.folder.value = str(tmp_path)
    assert f"{tmp_path}: no recordings in it" in shown.message.value and shown.file.options == ()
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "z.wav", 0.1 * np.random.default_rng(1).standard_normal(RATE), RATE)
    shown.folder.value = f"{tmp_path}/"
    assert shown.file.label == "in/z.wav" and "z.wav" in str(shown.file.value) and shown.message.value == ""


def test_the_player_plays_in_jupyterlab(shown, folder, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "x")
    shown.file.value = folder / "long.wav"
    assert "<audio" in shown.sound.value


def test_a_damaged_temperature_is_said_and_the_model_is_used(tmp_path, folder):
    file = model_in(tmp_path)
    (tmp_path / calibration.NAME).write_text(json.dumps({"temperature": 2}))
    listener = lab.Listener(file)
    assert listener.temperature == 1 and any("is no whole temperature.json" in line
                                             for line in listener.words(listener.hear(folder / "a.wav")))  # fmt: skip
    with pytest.raises(InputError, match="no such model"):
        lab.Listener(tmp_path / "other.safetensors")
