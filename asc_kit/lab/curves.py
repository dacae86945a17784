"""Runs explorer: learning curves and scores of any set of runs, of any experiments, over each other."""

from pathlib import Path

import ipywidgets as widgets
import pandas as pd
import seaborn as sns

from asc_kit.common import InputError
from asc_kit.lab.explorer import Explorer, choose, dropdown, grid, picture
from asc_kit.report.evaluation import SCORES, Scored
from asc_kit.report.predictions import about, read_truth, score_file
from asc_kit.report.tables import pretty
from asc_kit.run.runs import flat

FIRST = 4  # runs that are chosen at the start


def find(results: Path) -> dict[str, Path]:
    """Whole runs below a folder of experiments, by ``experiment/submission_<name>/seed_<k>``; then ablations'."""
    kinds = ("submission", "ablation")
    files = [file for kind in kinds for file in sorted(results.glob(f"*/{kind}_*/seed_*/run.json"))]
    return {str(file.parent.relative_to(results)): file.parent for file in files}


def scores(folder: Path) -> dict[str, float]:
    """Accuracy and log loss of a run with their 95 % limits, and its number of clips."""
    rows, _ = score_file(folder / "predictions.tsv", read_truth(folder.parents[1] / "truth.tsv"))
    row = Scored(folder.name, {0: rows}).row()
    return {"clips": row["n"]} | {name: row[name] for name in SCORES if not name.endswith("_std")}


class Runs(Explorer):
    """Curves and scores of the runs chosen, and where their configurations differ.

    Attributes
    ----------
    curve, chosen : controls; several runs are chosen with Ctrl or Shift
    curves : the histories, one below the other, with the column ``run``
    scored : a row a run: scores, and what differs between the runs
    """

    def __init__(self, results: Path):
        self.runs = find(results)
        if not self.runs:
            raise InputError(f"{results}: holds no whole run; make one with notebooks/05_train.ipynb")
        names = list(self.runs)
        super().__init__(
            "image table",
            curve=dropdown([], "curve"),
            chosen=widgets.SelectMultiple(options=names, value=names[:FIRST], rows=min(15, len(names)),
                                          description="runs", layout={"width": "34em"}),
        )  # fmt: skip

    def update(self) -> None:
        """Lay the runs over each other."""
        if not self.chosen.value:
            raise InputError("runs: none is chosen; choose one, and more with Ctrl or Shift")
        folders = {name: self.runs[name] for name in self.chosen.value}
        histories = {name: folder / "history.csv" for name, folder in folders.items()}
        frames = [pd.read_csv(file).assign(run=name) for name, file in histories.items() if file.exists()]
        self.curves = pd.concat([pd.DataFrame(), *frames], ignore_index=True).dropna(axis=1, how="all")
        names = sorted(set(self.curves) - {"epoch", "run"}, key=lambda name: (name == "learning_rate", name))
        choose(self.curve, list(zip(names, names)))
        self.image.value = self._draw() if names else "No run chosen has a learning curve."
        measured = pd.DataFrame({name: scores(folder) for name, folder in folders.items()}).T.astype({"clips": int})
        others = differing(folders)
        self.scored = measured.join(others)
        self.table.value = grid(pretty(measured).set_axis(measured.index).join(others).T)  # settings below each other

    def _draw(self) -> str:
        column, names = self.curve.value, self.curves.run.unique()
        plot = sns.relplot(self.curves, kind="line", x="epoch", y=column, hue="run", style="run", palette="colorblind",
                           height=4, aspect=2.2)  # fmt: skip
        plot.set(title="of mixed labels, where mixup is on" if column == "loss" else "")
        plot.ax.xaxis.get_major_locator().set_params(integer=True)
        return picture(plot.figure, f"{column} by epoch of {', '.join(names)}")


def differing(folders: dict[str, Path]) -> pd.DataFrame:
    """Values of the resolved configurations that are not the same in all runs, and the data; a row a run."""
    abouts = {name: about(folder / "run.json") for name, folder in folders.items()}
    values = {name: flat(run["config"]) | {"data": run["data"]["name"]} for name, run in abouts.items()}
    table = pd.DataFrame(values).T
    return table.loc[:, table.astype(str).nunique() > 1]
