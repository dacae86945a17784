"""An experiment's ``truth.tsv``: the clips that its runs are scored on, and what keeps other recordings out of it."""

import json
from functools import cache
from pathlib import Path

import pandas as pd

from asc_kit import config as configuration
from asc_kit.common import InputError, locked, write_file
from asc_kit.data.corpus import COLUMNS, Corpus


def write(home: Path, corpus: Corpus, rows: pd.DataFrame) -> None:
    """Add a corpus' evaluation rows to the experiment's ``truth.tsv``.

    Where no run is there yet, rows that the corpus has not go: they are of an attempt with other data.

    Raises
    ------
    InputError : as `refuse_other`.
    """
    file, rows = home / "truth.tsv", rows[COLUMNS]
    with locked(configuration.cache() / "locks" / f"{configuration.digest(str(home))}.truth"):
        refuse_other(home, corpus)
        old = _read(file) if file.exists() else rows[:0]
        rows = pd.concat([old[_known(old, corpus)], rows], ignore_index=True).drop_duplicates()
        if file.exists() and rows.equals(old):
            return
        write_file(file, rows.to_csv(sep="\t", index=False))


def refuse_other(home: Path, corpus: Corpus) -> None:
    """Raise `InputError` where the experiment holds runs of other recordings than a corpus.

    A clone has no record of what made the runs that came with it; but ``truth.tsv`` has their clips' labels and
    locations, ``predictions.tsv`` the clips that a fold scored, and ``run.json`` how many it was trained on.
    """
    runs = sorted(home.glob("*/seed_*/run.json"))
    if not runs or not (home / "truth.tsv").exists():
        return
    truth = _read(home / "truth.tsv")
    if not (known := _known(truth, corpus)).all():
        raise _other(home, f"{truth.filename[~known].iloc[0]} is not among these, or with another label or location")
    split = cache(corpus.split)
    for file in runs:
        about = json.loads(file.read_text())
        config, data = about["config"], about["data"]
        training, evaluation = split(config["fold"], config["folds"], config["split_seed"])
        trained = data["training"] + data["validation"]
        if config["training"]["training_devices"] is None and trained != len(training):
            raise _other(home, f"{file.parent} was trained on {trained} clips, where these have {len(training)}")
        if set(_read(file.with_name("predictions.tsv")).filename) != set(evaluation.filename):
            raise _other(home, f"{file.parent} was scored on others than the {len(evaluation)} clips of these")


def _read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)


def _known(rows: pd.DataFrame, corpus: Corpus) -> pd.Series:
    """Which rows a corpus has, with the same label and location."""
    there = rows.merge(corpus.table[COLUMNS].drop_duplicates(), how="left", indicator=True)._merge.eq("both")
    return there.set_axis(rows.index)


def _other(home: Path, why: str) -> InputError:
    return InputError(f"{home}: holds runs of other recordings ({why}); name another experiment (NAME=mine, or "
                      "--config name=mine), or delete that folder to begin anew")  # fmt: skip
