"""Lists of recordings and tables of their probabilities, without torch, for the command and the workflow.

A manifest is text with one recording a line: the first column of a TAB separated table, such as a data set's
``meta.csv``; a first line ``filename`` is its header. A table is in the DCASE output format. What could not be scored
stands in ``<table>.failed.tsv`` beside it: filename, reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from asc_kit.common.errors import InputError
from asc_kit.common.files import replacing
from asc_kit.config import digest


def read(file: Path) -> list[str]:
    """The recordings' names in their order.

    Raises
    ------
    InputError : the manifest is missing, not text, or empty, or names a recording twice.
    """
    lines = _lines(file)
    names = [name for line in lines if (name := line.split("\t")[0]).strip()]
    names = names[1:] if names[:1] == ["filename"] else names
    if not names:
        raise InputError(f"{file}: names no recording; give one a line")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(f"{file}: names {name} twice; remove one of its lines")
    return names


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # splitlines also ends them at U+0085 and U+2028
        return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None


def rows(table: Path, classes: tuple[str, ...]) -> dict[str, str]:
    """The lines of a table by recording; none where there is no table yet.

    Raises
    ------
    InputError : it is no table of these classes.
    """
    if not table.exists():
        return {}
    head, *lines = _lines(table) or [""]
    if head != header(classes):
        raise InputError(f"{table}: is there, and no table of the classes {', '.join(classes)}; name another file")
    return {line.split("\t")[0]: line for line in lines}


def header(classes: tuple[str, ...]) -> str:
    """The first line of a table."""
    return "\t".join(("filename", "scene_label", *classes))


def row(name: str, probabilities: Iterable[float], classes: tuple[str, ...]) -> str:
    """The line of a recording."""
    values = list(map(float, probabilities))
    return "\t".join((name, classes[values.index(max(values))], *(f"{value:.10g}" for value in values)))


def write(table: Path, head: str, names: list[str], scored: Mapping[str, str], failed: Mapping[str, str]) -> None:
    """Write a table, whole or not at all, in the order of ``names``; and its failures where there are any."""
    with replacing(table) as part:
        part.write_text("\n".join([head, *(scored[name] for name in names if name in scored)]) + "\n", encoding="utf-8")
    failures = failures_of(table)
    if not failed:
        failures.unlink(missing_ok=True)
        return
    with replacing(failures) as part:
        lines = ["filename\treason", *(f"{name}\t{failed[name]}" for name in failed)]
        part.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")  # a folder's name


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
    there = [table for table in tables if table.exists()]
    scored = _append(there, target) if there else 0  # a table of before stays where nothing was scored
    failures = [failures_of(table) for table in tables if failures_of(table).exists()]
    failures_of(target).unlink(missing_ok=True)
    return scored, _append(failures, failures_of(target)) if failures else 0


def _append(parts: list[Path], target: Path) -> int:
    count = 0
    with replacing(target) as whole, whole.open("w", encoding="utf-8") as sink:
        for number, part in enumerate(parts):
            with part.open(encoding="utf-8") as source:
                head = next(source)
                sink.write(head if number == 0 else "")
                for line in source:
                    sink.write(line)
                    count += 1
    return count
