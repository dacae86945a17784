"""The temperature and what it does to log loss; recordings that are unlike those a network was trained on."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import real

from asc_kit import metrics
from asc_kit.common import InputError
from asc_kit.config import Features
from asc_kit.data import corpus as corpora
from asc_kit.data.store import open_store
from asc_kit.deploy import calibration
from asc_kit.features import LogMel
from asc_kit.run.recipes import Recipe


def sharpened(temperature, clips=4000, classes=4):
    """Labels drawn by known probabilities, and those probabilities with logits times ``temperature``."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=1.5, size=(clips, classes))
    true = metrics.softmax(logits)
    labels = np.array([random.choice(classes, p=row) for row in true])
    return metrics.softmax(logits * temperature), labels, true


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_comes_out(temperature):
    probabilities, labels, true = sharpened(temperature)
    found = calibration.fit(probabilities, labels)
    assert found["temperature"] == pytest.approx(temperature, rel=0.05) and found["clips"] == 4000
    assert found["log_loss_before"] == pytest.approx(metrics.log_loss(probabilities, labels))
    assert found["log_loss_after"] <= found["log_loss_before"]
    assert found["log_loss_after"] == pytest.approx(metrics.log_loss(true, labels), abs=1e-3)
    for other in (0.9, 1.1):  # it is the least: both neighbours are worse
        worse = calibration.tempered(probabilities, found["temperature"] * other)
        assert metrics.log_loss(worse, labels) > found["log_loss_after"]


def test_tempered_is_the_softmax_of_the_divided_logits():
    logits = np.random.default_rng(1).normal(scale=5, size=(20, 10))
    expected = metrics.softmax(logits / 2.5)
    assert np.abs(calibration.tempered(metrics.softmax(logits), 2.5) - expected).max() < 1e-12
    p = np.array([1.0, 0.0, 0.0])
    assert calibration.tempered(p, 3.0).tolist() == [1, 0, 0] and calibration.tempered(p, 1.0) is p


def test_a_network_that_is_never_wrong_is_left_as_it_is():
    found = calibration.fit(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
    assert found["temperature"] == 1 and found["log_loss_after"] == found["log_loss_before"]


def test_statistics_are_means_and_deviations_of_groups_of_bins():
    features = torch.randn(3, 1, 50, 20)
    found = calibration.statistics(features)
    groups = np.array_split(features.numpy()[:, 0], 8, axis=2)
    levels = np.stack([group.mean(axis=2) for group in groups], axis=2)
    assert np.allclose(found, np.concatenate([levels.mean(1), levels.std(1)], axis=1), atol=1e-6)
    assert calibration.statistics(torch.randn(2, 1, 9, 3)).shape == (2, 6)


def test_distance_is_mahalanobis_of_many_clips():
    random = np.random.default_rng(2)
    mixing = random.normal(size=(4, 4))
    known = calibration.profile(random.normal(size=(5000, 4)) @ mixing, np.arange(5000) % 50, np.empty((0, 4)))
    point = random.normal(size=4)
    assert calibration.distance(known, (point @ mixing)[None])[0] == pytest.approx(point @ point, rel=0.1)
    assert known["limit"] == pytest.approx(13.28, rel=0.1)  # the 99 % quantile of chi squared with 4 degrees
    assert known["false_alarms"] is None


def strangers(seconds):
    """Waveforms that are no scene: (name, samples)."""
    time = torch.arange(round(seconds * 44100)) / 44100
    random = torch.Generator().manual_seed(0)
    chord = sum(torch.sin(2 * torch.pi * 220 * ratio * time) / 4 for ratio in (1, 1.25, 1.5, 2))
    beat = 0.5 * chord * (0.5 + 0.5 * torch.sign(torch.sin(2 * torch.pi * 2 * time)))
    return {"silence": torch.zeros_like(time), "white noise": 0.1 * torch.randn(len(time), generator=random),
            "loud white noise": 0.5 * torch.randn(len(time), generator=random),
            "chord": 0.3 * chord, "beat": beat, "tone": 0.1 * torch.sin(2 * torch.pi * 1000 * time)}  # fmt: skip


@pytest.mark.parametrize(("name", "n_mels"), [("tut2017", 64), ("tau2022_clips", 160)])
def test_real_clips_of_other_places_are_like_and_noise_tones_and_silence_unlike(name, n_mels):
    corpus = corpora.read(real(name))
    store, features = open_store(corpus, 44100), LogMel(Features(n_mels=n_mels))
    training, held = (rows.iloc[:: 2 if name == "tut2017" else 1] for rows in corpora.hold_out(corpus.table, 0.3, 0))
    sides = [np.concatenate([calibration.statistics(features(store.read([row]))) for row in store.rows(rows.filename)])
             for rows in (training, held)]  # fmt: skip
    known = calibration.profile(sides[0], training.identifier, sides[1])
    assert known["false_alarms"] <= 0.06 and known["validation_clips"] == len(held) > 30, known["false_alarms"]
    for kind, wave in strangers(store.length / 44100).items():
        assert calibration.unlike({"profile": known}, features(wave[None])).all(), kind


def test_the_file_is_read_back_and_faults_are_one_line(tmp_path):
    config, model = Recipe("x").config("2"), tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="temperature.json: no such file; a run with a validation part"):
        calibration.read(model, config)
    known = calibration.profile(np.random.default_rng(0).normal(size=(40, 16)), ["a", "b"] * 20, np.zeros((3, 16)))
    spectrum = calibration.spectrum(np.random.default_rng(1).normal(size=(40, 64)))
    calibration.write(tmp_path / calibration.NAME, config, calibration.fit(*sharpened(2.0)[:2]), known, spectrum)
    about = calibration.read(model, config)
    assert about["spectrum"] == spectrum
    assert about["fold"] == 1 and about["profile"] == known and (tmp_path / calibration.NAME).stat().st_size < 20_000
    with pytest.raises(InputError, match="is of configuration"):
        calibration.read(model, Recipe("x").config("3"))
    for text in ("", "[]", "{}", json.dumps(about | {"temperature": float("nan")}), json.dumps(about)[:-40]):
        (tmp_path / calibration.NAME).write_text(text)
        with pytest.raises(InputError, match="is no whole temperature.json") as caught:
            calibration.read(model, config)
        assert "\n" not in str(caught.value)


def test_a_spectrum_is_the_mean_and_what_varies_most():
    random = np.random.default_rng(3)
    spectra = random.normal(size=(300, 3)) * (9, 4, 2) @ random.normal(size=(3, 20)) - 60
    found = {name: np.array(value) for name, value in calibration.spectrum(spectra).items()}
    covariance = np.cov(spectra.T)
    assert np.allclose(found["mean"], spectra.mean(0), rtol=1e-5)
    assert np.allclose(found["variance"], np.trace(covariance) / 20, rtol=1e-5)
    assert found["directions"].shape == (8, 20) and (found["variances"][3:] < 1e-6).all()
    directions, variances = found["directions"][:3], found["variances"][:3]
    assert np.allclose(directions.T * variances @ directions, covariance, atol=1e-3 * covariance.max())
    assert np.array(calibration.spectrum(spectra[:4])["directions"]).shape == (3, 20)  # of four clips no more
    (alone,) = calibration.spectrum(spectra[:1])["mean"][:1]
    assert alone == pytest.approx(spectra[0, 0], rel=1e-5) and calibration.spectrum(spectra[:1])["variance"] == 0
    features = torch.randn(2, 1, 5, 20)
    assert np.allclose(calibration.mean_spectra(features), features[:, 0].numpy().astype(float).mean(1))


def test_one_place_alone_measures_itself():
    known = calibration.profile(np.random.default_rng(0).normal(size=(9, 4)), ["a"] * 9, np.zeros((1, 4)))
    assert np.isfinite(known["limit"]) and known["clips"] == 9 and pd.notna(known["false_alarms"])
