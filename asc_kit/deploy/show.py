"""``python -m asc_kit predict``: recordings' scores as a table, as JSON, or in a file of the DCASE output format."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from asc_kit import kernels
from asc_kit.common import InputError, check_writable, progress, say
from asc_kit.deploy import calibration, manifest, microphone, ready, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.deploy.recordings import Scored

ESCAPED = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})  # a TAB ends a field, a newline a row


class Session:
    """A model at work: scores recordings, says what is wrong with them, and counts those that failed.

    Parameters
    ----------
    model_file : the model's
    top : classes shown; None: one in the table, all in JSON
    segments : seconds of the windows, each of which is then shown; None: windows of 10 s, not shown
    workers : recordings at a time; None: as many as there are cores
    ways : as `ready.load`

    Attributes
    ----------
    failed : number of a recording -> what is wrong with it
    """

    def __init__(self, model_file: Path, top: int | None = None, segments: float | None = None,
                 workers: int | None = None, **ways: Any):  # fmt: skip
        low, high = recordings.WINDOWS
        if segments is not None and not low <= segments <= high:
            raise InputError(f"segments: {segments:g} s is out of range; give {low:g} to {high:g}")
        kernels.keep_memory()
        self.model = quickened(ready.load(model_file, **ways))
        self.file, self.top, self.segments, self.workers, self.about = model_file, top, segments, workers, None
        self.heard = microphone.files_of(ways.get("folder"))
        if model_file.with_name(calibration.NAME).exists():
            try:
                self.about = calibration.read(model_file, self.model.config)
            except InputError as error:
                say(f"warning: {error}: what is unlike its training clips is not told")
        self.failed: dict[int, str] = {}

    def scored(self, files: list[Path]) -> Iterator[tuple[int, Scored]]:
        """Number and scores of every recording that can be scored, in order."""
        notes: dict[str, list[Path]] = defaultdict(list)
        seconds = self.segments or recordings.WINDOW
        results = recordings.score_all(self.model, files, seconds, self.workers, self.about)
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
        count = min(self.top or 1, len(self.model.classes))
        endings = ["", *(f"_{number}" for number in range(2, count + 1))]
        names = [name for ending in endings for name in (f"label{ending}", f"probability{ending}")]
        span = ["start", "end"] if self.segments else []
        _put("\t".join(["file", *span, *names, "remark"]))
        for _, result in self.scored(files):
            for part in result.segments if self.segments else (result,):
                cells = [str(result.file).translate(ESCAPED), *(f"{getattr(part, name):.2f}" for name in span)]
                for label, probability in self._best(part.probabilities, count):
                    cells += [label, f"{probability:.4f}"]
                remarks = ["unsure"] * recordings.unsure(part.probabilities) + ["doubtful"] * bool(result.doubts)
                _put("\t".join([*cells, ", ".join(remarks)]))

    def show_json(self, files: list[Path]) -> None:
        """A list on standard output, whole whatever happens: file, label, probabilities; doubts and timeline if any."""
        mark = "["
        try:
            for _, result in self.scored(files):
                entry = {"file": str(result.file), **self._entry(result.probabilities)}
                if result.doubts:
                    entry["doubts"] = list(result.doubts)
                if self.segments:
                    entry["timeline"] = [{"start": round(part.start, 3), "end": round(part.end, 3),
                                          **self._entry(part.probabilities)} for part in result.segments]  # fmt: skip
                _put(f"{mark}\n{json.dumps(entry)}", end="")
                mark = ","
        finally:
            _put("\n]" if mark == "," else "[]")

    def write(self, source: Path, names: list[str], root: Path, out: Path) -> None:
        """A table in the DCASE output format, and its failures beside it.

        Raises
        ------
        InputError : the table cannot be written, or is an input (``source`` is the manifest).
        """
        inputs = (source, self.file, *self.heard, *(root / name for name in names))
        check_writable(out, *inputs)
        check_writable(manifest.failures_of(out), *inputs)
        rows = [manifest.row(names[number], result.probabilities, self.model.classes)
                for number, result in self.scored([root / name for name in names])]  # fmt: skip
        failed = {names[number]: reason for number, reason in self.failed.items()}
        manifest.write(out, self.model.classes, rows, failed)

    def _best(self, probabilities: np.ndarray, count: int) -> list[tuple[str, float]]:
        order = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.model.classes[i], float(probabilities[i])) for i in order]

    def _entry(self, probabilities: np.ndarray) -> dict[str, Any]:
        best = self._best(probabilities, self.top or 1)
        named = best if self.top else zip(self.model.classes, map(float, probabilities))
        return {"label": best[0][0], "probabilities": dict(named)}


def _put(text: str, end: str = "\n") -> None:
    tqdm.write(text, sys.stdout, end=end)  # a bar on the same terminal makes way
