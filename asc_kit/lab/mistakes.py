"""Errors explorer: which classes are confused, and the clips behind a confusion, seen and heard."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from asc_kit.config import Config
from asc_kit.data.audio import decode
from asc_kit.features import LogMel
from asc_kit.lab.explorer import ANY, Explorer, choose, dropdown, grid, picture, player, show_mel
from asc_kit.report import figures
from asc_kit.report.predictions import about, read_probabilities, read_truth
from asc_kit.report.words import at_hand
from asc_kit.run.runs import Run

LISTED = 10  # clips of a confusion


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
    """Pairs of true and predicted class in `clips`, by how many clips: the mistaken ones, then those that are right.

    ``from one location`` counts the clips of the location that has the most: nine of ten are one place's matter.
    """
    pairs = table.assign(wrong=table.true != table.predicted).groupby(["wrong", "true", "predicted"])
    found = pairs.agg(clips=("location", "size"), locations=("location", "nunique"))
    found["from one location"] = pairs.location.agg(lambda places: places.value_counts().max())
    return found.sort_values(["wrong", "clips"], ascending=False, kind="stable").droplevel("wrong")


class Mistakes(Explorer):
    """A true and a predicted class; the clips behind them, one of them seen and heard.

    Attributes
    ----------
    run, device, pair, clip : controls; ``run`` holds folders of the experiment, ``pair`` classes (true, predicted)
    pairs : `confusions` of the device
    found : the pair's clips, those the model is surest of first
    """

    def __init__(self, run: Run):
        self.corpus, self.truth = at_hand(run.recipe, run.dataset_root), read_truth(run.home / "truth.tsv")
        folders = [file.parent for file in sorted(run.home.glob("*/seed_*/predictions.tsv"))]
        super().__init__(
            "listing sound image",
            run=dropdown([(f"{f.parent.name}/{f.name}", f) for f in folders], "run", value=run.folder),
            device=dropdown([ANY, *sorted(set(self.truth.source_label.replace("", "unknown")))], "device"),
            pair=dropdown([], "confusion"),
            clip=dropdown([], "clip"),
        )

    def update(self) -> None:
        """Show the pair's clips."""
        self.p = read_probabilities(self.run.value / "predictions.tsv", self.truth)
        rows = clips(self.p, self.truth)
        rows = rows[rows.device.eq(self.device.value) | (self.device.value == ANY)]
        self.pairs = confusions(rows)
        choose(self.pair, [(f"{true}, taken for {predicted}: {count} clips", (true, predicted))
                           for (true, predicted), count in self.pairs.clips.items()])  # fmt: skip
        true, predicted = self.pair.value
        self.found = rows[rows.true.eq(true) & rows.predicted.eq(predicted)]
        choose(self.clip, [(f"{Path(name).stem} ({p:.0%})", name) for name, p in self.found.p_predicted.items()])
        places = self.pairs.loc[self.pair.value]
        one = places["from one location"]
        words = f"clips: {places.clips}, locations: {places.locations}, from one location: {one}"
        more = "; the ten it is surest of" if len(self.found) > LISTED else ""
        listed = self.found.head(LISTED).drop(columns=["true", "predicted"]).rename_axis(None)
        self.listing.value = words + more + grid(listed)
        self._show(self.clip.value, self.found.loc[self.clip.value])

    def _show(self, name: str, row: pd.Series) -> None:
        """Play a clip; draw its log-mel, and its four most likely classes and the true one, however unlikely."""
        title = f"{row.true}, taken for {row.predicted}, device {row.device}"
        figure, (bars, mel) = plt.subplots(1, 2, figsize=(13, 2.6), layout="constrained")
        p = self.p.loc[name]
        top = p[list({*p.nlargest(4).index, row.true})].sort_values()
        colours = [figures.COLOURS[figures.REPORT if label == row.true else figures.OURS] for label in top.index]
        bars.barh(top.index, top, color=colours)
        bars.set(xlim=(0, 1), title=Path(name).stem, xlabel="probability; orange: the true class")
        self.sound.value = "The recordings are not here: give dataset_root to see and hear them."
        mel.axis("off")
        if self.corpus and (self.corpus.root / name).is_file():
            features = Config.from_dict(about(self.run.value / "run.json")["config"]).features
            wave, _ = decode(self.corpus.root / name, features.sample_rate)
            self.sound.value = player(wave, features.sample_rate, self.corpus.synthetic, title)
            mel.axis("on")
            show_mel(LogMel(features)(torch.from_numpy(wave)[None].float())[0, 0].numpy(), features, mel, title)
        self.image.value = picture(figure, title)
