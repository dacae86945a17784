"""An experiment's scores, from its ``truth.tsv`` and its runs' ``predictions.tsv`` alone.

A clone without audio recomputes them; `asc_kit.report.tables` makes the report's tables of them.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asc_kit import config as configuration
from asc_kit import metrics
from asc_kit.common.errors import InputError
from asc_kit.config import FLOORS, PARTS, Config
from asc_kit.data.check import DEVICES
from asc_kit.data.corpus import COLUMNS
from asc_kit.run import recipes
from asc_kit.run.recipes import Recipe

NETWORKS = ("1", "2", "3", "4")
EVEN = "even guess"  # the same probability for every class
SCORES = [f"{name}{part}" for name in ("accuracy", "log_loss") for part in ("", "_low", "_high", "_std")]
DIFFERENCES = [f"{name}_difference{part}" for name in ("accuracy", "log_loss") for part in ("", "_low", "_high")]


@dataclass(frozen=True)
class Scored:
    """The scored clips of a submission.

    Attributes
    ----------
    clips : scene_label, source_label, identifier, label, correct, loss; means over seeds; a row a clip
    seeds : seed -> its own rows, with the same columns
    confusion : (class, class) counts over all seeds
    """

    submission: str
    clips: pd.DataFrame
    seeds: dict[int, pd.DataFrame]
    confusion: np.ndarray

    def where(self, column: str, *values: str) -> "Scored":
        """The clips of some classes or devices, and the seeds that scored any of them."""
        keep = {seed: rows[rows[column].isin(values)] for seed, rows in self.seeds.items()}
        keep = {seed: rows for seed, rows in keep.items() if len(rows)}
        return replace(self, clips=self.clips[self.clips[column].isin(values)], seeds=keep)

    def row(self, log_loss: str = "log_loss") -> dict[str, object]:
        """`SCORES`, the number of clips and of seeds; log_loss_macro takes the mean of the class-wise means."""
        total = self._score(self.clips)
        each = pd.DataFrame([{k: v.value for k, v in self._score(rows).items()} for rows in self.seeds.values()])
        out: dict[str, object] = {}
        for name, key in (("accuracy", "accuracy"), ("log_loss", log_loss)):
            score = total[key]
            spread = each[key].std() if len(each) > 1 else ""
            out |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high, f"{name}_std": spread}
        return out | {"n": len(self.clips), "seeds": len(self.seeds)}

    @staticmethod
    def _score(rows: pd.DataFrame) -> dict[str, metrics.Score]:
        return metrics.score(*(rows[name].to_numpy() for name in ("correct", "loss", "label", "identifier")))


def difference(scored: Scored, usual: Scored) -> dict[str, float]:
    """`DIFFERENCES` of one from the other, paired by clip; their intervals come from resampled locations.

    NaN where they have no clip in common.
    """
    both = scored.clips.index.intersection(usual.clips.index)
    if both.empty:
        return dict.fromkeys(DIFFERENCES, float("nan"))
    mine, theirs = scored.clips.loc[both], usual.clips.loc[both]
    score = metrics.score((mine.correct - theirs.correct).to_numpy(), (mine.loss - theirs.loss).to_numpy(),
                          mine.label.to_numpy(), mine.identifier.to_numpy(), differences=True)  # fmt: skip
    return {f"{name}_difference{part}": getattr(score[name], part.removeprefix("_") or "value")
            for name in ("accuracy", "log_loss") for part in ("", "_low", "_high")}  # fmt: skip


def paired(results: "Results", pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Submissions against others, or `EVEN`, on the same clips; pairs that have none are left out.

    Returns
    -------
    submission, against, n (clips), disagree (clips that one of them has right more often; empty for `EVEN`),
    `DIFFERENCES`
    """
    rows = []
    for one, two in pairs:
        mine, theirs = results.scored.get(one), results.scored.get(two)
        if mine is not None and two == EVEN:
            guess = {"correct": 1 / len(results.classes), "loss": np.log(len(results.classes))}
            theirs = replace(mine, clips=mine.clips.assign(**guess))
        if mine is None or theirs is None:
            continue
        right = (mine.clips.correct - theirs.clips.correct).dropna()  # NaN where only one has a clip
        if len(right):
            disagree = "" if two == EVEN else right.ne(0).sum()
            row = {"submission": one, "against": two, "n": len(right), "disagree": disagree}
            rows.append(row | difference(mine, theirs))
    return pd.DataFrame(rows, columns=["submission", "against", "n", "disagree", *DIFFERENCES])


@dataclass(frozen=True)
class Results:
    """All that lies in an experiment's folder.

    Attributes
    ----------
    classes : in the order of the probabilities; empty where nothing ran
    scored : submission -> its scores
    synthetic : whether a run's data was the kit's own; the tables then say so in every row
    remarks : submission -> what a reader must know of its runs
    """

    home: Path
    recipe: Recipe
    classes: tuple[str, ...]
    scored: dict[str, Scored]
    synthetic: bool = False
    remarks: dict[str, str] = field(default_factory=dict)

    def note(self, submission: str) -> str:
        """The note beside a submission's numbers."""
        return "; ".join(filter(None, ["synthetic data" if self.synthetic else "", self.remarks.get(submission)]))

    @property
    def best(self) -> str | None:
        """Submission 4, or the largest network that ran: whose Tables 3 and 4 are shown."""
        order = ("4", "3", "2", "1", "baseline", *FLOORS, *self.scored)
        return next((name for name in order if name in self.scored), None)


def open_results(config: str, experiment: str | None = None, results_dir: str = "results") -> Results:
    """An experiment by the notebooks' parameters."""
    recipe = recipes.load(config)
    return load(configuration.path(results_dir) / str(experiment or recipe.name), recipe)


def load(
    home: Path, recipe: Recipe, runs: str = "submission_*/seed_*", name: str = "predictions", truth: str = "truth"
) -> Results:
    """Read an experiment's truth and predictions.

    Parameters
    ----------
    runs : some of its folders
    name, truth : other files than ``predictions.tsv`` in them, and than the experiment's ``truth.tsv``

    Raises
    ------
    InputError : predictions that do not fit the truth (unknown or doubled clips, other classes), or are none.
    """
    truth_file = home / f"{truth}.tsv"
    files = sorted(home.glob(f"{runs}/{name}.tsv")) if truth_file.exists() else []
    if not files:
        return Results(home, recipe, (), {})
    clips = pd.read_csv(truth_file, sep="\t", dtype=str, keep_default_na=False)
    if missing := [column for column in COLUMNS if column not in clips]:
        raise InputError(f"{truth_file}: has no column {missing[0]!r}; it needs {', '.join(COLUMNS)}, TAB separated, a "
                         "cell blank where it is not known")  # fmt: skip
    clips = clips[COLUMNS].set_index("filename")
    parts: dict[str, dict[int, list[pd.DataFrame]]] = {}
    confusion: dict[str, np.ndarray] = {}
    classes: tuple[str, ...] = ()
    for file in files:
        submission = file.parent.parent.name.removeprefix("submission_").removeprefix("ablation_")
        seed = place(file)[0]
        rows, counts, found = score_file(file, clips)
        if classes and found != classes:
            raise InputError(f"{file}: has other classes than the other runs; they belong in another experiment")
        classes = found
        parts.setdefault(submission, {}).setdefault(seed, []).append(rows)
        confusion[submission] = confusion.get(submission, 0) + counts
    scored = {name: gather(name, seeds, confusion[name], home) for name, seeds in parts.items()}
    abouts = [about(file) for file in sorted(home.glob(f"{runs}/run.json"))]
    _refuse_unlike(home, abouts)
    synthetic = is_synthetic(home)
    whole = runs == "submission_*/seed_*"
    remarks = {name: _remarks(name, abouts, recipe, whole) for name in parts}
    return Results(home, recipe, classes, scored, synthetic, remarks)


def is_synthetic(home: Path) -> bool:
    """Whether a run of the experiment had data of the kit's own."""
    return any(json.loads(file.read_text())["data"]["synthetic"] for file in home.glob("*/seed_*/run.json"))


def about(file: Path) -> dict[str, Any]:
    """A ``run.json``; what was written before a switch was there has its default."""
    values = json.loads(file.read_text())
    return values | {"config": Config.from_dict(values["config"]).as_dict()}


def place(file: Path) -> tuple[int, int]:
    """Seed and fold of a file in a run's folder; `InputError` where the folder is not named as a run's."""
    found = re.fullmatch(r"seed_(\d+)(?:_fold_(\d+))?", file.parent.name)
    if not found:
        raise InputError(f"{file.parent}: is not named seed_<k> or seed_<k>_fold_<f>, as a run is; move it elsewhere")
    return int(found[1]), int(found[2] or 1)


def _refuse_unlike(home: Path, abouts: list[dict]) -> None:
    """Raise `InputError` where runs differ in more than submission, mel bins, seed and fold: no table may hold both."""
    first: dict[str, tuple[str, dict]] = {}
    for about in abouts:
        config = about["config"]
        same = {"data": about["data"].get("fingerprint"), "the features' code": about.get("features_code")}
        values = {f"{part}.{key}": value for part in PARTS for key, value in config[part].items()}
        values.pop("features.n_mels")
        name = about.get("run", f"submission_{config['submission']}/seed_{config['seed']}")
        kind = "network" if config["submission"] in NETWORKS else config["submission"]
        for group, mine in (("all", same), (kind, values)):
            other, theirs = first.setdefault(group, (name, mine))
            for key in theirs | mine:
                if theirs.get(key) != mine.get(key):
                    raise InputError(
                        f"{home}: {other} and {name} differ in {key} ({theirs.get(key)!r}, {mine.get(key)!r}); no "
                        "table may hold both: move one to another experiment, or train it again"
                    )


def _remarks(name: str, abouts: list[dict], recipe: Recipe, whole: bool) -> str:
    """Where a submission's runs are not the recipe's, not all there, or chosen on what they are scored on."""
    mine = [about["config"] for about in abouts if about["config"]["submission"] == name]
    planned = {(config.seed, config.fold) for config in recipe.configs() if config.submission == name}
    there = {(config["seed"], config["fold"]) for config in mine}
    remarks = []
    if any(config != recipe.config(name, config["seed"], config["fold"]).as_dict() for config in mine):
        remarks.append("a run is not as the recipe has it; see its run.json")
    if whole and mine and planned - there:
        remarks.append(f"{len(planned - there)} of {len(planned)} runs are missing")
    if whole and planned and there - planned:
        remarks.append("a run's seed or fold is not the recipe's")
    if any(config["training"]["selection"] == "test" for config in mine):
        remarks.append("best epoch chosen on these clips: optimistic")
    return "; ".join(remarks)


def score_file(file: Path, truth: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...]]:
    """Rows of `Scored.clips` for one ``predictions.tsv``, its confusion matrix and its classes."""
    try:
        table = pd.read_csv(file, sep="\t").set_index("filename")
        classes = tuple(table.columns[1:])
        table = table[list(classes)].astype(np.float64)
    except (KeyError, ValueError) as error:
        raise InputError(f"{file}: is no predictions.tsv ({' '.join(str(error).split())})") from None
    return (*score_table(table, truth, file), classes)


def score_table(table: pd.DataFrame, truth: pd.DataFrame, file: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of `Scored.clips` and the confusion matrix.

    Parameters
    ----------
    table : probabilities, a row a clip (its name is the index), a column a class
    truth : scene_label, identifier, source_label by clip; may hold more clips
    file : where the table is from, for messages
    """
    classes = tuple(table.columns)
    unknown = table.index.difference(truth.index)
    if len(unknown):
        raise InputError(f"{file}: {unknown[0]} is not in the truth ({len(unknown)} such clips)")
    if table.index.duplicated().any():
        raise InputError(f"{file}: {table.index[table.index.duplicated()][0]} is there twice")
    rows = truth.loc[table.index].copy()
    strange = set(rows.scene_label) - set(classes)
    if strange:
        raise InputError(f"{file}: has no column for the class {sorted(strange)[0]!r}")
    rows["label"] = rows.scene_label.map(classes.index)
    try:
        probabilities, labels = metrics.validate(table.to_numpy(), rows.label.to_numpy())
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    rows["correct"] = (probabilities.argmax(axis=1) == labels).astype(float)
    rows["loss"] = metrics.clip_losses(probabilities, labels)
    return rows, metrics.confusion(probabilities, labels)


def gather(name: str, seeds: dict[int, list[pd.DataFrame]], confusion: np.ndarray, home: Path) -> Scored:
    """A submission's scores from every seed's folds, as `score_table` gives them; `InputError` where folds overlap."""
    whole = {seed: pd.concat(folds) for seed, folds in sorted(seeds.items())}
    for seed, rows in whole.items():
        if rows.index.duplicated().any():
            clip = rows.index[rows.index.duplicated()][0]
            raise InputError(f"{home}: seed {seed} of submission {name} scores {clip} in two folds")
    stacked = pd.concat(whole.values())
    clips = stacked.groupby(level=0, sort=True)[["correct", "loss"]].mean()
    fixed = stacked[~stacked.index.duplicated()].loc[clips.index]
    return Scored(name, fixed.assign(correct=clips.correct, loss=clips.loss), whole, confusion)


def devices(scored: Scored) -> list[str]:
    """The recorders of the clips, in the report's order."""
    return sorted(set(scored.clips.source_label) - {""}, key=_device_order)


def _device_order(name: str) -> tuple[int, str]:
    return (DEVICES.index(name) if name in DEVICES else len(DEVICES), name)
