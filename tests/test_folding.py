"""The compact file: folded networks, exact counts, one flat tensor, and files that are not it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import ROOT, real
from safetensors import safe_open
from safetensors.torch import save_file

from asc_kit import complexity, network
from asc_kit.common import InputError
from asc_kit.deploy import compact
from asc_kit.deploy.folding import fold
from asc_kit.run.recipes import Recipe

CLASSES = tuple("abcdefghij")
FOLDED = {"1": 60252, "2": 60316, "3": 60444, "4": 60508, "baseline": 46070}


def trained(submission, classes=CLASSES):
    settings = Recipe("test").config(submission)
    torch.manual_seed(0)
    net = network.build(settings, len(classes))
    for _ in range(20):
        net.train()(torch.randn(4, 1, 64, settings.features.n_mels) * 12 - 50)  # running statistics of their own
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "norm" in name:
                value.add_(0.3 * torch.randn_like(value))  # a trained norm is not the identity
        net.classifier.weight.mul_(8)  # nor does it leave all classes alike
        if submission == "baseline":
            net.mean.fill_(-5), net.deviation.fill_(3), net.dense.weight.mul_(8)
    return net.eval(), settings


@pytest.fixture(params=FOLDED)
def files(request, tmp_path):
    """(submission, model.safetensors, compact.safetensors)"""
    named, small = tmp_path / "model.safetensors", tmp_path / "compact.safetensors"
    compact.save(*trained(request.param), CLASSES, named)
    compact.save_folded(compact.load(named), small)
    return request.param, named, small


@pytest.mark.parametrize("submission", FOLDED)
def test_folding_changes_rounding_alone_and_leaves_the_network(submission):
    net, settings = trained(submission)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    without = fold(net)
    x = torch.randn(3, 1, 100, settings.features.n_mels) * (3 if submission == "baseline" else 12)
    x = x - (5 if submission == "baseline" else 50)
    with torch.no_grad():
        assert torch.allclose(without(x), net(x), atol=2e-4, rtol=1e-4)
        assert torch.equal(fold(without)(x), without(x))  # folded twice is folded once
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in without.modules())


class Twice(torch.nn.Module):
    """A network of someone's own that has one convolution under two names."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 4, 3)
        self.body = torch.nn.Sequential(self.stem, torch.nn.BatchNorm2d(4))

    def forward(self, x):
        return self.body(x).mean((2, 3))


def test_a_layer_under_two_names_is_folded_under_both():
    torch.manual_seed(0)
    net, x = Twice(), torch.randn(2, 1, 20, 20)
    for _ in range(5):
        net.train()(3 * torch.randn(4, 1, 20, 20) + 1)
    with torch.no_grad():
        assert torch.allclose(fold(net)(x), net.eval()(x), atol=1e-5)


def test_numbers_of_the_folded_network_are_exact(files):
    submission, _, small = files
    net, settings = trained(submission)
    assert sum(value.numel() for value in fold(net).state_dict().values()) == FOLDED[submission]
    assert complexity.sizes(net)["folded"] == FOLDED[submission]
    rest = 2 * settings.features.n_mels + (16 * 49 + 16 if submission == "baseline" else 6 * 15 + 6)
    with safe_open(small, "pt") as handle:
        assert list(handle.keys()) == ["weights"]
        flat = handle.get_tensor("weights")
    assert flat.dtype == torch.float16 and flat.shape == (FOLDED[submission] + rest,)
    assert small.stat().st_size < 128_000


def test_compact_model_is_the_folded_network_in_halves(files):
    submission, named, small = files
    model, source = compact.load(small), compact.load(named)
    assert model.config == source.config and model.classes == source.classes
    want = fold(source.network).state_dict()
    for name, value in model.network.state_dict().items():
        if name.startswith(("norm.", "stem.", "mean", "deviation", "conv1.")):  # with what rounding left
            assert torch.allclose(value, want[name], rtol=2**-21, atol=2**-24)
        else:
            assert torch.equal(value, want[name].half().float())
    assert model.nonzero <= model.parameters <= FOLDED[submission]


def test_probabilities_stay(files):
    _, named, small = files
    random = np.random.default_rng(0)
    waves = torch.from_numpy((random.standard_normal((6, 66150)) * np.geomspace(1e-3, 0.5, 6)[:, None]).astype("f4"))
    was, now = compact.load(named).probabilities(waves), compact.load(small).probabilities(waves)
    assert np.abs(was - now).max() < 2e-3 and (was.argmax(1) == now.argmax(1)).all()
    assert was.max(1).min() < 0.99 and was.max(1).max() > 0.2  # neither certain nor alike, or nothing could move


def test_compact_of_compact_holds_the_same_numbers(files, tmp_path):
    _, _, small = files
    compact.save_folded(compact.load(small), tmp_path / "again")
    again = compact.load(tmp_path / "again").network.state_dict()
    for name, value in compact.load(small).network.state_dict().items():
        assert torch.allclose(again[name], value, rtol=2**-21, atol=2**-24)


def test_origin_stands_inside_and_equal_models_are_equal_bytes(tmp_path):
    net, settings = trained("1")
    compact.save(net, settings, CLASSES, tmp_path / "m")
    origin = compact.origin({"run": "submission_1/seed_0", "hash": settings.hash, "code": "c",
                             "data": {"fingerprint": "f", "synthetic": True, "length": 4000, "sample_rate": 8000}})  # fmt: skip
    model = dataclasses.replace(compact.load(tmp_path / "m"), origin=origin)
    for name in ("a", "b"):
        compact.save_folded(model, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    inside = compact.load(tmp_path / "a").origin
    assert inside == origin and inside["seconds"] == 0.5 and "synthetic" in inside["licence"]


def test_fifteen_classes_fit_too(tmp_path):
    classes = tuple(f"a_scene_with_a_name_{n}" for n in range(15))
    compact.save(*trained("4", classes), classes, tmp_path / "m")
    compact.save_folded(compact.load(tmp_path / "m"), tmp_path / "c")
    assert (tmp_path / "c").stat().st_size < 126_000


def test_float16_arithmetic_is_kept(tmp_path):
    net, settings = trained("1")
    settings = dataclasses.replace(settings, training=dataclasses.replace(settings.training, float16="arithmetic"))
    compact.save(net, settings, CLASSES, tmp_path / "m")
    compact.save_folded(compact.load(tmp_path / "m"), tmp_path / "c")
    model = compact.load(tmp_path / "c")
    assert all(value.dtype == torch.float16 for value in model.network.parameters())
    assert np.isfinite(model.probabilities(torch.randn(1, 44100) * 0.1)).all()


@pytest.mark.parametrize(("change", "what"), [(-1, "holds 60411 numbers"), (1, "holds 60413 numbers")])
def test_flat_tensor_of_another_length_is_one_line(tmp_path, change, what):
    compact.save(*trained("1"), CLASSES, tmp_path / "m")
    compact.save_folded(compact.load(tmp_path / "m"), tmp_path / "c")
    with safe_open(tmp_path / "c", "pt") as handle:
        about, flat = handle.metadata(), handle.get_tensor("weights")
    save_file({"weights": torch.cat([flat, flat])[: len(flat) + change].clone()}, tmp_path / "c", about)
    with pytest.raises(InputError, match=what + " where its network has 60412") as caught:
        compact.load(tmp_path / "c")
    assert "\n" not in str(caught.value)


def test_truncated_compact_file_is_one_line(tmp_path):
    compact.save(*trained("1"), CLASSES, tmp_path / "m")
    compact.save_folded(compact.load(tmp_path / "m"), tmp_path / "c")
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:100_000])
    with pytest.raises(InputError, match="is no whole safetensors file"):
        compact.load(tmp_path / "c")


def test_folded_weight_beyond_float16_is_refused_and_nothing_written(tmp_path):
    net, settings = trained("1")
    net.head_norm.weight.data[0], net.head_norm.running_var[0] = 6e4, 1e-4
    compact.save(net, settings, CLASSES, tmp_path / "m")
    with pytest.raises(InputError, match="folded weight does not fit into float16"):
        compact.save_folded(compact.load(tmp_path / "m"), tmp_path / "c")
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_committed_models_keep_the_probabilities_of_real_clips():
    """As the README says of the models of TAU 2022; another processor may round a label or two otherwise."""
    names = pd.read_csv(ROOT / "results/tau2022/truth.tsv", sep="\t").filename
    files = [real("tau2022") / name for name in names]
    waves = torch.from_numpy(np.stack([soundfile.read(file, dtype="float32")[0] for file in files]))
    moves, changed = [], 0
    for named in sorted((ROOT / "results/tau2022").glob("submission_[!l]*/seed_0*/model.safetensors")):
        was = compact.load(named).probabilities(waves)
        now = compact.load(named.parent / "compact.safetensors").probabilities(waves)
        moves.append(np.abs(was - now).max())
        changed += int((was.argmax(1) != now.argmax(1)).sum())
    assert (len(moves), len(files)) == (6, 275)
    assert 0.0008 < max(moves) < 0.0012 and changed <= 6
