"""A model set to another microphone than that of its training clips, from recordings by it that have no labels.

A microphone adds a constant to each log-mel bin, so far as it is linear. The mean spectrum of recordings by it, less
that of the training clips, is that constant and what their places happen to sound like. What of it is likely the
microphone's is taken from every frame: spectrum correction, as Nguyen et al. (2020), "Acoustic scene classification for
mismatched recording devices using heated-up softmax and spectrum correction"; here the recordings are not paired.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asc_kit.common import InputError, progress, say
from asc_kit.config import Features
from asc_kit.deploy import calibration, compact, recordings
from asc_kit.features import LogMel

GAIN = 0.1  # variance of a microphone's gain, which all bins share, by that of its response in each bin
ENOUGH = 20  # recordings, each at another place: what was measured (results/correction)


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


def measure(model: compact.Model, files: Iterable[Path]) -> np.ndarray:
    """Mean spectra of recordings of any length and rate: (recordings, mel).

    Raises
    ------
    InputError : as `recordings.heard`; one is silent
    """
    found = []
    for file in files:
        source, total, frames, sound = recordings.Source(file, model.config.features.sample_rate), 0.0, 0, False
        for wave, features in recordings.heard(model, source):
            sound |= bool((wave != wave[0]).any())
            total, frames = total + features[0, 0].double().sum(0).numpy(), frames + features.shape[2]
        if not sound:
            raise InputError(f"{file}: is silent, and tells nothing of its microphone; take it out")
        found.append(total / frames)
    return np.array(found)


def load(file: Path, allow_code: bool = False, folder: Path | None = None) -> compact.Model:
    """A model, set to the microphone of the recordings in ``folder`` where that is given.

    Raises
    ------
    InputError : as `compact.load`, `calibration.read` and `measure`; the model does not know its clips' spectrum, or
        there is no recording.
    """
    model = compact.load(file, allow_code)
    if folder is None:
        return model
    known = calibration.read(file, model.config).get("spectrum")
    if known is None:
        raise InputError(f"{file.with_name(calibration.NAME)}: has no spectrum of the training clips, which "
                         "--microphone needs; train the model again")  # fmt: skip
    files = recordings.find([folder]) if folder.exists() else [folder]
    if files == [folder] and not folder.is_file():
        raise InputError(f"{folder}: no recordings there; give some {ENOUGH} by the microphone, at different places")
    if len(files) < ENOUGH:
        say(f"note: recordings in {folder}: {len(files)}; {ENOUGH} or more, at different places, tell more")
    found = shift(known, measure(model, progress(files, "hearing the microphone")))
    say(f"set to the microphone of {folder.name}: mel bins move by {-found.max():+.1f} to {-found.min():+.1f}")
    origin = model.origin | {"microphone": f"set by {len(files)} recordings"}
    return replace(model, features=Corrected(model.config.features, found), origin=origin)
