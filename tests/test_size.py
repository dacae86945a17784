"""What ``python -m asc_kit size`` prints: exact counts, memory by hand, and the challenge's limits."""

import pandas as pd
import pytest
import torch
from conftest import ROOT
from test_folding import CLASSES, trained
from torch import nn

from asc_kit import complexity, network
from asc_kit.deploy import compact, size
from asc_kit.run.recipes import Recipe

# parameters, with statistics, folded; multiply-accumulates of 1 s; FACTS of the report and of the baseline's authors
COUNTS = {
    "1": (62090, 65618, 60252, 7941928), "2": (62154, 65746, 60316, 15875368), "3": (62282, 66002, 60444, 31742248),
    "4": (62346, 66130, 60508, 39675688), "baseline": (46118, 46246, 46070, 28670440),
}  # fmt: skip


def lines(tmp_path, submission, folded=False):
    compact.save(*trained(submission), CLASSES, tmp_path / "m")
    if folded:
        compact.save_folded(compact.load(tmp_path / "m"), tmp_path / "m")
    return {line.name: line for line in size.measure(tmp_path / "m")}


@pytest.mark.parametrize("folded", [False, True], ids=["named", "compact"])
@pytest.mark.parametrize("submission", COUNTS)
def test_three_counts_and_work(tmp_path, submission, folded):
    found = lines(tmp_path, submission, folded)
    names = ("parameters", "parameters with statistics", "parameters folded", "multiply-accumulates, 1 s")
    assert [int(found[name].value.replace(",", "")) for name in names] == list(COUNTS[submission])
    assert found["file"].value == f"{(tmp_path / 'm').stat().st_size:,} bytes"
    assert "124,692 bytes = 121.77 KB" in found["parameters"].note or submission != "4"


@pytest.mark.parametrize("seconds", [1, 10])
@pytest.mark.parametrize("mels", [32, 160])
def test_peak_is_the_first_depthwise_convolution(mels, seconds):
    """48 channels in and 48 out at half the time."""
    settings = Recipe("test").config({32: "1", 160: "4"}[mels]).features
    half = -(-settings.frames(44100 * seconds) // 2)
    want = (48 * half + 48 * -(-half // 2)) * mels // 2
    for net in (network.Network(mels, 10), network.Network(mels, 10).eval()):
        training = net.training
        assert complexity.peak_activations(net, settings, seconds) == want
        assert net.training == training and not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_peak_of_the_baseline_is_its_second_convolution():
    settings = Recipe("test").config("baseline").features
    assert complexity.peak_activations(network.Baseline(40, 10), settings, 10) == 2 * 16 * 40 * 500


class Foreign(nn.Module):
    """Nothing of the kit's: 1-d convolutions, a skip over two of them, a concatenation, a layer norm."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(32, 8, 3, padding=1), nn.Conv1d(8, 8, 3, padding=1)
        self.third, self.norm, self.last = nn.Conv1d(8, 8, 3, padding=1), nn.LayerNorm(32), nn.Linear(16, 10)

    def forward(self, x):
        x = self.first(self.norm(x[:, 0]).transpose(1, 2))  # 8 channels, all wanted until the concatenation
        y = self.third(torch.relu(self.second(x)))
        return self.last(torch.cat([x, y], 1).mean(2))


def test_peak_of_any_network_is_what_one_layer_takes_and_gives():
    """32 in and 8 out of the first convolution; then 40 and 8 of the third."""
    settings = Recipe("test").config("1").features
    frames = settings.frames(44100)
    assert complexity.peak_activations(Foreign(), settings, 1) == (32 + 8) * frames
    net = Foreign()
    net.first = nn.Conv1d(32, 8, 1, stride=1)
    net.second, net.third = nn.Conv1d(8, 40, 1), nn.Conv1d(40, 8, 1)
    assert complexity.peak_activations(net, settings, 1) == (40 + 8) * frames
    assert complexity.peak_activations(nn.Flatten(), settings, 1) == 0  # has neither


def test_statistics_are_counted_where_a_network_says_so():
    net = nn.Sequential(nn.Conv2d(1, 512, 1), nn.BatchNorm2d(512))
    assert complexity.size_kb(net) == 2 * 2048 / 1024
    net.counts_statistics = True
    assert complexity.size_kb(net) == 2 * 3072 / 1024


def test_peak_is_no_more_than_torch_allocates():
    """Run eagerly, nothing in place, torch holds at least those tensors at once."""
    settings = Recipe("test").config("1").features
    net, x = network.Network(32, 10).eval(), torch.zeros(1, 1, settings.frames(44100), 32)
    with torch.profiler.profile(profile_memory=True) as profile, torch.inference_mode():
        net(x)
    now = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    peak = 4 * complexity.peak_activations(net, settings, 1)
    assert peak <= most + 4 * x.numel() < 3 * peak


@pytest.mark.parametrize(
    ("submission", "later"), [("1", True), ("2", True), ("3", False), ("4", False), ("baseline", True)]
)
def test_limits_of_the_challenge(tmp_path, submission, later):
    found = lines(tmp_path, submission)
    first, last = found["DCASE 2021"], found["DCASE 2023 to 2025"]
    assert first.value.startswith("met") and (last.value == "met") == later
    assert ("million MACs" in last.value) != later
    assert ("not with statistics" in first.value) == (submission != "baseline")
    assert all("." in line.note.split("[")[1] for line in (first, last))  # an address


def test_table_is_aligned(tmp_path):
    rows = size.table(list(lines(tmp_path, "1").values())).splitlines()
    assert rows[0].startswith("system")
    start = rows[0].index("1  ")
    assert all(row[start - 1] == " " and row[start] != " " for row in rows)


def test_committed_table_is_why_export_has_no_int8():
    table = pd.read_csv(ROOT / "results" / "performance" / "int8.csv")
    for _, rows in table.groupby("submission"):
        usual, small = rows[rows.weights == "float16"].iloc[0], rows[rows.weights == "int8"]
        assert (small.labels_changed > 0).all() and (small.milliseconds > usual.milliseconds).all()
        assert (small.onnx_bytes > 0.9 * usual.onnx_bytes).all()
