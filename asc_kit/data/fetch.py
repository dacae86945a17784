"""Fetch the TAU data sets: archives of known size and md5, each brought whole, checked and unpacked, or not at all.

Nothing is remembered but by files, so that a fetch may be killed at any moment and started again: ``NAME.zip.part`` is
what has come of an archive, ``NAME.zip`` a right one, and a member that is not as the archive has it is unpacked anew.
"""

import hashlib
import os
import shutil
import time
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import requests
from requests.exceptions import InvalidSchema, InvalidURL

from asc_kit.common import ARCHIVE_FAULTS, InputError, amount, locked, progress, say, tables

REGISTRY = Path(__file__).with_name("tau_registry.tsv")
FORMS = {
    "dataset": (r"\S+", "a name"),
    "filename": (r"[\w+()-][\w .+()-]*", "a plain file name"),  # hidden names are the kit's own
    "url": (r"https?://[^/\s]+/\S*", "an http or https address"),
    "bytes": (r"[1-9][0-9]{0,17}", "a number of bytes"),
    "md5": (r"[0-9a-fA-F]{32}", "32 hexadecimal digits"),
}
UNPACKED = 1.12  # bytes that TAU's audio takes, for one of its archives
CHUNK = 2**16  # bytes; a broken connection loses less than one
TIMEOUT = 30  # seconds without a byte
WAITS = (2, 5, 15, 45)  # seconds before the attempts that follow fruitless ones
LONGEST_WAIT = 300  # seconds, whatever the server asks for
HEADERS = {"User-Agent": "asc_kit", "Accept-Encoding": "identity"}


def fetch(dataset: str, root: Path, registry: Path | None = None, meta_only: bool = False) -> list[Path]:
    """Bring a data set's archives to ``root``, check and unpack them there; what is there and right is left alone.

    Parameters
    ----------
    dataset : as in the registry's first column
    root : folder of the archives, which are kept, and of what they hold; made if need be
    registry : a file for `read_registry`; TAU's by default
    meta_only : leave out the archives with ``.audio.`` in their names

    Returns
    -------
    list of Path : the data set's folders, as the archives name them

    Raises
    ------
    InputError : the registry is at fault, the disk too small, another fetch at work in ``root``, or some archives
        could not be had; then the others are there and unpacked.
    """
    table = read_registry(registry or REGISTRY)
    rows = table[(table.dataset == dataset) & ~(meta_only & table.filename.str.contains(".audio.", regex=False))]
    if rows.empty:
        raise InputError(f"DATASET: {registry or REGISTRY} has no archive of {dataset}{' without audio' * meta_only}; "
                         f"its data sets are {', '.join(table.dataset.unique())}")  # fmt: skip
    try:
        with locked(root / ".fetch.lock", f"--root: another fetch is at work in {root}; let it end", "--root"):
            return _fetch(dataset, list(rows.itertuples(index=False)), root)
    except KeyboardInterrupt:
        raise InputError("interrupted; the same command goes on where it stopped") from None


def read_registry(file: Path) -> pd.DataFrame:
    """Read a TAB separated list of archives: dataset, filename, url, bytes (int), md5; a row an archive.

    Raises
    ------
    InputError : names the file and the line that is at fault.
    """
    table = tables.read(file, "\t", needs=list(FORMS))[list(FORMS)].reset_index(names="line")
    for name, (form, what) in FORMS.items():
        if not (right := table[name].str.fullmatch(form)).all():
            row = table.loc[right.idxmin()]
            raise InputError(f"{file}:{row.line}: {name} {row[name]!r} is not {what}")
    if table.filename.duplicated().any():
        raise InputError(f"{file}: filename {table.filename[table.filename.duplicated()].iloc[0]} is there twice")
    return table.drop(columns="line").assign(bytes=table.bytes.astype("int64"), md5=table.md5.str.lower())


def _fetch(dataset: str, rows: list[Any], root: Path) -> list[Path]:
    wanted = [row for row in progress(rows, "checking archives") if not _is_right(root / row.filename, row)]
    _check_space(dataset, wanted, root)
    failures, folders = [], set()
    for row in rows:
        try:
            if row in wanted:
                _download(row, root)
            folders |= unpack(root / row.filename, root)
        except (InputError, OSError) as error:  # the other archives are fetched all the same
            failures.append(f"{row.filename}: {error}")
            say(failures[-1])
    if failures:
        raise InputError(f"fetch: {len(failures)} of {len(rows)} archives failed: {'; '.join(failures)}")
    return sorted(folders)


def _check_space(dataset: str, wanted: list[Any], root: Path) -> None:
    """Say what is to come; refuse what the disk cannot hold."""
    to_fetch = sum(row.bytes - _size(root / f"{row.filename}.part") for row in wanted)
    to_unpack = UNPACKED * sum(row.bytes for row in wanted)
    free = shutil.disk_usage(root).free
    say(f"{dataset}: {amount(to_fetch)} to fetch, about {amount(to_unpack)} to unpack; {amount(free)} free in {root}")
    if to_fetch + to_unpack > free:
        raise InputError(f"--root: {dataset} needs {amount(to_fetch + to_unpack)} in {root}, where {amount(free)} "
                         "are free; make room, or name a folder of a larger disk")  # fmt: skip


def _is_right(file: Path, row: Any) -> bool:
    if _size(file) != row.bytes:
        return False
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest() == row.md5


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _download(row: Any, root: Path, again: bool = True) -> None:
    """Bring one archive to its place; what lies there stays until the right one replaces it."""
    part, fruitless, most = root / f"{row.filename}.part", 0, 0
    pieces = part.exists()
    while _size(part) < row.bytes:
        try:
            _ask(row, part)
        except (requests.TooManyRedirects, InvalidSchema, InvalidURL) as error:  # the same however often
            raise InputError(f"{row.url} leads nowhere ({_cause(error)}); the registry's address is at fault") from None
        except requests.RequestException as error:
            fruitless = 0 if _size(part) > most else fruitless + 1  # bytes that come again are no progress
            most = max(most, _size(part))
            if fruitless > len(WAITS):
                raise InputError(f"{_cause(error)}; {amount(_size(part))} of {amount(row.bytes)} are here; the same "
                                 "command goes on from there") from None  # fmt: skip
            pieces, asked = True, getattr(error.response, "headers", {}).get("Retry-After", "")
            wait = max(WAITS[max(0, fruitless - 1)], min(int(asked) if asked.isdecimal() else 0, LONGEST_WAIT))
            say(f"{row.filename}: {_cause(error)}; again in {wait} s")
            time.sleep(wait)
    if not _is_right(part, row):
        part.unlink()
        if pieces and again:  # they may be of two files
            say(f"{row.filename}: other bytes than the registry's md5 says; all is fetched again")
            return _download(row, root, again=False)
        raise InputError(f"{row.url} gave other bytes than the registry's md5 says; it has another file, or a damaged "
                         "one")  # fmt: skip
    os.replace(part, root / row.filename)


def _cause(error: BaseException) -> str:
    """What lies at the bottom of nested errors, without addresses and object names."""
    while error.__context__:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error)


def _ask(row: Any, part: Path, whole: bool = False) -> None:
    """One request for what is missing, or all; a server that gives all from the beginning is taken at its word."""
    here = 0 if whole else _size(part)
    ask = HEADERS | ({"Range": f"bytes={here}-"} if here else {})
    with requests.get(row.url, headers=ask, stream=True, timeout=TIMEOUT) as answer:
        code = answer.status_code
        if code == 429 or code >= 500:
            raise requests.HTTPError(f"the server answers {code}", response=answer)
        asked = answer.headers.get("Content-Range", "").startswith(f"bytes {here}-")
        if here and (code == 416 or (code == 206 and not asked)):
            return _ask(row, part, whole=True)
        if not here and code in (206, 416):
            raise InputError(f"{row.url}: the server answers {code}, for which it was not asked")
        if code not in (200, 206):
            raise InputError(f"the server answers {code} ({answer.reason}) for {row.url}")
        start = here if code == 206 else 0
        length = answer.headers.get("Content-Length", "")
        if length and start + int(length) != row.bytes:  # the part stays: this may be a hotel's log-in page
            raise InputError(f"{row.url} has {start + int(length)} bytes where the registry has {row.bytes}")
        bar = progress(None, row.filename, total=row.bytes, initial=start, unit="B", unit_scale=True)
        with part.open("ab" if start else "wb") as file, bar:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > row.bytes:
                    part.unlink()
                    raise InputError(f"more than {row.bytes} bytes come from {row.url}, where the registry has no more")
    if _size(part) == here:
        raise requests.HTTPError("the connection ends early")


def unpack(archive: Path, root: Path) -> set[Path]:
    """Extract the members that are not there yet, or not as the archive has them.

    Parameters
    ----------
    archive, root : a zip file, and the folder that its names count from

    Returns
    -------
    set of Path : the archive's folders in ``root``

    Raises
    ------
    InputError : the archive is damaged, a member lies outside ``root``, or the disk is too small.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            for member in members:
                if not (root / member.filename).resolve().is_relative_to(root.resolve()):
                    raise InputError(f"member {member.filename!r} is outside the folder; nothing is unpacked")
            twice = [name for name, count in Counter(opened.namelist()).items() if count > 1]
            if twice:
                raise InputError(f"member {twice[0]!r} is there twice; nothing of the archive is unpacked")
            there = progress(members, f"comparing {archive.name}")
            missing = [member for member in there if not _is_there(root / member.filename, member)]
            need, free = sum(member.file_size for member in missing), shutil.disk_usage(root).free
            if need > free:
                raise InputError(f"needs {amount(need)} in {root}, where {amount(free)} are free; make room")
            for member in progress(missing, f"unpacking {archive.name}"):
                try:
                    opened.extract(member, root)
                except BaseException:
                    if not member.is_dir():
                        (root / member.filename).unlink(missing_ok=True)  # a part of it
                    raise
    except InputError:  # it is a ValueError, too
        raise
    except ARCHIVE_FAULTS as error:
        raise InputError(f"cannot be unpacked ({' '.join(str(error).split())}); fetch it again") from None
    return {root / Path(member.filename).parts[0] if "/" in member.filename else root for member in members}


def _is_there(file: Path, member: zipfile.ZipInfo) -> bool:
    """Whether a file has a member's size and checksum: a loss of power leaves whole lengths of zeros."""
    if member.is_dir():
        return file.is_dir()
    return file.is_file() and _size(file) == member.file_size and zlib.crc32(file.read_bytes()) == member.CRC
