"""Messages and progress bars, on standard error outside JupyterLab."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

from asc_kit.common.errors import InputError

Item = TypeVar("Item")


def say(message: str) -> None:
    """A line to the person at the terminal or notebook; results go to standard output."""
    print(message, file=stream(), flush=True)


def stream() -> TextIO:
    """Standard error; for a person in JupyterLab, which shows that as red boxes like faults, standard output."""
    person = "JPY_SESSION_NAME" in os.environ and "ipykernel" in sys.modules  # not what a kernel starts with !
    return sys.stdout if person else sys.stderr


def progress(items: Iterable | None, title: str, **options: Any) -> tqdm:
    """A progress bar on a terminal and in JupyterLab; silent in batches, whose logs it would fill.

    It is text, not a widget: widgets displayed under papermill can hang it. Jupyter's server names the session of a
    kernel it starts for a person; papermill and nbval do not.
    """
    shown = False if "JPY_SESSION_NAME" in os.environ else None
    return tqdm(items, title, disable=shown, leave=False, dynamic_ncols=True, file=stream(), **options)


def in_threads(function: Callable, items: list, title: str) -> list:
    """The results of a function of every item in their order, an `InputError` in the place of its result.

    For what works outside the interpreter's lock, as soundfile and soxr do. Any other error ends all.
    """

    def outcome(item: Any) -> Any:
        try:
            return function(item)
        except InputError as error:
            return error

    with ThreadPoolExecutor() as pool:
        return list(progress(pool.map(outcome, items), title, total=len(items)))


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items in the same order; a thread of its own makes the next one meanwhile."""
    end: Any = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item
