"""Sound that goes on, scored while it comes: every second a label of the last ten::

    stream = Stream(quickened(load("model.safetensors")), rate=48000)
    for block in blocks:  # of any size
        for heard in stream.feed(block):
            print(heard.end, heard.label, heard.probabilities.max())

A window ends where it is due and begins at a multiple of the features' hop, so that it has as many frames as a clip of
ten seconds, and is as long up to a hop; in the first ten seconds it is all that came. Each frame is computed once and
kept; those at a window's ends, which the features mirror, are computed anew. So the probabilities are those of
`Model.probabilities` for the window's samples. The network pools over the whole window, and is run on all of it.
A stream holds some 12 s of samples and of frames, 3 MB with 160 mel bins, however long it runs.
"""

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, NamedTuple

import numpy as np
import soxr
import torch

from asc_kit.common import InputError
from asc_kit.data import audio
from asc_kit.deploy import calibration, recordings
from asc_kit.deploy.compact import Model

EVERY = (0.1, recordings.WINDOW)  # seconds between labels; beyond, some sound would be in no window
SMOOTHING = 3.0  # seconds; a window's ten smooth already
BATCH = 8  # windows scored together; one alone takes a quarter longer, and more than eight are no faster

SILENT, FAULTY = "is silent", "holds NaN or infinite samples, taken as 0"  # doubts


@dataclass(frozen=True)
class Heard:
    """What a network says of a stream's window.

    Attributes
    ----------
    name : the stream's
    start, end : seconds from the stream's beginning, each a whole number of samples at the model's rate
    label, probabilities : the most probable class; (classes,) float64, the window's own
    smoothed : (classes,), the mean of the probabilities so far, in which those of the last seconds count most
    unlike : whether the window is unlike the training clips; None where that is not known
    level : of what is new since the window before, dB of full scale
    doubts : why the result is doubtful; empty where it is not
    """

    name: Hashable
    start: float
    end: float
    label: str
    probabilities: np.ndarray
    smoothed: np.ndarray
    unlike: bool | None
    level: float
    doubts: tuple[str, ...]


class _Window(NamedTuple):
    stream: "Stream"
    mel: torch.Tensor  # time, mel; power
    kept: float  # share of the smoothed probabilities that stays
    about: dict[str, Any]  # more of `Heard`


class _Last:
    """The last rows of what is appended, by their numbers from the beginning of all."""

    def __init__(self, keep: int, *shape: int):
        self.keep, self.memory, self.used, self.end = keep, np.empty((keep * 5 // 4, *shape), np.float32), 0, 0

    def append(self, rows: np.ndarray) -> None:
        self.end += len(rows)
        if self.used + len(rows) > len(self.memory):
            rows, self.used = np.concatenate([self.memory[: self.used], rows])[-self.keep :], 0
        self.memory[self.used : self.used + len(rows)] = rows
        self.used += len(rows)

    def __getitem__(self, part: slice) -> torch.Tensor:
        first = self.end - self.used
        return torch.from_numpy(self.memory[part.start - first : part.stop - first])


class Stream:
    """Samples in, labels out.

    Parameters
    ----------
    model : `quickened`, to be fast; any number of streams may share it
    every : seconds between labels
    rate : of the samples, in Hz; None: the model's
    about : what `calibration.read` gave, to tell what is unlike the training clips
    name : for `Heard.name`

    Raises
    ------
    InputError : ``every`` or ``rate`` is impossible.
    """

    def __init__(self, model: Model, every: float = 1.0, rate: float | None = None,
                 about: dict[str, Any] | None = None, name: Hashable = None):  # fmt: skip
        config = model.config.features
        rate = config.sample_rate if rate is None else rate
        if not EVERY[0] <= every <= EVERY[1]:
            raise InputError(f"every: {every:g} s is out of range; give {EVERY[0]:g} to {EVERY[1]:g}")
        if not audio.RATES[0] <= rate <= audio.RATES[1]:
            raise InputError(f"rate: {rate:g} Hz cannot be; give {audio.RATES[0]} to {audio.RATES[1]}")
        self.model, self.every, self.about, self.name = model, every, about, name
        self.rate, self.hop, self.size = config.sample_rate, config.hop, model.features.n_fft  # of a frame
        self.ratio = self.rate / rate
        self.resampler = soxr.ResampleStream(rate, self.rate, 1, "float32", "HQ") if rate != self.rate else None
        self.length = round(recordings.WINDOW * self.rate) // self.hop * self.hop  # of a window, but for its last hop
        self.samples = _Last(self.length + 2 * (self.size + 2 * self.hop))
        self.frames = _Last(self.length // self.hop + 1, config.n_mels)  # power, as `LogMel.mel`
        self.number, self.last, self.smoothed = 0, 0, None  # windows so far, where the last ended, what it left
        self.narrow = recordings.narrow(rate, config.f_max)
        self.loud, self.faulty = -1, np.empty(0)  # the sample up to which there was sound; those that were no numbers

    def feed(self, samples: np.ndarray) -> list[Heard]:
        """Take samples; the windows that end in them, scored.

        Parameters
        ----------
        samples : any number of them, float in [-1, 1]; one that is NaN or infinite is taken as 0, and a doubt

        Raises
        ------
        InputError : they are no floats of one channel, or far beyond full scale.
        """
        return scored(self.model, self.windows(samples))

    def finish(self) -> list[Heard]:
        """The window at the end, if anything came since the last, and if it is long enough for one."""
        return scored(self.model, self.rest())

    def windows(self, samples: np.ndarray) -> Iterator[_Window]:
        """`feed` without scores, for a batch."""
        wave = np.asarray(samples)
        if wave.ndim != 1 or wave.dtype.kind != "f":
            raise InputError(f"samples: {wave.dtype} of shape {wave.shape}; give floats in [-1, 1] of one channel")
        fine = np.isfinite(wave)
        if not fine.all():
            self.faulty = np.append(self.faulty, self.samples.end + self.ratio * (np.flatnonzero(~fine) + 1))
            wave = np.where(fine, wave, 0)
        if (peak := np.abs(wave).max(initial=0)) > audio.FAR:
            raise InputError(f"samples: up to {peak:,.0f} where full scale is 1; divide those of 16 bits by 32768")
        wave = wave.astype(np.float32, copy=False)
        yield from self._cut(self.resampler.resample_chunk(wave) if self.resampler else wave)

    def rest(self) -> Iterator[_Window]:
        """`finish` without scores, for a batch."""
        if self.resampler:
            yield from self._cut(self.resampler.resample_chunk(np.empty(0, np.float32), last=True))
        if self.samples.end > self.last and self.samples.end >= self.model.config.features.window:
            yield self._window()

    def _cut(self, wave: np.ndarray) -> Iterator[_Window]:
        while len(wave):
            due = round((self.number + 1) * self.every * self.rate)
            more = due - self.samples.end
            self.samples.append(wave[:more])
            wave = wave[more:]
            if self.samples.end == due:
                yield self._window()

    def _window(self) -> _Window:
        last, end = self.last, self.samples.end
        start = max(0, end // self.hop * self.hop - self.length)
        deviation = float(self.samples[last:end].std(correction=0))
        if deviation >= 10 ** (audio.QUIET / 20):
            self.loud = end
        self.faulty = self.faulty[self.faulty > start]
        doubts = [SILENT] * (self.loud <= start) + [FAULTY] * bool((self.faulty <= end).any())
        self.number, self.last = self.number + 1, end
        about = {"name": self.name, "start": start / self.rate, "end": end / self.rate,
                 "level": 20 * math.log10(max(deviation, 1e-6)), "doubts": (*self.narrow, *doubts)}  # fmt: skip
        return _Window(self, self._mel(start, end), math.exp((last - end) / self.rate / SMOOTHING), about)

    def _mel(self, start: int, end: int) -> torch.Tensor:
        """`LogMel.mel` of a window, (time, mel): frames that are kept, and those at its ends."""
        mel, hop, half, first = self.model.features.mel, self.hop, self.size // 2, self.frames.end
        if end < 2 * self.size:
            return mel(self.samples[start:end])
        edge = -(-half // hop)  # frames that reach beyond a window's beginning
        lead = min(first, edge + 1)  # frames computed in vain, so that the next do not reach beyond it
        new = mel(self.samples[(first - lead) * hop : end])[lead:]
        whole = min((end + half - self.size) // hop + 1 - first, len(new))  # that do not reach beyond the end
        self.frames.append(new[:whole].numpy())
        head = mel(self.samples[start : start + self.size + edge * hop])[:edge]
        return torch.cat([head, self.frames[start // hop + edge : self.frames.end], new[whole:]])


@torch.inference_mode()
def scored(model: Model, windows: Iterable[_Window]) -> list[Heard]:
    """Score windows, of one stream or of several, in batches."""
    found = []
    for _, same in groupby(windows, lambda window: window.mel.shape):
        while batch := list(islice(same, BATCH)):
            features = model.features.log(torch.stack([window.mel for window in batch]))[:, None]
            found += map(_heard, batch, model.from_features(features), features)
    return found


def _heard(window: _Window, probabilities: np.ndarray, features: torch.Tensor) -> Heard:
    if not np.isfinite(probabilities).all():
        raise InputError("the network gives NaN; is the model whole?")
    stream, known = window.stream, window.stream.about
    before = probabilities if stream.smoothed is None else stream.smoothed
    stream.smoothed = window.kept * before + (1 - window.kept) * probabilities
    seconds = features.shape[-2] * stream.model.config.features.hop / stream.model.config.features.sample_rate
    told = known and recordings.comparable(stream.model, seconds)
    unlike = bool(calibration.unlike(known, features[None])[0]) if told else None
    label = stream.model.classes[probabilities.argmax()]
    return Heard(**window.about, label=label, probabilities=probabilities, smoothed=stream.smoothed, unlike=unlike)
