"""Errors explorer: the clips behind a cell of the confusion matrix, seen, heard, and what else sounds like them."""

import html
import json
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import to_hex

from asc_kit.common.errors import InputError
from asc_kit.config import Config
from asc_kit.data.audio import decode
from asc_kit.features import LogMel
from asc_kit.lab.explorer import ANY, Explorer, choose, dropdown
from asc_kit.lab.shown import grid, picture, player, show_mel
from asc_kit.report import figures
from asc_kit.report.words import at_hand
from asc_kit.run.runs import Run

NEAREST = 3  # clips that sound alike, shown beside the one chosen
FREQUENT = 5  # confusions listed


def distances(probabilities: np.ndarray, place: int) -> np.ndarray:
    """Hellinger distance of every clip's probabilities (clips, classes) to those of one clip, (clips,): 0 to 1."""
    roots = np.sqrt(probabilities / probabilities.sum(1, keepdims=True))
    return np.sqrt(np.square(roots - roots[place]).sum(1) / 2)


def clips(predictions: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """true, predicted, device, location, p_predicted, p_true, by clip; the surest first."""
    table = predictions.set_index("filename")
    classes = list(table.columns[1:])
    told = truth.set_index("filename").loc[table.index]
    rows = pd.DataFrame({"true": told.scene_label, "predicted": np.array(classes)[table[classes].to_numpy().argmax(1)],
                         "device": told.source_label.replace("", "unknown"), "location": told.identifier})  # fmt: skip
    rows["p_predicted"] = table[classes].max(axis=1)
    rows["p_true"] = [table[label][name] for name, label in rows.true.items()]
    return rows.sort_values("p_predicted", ascending=False, kind="stable")


def confusions(table: pd.DataFrame) -> pd.DataFrame:
    """Mistaken pairs of `clips`, the most frequent first: true, predicted, and how many clips, locations, devices.

    ``from one location`` counts the clips of the location that has the most: nine of ten are one place's matter.
    """
    pairs = table[table.true != table.predicted].groupby(["true", "predicted"])
    found = pairs.agg(clips=("p_true", "size"), locations=("location", "nunique"), devices=("device", "nunique"))
    found.insert(2, "from one location", pairs.location.agg(lambda places: places.value_counts().max()))
    return found.reset_index().sort_values("clips", ascending=False, kind="stable", ignore_index=True)


def siblings(run: Run) -> list[tuple[str, Run]]:
    """The run and the others of its experiment, as options; ``run.json`` tells what each is."""
    found = [(f"{run.folder.parent.name}/{run.folder.name}", run)]
    for file in sorted(run.home.glob("*/seed_*/run.json")):
        config, name = Config.from_dict(json.loads(file.read_text())["config"]), file.parent.parent.name
        variant = name.removeprefix("ablation_") if name.startswith("ablation_") else None
        if file.parent != run.folder and (file.parent / "predictions.tsv").exists():
            found.append((f"{name}/{file.parent.name}", replace(run, config=config, variant=variant)))
    return found


def _heading(name: str) -> widgets.HTML:
    words = html.escape(name).replace("_", "_<wbr>")
    return widgets.HTML(f'<div style="text-align:center;line-height:1.2;font-size:smaller">{words}</div>')


class Mistakes(Explorer):
    """The confusion matrix as buttons; the clips behind a cell, one of them seen and heard, and its likes.

    Attributes
    ----------
    run, true, predicted, device, clip : controls
    frequent : the most frequent confusions, whatever the device
    cells : (true class, predicted class) -> button, which sets the first two
    found : the clips that the controls leave, those the model is surest of first
    likes : the clips that the model takes for the most alike, with their distance
    """

    def __init__(self, run: Run):
        super().__init__()
        self.corpus = at_hand(run.recipe, run.dataset_root)
        self.truth = pd.read_csv(run.home / "truth.tsv", sep="\t", dtype=str, keep_default_na=False)
        self.run = dropdown(siblings(run), "run")
        self._open()
        self.true, self.predicted = (dropdown([ANY, *self.classes], name) for name in ("true", "predicted"))
        self.device = dropdown([ANY, *sorted(set(self.table.device))], "device")
        self.clip = dropdown([("", None)], "clip")
        self.often, self.listing, self.image, self.players = (widgets.HTML() for _ in range(4))
        self._begin()
        self.start([self.run, self.true, self.predicted, self.device, self.clip],
                   [self.listing, self.players, self.image], [self.often, self._matrix()])  # fmt: skip

    def _open(self) -> None:
        """Read the run's predictions."""
        run = self.shown = self.run.value
        self.features, predictions = run.config.features, run.predictions()
        self.classes = list(predictions.columns[2:])
        self.table, self.p = clips(predictions, self.truth), predictions.set_index("filename")[self.classes]

    def _begin(self) -> None:
        """Go to the most frequent confusion, and list the first few."""
        self.frequent = confusions(self.table).head(FREQUENT)
        if len(self.frequent):
            self.true.value, self.predicted.value = self.frequent[["true", "predicted"]].iloc[0]
        words = "The most frequent confusions, and how many locations and devices stand behind their clips:"
        self.often.value = words + grid(self.frequent) if len(self.frequent) else "Every clip is right."

    def _matrix(self) -> widgets.GridBox:
        """A button a cell; true classes are rows."""
        small = {"width": "auto", "height": "26px", "margin": "1px", "padding": "0"}
        self.cells, children = {}, [widgets.Label("true \\ predicted"), *map(_heading, self.classes)]
        for true in self.classes:
            children.append(widgets.Label(true, layout={"margin": "2px 8px 2px 2px"}))
            for predicted in self.classes:
                button = widgets.Button(layout=small, tooltip=f"true {true}, predicted {predicted}")
                button.on_click(lambda _, pair=(true, predicted): self.pick(*pair))
                self.cells[true, predicted] = button
                children.append(button)
        columns = f"max-content repeat({len(self.classes)}, minmax(5.5em, 1fr))"
        return widgets.GridBox(children, layout={"grid_template_columns": columns, "overflow": "auto"})

    def pick(self, true: str, predicted: str) -> None:
        """Show a cell's clips: both controls change, and one update follows."""
        self._busy = True
        self.true.value, self.predicted.value = true, predicted
        self._busy = False
        self._changed()

    def update(self) -> None:
        """Show the cell's clips."""
        if self.run.value is not self.shown:
            self._open()
            self._begin()
        rows = self.table if self.device.value == ANY else self.table[self.table.device == self.device.value]
        self._count(rows)
        for column, wanted in (("true", self.true.value), ("predicted", self.predicted.value)):
            rows = rows if wanted == ANY else rows[rows[column] == wanted]
        if rows.empty:
            self.found = rows
            raise InputError("true, predicted, device: no clip is behind this cell; choose another")
        self.found = rows
        choose(self.clip, [(f"{Path(name).stem} ({p:.0%})", name) for name, p in rows.p_predicted.items()])
        more = ", the ten it is surest of" if len(rows) > 10 else ""
        self.listing.value = f"{len(rows)} clip{'s' * (len(rows) != 1)}{more}" + grid(rows.head(10).reset_index())
        alike = pd.Series(distances(self.p.to_numpy(), self.p.index.get_loc(self.clip.value)), self.p.index)
        self.likes = alike.drop(self.clip.value).nsmallest(NEAREST)
        self._show()

    def _count(self, rows: pd.DataFrame) -> None:
        labels = [rows[name].map(self.classes.index).to_numpy() for name in ("true", "predicted")]
        counts = np.zeros((len(self.classes),) * 2, int)
        np.add.at(counts, tuple(labels), 1)
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        for i, true in enumerate(self.classes):
            for j, predicted in enumerate(self.classes):
                button = self.cells[true, predicted]
                button.description = str(counts[i, j]) if counts[i, j] else "·"
                button.style.button_color = to_hex(matplotlib.colormaps["cividis"](share[i, j]))
                button.style.text_color = "white" if share[i, j] < figures.LIGHT else "black"

    def _wave(self, name: str) -> np.ndarray | None:
        if self.corpus is None or not (self.corpus.root / name).is_file():
            return None
        return decode(self.corpus.root / name, self.features.sample_rate)[0]

    def _show(self) -> None:
        names = [self.clip.value, *self.likes.index]
        waves = {name: self._wave(name) for name in names}
        told = self.table.loc[names]
        titles = {row.Index: f"{row.true}, taken for {row.predicted}, device {row.device}" for row in told.itertuples()}
        heard = [player(wave, self.features.sample_rate, self.corpus.synthetic, titles[name])
                 for name, wave in waves.items() if wave is not None]  # fmt: skip
        self.players.value = (
            f"<p>The clip, and the {len(self.likes)} that the model takes for the most alike:</p>{''.join(heard)}"
            if heard else "The recordings are not here: give dataset_root to see and hear them."
        )  # fmt: skip
        self._draw({name: wave for name, wave in waves.items() if wave is not None}, titles)

    def _draw(self, waves: dict[str, np.ndarray], titles: dict[str, str]) -> None:
        figure, axes = plt.subplots(len(titles), 2, figsize=(13, 2.6 * len(titles)), squeeze=False)
        mel = LogMel(self.features)
        for (bars, axis), (name, title) in zip(axes, titles.items()):
            probabilities, true = self.p.loc[name], self.table.true[name]
            shown = dict.fromkeys([*probabilities.nlargest(4).index, true])  # the true class, however unlikely
            top = probabilities[list(shown)].sort_values()
            bars.barh(top.index, top, color=["#de8f05" if c == true else "#0173b2" for c in top.index])
            distance = f", distance {self.likes[name]:.2f}" if name in self.likes else ""
            bars.set(xlim=(0, 1), title=f"{Path(name).stem}{distance}", xlabel="probability; orange: the true class")
            if name in waves:
                wave = torch.from_numpy(waves[name]).float()
                show_mel(mel(wave[None])[0, 0].numpy(), self.features, axis, title)
            else:
                axis.axis("off")
        figure.tight_layout()
        self.image.value = picture(figure, "; ".join(titles.values()))
