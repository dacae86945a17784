"""Section 3.1: the optimizer, schedule, moving average, early stopping, and checkpoints that lose nothing."""

import copy
import math
import os
import signal

import pytest
import torch
from torch import nn

from asc_kit import kernels
from asc_kit.common import InputError
from asc_kit.config import Training, generator
from asc_kit.run import checkpoint
from asc_kit.run.checkpoint import Checkpoints
from asc_kit.trainer import Average, NotFinite, Trainer

STEPS = 4


class Stop(Exception):
    """Breaks a run off."""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def batches(epoch, first=0):
    for step in range(first, STEPS):
        random = generator(0, "data", epoch, step)
        x = torch.randn(16, 6, generator=random)
        yield x, nn.functional.one_hot((x[:, 0] > 0).long() + (x[:, 1] > 1).long(), 3).float()


class Kept(Trainer):
    """A trainer whose `fit` keeps checkpoints, as a run's does."""

    def __init__(self, training, folder, identity):
        super().__init__(network(), training, seed=1, steps=STEPS)
        self.checkpoints = Checkpoints(folder, identity)

    def fit(self, batches, evaluate=None, after_step=None):
        if after_step:
            return super().fit(batches, evaluate, after_step)
        return self.checkpoints.fit(self, batches, evaluate)


def trainer(folder, identity="run", **values):
    return Kept(Training(**{"epochs": 6, "batch_size": 16, "patience": None} | values), folder, identity)


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_without_checkpoints_the_trainer_gives_the_same_bits(tmp_path):
    plain = Trainer(network(), Training(epochs=6, batch_size=16, patience=None), seed=1, steps=STEPS)
    assert same(plain.fit(batches), trainer(tmp_path).fit(batches))


def test_learns_and_repeats_bit_for_bit(tmp_path):
    first, second = trainer(tmp_path / "a"), trainer(tmp_path / "b")
    results = [t.fit(batches, None) for t in (first, second)]
    assert same(*results)
    losses = [row["loss"] for row in first.state.history]
    assert losses[-1] < losses[0] and len(losses) == 6


@pytest.mark.parametrize("stop_at", [2, 4, 6])
@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_broken_off_and_resumed_ends_with_the_same_bits(tmp_path, stop_at, optimizer):
    values = dict(optimizer=optimizer, schedule="one_cycle" if optimizer == "adamw" else "constant")
    whole = trainer(tmp_path / "whole", **values)
    expected = whole.fit(batches, None)

    def breaking(epoch, first):
        for number, batch in enumerate(batches(epoch, first)):
            if epoch == stop_at and number == 2:
                raise Stop
            yield batch

    with pytest.raises(Stop):
        trainer(tmp_path / "broken", **values).fit(breaking, None)
    torch.manual_seed(99)  # whatever another process did with the global generator
    again = trainer(tmp_path / "broken", **values)
    assert same(again.fit(batches, None), expected)
    assert again.state.history == whole.state.history


@pytest.mark.parametrize("stop_at", [(1, 1), (2, 3), (4, 0)])
def test_a_checkpoint_within_an_epoch_keeps_the_step(tmp_path, monkeypatch, stop_at):
    whole = trainer(tmp_path / "whole")
    expected = whole.fit(batches, None)
    monkeypatch.setattr(checkpoint, "SECONDS", -1)  # after every step

    def breaking(epoch, first):
        for step, batch in enumerate(batches(epoch, first), start=first):
            if (epoch, step) == stop_at:
                raise Stop
            yield batch

    with pytest.raises(Stop):
        trainer(tmp_path / "broken").fit(breaking, None)
    asked = []

    def watched(epoch, first):
        asked.append((epoch, first))
        return batches(epoch, first)

    again = trainer(tmp_path / "broken")
    assert same(again.fit(watched, None), expected) and again.state.history == whole.state.history
    assert asked[0] == stop_at


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stop_at", [(2, 1), (2, STEPS - 1), (6, STEPS - 1)])
def test_told_to_stop_it_ends_the_step_saves_and_says_how_to_go_on(tmp_path, number, stop_at):
    expected = trainer(tmp_path / "whole").fit(batches, None)
    usual = signal.getsignal(number)

    def telling(epoch, first):
        for step, batch in enumerate(batches(epoch, first), start=first):
            if (epoch, step) == stop_at:
                os.kill(os.getpid(), number)
            yield batch

    said = (
        f"stopped after epoch {stop_at[0] - 1} and {stop_at[1] + 1} of {STEPS} steps, all saved; start the same again"
    )
    with pytest.raises(InputError, match=said):
        trainer(tmp_path / "run").fit(telling, None)
    assert signal.getsignal(number) == usual
    assert same(trainer(tmp_path / "run").fit(batches, None), expected)


def test_told_twice_it_stops_at_once(tmp_path):
    def telling(epoch, first):
        for batch in batches(epoch, first):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            yield batch

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path).fit(telling, None)
    finally:
        signal.signal(signal.SIGINT, before)


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    expected = trainer(tmp_path / "whole").fit(batches, None)
    trainer(tmp_path / "run").fit(batches, None)
    last = tmp_path / "run" / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    again = trainer(tmp_path / "run")
    assert same(again.fit(batches, None), expected)
    assert "damaged" in capsys.readouterr().err
    for name in ("last", "previous"):
        (tmp_path / "run" / f"{name}.pt").write_bytes(b"nothing")
    assert same(trainer(tmp_path / "run").fit(batches, None), expected)


def test_checkpoint_of_another_run_is_refused(tmp_path):
    trainer(tmp_path).fit(batches, None)
    with pytest.raises(InputError, match="another run"):
        trainer(tmp_path, identity="other").fit(batches, None)


def test_one_cycle_reaches_its_maximum_and_leaves_the_momentum(tmp_path):
    t = trainer(tmp_path, epochs=10)
    rates, betas = [], []
    original = t.schedule.step

    def step(*args):
        original(*args)
        rates.append(t.optimizer.param_groups[0]["lr"])
        betas.append(t.optimizer.param_groups[0]["betas"])

    t.schedule.step = step
    t.fit(batches, None)
    assert max(rates) == pytest.approx(0.01, rel=1e-3) and rates[-1] < 1e-4 and rates[0] < 0.001
    assert set(betas) == {(0.9, 0.999)}
    assert t.optimizer.param_groups[0]["weight_decay"] == 0.01


def test_moving_average_equals_its_formula():
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = Average(net, 0.999, warmup=True)
    expected = net[0].weight.item()
    for n in range(1, 40):
        with torch.no_grad():
            net[0].weight.fill_(n)
            net[1].running_mean.fill_(2 * n)
            net[1].num_batches_tracked.fill_(n)
        average.update(net)
        decay = min(0.999, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert average.network[0].weight.item() == pytest.approx(expected, rel=1e-5)
    assert average.network[1].num_batches_tracked.item() == 39  # counted, not averaged
    assert average.network[1].running_mean.item() == pytest.approx(2 * expected, rel=0.02)
    assert not average.network.training


def test_running_statistics_can_stay_outside_the_average():
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = Average(net, 0.9, warmup=False, buffers=False)
    with torch.no_grad():
        net[0].weight.fill_(5.0)
        net[1].running_mean.fill_(7.0)
        before = average.network[0].weight.item()
    average.update(net)
    assert average.network[1].running_mean.item() == 7.0
    assert average.network[0].weight.item() == pytest.approx(0.9 * before + 0.1 * 5.0)


def test_schedule_may_end_before_the_training_and_keeps_its_last_rate(tmp_path):
    rates = [row["learning_rate"] for row in fitted(tmp_path, epochs=8, schedule_epochs=5).state.history]
    assert rates[4] == rates[5] == rates[7] < 1e-6 and max(rates[:4]) > 0.001
    longer = [row["learning_rate"] for row in fitted(tmp_path / "longer", epochs=4, schedule_epochs=40).state.history]
    assert longer == sorted(longer)  # still rising when the training ends


def fitted(folder, **values):
    t = trainer(folder, **values)
    t.fit(batches, None)
    return t


def test_without_average_the_raw_weights_are_evaluated(tmp_path):
    t = trainer(tmp_path, ema_decay=None)
    result = t.fit(batches, None)
    raw = copy.deepcopy(t.network).eval()
    assert same(result, raw)


@pytest.mark.parametrize(
    ("watch", "scores", "best"), [("log_loss", [3, 1, 2, 2, 2, 2, 2], 2), ("accuracy", [0.1, 0.3, 0.5, 0.4], 3)]
)
def test_early_stopping_keeps_the_best_epoch(tmp_path, watch, scores, best):
    seen = []

    def evaluate(net):
        seen.append(copy.deepcopy(net.state_dict()))
        return {
            watch: scores[min(len(seen), len(scores)) - 1],
            {"log_loss": "accuracy", "accuracy": "log_loss"}[watch]: 0.0,
        }

    t = trainer(tmp_path, epochs=20, patience=3, watch=watch)
    result = t.fit(batches, evaluate)
    assert t.state.best_epoch == best and t.state.epoch == best + 3
    assert all(torch.equal(result.state_dict()[k], seen[best - 1][k]) for k in seen[0])


def test_no_epoch_is_best_before_its_time(tmp_path):
    t = trainer(tmp_path, best_after=3)
    t.fit(batches, lambda net: {"accuracy": 1.0 if t.state.epoch == 0 else 0.5, "log_loss": 1.0})
    assert t.state.best_epoch == 4


def test_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    def poisoned(epoch, first):
        for x, y in batches(epoch, first):
            yield x * (math.nan if epoch == 3 else 1), y

    with pytest.raises(InputError, match="loss: became nan in epoch 3"):
        trainer(tmp_path).fit(poisoned, None)
    again = trainer(tmp_path)
    again.checkpoints.restore(again)
    assert again.state.epoch == 2 and all(torch.isfinite(v).all() for v in again.network.state_dict().values())


def test_losses_read_some_steps_at_once_are_the_same(tmp_path, monkeypatch):
    """As on a GPU, with checkpoints within an epoch; a loss that is not finite is found before one is written."""
    expected = trainer(tmp_path / "each")
    expected.fit(batches, None)
    monkeypatch.setattr(kernels, "BATCHED", True)
    monkeypatch.setattr("asc_kit.trainer.READ_EVERY", 3)  # of four steps an epoch
    together = trainer(tmp_path / "together")
    together.fit(batches, None)
    assert together.state.history == expected.state.history and not together.unread
    monkeypatch.setattr(checkpoint, "SECONDS", -1)  # after every step
    often = trainer(tmp_path / "often")
    often.fit(batches, None)
    assert often.state.history == expected.state.history

    def poisoned(epoch, first):
        for step, (x, y) in enumerate(batches(epoch, first), first):
            yield x * (math.nan if (epoch, step) == (3, 1) else 1), y

    with pytest.raises(NotFinite, match="loss: became nan in epoch 3") as caught:
        trainer(tmp_path / "poisoned").fit(poisoned, None)
    assert (caught.value.epoch, caught.value.step) == (3, 1)
    again = trainer(tmp_path / "poisoned")
    again.checkpoints.restore(again)
    assert (again.state.epoch, again.state.step) == (2, 1)
    assert all(torch.isfinite(v).all() for v in again.network.state_dict().values())


def test_bfloat16_trains_float32_weights(tmp_path):
    t = trainer(tmp_path, precision="bfloat16")
    t.fit(batches, None)
    assert all(p.dtype == torch.float32 for p in t.network.parameters())
    assert not same(t.network, trainer(tmp_path / "other").fit(batches, None))


def test_generators_are_independent_by_name():
    draws = {
        name: torch.rand(3, generator=generator(0, *name)).tolist() for name in (("a",), ("b",), ("a", 1), ("a", 2))
    }
    assert len({str(v) for v in draws.values()}) == 4
    assert torch.rand(3, generator=generator(0, "a")).tolist() == draws[("a",)]
