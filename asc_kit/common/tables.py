"""Tables that people bring as separated text, whatever wrote it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from asc_kit.common.errors import InputError
from asc_kit.common.progress import say

SEPARATED = {"\t": "TAB", "\t,;": "TAB, comma or semicolon"}


def read(file: Path, separators: str = "\t,;", names: Sequence[str] = (), needs: Sequence[str] = ()) -> pd.DataFrame:
    """Text in cells, without blanks around it; the index are the numbers of the lines.

    Columns are called as `label` writes what the first line names them; one without a name is left out.

    Parameters
    ----------
    separators : of which the one counts that stands most often in the first line; with TAB alone, a row is a line
    names : of the columns, where the first line is no header since it begins with a file's name
    needs : columns that it must have, and a row

    Raises
    ------
    InputError : the file is missing, empty or no such table, names a column twice, or lacks what it needs.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({getattr(error, 'strerror', 'it is no UTF-8 text')})") from None
    rows = _rows(file, text, separators)
    if not rows:
        raise InputError(f"{file}: is empty; give it a line that names the columns, and one a file")
    first = next(iter(rows.values()))
    for line, row in rows.items():
        if any(row[len(first) :]):
            raise InputError(f"{file}: line {line} has more fields than its first line names; name every column there")
    table = pd.DataFrame([(row + [""] * len(first))[: len(first)] for row in rows.values()], list(rows))
    bare = 0 < len(first) <= len(names) and Path(first[0]).suffix
    table.columns = names[: len(first)] if bare else list(map(label, first))
    if "" in table:
        say(f"{file}: a column without a name, as of an index, is left out")
    table = table.iloc[0 if bare else 1 :].drop(columns="", errors="ignore")
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise InputError(f"{file}: its first line names the column {twice} twice (Bus is bus); give each its own name")
    if missing := [name for name in needs if name not in table]:
        raise InputError(
            f"{file}: its first line names no column {missing[0]!r} (it begins {first[0]!r} and has "
            f"{len(first)} cells); it needs {', '.join(needs)}, {SEPARATED[separators]} separated"
        )
    if needs and table.empty:
        raise InputError(f"{file}: has no rows; give one a file")
    return table


def label(text: str) -> str:
    """A name as TAU writes it: "Street, pedestrian" and "street pedestrian" are street_pedestrian."""
    return "_".join(text.lower().replace(",", " ").replace("-", " ").split())


def _rows(file: Path, text: str, separators: str) -> dict[int, list[str]]:
    """Line -> cells of every row that is not blank."""
    rows, line = {}, 0
    separator = max(separators, key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        for row in reader:
            odd = reader.line_num > line + 1 or any(cell.count('"') % 2 for cell in row)
            if odd and separators == "\t":
                raise csv.Error
            if any(cells := [cell.strip() for cell in row]):
                rows[line + 1] = cells
            line = reader.line_num
    except csv.Error:
        raise InputError(f"{file}: line {line + 1} has a quotation mark without its pair; remove it") from None
    return rows
