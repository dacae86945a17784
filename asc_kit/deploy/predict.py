"""What a trained network says of a data set's clips, in the DCASE output format."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from asc_kit import kernels
from asc_kit.common import InputError, progress, write_file
from asc_kit.data.store import Store
from asc_kit.deploy import calibration, compact

Way = Callable[[torch.Tensor], np.ndarray]  # (batch, samples) -> (batch, classes)
SCORING_BATCH, LARGE_BATCH = 8, 64  # whole clips at a time; on a GPU


def processing_device(name: str) -> torch.device:
    """The device of a recipe's auto, cpu or cuda; `InputError` where there is no such device."""
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise InputError("device: cuda was asked for, but torch finds none; use auto or cpu")
    return torch.device("cuda" if cuda else "cpu")


def clips(store: Store, rows: pd.DataFrame, title: str, device: torch.device) -> Iterator[torch.Tensor]:
    """Whole clips of rows, (up to 8, on a GPU 64, samples) at a time."""
    numbers, size = store.rows(rows.filename), LARGE_BATCH if kernels.batched(device) else SCORING_BATCH
    starts = progress(range(0, len(numbers), size), title)
    return store.waves(((numbers[start : start + size],) for start in starts), device)


def scores(
    model: compact.Model, store: Store, rows: pd.DataFrame, device: torch.device, way: Way | None = None
) -> np.ndarray:
    """A model's probabilities of whole clips, (clips, classes); ``way``: in place of `Model.probabilities`."""
    model.network.to(device), model.features.to(device)
    batches = [(way or model.probabilities)(waves) for waves in clips(store, rows, "scoring", device)]
    return np.concatenate([np.empty((0, len(model.classes))), *batches])  # of no clip, none


def predict(
    model: compact.Model, store: Store, rows: pd.DataFrame, file: Path, device: torch.device, way: Way | None = None
) -> None:
    """Write `scores` in the DCASE output format."""
    write_predictions(file, rows, scores(model, store, rows, device, way), model.classes)


def calibrate(
    model: compact.Model, store: Store, device: torch.device, folder: Path, held_out: np.ndarray, labels: np.ndarray,
    training: pd.DataFrame, others: pd.DataFrame,
) -> None:  # fmt: skip
    """Write the ``temperature.json`` of a model that is on ``device``.

    Parameters
    ----------
    held_out, labels : probabilities, (clips, classes), and class numbers that the temperature is fitted to
    training, others : clips whose profile is taken, and which tell its false alarms; some hundred of each are measured
    """
    known, spectra, rest = [], [], []
    training, others = (rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), calibration.MEASURED)).astype(int)]
                        for rows in (training, others))  # fmt: skip
    for features in map(model.features, clips(store, training, "measuring clips", device)):
        known.append(calibration.statistics(features))
        spectra.append(calibration.mean_spectra(features))
    for features in map(model.features, clips(store, others, "measuring clips", device)):
        rest.append(calibration.statistics(features))
    known = np.concatenate(known)
    profile = calibration.profile(known, training.identifier, np.concatenate([known[:0], *rest]))
    spectrum = calibration.spectrum(np.concatenate(spectra))
    calibration.write(folder / calibration.NAME, model.config, calibration.fit(held_out, labels), profile, spectrum)


def as_text(rows: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...]) -> str:
    """TAB separated: filename, scene_label (the argmax), a probability a class."""
    table = pd.DataFrame(probabilities, columns=list(classes))
    table.insert(0, "filename", rows.filename.to_numpy())
    table.insert(1, "scene_label", np.array(classes)[probabilities.argmax(axis=1)])
    return table.to_csv(sep="\t", index=False, float_format="%.10g", lineterminator="\n")


def write_predictions(file: Path, rows: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...]) -> None:
    """Write `as_text`, whole or not at all."""
    write_file(file, as_text(rows, probabilities, classes))
