"""Runs explorer: learning curves and scores of any set of runs, of any experiments, over each other."""

import json
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from asc_kit.common.errors import InputError
from asc_kit.data.corpus import COLUMNS
from asc_kit.lab.explorer import ANY, Explorer, dropdown
from asc_kit.lab.shown import grid, picture
from asc_kit.report.evaluation import SCORES, Scored, score_file
from asc_kit.report.tables import pretty
from asc_kit.run.runs import flat


def find(results: Path) -> dict[str, Path]:
    """Whole runs below a folder of experiments, by ``experiment/submission_<id>/seed_<k>``; then those of ablations."""
    files = [
        file for kind in ("submission", "ablation") for file in sorted(results.glob(f"*/{kind}_*/seed_*/run.json"))
    ]
    return {str(file.parent.relative_to(results)): file.parent for file in files}


def scores(folder: Path) -> dict[str, float]:
    """Accuracy and log loss of a run with their 95 % limits, and its number of clips."""
    truth = pd.read_csv(folder.parents[1] / "truth.tsv", sep="\t", dtype=str, keep_default_na=False)
    rows, _ = score_file(folder / "predictions.tsv", truth[COLUMNS].set_index("filename"))
    row = Scored(folder.name, {0: rows}).row()
    return {"clips": row["n"]} | {name: row[name] for name in SCORES if not name.endswith("_std")}


class Runs(Explorer):
    """Curves and scores of the runs chosen, and where their configurations differ.

    Attributes
    ----------
    experiment, chosen, column : controls; several runs are chosen with Ctrl or Shift
    curves : the histories, one below the other, with the column ``run``
    table : a row a run: scores, and what differs between the runs
    """

    def __init__(self, results: Path):
        super().__init__()
        self.runs = find(results)
        if not self.runs:
            raise InputError(f"{results}: holds no whole run; make one with notebooks/05_train.ipynb")
        names = list(self.runs)
        self.experiment = dropdown([ANY, *dict.fromkeys(name.split("/")[0] for name in names)], "experiment")
        self.chosen = widgets.SelectMultiple(options=names, value=names[: min(4, len(names))], rows=min(10, len(names)),
                                             description="runs", layout={"width": "34em"})  # fmt: skip
        self.column = dropdown(self._columns(), "curve")
        self.shown, self.image = widgets.HTML(), widgets.HTML()
        self.start([self.experiment, self.column, self.chosen], [self.image, self.shown])

    def _columns(self) -> list[str]:
        files = [folder / "history.csv" for folder in self.runs.values()]
        found = dict.fromkeys(c for file in files if file.exists() for c in pd.read_csv(file, nrows=0).columns)
        return sorted(found.keys() - {"epoch"}, key=lambda name: (name == "learning_rate", name)) or [""]

    def update(self) -> None:
        """Lay the runs over each other."""
        names = [name for name in self.runs if self.experiment.value in (ANY, name.split("/")[0])]
        if list(self.chosen.options) != names:
            kept = [name for name in self.chosen.value if name in names]
            self.chosen.options = names
            self.chosen.value = kept or names[: min(4, len(names))]
        if not self.chosen.value:
            raise InputError("runs: none is chosen; choose one, and more with Ctrl or Shift")
        folders = {name: self.runs[name] for name in self.chosen.value}
        files = {name: folder / "history.csv" for name, folder in folders.items()}
        histories = [pd.read_csv(file).assign(run=name) for name, file in files.items() if file.exists()]
        self.curves = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()
        scored = pd.DataFrame({name: scores(folder) for name, folder in folders.items()}).T.astype({"clips": int})
        others = differing(folders)
        self.table = scored.join(others)
        self.shown.value = grid(beside(scored, others), index=True)
        self.image.value = self._draw()

    def _draw(self) -> str:
        column = self.column.value
        if column not in self.curves or self.curves[column].isna().all():
            return f"No run chosen has a curve of {column}."
        figure, axis = plt.subplots(figsize=(9, 4))
        palette = "colorblind" if self.curves.run.nunique() <= 10 else "viridis"  # the first has ten colours
        sns.lineplot(self.curves, x="epoch", y=column, hue="run", style="run", palette=palette, ax=axis)
        axis.set(
            title="training loss (of mixed labels, where mixup is on)"
            if column == "loss"
            else column.replace("_", " "),
            ylabel="",
        )
        axis.xaxis.get_major_locator().set_params(integer=True)
        sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5))
        return picture(figure, f"{column} by epoch of {', '.join(self.curves.run.unique())}")


def beside(scored: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Scores and then what differs, a column a run: many settings stand below each other, not off the screen."""
    shown = pretty(scored).set_axis(scored.index)
    shown = shown if scored.clips.nunique() > 1 else shown.drop(columns="clips")
    short = others.rename(columns=lambda name: name.rpartition(".")[2].replace("_", " "))
    homes = {name.split("/")[0] for name in scored.index}
    return shown.join(short).T.rename(columns=lambda name: name.split("/", 1)[1] if len(homes) == 1 else name)


def differing(folders: dict[str, Path]) -> pd.DataFrame:
    """Values of the resolved configurations that are not the same in all runs, and the data; a row a run."""
    abouts = {name: json.loads((folder / "run.json").read_text()) for name, folder in folders.items()}
    values = {name: flat(about["config"]) | {"data": about["data"]["name"]} for name, about in abouts.items()}
    table = pd.DataFrame(values).T
    return table.loc[:, table.astype(str).nunique() > 1]
