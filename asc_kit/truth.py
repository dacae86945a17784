"""An experiment's ``truth.tsv``: the clips that its runs are scored on, and what keeps other recordings out of it."""

from pathlib import Path

import pandas as pd

from asc_kit import config as configuration
from asc_kit.data.corpus import COLUMNS, Corpus
from asc_kit.errors import InputError
from asc_kit.files import locked, replacing


def write(home: Path, rows: pd.DataFrame) -> None:
    """Add evaluation rows to the experiment's ``truth.tsv``.

    Raises
    ------
    InputError : a clip is there already with another label: the experiment was run on another data set.
    """
    with locked(configuration.cache() / "locks" / f"{configuration.digest(str(home))}.truth"):
        _add(home / "truth.tsv", rows[COLUMNS])


def _add(file: Path, rows: pd.DataFrame) -> None:
    if file.exists():
        old = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        rows = pd.concat([old, rows]).drop_duplicates()
        if rows.filename.duplicated().any():
            clip = rows.filename[rows.filename.duplicated()].iloc[0]
            raise InputError(f"{file}: has {clip} with another label or location: another data set; "
                             "name another experiment")  # fmt: skip
        if len(rows) == len(old):
            return
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        rows.to_csv(part, sep="\t", index=False)


def refuse_other(home: Path, corpus: Corpus) -> None:
    """Raise `InputError` where the experiment's ``truth.tsv`` has a clip, label or location that the corpus has not."""
    file = home / "truth.tsv"
    if not file.exists():
        return
    scored = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    known = scored.merge(corpus.table[COLUMNS].drop_duplicates(), how="left", indicator=True)._merge.eq("both")
    if not known.all():
        raise InputError(f"{home}: holds runs of other recordings ({scored.filename[~known].iloc[0]} is not so in "
                         f"{corpus.root}); name another experiment: NAME=mine, or --config name=mine")  # fmt: skip
