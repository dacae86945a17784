"""Every open choice is a switch: it changes what it says, and trains a step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, write_corpus

from asc_kit import network
from asc_kit.config import PARTS
from asc_kit.data import corpus
from asc_kit.deploy import compact
from asc_kit.report.assumptions import CHOICES, table
from asc_kit.run.data import RunData
from asc_kit.run.recipes import Recipe
from asc_kit.trainer import Trainer

ASSUMPTIONS = CHOICES[CHOICES.default.isna()].drop(columns="default")  # those that are switched
BASE = {
    "features": {},
    "augmentation": {"crop_seconds": 0.5, "mask_fraction": 0.3},
    "training": {"epochs": 4, "batch_size": 6, "validation_fraction": 0.34, "patience": 2},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    rows = [
        (f"audio/{p}-{s}.wav", ("bus", "park", "tram")[p % 3], f"place{p}", "a") for p in range(12) for s in range(2)
    ]
    folder = write_corpus(tmp_path_factory.mktemp("switches") / "clips", rows)
    for number, row in enumerate(rows):  # that fall to silence, below every floor
        noise = np.random.default_rng(number).standard_normal(44100) * np.geomspace(0.1, 1e-7, 44100)
        soundfile.write(folder / row[0], noise, 44100, subtype="PCM_16")
    return folder


def measure(clips: Path, folder: Path, part: str, name: str, value: object) -> dict[str, object]:
    """What a setting leads to: the first batch, and all that one epoch's steps make of it."""
    parts = {key: dict(values) for key, values in BASE.items()}
    parts[part][name] = value
    config = Recipe("switch", folds=3, **parts).config("1")
    work = RunData(config, corpus.read(clips))
    torch.manual_seed(0)
    net = network.build(config, len(work.classes))
    trainer = Trainer(net, config.training, 0, work.steps)
    waves = work.store.read([0, 1], [0, 0], work.store.length)
    inputs, targets = next(work.batches(1))
    found = {
        "features": work.features(waves),
        "inputs": inputs,
        "targets": targets,
        "rows": list(work.training.filename),
    }
    found["logits"] = net(inputs).detach()
    seen = iter([{"log_loss": x, "accuracy": y} for x, y in ((1.0, 0.5), (1.1, 0.6), (1.2, 0.4), (1.3, 0.3))])
    rates, betas = [], []
    step = trainer.step

    def watched(*batch):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        betas.append(trainer.optimizer.param_groups[0]["betas"][0])
        loss = step(*batch)
        assert torch.isfinite(torch.tensor(loss))
        return loss

    trainer.step = watched
    averaged = trainer.fit(work.batches, (lambda _: next(seen)) if config.training.selection != "none" else None)
    found |= {"rate": rates, "momentum": betas, "epochs": (trainer.state.epoch, trainer.state.best_epoch)}
    found["average"] = torch.cat([v.flatten().float() for v in averaged.state_dict().values()])
    compact.save(averaged, config, work.classes, folder / "model.safetensors")
    found["probabilities"] = torch.from_numpy(compact.load(folder / "model.safetensors").probabilities(waves))
    assert torch.isfinite(found["probabilities"]).all()
    return found


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return first.shape == second.shape and torch.equal(first, second)
    return first == second


CASES = [(a, value) for a in ASSUMPTIONS.itertuples() for value in a.other]


@pytest.fixture(scope="module")
def default(clips, tmp_path_factory) -> dict[str, object]:
    return measure(clips, tmp_path_factory.mktemp("default"), "training", "epochs", 4)


@pytest.mark.parametrize(("assumption", "value"), CASES, ids=lambda x: getattr(x, "name", str(x)))
def test_switch_changes_what_it_says_and_trains(clips, default, tmp_path, assumption, value):
    other = measure(clips, tmp_path, assumption.part, assumption.name, value)
    assert not same(default[assumption.changes], other[assumption.changes])


BEFORE = {"logits": ("features", "inputs", "rows"), "features": ("rows",), "inputs": ("features", "rows"),
          "targets": ("features", "rows"), "rate": ("inputs", "rows"), "momentum": ("inputs", "rate"),
          "average": ("inputs", "logits", "rate"), "epochs": ("inputs", "rows"),
          "probabilities": ("average", "rate"), "rows": ("features",)}  # fmt: skip


@pytest.mark.parametrize(("assumption", "value"), CASES, ids=lambda x: getattr(x, "name", str(x)))
def test_switch_leaves_what_comes_before_it(clips, default, tmp_path, assumption, value):
    other = measure(clips, tmp_path, assumption.part, assumption.name, value)
    for name in BEFORE[assumption.changes]:
        assert same(default[name], other[name]), name


def test_every_assumption_is_a_field_with_its_default_and_an_allowed_other():
    listed = table()
    assert listed.choice.is_unique and len(listed) == len(ASSUMPTIONS) + 3
    for assumption in ASSUMPTIONS.itertuples():
        part = PARTS[assumption.part]()
        for value in assumption.other:
            assert value != getattr(part, assumption.name)
            assert getattr(replace(part, **{assumption.name: value}), assumption.name) == value


def test_every_field_that_is_called_open_is_in_the_table():
    """config.py marks them; the table must not forget one."""
    marked = {line.split(":")[0].strip() for line in (ROOT / "asc_kit" / "config.py").read_text().splitlines()
              if "# " in line and " open" in line and ":" in line.split("#")[0]}  # fmt: skip
    assert marked <= set(ASSUMPTIONS.name), marked - {a.name for a in ASSUMPTIONS.itertuples()}


def test_a_switch_draws_from_a_generator_of_its_own(clips, default, tmp_path):
    """Rolling comes before mixup, and leaves its partners and shares as they are."""
    other = measure(clips, tmp_path, "augmentation", "roll", True)
    assert same(default["targets"], other["targets"]) and not same(default["inputs"], other["inputs"])
