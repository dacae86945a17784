"""Execute the golden notebooks anew (make golden): those whose committed outputs the tests compare.

Explorers are executed, too; of their widgets, which no file keeps alive, the words stay.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from asc_kit.common import replacing

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}  # fmt: skip


def execute(file: Path) -> None:
    """In place, whole or not at all; with nothing of this machine or moment in it."""
    book = nbformat.read(file, as_version=4)
    NotebookClient(
        book, kernel_name="python3", skip_cells_with_tag="", resources={"metadata": {"path": NOTEBOOKS}}
    ).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    book.metadata = METADATA
    with replacing(file) as part:
        nbformat.write(book, part)


if __name__ == "__main__":
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        if "nbval-check-output" in notebook.read_text():
            print(notebook.name)
            execute(notebook)
