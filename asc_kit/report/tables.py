"""Tables 1 to 7 of an experiment, each beside the report's own numbers.

Tables 2, 3, 4 and 7 are computed from the runs' ``predictions.tsv`` and the experiment's ``truth.tsv`` alone, so that
a clone without audio recomputes them. A run that is missing is an empty row that says so. Accuracies are fractions
in the CSV files and per cent in the Markdown.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean

import pandas as pd
from torch import nn

from asc_kit import complexity, network
from asc_kit.common import InputError, write_file
from asc_kit.common import tables as texts
from asc_kit.config import SYSTEMS, path
from asc_kit.report import evaluation, predictions
from asc_kit.report.evaluation import DEVICES, DIFFERENCES, EVEN, NETWORKS, SCORES, Results, Scored, devices, paired

PUBLISHED = Path(__file__).parent / "published"


def published(number: int | str) -> pd.DataFrame:
    """The report's table, or "text", in long form, all text.

    table, row, label, column, value, decimals, note; ``source`` and ``how`` say what `asc_kit.report.audit` compares
    the value with.
    """
    name = number if number == "text" else f"table_{number}"
    return pd.read_csv(PUBLISHED / f"{name}.csv", dtype=str, keep_default_na=False)


def _report(number: int, columns: tuple[str, ...]) -> pd.DataFrame:
    """The report's numbers, a row a row, in its order; accuracies as fractions."""
    long = published(number)
    wide = long.pivot(index="row", columns="column", values="value")
    wide = wide.reindex(index=long.row.unique(), columns=columns).astype(float)
    if "accuracy" in wide:
        wide["accuracy"] = (wide["accuracy"] / 100).round(6)
    return wide.add_prefix("report_")


def _row(results: Results, name: str) -> dict[str, object]:
    """A row of Table 2 or 7."""
    config = results.config(name)
    if name in results.scored:
        row = results.scored[name].row() | {"note": results.note(name)}
        if results.kind(name) == "floor" and not config.augmentation.device_response:  # they draw nothing by seed
            row |= {"accuracy_std": "", "log_loss_std": "", "seeds": 1}
    else:
        planned = name in results.recipe.submissions
        row = _missing(f"missing or failed; see submission_{name}/seed_*/05_train.ipynb" if planned
                       else "not part of this experiment")  # fmt: skip
    return {"submission": name, "mel_bins": config.features.n_mels if config else ""} | row


def _missing(note: str) -> dict[str, object]:
    return dict.fromkeys(SCORES, "") | {"n": 0, "seeds": 0, "note": note}


def table_2(results: Results) -> pd.DataFrame:
    """Mel bins: mel_bins, scores, n, seeds, report_accuracy, report_log_loss, note."""
    table = pd.DataFrame([_row(results, name) for name in results.by_mel_bins]).drop(columns="submission")
    return _beside(table, table.mel_bins, 2)


def table_3(results: Results) -> pd.DataFrame:
    """Class-wise scores of the largest network that ran; the average's log loss is the mean over classes."""
    return _parts(results, "scene_label", "scene_label", results.classes, "average", 3)


def table_4(results: Results) -> pd.DataFrame:
    """Device-wise scores, of all clips in the last row; one row ``all`` where devices are not known."""
    scored = results.scored.get(results.best)
    names = devices(scored) if scored else DEVICES
    return _parts(results, "device", "source_label", names, "average" if names else "all", 4)


def _parts(results: Results, key: str, column: str, names: Iterable[str], last: str, number: int) -> pd.DataFrame:
    """A row for the clips of each name in a column, then one for all of them, called ``last``."""
    scored, table = results.scored.get(results.best), []
    for name in (*names, None):
        part = scored.where(column, name) if scored and name else scored
        if part is None or part.clips.empty:
            values = _missing("no clip of it was scored" if scored else "no run is there")
        else:
            macro = name is None and number == 3
            values = part.row("log_loss_macro" if macro else "log_loss") | {"note": results.note(results.best)}
        table.append({key: name or last, "submission": results.best or ""} | values)
    frame = pd.DataFrame(table)
    return _beside(frame, frame[key], number)


def table_7(results: Results) -> pd.DataFrame:
    """Every system; the size is that of the built network for the experiment's number of classes."""
    table = pd.DataFrame([_row(results, name) for name in results.systems])
    table.insert(table.columns.get_loc("n"), "model_size_kb", [size_kb(results, name) for name in results.systems])
    return _beside(table, table.submission, 7, "model_size_kb")


def size_kb(results: Results, name: str) -> float | str:
    """Of a system's built network, for the experiment's classes; empty for a floor and where nothing tells it."""
    if net := _built(results, name):
        return complexity.size_kb(net)
    counts = [about["parameters"] for about in results.abouts.get(name, []) if "parameters" in about]
    return counts[0] * complexity.BYTES / 1024 if counts else ""


def _built(results: Results, name: str) -> nn.Module | None:
    """A system's network for the experiment's classes; None for a floor, and where its class cannot be had."""
    config = results.config(name)
    if config is None or results.kind(name) == "floor":
        return None
    with suppress(InputError):  # a network that is not here, nor trusted by being the recipe's
        if name in results.recipe.names or not config.architecture.foreign:
            return network.build(config, len(results.classes) or 10)


def league(results: Results) -> pd.DataFrame:
    """Every system of a recipe that has a network of someone else's: what it scores, weighs and takes.

    Returns
    -------
    submission, mel_bins, parameters, model_size_kb, macs (of 1 s), training_seconds (of a run, with its scoring),
    scores, n, seeds, `DIFFERENCES` from the first of the report's networks in it, note; no row for other recipes
    """
    names = [name for name in results.systems if name in results.recipe.submissions]
    if not any(results.config(name).architecture.foreign for name in names):
        return pd.DataFrame()
    report, rows = next((name for name in NETWORKS if name in names), None), []
    for name in names:
        row, net = _row(results, name), _built(results, name)
        seconds = [about["seconds"] for about in results.abouts.get(name, []) if "seconds" in about]
        row |= {"model_size_kb": size_kb(results, name), "training_seconds": round(mean(seconds)) if seconds else ""}
        if net:
            macs = complexity.multiply_accumulates(net, results.config(name).features, 1.0)
            row |= {"parameters": complexity.count(net), "macs": macs}
        if name != report and {name, report} <= results.scored.keys():
            row |= evaluation.difference(results.scored[name], results.scored[report])
        rows.append(row)
    costs = ["parameters", "model_size_kb", "macs", "training_seconds"]
    table = pd.DataFrame(rows, columns=["submission", "mel_bins", *costs, *SCORES, "n", "seeds", *DIFFERENCES, "note"])
    return table.astype({"parameters": "Int64", "macs": "Int64"})  # a floor has none


def _beside(table: pd.DataFrame, keys: pd.Series, number: int, *more: str) -> pd.DataFrame:
    report = _report(number, ("accuracy", "log_loss", *more)).reindex(keys.astype(str)).reset_index(drop=True)
    note = table.pop("note")
    return pd.concat([table, report, note], axis=1)


def table_6(results: Results) -> pd.DataFrame:
    """The report's built network of 160 mel bins, row by row, beside the report's numbers for ten classes."""
    table = complexity.table_6(network.Network(SYSTEMS["4"]["n_mels"], len(results.classes) or 10))
    report = _report(6, ("parameters", "size_bytes")).reset_index(drop=True)
    return pd.concat([table, report.astype("Int64")], axis=1)


TABLES: dict[int, tuple[str, Callable[[Results], pd.DataFrame]]] = {
    1: ("Architecture of the models", lambda _: complexity.table_1()),
    2: ("Models with different numbers of mel bins", table_2),
    3: ("Class-wise performance of the largest network here, beside the report's with 160 mel bins", table_3),
    4: ("Device-wise performance of the largest network here, beside the report's with 160 mel bins", table_4),
    5: ("Parameters of MBConv4(I, O) and Fused-MBConv4(I, O)", lambda _: complexity.table_5()),
    6: ("Model size for 160 mel bins", table_6),
    7: ("Submissions and the baseline", table_7),
}
MEASURED = (2, 3, 4, 7)  # whose titles say where the data is synthetic


def write(results: Results, numbers: tuple[int, ...] = tuple(TABLES)) -> dict[int, pd.DataFrame]:
    """Write ``tables/table_<n>.csv`` and ``.md``; returns them by number.

    `MORE` go with Table 7.
    """
    home, synthetic = results.home, results.synthetic
    made = {number: TABLES[number][1](results) for number in numbers}
    for number, table in made.items():
        title = f"Table {number}. {TABLES[number][0]}."
        write_one(table, home, f"table_{number}", title, synthetic and number in MEASURED)
    for name, (title, table) in MORE.items() if 7 in numbers else ():
        write_one(table(results), home, name, title, synthetic)
    return made


def write_one(table: pd.DataFrame, home: Path, name: str, title: str, synthetic: bool = False) -> None:
    """Write ``tables/<name>.csv`` and, for people, ``.md``; a table without rows is none, and that of before goes.

    The title says where the data is ``synthetic``.
    """
    csv, md = (home / "tables" / f"{name}.{ending}" for ending in ("csv", "md"))
    if table.empty:
        csv.unlink(missing_ok=True), md.unlink(missing_ok=True)
        return
    # Ten digits, in columns with empty cells, too: the last of sixteen differs from processor to processor.
    rounded = table.map(lambda x: f"{x:.10g}" if isinstance(x, float) and pd.notna(x) else x)
    write_file(csv, rounded.to_csv(index=False))
    title += " Measured on synthetic data." * synthetic
    write_file(md, f"{title}\n\n{markdown(pretty(table))}\n")


def floors(results: Results) -> pd.DataFrame:
    """What every network that ran has over the floors, and all have over an even guess: `evaluation.paired`."""
    lowest = results.ran("floor")
    others = [name for name in results.systems if name not in lowest]
    pairs = [(name, floor) for floor in lowest for name in others]
    return paired(results, [*pairs, *((name, EVEN) for name in results.systems)])


GROUPS = (("a",), ("s1", "s2", "s3"), ("s4", "s5", "s6"))  # seen most, simulated and seen, simulated and unseen
DEVICE_GROUPS = [GROUPS[:0:-1], (tuple(DEVICES[1:]), ("a",))]  # the report's two claims


def device_groups(results: Results) -> pd.DataFrame:
    """What Table 4 claims, as differences: s4 to s6, unseen in TAU's split, from s1 to s3; and all others from a.

    Returns
    -------
    submission, devices, against, n, n_against, `DIFFERENCES`; empty where a device of either group is missing
    """
    rows = []
    for name in results.systems:
        scored = results.scored.get(name)
        there = set(devices(scored)) if scored else set()
        for these, those in DEVICE_GROUPS:
            if there >= {*these, *those}:
                row = {"submission": name, "devices": ", ".join(these), "against": ", ".join(those)}
                rows.append(row | evaluation.apart(scored, these, those))
    return pd.DataFrame(rows)


def floors_unseen(results: Results) -> pd.DataFrame:
    """`floors` without the clips that chose the recipe; empty where it does not name them (``chosen_on``)."""
    if not (file := results.recipe.chosen_on):
        return pd.DataFrame()
    chosen = texts.read(path(file), "\t", needs=["filename"]).filename

    def without(scored: Scored) -> Scored:
        return replace(scored, seeds={seed: rows.drop(chosen, errors="ignore") for seed, rows in scored.seeds.items()})

    return floors(replace(results, scored={name: without(scored) for name, scored in results.scored.items()}))


def together(results: Results) -> pd.DataFrame:
    """A network and a logistic regression on the same features as one model, `network.Both`, against either alone.

    Returns
    -------
    submission, and (the other part), devices, `SCORES`, n, seeds (that both parts have), against, `DIFFERENCES`;
    devices are all and, where all of them are there, each of `GROUPS`
    """
    rows = []
    for one, two in product(results.ran("network"), results.ran("floor")):
        configs = [config for name in (one, two) if (config := results.config(name))]
        kinds = [config.architecture.network for config in configs]
        if kinds != ["report", "logistic"] or configs[0].features != configs[1].features:
            continue
        model = evaluation.combined(results.home, (one, two), predictions.together)
        if model is None:
            continue
        parts = model, results.scored[one], results.scored[two]
        groups = [("all", parts)]
        if {*sum(GROUPS, ())} <= {*devices(model)}:
            groups += [(", ".join(group), [part.where("source_label", *group) for part in parts]) for group in GROUPS]
        for name, (both, *alone) in groups:
            row = {"submission": one, "and": two, "devices": name} | both.row()
            rows += [row | {"against": part.submission} | evaluation.difference(both, part) for part in alone]
    return pd.DataFrame(rows)


MORE: dict[str, tuple[str, Callable[[Results], pd.DataFrame]]] = {  # beside Table 7
    "floors": ("Against the floors, paired by clip.", floors),
    "league": ("League: what each system scores, weighs and takes.", league),
    "device_groups": ("Devices against devices.", device_groups),
    "floors_unseen": ("Without the clips that chose the recipe. Against the floors, paired by clip.", floors_unseen),
    "together": ("A network and a logistic regression as one model, against either.", together),
}
STYLES = {"accuracy_difference": "{:+.1f}", "log_loss_difference": "{:+.3f}", "accuracy": "{:.1%}",
          "log_loss": "{:.3f}", "_kb": "{:.1f}", "macs": "{:,}", "": "{}"}  # fmt: skip
PARTS = ("", "_low", "_high", "_std")


def pretty(table: pd.DataFrame) -> pd.DataFrame:
    """For people: per cent, three decimals of log loss, intervals (unbroken) and spread in one cell; all text."""
    out = {}
    for name in [name for name in table if not name.endswith(PARTS[1:])]:
        cells = zip(*(table.get(name + part, [""] * len(table)) for part in PARTS))
        title = name.replace("_", " ").replace(" kb", " KB").replace("macs", "MACs")
        title = title.replace("accuracy difference", "accuracy difference, points")
        out[title] = [_cell(name, *cell) for cell in cells]
    if not any(out.get("note", [])):
        out.pop("note", None)
    return pd.DataFrame(out)


def _cell(name: str, *numbers: object) -> str:
    """A value, the limits of its interval and its spread; empty where there is none."""
    style = next(style for part, style in STYLES.items() if part in name)
    scale = 100 if name == "accuracy_difference" else 1  # of fractions: points, not per cent of anything
    texts = ["" if pd.isna(x) else x if isinstance(x, str) else style.format(scale * x) for x in numbers]
    value, low, high, spread = texts
    text = value + (f" [{low.rstrip('%')},\u00a0{high.rstrip('%')}]" if value and low else "")
    return text + (f" ± {spread}" if value and spread else "")


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table of text cells."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("\u00a0", " ") for cell in line) + " |" for line in lines)
