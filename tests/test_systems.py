"""Systems by name: networks of anyone's from a recipe to a label, and what is no network."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from safetensors import safe_open
from safetensors.torch import save_file

from asc_kit import network
from asc_kit.common import InputError
from asc_kit.config import Config
from asc_kit.deploy import compact, recordings, size
from asc_kit.report import evaluation, tables
from asc_kit.run import recipes
from asc_kit.run.experiment import train
from asc_kit.run.runs import Run

NETS = '''
import torch
from torch import nn

class Residual(nn.Module):
    """GroupNorm, a LayerNorm on the input, names of its own, and an index that is no float."""
    def __init__(self, n_mels, n_classes, width=8):
        super().__init__()
        self.x_norm = nn.LayerNorm(n_mels)
        self.x = nn.Conv2d(1, width, 3, padding=1)
        self.way_a = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.way_b = nn.Sequential(nn.GroupNorm(2, width), nn.Conv2d(width, width, 1))
        self.register_buffer("order", torch.arange(width - 1, -1, -1))
        self.last = nn.Linear(width, n_classes)
    def forward(self, x):
        x = nn.functional.gelu(self.x(self.x_norm(x)))
        x = x + self.way_a(x) + self.way_b(x)
        return self.last(x[:, self.order].amax((2, 3)))

class Plain(nn.Module):
    """No batch norm at all."""
    def __init__(self, n_mels, n_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 5, (2, 2)), nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(6, n_classes)
    def forward(self, x):
        return self.head(self.body(x / 50 + 1))

class NoParameters(nn.Module):
    def __init__(self, n_mels, n_classes): super().__init__()
    def forward(self, x): return x.mean((1, 2))

class OtherShape(Plain):
    def forward(self, x): return super().forward(x)[:, :3]

class Fails(Plain):
    def forward(self, x): return self.head(x)

class OtherArguments(Plain):
    def __init__(self, bins, classes): super().__init__(bins, classes)

def function(n_mels, n_classes): return 5
'''
RECIPE = """
systems:
  residual: {network: "nets:Residual", n_mels: 24, options: {width: 10}}
  plain: {network: "nets:Plain", n_mels: 24}
  without: {network: report, n_mels: 24, squeeze_excite: false, activation: relu}
submissions: [%s]
augmentation: {crop_seconds: 0.5}
training: {epochs: 2, batch_size: 8, selection: none}
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A folder with a module and a recipe of its own; nothing of it stays."""
    monkeypatch.setattr(network, "PLACES", [ROOT])
    monkeypatch.setattr(network, "TRUSTED", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def write(folder, text):
    (folder / "mine.yaml").write_text(text)
    return folder / "mine.yaml"


def through(folder, system, tiny):
    """Recipe, training, Table 7, size, compact file; the run."""
    recipe = write(folder, RECIPE % system)
    run = train(Run.of(str(recipe), system, dataset_root=str(tiny), results_dir=str(folder / "r")))
    results = evaluation.open_results(str(recipe), results_dir=str(folder / "r"))
    row = tables.write(results)[7].set_index("submission").loc[system]
    net = network.build(run.config, 2)
    count = sum(p.numel() for p in net.parameters())
    assert row.mel_bins == 24 and row.n == len(run.predictions()) and row.note == ""
    assert row.model_size_kb == pytest.approx(count * 2 / 1024) and pd.isna(row.report_accuracy)
    assert count == run.about["parameters"]
    for name in ("model", "compact"):
        found = {line.name: line.value for line in size.measure(run.folder / f"{name}.safetensors")}
        assert found["system"] == system and found["parameters"] == f"{count:,}"
    return run


def same_scores(run, tiny):
    """Both files, scored as `predict` does, and what the run wrote."""
    file = tiny / run.predictions().filename[0]
    want = run.predictions().iloc[0, 2:].to_numpy(float)
    for name in ("model", "compact"):
        model = compact.load(run.folder / f"{name}.safetensors")
        assert np.abs(recordings.score(model, file).probabilities - want).max() < 2e-3
    return file, want


def test_a_network_of_ones_own_goes_the_whole_way(nets, tiny):
    run = through(nets, "residual", tiny)
    same_scores(run, tiny)
    with safe_open(run.folder / "compact.safetensors", "pt") as handle:
        assert set(handle.keys()) == {"weights", "order"} and handle.get_tensor("order").tolist() == list(
            range(9, -1, -1)
        )
    folded = compact.load(run.folder / "compact.safetensors").network
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def test_the_reports_network_without_squeeze_and_excitation_is_another(nets, tiny):
    run = through(nets, "without", tiny)
    usual = recipes.Recipe("x", systems={"without": {"n_mels": 24}}).config("without")
    assert run.config.hash != usual.hash and run.config.architecture.squeeze_excite is False
    with safe_open(run.folder / "model.safetensors", "pt") as handle:
        about = json.loads(handle.metadata()["asc_kit"])
        tensors = {key: handle.get_tensor(key) for key in handle.keys()}
    assert about["config"]["architecture"]["squeeze_excite"] is False
    other = nets / "other.safetensors"
    save_file(tensors, other, {"asc_kit": json.dumps(about | {"config": usual.as_dict()})})
    with pytest.raises(InputError, match=r"other.safetensors: .*blocks.0.squeeze_excite") as caught:
        compact.load(other)
    assert "\n" not in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize("system", ["residual", "plain", "without"])
def test_the_whole_way_to_onnx_and_the_command_line(nets, tiny, system):
    import onnxruntime
    import soundfile

    run = through(nets, system, tiny)
    file, want = same_scores(run, tiny)
    model = run.folder / "compact.safetensors"
    more = ["--allow-code"] if system != "without" else []
    for words in (["size", model], ["export", model, "--out", nets / "x.onnx"], ["predict", model, file, "--json"]):
        done = subprocess.run([sys.executable, "-m", "asc_kit", *map(str, words), *more], cwd=nets, capture_output=True,
                              text=True, env={**__import__("os").environ, "PYTHONPATH": f"{ROOT}"})  # fmt: skip
        assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)
    assert np.abs(np.array(list(entry["probabilities"].values())) - want).max() < 2e-3
    session = onnxruntime.InferenceSession(nets / "x.onnx", providers=["CPUExecutionProvider"])
    wave = soundfile.read(file, dtype="float32")[0][None]
    loaded = compact.load(model).probabilities(torch.from_numpy(wave))
    assert np.abs(session.run(None, {"waveform": wave})[0] - loaded).max() < 1e-5
    assert np.abs(loaded[0] - want).max() < 2e-3


def test_a_model_file_imports_no_code_unasked(nets, tiny, monkeypatch):
    run = train(
        Run.of(str(write(nets, RECIPE % "plain")), "plain", dataset_root=str(tiny), results_dir=str(nets / "r"))
    )
    monkeypatch.setattr(network, "TRUSTED", set())
    for name in ("model", "compact"):
        with pytest.raises(InputError, match="is a network of the class nets:Plain.*--allow-code") as caught:
            compact.load(run.folder / f"{name}.safetensors")
        assert "\n" not in str(caught.value)
        assert compact.load(run.folder / f"{name}.safetensors", allow_code=True).classes == ("bus", "park")


FAULTS = [
    ('{network: "nets:Nowhere"}', "nets:Nowhere cannot be imported (AttributeError"),
    ('{network: "nowhere_at_all:Net"}', "nowhere_at_all:Net cannot be imported (ModuleNotFoundError"),
    ("{network: repotr}", "repotr cannot be imported"),
    ('{network: "nets:OtherArguments"}', "cannot be built with n_mels=160, n_classes=10, {} (TypeError"),
    ('{network: "nets:Residual", options: {depth: 3}}', "{'depth': 3} (TypeError"),
    ('{network: "nets:OtherShape"}', "gives (2, 3) for features of shape (2, 1, 64, 160); it must give logits of shape (2, 10)"),
    ('{network: "nets:Fails"}', "fails at features of shape (2, 1, 64, 160) (RuntimeError"),
    ('{network: "nets:NoParameters"}', "is no torch.nn.Module with parameters"),
    ('{network: "nets:function"}', "is no torch.nn.Module with parameters"),
    ('{network: "nets:Plain", squeeze_excite: false}', "squeeze_excite: is the report's network's, not nets:Plain's"),
    ("{expansion: 0}", "expansion: 0 is out of range"), ("{activation: gelu}", "activation: 'gelu' is not possible"),
    ("{network: both, options: {widht: 3}}", "unknown parameter 'widht'"),
    ("{network: both, options: {logistic: {mixup: off}}}", "options: logistic: unknown parameter 'mixup'"),
    ("{network: both, options: {logistic: {device_response: 3}}}", "logistic: device_response: 3"),
    ("{network: both, options: {logistic: {device_response: 0.5}}}", "device_response: the network hears no microphone"),
    ("{options: {widht: 3}}", "unknown parameter 'widht'"), ("{rows: [[MBConv4, 1, [1], [3, 3], 5]]}", "is no row of Table 1"),
    ("{rows: [[MBConv5, 1, [1, 1], [3, 3], 5]]}", "is no row of Table 1"), ("{network: 3}", "network: 3 is not possible; give text"),
    ("{n_mels: many}", "n_mels: 'many'"),
]  # fmt: skip


@pytest.mark.parametrize(("system", "what"), FAULTS, ids=[what[:40] for _, what in FAULTS])
def test_what_is_no_network_is_one_line_before_anything_starts(nets, system, what):
    text = f"systems: {{odd: {system}}}\nsubmissions: [odd]\naugmentation: {{crop_seconds: 1.0}}\n"
    with pytest.raises(InputError, match=re.escape(what)) as caught:
        recipes.load(write(nets, text))
    assert "\n" not in str(caught.value) and "mine" in str(caught.value) and "odd" in str(caught.value)


def test_a_module_that_another_hides_is_refused(nets, monkeypatch):
    monkeypatch.setitem(sys.modules, "nets", dataclasses)
    with pytest.raises(InputError, match="nets.py, but .*dataclasses.py goes by that name, too|cannot be imported"):
        recipes.load(write(nets, RECIPE % "plain"))


def test_rows_of_ones_own_are_built_and_counted():
    rows = [["Conv2d", 1, [1, 1], [5, 3], 6], ["MBConv4", 2, [2, 2], [3, 3], 12], ["Conv2d", 1, [1, 1], [1, 1], 20]]
    named = dict(zip(("block", "repeats", "stride", "kernel", "channels"), rows[1]))
    config = recipes.Recipe("x", systems={"thin": {"rows": rows, "expansion": 2}}).config("thin")
    again = recipes.Recipe("x", systems={"thin": {"rows": [rows[0], named, rows[2]], "expansion": 2}}).config("thin")
    net = network.build(config, 10)
    assert [type(block).__name__ for block in net.blocks] == ["MBConv4", "MBConv4"] and net.blocks[0].wide == 12
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in network.build(again, 10).parameters())
    assert Config.from_dict(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.parametrize("options", ["{squeeze_excite: false}", "{rows: null, expansion: 6}"])
def test_options_of_the_reports_network_are_its_settings(nets, options):
    config = recipes.load(
        write(nets, f"systems: {{odd: {{network: report, options: {options}}}}}\nsubmissions: [odd]\n")
    ).config("odd")
    assert config.architecture.options == {}
    assert (config.architecture.squeeze_excite, config.architecture.expansion) in ((False, 4), (True, 6))


@pytest.mark.parametrize("name", ["train_in_60_lines", "own_network"])
@pytest.mark.long
def test_examples_run(tmp_path, name):
    done = subprocess.run([sys.executable, ROOT / "examples" / f"{name}.py", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" in done.stdout
    if name == "train_in_60_lines":
        assert len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) <= 62
        accuracy = float(re.search(r"accuracy (\d\.\d+)", done.stdout)[1])
        assert accuracy > 0.15  # ten classes; a guess has 0.1
    else:
        assert (
            re.search(r"^ *small +32 ", done.stdout, re.M) and (next(tmp_path.rglob("small.onnx"))).stat().st_size > 0
        )
