"""Your own recordings as a data set in the DCASE layout: cut into clips of one length, in the cache.

Recordings have any length and a data set's clips one; a clip here knows its recording, and recordings of one place
stay on one side of the split.
"""

import csv
import hashlib
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import soundfile

from asc_kit import config
from asc_kit.common.errors import InputError
from asc_kit.common.files import locked
from asc_kit.common.progress import progress, say
from asc_kit.data import audio

COLUMNS = ("filename", "scene_label", "identifier", "source_label")
SECONDS = (1.0, 10.0)  # shortest clip, and the usual one: TAU's


@dataclass(frozen=True)
class Recording:
    """A file, its class, its place and its device."""

    file: Path
    scene_label: str
    identifier: str
    source_label: str = ""


def build(source: str | Path, seconds: float | None = None) -> Path:
    """Make a data set of recordings; one that is there already is left as it is.

    Parameters
    ----------
    source : a folder whose sub-folders are named by class, with recordings in them or, a folder deeper, in folders
        named by place, at any depth there; or a CSV file with filename, scene_label and, where known, identifier
        (place) and source_label
    seconds : length of a clip; by default 10, or the shortest recording's length where that is less

    Returns
    -------
    the data set's folder, under ``$ASC_CACHE``

    Raises
    ------
    InputError : no recordings there, a file that cannot be read, or one shorter than a clip.
    """
    source = Path(source)
    recordings = _listed(source) if source.is_file() else _found(source.resolve())
    check_classes(source, sorted({recording.scene_label for recording in recordings}))
    if len({recording.identifier for recording in recordings}) == len(recordings) > 1:
        say("each recording counts as a place of its own: no two are in one folder below their class's, or have one "
            "identifier")  # fmt: skip
    with progress(recordings, "reading headers") as bar:
        lengths = {recording.file: _seconds(recording.file) for recording in bar}
    shortest = min(recordings, key=lambda recording: lengths[recording.file])
    limit = SECONDS[0] if seconds is None else seconds
    if lengths[shortest.file] < limit:
        raise InputError(f"{shortest.file}: lasts {lengths[shortest.file]:.2f} s, shorter than a clip of {limit:g} s; "
                         "take it out")  # fmt: skip
    if seconds is None:
        seconds = min(SECONDS[1], lengths[shortest.file])
        if seconds < SECONDS[1]:
            say(f"clips are {seconds:.2f} s long, as the shortest recording, {shortest.file}")
    folder = config.cache() / "own" / f"{_plain(source.resolve().stem)}-{_key(recordings, seconds)}"
    with locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            _cut(recordings, seconds, folder)
    return folder


def sound_files(folder: Path) -> tuple[list[Path], list[OSError]]:
    """What its ending calls a recording, in a folder and those below it, in alphabetical order; nothing hidden.

    Linked folders are followed, but not round a circle. The errors are of folders that cannot be read.
    """
    found: list[Path] = []
    errors: list[OSError] = []
    for here, folders, files in os.walk(folder, onerror=errors.append, followlinks=True):
        above = Path(here).parents[: len(Path(here).relative_to(folder).parts)]
        circle = any(parent.samefile(here) for parent in above)
        folders[:] = [] if circle else [name for name in folders if name[0] != "."]
        found += [Path(here, name) for name in files if not circle and name[0] != "."]  # a pipe is a fault
    return sorted(file for file in found if file.suffix.lower() in audio.SUFFIXES | audio.BY_FFMPEG), errors


def check_classes(file: Path, names: list[str]) -> None:
    """Raise `InputError` where a class' name cannot be shown, or two differ in case or spaces alone."""
    seen: dict[str, str] = {}
    for name in names:
        if not name.isprintable():
            raise InputError(f"{file}: the class {name!r} holds a character that is not shown; rename it")
        if (other := seen.setdefault(" ".join(name.lower().split()), name)) != name:
            raise InputError(
                f"{file}: the classes {other!r} and {name!r} differ in case or spaces alone; give one name"
            )


def _found(source: Path) -> list[Recording]:
    recordings, loose = [], 0
    files, errors = sound_files(source)
    if errors:
        raise InputError(f"{errors[0].filename}: cannot be read ({errors[0].strerror}); give it the right to be, or "
                         "move it away")  # fmt: skip
    for file in files:
        parts = file.relative_to(source).parts
        loose += len(parts) == 1
        if len(parts) > 1:  # class / place / ... / recording, or class / recording, each then a place of its own
            recordings.append(Recording(file, parts[0], "/".join(parts[:2])))
    if not recordings:
        there = f"{loose} recordings lie in it, not in folders named by class" if loose else "no recordings in it"
        raise InputError(f"dataset_root: {source}: neither meta.csv nor folders of recordings named by class "
                         f"({there}); 01_corpus shows both forms")  # fmt: skip
    if loose:
        say(f"warning: {loose} recordings lie in {source} itself and have no class; left out")
    return recordings


def _listed(source: Path) -> list[Recording]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as handle:
            head = handle.readline()
            handle.seek(0)
            reader = csv.DictReader(handle, delimiter=max("\t;,", key=head.count))
            rows = [(reader.reader.line_num, row) for row in reader]  # DictReader's own stops at blank lines
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source}: cannot be read as a CSV file ({error})") from None
    home, recordings = source.parent.resolve(), []
    for number, row in rows:
        if None in row:
            raise InputError(f"{source}: line {number} has more fields than the first line names; quote a field that "
                             f"holds what separates them ({reader.reader.dialect.delimiter!r})")  # fmt: skip
        name, label, place, device = ((row.get(key) or "").strip() for key in COLUMNS)
        if not name or not label:
            raise InputError(f"{source}: line {number} needs filename and scene_label; its columns are "
                             f"{', '.join(filter(None, row))}")  # fmt: skip
        recordings.append(Recording(home / name, label, place or name, device))
    if not recordings:
        raise InputError(f"{source}: lists no recording; give filename and scene_label, a line a recording")
    if twice := [name for name, count in Counter(recording.file for recording in recordings).items() if count > 1]:
        raise InputError(f"{source}: {twice[0]} is listed twice; remove one of its lines")
    return recordings


def _seconds(file: Path) -> float:
    try:
        count, rate = audio.frames(file)
    except UnicodeError:  # soundfile's, or of ffmpeg's words about it
        raise InputError(f"{file}: its name is not UTF-8; rename it") from None
    return count / rate


def _plain(name: str) -> str:
    """A name that text, and soundfile, can hold: bytes that are no UTF-8 are spelt out."""
    return name.encode(errors="backslashreplace").decode()


def _short(name: str) -> str:
    """So much of it that a file system takes it with a number at either end."""
    return _plain(name).encode()[:200].decode(errors="ignore")


def _key(recordings: list[Recording], seconds: float) -> str:
    digest = hashlib.sha256(f"{seconds}".encode())
    for recording in recordings:
        status = recording.file.stat()
        digest.update(f"\n{recording} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]


def _cut(recordings: list[Recording], seconds: float, folder: Path) -> None:
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)  # of a build that was killed
    (part / "audio").mkdir(parents=True)
    rest, loud = 0.0, {}
    try:
        with (part / "meta.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as meta:
            rows = csv.writer(meta, delimiter="\t", lineterminator="\n")
            rows.writerow(["filename", "scene_label", "identifier", "source_label", "recording", "start"])
            for number, recording in enumerate(progress(recordings, "cutting recordings")):
                for count, piece in enumerate(audio.pieces(recording.file, seconds)):
                    if max(piece.wave.max(), -piece.wave.min()) > 1:
                        loud.setdefault(recording.file)
                    if len(piece.wave) < round(seconds * piece.rate):
                        rest += len(piece.wave) / piece.rate
                        break
                    name = f"audio/{number:05d}-{_short(recording.file.stem)}-{count:04d}.wav"
                    soundfile.write(part / name, piece.wave, piece.rate, subtype="PCM_24")
                    rows.writerow([name, recording.scene_label, recording.identifier, recording.source_label,
                                   recording.file, f"{count * len(piece.wave) / piece.rate:g}"])  # fmt: skip
        os.replace(part, folder)
    except (OSError, soundfile.LibsndfileError) as error:
        raise InputError(f"ASC_CACHE: {folder.parent} cannot be written ({error}); is its disk full?") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if loud:
        say(f"{next(iter(loud))}{f' and {len(loud) - 1} more' * (len(loud) > 1)}: beyond full scale, clipped")
    if rest:
        say(f"{rest:.1f} s at the ends of recordings are too short for a clip and left out")
