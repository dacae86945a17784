"""What 00_start_here shows of the results that are there."""

from pathlib import Path

import pandas as pd

from asc_kit.common import InputError
from asc_kit.report import evaluation, tables
from asc_kit.run.recipes import Recipe

COLUMNS = ["experiment", "data", "runs", "submission", "clips scored", "accuracy", "log loss", "page"]


def state(results: Path) -> pd.DataFrame:
    """The experiments below a folder: how many runs, the largest network's scores with 95 % limits, and the page.

    An experiment whose files do not fit each other is a row that says so in its ``data``.
    """
    return pd.DataFrame([_row(file.parent) for file in sorted(results.glob("*/truth.tsv"))], columns=COLUMNS)


def _row(home: Path) -> dict[str, object]:
    page = home / "index.html"
    row = {"experiment": home.name, "runs": len(list(home.glob("*/seed_*/run.json"))),
           "page": str(page.relative_to(home.parents[1])) if page.exists() else "12_report makes it"}  # fmt: skip
    try:
        found = evaluation.load(home, Recipe(home.name))
    except InputError as error:
        return row | {"data": f"at fault: {error}"}
    if found.best is None:
        return row | {"data": "no run yet"}
    best = tables.pretty(pd.DataFrame([found.scored[found.best].row()])).iloc[0]
    return row | {"data": "synthetic" if found.synthetic else "recordings", "submission": found.best,
                  "clips scored": best["n"], "accuracy": best["accuracy"], "log loss": best["log loss"]}  # fmt: skip
