"""15_your_data: a folder of recordings chosen, its classes heard, and the verdict shown."""

from pathlib import Path

import ipywidgets as widgets
import pandas as pd

from asc_kit.data import audio, corpus
from asc_kit.data.corpus import Corpus
from asc_kit.deploy.recordings import WINDOW
from asc_kit.lab.explorer import Explorer, grid, player
from asc_kit.report import evaluation, verdict
from asc_kit.report.evaluation import Scored
from asc_kit.run.own import Plan

HEARD = 12  # classes with a player


def classes(data: Corpus) -> pd.DataFrame:
    """recordings, clips and places of every class."""
    groups = data.table.groupby("scene_label")
    return groups.agg(recordings=("recording", "nunique"), clips=("filename", "size"), places=("identifier", "nunique"))


def heard(data: Corpus) -> str:
    """A player for a clip of each class, as HTML."""
    first = data.table.drop_duplicates("scene_label").sort_values("scene_label").head(HEARD)
    sounds = [(row.scene_label, audio.read(data.root / row.filename)) for row in first.itertuples()]
    return "".join(player(audio.mix(sound.wave)[0][: round(WINDOW * sound.rate)], sound.rate, data.synthetic, name)
                   for name, sound in sounds)  # fmt: skip


def scored(plan: Plan, system: str) -> Scored:
    """A system's held-out clips."""
    return evaluation.load(plan.out / "held_out", plan.recipe).scored[system]


def by(clips: Scored, column: str) -> pd.DataFrame:
    """Share of right clips by ``scene_label`` or ``identifier``, the worst first."""
    return pd.DataFrame(verdict.by(clips, column)).set_index("name").round({"right": 3})


class Folder(Explorer):
    """A folder is chosen: typed, or walked to; its classes are counted and heard.

    Attributes
    ----------
    path, inside : what is typed; the folders in it
    table, sounds : what it holds
    """

    def __init__(self, folder: Path):
        self.folder = folder
        path = widgets.Text(str(folder), description="folder", continuous_update=False, layout={"width": "40em"})
        inside = widgets.Dropdown(options=[""], description="go to", layout={"width": "22em"})
        super().__init__("table sounds", path=path, inside=inside)

    def update(self) -> None:
        """Go where was asked, and show."""
        self.folder = Path(self.path.value).expanduser()
        if self.inside.value:
            self.folder = (self.folder / self.inside.value).resolve()
            self.path.value = str(self.folder)
        if self.folder.is_dir():
            names = sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
            self.inside.options = ["", "..", *names]
        data = corpus.read(self.folder)
        self.table.value, self.sounds.value = grid(classes(data).reset_index()), heard(data)
