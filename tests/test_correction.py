"""Models set to another microphone by recordings without labels, and what the committed measurements say of it."""

import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import soundfile
import torch
from conftest import ROOT, cli, real
from scipy.signal import firwin2, oaconvolve
from test_web import made, quick  # noqa: F401

from asc_kit.common import InputError
from asc_kit.config import Features
from asc_kit.data import corpus as corpora
from asc_kit.data.store import open_store
from asc_kit.deploy import calibration, compact, microphone, ready, recordings, web
from asc_kit.deploy import onnx as exporting
from asc_kit.deploy.quick import quickened
from asc_kit.deploy.stream import Stream
from asc_kit.features import LogMel
from asc_kit.lab.recording import Listener
from asc_kit.report import tables
from asc_kit.report.predictions import read_truth
from benchmarks import correction, microphones

MODEL = ROOT / "results" / "small" / "model.safetensors"
RATE = 44100
TELEPHONE = firwin2(257, [0, 100, 300, 3000, 6000, RATE / 2], [0.03, 0.1, 1, 1, 0.2, 0.05], fs=RATE)


def coloured(seed, seconds=1.0):
    """Noise whose spectrum tilts by chance, as places differ."""
    random = np.random.default_rng(seed)
    bins = np.fft.rfft(random.standard_normal(round(seconds * RATE)))
    f = np.fft.rfftfreq(round(seconds * RATE), 1 / RATE).clip(min=20)
    wave = np.fft.irfft(bins * (f / 1000) ** random.normal(-0.5, 0.4) * np.exp(random.normal(0, 0.7)))
    return (0.05 * wave / wave.std()).astype(np.float32)


def heard(wave, filtered=True):
    return oaconvolve(wave, TELEPHONE)[128:][: len(wave)].astype(np.float32) if filtered else wave


def record(folder, seeds, filtered=True):
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        soundfile.write(folder / f"{seed}.wav", heard(coloured(seed), filtered), RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def known():
    """The spectrum of two hundred clips, in 64 mel bins."""
    features = LogMel(Features(n_mels=64))
    clips = torch.from_numpy(np.stack([coloured(seed) for seed in range(200)]))
    return calibration.spectrum(calibration.mean_spectra(features(clips)))


def test_the_shift_is_the_mean_of_the_posterior():
    """By the precisions, in float64: a microphone N(0, v (I + 0.1)), the mean of n clips N(microphone, S / n)."""
    random = np.random.default_rng(0)
    clips = random.normal(size=(500, 6)) * (8, 5, 4, 4, 3, 3) @ random.normal(size=(6, 6))
    spectra = random.normal(size=(7, 6)) * 5 + 3
    S, v = np.cov(clips.T), np.trace(np.cov(clips.T)) / 6
    for count in (1, 3, 7):
        off = spectra[:count].mean(0) - clips.mean(0)
        prior, heard = np.linalg.inv(v * (np.eye(6) + 0.1)), count * np.linalg.inv(S)
        expected = np.linalg.inv(prior + heard) @ heard @ off
        found = microphone.shift(calibration.spectrum(clips), spectra[:count])
        assert np.allclose(found, expected, atol=1e-4 * np.abs(off).max())


def test_of_more_recordings_more_of_the_filters_own_gain_is_found(known):
    features = LogMel(Features(n_mels=64))
    clips = np.stack([coloured(seed) for seed in range(1000, 1200)])
    plain, through = (
        calibration.mean_spectra(features(torch.from_numpy(x))) for x in (clips, np.stack([*map(heard, clips)]))
    )
    gain = (through - plain).mean(0)
    assert np.ptp(gain) > 15  # dB
    off = [np.abs(microphone.shift(known, through[:count]) - gain).mean() for count in (3, 20, 200)]
    assert off[0] > off[1] > off[2] and off[2] < 1.5
    assert np.abs(microphone.shift(known, plain)).mean() < 1.0  # by the training clips' own microphone nothing moves
    louder = microphone.shift(known, plain + 12)
    assert np.abs(louder - 12).mean() < 2.0  # a gain is found, too


def test_what_places_differ_in_is_hardly_taken_for_the_microphones(known):
    along, across = np.array(known["directions"])[[1, 7]]
    mean = np.array(known["mean"])
    found = [microphone.shift(known, (mean + 30 * way)[None]) @ way / 30 for way in (along, across)]
    assert found[0] < 0.3 and found[1] > 0.9


def test_a_corrected_model_hears_the_training_clips_microphone(known):
    """Its probabilities of filtered clips come near those of the clips as they were."""
    model = compact.load(ROOT / "results" / "tut2017" / "submission_2" / "seed_0" / "model.safetensors")
    clips = torch.from_numpy(np.stack([coloured(seed) for seed in range(500, 560)]))
    through = torch.from_numpy(np.stack([heard(clip) for clip in clips.numpy()]))
    shift = microphone.shift(known, calibration.mean_spectra(model.features(through)))
    corrected = replace(model, features=microphone.Corrected(model.config.features, shift))
    want, before, after = (x.probabilities(y) for x, y in ((model, clips), (model, through), (corrected, through)))
    assert np.abs(after - want).mean() < 0.5 * np.abs(before - want).mean()
    expected = model.from_features(model.features(through) - torch.tensor(shift).float())
    assert np.abs(after - expected).max() < 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return record(tmp_path_factory.mktemp("by") / "telephone", range(300, 306))


def test_predict_notebook_stream_and_onnx_hear_alike(folder, tmp_path, capsys):
    model = ready.load(MODEL, folder=folder)
    said = capsys.readouterr().err
    assert (
        "holds 6 recordings; fewer than 20, or of few places, may do harm" in said
        and "telephone: mel bins move by " in said
    )
    shift = microphone.shift(calibration.read(MODEL, model.config)["spectrum"],
                             microphone.measure(compact.load(MODEL), sorted(folder.iterdir())))  # fmt: skip
    wave = heard(coloured(7, 10.0))
    plain = compact.load(MODEL)
    want = plain.from_features(plain.features(torch.from_numpy(wave)[None]) - torch.tensor(shift).float())[0]
    assert np.abs(plain.probabilities(torch.from_numpy(wave)[None])[0] - want).max() > 0.01
    soundfile.write(tmp_path / "new.wav", wave, RATE, subtype="FLOAT")
    assert np.abs(recordings.score(quickened(model), tmp_path / "new.wav").probabilities - want).max() < 1e-4
    notebook = Listener(MODEL, folder).classify(tmp_path / "new.wav").result
    assert np.abs(notebook.probabilities - want).max() < 1e-4
    stream = Stream(quickened(model), 10.0)
    (label,) = stream.feed(wave) + stream.finish()
    assert np.abs(label.probabilities - want).max() < 1e-4
    graph = exporting.build(model)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert np.abs(session.run(None, {"waveform": wave[None]})[0][0] - want).max() < 1e-4
    about = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(about["origin"])["microphone"] == "set by 6 recordings"


def test_the_commands_take_it(folder, tmp_path):
    new = record(tmp_path / "new", [9]) / "9.wav"
    usual, corrected = (json.loads(cli("predict", MODEL, new, "--json", *more).stdout)[0]["probabilities"]
                        for more in ([], ["--microphone", folder]))  # fmt: skip
    want = ready.load(MODEL, folder=folder).probabilities(
        torch.from_numpy(soundfile.read(new, dtype="float32")[0])[None]
    )
    assert np.allclose(list(corrected.values()), want[0], atol=1e-4) and usual != corrected
    done = cli("export", MODEL, "--out", tmp_path / "x.onnx", "--microphone", folder)
    assert done.returncode == 0 and "set to the microphone" in done.stderr
    got = onnxruntime.InferenceSession(str(tmp_path / "x.onnx")).run(
        None, {"waveform": soundfile.read(new, dtype="float32")[0][None]}
    )
    assert np.abs(got[0] - want).max() < 1e-4
    onnx.checker.check_model(str(tmp_path / "x.onnx"))


def test_listen_and_the_page_take_it(folder, tmp_path, made, quick, monkeypatch):  # noqa: F811
    wave = np.rint(heard(coloured(8, 2.0)) * 32767).astype("<i2")
    (tmp_path / "pcm").write_bytes(wave.tobytes())
    want = ready.load(MODEL, folder=folder).probabilities(torch.from_numpy(wave[None] / np.float32(32768)))[0]
    with open(tmp_path / "pcm", "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        done = cli("listen", MODEL, "--stdin", "--rate", RATE, "--every", 2, "--json", "--microphone", folder)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["time"] == 2 and np.allclose(list(found["probabilities"].values()), want, atol=1e-4)
    web.write(MODEL, tmp_path / "page", made, folder=folder)
    assert json.loads((tmp_path / "page" / "model.json").read_text())["origin"]["microphone"] == "set by 6 recordings"


@pytest.fixture
def at(tmp_path):
    """A copy of the model, and an empty folder for recordings."""
    for name in ("model.safetensors", "temperature.json"):
        (tmp_path / name).write_bytes(MODEL.with_name(name).read_bytes())
    (tmp_path / "by").mkdir()
    return tmp_path


def refusal(home):
    with pytest.raises(InputError) as caught:
        ready.load(home / "model.safetensors", folder=home / "by")
    assert "\n" not in str(caught.value)
    return str(caught.value)


half = np.concatenate([np.zeros(RATE), coloured(0)])


@pytest.mark.parametrize(
    ("wave", "rate", "words"),
    [(np.zeros(RATE), RATE, "a.wav: is silent for 1.0 of 1.0 s; it tells too little of its microphone"),
     (half, RATE, "a.wav: is silent for 1.0 of 2.0 s; it tells"),
     (coloured(0)[:16000], 16000, "a.wav: at 16000 Hz it holds nothing above 8000 Hz, where the network hears"),
     (coloured(0)[:9000], RATE, "a.wav: lasts 0.20 s; the network was made for 1 s and more; it tells"),
     (np.ones(500), RATE, "a.wav: lasts 0.011 s, shorter than the features' window")],
    ids=["silent", "half silent", "low rate", "short", "shorter than a window"],
)  # fmt: skip
def test_a_recording_that_tells_too_little_is_named(at, wave, rate, words):
    record(at / "by", [1, 2])
    soundfile.write(at / "by" / "a.wav", wave, rate, subtype="FLOAT")
    assert words in refusal(at)


def test_what_is_no_recording_is_named(at):
    assert "by: no recordings there; give some 20 by the microphone" in refusal(at)
    (at / "by" / "a.wav").write_text("no sound")
    assert "a.wav: is not audio that can be read" in refusal(at)
    (at / "by" / "a.wav").unlink(), (at / "by").rmdir()
    assert "by: no recordings there" in refusal(at)


@pytest.mark.parametrize(
    ("change", "words"),
    [(None, "temperature.json: no such file"), ({}, "has no spectrum of the training clips"),
     ("x", "damaged"), ([1], "damaged"), ({"mean": [0.0] * 64}, "damaged"),
     ({"mean": [0.0] * 32, "directions": [], "variances": [], "variance": 1.0}, "damaged"),
     ({"mean": [float("nan")] * 64, "directions": [[0.1] * 64], "variances": [1.0], "variance": 1.0}, "damaged"),
     ({"mean": [0.0] * 64, "directions": [[0.1] * 64], "variances": [1.0, 2.0], "variance": 1.0}, "damaged"),
     ({"mean": [0.0] * 64, "directions": [[0.1] * 64], "variances": ["a"], "variance": 1.0}, "damaged"),
     (calibration.spectrum(np.zeros((1, 64))), "its spectrum is damaged, or of too few clips; train the model again"),
     (calibration.spectrum(np.zeros((5, 64))), "damaged, or of too few clips")],
)  # fmt: skip
def test_a_spectrum_of_no_use_is_refused_before_anything_is_heard(at, change, words):
    (at / "by" / "a.wav").write_text("no sound")
    file = at / "temperature.json"
    about = json.loads(file.read_text()) | {"spectrum": change}
    file.unlink() if change is None else file.write_text(json.dumps(about))
    assert words in refusal(at)


def test_the_recordings_are_never_written_over(at):
    home = record(at / "by", range(2))
    before = (home / "1.wav").read_bytes()
    for command in (["export", MODEL, "--out", home / "1.wav"],
                    ["predict", MODEL, "--manifest", at / "list.txt", "--out", home / "1.wav"]):  # fmt: skip
        (at / "list.txt").write_text("by/0.wav\n")
        done = cli(*command, "--microphone", home)
        assert done.returncode == 1 and "1.wav" in done.stderr and (home / "1.wav").read_bytes() == before


@pytest.mark.parametrize(
    "changes", [dict(n_mels=160), dict(n_mels=40, log="ln", amin=1e-8), dict(top_db=30.0, n_mels=64)]
)
def test_of_any_features_the_shift_is_taken_in_their_own_unit(changes):
    config, waves = Features(**changes), torch.from_numpy(np.stack([coloured(n) for n in range(30)]))
    usual = LogMel(config)
    known = calibration.spectrum(calibration.mean_spectra(usual(waves)))
    found = microphone.shift(known, calibration.mean_spectra(usual(4 * waves)))
    gain = 20 * np.log10(4) if config.log == "db" else 2 * np.log(4)
    assert np.abs(found - gain).max() < 0.3 * gain
    assert torch.allclose(
        microphone.Corrected(config, found)(4 * waves), usual(4 * waves) - torch.tensor(found).float()
    )


def test_the_tables_follow_from_the_rows(tmp_path):
    before = pd.read_csv(microphones.HOME / "microphones.tsv", sep="\t", dtype=str)
    both = {"microphones": correction.microphones_table(read_truth(microphones.TRUTH), correction.rows_of("tut2017"), before),
            "devices": correction.devices_table(read_truth(correction.TAU / "truth.tsv"), correction.rows_of("tau2022"))}  # fmt: skip
    for name, table in both.items():
        tables.write_one(table, tmp_path, name, "")
        assert (tmp_path / f"tables/{name}.csv").read_text() == (correction.HOME / f"tables/{name}.csv").read_text()


def test_every_clip_went_through_its_folds_microphones_with_each_choice_of_recordings():
    found, truth = correction.rows_of("tut2017"), read_truth(microphones.TRUTH)
    usual = pd.read_csv(microphones.HOME / "microphones.tsv", sep="\t", dtype=str)
    ways = {*zip(usual.filename, usual.microphone), *((name, microphones.CLEAN) for name in truth.index)}
    levels = {(name, level) for name in truth.index for level in correction.LEVELS}
    assert set(found.recordings) == {"none", *correction.RECORDINGS} and len(ways) == 2744
    assert set(found.draw) == {"0", "1"}
    for (which, _), rows in found.groupby(["recordings", "draw"]):
        wanted = levels if which == "none" else ways | levels
        assert {*zip(rows.filename, rows.microphone)} == wanted and len(rows) == len(wanted)


@pytest.mark.parametrize("which", ["5", "20", "of 3 classes", "all"])
def test_no_clip_sets_the_model_that_scores_it(which):
    """Nor does a clip of its place; and the same seed draws the same."""
    rows = pd.DataFrame({"identifier": [f"place {n // 3}" for n in range(60)]})
    classes = np.array([f"class {n % 5}" for n in range(60)])
    parts = correction.parts_of(rows, 4)
    assert rows.groupby("identifier").apply(lambda some: len(set(parts[some.index]))).eq(1).all()
    by = correction.setting(parts, classes, which, (1, 2))
    for part, clips in by.items():
        assert part not in parts[clips] and len(set(clips)) == len(clips)
        some = np.isin(classes, list(set(classes[clips]))) & (parts != part)
        assert len(clips) == {"5": 5, "20": 20, "all": 45}.get(which, some.sum())
        assert which != "of 3 classes" or len(set(classes[clips])) == 3
    again, other = (correction.setting(parts, classes, which, seed) for seed in ((1, 2), (1, 3)))
    assert all((by[part] == again[part]).all() for part in by)
    assert (which == "all") == all(np.array_equal(by[part], other[part]) for part in by)
    every = correction.setting(parts, classes, "themselves", (1, 2))
    assert list(every) == [0, 1, 2, 3] and all(list(clips) == list(range(60)) for clips in every.values())


def test_a_parts_clips_are_shifted_by_what_sets_it():
    spectra, parts = np.random.default_rng(0).normal(size=(6, 64)), np.array([0, 0, 1, 1, 2, 2])
    features = torch.from_numpy(spectra)[:, None, None].repeat(1, 1, 7, 1)
    known = calibration.spectrum(np.random.default_rng(1).normal(size=(50, 64)))
    found = correction.shifts(known, features, parts, {0: np.array([2, 4]), 1: np.array([0]), 2: np.array([1, 3, 0])})
    assert found.shape == (6, 1, 1, 64)
    assert np.allclose(found[4:, 0, 0], microphone.shift(known, spectra[[1, 3, 0]]), atol=1e-5)
    assert np.allclose(found[:2, 0, 0], microphone.shift(known, spectra[[2, 4]]), atol=1e-5)


def test_the_rows_of_real_devices_come_again_by_other_means():
    """TAU 2022's s5 by the logistic regression: its linear layer, in numpy, on means that are shifted."""
    corpus = corpora.read(real("tau2022"), "given")
    training, rows = corpus.split(1, 1, 0)
    rows = rows[rows.source_label == "s5"].reset_index(drop=True)
    model = compact.load(correction.TAU / "submission_logistic" / "seed_0" / "model.safetensors")
    store = open_store(corpus, RATE)
    known = calibration.spectrum(calibration.mean_spectra(correction.logmel(model, store, training)))
    x, halves = correction.logmel(model, store, rows)[:, 0].numpy().astype(float), correction.parts_of(rows, 2)
    found = []
    for clip, half in zip(x, halves):
        clip = clip - microphone.shift(known, x[halves != half].mean(1))
        parts = np.concatenate([clip.mean(0), clip.std(0, ddof=1), np.diff(clip, axis=0).std(0, ddof=1)])
        net = model.network
        parts = (parts - net.mean.float().numpy()) / net.deviation.float().numpy()
        found.append(parts @ net.classifier.weight.detach().numpy().T + net.classifier.bias.detach().numpy())
    committed = correction.rows_of("tau2022").set_index("filename").loc[rows.filename]
    assert [model.classes[n] for n in np.argmax(found, 1)] == committed.logistic_label.to_list()
    assert set(rows.identifier[halves == 0]).isdisjoint(rows.identifier[halves == 1])


def test_the_cards_levels_are_those_of_the_recordings():
    data, truth = real("tut2017"), read_truth(microphones.TRUTH)
    waves = (soundfile.read(data / name)[0] for name in truth.index)
    levels = pd.Series([10 * np.log10(np.square(wave).mean()) for wave in waves], truth.index)
    low, high = (f"{value:.0f}" for value in levels.quantile([0.05, 0.95]))
    scenes = levels.groupby(truth.scene_label).median()
    card = " ".join((MODEL.with_name("MODEL_CARD.md")).read_text().split())
    assert f"from {low} to {high} dB of full scale (root mean square, 5 to 95 %)" in card
    assert f"an office {scenes['office']:.0f} and a bus {scenes['bus']:.0f} in the median" in card
    assert scenes.min() == scenes["office"] and scenes.max() == scenes["bus"]
