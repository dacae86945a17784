"""Tables 1 to 7 of an experiment, each beside the report's own numbers.

Tables 2, 3, 4 and 7 are computed from the runs' ``predictions.tsv`` and the experiment's ``truth.tsv`` alone, so that
a clone without audio recomputes them. A run that is missing is an empty row that says so. Accuracies are fractions
in the CSV files and per cent in the Markdown.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from asc_kit import complexity, network
from asc_kit.common.errors import InputError
from asc_kit.common.files import replacing
from asc_kit.config import FLOORS, MEL_BINS, path
from asc_kit.report.evaluation import DEVICES, EVEN, NETWORKS, SCORES, Results, devices, paired
from asc_kit.run.recipes import Recipe

PUBLISHED = Path(__file__).parent / "published"


def published(number: int | str) -> pd.DataFrame:
    """The report's table, or "text", in long form: table, row, label, column, value, decimals, note; all text."""
    name = number if number == "text" else f"table_{number}"
    return pd.read_csv(PUBLISHED / f"{name}.csv", dtype=str, keep_default_na=False)


def _report(number: int, columns: tuple[str, ...]) -> pd.DataFrame:
    """The report's numbers, a row a row; accuracies as fractions."""
    long = published(number)
    wide = long.pivot(index="row", columns="column", values="value").reindex(columns=columns).astype(float)
    if "accuracy" in wide:
        wide["accuracy"] = (wide["accuracy"] / 100).round(6)
    return wide.add_prefix("report_")


def _missing(note: str) -> dict[str, object]:
    return dict.fromkeys(SCORES, "") | {"n": 0, "seeds": 0, "note": note}


def _submission_row(results: Results, name: str) -> dict[str, object]:
    if name in results.scored:
        row = results.scored[name].row() | {"note": results.note(name)}
        if name in FLOORS:  # they draw nothing by seed
            row |= {"accuracy_std": "", "log_loss_std": "", "seeds": 1}
    elif name in results.recipe.submissions:
        row = _missing(f"missing or failed; see submission_{name}/seed_*/05_train.ipynb")
    else:
        row = _missing("not part of this experiment")
    return {"submission": name, "mel_bins": MEL_BINS.get(name, "")} | row


def table_2(results: Results) -> pd.DataFrame:
    """Mel bins: mel_bins, scores, n, seeds, report_accuracy, report_log_loss, note."""
    table = pd.DataFrame([_submission_row(results, name) for name in NETWORKS])
    return _beside(table.drop(columns="submission"), table.mel_bins, 2, ("accuracy", "log_loss"))


def table_3(results: Results) -> pd.DataFrame:
    """Class-wise scores of the largest network that ran; the average's log loss is the mean over classes."""
    rows = [("average", "log_loss_macro", None)]
    rows = [(name, "log_loss", ("scene_label", name)) for name in results.classes] + rows
    return _parts(results, "scene_label", rows, 3)


def table_4(results: Results) -> pd.DataFrame:
    """Device-wise scores, of all clips in the last row; one row ``all`` where devices are not known."""
    scored = results.scored.get(results.best)
    found = devices(scored) if scored else list(DEVICES)
    rows = [(name, "log_loss", ("source_label", name)) for name in found]
    return _parts(results, "device", [*rows, ("average" if found else "all", "log_loss", None)], 4)


def _parts(
    results: Results, key: str, rows: list[tuple[str, str, tuple[str, str] | None]], number: int
) -> pd.DataFrame:
    scored = results.scored.get(results.best)
    table = []
    for name, loss, part in rows:
        chosen = scored.where(*part) if scored and part else scored
        if chosen is None or chosen.clips.empty:
            values = _missing("no clip of it was scored" if scored else "no run is there")
        else:
            values = chosen.row(loss) | {"note": results.note(chosen.submission)}
        table.append({key: name, "submission": results.best or ""} | values)
    frame = pd.DataFrame(table)
    return _beside(frame, frame[key], number, ("accuracy", "log_loss"))


def table_7(results: Results) -> pd.DataFrame:
    """Submissions and baseline; the size is that of the built network for the experiment's number of classes."""
    order = [*FLOORS, "baseline", *NETWORKS]
    unknown = sorted(results.scored.keys() - set(order))
    if unknown:
        raise InputError(f"{results.home / f'submission_{unknown[0]}'}: is no submission of the kit; remove it")
    shown = sorted({"baseline", *NETWORKS, *results.scored, *results.recipe.submissions}, key=order.index)
    table = pd.DataFrame([_submission_row(results, name) for name in shown])
    sizes = [size_kb(name, len(results.classes) or 10) for name in shown]
    table.insert(table.columns.get_loc("n"), "model_size_kb", sizes)
    return _beside(table, table.submission, 7, ("accuracy", "log_loss", "model_size_kb"))


def size_kb(name: str, classes: int) -> float | str:
    """Of a submission's built network, for that many classes; a floor has none."""
    if name in FLOORS:
        return ""
    return complexity.size_kb(network.build(Recipe("size").config(name), classes))


def _beside(table: pd.DataFrame, keys: pd.Series, number: int, columns: tuple[str, ...]) -> pd.DataFrame:
    report = _report(number, columns).reindex(keys.astype(str)).reset_index(drop=True)
    note = table.pop("note")
    return pd.concat([table, report, note], axis=1)


def table_6(results: Results) -> pd.DataFrame:
    """The built network of 160 mel bins, row by row, beside the report's for ten classes."""
    table = complexity.table_6(network.Network(MEL_BINS["4"], len(results.classes) or 10))
    report = _report(6, ("parameters", "size_bytes"))
    report.index = report.index.astype(int)
    report = report.sort_index().reset_index(drop=True).astype("Int64")
    return pd.concat([table, report], axis=1)


TABLES: dict[int, tuple[str, Callable[[Results], pd.DataFrame]]] = {
    1: ("Architecture of the models", lambda _: complexity.table_1()),
    2: ("Models with different numbers of mel bins", table_2),
    3: ("Class-wise performance of the largest network here, beside the report's best", table_3),
    4: ("Device-wise performance of the largest network here, beside the report's best", table_4),
    5: ("Parameters of MBConv4(I, O) and Fused-MBConv4(I, O)", lambda _: complexity.table_5()),
    6: ("Model size for 160 mel bins", table_6),
    7: ("Submissions and the baseline", table_7),
}


def write(results: Results, numbers: tuple[int, ...] = tuple(TABLES)) -> dict[int, pd.DataFrame]:
    """Write ``tables/table_<n>.csv`` and ``.md``; returns them by number."""
    done = {}
    for number in numbers:
        title, make = TABLES[number]
        done[number] = make(results)
        said = of(results.synthetic) if number in (2, 3, 4, 7) else ""
        write_one(done[number], results.home, f"table_{number}", f"Table {number}. {title}.{said}")
    if 7 in numbers:
        said = f"Against the floors, paired by clip.{of(results.synthetic)}"
        write_one(floors(results), results.home, "floors", said)
        write_one(
            floors_unseen(results), results.home, "floors_unseen", f"Without the clips that chose the recipe. {said}"
        )
    return done


def of(synthetic: bool) -> str:
    """What a table's title must say of its data."""
    return " Measured on synthetic data." if synthetic else ""


def write_one(table: pd.DataFrame, home: Path, name: str, title: str) -> None:
    """Write ``tables/<name>.csv`` and, for people, ``.md``; a table without rows is none, and that of before goes."""
    folder = home / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    if table.empty:
        for ending in ("csv", "md"):
            (folder / f"{name}.{ending}").unlink(missing_ok=True)
        return
    with replacing(folder / f"{name}.csv") as part:
        table.to_csv(part, index=False, float_format="%.10g")
    with replacing(folder / f"{name}.md") as part:
        part.write_text(f"{title}\n\n{markdown(pretty(table))}\n")


def floors(results: Results) -> pd.DataFrame:
    """What every network that ran has over the floors, and all have over an even guess: `evaluation.paired`."""
    pairs = [(name, floor) for floor in (*FLOORS, EVEN) for name in (*FLOORS, "baseline", *NETWORKS)]
    return paired(results, [(name, floor) for name, floor in pairs if floor == EVEN or name not in FLOORS])


def floors_unseen(results: Results) -> pd.DataFrame:
    """`floors` without the clips that chose the recipe; empty where it does not name them (``chosen_on``)."""
    if not (file := results.recipe.chosen_on):
        return pd.DataFrame()
    try:
        chosen = pd.read_csv(path(file), sep="\t").filename
    except (OSError, ValueError, AttributeError):
        raise InputError(f"chosen_on: {path(file)} is no table with a column filename") from None
    if chosen.empty:
        raise InputError(
            f"chosen_on: {path(file)} names no clip; name those that chose the recipe, or leave chosen_on out"
        )
    scored = {name: replace(one, clips=one.clips.drop(chosen, errors="ignore")) for name, one in results.scored.items()}
    return floors(replace(results, scored=scored))


STYLES = {"accuracy_difference": "{:+.1f}", "log_loss_difference": "{:+.3f}", "accuracy": "{:.1%}",
          "log_loss": "{:.3f}", "_kb": "{:.1f}", "": "{}"}  # fmt: skip


def pretty(table: pd.DataFrame) -> pd.DataFrame:
    """For people: per cent, three decimals of log loss, intervals (unbroken) and spread in one cell; all text."""
    out = {}
    for name in table:
        if name.endswith(("_low", "_high", "_std")):
            continue
        cells = zip(*(table[name + part] if name + part in table else [""] * len(table)
                      for part in ("", "_low", "_high", "_std")))  # fmt: skip
        shown = (
            name.replace("_", " ").replace(" kb", " KB").replace("accuracy difference", "accuracy difference, points")
        )
        out[shown] = [_cell(name, *cell) for cell in cells]
    if not any(out.get("note", [])):
        out.pop("note", None)
    return pd.DataFrame(out)


def _cell(name: str, value: object, low: object, high: object, spread: object) -> str:
    if pd.isna(value) or value == "":
        return ""
    if name == "accuracy_difference":  # of fractions: points, not per cent of anything
        value, low, high = (100 * pd.to_numeric(part) for part in (value, low, high))
    style = next(style for part, style in STYLES.items() if part in name)
    text = style.format(value)
    if not pd.isna(low) and low != "":
        text += f" [{style.format(low).rstrip('%')},\u00a0{style.format(high).rstrip('%')}]"
    if spread not in ("", None) and not pd.isna(spread):
        text += f" ± {style.format(spread)}"
    return text


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table of text cells."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("\u00a0", " ") for cell in line) + " |" for line in lines)
