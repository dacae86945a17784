"""``python -m asc_kit predict``: recordings' scores as a table, as JSON, or in a file of the DCASE output format."""

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from asc_kit import kernels
from asc_kit.common.errors import InputError
from asc_kit.common.files import check_writable, replacing
from asc_kit.common.progress import progress, say
from asc_kit.config import digest
from asc_kit.deploy import calibration, compact, manifest, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.deploy.recordings import Scored

ESCAPED = str.maketrans(
    {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
)  # in a name, where a TAB ends a field and a newline a row
OFTEN = 500  # rows after which a table that is to be kept is written


class Session:
    """A model at work: scores recordings, says what is wrong with them, and counts those that failed.

    Parameters
    ----------
    model_file : the model's
    top : classes shown; None: one in the table, all in JSON
    segments : seconds of the windows, each of which is then shown; None: windows of 10 s, not shown
    temperature : a number, or "fitted": that of the ``temperature.json`` beside the model
    workers : recordings at a time; None: as many as there are cores

    Attributes
    ----------
    failed : number of a recording -> what is wrong with it
    """

    def __init__(self, model_file: Path, top: int | None = None, segments: float | None = None, temperature: str = "1",
                 workers: int | None = None):  # fmt: skip
        low, high = recordings.WINDOWS
        if segments is not None and not low <= segments <= high:
            raise InputError(f"segments: {segments:g} s is out of range; give {low:g} to {high:g}")
        kernels.keep_memory()
        model = compact.load(model_file)
        self.model, self.degree = quickened(model), _degree(temperature, model_file, model)
        self.file, self.top, self.segments, self.workers = model_file, top, segments, workers
        self.failed: dict[int, str] = {}

    def scored(self, files: list[Path]) -> Iterator[tuple[int, Scored]]:
        """Number and scores of every recording that can be scored, in order."""
        notes: dict[str, list[Path]] = defaultdict(list)
        seconds = self.segments or recordings.WINDOW
        results = recordings.score_all(self.model, files, seconds, self.degree, self.workers)
        for number, result in enumerate(progress(results, "scoring", total=len(files))):
            if isinstance(result, InputError):
                self.failed[number] = str(result)
                tqdm.write(f"error: {result}", sys.stderr)
                continue
            for doubt in result.doubts:
                tqdm.write(f"warning: {result.file}: {doubt}: doubtful", sys.stderr)
            for note in result.notes:
                notes[note].append(result.file)
            yield number, result
        for note, noted in notes.items():
            say(f"note: {noted[0]}{f' and {len(noted) - 1} more' * (len(noted) > 1)}: {note}")
        if self.failed and len(files) > 1:
            say(f"{len(self.failed)} of {len(files)} recordings could not be scored")

    def show(self, files: list[Path]) -> None:
        """A TAB separated table on standard output, a row a recording or segment as they come."""
        count, timeline = min(self.top or 1, len(self.model.classes)), self.segments is not None
        names = [f"{name}{number}" for number in ("", *(f"_{k}" for k in range(2, count + 1)))
                 for name in ("label", "probability")]  # fmt: skip
        _put("\t".join(["file", *["start", "end"] * timeline, *names, "remark"]))
        for _, result in self.scored(files):
            for part in result.segments if timeline else (result,):
                span = [f"{part.start:.2f}", f"{part.end:.2f}"] if timeline else []
                best = [text for label, p in self._best(part.probabilities, count) for text in (label, f"{p:.4f}")]
                remark = "unsure" if recordings.unsure(part.probabilities) else ""
                _put("\t".join([str(result.file).translate(ESCAPED), *span, *best, remark]))

    def show_json(self, files: list[Path]) -> None:
        """A list on standard output, whole whatever happens: file, label, probabilities and, if asked for, timeline."""
        mark = "["
        try:
            for _, result in self.scored(files):
                entry = {"file": str(result.file), **self._entry(result.probabilities)}
                if self.segments is not None:
                    entry["timeline"] = [{"start": round(part.start, 3), "end": round(part.end, 3),
                                          **self._entry(part.probabilities)} for part in result.segments]  # fmt: skip
                _put(f"{mark}\n{json.dumps(entry)}", end="")
                mark = ","
        finally:
            _put("\n]" if mark == "," else "[]")

    def write(self, source: Path, names: list[str], root: Path, out: Path, keep: bool) -> None:
        """A table in the DCASE output format, and its failures beside it; ``keep`` leaves rows that are there.

        A hidden file beside it, ``.<table>.made_by``, names model, temperature and windows: rows of others are no part
        of the same table.

        Raises
        ------
        InputError : the table cannot be written, is an input (``source`` is the manifest), or holds what is to be kept
            of another model, temperature or length of windows.
        """
        inputs = (source, self.file, *(root / name for name in names))
        check_writable(out, *inputs)
        check_writable(manifest.failures_of(out), *inputs)
        made_by = out.with_name(f".{out.name}.made_by")
        mine = digest(
            hashlib.sha256(self.file.read_bytes()).hexdigest(), f"{self.degree} {self.segments}", str(root.resolve())
        )
        if keep and out.exists() and (not made_by.exists() or made_by.read_text() != mine):
            raise InputError(f"{out}: is not known to be of this model, temperature, length of segments and root; "
                             "name another file, or leave out --keep")  # fmt: skip
        if not keep:
            made_by.unlink(missing_ok=True)  # no table is ever marked as another's
        elif not out.exists():
            _mark(made_by, mine)
        done = manifest.rows(out, self.model.classes) if keep else {}
        left = [name for name in names if name not in done]
        if keep:
            say(f"{out}: {len(names) - len(left)} of {len(names)} recordings are there already")
        asked = set(names)
        names = [*(name for name in done if name not in asked), *names]  # rows of another manifest stay
        for number, result in self.scored([root / name for name in left]):
            done[left[number]] = manifest.row(left[number], result.probabilities, self.model.classes)
            if keep and len(done) % OFTEN == 0:  # what a killed command has done is kept
                self._write(out, names, done, left)
        self._write(out, names, done, left)
        _mark(made_by, mine)

    def _write(self, out: Path, names: list[str], done: dict[str, str], left: list[str]) -> None:
        failed = {left[number]: reason for number, reason in self.failed.items()}
        manifest.write(out, manifest.header(self.model.classes), names, done, failed)

    def _best(self, probabilities: np.ndarray, count: int) -> list[tuple[str, float]]:
        order = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.model.classes[i], float(probabilities[i])) for i in order]

    def _entry(self, probabilities: np.ndarray) -> dict[str, Any]:
        named = dict(zip(self.model.classes, map(float, probabilities)))
        if self.top:
            named = dict(self._best(probabilities, self.top))
        return {"label": self._best(probabilities, 1)[0][0], "probabilities": named}


def _mark(file: Path, text: str) -> None:
    with replacing(file) as part:
        part.write_text(text)


def _degree(text: str, model_file: Path, model: compact.Model) -> float:
    if text == "fitted":
        about = calibration.read(model_file, model.config)
        say(f"temperature {about['temperature']:g}, fitted on {about['clips']} validation clips")
        return about["temperature"]
    try:
        degree = float(text)
    except ValueError:
        degree = np.nan
    if not 0 < degree < np.inf:
        raise InputError(f"temperature: {text!r} is not possible; give a number above 0, or fitted")
    return degree


def _put(text: str, end: str = "\n") -> None:
    tqdm.write(text, sys.stdout, end=end)  # a bar on the same terminal makes way
