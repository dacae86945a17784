"""An experiment's ``truth.tsv``: the clips that its runs are scored on, and what keeps other recordings out of it."""

import json
from pathlib import Path

import pandas as pd

from asc_kit import config as configuration
from asc_kit.common.errors import InputError
from asc_kit.common.files import locked, replacing
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
        whole = pd.concat([old[_known(old, corpus)], rows]).drop_duplicates()
        if file.exists() and len(whole) == len(old) and _known(old, corpus).all():
            return
        home.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            whole.to_csv(part, sep="\t", index=False)


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
    folds: dict[tuple[int, int, int], tuple[int, set[str]]] = {}
    for file in runs:
        about = json.loads(file.read_text())
        fold = tuple(about["config"][name] for name in ("fold", "folds", "split_seed"))
        if fold not in folds:
            training, evaluation = corpus.split(*fold)
            folds[fold] = len(training), set(evaluation.filename)
        count, clips = folds[fold]
        trained = about["data"]["training"] + about["data"]["validation"]
        by_all = about["config"]["training"]["training_devices"] is None
        if by_all and trained != count:
            raise _other(home, f"{file.parent} was trained on {trained} clips, where these have {count}")
        if set(_read(file.with_name("predictions.tsv"), ["filename"]).filename) != clips:
            raise _other(home, f"{file.parent} was scored on others than the {len(clips)} clips of these")


def _read(file: Path, columns: list[str] | None = None) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, usecols=columns)


def _known(rows: pd.DataFrame, corpus: Corpus) -> pd.Series:
    """Which rows a corpus has, with the same label and location."""
    there = rows.merge(corpus.table[COLUMNS].drop_duplicates(), how="left", indicator=True)._merge.eq("both")
    return there.set_axis(rows.index)


def _other(home: Path, why: str) -> InputError:
    return InputError(f"{home}: holds runs of other recordings ({why}); name another experiment (NAME=mine, or "
                      "--config name=mine), or delete that folder to begin anew")  # fmt: skip
