"""ONNX files: parity with PyTorch at any length, the DFT in two products, what stands inside, and refusals."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from conftest import ROOT, cli, real
from test_folding import CLASSES, trained

from asc_kit.common import InputError
from asc_kit.config import Features
from asc_kit.deploy import compact
from asc_kit.deploy import onnx as exporting
from asc_kit.features import LogMel
from asc_kit.run.recipes import Recipe

RATE = 44100
SECONDS = (1, 1.7, 8, 10, 30)


def session(made):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def model(tmp_path, submission, folded=False, **features):
    net, settings = trained(submission)
    settings = dataclasses.replace(settings, features=dataclasses.replace(settings.features, **features))
    compact.save(net, settings, CLASSES, tmp_path / "m")
    if folded:
        compact.save_folded(compact.load(tmp_path / "m"), tmp_path / "m")
    return compact.load(tmp_path / "m")


def noise(seconds, batch=1, seed=0):
    """Brown noise, some of it quiet: its spectrum falls by 60 dB, as recordings' do."""
    random = np.random.default_rng(seed)
    wave = np.cumsum(random.standard_normal((batch, round(seconds * RATE))), axis=1)
    wave = wave - np.linspace(wave[:, 0], wave[:, -1], wave.shape[1], axis=1)
    return (wave / np.abs(wave).max() * np.geomspace(0.5, 0.005, batch)[:, None]).astype(np.float32)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A system's model, and a folder with its file m and its x.onnx; made once: the exporter takes ten seconds."""
    made = {}

    def get(submission):
        if submission not in made:
            home = tmp_path_factory.mktemp("exported")
            wanted = model(home, submission, folded=submission in ("2", "baseline"))
            exporting.export(wanted, home / "x.onnx")
            assert sorted(file.name for file in home.iterdir()) == ["m", "x.onnx"]
            made[submission] = wanted, home
        return made[submission]

    return get


@pytest.mark.parametrize(
    "submission", ["2", "baseline", *(pytest.param(name, marks=pytest.mark.long) for name in "14")]
)
def test_equals_pytorch_for_any_length_and_batch(exports, submission):
    wanted, home = exports(submission)
    run = session(onnx.load(home / "x.onnx"))
    for seconds, batch in ((1, 1), (1, 5), (1.7, 2), (3.0001, 1), (10, 1), (690 * 64 / RATE, 1)):
        waves = noise(seconds, batch)
        (got,) = run.run(None, {"waveform": waves})
        want = wanted.probabilities(torch.from_numpy(waves))
        assert got.shape == (batch, 10) and np.abs(got - want).max() < 1e-5
        assert np.allclose(got.sum(1), 1, atol=1e-6)


SETTINGS = {
    "report": {}, "magnitude": dict(power=1), "ln": dict(log="ln", amin=1e-8), "top_db": dict(top_db=30.0),
    "hamming": dict(window_function="hamming"), "n_fft": dict(n_fft=4096), "htk": dict(mel_scale="htk", mel_norm=None),
    "uncentred end": dict(last_frame=False), "odd": dict(window=2025, hop=675),
    "odd, uncentred end": dict(window=2025, hop=675, last_frame=False), "coprime": dict(window=1024, hop=441),
    "prime": dict(window=211, hop=100, n_mels=10), "all bins": dict(f_min=0.0, f_max=22050.0),
    "baseline": dataclasses.asdict(Recipe("x").config("baseline").features) | {"n_mels": 40},
}  # fmt: skip


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_features_by_products_equal_the_fourier_transform(changes):
    features = LogMel(Features(**{"n_mels": 40, **changes}))
    products = exporting.ProductLogMel(features)
    for samples in (44100, 44101, 2025 * 30, 675 * 80 + 1, 690 * 64):
        waves = torch.from_numpy(noise(samples / RATE, 2))
        got, want = products(waves), features(waves)
        assert got.shape == want.shape
        assert (got - want).abs().max() < (2e-3 if features.config.log == "db" else 5e-4)  # of 60 dB, or of 14


def test_an_odd_window_is_exported_for_any_length():
    features = LogMel(Features(n_mels=40, window=2025, hop=675, top_db=30.0))
    run = session(exporting.exported(exporting.ProductLogMel(features), RATE, "features"))
    for samples in (44100, 44101, 2025 * 30, 675 * 80 + 1):
        waves = noise(samples / RATE, 2)
        (got,) = run.run(None, {"waveform": waves})
        want = features(torch.from_numpy(waves)).numpy()
        assert got.shape == want.shape and np.abs(got - want).max() < 2e-3


@pytest.mark.parametrize(("points", "used"), [(2760, 1002), (2048, 1025), (2025, 700), (211, 106), (8, 5), (1, 1)])
def test_dft_in_two_products(points, used):
    frame = np.random.default_rng(0).standard_normal(points)
    first, second, bins = exporting.dft(points, used)
    rests, wide, columns = second.shape
    parts = (first @ frame.reshape(first.shape[1], wide // 2)).reshape(2, rests, -1)  # 2, R, Q
    spectrum = np.einsum("rq,rql->rl", np.concatenate([parts[0], parts[1]], axis=1), second)
    power = spectrum[:, : columns // 2] ** 2 + spectrum[:, columns // 2 :] ** 2
    want = np.abs(np.fft.rfft(frame)) ** 2
    assert sorted(bins[bins >= 0]) == list(range(used))  # every frequency once
    assert np.allclose(power[bins >= 0], want[bins[bins >= 0]], rtol=1e-9, atol=1e-9 * points)


def test_split_is_worth_it():
    p, q = exporting.split(2760, 1002)
    assert p * q == 2760 and 2 * (p // 2 + 1) * 2760 + 4 * q * 1002 < 2 * 1002 * 2760 / 14  # than the dense basis


def test_one_file_tells_what_it_is(exports):
    wanted, home = exports("2")
    made = onnx.load(home / "x.onnx")
    onnx.checker.check_model(made, full_check=True)
    assert not any(constant.external_data for constant in made.graph.initializer)
    about = {entry.key: entry.value for entry in made.metadata_props}
    assert json.loads(about["classes"]) == list(CLASSES) and about["sample_rate"] == "44100"
    assert json.loads(about["config"]) == wanted.config.as_dict() and "licence" in about
    (wave,), (out,) = made.graph.input, made.graph.output
    assert (wave.name, out.name) == ("waveform", "probabilities")
    assert [d.dim_param for d in wave.type.tensor_type.shape.dim] == ["batch", "samples"]
    assert out.type.tensor_type.shape.dim[1].dim_value == 10
    assert [(opset.domain, opset.version) for opset in made.opset_import] == [("", 18)]  # no runtime's own operators
    assert str(ROOT).encode() not in made.SerializeToString() and b"torch/nn" not in made.SerializeToString()


@pytest.mark.parametrize("submission", ["3", "4"])
def test_real_recordings_of_several_lengths(submission):
    files = sorted((real("tut2017") / "audio").iterdir())[::140][:3]
    sound = np.concatenate([soundfile.read(file, dtype="float32", always_2d=True)[0].mean(1) for file in files])
    wanted = compact.load(ROOT / f"results/tau2022/submission_{submission}/seed_0/model.safetensors")
    run = session(exporting.build(wanted))
    for seconds in SECONDS:
        waves = sound[None, : round(seconds * RATE)]
        got = run.run(None, {"waveform": waves})[0]
        assert np.abs(got - wanted.probabilities(torch.from_numpy(waves))).max() <= 1e-5  # as the README says


def test_example_needs_onnxruntime_and_soundfile_alone(exports, tmp_path):
    example = ROOT / "examples" / "classify_onnx.py"
    assert "torch" not in example.read_text() and "asc_kit" not in example.read_text()
    (wanted, home), waves = exports("2"), noise(1.5)
    soundfile.write(tmp_path / "x.wav", waves[0], RATE, subtype="FLOAT")
    command = [sys.executable, str(example), str(home / "x.onnx"), str(tmp_path / "x.wav")]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    best = wanted.probabilities(torch.from_numpy(waves))[0]
    assert len(lines) == 3 and lines[0] == f"{best.max():.3f}  {CLASSES[best.argmax()]}"
    soundfile.write(tmp_path / "x.wav", waves[0], 22050)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "has 22050 Hz; resample it to 44100 Hz" in done.stderr
    for samples in (np.zeros(RATE * 2), np.full(RATE * 2, np.nan), waves[0, :3000]):
        soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.endswith("there is nothing to classify\n") and not done.stdout
    (tmp_path / "x.wav").write_text("no sound")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert subprocess.run(command[:2], capture_output=True).returncode == 2


def test_refusals_are_one_line_and_leave_nothing(tmp_path):
    wanted = model(tmp_path, "1")
    settings = wanted.config
    half = dataclasses.replace(settings, training=dataclasses.replace(settings.training, float16="arithmetic"))
    with pytest.raises(InputError, match="float16 arithmetic is not exported"):
        exporting.export(dataclasses.replace(wanted, config=half), tmp_path / "x.onnx")
    long = LogMel(dataclasses.replace(settings.features, n_fft=88200))
    with pytest.raises(InputError, match="n_fft: 88200 samples are too many"):
        exporting.export(dataclasses.replace(wanted, features=long), tmp_path / "x.onnx")
    with pytest.raises(InputError, match="m: is read here, and would be written over"):
        exporting.export(wanted, tmp_path / "m", tmp_path / "m")
    with pytest.raises(InputError, match="cannot be written"):
        exporting.export(wanted, tmp_path / "none" / "x.onnx")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        exporting.export(wanted, tmp_path / "folder")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "m"]


def test_command_line_gives_the_same_bytes(exports, tmp_path):
    _, home = exports("2")
    done = cli("export", home / "m", "--out", tmp_path / "x.onnx")
    assert done.returncode == 0 and done.stdout.strip() == str(tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_bytes() == (home / "x.onnx").read_bytes()
    (tmp_path / "bad").write_bytes(b"\x80\x04K\x01.")
    for words in (("export", tmp_path / "bad", "--out", tmp_path / "y.onnx"), ("size", tmp_path / "bad")):
        done = cli(*words)
        assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1
        assert "is no whole safetensors file" in done.stderr
    assert not (tmp_path / "y.onnx").exists()
