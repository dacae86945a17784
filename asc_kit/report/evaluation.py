"""An experiment's scores, from its ``truth.tsv`` and its runs' ``predictions.tsv`` alone.

A clone without audio recomputes them; `asc_kit.report.tables` makes the report's tables of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asc_kit import metrics
from asc_kit.common import InputError
from asc_kit.config import FLOORS, PARTS, Config, Network, path
from asc_kit.data.check import DEVICES
from asc_kit.report import predictions
from asc_kit.run import recipes
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import differences

NETWORKS = ("1", "2", "3", "4")
EVEN = "even guess"  # the same probability for every class
SCORES = [f"{name}{part}" for name in ("accuracy", "log_loss") for part in ("", "_low", "_high", "_std")]
DIFFERENCES = [f"{name}_difference{part}" for name in ("accuracy", "log_loss") for part in ("", "_low", "_high")]


@dataclass(frozen=True)
class Scored:
    """The scored clips of a system.

    Attributes
    ----------
    seeds : seed -> scene_label, source_label, identifier, label, predicted, correct, loss; a row a clip
    classes : in the order of the class numbers ``label`` and ``predicted``
    """

    submission: str
    seeds: dict[int, pd.DataFrame]
    classes: tuple[str, ...] = ()

    @cached_property
    def clips(self) -> pd.DataFrame:
        """A row a clip, by its name: ``correct`` and ``loss`` are means over seeds."""
        rows = pd.concat(self.seeds.values())
        means = rows.groupby(level=0, sort=True)[["correct", "loss"]].mean()
        return rows[~rows.index.duplicated()].loc[means.index].assign(correct=means.correct, loss=means.loss)

    @property
    def confusion(self) -> np.ndarray:
        """(true class, predicted class) counts over all seeds."""
        rows, numbers = pd.concat(self.seeds.values()), range(len(self.classes))  # pandas: score does without sklearn
        counts = pd.crosstab(rows.label, rows.predicted)
        return counts.reindex(index=numbers, columns=numbers, fill_value=0).to_numpy()

    def where(self, column: str, *values: str) -> "Scored":
        """The clips of some classes or devices, of the seeds that scored any of them."""
        keep = {seed: rows[rows[column].isin(values)] for seed, rows in self.seeds.items()}
        return replace(self, seeds={seed: rows for seed, rows in keep.items() if len(rows)} or keep)

    def row(self, log_loss: str = "log_loss") -> dict[str, object]:
        """`SCORES`, the number of clips and of seeds; log_loss_macro takes the mean of the class-wise means."""
        total, *each = (metrics.score(*_columns(rows)) for rows in (self.clips, *self.seeds.values()))
        out: dict[str, object] = {}
        for name, key in (("accuracy", "accuracy"), ("log_loss", log_loss)):
            score = total[key]
            spread = pd.Series([one[key].value for one in each]).std() if len(each) > 1 else ""
            out |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high, f"{name}_std": spread}
        return out | {"n": len(self.clips), "seeds": len(self.seeds)}


def _columns(rows: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """What `metrics.score` takes."""
    return tuple(rows[name].to_numpy() for name in ("correct", "loss", "label", "identifier"))


def difference(scored: Scored, usual: Scored) -> dict[str, float]:
    """`DIFFERENCES` of one from the other, paired by clip; their intervals come from resampled locations.

    NaN where they have no clip in common.
    """
    both = scored.clips.index.intersection(usual.clips.index)
    if both.empty:
        return dict.fromkeys(DIFFERENCES, float("nan"))
    rows = scored.clips.loc[both]
    rows[["correct", "loss"]] -= usual.clips.loc[both, ["correct", "loss"]]
    return _named(metrics.score(*_columns(rows), differences=True))


def apart(scored: Scored, these: tuple[str, ...], those: tuple[str, ...]) -> dict[str, object]:
    """`DIFFERENCES` of a system's clips by some devices from those by others, and how many clips either has."""
    sides = [scored.where("source_label", *names).clips for names in (these, those)]
    found = metrics.score_apart(*map(_columns, sides))
    return {"n": len(sides[0]), "n_against": len(sides[1])} | _named(found)


def _named(score: dict[str, metrics.Score]) -> dict[str, float]:
    """Differences by the names in `DIFFERENCES`."""
    return {f"{name}_difference{part}": getattr(score[name], part.removeprefix("_") or "value")
            for name in ("accuracy", "log_loss") for part in ("", "_low", "_high")}  # fmt: skip


def beside(scored: Scored, usual: Scored | None) -> dict[str, object]:
    """A system's scores and, where there is something to compare with, its `difference` from that."""
    return scored.row() | (difference(scored, usual) if usual else {})


def paired(results: "Results", pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Submissions against others, or `EVEN`, on the same clips; pairs that have none are left out.

    Returns
    -------
    submission, against, n (clips), disagree (clips that one of them has right more often; empty for `EVEN`),
    `DIFFERENCES`
    """
    rows = []
    for one, two in [(one, two) for one, two in pairs if one in results.scored and two in (*results.scored, EVEN)]:
        mine, theirs = results.scored[one], results.scored.get(two)
        if theirs is None:
            guess = {"correct": 1 / len(results.classes), "loss": np.log(len(results.classes))}
            theirs = Scored(EVEN, {0: mine.clips.assign(**guess)})
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
    scored : system -> its scores
    synthetic : whether a run's data was the kit's own; the tables then say so in every row
    abouts : system -> its ``run.json`` files
    """

    home: Path
    recipe: Recipe
    classes: tuple[str, ...]
    scored: dict[str, Scored]
    synthetic: bool = False
    abouts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def config(self, name: str) -> Config | None:
        """A system's configuration: the recipe's, else its runs'; None where neither has it."""
        if name in self.recipe.names:
            return self.recipe.config(name)
        return next((Config.from_dict(about["config"]) for about in self.abouts.get(name, [])), None)

    def kind(self, name: str) -> str:
        """floor, baseline or network, by a system's configuration."""
        config = self.config(name)
        network = config.architecture.network if config else ""
        return "floor" if network in FLOORS else "baseline" if network == "baseline" else "network"

    @cached_property
    def systems(self) -> list[str]:
        """Floors, baselines and networks, the report's first: its own, what the recipe plans, and whatever ran."""
        names = dict.fromkeys(("baseline", *NETWORKS, *self.recipe.submissions, *sorted(self.scored)))
        return sorted(names, key=lambda name: ("floor", "baseline", "network").index(self.kind(name)))

    def ran(self, kind: str) -> list[str]:
        """The systems of a kind that have scores."""
        return [name for name in self.systems if name in self.scored and self.kind(name) == kind]

    @property
    def by_mel_bins(self) -> list[str]:
        """Table 2's systems: the report's four, and others of its network with other numbers of mel bins."""
        bins = {name: config.features.n_mels for name in self.systems
                if (config := self.config(name)) and config.architecture == Network()}  # fmt: skip
        report = {bins[name] for name in NETWORKS}
        return sorted([name for name in bins if name in NETWORKS or bins[name] not in report], key=bins.get)

    @property
    def best(self) -> str | None:
        """Submission 4, or the largest network that ran: whose Tables 3 and 4 are shown."""
        order = (*NETWORKS[::-1], *self.ran("network"), *self.ran("baseline"), *self.ran("floor"))
        return next((name for name in order if name in self.scored), None)

    def note(self, name: str) -> str:
        """What a reader must know of a system's runs: whether they are the recipe's, all there, and chosen fairly."""
        runs = [Config.from_dict(about["config"]) for about in self.abouts.get(name, [])]
        files = list(self.home.glob(f"submission_{name}/seed_*/run.json"))  # those not loaded, too
        missing = predictions.missing(self.recipe, files) if files and name in self.recipe.submissions else ""
        known = name in self.recipe.names
        notes = {
            "synthetic data": self.synthetic,
            "a run is not as the recipe has it; see its run.json":
                known and any(run != self.recipe.config(name, run.seed, run.fold) for run in runs),
            missing: missing,
            "best epoch chosen on these clips: optimistic": any(run.training.selection == "test" for run in runs),
        }  # fmt: skip
        return "; ".join(note for note, holds in notes.items() if holds)


def open_results(config: str, experiment: str | None = None, results_dir: str = "results") -> Results:
    """An experiment by the notebooks' parameters."""
    recipe = recipes.load(config)
    return load(path(results_dir) / str(experiment or recipe.name), recipe)


def load(home: Path, recipe: Recipe, runs: str = "submission_*/seed_*", name: str = "predictions") -> Results:
    """Read an experiment's truth and predictions.

    Parameters
    ----------
    runs : some of its folders
    name : another file than ``predictions.tsv`` in them

    Raises
    ------
    InputError : predictions that do not fit the truth (unknown or doubled clips, other classes), or are none.
    """
    truth_file = home / "truth.tsv"
    files = sorted(home.glob(f"{runs}/{name}.tsv")) if truth_file.exists() else []
    if not files:
        return Results(home, recipe, (), {})
    clips, classes = predictions.read_truth(truth_file), ()
    seeds: dict[str, dict[int, pd.DataFrame]] = {}
    for file in files:
        rows, found = predictions.score_file(file, clips)
        if classes and found != classes:
            raise InputError(f"{file}: has other classes than the other runs; they belong in another experiment")
        classes, (seed, _) = found, predictions.place(file)
        mine = seeds.setdefault(predictions.system(file), {})
        folds = pd.concat([mine[seed], rows]) if seed in mine else rows
        if (twice := folds.index.duplicated()).any():
            raise InputError(f"{file}: {folds.index[twice][0]} is scored in two folds")
        mine[seed] = folds
    scored = {name: Scored(name, dict(sorted(mine.items())), classes) for name, mine in seeds.items()}
    abouts: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(home.glob(f"{runs}/run.json")):
        abouts.setdefault(predictions.system(file), []).append(predictions.about(file))
    _refuse_unlike(home, abouts)
    return Results(home, recipe, classes, scored, predictions.is_synthetic(home), abouts)


def combined(
    home: Path, names: tuple[str, ...], combine: Callable[..., pd.DataFrame], over_seeds: bool = False
) -> Scored | None:
    """The scores of several systems as one: of every seed that all have, or of all seeds together; None without any.

    Parameters
    ----------
    combine : takes the probabilities of each, as `predictions.read_probabilities` gives them, and gives one table

    Raises
    ------
    InputError : the systems scored different clips of a seed and fold.
    """
    truth = predictions.read_truth(home / "truth.tsv")
    groups: dict[tuple[int, int], list[Path]] = {}
    for file in (file for name in names for file in sorted(home.glob(f"submission_{name}/seed_*/predictions.tsv"))):
        seed, fold = predictions.place(file)
        groups.setdefault((0 if over_seeds else seed, fold), []).append(file)
    seeds: dict[int, list[pd.DataFrame]] = {}
    needed = max(map(len, groups.values())) if over_seeds else len(names)
    for (seed, _), files in sorted(groups.items()):
        if len(files) == needed:  # else a run of it is missing
            parts = [predictions.read_probabilities(file, truth) for file in files]
            for file, part in zip(files, parts):
                if len(part.index.symmetric_difference(parts[0].index)):
                    raise InputError(f"{file}: has other clips than {files[0]}; their probabilities have no mean")
            seeds.setdefault(seed, []).append(predictions.score_table(combine(*parts), truth, files[0]))
    return Scored("mean", {seed: pd.concat(folds) for seed, folds in seeds.items()}) if seeds else None


def _refuse_unlike(home: Path, abouts: dict[str, list[dict[str, Any]]]) -> None:
    """Raise `InputError` where runs of a system differ in more than seed and fold; no table may hold both."""
    for name, runs in abouts.items():
        first, *others = [{part: about["config"][part] for part in PARTS}
                          | {"data": about["data"].get("fingerprint"), "features' code": about.get("features_code")}
                          for about in runs]  # fmt: skip
        for differ in (differences(first, other) for other in others):
            for key, (one, two) in differ.items():
                raise InputError(f"{home}: runs of system {name} differ in {key} ({one!r}, {two!r}); no table may "
                                 "hold both: move one to another experiment, or train it again")  # fmt: skip


def devices(scored: Scored) -> list[str]:
    """The recorders of the clips, in the report's order, others behind them."""
    there = sorted(set(scored.clips.source_label) - {""})
    return sorted(there, key=lambda name: DEVICES.index(name) if name in DEVICES else len(DEVICES))
