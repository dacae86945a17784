"""Section 2.3 and Tables 1, 5, 6: structure, parameters and multiply-accumulates of the built networks."""

import pytest
import torch

from asc_kit import complexity, network
from asc_kit.blocks import FusedMBConv4, MBConv4
from asc_kit.report import tables
from asc_kit.run.recipes import Recipe

RECIPE = Recipe("test")
NET = network.Network(160, 10)


def build(name):
    settings = RECIPE.config(name)
    return network.build(settings, 10), settings.features


@pytest.mark.parametrize(("name", "parameters"), [("1", 62090), ("2", 62154), ("3", 62282), ("4", 62346)])
def test_totals_of_the_report(name, parameters):
    net, _ = build(name)
    assert complexity.count(net) == parameters
    assert sum(p.count_nonzero() for p in net.parameters()) < parameters  # fresh batch norms start with zero biases


@pytest.mark.parametrize(("name", "macs"), [("1", 79), ("2", 159), ("3", 317), ("4", 397)])
def test_multiply_accumulates(name, macs):
    net, settings = build(name)
    assert round(complexity.multiply_accumulates(net, settings) / 1e6) == macs


def test_table_6_row_by_row():
    ours, report = complexity.table_6(NET), tables.published(6)
    for column in ("parameters", "size_bytes"):
        printed = report[report.column == column]
        assert ours.block[: len(printed)].tolist() == printed.label.tolist()
        assert ours[column][: len(printed)].tolist() == printed.value.astype(int).tolist()
    assert ours.parameters[:-1].sum() == ours.parameters.iloc[-1] == 62346
    assert f"{complexity.size_kb(NET):.1f}" == "121.8"


def test_table_1_is_the_reports():
    ours, report = complexity.table_1(), tables.published(1)
    cells = [
        (i, row.block, c, row[c]) for i, row in ours.iterrows() for c in ("stride", "kernel", "channels") if row[c]
    ]
    assert cells == [(int(r.row) - 1, r.label, r.column, r.value) for r in report.itertuples()]


@pytest.mark.parametrize("block", list(NET.blocks), ids=lambda b: f"{type(b).__name__}{complexity.channels(b)}")
def test_table_5_formulas_hold_for_every_block(block):
    i, o = complexity.channels(block)
    column = 2 if isinstance(block, MBConv4) else 3
    formulas = [complexity.evaluate(row[column], i, o) if row[column] else 0 for row in complexity.TABLE_5]
    assert formulas == complexity.block_parameters(block)
    assert sum(formulas) == complexity.count(block)


def test_table_5_is_the_reports():
    ours, report = complexity.table_5(), tables.published(5)
    for column in ("mbconv4", "fused_mbconv4"):
        printed = report[report.column == column]
        assert [f for f in ours[column] if f] == printed.value.tolist()


def test_equations_2_and_3_need_2_o():
    def equation(i, o, last, fused):
        inner = 9 * i + o + 2 * (i // 4) + 3 if fused else i + o + 2 * (i // 4) + 14
        return 4 * i * inner + 2 * last + i // 4 + (i * o if i != o else 0)

    for block in NET.blocks:
        i, o = complexity.channels(block)
        fused = isinstance(block, FusedMBConv4)
        assert equation(i, o, o, fused) == complexity.count(block)
        assert (equation(i, o, i, fused) == complexity.count(block)) == (i == o)


@pytest.mark.parametrize("frames", [16, 64, 100, 512, 640, 1001])
def test_any_length(frames):
    assert NET.eval()(torch.randn(2, 1, frames, 160)).shape == (2, 10)


def test_strides_divide_time_by_16_and_mels_by_8():
    x = torch.zeros(1, 6, 640, 160)
    assert NET.eval().blocks(x).shape == (1, 30, 40, 20)


def test_axis_order_changes_the_output_and_no_parameter():
    torch.manual_seed(0)
    first = network.Network(64, 10).eval()
    second = network.Network(64, 10, axis_order="frequency_time").eval()
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 1, 128, 64)
    assert not torch.allclose(first(x), second(x))


def test_pooling_is_max_plus_mean():
    net = network.Network(32, 10).eval()
    seen = {}
    net.head_norm.register_forward_hook(lambda m, i, o: seen.update(maps=torch.nn.functional.silu(o)))
    logits = net(torch.randn(1, 1, 64, 32))
    pooled = seen["maps"].amax((2, 3)) + seen["maps"].mean((2, 3))
    assert torch.allclose(logits, net.classifier(pooled))


def test_identity_shortcut_only_where_channels_stay():
    bare = [isinstance(b.shortcut, torch.nn.Conv2d) for b in NET.blocks]
    assert bare == [True, False, True, False, False, True, False, False, True, False]
    assert all(b.shortcut.bias is None for b in NET.blocks if isinstance(b.shortcut, torch.nn.Conv2d))


def test_every_parameter_gets_a_gradient():
    net = network.Network(32, 10)
    net(torch.randn(2, 1, 64, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_baseline_counts_as_its_authors_do():
    net, settings = build("baseline")
    running = sum(b.numel() for name, b in net.named_buffers() if "running" in name)
    assert complexity.count(net) + running == 46246
    assert f"{complexity.size_kb(net):.1f}" == "90.3"
    assert net.eval()(torch.randn(2, 1, 500, 40)).shape == (2, 10)


def test_baseline_pools_what_time_is_left():
    net, _ = build("baseline")
    for frames in (3, 50, 250, 700):
        assert net.eval()(torch.randn(1, 1, frames, 40)).shape == (1, 10)
