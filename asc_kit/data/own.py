"""Your own recordings as a data set in the DCASE layout: cut into clips of one length, in the cache.

Recordings have any length and a data set's clips one; a clip here knows its recording, and recordings of one place
stay on one side of the split.
"""

import os
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from asc_kit import config
from asc_kit.common import InputError, cached, locked, progress, say, tables, write_sound
from asc_kit.data import audio

# Columns of a CSV file, and what others call them; blanks, dashes, brackets and case do not count.
COLUMNS = {
    "filename": "file path filepath file_name file_path audio audio_file audio_path wav wav_path recording",
    "scene_label": "scene label class category class_label class_name",
    "identifier": "location place site room venue session recording_site location_id place_id",
    "source_label": "device source recorder microphone mic device_id",
    "start": "onset begin start_time start_time_s start_s start_sec start_seconds t_start",
    "end": "offset stop end_time end_time_s end_s end_sec end_seconds t_end",
}
# Folders that are sides of a split, and no classes or places. "train" may be a class: TUT 2017 has it.
SIDES = re.compile(r"(train|test|val|valid|validate|dev|develop|eval|evaluate|fold|split)"
                   r"(ing|ion|ation|ment|uation|idation)?([ _.-]?(set|data|split|fold|part|\d+))*", re.I)  # fmt: skip
HOLDERS = {"audio", "audios", "wav", "wavs", "sound", "sounds", "recordings", "clips", "data", "dataset"}  # no classes
# Columns that tell segments in another way
OTHER_TIMES = re.compile(r"(start|onset|begin|end|offset|stop)_.*(ms|milliseconds|samples?|frames?)")
SECONDS = (0.1, 10.0)  # shortest clip, and the usual one: TAU's


@dataclass(frozen=True)
class Recording:
    """A file, its class, its place and its device."""

    file: Path
    scene_label: str
    identifier: str
    source_label: str = ""
    start: float = 0.0  # seconds
    end: float = float("inf")  # beyond the file's: its end


def build(source: str | Path, skip_broken: bool = False) -> Path:
    """Make a data set of recordings, in clips of 10 s or, where that is less, of the shortest recording's length.

    One that is there already is left as it is.

    Parameters
    ----------
    source : a folder whose sub-folders are named by class, with recordings in them or, a folder deeper, in folders
        named by place, at any depth there; or a CSV file with filename, scene_label and, where known, identifier
        (place), source_label, start and end (seconds), or what others call them
    skip_broken : leave out, and name, recordings that cannot be read to their end

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
    lengths: dict[Recording, float] = {}
    with progress(recordings, "reading recordings" if skip_broken else "reading headers") as bar:
        for recording in bar:
            try:
                lengths[recording] = _seconds(source, recording)
                deque(audio.pieces(recording.file) if skip_broken else (), 0)
            except InputError as error:
                if not skip_broken:
                    raise
                lengths.pop(recording, None)
                say(f"left out: {error}")
    recordings = list(lengths)
    if not recordings:
        raise InputError(f"dataset_root: {source}: none of its recordings can be read")
    shortest = min(recordings, key=lambda recording: lengths[recording])
    seconds = min(SECONDS[1], lengths[shortest])
    if seconds < SECONDS[0]:
        raise InputError(f"{shortest.file}: lasts {seconds:.2f} s, shorter than a clip of {SECONDS[0]:g} s; "
                         "take it out")  # fmt: skip
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
            raise InputError(f"{file}: the classes {other!r} and {name!r} differ in case or spaces alone; name one")


def _say_places(recordings: list[Recording]) -> None:
    """Which reading of places is taken: by name, wherever it stands."""
    classes: dict[str, set[str]] = {}
    for recording in recordings:
        classes.setdefault(recording.identifier, set()).add(recording.scene_label)
    if not names_places((recording.file, recording.identifier) for recording in recordings):
        say("each recording counts as a place of its own: no place is named, by a folder or an identifier")
    if shared := sorted(place for place, labels in classes.items() if len(labels) > 1):
        say(f"{', '.join(shared[:3])}: a place's name in two classes is one place, on one side of a split")


def names_places(pairs: Iterable[tuple[str | Path, str]]) -> bool:
    """Whether a recording's identifier is another than its own name, which stands for a place that is not known."""
    return any(not f"/{recording}".endswith(f"/{identifier}") for recording, identifier in pairs)


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
    table = _renamed(source, tables.read(source))
    incomplete = table.reindex(columns=list(COLUMNS)[:2], fill_value="").eq("").any(axis=1)
    if incomplete.any() or table.empty:
        line = incomplete.idxmax() if len(table) else 2
        raise InputError(f"{source}: line {line} needs filename and scene_label; its columns are "
                         f"{','.join(table.columns)}")  # fmt: skip
    table = table.reindex(columns=list(COLUMNS), fill_value="")
    if (twice := table.duplicated(["filename", "start", "end"])).any():
        raise InputError(f"{source}: {table.filename[twice.idxmax()]} is listed twice; remove one line")
    for name, default in (("start", 0.0), ("end", float("inf"))):
        times = pd.to_numeric(table[name].replace("", default), errors="coerce")
        if not times.ge(0).all():
            line = times.ge(0).idxmin()
            raise InputError(f"{source}: line {line}: {table[name][line]!r} is no time; give {name} in seconds")
        table[name] = times
    table["identifier"] = table.identifier.where(table.identifier != "", table.filename)
    home = source.parent.resolve()
    return [Recording(home / row.filename, *row[1:]) for row in table.itertuples(index=False)]


def _renamed(source: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The kit's names of a CSV file's columns, and those of others as they are; says which are read as which."""
    table.columns = table.columns.str.replace(r"[()\[\]]", "", regex=True)
    for column, others in COLUMNS.items():
        if column not in table and (near := [name for name in table if name in others.split()]):
            say(f"{source}: its column {near[0]!r} is read as {column}")
            table = table.rename(columns={near[0]: column})
    unused = [name for name in table if name not in COLUMNS]
    for name in unused:
        if OTHER_TIMES.fullmatch(name) or name == "duration" and "start" in table and "end" not in table:
            raise InputError(f"{source}: has segments in a column {name!r}; give start and end, both in seconds")
    if unused:
        say(f"{source}: columns that are not used: {', '.join(map(repr, unused))}")
    return table


def _seconds(source: Path, recording: Recording) -> float:
    """What a recording lasts, or the part of it that is listed."""
    count, rate = audio.frames(recording.file)
    end = min(recording.end, count / rate)
    if not recording.start < end or count / rate + 0.1 < recording.end < float("inf"):
        raise InputError(f"{source}: {recording.file} lasts {count / rate:.2f} s, and is listed from "
                         f"{recording.start:g} to {recording.end:g} s; correct start or end")  # fmt: skip
    return end - recording.start


def _plain(name: str) -> str:
    """A name that text, soundfile and a file system with a number at either end can hold."""
    return name.encode(errors="backslashreplace")[:200].decode(errors="ignore")


def _key(recordings: list[Recording], seconds: float) -> str:
    status = [(recording, recording.file.stat()) for recording in recordings]
    return config.digest(f"{seconds}", *(f"{recording} {s.st_size} {s.st_mtime_ns}" for recording, s in status))


def _cut(recordings: list[Recording], seconds: float, folder: Path) -> None:
    rest, loud, rows = 0.0, set(), []
    with cached(folder) as part:
        (part / "audio").mkdir()
        for number, recording in enumerate(progress(recordings, "cutting recordings")):
            for count, piece in enumerate(audio.pieces(recording.file, seconds, recording.start, recording.end)):
                if abs(piece.wave).max() > 1:
                    loud.add(recording.file)
                if len(piece.wave) < round(seconds * piece.rate):
                    rest += len(piece.wave) / piece.rate
                    break
                name = f"audio/{number:05d}-{_plain(recording.file.stem)}-{count:04d}.wav"
                write_sound(part / name, piece.wave, piece.rate, "PCM_24")
                start = recording.start + count * len(piece.wave) / piece.rate
                rows.append((name, recording.scene_label, recording.identifier, recording.source_label,
                             recording.file, f"{start:g}"))  # fmt: skip
        table = pd.DataFrame(rows, columns=[*list(COLUMNS)[:4], "recording", "start"])
        table.to_csv(part / "meta.csv", sep="\t", index=False, errors="backslashreplace")
    if loud:
        say(f"beyond full scale, clipped: {min(loud)}{f' and {len(loud) - 1} more' * (len(loud) > 1)}")
    if rest >= 0.05:  # what is shown as 0.0 s is rounding
        say(f"{rest:.1f} s at the ends of recordings are too short for a clip and left out")
