"""The training loop of Section 3.1. It knows batches, a network and a state, and nothing of audio.

Random numbers are drawn from generators derived from the seed, the epoch and the step, so that a run
that was broken off and goes on (`asc_kit.run.checkpoint`) ends with the same bits as one that was not.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from asc_kit import kernels
from asc_kit.common import InputError
from asc_kit.config import Training, generator

# epoch, first step -> (inputs, targets) of each step
Batches = Callable[[int, int], Iterator[tuple[torch.Tensor, torch.Tensor]]]
Evaluate = Callable[[nn.Module], dict[str, float]]  # -> validation scores
READ_EVERY = 16  # steps: to read a GPU's loss is to wait for it


class NotFinite(InputError):
    """The loss became NaN or infinite in a ``step``, from 0, of an ``epoch``, from 1."""

    def __init__(self, value: float, epoch: int, step: int):
        super().__init__(f"loss: became {value} in epoch {epoch}; "
                         "lower max_lr or use precision float32")  # fmt: skip
        self.epoch, self.step = epoch, step


class Average:
    """Exponential moving average of parameters and, unless ``buffers`` is off, running statistics.

    ``warmup`` makes the decay smaller in the first steps.

    >>> network = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(network.weight)
    >>> average = Average(network, 0.75, warmup=False)
    >>> _ = nn.init.zeros_(network.weight)
    >>> average.update(network)
    >>> average.network.weight.item()
    0.75
    """

    def __init__(self, network: nn.Module, decay: float | None, warmup: bool, buffers: bool = True):
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay, self.warmup, self.steps = decay or 0.0, warmup, 0
        state = network.state_dict() if buffers else dict(network.named_parameters())
        self.averaged = [name for name, value in state.items() if value.is_floating_point()]

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """One step: average = decay * average + (1 - decay) * network."""
        self.steps += 1
        warm = (1 + self.steps) / (10 + self.steps)
        decay = min(self.decay, warm) if self.warmup else self.decay
        old, new = self.network.state_dict(), network.state_dict()
        pair = [old[name] for name in self.averaged], [new[name] for name in self.averaged]
        torch._foreach_lerp_(*pair, 1 - decay)
        for name in old.keys() - self.averaged:
            old[name].copy_(new[name])


@dataclass
class State:
    """Where a run stands, besides tensors."""

    epoch: int = 0  # finished ones
    step: int = 0  # finished ones of the epoch in hand
    loss: float = 0.0  # summed over the clips of those steps
    seen: int = 0  # clips of those steps
    best: float = math.inf  # of what is watched, turned so that less is better
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains a network; all that a training needs to go on lies in its attributes.

    Parameters
    ----------
    network : inputs to logits; has been initialised, and moved to its device
    training : Section 3.1's choices
    seed : every random generator is derived from it
    steps : batches in an epoch

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    >>> inputs, targets = torch.zeros(4, 1, 3, 4), torch.eye(3)[[0, 1, 2, 0]]  # soft labels
    >>> trainer = Trainer(network, Training(epochs=2, batch_size=4), seed=0, steps=1)
    >>> averaged = trainer.fit(lambda epoch, first: iter([(inputs, targets)]))
    >>> trainer.state.epoch, averaged(inputs).shape  # batch, classes
    (2, torch.Size([4, 3]))
    """

    def __init__(self, network: nn.Module, training: Training, seed: int, steps: int):
        # channels_last: convolutions, and above all their backward passes, take half the time
        self.network = network.to(memory_format=torch.channels_last)
        self.training, self.seed, self.steps, self.state = training, seed, steps, State()
        self.unread: list[tuple[int, torch.Tensor, int]] = []  # steps, their losses and clips
        ema = training.ema_decay, training.ema_warmup, training.ema_buffers
        self.average = Average(network, *ema)
        self.best = copy.deepcopy(self.average.network.state_dict())
        kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            network.parameters(), training.max_lr, weight_decay=training.weight_decay,
            foreach=True,  # one pass over all tensors, the same numbers
        )  # fmt: skip
        self.schedule = None
        if training.schedule == "one_cycle":
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, training.max_lr,
                total_steps=(training.schedule_epochs or training.epochs) * steps,
                cycle_momentum=training.cycle_momentum,
            )  # fmt: skip

    def fit(
        self,
        batches: Batches,
        evaluate: Evaluate | None = None,
        after_step: Callable[["Trainer"], None] = lambda trainer: None,
    ) -> nn.Module:
        """Train to the end, from wherever ``state`` stands.

        Parameters
        ----------
        batches : gives an epoch's (inputs, soft targets) from a step on, ``steps`` of them in all
        evaluate : scores the averaged network after each epoch; None takes the last epoch's weights
        after_step : called after each step, and after each epoch, when ``state.step`` is 0 again

        Returns
        -------
        the averaged network of the best epoch, in eval mode

        Raises
        ------
        NotFinite : the loss became NaN or infinite
        """
        while self.state.epoch < self.training.epochs and not self._waited_enough():
            self.network.train()
            epoch = self.state.epoch + 1
            for inputs, targets in batches(epoch, self.state.step):
                dropout = generator(self.seed, "dropout", epoch, self.state.step)
                torch.manual_seed(dropout.initial_seed())
                self.step(inputs, targets)
                self.state.step += 1
                self.state.seen += len(targets)
                after_step(self)
            self._finish_epoch(evaluate(self.average.network) if evaluate else {})
            after_step(self)
        self.average.network.load_state_dict(self.best)
        return self.average.network

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """One update from a batch of inputs and soft targets (batch, classes); its loss, unread.

        Raises
        ------
        NotFinite : the loss became NaN or infinite; on a CPU nothing is changed, on a GPU it may
            be that of one of the last steps
        """
        with kernels.autocast(inputs.device, self.training.precision):
            logits = self.network(inputs)
        smoothing = self.training.label_smoothing
        loss = nn.functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
        self.unread.append((self.state.step, loss.detach(), len(targets)))
        if len(self.unread) >= (READ_EVERY if kernels.batched(loss.device) else 1):
            self.read_losses()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None and self.schedule.last_epoch < self.schedule.total_steps - 1:
            self.schedule.step()
        self.average.update(self.network)
        return loss.detach()

    def read_losses(self) -> None:
        """Add the losses of the last steps to the state; all that comes back from a GPU in a step.

        Raises
        ------
        NotFinite : one of them is NaN or infinite
        """
        unread, self.unread = self.unread, []
        values = torch.stack([loss for _, loss, _ in unread]).tolist() if unread else []
        for value, (step, _, clips) in zip(values, unread):
            if not math.isfinite(value):
                raise NotFinite(value, self.state.epoch + 1, step)
            self.state.loss += value * clips

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    def _finish_epoch(self, scores: dict[str, float]) -> None:
        self.read_losses()
        state, training = self.state, self.training
        loss = state.loss / state.seen
        state.epoch, state.step, state.loss, state.seen = state.epoch + 1, 0, 0.0, 0
        row = {"epoch": state.epoch, "learning_rate": self.rate, "loss": loss}
        state.history.append(row | {f"validation_{name}": x for name, x in scores.items()})
        watched = scores.get(training.watch, math.nan)
        watched = -watched if training.watch == "accuracy" else watched
        early = state.epoch <= min(training.best_after, training.epochs - 1)
        if not scores or (watched < state.best and not early):
            state.best, state.best_epoch = watched, state.epoch
            self.best = copy.deepcopy(self.average.network.state_dict())

    def _waited_enough(self) -> bool:
        if self.training.patience is None or not self.state.history:
            return False
        waited = self.state.epoch - max(self.state.best_epoch, self.training.best_after)
        return waited >= self.training.patience
