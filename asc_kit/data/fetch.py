"""Fetch the TAU data sets: archives of known size and md5, each brought whole, checked and unpacked, or not at all.

Nothing is remembered but by files, so that a fetch may be killed at any moment and started again: ``NAME.zip.part`` is
what has come of an archive, ``NAME.zip`` a right one, and a member has its own name only when it is whole.
"""

import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import requests
from requests.exceptions import InvalidSchema, InvalidURL

from asc_kit.common.errors import InputError
from asc_kit.common.files import FULL, amount, locked
from asc_kit.common.progress import progress, say
from asc_kit.data.archives import CHUNK, cause, members_of, size_of, space, unpack

REGISTRY = Path(__file__).with_name("tau_registry.tsv")
FORMS = {
    "dataset": (r"\S+", "a name"),
    "filename": (r"[\w+()-][\w .+()-]*", "a plain file name"),  # hidden names are the kit's own
    "url": (r"https?://[^/\s]+/\S*", "an http or https address"),
    "bytes": (r"[1-9][0-9]{0,17}", "a number of bytes"),
    "md5": (r"[0-9a-fA-F]{32}", "32 hexadecimal digits"),
}
UNPACKED = 1.12  # bytes that TAU's audio takes, for one of its archives
TIMEOUT = 30  # seconds without a byte
WAITS = (2, 5, 15, 45)  # seconds before the attempts that follow fruitless ones
LONGEST_WAIT = 300  # seconds, whatever the server asks for


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
    if root.exists() and not root.is_dir():
        raise InputError(f"--root: {root} is not a folder")
    try:
        with locked(root / ".fetch.lock", f"--root: another fetch is at work in {root}; let it end", "--root"):
            return _fetch(dataset, list(rows.itertuples(index=False)), root)
    except KeyboardInterrupt:
        raise InputError("interrupted; the same command goes on where it stopped") from None
    except OSError as error:
        raise InputError(f"--root: {_reason(error, root)}") from None


def read_registry(file: Path) -> pd.DataFrame:
    """Read a TAB separated list of archives: dataset, filename, url, bytes (int), md5; a row an archive.

    Raises
    ------
    InputError : names the file and the line that is at fault.
    """
    try:
        header, *lines = file.read_text(encoding="utf-8-sig").splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    columns = header.split("\t")
    if absent := [name for name in FORMS if name not in columns]:
        raise InputError(f"{file}:1: no column {', '.join(absent)} (TAB separated: {', '.join(FORMS)})")
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        row = dict.fromkeys(FORMS, "") | dict(zip(columns, line.split("\t")))
        for name, (form, what) in FORMS.items():
            if not re.fullmatch(form, row[name]):
                raise InputError(f"{file}:{number}: {name} {row[name]!r} is not {what}")
        if row["filename"] in rows:
            raise InputError(f"{file}:{number}: filename {row['filename']} is there twice")
        rows[row["filename"]] = row
    table = pd.DataFrame(rows.values(), columns=list(FORMS))
    return table.assign(bytes=table.bytes.astype("int64"), md5=table.md5.str.lower())


def _fetch(dataset: str, rows: list[Any], root: Path) -> list[Path]:
    wanted = [row for row in progress(rows, "checking archives") if not _is_right(row, root)]
    _check_space(dataset, rows, wanted, root)
    failures, folders = [], set()
    for row in rows:
        try:
            if row in wanted:
                _download(row, root)
            folders |= unpack(root / row.filename, root)
        except (InputError, OSError) as error:  # the other archives are fetched all the same
            failures.append(f"{row.filename}: {_reason(error, root)}")
            say(failures[-1])
    if failures:
        raise InputError(f"fetch: {len(failures)} of {len(rows)} archives failed: {'; '.join(failures)}")
    return sorted(folders)


def _is_right(row: Any, root: Path) -> bool:
    return size_of(root / row.filename) == row.bytes and _md5(root / row.filename) == row.md5


def _check_space(dataset: str, rows: list[Any], wanted: list[Any], root: Path) -> None:
    """Say what is to come; refuse what the disk cannot hold."""
    to_fetch, to_unpack = 0, 0
    for row in rows:
        if row in wanted:
            to_fetch += max(0, row.bytes - max(0, size_of(root / f"{row.filename}.part")))
            to_unpack += UNPACKED * row.bytes
        else:
            try:
                to_unpack += space(members_of(root / row.filename, root, whole=False)[1].values())
            except (InputError, OSError):
                pass  # `unpack` will say it
    free = shutil.disk_usage(root).free
    say(f"{dataset}: {len(rows)} archives, {amount(to_fetch)} to fetch, about {amount(to_unpack)} to unpack; "
        f"{amount(free)} free in {root}")  # fmt: skip
    if to_fetch + to_unpack > free:
        raise InputError(f"--root: {dataset} needs {amount(to_fetch + to_unpack)} in {root}, where {amount(free)} "
                         "are free; make room, or name a folder of a larger disk")  # fmt: skip


def _reason(error: Exception, root: Path) -> str:
    if getattr(error.__cause__ or error, "errno", None) in FULL:  # as `replacing` or the system says it
        return f"the disk of {root} is full; make room, and the same command goes on where it stopped"
    return f"{error.filename}: {error.strerror}" if getattr(error, "filename", None) else str(error)


def _download(row: Any, root: Path) -> None:
    """Bring one archive to its place; what lies there stays until the right one replaces it."""
    part = root / f"{row.filename}.part"
    for last in (False, True):
        transfer = _Transfer(part, row.bytes)
        why = transfer.bring(row.url)
        if why is None:
            found = _md5(part)
            if found == row.md5:
                os.replace(part, root / row.filename)
                return
            why = f"md5 {found} where the registry has {row.md5}"
        part.unlink(missing_ok=True)
        if last or not transfer.resumed:  # what came in two pieces may be of two files, and gets one more try
            raise InputError(f"{why}; {row.url} has another file, or a damaged one")


def _md5(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


class _Transfer:
    """The download of one archive: goes on where the part ends, and again where the connection breaks.

    Attributes
    ----------
    part, size : the file it writes, and the bytes it is to have in the end
    resumed : whether the part's bytes came with more than one answer
    """

    def __init__(self, part: Path, size: int) -> None:
        self.part, self.size = part, size
        self.resumed = self.here > 0
        self.session = requests.Session()
        self.session.headers.update({"User-Agent": "asc_kit", "Accept-Encoding": "identity"})

    @property
    def here(self) -> int:
        """Bytes that have come."""
        return max(0, size_of(self.part))

    def bring(self, url: str) -> str | None:
        """Fill the part; what is wrong with it, None where it has its size."""
        fruitless, most = 0, self.here
        while self.here < self.size:
            try:
                self._ask(url)
                if self.here > self.size:
                    return f"more than {self.size} bytes come"
            except (requests.TooManyRedirects, InvalidSchema, InvalidURL) as error:  # the same however often
                raise InputError(f"{url} leads nowhere ({cause(error)}); the registry's address is at fault") from None
            except requests.RequestException as error:
                fruitless = 0 if self.here > most else fruitless + 1  # bytes that come again are no progress
                most = max(most, self.here)
                if fruitless > len(WAITS):
                    raise InputError(f"{cause(error)}; {amount(self.here)} of {amount(self.size)} are here, and the "
                                     "same command goes on from there") from None  # fmt: skip
                asked = error.response.headers.get("Retry-After", "") if error.response is not None else ""
                wait = min(max(WAITS[max(0, fruitless - 1)], int(asked) if asked.isdecimal() else 0), LONGEST_WAIT)
                say(f"{self.part.stem}: {cause(error)}; again in {wait} s")
                time.sleep(wait)
        return None

    def _ask(self, url: str) -> None:
        """One request for what is missing, or for all where the server gave something else before."""
        here = self.here
        ask = {"Range": f"bytes={here}-"} if here else {}
        with self.session.get(url, headers=ask, stream=True, timeout=TIMEOUT) as answer:
            code = answer.status_code
            if code == 429 or code >= 500:
                raise requests.HTTPError(f"the server answers {code}", response=answer)
            if code not in (200, 206, 416):
                raise InputError(f"the server answers {code} ({answer.reason}) for {url}")
            found = re.match(r"bytes (\d*).*/(\d+)$", answer.headers.get("Content-Range", ""))
            start, total = found.groups() if found else ("", answer.headers.get("Content-Length", "") * (code == 200))
            if total.isdecimal() and int(total) != self.size:  # the part stays: this may be a hotel's log-in page
                raise InputError(f"{url} has {total} bytes where the registry has {self.size}")
            if code == 200 or (code == 206 and start == str(here)):
                self.resumed = code == 206 and here > 0
                self._write(answer)
            elif here:
                self.part.unlink()  # the next request is for all
            else:
                raise InputError(f"the server answers {code}, for which it was not asked, for {url}")

    def _write(self, answer: requests.Response) -> None:
        with self.part.open("ab" if self.resumed else "wb") as file, progress(
            None, self.part.stem, total=self.size, initial=file.tell(), unit="B", unit_scale=True
        ) as bar:  # fmt: skip
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > self.size:
                    return
        if self.here < self.size:
            raise requests.HTTPError("the connection ends early", response=answer)
