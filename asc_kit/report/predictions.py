"""A system's ``predictions.tsv`` and the ``truth.tsv`` that it is scored against, read and refused by name."""

import json
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asc_kit import metrics
from asc_kit.common import InputError, say
from asc_kit.config import Config
from asc_kit.data.check import TRAINING_A
from asc_kit.data.corpus import COLUMNS
from asc_kit.run.recipes import Recipe


def read_truth(file: Path) -> pd.DataFrame:
    """scene_label, identifier and source_label by clip."""
    clips = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    if missing := [column for column in COLUMNS if column not in clips]:
        raise InputError(f"{file}: has no column {missing[0]!r}; it needs {', '.join(COLUMNS)}, TAB separated, a "
                         "cell blank where it is not known")  # fmt: skip
    return clips[COLUMNS].set_index("filename")


def is_synthetic(home: Path) -> bool:
    """Whether a run of the experiment had data of the kit's own."""
    return any(json.loads(file.read_text())["data"]["synthetic"] for file in home.glob("*/seed_*/run.json"))


def about(file: Path) -> dict[str, Any]:
    """A ``run.json``; what was written before a switch was there has its default."""
    values = json.loads(file.read_text())
    return values | {"config": Config.from_dict(values["config"]).as_dict()}


def system(file: Path) -> str:
    """The system, or the variant of an ablation, of a file in a run's folder."""
    return file.parent.parent.name.removeprefix("submission_").removeprefix("ablation_")


def place(file: Path) -> tuple[int, int]:
    """Seed and fold of a file in a run's folder; `InputError` where the folder is not named as a run's."""
    found = re.fullmatch(r"seed_(\d+)(?:_fold_(\d+))?", file.parent.name)
    if not found:
        raise InputError(f"{file.parent}: is not named seed_<k> or seed_<k>_fold_<f>, as a run is; move it elsewhere")
    return int(found[1]), int(found[2] or 1)


def missing(recipe: Recipe, files: Iterable[Path]) -> str:
    """How many of a recipe's seeds and folds have no such file, for a note; empty where all have."""
    planned = set(product(recipe.seeds, recipe.fold))
    count = len(planned - set(map(place, files)))
    return f"{count} of {len(planned)} runs are missing" if count else ""


def score_file(file: Path, truth: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of `Scored.seeds` for one ``predictions.tsv``, and its classes."""
    table = read_probabilities(file, truth)
    return score_table(table, truth, file), tuple(table.columns)


def read_probabilities(file: Path, truth: pd.DataFrame) -> pd.DataFrame:
    """The probabilities of a ``predictions.tsv``: a row a clip (its name is the index), a column a class."""
    try:
        table = pd.read_csv(file, sep="\t", index_col="filename").drop(columns="scene_label")
    except (KeyError, ValueError) as error:
        raise InputError(f"{file}: is no predictions.tsv ({' '.join(str(error).split())})") from None
    return of_classes(table, truth, file)


def together(one: pd.DataFrame, two: pd.DataFrame) -> pd.DataFrame:
    """The mean of two systems' log probabilities, clip by clip, as `asc_kit.network.Both` gives it; the tables' form.

    Parameters
    ----------
    one, two : probabilities of the same clips, a row a clip (its name is the index), a column a class
    """
    with np.errstate(divide="ignore"):  # of a class that a fold had no clip of
        logits = (np.log(one) + np.log(two.loc[one.index, one.columns])) / 2
    return pd.DataFrame(metrics.softmax(logits.to_numpy()), one.index, one.columns)


def of_classes(table: pd.DataFrame, truth: pd.DataFrame, file: Path, named: tuple[str, ...] = ()) -> pd.DataFrame:
    """The columns of predictions that are classes, as numbers.

    Classes are those of the truth, of TAU, those ``named`` and those of the model in the ``run.json`` beside the file.
    Another column is left out, and that is said, where the classes are all named.

    Raises
    ------
    InputError : a column that may be a class; a class without a column; a score that is no number.
    """
    run = file.with_name("run.json")
    named = {*named, *(json.loads(run.read_text()).get("classes", ()) if run.exists() else ())}
    others = [name for name in table if name not in {*truth.scene_label, *TRAINING_A, *named}]
    if missing := sorted({*truth.scene_label[truth.index.isin(table.index)], *named} - set(table)):
        hint = f" (no class are {', '.join(map(repr, others))})" if others else ""
        raise InputError(f"{file}: has no column for the class {missing[0]!r}{hint}")
    if others and not named:
        raise InputError(f"{file}: column {others[0]!r} is no class of the truth; leave it out, or name all classes "
                         "(--classes, or the run.json beside it)")  # fmt: skip
    for name in others:
        say(f"{file}: column {name!r} is no class and is left out")
    table = table.drop(columns=others)
    classes = table.apply(pd.to_numeric, errors="coerce")
    for name in classes:
        for clip, text in table[name][classes[name].isna() & table[name].notna()].items():
            raise InputError(f"{file}: column {name!r} holds {text!r} at {clip}; scores must be numbers")
    return classes


def score_table(table: pd.DataFrame, truth: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Rows of `Scored.seeds`.

    Parameters
    ----------
    table : probabilities, a row a clip (its name is the index), a column a class
    truth : scene_label, identifier, source_label by clip; may hold more clips
    file : where the table is from, for messages
    """
    classes = list(table.columns)
    unknown = table.index.difference(truth.index)
    if len(unknown):
        raise InputError(f"{file}: {unknown[0]} is not in the truth ({len(unknown)} such clips)")
    if table.index.duplicated().any():
        raise InputError(f"{file}: {table.index[table.index.duplicated()][0]} is there twice")
    rows = truth.loc[table.index].copy()
    rows["label"] = rows.scene_label.map(classes.index)
    try:
        probabilities, labels = metrics.validate(table.to_numpy(), rows.label.to_numpy())
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    rows["predicted"] = probabilities.argmax(axis=1)
    rows["correct"] = (rows.predicted == rows.label).astype(float)
    rows["loss"] = metrics.clip_losses(probabilities, labels)
    return rows
