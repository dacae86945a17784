"""Errors explorer: the clips behind a cell of the confusion matrix, seen, heard, and what else sounds like them."""

import html
from itertools import product
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import to_hex

from asc_kit.common.errors import InputError
from asc_kit.config import Config
from asc_kit.data.audio import decode
from asc_kit.features import LogMel
from asc_kit.lab.explorer import ANY, Explorer, choose, dropdown, grid, picture, player, show_mel
from asc_kit.report import figures
from asc_kit.report.evaluation import about, read_probabilities, read_truth
from asc_kit.report.words import at_hand
from asc_kit.run.runs import Run

NEAREST = 3  # clips that sound alike, shown beside the one chosen
FREQUENT = 5  # confusions listed
LISTED = 10  # clips of a cell
SMALL = {"width": "auto", "height": "26px", "margin": "1px", "padding": "0"}  # a button of the matrix


def distances(probabilities: np.ndarray, place: int) -> np.ndarray:
    """Hellinger distance of every clip's probabilities (clips, classes) to those of one clip, (clips,): 0 to 1."""
    roots = np.sqrt(probabilities / probabilities.sum(1, keepdims=True))
    return np.linalg.norm(roots - roots[place], axis=1) / np.sqrt(2)


def clips(p: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """true, predicted, device, location, p_predicted, p_true, by clip; the surest first.

    Parameters
    ----------
    p : probabilities, a row a clip (its name is the index), a column a class
    truth : scene_label, identifier, source_label by clip
    """
    known = truth.loc[p.index]
    rows = pd.DataFrame({"true": known.scene_label, "predicted": p.idxmax(axis=1),
                         "device": known.source_label.replace("", "unknown"), "location": known.identifier,
                         "p_predicted": p.max(axis=1)})  # fmt: skip
    rows["p_true"] = [p.at[name, label] for name, label in rows.true.items()]
    return rows.sort_values("p_predicted", ascending=False, kind="stable")


def confusions(table: pd.DataFrame) -> pd.DataFrame:
    """Mistaken pairs of `clips`, the most frequent first: true, predicted, and how many clips, locations, devices.

    ``from one location`` counts the clips of the location that has the most: nine of ten are one place's matter.
    """
    pairs = table[table.true != table.predicted].groupby(["true", "predicted"])
    found = pairs.agg(clips=("p_true", "size"), locations=("location", "nunique"), devices=("device", "nunique"))
    found.insert(2, "from one location", pairs.location.agg(lambda places: places.value_counts().max()))
    return found.reset_index().sort_values("clips", ascending=False, kind="stable", ignore_index=True)


class Mistakes(Explorer):
    """The confusion matrix as buttons; the clips behind a cell, one of them seen and heard, and its likes.

    Attributes
    ----------
    run, true, predicted, device, clip : controls; ``run`` holds folders of the experiment
    frequent : the most frequent confusions, whatever the device
    cells : (true class, predicted class) -> button, which sets the first two
    found : the clips that the controls leave, those the model is surest of first
    likes : the clips that the model takes for the most alike, with their distance
    """

    def __init__(self, run: Run):
        self.corpus, self.classes = at_hand(run.recipe, run.dataset_root), list(run.predictions().columns[2:])
        self.truth = read_truth(run.home / "truth.tsv")
        folders = [file.parent for file in sorted(run.home.glob("*/seed_*/predictions.tsv"))]
        super().__init__(
            "listing players image",
            run=dropdown([(f"{f.parent.name}/{f.name}", f) for f in folders], "run", value=run.folder),
            true=dropdown([ANY, *self.classes], "true"),
            predicted=dropdown([ANY, *self.classes], "predicted"),
            device=dropdown([ANY, *sorted(set(self.truth.source_label.replace("", "unknown")))], "device"),
            clip=dropdown([], "clip"),
            often=widgets.HTML(layout={"width": "100%"}),
            matrix=self._matrix(),
        )

    def _matrix(self) -> widgets.GridBox:
        """A button a cell; true classes are rows."""
        names = [html.escape(name).replace("_", "_<wbr>") for name in self.classes]
        children = [widgets.HTML(name) for name in ["true \\ predicted", *names]]
        self.cells = {}
        for true, predicted in product(self.classes, repeat=2):
            button = widgets.Button(layout=SMALL, tooltip=f"true {true}, predicted {predicted}")
            button.on_click(lambda _, pair=(true, predicted): self._pick(*pair))
            self.cells[true, predicted] = button
            first = [widgets.Label(true, layout={"margin": "2px 8px 2px 2px"})] * (predicted == self.classes[0])
            children += [*first, button]
        columns = f"max-content repeat({len(self.classes)}, minmax(5.5em, 1fr))"
        return widgets.GridBox(children, layout={"grid_template_columns": columns, "overflow": "auto", "width": "100%"})

    def _pick(self, true: str, predicted: str) -> None:
        """Show a cell's clips: both controls change, and one update follows."""
        self._busy = True
        self.true.value, self.predicted.value = true, predicted
        self._busy = False
        self.refresh()

    def update(self) -> None:
        """Show the cell's clips."""
        if self.changed is self.run or not self.often.value:
            self._open()
        rows = self.table[self.table.device.eq(self.device.value) | (self.device.value == ANY)]
        self._count(rows)
        for column, wanted in (("true", self.true.value), ("predicted", self.predicted.value)):
            rows = rows[rows[column].eq(wanted) | (wanted == ANY)]
        self.found = rows
        if rows.empty:
            raise InputError("true, predicted, device: no clip is behind this cell; choose another")
        choose(self.clip, [(f"{Path(name).stem} ({p:.0%})", name) for name, p in rows.p_predicted.items()])
        more = ", the ten it is surest of" if len(rows) > LISTED else ""
        listed = rows.head(LISTED).reset_index()
        self.listing.value = f"{len(rows)} clip{'s' * (len(rows) != 1)}{more}" + grid(listed, index=False)
        alike = pd.Series(distances(self.p.to_numpy(), self.p.index.get_loc(self.clip.value)), self.p.index)
        self.likes = alike.drop(self.clip.value).nsmallest(NEAREST)
        self._show()

    def _open(self) -> None:
        """Read the run's predictions; go to the most frequent confusion, and list the first few."""
        folder = self.run.value
        self.features = Config.from_dict(about(folder / "run.json")["config"]).features
        self.p = read_probabilities(folder / "predictions.tsv", self.truth)[self.classes]
        self.table = clips(self.p, self.truth)
        self.frequent = confusions(self.table).head(FREQUENT)
        if len(self.frequent):
            self.true.value, self.predicted.value = self.frequent[["true", "predicted"]].iloc[0]
        words = "The most frequent confusions, and how many locations and devices stand behind their clips:"
        self.often.value = words + grid(self.frequent, index=False) if len(self.frequent) else "Every clip is right."

    def _count(self, rows: pd.DataFrame) -> None:
        counts = pd.crosstab(rows.true, rows.predicted).reindex(self.classes, columns=self.classes, fill_value=0)
        shares = counts.div(counts.sum(axis=1).clip(1), axis=0)
        for pair, button in self.cells.items():
            button.description = str(counts.at[pair] or "·")
            button.style.button_color = to_hex(plt.get_cmap("cividis")(shares.at[pair]))
            button.style.text_color = "white" if shares.at[pair] < figures.LIGHT else "black"

    def _show(self) -> None:
        rows, rate = self.table.loc[[self.clip.value, *self.likes.index]], self.features.sample_rate
        titles = rows.true + ", taken for " + rows.predicted + ", device " + rows.device
        files = {name: self.corpus.root / name for name in titles.index} if self.corpus else {}
        waves = {name: decode(file, rate)[0] for name, file in files.items() if file.is_file()}
        players = [player(wave, rate, self.corpus.synthetic, titles[name]) for name, wave in waves.items()]
        words = f"<p>The clip, and the {len(self.likes)} that the model takes for the most alike:</p>"
        missing = "The recordings are not here: give dataset_root to see and hear them."
        self.players.value = "".join([words, *players]) if players else missing
        figure, axes = plt.subplots(len(titles), 2, figsize=(13, 2.6 * len(titles)), squeeze=False)
        for (bars, axis), (name, title) in zip(axes, titles.items()):
            self._bars(bars, name)
            if name in waves:
                level = LogMel(self.features)(torch.from_numpy(waves[name])[None].float())[0, 0].numpy()
                show_mel(level, self.features, axis, title)
            else:
                axis.axis("off")
        figure.tight_layout()
        self.image.value = picture(figure, "; ".join(titles))

    def _bars(self, axis: plt.Axes, name: str) -> None:
        """The four most likely classes of a clip and its true one, however unlikely."""
        p, true = self.p.loc[name], self.table.true[name]
        top = p[list({*p.nlargest(4).index, true})].sort_values()
        colours = [figures.COLOURS[figures.REPORT if label == true else figures.OURS] for label in top.index]
        axis.barh(top.index, top, color=colours)
        distance = f", distance {self.likes[name]:.2f}" if name in self.likes else ""
        axis.set(xlim=(0, 1), title=f"{Path(name).stem}{distance}", xlabel="probability; orange: the true class")
