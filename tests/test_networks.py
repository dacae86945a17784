"""Three networks of the field (`examples/networks.py`): as large as their papers say, and through the whole kit."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from test_systems import same_scores
from torch import nn

from asc_kit import complexity, network
from asc_kit.config import Features
from asc_kit.deploy import compact, onnx, size
from asc_kit.report import evaluation, page, tables
from asc_kit.run import recipes
from asc_kit.run.experiment import train
from asc_kit.run.runs import Run
from examples.networks import SP4ASC, BCResNet, CPMobile, ResidualNorm, ResponseNorm, SubSpectralNorm

CPJKU = Features(n_mels=256, sample_rate=32000, window=3072, hop=500)  # of 1 s: 65 frames; 64 without the last
LEAGUE = recipes.load("config/league.yaml")
FIELD = ("bcresnet", "cpmobile", "sp4asc")


def normed(net):
    """Channels with a batch norm; merged into the convolution before it, a norm leaves one number a channel, not two."""
    return sum(module.num_features for module in net.modules() if isinstance(module, nn.BatchNorm2d))


def outputs(net, features, modules):
    """Shapes of what modules give for a second, without the batch."""
    shapes = []
    hooks = [module.register_forward_hook(lambda *made: shapes.append(tuple(made[2].shape[1:]))) for module in modules]
    complexity.multiply_accumulates(net, features, 1.0)
    for hook in hooks:
        hook.remove()
    return shapes


def test_bc_resnet_has_the_papers_parameters():
    """315k: abstract of arXiv:2111.06531 and of arXiv:2206.13909, for a width of 80."""
    assert round(complexity.count(BCResNet(256, 10, width=80)) / 1000) == 315


@pytest.mark.parametrize(
    ("widths", "parameters", "macs"),
    [((8, 1.9, 2.2), 5722, 1582336), ((16, 1.5, 1.75), 12310, 4354304), ((24, 1.5, 2.0), 30106, 9638144),
     ((32, 1.7, 1.9), 54182, 16803072)],
)  # fmt: skip
def test_cp_mobile_has_the_challenges_parameters_and_macs(widths, parameters, macs):
    """Its four submissions to DCASE 2023, Task 1, on the results page: norms merged, a bias counted for every output."""
    net = CPMobile(256, 10, *widths)
    features = Features(**vars(CPJKU) | {"last_frame": False})
    assert complexity.count(net) - normed(net) == parameters
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    biases = sum(math.prod(shape) for shape in outputs(net, features, convolutions))
    assert complexity.multiply_accumulates(net, features, 1.0) + biases == macs


def test_cp_mobile_simplified_has_the_papers_parameters_and_macs():
    """61,148 and 29,419,156: arXiv:2405.10018 and the layer table of github.com/CPJKU/dcase2024_task1_baseline.

    That counts a multiplication for each weight of a batch norm.
    """
    net = CPMobile(256, 10, multiplier=1.8, expansion=2.1, simplified=True)
    assert complexity.count(net) == 61148
    assert complexity.multiply_accumulates(net, CPJKU, 1.0) + 2 * normed(net) == 29419156
    assert outputs(net, CPJKU, net.blocks) == [
        (32, 64, 17),
        (32, 64, 17),
        (32, 64, 9),
        (56, 32, 9),
        (56, 32, 9),
        (104, 32, 9),
    ]


def test_sp4asc_has_the_papers_parameters():
    """62,474 with the norms of its convolutions merged: README and meta.yaml of github.com/valeoai/SP4ASC."""
    net = SP4ASC(256, 10)
    assert complexity.count(net) - (normed(net) - 256) == 62474


def test_residual_norm_forgets_a_microphone_up_to_its_share():
    torch.manual_seed(0)
    x, response = torch.randn(2, 3, 8, 50), torch.randn(1, 1, 8, 1)
    assert torch.allclose(ResidualNorm(0.0)(x), ResidualNorm(0.0)(x + 10 * response), atol=1e-4)
    moved = ResidualNorm(0.1)(x + response) - ResidualNorm(0.1)(x)
    assert torch.allclose(moved, 0.1 * response.expand_as(moved), atol=1e-4)
    y = ResidualNorm(0.0)(x)
    assert y.mean((1, 3)).abs().max() < 1e-5 and (y.square().mean((1, 3)) - 1).abs().max() < 1e-4


def test_sub_bands_are_normalised_each_by_itself():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 8, 20) + torch.arange(4.0).repeat_interleave(2).view(1, 1, 8, 1)  # four bands of two bins
    bands = SubSpectralNorm(3, 4)(x).unflatten(2, (4, 2))
    assert bands.mean((0, 3, 4)).abs().max() < 1e-5 and (bands.square().mean((0, 3, 4)) - 1).abs().max() < 1e-3


def test_response_norm_is_none_at_first_and_favours_the_loudest_channel():
    norm, x = ResponseNorm(), torch.ones(1, 2, 4, 4) * torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    assert torch.equal(norm(x), x)
    nn.init.ones_(norm.weight)
    assert torch.allclose(norm(x)[0, :, 0, 0], torch.tensor([1 + 0.5, 3 + 3 * 1.5]))
    norm(torch.zeros(1, 2, 4, 4, requires_grad=True)).sum().backward()
    assert torch.isfinite(norm.weight.grad).all()


@pytest.mark.parametrize("name", FIELD)
def test_of_the_league_each_meets_the_reports_limit_and_learns_everywhere(name):
    config = LEAGUE.config(name)
    net = network.build(config, 10)
    assert config.features == LEAGUE.config("2").features and config.training == LEAGUE.config("2").training
    assert config.augmentation == LEAGUE.config("2").augmentation
    assert 100_000 < 2 * complexity.count(net) <= size.BYTES
    for frames in (64, 101):
        assert net.eval()(torch.randn(2, 1, frames, 64)).shape == (2, 10)
    net.train()(torch.randn(4, 1, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def short(name, tiny, folder):
    """A run of config/league.yaml as it stands, but two epochs long."""
    changes = {"epochs": 2, "batch_size": 8}
    return train(Run.of("config/league.yaml", name, dataset_root=str(tiny), results_dir=str(folder), **changes))


def test_the_league_goes_from_recipe_to_page_and_label(tiny, tmp_path):
    names = ("2", *FIELD)
    runs = {name: short(name, tiny, tmp_path) for name in names}
    results = evaluation.open_results("config/league.yaml", results_dir=str(tmp_path))
    made = tables.write(results)
    table = pd.read_csv(results.home / "tables" / "league.csv").set_index("submission")
    assert list(table.index) == ["logistic", "baseline", *names]
    assert table.n.tolist() == [0, 0] + [len(runs["2"].predictions())] * 4
    assert table.loc["logistic", ["parameters", "macs", "training_seconds"]].isna().all()
    for name in names:
        config, row, about = LEAGUE.config(name), table.loc[name], runs[name].about
        net = network.build(config, 2)
        assert row.parameters == complexity.count(net) == about["parameters"] and row.mel_bins == 64
        assert row.macs == complexity.multiply_accumulates(net, config.features, 1.0)
        assert row.training_seconds == round(about["seconds"])
        same_scores(runs[name], tiny)  # compact.safetensors, model.safetensors and predictions.tsv
    assert np.isnan(table.accuracy_difference["2"])
    apart = table.accuracy[list(FIELD)] - table.accuracy["2"]
    assert table.accuracy_difference[list(FIELD)].to_numpy() == pytest.approx(apart.to_numpy())
    text = page.write(results, made).read_text()
    assert '<h2 id="league">' in text and "Against the report&#x27;s network. Accuracy: " in text


def test_a_recipe_of_the_reports_networks_alone_has_no_league(tmp_path):
    assert tables.league(evaluation.Results(tmp_path, recipes.load("config/tau2022.yaml"), (), {})).empty


@pytest.mark.long
@pytest.mark.parametrize("name", FIELD)
def test_onnx_gives_what_the_compact_file_gives(name, tiny, tmp_path):
    import onnxruntime

    model = compact.load(short(name, tiny, tmp_path).folder / "compact.safetensors")
    onnx.export(model, tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    waves = torch.randn(3, 70_000)  # another number and length than the exporter saw
    there = session.run(None, {"waveform": waves.numpy()})[0]
    assert np.abs(there - model.probabilities(waves)).max() < 1e-4
