"""Your own recordings as a data set in the DCASE layout: cut into clips of one length, in the cache.

Recordings have any length and a data set's clips one; a clip here knows its recording, and recordings of one place
stay on one side of the split.
"""

import csv
import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import soundfile

from asc_kit import config
from asc_kit.common.errors import InputError
from asc_kit.common.files import cached, locked
from asc_kit.common.progress import progress, say
from asc_kit.data import audio

# Columns of a CSV file, and what others call them; blanks, dashes and case do not count.
COLUMNS = {
    "filename": "file path filepath file_name file_path audio audio_file audio_path wav recording",
    "scene_label": "scene label class category class_label class_name",
    "identifier": "location place site session location_id place_id",
    "source_label": "device source recorder microphone mic device_id",
    "start": "onset begin start_time start_s start_sec start_seconds",
    "end": "offset stop end_time end_s end_sec end_seconds",
}
# Folders that are sides of a split, and no classes or places. "train" may be a class: TUT 2017 has it.
SIDES = re.compile(r"(train|test|val|valid|validate|dev|develop|eval|evaluate|fold|split)"
                   r"(ing|ion|ation|ment|uation|idation)?([ _.-]?(set|data|split|fold|part|\d+))*", re.I)  # fmt: skip
HOLDERS = {"audio", "audios", "wav", "wavs", "sound", "sounds", "recordings", "clips", "data", "dataset"}  # no classes
SECONDS = (1.0, 10.0)  # shortest clip, and the usual one: TAU's


@dataclass(frozen=True)
class Recording:
    """A file, its class, its place and its device."""

    file: Path
    scene_label: str
    identifier: str
    source_label: str = ""
    start: float = 0.0  # seconds
    end: float | None = None  # None: the file's end


def build(source: str | Path, seconds: float | None = None) -> Path:
    """Make a data set of recordings; one that is there already is left as it is.

    Parameters
    ----------
    source : a folder whose sub-folders are named by class, with recordings in them or, a folder deeper, in folders
        named by place, at any depth there; or a CSV file with filename, scene_label and, where known, identifier
        (place), source_label, start and end (seconds), or what others call them
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
    _say_places(recordings)
    with progress(recordings, "reading headers") as bar:
        lengths = {recording: _seconds(source, recording) for recording in bar}
    shortest = min(recordings, key=lambda recording: lengths[recording])
    limit = SECONDS[0] if seconds is None else seconds
    if lengths[shortest] < limit:
        raise InputError(f"{shortest.file}: lasts {lengths[shortest]:.2f} s, shorter than a clip of {limit:g} s; "
                         "take it out")  # fmt: skip
    if seconds is None:
        seconds = min(SECONDS[1], lengths[shortest])
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


def _say_places(recordings: list[Recording]) -> None:
    """Which reading of places is taken: by name, wherever it stands."""
    classes: dict[str, set[str]] = {}
    for recording in recordings:
        classes.setdefault(recording.identifier, set()).add(recording.scene_label)
    if len(classes) == len({recording.file for recording in recordings}) > 1:
        say("each recording counts as a place of its own: no two are in one folder below their class's, or have one "
            "identifier")  # fmt: skip
    if shared := sorted(place for place, labels in classes.items() if len(labels) > 1):
        say(f"{shared[0]}{f' and {len(shared) - 1} more' * (len(shared) > 1)}: a place's name in two classes is one "
            "place, on one side of a split; give places that differ names that differ")  # fmt: skip


def _found(source: Path) -> list[Recording]:
    files, errors = sound_files(source)
    if errors:
        raise InputError(f"{errors[0].filename}: cannot be read ({errors[0].strerror}); give it the right to be, or "
                         "move it away")  # fmt: skip
    named = [(file, file.relative_to(source).parts) for file in files]
    loose = sum(len(parts) == 1 for _, parts in named)
    _check_folders(source, [parts[:-1] for _, parts in named])
    # class / place / ... / recording, or class / recording, each then a place of its own
    recordings = [Recording(file, parts[0], parts[1] if len(parts) > 2 else "/".join(parts))
                  for file, parts in named if len(parts) > 1]  # fmt: skip
    if not recordings:
        there = f"{loose} recordings lie in it, not in folders named by class" if loose else "no recordings in it"
        raise InputError(f"dataset_root: {source}: neither meta.csv nor folders of recordings named by class "
                         f"({there}); 01_corpus shows both forms")  # fmt: skip
    if loose:
        say(f"warning: {loose} recordings lie in {source} itself and have no class; left out")
    return recordings


def _check_folders(source: Path, paths: list[tuple[str, ...]]) -> None:
    """Raise `InputError` where folders are sides of a split, or hold classes and are none."""
    for depth in range(max(map(len, paths), default=0)):
        names = {path[depth] for path in paths if len(path) > depth}
        sides = sorted(name for name in names if SIDES.fullmatch(name))
        if len(sides) == len(names) or len({name[:2].lower() for name in sides}) > 1:
            raise InputError(f"dataset_root: {source}: its folders {', '.join(sides[:4])} are sides of a split, no "
                             "classes or places; put their recordings into one folder a class, or list them in a "
                             "meta.csv with evaluation_setup/fold1_train.csv and fold1_evaluate.csv")  # fmt: skip
        if depth == 0 and names and {name.lower() for name in names} <= HOLDERS:
            raise InputError(f"dataset_root: {source}: its folder {min(names)} is no class; give the folder that "
                             "holds the classes' folders, or a CSV file with filename and scene_label")  # fmt: skip


def _listed(source: Path) -> list[Recording]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as handle:
            head = handle.readline()
            handle.seek(0)
            reader = csv.reader(handle, delimiter=max("\t;,", key=head.count))
            names = _columns(source, next(reader, []))
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source}: cannot be read as a CSV file ({error})") from None
    home, recordings = source.parent.resolve(), []
    for number, row in rows:
        if len(row) > len(names):
            raise InputError(f"{source}: line {number} has more fields than the first line names; quote a field that "
                             f"holds what separates them ({reader.dialect.delimiter!r})")  # fmt: skip
        fields = {name: field.strip() for name, field in zip(names, row)}
        name, label, place, device = (fields.get(key, "") for key in list(COLUMNS)[:4])
        if not name or not label:
            raise InputError(f"{source}: line {number} needs filename and scene_label; its columns are "
                             f"{', '.join(filter(None, names))}")  # fmt: skip
        start, end = (_time(source, number, fields.get(key, "")) for key in ("start", "end"))
        recordings.append(Recording(home / name, label, place or name, device, start or 0.0, end))
    if not recordings:
        raise InputError(f"{source}: lists no recording; give filename and scene_label, a line a recording")
    spans = Counter((recording.file, recording.start, recording.end) for recording in recordings)
    if twice := [file for (file, *_), count in spans.items() if count > 1]:
        raise InputError(f"{source}: {twice[0]} is listed twice; remove one of its lines")
    return recordings


def _columns(source: Path, head: list[str]) -> list[str]:
    """The kit's names of a CSV file's columns, and those of others as they are; says which are read as which."""
    plain = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in head]
    for column, others in COLUMNS.items():
        if column not in plain and (near := [name for name in plain if name in others.split()]):
            say(f"{source}: its column {near[0]!r} is read as {column}")
            plain[plain.index(near[0])] = column
    if twice := [name for name in COLUMNS if plain.count(name) > 1]:
        raise InputError(f"{source}: has two columns {twice[0]}; remove one")
    if unused := [name for name, column in zip(head, plain) if column not in COLUMNS]:
        say(f"{source}: columns that are not used: {', '.join(map(repr, unused))}")
    return plain


def _time(source: Path, number: int, text: str) -> float | None:
    try:
        seconds = float(text) if text else None
    except ValueError:
        seconds = -1.0
    if seconds is not None and not 0 <= seconds < float("inf"):
        raise InputError(f"{source}: line {number}: {text!r} is no time; give start and end in seconds")
    return seconds


def _seconds(source: Path, recording: Recording) -> float:
    """What a recording lasts, or the part of it that is listed."""
    count, rate = audio.frames(recording.file)
    end = count / rate if recording.end is None else recording.end
    if not recording.start < end < count / rate + 0.1:
        raise InputError(f"{source}: {recording.file} lasts {count / rate:.2f} s, and is listed from "
                         f"{recording.start:g} to {end:g} s; correct start or end")  # fmt: skip
    return min(end, count / rate) - recording.start


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
    rest, loud = 0.0, {}
    with cached(folder) as part, (part / "meta.csv").open("w", newline="", encoding="utf-8",
                                                         errors="backslashreplace") as meta:  # fmt: skip
        (part / "audio").mkdir()
        rows = csv.writer(meta, delimiter="\t", lineterminator="\n")
        rows.writerow(["filename", "scene_label", "identifier", "source_label", "recording", "start"])
        for number, recording in enumerate(progress(recordings, "cutting recordings")):
            pieces = audio.pieces(recording.file, seconds, recording.start, recording.end)
            for count, piece in enumerate(pieces):
                if max(piece.wave.max(), -piece.wave.min()) > 1:
                    loud.setdefault(recording.file)
                if len(piece.wave) < round(seconds * piece.rate):
                    rest += len(piece.wave) / piece.rate
                    break
                name = f"audio/{number:05d}-{_short(recording.file.stem)}-{count:04d}.wav"
                _write(part / name, piece)
                start = recording.start + count * len(piece.wave) / piece.rate
                rows.writerow([name, recording.scene_label, recording.identifier, recording.source_label,
                               recording.file, f"{start:g}"])  # fmt: skip
    if loud:
        say(f"{next(iter(loud))}{f' and {len(loud) - 1} more' * (len(loud) > 1)}: beyond full scale, clipped")
    if rest:
        say(f"{rest:.1f} s at the ends of recordings are too short for a clip and left out")


def _write(file: Path, sound: audio.Sound) -> None:
    try:
        soundfile.write(file, sound.wave, sound.rate, subtype="PCM_24")
    except soundfile.LibsndfileError as error:  # how a full disk looks from there
        raise OSError(error.error_string) from None
