"""The network that `predict` scores with: the same logits by another way, in less than the plain way's time."""

import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from test_folding import CLASSES, FOLDED, trained
from torch import nn

from asc_kit import network
from asc_kit.common import InputError
from asc_kit.deploy import compact
from asc_kit.deploy.folding import Affine, fold
from asc_kit.deploy.quick import fused, quickened
from asc_kit.run.recipes import Recipe
from benchmarks import scoring as speed
from benchmarks import training as benchmark


def saved(tmp_path, submission, **features):
    net, settings = trained(submission)
    if features:
        settings = dataclasses.replace(settings, features=dataclasses.replace(settings.features, **features))
        net = network.build(settings, len(CLASSES))
    compact.save(net, settings, CLASSES, tmp_path / "model.safetensors")
    compact.save_folded(compact.load(tmp_path / "model.safetensors"), tmp_path / "compact.safetensors")
    return compact.load(tmp_path / "model.safetensors"), compact.load(tmp_path / "compact.safetensors")


@pytest.mark.parametrize("submission", FOLDED)
def test_logits_move_by_rounding_alone_for_any_length_and_batch(tmp_path, submission):
    for model in saved(tmp_path, submission):
        quick, before = quickened(model), {k: v.clone() for k, v in model.network.state_dict().items()}
        for batch, seconds in ((1, 10), (1, 0.1), (3, 1)):
            waves = 0.1 * torch.randn(batch, round(44100 * seconds), generator=torch.Generator().manual_seed(batch))
            off = np.abs(quick.probabilities(waves) - model.probabilities(waves))
            assert off.max() < 1e-5 and off.shape == (batch, 10)
        assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
        again = quick.probabilities(waves)
        assert np.array_equal(again, quick.probabilities(waves))  # nothing that it keeps is overwritten


def test_the_features_are_not_overwritten(tmp_path):
    quick = quickened(saved(tmp_path, "1")[1])
    features = torch.randn(4, 1, 64, 32) * 12 - 50
    kept = features.clone()
    with torch.inference_mode():
        first = quick.network(features)
        assert torch.equal(features, kept) and torch.equal(quick.network(features), first) and first.std(0).min() > 0


class Branches(nn.Module):
    """What reads a layer's output twice, and what a trace cannot follow where ``loop``."""

    def __init__(self, loop):
        super().__init__()
        self.conv, self.norm, self.loop = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), loop
        self.end = nn.Linear(4, 10)

    def forward(self, x):
        y = self.conv(x)
        if self.loop and y.mean() > 1e9:
            return y
        z = nn.functional.silu(y) + self.norm(y)  # y is read twice: neither folded nor overwritten
        return self.end((nn.functional.relu(z) * z).mean((2, 3)))


@pytest.mark.parametrize("loop", [False, True])
def test_what_is_read_twice_is_neither_folded_nor_overwritten(loop):
    torch.manual_seed(0)
    net, x = Branches(loop), torch.randn(2, 1, 20, 8)
    net.train()(3 * torch.randn(8, 1, 20, 8) + 1)
    with torch.no_grad():
        want = net.eval()(x)
        made = fused(fold(net))
        assert torch.allclose(made(x), want, atol=1e-5)
    assert isinstance(fold(net).norm, Affine)


def test_the_other_axis_order(tmp_path):
    model, _ = saved(tmp_path, "1", axis_order="frequency_time")
    waves = 0.1 * torch.randn(1, 50000, generator=torch.Generator().manual_seed(0))
    assert np.abs(quickened(model).probabilities(waves) - model.probabilities(waves)).max() < 1e-5


def test_float16_arithmetic_stays_as_it_is(tmp_path):
    settings = Recipe("x", training={"float16": "arithmetic"}).config("1")
    compact.save(trained("1")[0], settings, CLASSES, tmp_path / "m.safetensors")
    model = compact.load(tmp_path / "m.safetensors")
    assert quickened(model) is model


def test_the_table_has_a_row_a_way():  # notebook 11 runs them: it ends where two of them differ in a probability
    times = {name: dict.fromkeys(speed.CLOCKS, 10.0 * n) for n, name in enumerate(speed.MAKERS, 2)}
    table = {row["what"]: row for row in speed.rows(times, dict.fromkeys(speed.CLOCKS, 2500.0))}
    assert list(table) == ["asc_kit", "plain", "ONNX Runtime", "cold start of predict"]
    assert table["plain"]["of_plain"] == 1 and table["cold start of predict"]["milliseconds"] == 2500
    ours = table["asc_kit"]
    assert ours["real_time_factor"] * ours["clips_a_second"] == pytest.approx(0.1)  # clips of 10 s
    assert ours["of_plain"] == pytest.approx(ours["milliseconds"] / table["plain"]["milliseconds"])


def test_the_clocks_count_what_is_slept_and_what_is_worked():
    def work():
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    child = [
        sys.executable,
        "-c",
        "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass",
    ]
    ways = {"sleep": lambda: time.sleep(0.05), "work": work, "child": lambda: subprocess.run(child, check=True)}
    found = speed.turns(ways, 3)
    assert found["sleep"]["milliseconds"] >= 50 and found["sleep"]["processor_milliseconds"] < 10
    assert found["work"]["processor_milliseconds"] == pytest.approx(50, rel=0.2)
    assert found["child"]["processor_milliseconds"] > 290


@pytest.mark.parametrize(
    ("name", "kind"),
    [("aten::mkldnn_convolution", "convolutions"), ("aten::_slow_conv2d_backward", "convolutions, backward"), ("aten::_to_copy", "copies and conversions"),
     ("autograd::engine::evaluate_function: ConvolutionBackward0", "the rest"), ("Optimizer.zero_grad#AdamW.zero_grad", "the rest")],
)  # fmt: skip
def test_operations_are_told_by_their_names(name, kind):
    assert benchmark.kind(name) == kind


def test_ways_that_differ_are_not_compared(monkeypatch):
    said = {"plain": [0.4, 0.6], "asc_kit": [0.403, 0.597], "ONNX Runtime": [0.4, 0.6]}
    monkeypatch.setattr(speed, "alone", lambda _, name, *rest, module: {"probabilities": said[name]})
    with pytest.raises(InputError, match="differ by 0.003 in a probability"):
        speed.labelling(1, 1)


def test_a_measurement_that_fails_says_which_and_why(monkeypatch):
    """And takes its environment from here, though the process that it is forked from may be older."""
    with pytest.raises(InputError, match="opening: failed .*/nowhere: no such folder"):
        benchmark.alone("opening", "/nowhere")
    monkeypatch.setenv("ASC_CACHE", "/another")
    assert str(benchmark.alone("cache", module="asc_kit.config")) == "/another"
