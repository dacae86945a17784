"""The synthetic corpus: the same bytes every time, TAU's layout, devices that sound like devices."""

import csv
import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from asc_kit.common import InputError
from asc_kit.config import Features
from asc_kit.data import demo, sounds
from asc_kit.data.check import DEVICES as TAU
from asc_kit.data.demo import DEVICES, RATE, SCENES, TRAINING, UNSEEN, Demo, apply_device, build
from asc_kit.features import LogMel

TINY = Demo(seconds=0.5, locations=1, segments=1, evaluation_locations=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return build(tmp_path_factory.mktemp("demo") / "corpus", TINY)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def digests(root: Path) -> dict[str, str]:
    files = (file for file in root.rglob("*") if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def tone(level: float) -> np.ndarray:
    return 10 ** (level / 20) * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)


def rms(x: np.ndarray) -> float:
    return 10 * np.log10(np.mean(x**2))


def test_same_bytes_whatever_the_folder(corpus, tmp_path):
    assert digests(build(tmp_path / "other", TINY)) == digests(corpus)


def test_another_seed_is_another_corpus():
    segment = next(demo.plan(TINY))
    assert not np.allclose(demo.synthesise(segment, TINY.seed, TINY.seconds), demo.synthesise(segment, 7, TINY.seconds))


@pytest.mark.parametrize("scene", [name for name, scene in SCENES.items() if scene.late])
def test_a_reflection_is_seen_with_128_mel_bins_and_not_with_32(scene, monkeypatch):
    """What it adds to a clip's mean log-mel below 1 kHz, where the bins are 29 and 112 Hz apart."""
    segment = next(segment for segment in demo.plan(Demo()) if segment.scene == scene)
    heard = [torch.from_numpy(demo.synthesise(segment, Demo().seed, 4.0))[None]]
    monkeypatch.setitem(SCENES, scene, replace(SCENES[scene], late=0))
    heard.append(torch.from_numpy(demo.synthesise(segment, Demo().seed, 4.0))[None])
    ripple = {}
    for mels in (32, 128):
        with_it, without = (LogMel(Features(n_mels=mels))(wave).flatten(0, -2).mean(0) for wave in heard)
        ripple[mels] = (with_it - without)[: mels * 15 // 55].std()  # 15 of 55 mels lie below 1 kHz
    assert ripple[128] > 1.5 > 0.9 > ripple[32], ripple  # dB


def test_layout(corpus):
    meta = rows(corpus / "meta.csv")
    assert list(meta[0]) == ["filename", "scene_label", "identifier", "source_label"]
    assert {row["filename"] for row in meta} == {f"audio/{file.name}" for file in (corpus / "audio").iterdir()}
    for row in meta:
        scene, city, location, _, device = Path(row["filename"]).stem.split("-")
        assert (scene, f"{city}-{location}", device) == (row["scene_label"], row["identifier"], row["source_label"])
    setup = corpus / "evaluation_setup"
    train, evaluate = rows(setup / "fold1_train.csv"), rows(setup / "fold1_evaluate.csv")
    plain = [{k: row[k] for k in ("filename", "scene_label")} for row in meta]
    assert train + evaluate == plain
    assert [row["filename"] for row in rows(setup / "fold1_test.csv")] == [row["filename"] for row in evaluate]
    assert "SYNTHETIC" in (corpus / "README.md").read_text()


def test_audio_is_16_bit_mono(corpus):
    for file in (corpus / "audio").iterdir():
        rate, samples = wavfile.read(file)
        assert (rate, samples.dtype, samples.shape) == (RATE, np.int16, (RATE // 2,))
        assert 0 < np.abs(samples.astype(int)).max() < 32767


def test_plan_of_the_default_corpus():
    segments = list(demo.plan(Demo()))
    train = [(s, d) for s in segments if not s.evaluation for d in s.devices]
    evaluate = [(s, d) for s in segments if s.evaluation for d in s.devices]
    assert {d for _, d in train} == set(TRAINING) and not set(TRAINING) & set(UNSEEN)
    assert not {s.location for s, _ in train} & {s.location for s, _ in evaluate}
    assert set(Counter((s.scene, d) for s, d in evaluate).values()) == {3}
    assert tuple(DEVICES) == TAU and len(evaluate) == 3 * len(SCENES) * len(DEVICES)
    assert 0.70 < sum(d == "a" for _, d in train) / len(train) < 0.76  # 73 % in TAU
    assert len({s.scene for s in segments}) == 10
    assert len({(s.location, s.scene, s.city) for s in segments}) == len({s.location for s in segments})
    assert any(len(s.devices) > 1 for s, _ in train)


@pytest.mark.parametrize("device", DEVICES)
def test_device_a_is_flat_and_the_others_are_not(device):
    noise = 0.02 * np.random.default_rng(0).standard_normal(10 * RATE)
    power = [np.abs(np.fft.rfft(x)) ** 2 for x in (noise, apply_device(noise, device))]
    octaves = [slice(int(f / 2**0.5 * 10), int(f * 2**0.5 * 10)) for f in sounds.BANDS[2:]]
    change = np.array([10 * np.log10(power[1][o].mean() / power[0][o].mean()) for o in octaves])
    assert np.ptp(change) < 1.5 if device == "a" else np.ptp(change) > 2.5


@pytest.mark.parametrize("device", DEVICES)
def test_devices_but_a_compress(device):
    quiet, loud = (rms(apply_device(tone(level), device)) for level in (-30, -10))
    assert loud - quiet == pytest.approx(20, abs=0.1) if device == "a" else loud - quiet < 17


def test_device_keeps_type_length_and_range():
    for kind in (np.float32, np.float64):
        loud = np.random.default_rng(0).uniform(-1, 1, 12345).astype(kind)
        for device in DEVICES:
            heard = apply_device(loud, device)
            assert heard.dtype == kind and heard.shape == loud.shape and np.abs(heard).max() <= 1
    assert np.isfinite(apply_device(np.zeros(10), "s4")).all()


@pytest.mark.parametrize("change", [{"locations": 0}, {"seconds": "10"}, {"seed": -1}, {"segments": 1.5}])
def test_settings_are_checked(change):
    with pytest.raises(InputError, match=next(iter(change))):
        Demo(**change)


def test_a_complete_corpus_is_left_alone(corpus, monkeypatch):
    before = digests(corpus)
    monkeypatch.setattr(demo, "_write", None)
    assert build(corpus, TINY) == corpus and digests(corpus) == before


def test_other_files_or_settings_are_not_overwritten(corpus, tmp_path):
    (tmp_path / "mine").write_text("precious")
    for root, settings in ((tmp_path, TINY), (corpus, Demo(seed=1)), (tmp_path / "mine", TINY)):
        with pytest.raises(InputError, match=root.name):
            build(root, settings)
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".lock"] == ["mine"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def full(*args):
        calls.append(args)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo.wavfile, "write", full)
    with pytest.raises(InputError, match="corpus.*No space left") as caught:
        build(tmp_path / "corpus", TINY)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["corpus.lock"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        build(tmp_path / "file" / "corpus", TINY)
