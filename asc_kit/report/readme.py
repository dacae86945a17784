"""The README's results, from the committed tables: `python -m asc_kit.report.readme` writes them between its two marks.

A test holds the README against this, so that no number in that part is older than its table.
"""

from pathlib import Path

import pandas as pd

from asc_kit import config as configuration
from asc_kit.config import FLOORS, MEL_BINS
from asc_kit.files import replacing
from asc_kit.report import tables
from asc_kit.report.evaluation import NETWORKS

README = configuration.ROOT / "README.md"
MARKS = ("<!-- results: written by python -m asc_kit.report.readme -->", "<!-- end of results -->")
EXPERIMENTS = {
    "tut2017_full": "TUT 2017, one fold, three seeds",
    "tut2017": "TUT 2017, five folds",
    "tau2022": "TAU 2022, clips of 1 s, six devices, five folds",
}


def results(home: Path) -> str:
    """Tables of the systems, of what they have over the floors, and of the ablations; below ``home``.

    Raises
    ------
    OSError : an experiment's tables are not there
    """
    read = {name: _read(home, name, "table_7").set_index("submission") for name in EXPERIMENTS}
    floors = {name: _read(home, name, "floors") for name in EXPERIMENTS}
    parts = [_systems(read), "Differences from the floors, paired by clip; **bold** where the interval leaves out 0:"]
    parts.append(_over_floors(floors))
    for name, title in EXPERIMENTS.items():
        for more, column in (("ablation", "variant"), ("beyond", "way")):
            if (home / name / "tables" / f"{more}.csv").exists():
                parts += _more(_read(home, name, more), column, f"{title}: [{more}](results/{name}/tables/{more}.md)")
    return "\n\n".join(parts)


def _read(home: Path, name: str, table: str) -> pd.DataFrame:
    return pd.read_csv(home / name / "tables" / f"{table}.csv", dtype={"submission": str})


def _over_floors(floors: dict[str, pd.DataFrame]) -> str:
    """A row a network and floor, a column an experiment."""
    rows = []
    for floor in FLOORS:
        for name in ("baseline", *NETWORKS):
            row = {"accuracy, points; log loss": f"{_system(name)} − {floor}"}
            for experiment, table in floors.items():
                mine = table[(table.submission == name) & (table.against == floor)]
                row[EXPERIMENTS[experiment]] = _difference(mine.iloc[0]) if len(mine) else "–"
            rows.append(row)
    return tables.markdown(pd.DataFrame(rows))


def _more(table: pd.DataFrame, column: str, title: str) -> list[str]:
    """What differs from the recipe, or from a network alone, a row a variant or way that ran."""
    rows = [{title: f"{row[column]}, {row.submission}" if "submission" in table else f"{row[column]} ({row.changes})",
             "accuracy, points; log loss": _difference(row)}
            for _, row in table[table.accuracy_difference.notna()].iterrows()]  # fmt: skip
    return [tables.markdown(pd.DataFrame(rows))] if rows else []


def _difference(row: pd.Series) -> str:
    """Accuracy in points and log loss, each bold where it is more than chance."""
    shown = []
    for name, scale, style in (("accuracy", 100, "+.1f"), ("log_loss", 1, "+.3f")):
        value, low, high = (scale * row[f"{name}_difference{end}"] for end in ("", "_low", "_high"))
        text = f"{value:{style}} [{low:{style}}, {high:{style}}]"
        shown.append(text if low <= 0 <= high else f"**{text}**")
    return "; ".join(shown)


def _system(name: str) -> str:
    return f"{name} ({MEL_BINS[name]} mel bins)" if name in NETWORKS else name


def _systems(read: dict[str, pd.DataFrame]) -> str:
    """Table 7 of every experiment side by side, beside the report's."""
    shown = {name: tables.pretty(table).set_index(table.index) for name, table in read.items()}
    rows = []
    for name in (*FLOORS, "baseline", *NETWORKS):
        row = {"system": _system(name)}
        first = next(table for table in shown.values() if name in table.index).loc[name]
        row["report, TAU 2020"] = _scores(first["report accuracy"], first["report log loss"])
        for experiment, table in shown.items():
            clips = read[experiment].n.max()
            scores = table.loc[name, ["accuracy", "log loss"]] if name in table.index else ("", "")
            row[f"{EXPERIMENTS[experiment]}, {clips} clips"] = _scores(*scores)
        rows.append(row)
    return tables.markdown(pd.DataFrame(rows))


def _scores(accuracy: str, log_loss: str) -> str:
    return f"{accuracy}; {log_loss}" if accuracy else "–"


def write(file: Path = README) -> None:
    """Put `results` between the README's marks."""
    before, _, rest = file.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    with replacing(file) as part:
        part.write_text(f"{before}{MARKS[0]}\n{results(configuration.ROOT / 'results')}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    write()
