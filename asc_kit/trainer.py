"""The training loop of Section 3.1. It knows batches, a network and a state, and nothing of audio.

A checkpoint is written after every epoch, every five minutes and when the run is told to stop: safetensors for the
tensors, JSON inside for the rest. Random numbers are drawn from generators derived from the seed, the epoch and the
step, so that a run that was stopped or killed and started again ends with the same bits as one that was not.
"""

import copy
import json
import math
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from tqdm import tqdm

from asc_kit.common.errors import InputError
from asc_kit.common.files import replacing, write_tensors
from asc_kit.common.progress import progress, say
from asc_kit.config import Training, generator

Batches = Callable[[int, int], Iterator[tuple[torch.Tensor, torch.Tensor]]]  # epoch, first step -> (inputs, targets)
Evaluate = Callable[[nn.Module], dict[str, float]]  # -> validation scores
CHECKPOINT_SECONDS = 300  # between checkpoints within an epoch
HISTORY = ("epoch", "learning_rate", "loss", "validation_accuracy", "validation_log_loss")


class NotFinite(InputError):
    """The loss became NaN or infinite."""


class Average:
    """Exponential moving average of parameters and, unless ``buffers`` is off, of running statistics.

    ``warmup`` makes the decay smaller in the first steps.
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
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warmup else self.decay
        old, new = self.network.state_dict(), network.state_dict()
        torch._foreach_lerp_([old[n] for n in self.averaged], [new[n] for n in self.averaged], 1 - decay)
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
    """Trains a network and keeps all that is needed to go on.

    Parameters
    ----------
    network : inputs to logits; has been initialised, and moved to its device
    training : Section 3.1's choices
    seed : every random generator is derived from it
    steps : batches in an epoch
    folder : where checkpoints lie
    identity : names the run; a checkpoint of another one is refused
    code : names the code; a checkpoint of other code is left alone, and the run starts afresh
    """

    def __init__(
        self, network: nn.Module, training: Training, seed: int, steps: int, folder: Path, identity: str, code: str = ""
    ):
        # channels_last: convolutions, and above all their backward passes, take half the time
        self.network = network.to(memory_format=torch.channels_last)
        self.training, self.seed = training, seed
        self.folder, self.identity, self.code = folder, identity, code
        self.average = Average(network, training.ema_decay, training.ema_warmup, training.ema_buffers)
        self.best = copy.deepcopy(self.average.network.state_dict())
        kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
        # foreach: one pass over all tensors, the same numbers
        self.optimizer = kind(network.parameters(), training.max_lr, weight_decay=training.weight_decay, foreach=True)
        self.schedule = None
        if training.schedule == "one_cycle":
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, training.max_lr, total_steps=(training.schedule_epochs or training.epochs) * steps,
                cycle_momentum=training.cycle_momentum,
            )  # fmt: skip
        self.steps = steps
        self.state = State()
        self.told, self.saved = False, time.monotonic()  # to stop; the last checkpoint

    def fit(self, batches: Batches, evaluate: Evaluate | None) -> nn.Module:
        """Train to the end, going on from a checkpoint if there is one.

        Parameters
        ----------
        batches : gives an epoch's (inputs, soft targets) from a step on, ``steps`` of them in an epoch
        evaluate : scores the averaged network after each epoch; None takes the last epoch's weights

        Returns
        -------
        the averaged network of the best epoch, in eval mode

        Raises
        ------
        InputError : the loss is not finite, the folder holds another run's checkpoint, or the run was told to stop
            (SIGINT, SIGTERM): then it is saved after the step in hand.
        """
        self._resume()
        with self._stoppable():
            self._fit(batches, evaluate)
        self.average.network.load_state_dict(self.best)
        return self.average.network

    def _fit(self, batches: Batches, evaluate: Evaluate | None) -> None:
        clips = self.steps * self.training.batch_size
        options = {
            "total": self.training.epochs * clips,
            "initial": self.state.epoch * clips + self.state.seen,
            "unit": "clip",
        }
        with progress(None, "training", **options) as bar:  # clips a second, and the time left without early stopping
            while self.state.epoch < self.training.epochs and not self._enough():
                loss = self._epoch(batches, bar)
                scores = evaluate(self.average.network) if evaluate else {}
                self._finish_epoch(loss, scores)
                self._save()
                self._stop_if_told()

    def _epoch(self, batches: Batches, bar: tqdm) -> float:
        state, number = self.state, self.state.epoch + 1
        self.network.train()
        bar.set_description(f"epoch {number}/{self.training.epochs}", refresh=False)
        for inputs, targets in batches(number, state.step):
            torch.manual_seed(generator(self.seed, "dropout", number, state.step).initial_seed())
            loss = self.step(inputs, targets)
            state.step, state.loss, state.seen = (
                state.step + 1,
                state.loss + loss * len(targets),
                state.seen + len(targets),
            )
            bar.set_postfix(loss=f"{state.loss / state.seen:.3f}", lr=f"{self._rate():.2g}", refresh=False)
            bar.update(len(targets))
            if self.told or time.monotonic() - self.saved > CHECKPOINT_SECONDS:
                self._save()
                self._stop_if_told()
        return state.loss / state.seen

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the run after the step in hand; a second one acts as it always does."""

        def stop(*_: object) -> None:
            self.told = True
            for number, handler in usual.items():
                signal.signal(number, handler)

        usual = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            for number in usual:
                signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)

    def _stop_if_told(self) -> None:
        if self.told:
            raise InputError(f"stopped after epoch {self.state.epoch} and {self.state.step} of {self.steps} steps, all "
                             "saved; start the same again to go on")  # fmt: skip

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """One update from a batch of inputs and soft targets; its loss. `InputError` where that is not finite."""
        with autocast(inputs.device, self.training.precision):
            logits = self.network(inputs)
        loss = nn.functional.cross_entropy(logits.float(), targets)
        value = loss.item()  # all that comes back from a GPU in a step
        if not math.isfinite(value):
            raise NotFinite(f"loss: became {value} in epoch {self.state.epoch + 1}; lower max_lr or use "
                            "precision float32; the last checkpoint is kept")  # fmt: skip
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None and self.schedule.last_epoch < self.schedule.total_steps - 1:
            self.schedule.step()
        self.average.update(self.network)
        return value

    def _rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def _finish_epoch(self, loss: float, scores: dict[str, float]) -> None:
        state = self.state
        state.epoch, state.step, state.loss, state.seen = state.epoch + 1, 0, 0.0, 0
        row = {"epoch": state.epoch, "learning_rate": self._rate(), "loss": loss}
        state.history.append(row | {f"validation_{name}": value for name, value in scores.items()})
        watched = math.nan
        if scores:
            watched = scores[self.training.watch] * (-1 if self.training.watch == "accuracy" else 1)
        early = state.epoch <= min(self.training.best_after, self.training.epochs - 1)
        if not scores or (watched < state.best and not early):
            state.best, state.best_epoch = watched, state.epoch
            self.best = copy.deepcopy(self.average.network.state_dict())

    def _enough(self) -> bool:
        waited = self.state.epoch - max(self.state.best_epoch, self.training.best_after)
        return self.training.patience is not None and bool(self.state.history) and waited >= self.training.patience

    # Checkpoints

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.network.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in values.items()}
        return {k: v.contiguous() for k, v in tensors.items()}

    def _save(self) -> None:
        about = {"identity": self.identity, "code": self.code, "state": vars(self.state),
                 "average_steps": self.average.steps, "groups": self.optimizer.state_dict()["param_groups"],
                 "schedule_step": self.schedule.last_epoch if self.schedule else 0}  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        last = self.folder / "last.safetensors"
        if last.exists():
            os.replace(last, self.folder / "previous.safetensors")
        write_tensors(self._tensors(), last, json.dumps(about))
        self.saved = time.monotonic()

    def _resume(self) -> None:
        for name in ("last", "previous"):
            file = self.folder / f"{name}.safetensors"
            if not file.exists():
                continue
            try:
                with safe_open(file, framework="pt") as handle:
                    about = json.loads(handle.metadata()["asc_kit"])
                    tensors = {key: handle.get_tensor(key) for key in handle.keys()}
            except (SafetensorError, OSError, KeyError, TypeError, ValueError):
                say(f"warning: {file} is damaged; going on from the one before, or from the start")
                continue
            if about["identity"] != self.identity:
                raise InputError(f"{file}: belongs to another run ({about['identity']}, this is {self.identity}); "
                                 "name another experiment, or delete its folder to start afresh")  # fmt: skip
            if about["code"] != self.code:
                say(f"{file}: was made by other code; starting afresh")
                return
            self._restore(about, tensors)
            say(f"going on after epoch {self.state.epoch} of {self.training.epochs} and {self.state.step} steps")
            return

    def _restore(self, about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "average": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, key = name.split(".", 1)
            parts[part][key] = tensor
        self.network.load_state_dict(parts["network"])
        self.average.network.load_state_dict(parts["average"])
        self.average.steps = about["average_steps"]
        self.best = {k: v.to(self.best[k].device) for k, v in parts["best"].items()}
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, key = name.split(".")
            slots.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict({"state": slots, "param_groups": about["groups"]})
        if self.schedule is not None:
            self.schedule.last_epoch = about["schedule_step"]  # the rest of it follows from the configuration
        self.state = State(**about["state"])


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 for convolutions and products where asked for; everything else stays float32."""
    enabled = precision == "bfloat16" and computes_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has bfloat16 arithmetic; a processor without it takes twelve times float32's time."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def write_history(file: Path, history: list[dict[str, Any]]) -> None:
    """``history.csv``: a row an epoch."""
    with replacing(file) as part:
        pd.DataFrame(history, columns=list(HISTORY)).to_csv(part, index=False)
