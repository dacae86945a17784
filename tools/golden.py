"""Execute the notebooks anew (make golden): all of them, or those that are named, and keep their outputs in place.

    .venv/bin/python -m tools.golden [01_corpus ...]

Of some the tests compare the outputs (cells tagged nbval-check-output). Explorers are executed, too; of their widgets,
which no file keeps alive, the words stay, and of a player a line.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from asc_kit.common import replacing
from asc_kit.config import ROOT

NOTEBOOKS = ROOT / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}  # fmt: skip
PLAYER = re.compile(r"<audio.*?</audio>", re.S)
HEARD = "<em>a player, where the notebook is run</em>"


def execute(file: Path) -> None:
    """In place, whole or not at all; with nothing of this machine or moment in it."""
    book = nbformat.read(file, as_version=4)
    NotebookClient(
        book, kernel_name="python3", skip_cells_with_tag="", resources={"metadata": {"path": NOTEBOOKS}}
    ).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(WIDGET, None)
            data |= {kind: _plain(text) for kind, text in data.items() if kind.startswith("text/")}
            if "text" in output:
                output["text"] = _plain(output["text"])
    book.metadata = METADATA
    with replacing(file) as part:
        nbformat.write(book, part)


def _plain(text: str) -> str:
    """Without players, whose sound is megabytes, and without this machine's folders."""
    return PLAYER.sub(HEARD, text).replace(f"{ROOT}/", "").replace(str(ROOT.parent), "")


if __name__ == "__main__":
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        if notebook.stem in (sys.argv[1:] or [notebook.stem]):
            print(notebook.name)
            execute(notebook)
