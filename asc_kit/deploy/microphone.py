"""A model set to another microphone than that of its training clips, from recordings by it that have no labels.

A microphone adds a constant to each log-mel bin, so far as it is linear. The mean spectrum of recordings by it, less
that of the training clips, is that constant and what their places happen to sound like. What of it is likely the
microphone's is taken from every frame: spectrum correction, as Nguyen et al. (2020), "Acoustic scene classification for
mismatched recording devices using heated-up softmax and spectrum correction"; here the recordings are not paired.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asc_kit.common import InputError, progress, say
from asc_kit.config import Config, Features
from asc_kit.data import audio
from asc_kit.deploy import calibration, compact, recordings
from asc_kit.features import LogMel

GAIN = 0.1  # variance of a microphone's gain, which all bins share, by that of its response in each bin
ENOUGH = 20  # recordings: as many as were measured, of some 13 places (results/correction)


class Corrected(LogMel):
    """`LogMel` of another microphone as that of the training clips would have it.

    Parameters
    ----------
    shift : (mel,) in the features' unit, which is taken from every frame
    """

    def __init__(self, config: Features, shift: np.ndarray):
        super().__init__(config)
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32), persistent=False)

    def log(self, mel: torch.Tensor) -> torch.Tensor:
        """Power in the mel filters, (batch, time, mel), to its logarithm, corrected."""
        return super().log(mel) - self.shift


def shift(known: dict[str, Any], spectra: np.ndarray) -> np.ndarray:
    """What a microphone most likely adds: (mel,), the mean of a normal posterior.

    Before any recording is heard, a microphone's response deviates as much as a training clip's spectrum does, but in
    each bin by itself; its gain by less. So of few recordings less is taken along the directions in which training
    clips differ most.

    Parameters
    ----------
    known : what `calibration.spectrum` gave
    spectra : (recordings, mel), each the mean over time
    """
    off = spectra.mean(0) - np.array(known["mean"])
    directions, variances = np.array(known["directions"]), np.array(known["variances"])
    places = directions.T * variances @ directions / len(spectra)  # mel, mel: what is by chance in their mean
    microphones = known["variance"] * (np.eye(len(off)) + GAIN)
    return microphones @ np.linalg.solve(microphones + places, off)


def files_of(folder: Path | None) -> list[Path]:
    """The recordings of a folder; of None, none.

    Raises
    ------
    InputError : there is none. OSError : the folder cannot be read.
    """
    if folder is None:
        return []
    files = recordings.find([folder])
    if folder.is_dir():
        os.scandir(folder).close()  # which says so where it may not be read
    if files == [folder] and not folder.is_file():
        raise InputError(f"{folder}: no recordings there; give some {ENOUGH} by the microphone, at different places")
    return files


def measure(model: compact.Model, files: Iterable[Path]) -> np.ndarray:
    """Mean spectra of recordings of any length and rate: (recordings, mel).

    Raises
    ------
    InputError : as `recordings.heard`; one is too short, too silent or of too low a rate to tell of its microphone
    """
    rate, found = model.config.features.sample_rate, []
    for file in files:
        source, total, frames, lengths, silence = recordings.Source(file, rate), 0.0, 0, [], []
        for wave, features in recordings.heard(model, source):
            total, frames = total + features[0, 0].double().sum(0).numpy(), frames + features.shape[2]
            lengths.append(len(wave) / rate), silence.append(audio.quiet(wave, rate))
        if doubts := recordings.doubts_of(model, source.rate, np.array(lengths), np.array(silence)):
            raise InputError(f"{file}: {doubts[0]}; it tells too little of its microphone: take it out")
        found.append(total / frames)
    return np.array(found)


def spectrum_of(file: Path, config: Config) -> dict[str, np.ndarray]:
    """What `calibration.spectrum` gave of a model's training clips, from the ``temperature.json`` beside it.

    Raises
    ------
    InputError : as `calibration.read`; it has none, or none of use.
    """
    about, beside = calibration.read(file, config), file.with_name(calibration.NAME)
    if not about.get("spectrum"):
        raise InputError(f"{beside}: has no spectrum of the training clips; train the model again")
    bins = config.features.n_mels
    try:
        names = ("mean", "directions", "variances", "variance")
        known = {name: np.array(about["spectrum"][name], float) for name in names}
        shapes = {"mean": (bins,), "directions": (len(known["variances"]), bins), "variance": ()}
        whole = all(known[name].shape == shape for name, shape in shapes.items()) and known["variance"] > 0
        whole = whole and all(np.isfinite(values).all() for values in known.values())
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"{beside}: its spectrum is damaged, or of too few clips; train the model again")
    return known


def corrected(model: compact.Model, file: Path, folder: Path) -> compact.Model:
    """The model of a file, set to the microphone of the recordings in a folder.

    Raises
    ------
    InputError : as `spectrum_of`, `files_of` and `measure`.
    """
    known, files = spectrum_of(file, model.config), files_of(folder)
    if len(files) < ENOUGH:
        say(f"note: {folder} holds {len(files)} recordings; fewer than {ENOUGH}, or of few places, may do harm")
    found = shift(known, measure(model, progress(files, "hearing the microphone")))
    unit = "dB" if model.config.features.log == "db" else "in the logarithm"
    say(f"set to the microphone of {folder}: mel bins move by {-found.max():+.2g} to {-found.min():+.2g} {unit}")
    origin = model.origin | {"microphone": f"set by {len(files)} recordings"}
    return replace(model, features=Corrected(model.config.features, found), origin=origin)
