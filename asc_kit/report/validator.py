"""Faults of a DCASE 2021 Task 1A package, whoever made it; nothing is unpacked.

Authors left blank and a missing technical report are none: they come last, and from people.
"""

import csv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from asc_kit.common.files import ARCHIVE_FAULTS
from asc_kit.data import corpus as corpora
from asc_kit.report.package import AUTHOR, CLASSES, COLUMNS, FIELDS, LABEL, LIMIT, meta, runs, shown

SUM = 1e-3  # what a row of rounded probabilities may be off
NEAR = 0.01  # what a number may differ from the experiment's: per cent, log loss, KB
ENDINGS = (".output.csv", ".meta.yaml")


def faults(package: Path, data: Path | None = None, home: Path | None = None, seed: int | None = None) -> list[str]:
    """Check a package.

    Parameters
    ----------
    data : the data set that was to be predicted; without it, systems are compared with each other
    home, seed : the experiment it was made from, whose complexity and results the metadata must state

    Returns
    -------
    a line a fault, which begins with the file in the package; none for a package that wants authors and report alone

    Raises
    ------
    InputError : the data set or the experiment cannot be read.
    """
    try:
        with zipfile.ZipFile(package) as file:
            if broken := file.testzip():
                return [f"{broken}: is damaged in the zip file"]
            names = [name for name in file.namelist() if not name.endswith("/")]
            texts = {name: file.read(name) for name in names}
    except (OSError, *ARCHIVE_FAULTS) as error:
        return [f"{package}: is no zip file that can be read ({str(error) or 'it ends early'})"]
    systems, found = _systems(names)
    clips = {}
    for label, files in systems.items():
        for ending in ENDINGS:
            if ending not in files:
                found.append(f"{label}: has no {label}{ending}")
        if name := files.get(".output.csv"):
            clips[name] = []
            found += _each(name, _output(texts[name], clips[name]))
        if name := files.get(".meta.yaml"):
            found += _each(name, _meta(texts[name], label, home, seed))
    return found + list(_clips(clips, data))


def _each(name: str, lines: Iterator[str]) -> list[str]:
    return [f"{name}: {line}" for line in lines]


def _systems(names: list[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Label -> ending -> name in the zip file; and what is wrong with names."""
    systems: dict[str, dict[str, str]] = {}
    found = [f"{name}: is twice in the zip file" for name in sorted({name for name in names if names.count(name) > 1})]
    for name in dict.fromkeys(names):
        *folders, base = name.split("/")
        ending = next((ending for ending in ENDINGS if base.endswith(ending)), None)
        if ending is None:
            if not base.endswith(".pdf"):
                found.append(f"{name}: does not belong there; a system has <label>.output.csv and <label>.meta.yaml")
            continue
        label = base.removesuffix(ending)
        if folders[-1:] != [label]:
            found.append(f"{name}: lies in {'/'.join(folders) or 'no folder'}; put it into {label}/")
        if ending in systems.setdefault(label, {}):
            found.append(f"{name}: is there twice, the other is {systems[label][ending]}")
        systems[label][ending] = name
    for label in systems:
        stem, _, number = label.rpartition("_")
        if not LABEL.fullmatch(stem) or number not in ("1", "2", "3", "4"):
            found.append(f"{label}: does not read Surname_Institute_task1a_<1 to 4>")
    if not systems:
        found.append("there is no system in it")
    if len({label.rpartition("_")[0] for label in systems}) > 1:
        found.append(f"systems of several senders: {', '.join(systems)}")
    return systems, found


def _output(data: bytes, clips: list[str]) -> Iterator[str]:
    """Faults of an output file; the names of its clips go to ``clips``."""
    try:
        head, *rows = csv.reader(data.decode("utf-8-sig").splitlines(), delimiter="\t")
    except (UnicodeDecodeError, ValueError, csv.Error):
        yield "is empty, or no TAB separated text"
        return
    if head != COLUMNS:
        for name in [name for name in COLUMNS if name not in head]:
            yield f"has no column {name}"
        for name in [name for name in head if name not in COLUMNS]:
            yield f"has a column {name!r} that is none of the task's"
        if sorted(head) == sorted(COLUMNS):
            yield f"its columns are in another order than {', '.join(COLUMNS)}"
        return
    if not rows:
        yield "has no row"
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        for line in _row(row, seen):
            yield f"line {number}: {line}"
    clips += sorted(seen)


def _row(row: list[str], seen: set[str]) -> Iterator[str]:
    if len(row) != len(COLUMNS):
        yield f"has {len(row)} columns in place of {len(COLUMNS)}"
        return
    name, label, *texts = row
    if not name:
        yield "names no file"
    if shown(name) in seen:
        yield f"{name} is there twice"
    seen.add(shown(name))
    if label not in CLASSES:
        yield f"scene_label {label!r} is none of the ten"
    try:
        values = np.array(texts, dtype=float)
    except ValueError:
        yield f"a probability is no number: {next(text for text in texts if not _number(text))!r}"
        return
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        yield f"a probability is none: {texts[int(np.argmin(np.isfinite(values) & (values >= 0) & (values <= 1)))]}"
    elif abs(values.sum() - 1) > SUM:
        yield f"its probabilities sum to {values.sum():.4f}"
    elif label in CLASSES and values[CLASSES.index(label)] < values.max():
        yield f"scene_label is {label}, the most probable class {CLASSES[int(values.argmax())]}"


def _number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and bool(np.isfinite(float(value)))
    except (TypeError, ValueError, OverflowError):
        return False


def _clips(clips: dict[str, list[str]], data: Path | None) -> Iterator[str]:
    """Clips that a system lacks or has too many, against the data set or against all systems together."""
    if data is None:
        wanted, where = set().union(*map(set, clips.values())), "which another system has"
    else:
        corpus = corpora.read(data)
        wanted, where = {shown(name) for name in corpus.used()}, f"of {data}"
    for name, there in clips.items():
        if missing := sorted(wanted - set(there)):
            yield f"{name}: lacks {len(missing)} clips {where}: {_some(missing)}"
        if strange := sorted(set(there) - wanted):
            yield f"{name}: has {len(strange)} clips that {data} has not: {_some(strange)}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + " …" * (len(names) > 3)


def _meta(data: bytes, label: str, home: Path | None, seed: int | None) -> Iterator[str]:
    try:
        about = yaml.safe_load(data.decode("utf-8-sig"))
    except Exception as error:  # PyYAML's constructors raise anything at values that are none of their tag's
        yield f"is no YAML: {' '.join(str(error).split())}"
        return
    for path, fields in FIELDS.items():
        block = _at(about, path)
        if not isinstance(block, dict):
            yield f"has no block {path}"
            continue
        for name in [name for name in fields if name not in block]:
            yield f"{path} has no {name}"
    yield from _submission(_at(about, "submission"), label)
    yield from _complexity(_at(about, "system.complexity"))
    yield from _results(_at(about, "results.development_dataset"))
    folder = runs(home, seed).get(label.rpartition("_")[2]) if home else None
    if folder:
        expected = meta(folder, label) if label.count("_") == 3 else {}
        for path in ("system.complexity", "results.development_dataset"):
            yield from _differences(_at(about, path), _at(expected, path), path, folder)
    elif home:
        yield f"{home} has no run of this submission"


def _at(about: Any, path: str) -> Any:
    for name in path.split("."):
        about = about.get(name) if isinstance(about, dict) else None
    return about


def _submission(block: Any, label: str) -> Iterator[str]:
    if not isinstance(block, dict):
        return
    if block.get("label") != label:
        yield f"submission.label is {block.get('label')!r}, the file is called {label}"
    if len(str(block.get("abbreviation", ""))) > 10:
        yield f"submission.abbreviation {block['abbreviation']!r} is longer than 10 characters"
    authors = block.get("authors")
    if not isinstance(authors, list) or not authors or not all(isinstance(author, dict) for author in authors):
        yield "submission.authors is no list of authors"
        return
    for number, author in enumerate(authors, start=1):
        for name in [name for name in AUTHOR if name not in author]:
            yield f"author {number} has no {name}"
    if (count := sum(author.get("corresponding") is True for author in authors)) != 1:
        yield f"{count} authors are corresponding, in place of one"


def _complexity(block: Any) -> Iterator[str]:
    if not isinstance(block, dict):
        return
    total, used, size = (block.get(name) for name in FIELDS["system.complexity"])
    for name, value in (("total_parameters", total), ("total_parameters_non_zero", used)):
        if type(value) is not int or value < 0:
            yield f"system.complexity.{name} is no whole number: {value!r}"
            return
    if used > total:
        yield f"system.complexity: {used} parameters are not zero, of {total}"
    if not _number(size) or float(size) <= 0:
        yield f"system.complexity.model_size is no number of KB: {size!r}"
    elif float(size) > LIMIT:
        yield f"system.complexity.model_size is {size} KB; the limit is {LIMIT:g}"
    elif not max(used, 1) <= 8192 * float(size) <= 64 * max(used, 1):  # one to 64 bits each
        yield f"system.complexity: {size} KB do not fit {used} parameters that are not zero"


def _results(block: Any) -> Iterator[str]:
    """Accuracies are per cent, log losses not negative, and the overall accuracy is the mean of the classes'."""
    if not isinstance(block, dict):
        return
    parts = {"overall": block.get("overall")}
    for kind in ("class_wise", "device_wise"):
        found = block.get(kind) or {}
        parts |= {f"{kind}.{name}": part for name, part in found.items()} if isinstance(found, dict) else {kind: found}
    for path, part in parts.items():
        for name, top in (("accuracy", 100), ("logloss", np.inf)):
            value = part.get(name) if isinstance(part, dict) else "nothing"
            if value is not None and not (_number(value) and 0 <= float(value) <= top):
                yield f"results {path}.{name} is {value!r}"
                break
    overall, each = _at(block, "overall.accuracy"), [_at(block, f"class_wise.{name}.accuracy") for name in CLASSES]
    if _number(overall) and all(map(_number, each)):
        mean = np.mean(np.array(each, dtype=float))
        if abs(mean - float(overall)) > NEAR:
            yield f"results: the overall accuracy is {overall}, the mean of the classes' {mean:.4f}"


def _differences(mine: Any, expected: Any, path: str, folder: Path) -> Iterator[str]:
    """Where the metadata state something else than the experiment."""
    if isinstance(expected, dict) and isinstance(mine, dict):
        for name, value in expected.items():
            yield from _differences(mine.get(name), value, f"{path}.{name}", folder)
    elif _number(mine) and _number(expected):
        if abs(float(mine) - float(expected)) > NEAR:
            yield f"{path} is {mine}, {folder} has {expected}"
    elif mine != expected:
        yield f"{path} is {mine!r}, {folder} has {expected!r}"
