"""Every run of a plan trained, some at a time, each by a process of its own; what is done is kept."""

import multiprocessing
import os
import signal
import sys
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from asc_kit import network
from asc_kit.common import InputError, progress
from asc_kit.data import responses
from asc_kit.run import experiment
from asc_kit.run.own import SYSTEMS, Plan
from asc_kit.run.runs import Run
from asc_kit.trainer import Trainer


def train_plan(made: Plan) -> None:
    """Train every run of a plan that is not whole.

    Raises
    ------
    InputError : a run's fault, or it was told to stop; what is done is kept.
    """
    runs = [run for system in SYSTEMS for run in made.runs(system)]
    for run in runs:
        if run.about is not None:
            run.refuse_other(run.about["data"]["fingerprint"])  # microphones may be others by now
    todo = [run for run in runs if run.about is None]
    steps = sum(made.steps(run) for run in todo if run.config.submission == "network")
    context, usual = multiprocessing.get_context("spawn"), signal.getsignal(signal.SIGTERM)
    done = context.Value("q")
    told = done, str(made.out / "log.txt"), responses.FOLDERS
    with ProcessPoolExecutor(made.workers, context, _begin, told) as pool:
        waiting = {pool.submit(_train, run) for run in todo}
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with progress(None, "training", total=steps, unit="step") as bar:
                while waiting:
                    ended, waiting = wait(waiting, 0.5, FIRST_COMPLETED)
                    bar.update(done.get_obj().value - bar.n)  # no lock: a killed worker may hold it
                    for future in ended:
                        future.result()
        except (InputError, KeyboardInterrupt, BrokenProcessPool) as error:
            for child in multiprocessing.active_children():
                child.terminate()  # a training saves what it has
            pool.shutdown(cancel_futures=True)
            if isinstance(error, InputError):
                raise
            why = "stopped" if isinstance(error, KeyboardInterrupt) else f"a worker died (see {made.out / 'log.txt'})"
            raise InputError(f"{why}; what is done is kept, and the same command goes on") from None
        finally:
            signal.signal(signal.SIGTERM, usual)


_done: Any = None  # of a worker: where all count their steps


def _begin(done: Any, log: str, folders: dict[str, Path]) -> None:
    """Ctrl+C reaches a worker by its parent alone, and its messages go to a file; it knows the same microphones."""
    global _done
    _done = done
    responses.FOLDERS.update(folders)
    os.setpgrp()
    os.environ.pop("JPY_SESSION_NAME", None)
    sys.stderr = open(log, "a", buffering=1)


def _train(run: Run) -> None:
    network.trust(run.config.architecture.network, Path.cwd())  # which this command named
    experiment.train(run, _count)


def _count(trainer: Trainer) -> None:
    with _done.get_lock():
        _done.value += trainer.state.step > 0  # 0: an epoch has ended
