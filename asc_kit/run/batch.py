"""Notebooks executed with papermill, as the Snakefile does it.

Beyond papermill itself: an unknown parameter is an error before anything starts, a cell has a time limit, a failure is
one line that names the notebook to open, and the executed notebook holds no times, so that equal runs are equal files.
"""

from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from asc_kit import config
from asc_kit.common.errors import InputError
from asc_kit.common.files import replacing

CELL_HOURS = 240  # the longest cell of those that decode, train or score a data set of any size
LONG = ("01", "05", "06", "14")
CELL_SECONDS = 1800  # the longest of any other notebook; they end within minutes


def execute(notebook: str | Path, output: str | Path, parameters: dict[str, Any]) -> None:
    """Run a notebook and keep the executed copy, also when it fails.

    Raises
    ------
    InputError : the notebook is missing or none, a parameter is unknown, or a cell failed.
    """
    notebook, output = config.path(notebook), Path(output)
    if not notebook.is_file():
        raise InputError(f"{notebook}: no such notebook; they lie in notebooks/")
    try:
        nbformat.read(notebook, as_version=4)  # before papermill, which warns of a file's ending first
        known = papermill.inspect_notebook(str(notebook))
    except (ValueError, TypeError, AttributeError, nbformat.ValidationError):  # by how far it is from a notebook
        raise InputError(f"{notebook}: is no notebook; they lie in notebooks/") from None
    unknown = sorted(parameters.keys() - known.keys())
    if unknown:
        raise InputError(f"{notebook.name}: unknown parameter {unknown[0]!r}; known are {', '.join(known)}")
    output.parent.mkdir(parents=True, exist_ok=True)
    limit = 3600 * CELL_HOURS if notebook.name.startswith(LONG) else CELL_SECONDS
    try:
        papermill.execute_notebook(
            str(notebook), str(output), parameters, progress_bar=False, cwd=str(config.ROOT),
            execution_timeout=limit,
            extra_arguments=["--log-level=50"],  # what the kernel says of its transport and its end is not the user's
        )  # fmt: skip
    except PapermillExecutionError as error:
        raise InputError(f"{output}: cell {error.exec_count} failed: {error.ename}: {_line(error.evalue)}") from None
    except CellTimeoutError as error:
        source = str(error).partition("cell contents:")[2].strip(" -\n")
        raise InputError(f"{output}: the cell that begins {_line(source)!r} ran longer than {limit} s") from None
    except (DeadKernelError, OSError) as error:
        raise InputError(f"{output}: {_line(str(error))}") from None
    _strip_times(output)


def _line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "no message").removeprefix("InputError: ")


def _strip_times(file: Path) -> None:
    book = nbformat.read(file, as_version=4)
    book.metadata.pop("papermill", None)
    for cell in book.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code" and cell.get("execution_count"):  # not one that batches leave out
            cell.id = str(cell.execution_count)  # papermill draws the injected cell's id at random
    with replacing(file) as part:
        nbformat.write(book, part)
