"""Recordings of any length, rate and number of channels, scored in constant memory on all cores.

A recording is cut into windows of 10 s from its start. What is left at its end is a window of its own from half that
length on, and else belongs to the window before it: every sample counts once, and up to 15 s are scored whole. The
recording's probabilities are the mean of its windows', weighted by length. Samples are scored as they are, so that
the exported file gives the same.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

from asc_kit.common import InputError
from asc_kit.data import audio
from asc_kit.data.own import sound_files
from asc_kit.deploy import calibration
from asc_kit.deploy.compact import Model

WINDOW = 10.0  # seconds, as the clips of the challenge
WINDOWS = (1.0, 60.0)  # what may be asked for instead
SHORT = 1.0  # seconds; below them, and below its training clips, nothing was measured of a network
SILENT = 0.25  # of a recording; pauses are shorter
UNLIKE = 0.5  # of a recording; one in a hundred windows is a false alarm
STRANGE = "is unlike what the network was trained on"
UNSURE = 0.5  # by its own count the network is then rather wrong than right


@dataclass(frozen=True)
class Segment:
    """A window of a recording: where it lies, in seconds, and its probabilities, (classes,)."""

    start: float
    end: float
    probabilities: np.ndarray


@dataclass(frozen=True)
class Scored:
    """A recording's probabilities.

    Attributes
    ----------
    file : as it was given
    probabilities : (classes,) float64, the mean over the segments by their lengths
    segments : the windows in their order
    notes : what had to be done to it, such as resampling
    doubts : why the result is doubtful; empty where it is not
    unlike : whether it is unlike the training clips, of each window about as long; empty where that is not known
    """

    file: Path
    probabilities: np.ndarray
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    unlike: tuple[bool, ...] = ()


def unsure(probabilities: np.ndarray) -> bool:
    """Whether no class has a probability of one half."""
    return bool(probabilities.max() < UNSURE)


def find(paths: Iterable[Path]) -> list[Path]:
    """Files as they are given, and folders' `sound_files`.

    A folder without any, or which cannot be read, stands for itself: `score` says so.
    """
    found: list[Path] = []
    for path in paths:
        files, errors = sound_files(path) if path.is_dir() else ([], [])
        found += [*files, *(Path(error.filename) for error in errors)] or [path]
    return found


def score(model: Model, file: Path, seconds: float = WINDOW, about: dict[str, Any] | None = None) -> Scored:
    """Score one recording.

    Parameters
    ----------
    seconds : length of the windows
    about : what `calibration.read` gave, to tell what is unlike the training clips

    Raises
    ------
    InputError : as `audio.read`; the recording is silent, or shorter than a window of the features.
    """
    if file.is_dir():
        os.scandir(file).close()  # which says so where it may not be read
        raise InputError(f"{file}: no recordings in it; give files, or a folder that holds some")
    rate = model.config.features.sample_rate
    source, segments, silence, unlike, place, constant = Source(file, rate), [], [], [], 0, True
    for wave, features in heard(model, source, seconds):
        probabilities = model.from_features(features)[0]
        if not np.isfinite(probabilities).all():
            raise InputError(f"{file}: the network gives NaN for it; is the model whole?")
        constant &= bool((wave == wave[0]).all())
        silence.append(audio.quiet(wave, rate))
        if about and comparable(model, len(wave) / rate):
            unlike.append(bool(calibration.unlike(about, features)[0]))
        segments.append(Segment(place / rate, (place + len(wave)) / rate, probabilities))
        place += len(wave)
    if constant:
        raise InputError(f"{file}: is silent; there is nothing to classify")
    lengths = np.array([part.end - part.start for part in segments])
    mean = np.average([part.probabilities for part in segments], axis=0, weights=lengths)
    doubts = doubts_of(model, source.rate, lengths, np.array(silence))
    if unlike and np.mean(unlike) > UNLIKE:
        doubts.append(STRANGE)
    return Scored(file, mean, tuple(segments), tuple(source.notes), tuple(doubts), tuple(unlike))


def heard(model: Model, source: "Source", seconds: float = WINDOW) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """A recording's windows and their features, (samples,) and (1, 1, time, mel).

    Raises
    ------
    InputError : as `audio.read`; it is shorter than a window of the features.
    """
    rate, least = model.config.features.sample_rate, model.config.features.window
    for wave in windows(source, round(seconds * rate)):
        if len(wave) < least:
            raise InputError(f"{source.file}: lasts {len(wave) / rate:.3f} s, shorter than the features' window of "
                             f"{least / rate:.3f} s; give a longer one")  # fmt: skip
        yield wave, model.features(torch.from_numpy(wave)[None])


def comparable(model: Model, seconds: float) -> bool:
    """Whether a window is about as long as the model's training clips: deviations over time depend on the length."""
    usual = model.origin.get("seconds", WINDOW)
    return usual / 2 <= seconds <= 2 * usual


def narrow(rate: float, f_max: float) -> list[str]:
    """Says that a sampling rate, in Hz, leaves out what the network hears; empty where it does not."""
    cut = f"at {rate:g} Hz it holds nothing above {rate / 2:g} Hz, where the network hears up to {f_max:g}"
    return [cut] if rate < 2 * f_max else []


def doubts_of(model: Model, rate: int, lengths: np.ndarray, silence: np.ndarray) -> list[str]:
    """Why a recording tells little: ``lengths`` in seconds and ``silence``, a share, of its windows; its own rate."""
    short = min(SHORT, model.origin.get("seconds", SHORT))
    doubts, seconds, silent = narrow(rate, model.config.features.f_max), lengths.sum(), (lengths * silence).sum()
    if round(seconds, 3) < short:
        doubts.append(f"lasts {seconds:.2f} s; the network was made for {short:g} s and more")
    if silence.max() == 1 or silent > SILENT * seconds:
        doubts.append(f"is silent for {silent:.1f} of {seconds:.1f} s")
    return doubts


class Source:
    """A file's samples, mono and at another rate, piece by piece; notes what that took."""

    def __init__(self, file: Path, sample_rate: int):
        self.file, self.sample_rate = file, sample_rate
        self.rate, self.notes = sample_rate, {}  # of the file; a note each, in their order

    def __iter__(self) -> Iterator[np.ndarray]:
        stream = None  # as `soxr.resample` of the whole, in the memory of a piece
        for sound in audio.pieces(self.file, WINDOW):
            wave, notes = audio.mix(sound.wave)
            beyond = ["beyond full scale"] if np.abs(wave).max(initial=0) > 1 else []
            self.notes |= dict.fromkeys((*sound.notes, *notes, *beyond))
            self.rate = sound.rate
            if self.rate != self.sample_rate:
                stream = stream or soxr.ResampleStream(self.rate, self.sample_rate, 1, dtype="float32", quality="HQ")
                wave = stream.resample_chunk(wave)
            yield wave
        if stream:
            yield stream.resample_chunk(np.empty(0, np.float32), last=True)
            self.notes[f"{self.rate} Hz resampled to {self.sample_rate} Hz"] = None


def windows(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Cut a stream of samples into windows of ``size``, of which the last holds from half to one and a half of it."""
    held = np.empty(0, np.float32)
    for piece in pieces:
        held = np.concatenate([held, piece])
        while 2 * len(held) >= 3 * size:
            yield held[:size]
            held = held[size:]
    yield held


def score_all(
    model: Model,
    files: Iterable[Path],
    seconds: float = WINDOW,
    workers: int | None = None,
    about: dict[str, Any] | None = None,
) -> Iterator[Scored | InputError]:
    """Score recordings in the order of ``files``; one that cannot be scored gives its error in its place.

    Threads share the network: torch and libsndfile work outside the interpreter's lock. Each takes one recording at
    a time on one core, so that no result depends on their number.

    Parameters
    ----------
    seconds, about : as `score`
    workers : None: as many as this process may use cores
    """
    torch.set_num_threads(1)
    attempt = partial(_attempt, model, seconds=seconds, about=about)
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(attempt, files)


def _attempt(model: Model, file: Path, **ways: Any) -> Scored | InputError:
    try:
        return score(model, file, **ways)
    except InputError as error:
        return error
    except (OSError, soundfile.LibsndfileError) as error:  # such as a disk that goes away meanwhile
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        return InputError(f"{file}: cannot be read ({reason})")
