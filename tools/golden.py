"""Execute the notebooks anew (make golden): all of them, or those that are named, and keep their outputs in place.

    .venv/bin/python -m tools.golden [01_corpus ...]

11_performance is left out: its speeds want a quiet machine, and results/performance has its run. Of some notebooks the
tests compare the outputs (cells tagged nbval-check-output). Explorers are executed, too; of their widgets, which no
file keeps alive, the words stay, and of a player a line.
"""

import base64
import io
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

from asc_kit.common import replacing
from asc_kit.config import ROOT

NOTEBOOKS = ROOT / "notebooks"
TIMED = "11_performance"
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}  # fmt: skip
PLAYER = re.compile(r"<audio.*?</audio>", re.S)
LARGE = 100_000  # characters
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
            if len(data.get("image/png", "")) > LARGE:
                data["image/png"] = _smaller(data["image/png"])
            data |= {kind: _plain(text) for kind, text in data.items() if kind.startswith("text/")}
            if "text" in output:
                output["text"] = _plain(output["text"])
    book.metadata = METADATA
    with replacing(file) as part:
        nbformat.write(book, part)


def _smaller(png: str) -> str:
    """In 256 colours: a spectrogram in a third of the bytes."""
    small = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def _plain(text: str) -> str:
    """Without players, whose sound is megabytes, and without this machine's folders."""
    return PLAYER.sub(HEARD, text).replace(f"{ROOT}/", "").replace(str(ROOT.parent), "")


if __name__ == "__main__":
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        if notebook.stem in (sys.argv[1:] or [notebook.stem]) and notebook.stem != TIMED:
            print(notebook.name)
            execute(notebook)
