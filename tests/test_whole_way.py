"""A model trained on real recordings, all the way: file, size, ONNX, predict, your recording, package."""

import json

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import soundfile
import torch
from conftest import real

from asc_kit.__main__ import app
from asc_kit.data import corpus as corpora
from asc_kit.deploy import calibration, compact
from asc_kit.lab.recording import Listener
from asc_kit.report import package as submission
from asc_kit.run import experiment
from asc_kit.run.runs import Run

# TUT 2017's classes under the names of the ten that a package must have: four are the same scenes, the others stand in.
NAMES = {"bus": "bus", "tram": "tram", "metro_station": "metro_station", "park": "park", "train": "metro",
         "city_center": "public_square", "residential_area": "street_traffic", "grocery_store": "shopping_mall",
         "forest_path": "street_pedestrian", "library": "airport"}  # fmt: skip
RECIPE = """
name: way
folds: 4
augmentation: {mixup: null, crop_seconds: 2.0}
training: {epochs: 2, batch_size: 8, precision: bfloat16, selection: validation, validation_fraction: 0.5}
"""
LABEL = "Kit_ASC_task1a"


def linked(folder, root, rows):
    """A data set of some rows; its sounds are links."""
    (folder / "audio").mkdir(parents=True)
    for name in rows.filename:
        (folder / name).symlink_to(root / name)
    rows.to_csv(folder / "meta.csv", sep="\t", index=False)
    return folder


@pytest.fixture(scope="module")
def way(tmp_path_factory):
    """A trained run, its data set of 40 clips at 40 places, and ten clips of other places without labels."""
    root, folder = real("tut2017"), tmp_path_factory.mktemp("way")
    table = pd.read_csv(root / "meta.csv", sep="\t", dtype=str)
    table = table[table.scene_label.isin(NAMES)].drop_duplicates("identifier")
    table = table.assign(scene_label=table.scene_label.map(NAMES))
    training = table.groupby("scene_label").head(4)
    others = table.drop(training.index).groupby("scene_label").head(1)[["filename"]]
    assert len(training) == 40 and len(others) > 3
    (folder / "way.yaml").write_text(RECIPE)
    data = linked(folder / "data", root, training), linked(folder / "others", root, others)
    run = Run.of(str(folder / "way.yaml"), "4", dataset_root=str(data[0]), results_dir=str(folder / "results"))
    return experiment.train(run), *data


def command(capsys, *arguments):
    """Exit status and standard output."""
    status = app([*map(str, arguments)], standalone_mode=False) or 0
    return status, capsys.readouterr().out


@pytest.mark.long
def test_from_recordings_to_a_package(way, tmp_path, capsys):
    run, data, others = way
    named, small = (run.folder / f"{name}.safetensors" for name in ("model", "compact"))
    assert small.stat().st_size < 128_000 and run.about["data"]["validation"] > 0

    status, out = command(capsys, "size", small)
    assert status == 0 and f"{small.stat().st_size:,} bytes" in out and "60,508" in out
    assert [line.split()[2] for line in out.splitlines() if line.startswith("DCASE 2021")][0].startswith("met")

    status, _ = command(capsys, "export", small, "--out", tmp_path / "scene.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "scene.onnx", providers=["CPUExecutionProvider"])
    model, clips = compact.load(named), sorted((others / "audio").iterdir())
    waves = [soundfile.read(clip, dtype="float32")[0] for clip in clips]
    waves = [wave.mean(1) if wave.ndim > 1 else wave for wave in waves]
    scores = np.concatenate([session.run(None, {"waveform": wave[None]})[0] for wave in waves])
    same = np.concatenate([compact.load(small).probabilities(torch.from_numpy(wave)[None]) for wave in waves])
    unfolded = np.concatenate([model.probabilities(torch.from_numpy(wave)[None]) for wave in waves])
    assert status == 0 and np.abs(scores - same).max() < 1e-4 and np.abs(scores - unfolded).max() < 2e-3

    about = calibration.read(named, model.config)
    status, out = command(capsys, "predict", small, others / "audio", "--json", "--temperature", "fitted")
    found = [list(entry["probabilities"].values()) for entry in json.loads(out)]
    assert status == 0 and np.abs(found - calibration.tempered(scores, about["temperature"])).max() < 1e-3

    listener = Listener(named)
    lines = listener.words(listener.classify(clips[0]))
    assert any(f"temperature {about['temperature']:g}, not applied here" in line for line in lines)

    out_file = tmp_path / "package.zip"
    given = ("package", run.home, "--label", LABEL, "--data", others, "--out", out_file)
    assert command(capsys, *given) == (0, f"{LABEL}_4\n")
    status, out = command(capsys, "package", "--data", others, "--check", out_file)
    assert status == 0 and out.endswith("no fault\n") and model.classes == submission.CLASSES
    assert len(corpora.read(data).table) == 40
