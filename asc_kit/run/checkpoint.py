"""Checkpoints, signals and resuming: a run that is stopped or killed and started again loses nothing.

A checkpoint is written after every epoch, every five minutes and when the run is told to stop. The one before is kept.
"""

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asc_kit.common import InputError, progress, say, write_file
from asc_kit.trainer import Batches, Evaluate, State, Trainer

SECONDS = 300  # between checkpoints within an epoch
AfterStep = Callable[[Trainer], None]  # called after every step and every epoch


class Checkpoints:
    """A run's checkpoints, and a training that writes them and goes on from them.

    Parameters
    ----------
    folder : where they lie
    identity : names the run; a checkpoint of another one is refused
    code : names the code; a checkpoint of other code is left alone, and the run starts afresh
    """

    def __init__(self, folder: Path, identity: str, code: str = ""):
        self.folder, self.identity, self.code = folder, identity, code
        self.last, self.previous = (folder / f"{name}.pt" for name in ("last", "previous"))
        self.saved = time.monotonic()

    def fit(
        self, trainer: Trainer, batches: Batches, evaluate: Evaluate | None,
        after_step: AfterStep = lambda trainer: None,
    ) -> nn.Module:  # fmt: skip
        """`Trainer.fit`, going on from a checkpoint if there is one.

        Raises
        ------
        InputError : the folder holds another run's checkpoint, or the run was told to stop (SIGINT, SIGTERM): then it
            is saved after the step in hand.
        NotFinite : as `Trainer.fit`; the last checkpoint is kept.
        """
        self.restore(trainer)
        clips, state = trainer.steps * trainer.training.batch_size, trainer.state
        done = {"total": trainer.training.epochs * clips, "initial": state.epoch * clips + state.seen}
        with stop_signal() as stop, progress(None, "training", unit="clip", **done) as bar:

            def each(trainer: Trainer) -> None:
                bar.update(trainer.state.epoch * clips + trainer.state.seen - bar.n)
                bar.set_postfix(epoch=trainer.state.epoch + 1, lr=f"{trainer.rate:.2g}", refresh=False)
                after_step(trainer)
                self._after_step(trainer, stop.is_set())

            return trainer.fit(batches, evaluate, each)

    def _after_step(self, trainer: Trainer, stop: bool) -> None:
        state = trainer.state
        if stop or state.step == 0 or time.monotonic() - self.saved > SECONDS:  # 0: an epoch has ended
            self.save(trainer)
        if stop:
            raise InputError(f"stopped after epoch {state.epoch} and {state.step} of {trainer.steps} steps, all "
                             "saved; start the same again to go on")  # fmt: skip

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint; the one before becomes ``previous.pt``.

        Raises
        ------
        NotFinite : a loss that was not read yet is NaN or infinite; the last checkpoint stays
        """
        trainer.read_losses()
        if self.last.exists():
            os.replace(self.last, self.previous)
        whole = io.BytesIO()
        torch.save({
            "identity": self.identity, "code": self.code, "state": vars(trainer.state),
            "network": trainer.network.state_dict(), "average": trainer.average.network.state_dict(),
            "average_steps": trainer.average.steps, "best": trainer.best, "optimizer": trainer.optimizer.state_dict(),
            "schedule_step": trainer.schedule.last_epoch if trainer.schedule else 0,
        }, whole)  # fmt: skip
        write_file(self.last, whole.getvalue())
        self.saved = time.monotonic()

    def restore(self, trainer: Trainer) -> None:
        """Bring a trainer to where the last whole checkpoint stands; without one it is left as it is.

        Raises
        ------
        InputError : the checkpoint is another run's
        """
        for file in filter(Path.exists, (self.last, self.previous)):
            try:
                saved = torch.load(file, "cpu", weights_only=True)  # no code is run
            except Exception:  # torch raises by how a file is damaged
                say(f"warning: {file} is damaged; going on from the one before, or from the start")
                continue
            if saved["identity"] != self.identity:
                raise InputError(f"{file}: belongs to another run ({saved['identity']}, this is {self.identity}); "
                                 "name another experiment, or delete its folder to start afresh")  # fmt: skip
            if saved["code"] != self.code:
                say(f"{file}: was made by other code; starting afresh")
                return
            _load(trainer, saved)
            state = trainer.state
            say(f"going on after epoch {state.epoch} of {trainer.training.epochs} and {state.step} steps")
            return


def _load(trainer: Trainer, saved: dict[str, Any]) -> None:
    trainer.network.load_state_dict(saved["network"])
    trainer.average.network.load_state_dict(saved["average"])
    trainer.average.steps = saved["average_steps"]
    trainer.best = {name: value.to(trainer.best[name].device) for name, value in saved["best"].items()}
    trainer.optimizer.load_state_dict(saved["optimizer"])
    if trainer.schedule is not None:
        trainer.schedule.last_epoch = saved["schedule_step"]  # the rest of it follows from the configuration
    trainer.state = State(**saved["state"])


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one acts as it always does."""
    stop, usual = threading.Event(), {}

    def handle(*_: object) -> None:
        stop.set()
        for number, handler in usual.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
        usual |= {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        handle()
