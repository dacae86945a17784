"""The results of docs/results.md, from the committed tables: `python -m tools.results` writes them between two marks.

A test holds the page against this, so that no number in that part is older than its table.
"""

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pandas as pd

from asc_kit import config as configuration
from asc_kit.common import replacing
from asc_kit.config import FLOORS, SYSTEMS
from asc_kit.report import evaluation, tables, words
from asc_kit.report.evaluation import EVEN, NETWORKS
from asc_kit.run import recipes

PAGE = configuration.ROOT / "docs" / "results.md"
MARKS = ("<!-- results: written by python -m tools.results -->", "<!-- end of results -->")
EXPERIMENTS = {
    "tut2017_full": "TUT 2017, one fold, three seeds",
    "tut2017": "TUT 2017, five folds",
    "tau2022": "TAU 2022, clips of 1 s, official split, three seeds",
}
TOGETHER = {"tut2017": "TUT 2017, five folds, 392 clips", "tau2022_folds": "TAU 2022, five folds, 745 clips",
            "tau2022": "TAU 2022, official split, three seeds, 275 clips"}  # fmt: skip
MICROPHONES = "TUT 2017, five folds of places and of makers; two seeds, those without microphones one"
SHOWN = ("baseline", *NETWORKS, "robust")
DEVICES = dict(zip(("a, the recorder", "s1 to s3, in training", "s4 to s6, unheard"), tables.GROUPS))


def results(home: Path) -> str:
    """The systems' scores, what they have over logistic regression, ablations, ensembles; from the tables in ``home``.

    Raises
    ------
    OSError : an experiment's tables are not there
    """
    read = {name: _read(home, name, "table_7").set_index("submission") for name in EXPERIMENTS}
    classes = {name: len(_read(home, name, "table_3")) - 1 for name in EXPERIMENTS}  # the last row is the average
    floors = {name: _read(home, name, "floors") for name in EXPERIMENTS}
    parts = [_systems(read, classes), "Differences from the logistic regression, paired by clip; **bold** where the "
             "interval leaves out 0; *floors* has those from an even guess and the SVM:",
             _over_floor(floors), *_unseen(home), "From the baseline:", _over_baseline(home),
             _together(home), _league(home), _microphones(home), _devices(home)]  # fmt: skip
    for name, title in EXPERIMENTS.items():
        if (home / name / "tables" / "ablation.csv").exists():
            table = _read(home, name, "ablation")
            parts += _more(table, table.variant + " (" + table.changes + ")", f"{title}: {_link(name, 'ablation')}")
            parts += _mixups(home, name)
        if (home / name / "tables" / "beyond.csv").exists():
            table = _read(home, name, "beyond")
            ensemble = table.way.str.contains("probabilities")
            names = table.way + ", " + table.submission + " (" + table.size_kb.map("{:.0f} KB)".format)
            parts += _more(
                table[ensemble], names[ensemble], f"{title}: {_link(name, 'beyond')}, against the network alone"
            )
            parts.append(words.CONVEX)
    return "\n\n".join(parts)


def _read(home: Path, name: str, table: str) -> pd.DataFrame:
    return pd.read_csv(home / name / "tables" / f"{table}.csv", dtype={"submission": str})


def _link(experiment: str, table: str, text: str | None = None) -> str:
    return f"[{text or table}](../results/{experiment}/tables/{table}.md)"


def _over_floor(floors: dict[str, pd.DataFrame]) -> str:
    """A row a network, a column an experiment."""
    rows = []
    for name in SHOWN:
        row = {"accuracy, points; log loss": f"{_system(name)} − logistic"}
        for experiment, table in floors.items():
            mine = table[(table.submission == name) & (table.against == "logistic")]
            row[_link(experiment, "floors", EXPERIMENTS[experiment])] = _difference(mine.iloc[0]) if len(mine) else "–"
        rows.append(row)
    return tables.markdown(pd.DataFrame(rows))


def _over_baseline(home: Path) -> str:
    """The same from the challenge's baseline, by the predictions of the experiments that have it."""
    names = [name for name in EXPERIMENTS if (home / name / "submission_baseline").is_dir()]
    scored = {name: evaluation.load(home / name, recipes.load(f"config/{name}.yaml")).scored for name in names}
    heads = {name: _link(name, "table_7", EXPERIMENTS[name]) for name in names}
    rows = []
    for network in NETWORKS:
        row = {"accuracy, points; log loss": f"{_system(network)} − baseline"}
        for name, found in scored.items():
            row[heads[name]] = _difference(evaluation.difference(found[network], found["baseline"]))
        rows.append(row)
    return tables.markdown(pd.DataFrame(rows))


def _unseen(home: Path) -> list[str]:
    """The same without the clips that chose a recipe, where it names them."""
    lines = []
    for name, title in EXPERIMENTS.items():
        if (home / name / "tables" / "floors_unseen.csv").exists():
            table = _read(home, name, "floors_unseen").query("against == 'logistic' and submission in @NETWORKS")
            if table.empty:
                continue
            found = [f"{_system(row.submission)} − logistic: {_difference(row)}" for _, row in table.iterrows()]
            lines.append(f"On the {table.n.iloc[0]} clips that did not choose the recipe ({title}), {'; '.join(found)} "
                         f"({_link(name, 'floors_unseen')}).")  # fmt: skip
    return lines


def _league(home: Path) -> str:
    """The report's network beside three of the field, with what they have over it."""
    table, rows = _read(home, "league", "league"), []
    shown = tables.pretty(table)
    for index, row in table.iterrows():
        rows.append({_link("league", "league", "TAU 2022, official split, one seed"): _system(row.submission),
                     "parameters": _count(row.parameters), "multiply-accumulates, 1 s": _count(row.macs),
                     "accuracy; log loss": f"{shown.accuracy[index]}; {shown['log loss'][index]}",
                     "difference from 2": "–" if row.submission == "2" else _difference(row)})  # fmt: skip
    return tables.markdown(pd.DataFrame(rows))


def _microphones(home: Path) -> str:
    """The recipe for few clips at places, and through microphones, that training never heard."""
    table, rows = _read(home, "small_folds", "microphones"), []
    shown = tables.pretty(table)
    for index, row in table.iterrows():
        least = "" if pd.isna(row.least_accuracy) else f" (least {row.least_accuracy:.1%})"
        rows.append({_link("small_folds", "microphones", MICROPHONES): f"{row.system}, by {row.through}",
                     "accuracy; log loss": f"{shown.accuracy[index]}{least}; {shown['log loss'][index]}",
                     "difference from the same without microphones":
                         _difference(row) if pd.notna(row.accuracy_difference) else "–"})  # fmt: skip
    return tables.markdown(pd.DataFrame(rows))


def _together(home: Path) -> str:
    """The mean of the 64-bin network's and the logistic regression's log probabilities, as `network.Both` gives it."""
    rows = []
    for name, title in TOGETHER.items():
        over = _pair(home, name, "2", "logistic").query("devices == 'all'").set_index("against")
        shown = tables.pretty(over)
        row = {"both: 2 (64 mel bins) and logistic": _link(name, "together", title),
               "accuracy; log loss": f"{shown.accuracy[0]}; {shown['log loss'][0]}"}  # fmt: skip
        rows.append(row | {f"both − {alone}": _difference(row) for alone, row in over.iterrows()})
    return tables.markdown(pd.DataFrame(rows))


def _pair(home: Path, name: str, one: str, two: str) -> pd.DataFrame:
    """The rows of two systems as one model."""
    table = _read(home, name, "together")
    return table[(table.submission == one) & (table["and"] == two)]


def _devices(home: Path) -> str:
    """TUT 2017 through simulated devices: each system on the recorder, and on devices seen and unseen in training."""
    scored = evaluation.load(home / "tut2017_devices", recipes.load("config/tut2017_devices.yaml")).scored
    rows, head = [], _link("tut2017_devices", "table_7", "TUT 2017 through SIMULATED devices, one fold, one seed")
    for name, system in scored.items():
        row = {head: _system(name)}
        for title, devices in DEVICES.items():
            part = tables.pretty(pd.DataFrame([system.where("source_label", *devices).row()]))
            row[title] = f"{part.accuracy[0]}; {part['log loss'][0]}"
        rows.append(row)
    for one, two in product(("2", "robust_network"), ("logistic", "robust_logistic")):
        row = {head: _link("tut2017_devices", "together", f"both: {one} and {two}")}
        both = _pair(home, "tut2017_devices", one, two).drop_duplicates("devices").set_index("devices")
        for title, devices in DEVICES.items():
            part = tables.pretty(both.loc[[", ".join(devices)]])
            row[title] = f"{part.accuracy[0]}; {part['log loss'][0]}"
        rows.append(row)
    return tables.markdown(pd.DataFrame(rows))


def _count(number: float) -> str:
    return "–" if pd.isna(number) else f"{number:,.0f}"


def _mixups(home: Path, name: str) -> list[str]:
    """The report's mixup against the standard one, where both ran."""
    if not (home / name / "tables" / "ablation_pairs.csv").exists():
        return []
    table = _read(home, name, "ablation_pairs")
    rows = table[(table.variant == "only_modified_mixup") & (table.against == "only_standard_mixup")]
    return [f"only_modified_mixup − only_standard_mixup: {_difference(row)}; any two others: "
            f"{_link(name, 'ablation_pairs')}."
            for _, row in rows.iterrows()]  # fmt: skip


def _more(table: pd.DataFrame, names: pd.Series, title: str) -> list[str]:
    """Differences from the recipe, or from a network alone, a row a variant or way that ran."""
    rows = [{title: names[index], "accuracy, points; log loss": _difference(row)}
            for index, row in table[table.accuracy_difference.notna()].iterrows()]  # fmt: skip
    return [tables.markdown(pd.DataFrame(rows))] if rows else []


def _difference(row: Mapping[str, float]) -> str:
    """Accuracy in points and log loss, each bold where it is more than chance."""
    shown = []
    for name, scale, style in (("accuracy", 100, "+.1f"), ("log_loss", 1, "+.3f")):
        value, low, high = (scale * row[f"{name}_difference{end}"] for end in ("", "_low", "_high"))
        text = f"{value:{style}} [{low:{style}}, {high:{style}}]"
        shown.append(text if low <= 0 <= high else f"**{text}**")
    return "; ".join(shown)


def _system(name: str) -> str:
    return f"{name} ({SYSTEMS[name]['n_mels']} mel bins)" if name in NETWORKS else name


def _systems(read: dict[str, pd.DataFrame], classes: dict[str, int]) -> str:
    """Table 7 of every experiment side by side, beside the report's."""
    shown = {name: tables.pretty(table).set_index(table.index) for name, table in read.items()}
    guess = {name: f"{1 / count:.1%}; {math.log(count):.3f}" for name, count in classes.items()}
    heads = {
        name: _link(name, "table_7", f"{title}, {read[name].n.max()} clips") for name, title in EXPERIMENTS.items()
    }
    rows = [
        {"system": EVEN, "report, TAU 2020": f"10.0%; {math.log(10):.3f}"} | {heads[name]: guess[name] for name in read}
    ]
    for name in (*FLOORS, *SHOWN):
        row = {"system": _system(name)}
        first = next(table for table in shown.values() if name in table.index).loc[name]
        row["report, TAU 2020"] = _scores(first["report accuracy"], first["report log loss"])
        for experiment, table in shown.items():
            scores = table.loc[name, ["accuracy", "log loss"]] if name in table.index else ("", "")
            row[heads[experiment]] = _scores(*scores)
        rows.append(row)
    return tables.markdown(pd.DataFrame(rows))


def _scores(accuracy: str, log_loss: str) -> str:
    return f"{accuracy}; {log_loss}" if accuracy else "–"


def write(file: Path = PAGE) -> None:
    """Put `results` between the page's marks."""
    before, _, rest = file.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    with replacing(file) as part:
        part.write_text(f"{before}{MARKS[0]}\n{results(configuration.ROOT / 'results')}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    write()
