"""Lists of recordings and tables of their probabilities, without torch, for the command and the workflow.

A manifest is text with one recording a line: the first column of a TAB separated table, such as a data set's
``meta.csv``; a first line ``filename`` is its header. A table is in the DCASE output format. What could not be scored
stands in ``<table>.failed.tsv`` beside it: filename, reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from asc_kit.common import InputError, write_file
from asc_kit.config import digest


def read(file: Path) -> list[str]:
    """The recordings' names in their order.

    Raises
    ------
    InputError : the manifest is missing, not text, or empty, or names a recording twice.
    """
    try:
        with file.open(encoding="utf-8-sig") as lines:  # str.splitlines also ends them at U+0085 and U+2028
            names = [name for line in lines if (name := line.rstrip("\n").split("\t")[0]).strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    names = names[1:] if names[:1] == ["filename"] else names
    if not names:
        raise InputError(f"{file}: names no recording; give one a line")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(f"{file}: names {name} twice; remove one of its lines")
    return names


def row(name: str, probabilities: Iterable[float], classes: tuple[str, ...]) -> str:
    """The line of a recording."""
    values = list(map(float, probabilities))
    return "\t".join((name, classes[values.index(max(values))], *(f"{value:.10g}" for value in values)))


def write(table: Path, classes: tuple[str, ...], rows: list[str], failed: Mapping[str, str]) -> None:
    """Write a table, whole or not at all; and its failures, a reason by recording, where there are any."""
    write_file(table, "\n".join(["\t".join(("filename", "scene_label", *classes)), *rows, ""]))
    if failed:
        write_file(failures_of(table), "\n".join(["filename\treason", *map("\t".join, failed.items()), ""]))
    else:
        failures_of(table).unlink(missing_ok=True)


def failures_of(table: Path) -> Path:
    """Where a table's failures stand."""
    return table.with_name(f"{table.stem}.failed.tsv")


def shards(names: list[str], size: int) -> dict[str, list[str]]:
    """Parts of at most ``size`` names, each called by what it holds, so that a longer manifest keeps its first ones."""
    parts = [names[place : place + size] for place in range(0, len(names), size)]
    return {digest(*part): part for part in parts}


def join(tables: list[Path], target: Path) -> tuple[int, int]:
    """Put the tables that are there one after the other into one, and their failures, line by line.

    Returns
    -------
    recordings that have a row, and that failed
    """
    failures_of(target).unlink(missing_ok=True)
    scored = _append(tables, target)  # a table of before stays where nothing was scored
    return scored, _append(map(failures_of, tables), failures_of(target))


def _append(parts: Iterable[Path], target: Path) -> int:
    """Rows of all tables that are there, below the head of the first; how many."""
    there = [part.read_text(encoding="utf-8").rstrip("\n").split("\n") for part in parts if part.exists()]
    if there:
        write_file(target, "\n".join([there[0][0], *(line for lines in there for line in lines[1:]), ""]))
    return sum(len(lines) - 1 for lines in there)
