"""Weights as float16 in one file, and files that are not it."""

import json
import pickle

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors import safe_open
from safetensors.torch import save_file

from asc_kit import network
from asc_kit.common import InputError
from asc_kit.deploy import compact
from asc_kit.run import recipes
from asc_kit.run.recipes import Recipe

CLASSES = tuple("abcdefghij")


def trained(submission="1"):
    settings = Recipe("test").config(submission)
    torch.manual_seed(0)
    net = network.build(settings, 10)
    net.train()(torch.randn(4, 1, 64, settings.features.n_mels) * 20 - 40)  # running statistics of their own
    return net, settings


@pytest.mark.parametrize("submission", ["1", "4", "baseline"])
def test_round_trip_is_the_float16_network(tmp_path, submission):
    net, settings = trained(submission)
    file = tmp_path / "model.safetensors"
    compact.save(net, settings, CLASSES, file)
    model = compact.load(file)
    assert model.config == settings and model.classes == CLASSES
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(model.network.state_dict()[name], value.half().float())
    with safe_open(file, "pt") as handle:
        assert {handle.get_tensor(k).dtype for k in handle.keys()} == {torch.float16}
    assert model.parameters == sum(p.numel() for p in net.parameters())


def test_nonzero_is_counted_in_float16(tmp_path):
    net, settings = trained()
    with torch.no_grad():
        net.classifier.weight.fill_(1e-9)  # vanishes in float16
        net.classifier.bias.fill_(1.0)
    compact.save(net, settings, CLASSES, tmp_path / "m")
    zeros = sum(int((p.half() == 0).sum()) for p in net.parameters())
    model = compact.load(tmp_path / "m")
    assert model.nonzero == 62090 - zeros and zeros >= 1000


def test_probabilities_are_float64_and_sum_to_one(tmp_path):
    net, settings = trained()
    compact.save(net, settings, CLASSES, tmp_path / "m")
    p = compact.load(tmp_path / "m").probabilities(torch.randn(3, 44100) * 0.1)
    assert p.shape == (3, 10) and p.dtype == np.float64 and np.allclose(p.sum(1), 1, atol=1e-12)


def test_equal_weights_equal_bytes(tmp_path):
    for name in ("a", "b"):
        compact.save(*trained(), CLASSES, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weight_beyond_float16_is_refused_and_nothing_written(tmp_path):
    net, settings = trained()
    net.classifier.bias.data[0] = 1e6
    with pytest.raises(InputError, match="classifier.bias does not fit into float16"):
        compact.save(net, settings, CLASSES, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


class Trap:
    """Opens a file when it is unpickled, which no reading of a model may do."""

    def __reduce__(self):
        return (open, ("/nonexistent/trap", "w"))


def foreign(kind, file):
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Trap()))
    elif kind == "truncated":
        compact.save(*trained(), CLASSES, file)
        file.write_bytes(file.read_bytes()[:-1000])
    elif kind == "other safetensors":
        save_file({"x": torch.zeros(3)}, file)
    elif kind == "other weights":
        net, settings = trained()
        inside = json.dumps({"config": settings.as_dict(), "classes": CLASSES})
        save_file({"x": torch.zeros(3)}, file, {"asc_kit": inside})
    elif kind in ("one too many", "statistics left out"):
        compact.save(*trained(), CLASSES, file)
        with safe_open(file, "pt") as handle:
            about, tensors = handle.metadata(), {key: handle.get_tensor(key) for key in handle.keys()}
        more = tensors | {"more": torch.zeros(1)}
        tensors.pop("blocks.3.expand_norm.running_var")
        save_file(more if kind == "one too many" else tensors, file, about)
    elif kind == "other shape":
        compact.save(*trained(), CLASSES[:5], file)


@pytest.mark.parametrize(
    ("kind", "what"),
    [("missing", "no such model"), ("pickle", "no whole safetensors"), ("truncated", "no whole safetensors"),
     ("other safetensors", "no asc_kit configuration"), ("other weights", "Missing key.*: norm.weight;"),
     ("other shape", r"size mismatch for classifier.weight: .* torch.Size\(\[10, 100\]\)"), ("one too many", "Unexpected key.*: more;"),
     ("statistics left out", "Missing key.*: blocks.3.expand_norm.running_var;")],
)  # fmt: skip
def test_foreign_file_is_one_line(tmp_path, kind, what):
    file = tmp_path / "m.safetensors"
    foreign(kind, file)
    with pytest.raises(InputError, match=what) as caught:
        compact.load(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_the_committed_model_is_what_its_card_says():
    home = ROOT / "results" / "small"
    model, card = compact.load(home / "model.safetensors"), (home / "MODEL_CARD.md").read_text()
    assert model.config.split == "all" and model.config.augmentation.responses == "mic_responses-53869e45fc88"
    assert (
        f"{model.parameters:,} parameters" in card
        and all(name in card for name in model.classes)
        and len(model.classes) == 15
    )
    about = json.loads((home / "run.json").read_text())
    assert about["data"]["training"] == 392 and about["data"]["evaluation"] == 0
    recipe = recipes.load(home / "all_clips.yaml")
    assert recipe.config("both").hash == model.config.hash == about["hash"]
