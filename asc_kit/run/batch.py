"""Notebooks executed with papermill, as the Snakefile does it.

Beyond papermill itself: an unknown parameter is an error before anything starts, a cell has a time limit, a failure is
one line that names the notebook to open, and the executed notebook holds no times, so that equal runs are equal files.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from asc_kit import config
from asc_kit.common import InputError, write_file
from asc_kit.run.parameters import declared as parameters_of

CELL_HOURS = 240  # the longest cell of those that decode, train or score a data set of any size
LONG = ("01", "05", "06", "14")
CELL_SECONDS = 1800  # the longest of any other notebook; they end within minutes
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}  # this environment's


def declared(notebook: str | Path) -> dict[str, type]:
    """The parameters that a notebook takes, and their types.

    Raises
    ------
    InputError : the notebook is missing or none.
    """
    notebook = config.path(notebook)
    if not notebook.is_file():
        raise InputError(f"{notebook}: no such notebook; they lie in notebooks/ of the repository")
    try:
        cells = nbformat.read(notebook, as_version=4).cells
        tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        return parameters_of("\n".join(tagged[:1]))
    except (ValueError, TypeError, AttributeError, SyntaxError, nbformat.ValidationError):  # by how far it is from one
        raise InputError(f"{notebook}: is no notebook; they lie in notebooks/") from None


def execute(notebook: str | Path, output: str | Path, parameters: dict[str, Any]) -> None:
    """Run a notebook with this environment's kernel and keep the executed copy, also when it fails.

    Raises
    ------
    InputError : the notebook is missing or none, a parameter is unknown, or a cell failed.
    """
    known, notebook, output = declared(notebook), config.path(notebook), Path(output)
    config.known(parameters, known, notebook.name)
    output.parent.mkdir(parents=True, exist_ok=True)
    limit = 3600 * CELL_HOURS if notebook.name.startswith(LONG) else CELL_SECONDS
    try:
        with TemporaryDirectory(prefix="kernel-") as own:
            # Kernels that start at once may choose the same ports, and get each other's messages; not so with files.
            sockets = Config({"KernelManager": {"transport": "ipc", "connection_file": f"{own}/kernel.json"}})
            papermill.execute_notebook(
                str(notebook), str(output), parameters, progress_bar=False, cwd=str(config.ROOT), config=sockets,
                kernel_name=KERNEL["name"], language=KERNEL["language"], execution_timeout=limit,
                extra_arguments=["--log-level=50"],  # what the kernel says of its end is not the user's
            )  # fmt: skip
    except PapermillExecutionError as error:
        raise InputError(f"{output}: cell {error.exec_count} failed: {error.ename}: {_line(error.evalue)}") from None
    except NoSuchKernel:
        raise InputError(f"{KERNEL['name']}: this environment has no such Jupyter kernel; make setup, or pip install "
                         "'.[train]' in asc_kit's repository") from None  # fmt: skip
    except (RuntimeError, OSError) as error:  # a kernel that died or did not start; a cell's limit, a full disk
        raise InputError(f"{output}: {_line(str(error))}") from None
    _strip_times(output)


def _line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "no message").removeprefix("InputError: ")


def _strip_times(file: Path) -> None:
    book = nbformat.read(file, as_version=4)
    book.metadata.pop("papermill", None)
    book.metadata["kernelspec"] = KERNEL
    for cell in book.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code" and cell.get("execution_count"):  # not one that batches leave out
            cell.id = str(cell.execution_count)  # papermill draws the injected cell's id at random
    write_file(file, nbformat.writes(book) + "\n")
