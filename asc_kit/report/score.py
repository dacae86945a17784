"""Scores of any system's predictions in the DCASE output format (Section 3.2's metrics)."""

import csv
import json
import math
from pathlib import Path

import pandas as pd

from asc_kit.common.errors import InputError
from asc_kit.common.files import replacing
from asc_kit.common.progress import say
from asc_kit.data.corpus import COLUMNS, completed
from asc_kit.report import evaluation, tables
from asc_kit.run.recipes import Recipe


def read(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A TAB or comma separated table as text; without a header line its columns are called ``columns``.

    Raises
    ------
    InputError : the file is missing, empty or no table of that form.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            first = handle.readline()
            handle.seek(0)
            lines = [line for line in csv.reader(handle, delimiter="\t" if "\t" in first else ",") if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'no table of text'})") from None
    if lines and lines[0][0].strip().lower() == "filename":
        columns, lines = ("filename", *(name.strip() for name in lines[0][1:])), lines[1:]
    if len(columns) < 2 or len(set(map(label, columns))) < len(columns):
        raise InputError(f"{file}: needs two columns or more, each once (Bus is bus); has {', '.join(columns)}")
    if not lines:
        raise InputError(f"{file}: has no rows")
    odd = next((number for number, line in enumerate(lines, 1) if len(line) != len(columns)), None)
    if odd:
        raise InputError(f"{file}: row {odd} does not hold {len(columns)} columns ({', '.join(columns)})")
    return pd.DataFrame(lines, columns=list(columns)).map(str.strip)


def label(text: str) -> str:
    """A scene label as TAU writes it: "Street, pedestrian" and "street pedestrian" are street_pedestrian."""
    return "_".join(text.lower().replace(",", " ").replace("-", " ").split())


def _scored(predictions: Path, truth: pd.DataFrame) -> tuple[evaluation.Scored, tuple[str, ...]]:
    """A system's scores, and its classes in the order of its columns."""
    table = read(predictions, ("filename", "scene_label", *sorted(truth.scene_label.unique()))).set_index("filename")
    given, table = table.iloc[:, 0].map(label), table.iloc[:, 1:].rename(columns=label)
    missing = truth.index.difference(table.index)
    if len(missing):
        raise InputError(f"{predictions}: {len(missing)} clips are missing: {', '.join(missing[:3])} ...")
    try:
        table = table.astype(float)
    except ValueError as error:
        raise InputError(f"{predictions}: {error}; scores must be numbers") from None
    rows, confusion = evaluation.score_table(table, truth, predictions)
    other = int((given != table.idxmax(axis=1)).sum())
    if other:
        say(f"{predictions}: the scene_label of {other} of {len(table)} clips is not the class of the highest score, "
            "which decides")  # fmt: skip
    return evaluation.Scored(predictions.stem, rows, {0: rows}, confusion), tuple(table.columns)


def score(predictions: Path, truth_file: Path, out: Path, against: Path | None = None) -> dict[str, float]:
    """Write ``table_3.csv``, ``table_4.csv``, ``overall.json`` and ``confusion_matrix.csv`` into ``out``.

    Parameters
    ----------
    predictions : filename, scene_label, then non-negative scores, a column a class; without a header line the classes
        are in alphabetical order
    truth_file : filename and scene_label; identifier and source_label where known, or by TAU's file names
    against : another system's predictions of the same clips, for the differences from it, paired by clip

    Returns
    -------
    what ``overall.json`` holds

    Raises
    ------
    InputError : a clip is missing, doubled or unknown, a class is unknown, or a score is no number, NaN or negative.
    """
    truth = completed(read(truth_file, ("filename", "scene_label")))
    if "scene_label" not in truth:
        raise InputError(f"{truth_file}: has no column 'scene_label'; there is nothing to score against")
    if (truth.identifier == "").any():
        say(f"{truth_file}: has no identifier for every clip; intervals resample clips in place of locations")
        truth["identifier"] = truth.identifier.where(truth.identifier != "", truth.filename)
    truth = truth[COLUMNS].assign(scene_label=truth.scene_label.map(label))
    if truth.filename.duplicated().any():
        raise InputError(f"{truth_file}: {truth.filename[truth.filename.duplicated()].iloc[0]} is there twice")
    truth = truth.set_index("filename")
    scored, classes = _scored(predictions, truth)
    results = evaluation.Results(out, Recipe("score"), classes, {predictions.stem: scored})
    macro, overall = scored.row("log_loss_macro"), scored.row()
    overall = {k: v for k, v in overall.items() if not k.endswith("_std") and k != "seeds"}
    overall |= {k.replace("log_loss", "log_loss_macro"): macro[k] for k in macro if k in overall and "loss" in k}
    if against is not None:
        overall |= evaluation.difference(scored, _scored(against, truth)[0])
    out.mkdir(parents=True, exist_ok=True)
    named = pd.DataFrame(scored.confusion, index=list(classes), columns=list(classes)).rename_axis("true")
    for name, frame in (("table_3", tables.table_3(results)), ("table_4", tables.table_4(results)),
                        ("confusion_matrix", named.reset_index())):  # fmt: skip
        with replacing(out / f"{name}.csv") as part:
            frame.to_csv(part, index=False)
    with replacing(out / "overall.json") as part:
        known = {
            k: None if isinstance(v, float) and math.isnan(v) else v for k, v in overall.items()
        }  # JSON has no NaN
        part.write_text(json.dumps(known, indent=1) + "\n")
    return overall
