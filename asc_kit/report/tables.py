"""Tables 1 to 7 of an experiment, each beside the report's own numbers.

Tables 2, 3, 4 and 7 are computed from the runs' ``predictions.tsv`` and the experiment's ``truth.tsv`` alone, so that
a clone without audio recomputes them. A run that is missing is an empty row that says so. Accuracies are fractions
in the CSV files and per cent in the Markdown.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asc_kit import config as configuration
from asc_kit import metrics, network
from asc_kit.config import FLOORS, MEL_BINS, PARTS, Config, Recipe
from asc_kit.data.corpus import COLUMNS
from asc_kit.errors import InputError
from asc_kit.files import replacing
from asc_kit.report import complexity

PUBLISHED = Path(__file__).parent / "published"
NETWORKS = ("1", "2", "3", "4")
DEVICES = ("a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6")
SCORES = [f"{name}{part}" for name in ("accuracy", "log_loss") for part in ("", "_low", "_high", "_std")]

DIFFERENCES = [f"{name}_difference{part}" for name in ("accuracy", "log_loss") for part in ("", "_low", "_high")]


def published(number: int | str) -> pd.DataFrame:
    """The report's table, or "text", in long form: table, row, label, column, value, decimals, note; all text."""
    name = number if number == "text" else f"table_{number}"
    return pd.read_csv(PUBLISHED / f"{name}.csv", dtype=str, keep_default_na=False)


def _report(number: int, columns: tuple[str, ...]) -> pd.DataFrame:
    """The report's numbers, a row a row; accuracies as fractions."""
    long = published(number)
    wide = long.pivot(index="row", columns="column", values="value").reindex(columns=columns).astype(float)
    if "accuracy" in wide:
        wide["accuracy"] = (wide["accuracy"] / 100).round(6)
    return wide.add_prefix("report_")


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
        """The clips of some classes or devices."""
        keep = {seed: rows[rows[column].isin(values)] for seed, rows in self.seeds.items()}
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
    """`DIFFERENCES` of one from the other, paired by clip; their intervals come from resampled locations."""
    both = scored.clips.index.intersection(usual.clips.index)
    mine, theirs = scored.clips.loc[both], usual.clips.loc[both]
    score = metrics.score((mine.correct - theirs.correct).to_numpy(), (mine.loss - theirs.loss).to_numpy(),
                          mine.label.to_numpy(), mine.identifier.to_numpy(), differences=True)  # fmt: skip
    return {f"{name}_difference{part}": getattr(score[name], part.removeprefix("_") or "value")
            for name in ("accuracy", "log_loss") for part in ("", "_low", "_high")}  # fmt: skip


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
    recipe = configuration.load(config)
    return load(configuration.path(results_dir) / str(experiment or recipe.name), recipe)


def load(home: Path, recipe: Recipe, runs: str = "submission_*/seed_*", name: str = "predictions") -> Results:
    """Read an experiment's truth and predictions; ``runs`` names some of its folders, ``name`` other files in them.

    Raises
    ------
    InputError : predictions that do not fit the truth (unknown or doubled clips, other classes), or are none.
    """
    truth_file = home / "truth.tsv"
    files = sorted(home.glob(f"{runs}/{name}.tsv")) if truth_file.exists() else []
    if not files:
        return Results(home, recipe, (), {})
    truth = pd.read_csv(truth_file, sep="\t", dtype=str, keep_default_na=False)[COLUMNS].set_index("filename")
    parts: dict[str, dict[int, list[pd.DataFrame]]] = {}
    confusion: dict[str, np.ndarray] = {}
    classes: tuple[str, ...] = ()
    for file in files:
        submission = file.parent.parent.name.removeprefix("submission_").removeprefix("ablation_")
        seed = place(file)[0]
        rows, counts, found = score_file(file, truth)
        if classes and found != classes:
            raise InputError(f"{file}: has other classes than the other runs; they belong in another experiment")
        classes = found
        parts.setdefault(submission, {}).setdefault(seed, []).append(rows)
        confusion[submission] = confusion.get(submission, 0) + counts
    scored = {name: gather(name, seeds, confusion[name], home) for name, seeds in parts.items()}
    abouts = [about(file) for file in sorted(home.glob(f"{runs}/run.json"))]
    _refuse_unlike(home, abouts)
    synthetic = any(about["data"]["synthetic"] for about in abouts)
    whole = runs == "submission_*/seed_*"
    remarks = {name: _remarks(name, abouts, recipe, whole) for name in parts}
    return Results(home, recipe, classes, scored, synthetic, remarks)


def about(file: Path) -> dict[str, Any]:
    """A ``run.json``; what was written before a switch was there has its default."""
    values = json.loads(file.read_text())
    return values | {"config": Config.from_dict(values["config"]).as_dict()}


def place(file: Path) -> tuple[int, int]:
    """Seed and fold of a file in a run's folder."""
    seed, fold = re.fullmatch(r"seed_(\d+)(?:_fold_(\d+))?", file.parent.name).groups()
    return int(seed), int(fold or 1)


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
    planned = sum(config.submission == name for config in recipe.configs())
    remarks = []
    if any(config != recipe.config(name, config["seed"], config["fold"]).as_dict() for config in mine):
        remarks.append("a run is not as the recipe has it; see its run.json")
    if whole and mine and planned > len(mine):
        remarks.append(f"{planned - len(mine)} of {planned} runs are missing")
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


def _missing(note: str) -> dict[str, object]:
    return dict.fromkeys(SCORES, "") | {"n": 0, "seeds": 0, "note": note}


def _submission_row(results: Results, name: str) -> dict[str, object]:
    if name in results.scored:
        row = results.scored[name].row() | {"note": results.note(name)}
    elif name in results.recipe.submissions:
        row = _missing(f"missing or failed; see submission_{name}/seed_*/05_train.ipynb")
    else:
        row = _missing("not part of this experiment")
    return {"submission": name, "mel_bins": MEL_BINS.get(name, "")} | row


def table_2(results: Results) -> pd.DataFrame:
    """Mel bins: mel_bins, scores, n, seeds, report_accuracy, report_log_loss, note."""
    table = pd.DataFrame([_submission_row(results, name) for name in NETWORKS])
    return _beside(table.drop(columns="submission"), table.mel_bins, 2, ("accuracy", "log_loss"))


def table_3(results: Results) -> pd.DataFrame:
    """Class-wise scores of the largest network that ran; the average's log loss is the mean over classes."""
    rows = [("average", "log_loss_macro", None)]
    rows = [(name, "log_loss", ("scene_label", name)) for name in results.classes] + rows
    return _parts(results, "scene_label", rows, 3)


def table_4(results: Results) -> pd.DataFrame:
    """Device-wise scores, of all clips in the last row; one row ``all`` where devices are not known."""
    scored = results.scored.get(results.best)
    found = devices(scored) if scored else list(DEVICES)
    rows = [(name, "log_loss", ("source_label", name)) for name in found]
    return _parts(results, "device", [*rows, ("average" if found else "all", "log_loss", None)], 4)


def devices(scored: Scored) -> list[str]:
    """The recorders of the clips, in the report's order."""
    return sorted(set(scored.clips.source_label) - {""}, key=_device_order)


def _device_order(name: str) -> tuple[int, str]:
    return (DEVICES.index(name) if name in DEVICES else len(DEVICES), name)


def _parts(
    results: Results, key: str, rows: list[tuple[str, str, tuple[str, str] | None]], number: int
) -> pd.DataFrame:
    scored = results.scored.get(results.best)
    table = []
    for name, loss, part in rows:
        chosen = scored.where(*part) if scored and part else scored
        if chosen is None or chosen.clips.empty:
            values = _missing("no clip of it was scored" if scored else "no run is there")
        else:
            values = chosen.row(loss) | {"note": results.note(chosen.submission)}
        table.append({key: name, "submission": results.best or ""} | values)
    frame = pd.DataFrame(table)
    return _beside(frame, frame[key], number, ("accuracy", "log_loss"))


def table_7(results: Results) -> pd.DataFrame:
    """Submissions and baseline; the size is that of the built network for the experiment's number of classes."""
    names = [name for name in ("baseline", *NETWORKS) if name not in results.scored]
    order = [*FLOORS, "baseline", *NETWORKS]
    unknown = sorted(results.scored.keys() - set(order))
    if unknown:
        raise InputError(f"{results.home / f'submission_{unknown[0]}'}: is no submission of the kit; remove it")
    shown = sorted({*names, *results.scored, *results.recipe.submissions}, key=order.index)
    table = pd.DataFrame([_submission_row(results, name) for name in shown])
    recipe = Recipe("size")
    sizes = []
    for name in shown:
        features = recipe.config(name).features
        net = None if name in FLOORS else network.build(name, features, len(results.classes) or 10)
        sizes.append(complexity.size_kb(net) if net else "")
    table.insert(table.columns.get_loc("n"), "model_size_kb", sizes)
    return _beside(table, table.submission, 7, ("accuracy", "log_loss", "model_size_kb"))


def _beside(table: pd.DataFrame, keys: pd.Series, number: int, columns: tuple[str, ...]) -> pd.DataFrame:
    report = _report(number, columns).reindex(keys.astype(str)).reset_index(drop=True)
    note = table.pop("note")
    return pd.concat([table, report, note], axis=1)


def table_6(results: Results) -> pd.DataFrame:
    """The built network of 160 mel bins, row by row, beside the report's for ten classes."""
    table = complexity.table_6(network.Network(MEL_BINS["4"], len(results.classes) or 10))
    report = _report(6, ("parameters", "size_bytes"))
    report.index = report.index.astype(int)
    report = report.sort_index().reset_index(drop=True).astype("Int64")
    return pd.concat([table, report], axis=1)


TABLES: dict[int, tuple[str, Callable[[Results], pd.DataFrame]]] = {
    1: ("Architecture of the models", lambda _: complexity.table_1()),
    2: ("Models with different numbers of mel bins", table_2),
    3: ("Class-wise performance of the largest network here, beside the report's best", table_3),
    4: ("Device-wise performance of the largest network here, beside the report's best", table_4),
    5: ("Parameters of MBConv4(I, O) and Fused-MBConv4(I, O)", lambda _: complexity.table_5()),
    6: ("Model size for 160 mel bins", table_6),
    7: ("Submissions and the baseline", table_7),
}


def write(results: Results, numbers: tuple[int, ...] = tuple(TABLES)) -> dict[int, pd.DataFrame]:
    """Write ``tables/table_<n>.csv`` and ``.md``; returns them by number."""
    done = {}
    for number in numbers:
        title, make = TABLES[number]
        done[number] = make(results)
        said = " Measured on synthetic data." if results.synthetic and number in (2, 3, 4, 7) else ""
        write_one(done[number], results.home, f"table_{number}", f"Table {number}. {title}.{said}")
    return done


def write_one(table: pd.DataFrame, home: Path, name: str, title: str) -> None:
    """Write ``tables/<name>.csv`` and, for people, ``.md``."""
    folder = home / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{name}.csv") as part:
        table.to_csv(part, index=False, float_format="%.10g")
    with replacing(folder / f"{name}.md") as part:
        part.write_text(f"{title}\n\n{markdown(pretty(table))}\n")


def pretty(table: pd.DataFrame) -> pd.DataFrame:
    """For people: per cent, three decimals of log loss, intervals (unbroken) and spread in one cell; all text."""
    out = {}
    for name in table:
        if name.endswith(("_low", "_high", "_std")):
            continue
        cells = zip(*(table[name + part] if name + part in table else [""] * len(table)
                      for part in ("", "_low", "_high", "_std")))  # fmt: skip
        out[name.replace("_", " ").replace(" kb", " KB")] = [_cell(name, *cell) for cell in cells]
    if not any(out.get("note", [])):
        out.pop("note", None)
    return pd.DataFrame(out)


def _cell(name: str, value: object, low: object, high: object, spread: object) -> str:
    if pd.isna(value) or value == "":
        return ""
    style = "{:.1%}" if "accuracy" in name else "{:.3f}" if "log_loss" in name else "{:.1f}" if "_kb" in name else "{}"
    text = style.format(value)
    if not pd.isna(low) and low != "":
        text += f" [{style.format(low).rstrip('%')},\u00a0{style.format(high).rstrip('%')}]"
    if spread not in ("", None) and not pd.isna(spread):
        text += f" ± {style.format(spread)}"
    return text


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table of text cells."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("\u00a0", " ") for cell in line) + " |" for line in lines)
