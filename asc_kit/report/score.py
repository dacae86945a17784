"""Scores of any system's predictions in the DCASE output format (Section 3.2's metrics)."""

import json
from pathlib import Path

import pandas as pd

from asc_kit.common import InputError, say, write_file
from asc_kit.common import tables as texts
from asc_kit.data.corpus import COLUMNS, completed
from asc_kit.report import evaluation, tables
from asc_kit.report.predictions import of_classes, score_table
from asc_kit.run.recipes import Recipe

NEEDED = ("filename", "scene_label")


def _scored(predictions: Path, truth: pd.DataFrame, classes: tuple[str, ...]) -> evaluation.Scored:
    order = sorted({*truth.scene_label, *classes})
    table = texts.read(predictions, names=(*NEEDED, *order), needs=NEEDED).set_index("filename")
    if len(missing := truth.index.difference(table.index)):
        other = table.index.difference(truth.index)[:1]
        there = f"; it names {other[0]}, which the truth has not" if len(other) else ""
        raise InputError(f"{predictions}: {len(missing)} clips are missing: {', '.join(missing[:3])} ...{there}")
    given = table.pop("scene_label").map(texts.label)
    table = of_classes(table, truth, predictions, classes)
    rows = score_table(table, truth, predictions)
    other = int((given != table.idxmax(axis=1)).sum())
    if other:
        say(f"{predictions}: the scene_label of {other} of {len(table)} clips is not the class of the highest score, "
            "which decides")  # fmt: skip
    return evaluation.Scored(predictions.stem, {0: rows}, tuple(table.columns))


def _truth(file: Path) -> pd.DataFrame:
    """scene_label, identifier and source_label by clip."""
    truth = completed(texts.read(file, names=NEEDED, needs=NEEDED))
    faults = {"there twice": truth.filename.duplicated(), "without a scene_label": truth.scene_label == ""}
    for fault, rows in faults.items():
        if rows.any():
            raise InputError(f"{file}: {truth.filename[rows].iloc[0]} is {fault} ({rows.sum()} such rows); correct it")
    if (truth.identifier == "").any():
        say(f"{file}: has no identifier for every clip; intervals resample clips in place of locations")
        truth["identifier"] = truth.identifier.where(truth.identifier != "", truth.filename)
    return truth[COLUMNS].assign(scene_label=truth.scene_label.map(texts.label)).set_index("filename")


def score(
    predictions: Path, truth_file: Path, out: Path, against: Path | None = None, classes: tuple[str, ...] = ()
) -> dict[str, float]:
    """Write ``table_3.csv``, ``table_4.csv``, ``overall.json`` and ``confusion_matrix.csv`` into ``out``.

    Parameters
    ----------
    predictions : filename, scene_label, then non-negative scores, a column a class; without a header line the classes
        are in alphabetical order
    truth_file : filename and scene_label; identifier and source_label where known, or by TAU's file names
    against : another system's predictions of the same clips, for the differences from it, paired by clip
    classes : that the truth may not have

    Returns
    -------
    what ``overall.json`` holds

    Raises
    ------
    InputError : a clip is missing, doubled or unknown, a class is unknown, a column is none, or a
        score is no number, NaN or negative.
    """
    truth, classes = _truth(truth_file), tuple(map(texts.label, classes))
    scored = _scored(predictions, truth, classes)
    macro, overall = scored.row("log_loss_macro"), scored.row()
    overall = {k: v for k, v in overall.items() if not k.endswith("_std") and k != "seeds"}
    overall |= {k.replace("log_loss", "log_loss_macro"): macro[k] for k in macro if k in overall and "loss" in k}
    if against is not None:
        overall |= evaluation.difference(scored, _scored(against, truth, classes))
    results = evaluation.Results(out, Recipe("score"), scored.classes, {predictions.stem: scored})
    named = pd.DataFrame(scored.confusion, scored.classes, scored.classes).rename_axis("true").reset_index()
    made = {"table_3": tables.table_3(results), "table_4": tables.table_4(results), "confusion_matrix": named}
    for name, frame in made.items():
        write_file(out / f"{name}.csv", frame.to_csv(index=False))
    known = {k: None if pd.isna(v) else v for k, v in overall.items()}  # no NaN in JSON
    write_file(out / "overall.json", json.dumps(known, indent=1) + "\n")
    return overall
