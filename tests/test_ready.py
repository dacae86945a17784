"""A model's temperature and microphone, in every way that a model is used."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from conftest import ROOT, cli
from test_correction import RATE, coloured, folder, heard, record  # noqa: F401
from test_shards import start, workflow
from test_web import made  # noqa: F401

from asc_kit.deploy import calibration, compact, manifest, onnx, ready, recordings, web
from asc_kit.deploy.quick import quickened

MODEL = ROOT / "results" / "small" / "model.safetensors"


@pytest.fixture(scope="module")
def wave():
    return np.rint(heard(coloured(8, 2.0)) * 32767).astype("<i2")


def expected(wave, degree):
    """A temperature, by its definition: p ** (1 / T), normalised, in float64."""
    p = compact.load(MODEL).probabilities(torch.from_numpy(wave[None] / np.float32(32768)))[0] ** (1 / degree)
    return p / p.sum()


def test_predict_listen_onnx_and_the_page_are_as_sure_as_each_other(wave, tmp_path, made, monkeypatch):  # noqa: F811
    asked, degree = "fitted", json.loads(MODEL.with_name(calibration.NAME).read_text())["temperature"]
    want = expected(wave, degree)
    assert degree != 1 and want.max() > expected(wave, 1).max() + 0.01
    soundfile.write(tmp_path / "new.wav", wave, RATE)
    quick_one = recordings.score(quickened(ready.load(MODEL, temperature=asked)), tmp_path / "new.wav")
    assert np.abs(quick_one.probabilities - want).max() < 1e-4
    (entry,) = json.loads(cli("predict", MODEL, tmp_path / "new.wav", "--json", "--temperature", asked).stdout)
    assert np.abs(np.array(list(entry["probabilities"].values())) - want).max() < 1e-4
    (tmp_path / "pcm").write_bytes(wave.tobytes())
    with open(tmp_path / "pcm", "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        done = cli("listen", MODEL, "--stdin", "--rate", RATE, "--every", 2, "--json", "--temperature", asked)
    found = json.loads(done.stdout.splitlines()[-1])
    assert np.abs(np.array(list(found["probabilities"].values())) - want).max() < 1e-4
    assert cli("export", MODEL, "--out", tmp_path / "x.onnx", "--temperature", asked).returncode == 0
    web.write(MODEL, tmp_path / "page", made, temperature=asked)
    assert json.loads((tmp_path / "page" / "model.json").read_text())["origin"]["temperature"] == degree
    for file in (tmp_path / "x.onnx", tmp_path / "page" / "model.onnx"):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        got = session.run(None, {"waveform": wave[None] / np.float32(32768)})[0][0]
        assert np.abs(got - want).max() < 1e-4


def test_temperature_and_microphone_go_together(wave, folder):  # noqa: F811
    waves = torch.from_numpy(wave[None] / np.float32(32768))
    p = ready.load(MODEL, folder=folder).probabilities(waves) ** 2
    both = ready.load(MODEL, folder=folder, temperature="0.5")
    assert np.abs(both.probabilities(waves) - p / p.sum()).max() < 1e-6
    about = {entry.key: entry.value for entry in onnx.build(both).metadata_props}
    origin = json.loads(about["origin"])
    assert (origin["temperature"], origin["microphone"]) == (0.5, "set by 6 recordings")


def test_the_workflow_takes_both(folder, tmp_path):  # noqa: F811
    new = record(tmp_path / "set", [9])
    (new / "list.txt").write_text("9.wav\n")
    rows = []
    for more in ([], [f"microphone={folder}", "temperature=fitted"]):
        done = start(workflow(tmp_path, MODEL, *more))
        assert done.returncode == 0, done.stderr
        rows.append((tmp_path / "out.tsv").read_text().splitlines())
    want = recordings.score(quickened(ready.load(MODEL, folder=folder, temperature="fitted")), new / "9.wav")
    classes = compact.load(MODEL).classes
    assert rows[1][1] == manifest.row("9.wav", want.probabilities, classes) and rows[0] != rows[1]
    one = sorted(folder.iterdir())[0]
    for heard_by in (folder, one):  # a file's name alone tells nothing
        kept = one.read_bytes()
        record(folder, [int(one.stem)], filtered=False)
        done = start(workflow(tmp_path, MODEL, f"microphone={heard_by}", "temperature=fitted"))
        rows.append((tmp_path / "out.tsv").read_text())
        one.write_bytes(kept)
        assert done.returncode == 0 and "1 of 1 recordings scored" in done.stderr
    assert len({*map(str, rows)}) == 4
    (tmp_path / "empty").mkdir()
    for missing in ("nowhere", "empty"):
        done = start(workflow(tmp_path, MODEL, f"microphone={tmp_path / missing}"))
        assert done.returncode == 1 and f"{missing} holds no recordings; give a folder" in done.stderr
        assert "Traceback" not in done.stderr
