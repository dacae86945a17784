"""Scores of Section 3.2, in float64, with intervals.

Conventions
-----------
* ``probabilities`` are (clips, classes), ``labels`` (clips,) integers; every score first calls `validate`.
* Accuracy is the macro average: the mean of the recalls of the classes that occur. Of one class it is that class's
  recall; of one device, the mean of recalls within the device's clips.
* Log loss is the mean over clips of -log p(true class) (DCASE's official score); ``log_loss_macro`` the mean of the
  class-wise means (the report's words). A class's or device's log loss is the mean over its clips, with all classes
  known to the model. Probabilities below 1e-15 count as 1e-15.
* An interval resamples locations, not clips: clips of a place are alike, and resampling clips would call a network
  certain that has heard few places. Where all clips are right, or all wrong, resampling shows no spread: the
  interval is then the binomial one (Clopper and Pearson, 1934) of as many trials as there are locations.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from asc_kit.common import InputError

SMALLEST = 1e-15
RESAMPLES = 2000
LEVEL = 0.95


def validate(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check and normalise.

    Parameters
    ----------
    probabilities : (clips, classes), not negative; rows that do not sum to one are scaled, with a warning
    labels : (clips,) class numbers

    Returns
    -------
    (clips, classes) float64 whose rows sum to one, and (clips,) int64

    Raises
    ------
    InputError : shapes that do not fit, no clips, NaN, infinite or negative values, a row of zeros, or a label that is
        no class.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise InputError(f"probabilities: shape {probabilities.shape} does not fit labels of shape {labels.shape}; "
                         "give clips x classes and one label a clip")  # fmt: skip
    if not len(labels):
        raise InputError("probabilities: there is no clip to score")
    if not np.isfinite(probabilities).all():
        row = int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])
        raise InputError(f"probabilities: row {row} holds NaN or an infinite value")
    if (probabilities < 0).any():
        raise InputError(f"probabilities: row {int(np.flatnonzero((probabilities < 0).any(axis=1))[0])} is negative")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise InputError(f"labels: must be class numbers from 0 to {probabilities.shape[1] - 1}")
    totals = probabilities.sum(axis=1, keepdims=True)
    if (totals == 0).any():
        raise InputError(f"probabilities: row {int(np.flatnonzero(totals == 0)[0])} is all zeros")
    off = int((np.abs(totals - 1) > 1e-6).sum())
    if off:
        warnings.warn(
            f"probabilities: {off} of {len(labels)} rows do not sum to one; they were normalised", stacklevel=3
        )
    return probabilities / totals, labels.astype(np.int64)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits to probabilities along the last axis, in float64."""
    logits = np.asarray(logits, dtype=np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def clip_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log p(true class) of every clip, (clips,)."""
    probabilities, labels = validate(probabilities, labels)
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], SMALLEST))


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over clips.

    >>> round(log_loss([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], [0, 0, 1]), 4)
    0.3406
    """
    return float(clip_losses(probabilities, labels).mean())


def log_loss_macro(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the class-wise means."""
    return float(pd.Series(clip_losses(probabilities, labels)).groupby(np.asarray(labels)).mean().mean())


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of class recalls; the argmax decides.

    >>> accuracy([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], [0, 0, 1])  # recalls of 1/2 and 1
    0.75
    """
    probabilities, labels = validate(probabilities, labels)
    return float(pd.Series(probabilities.argmax(axis=1) == labels).groupby(labels).mean().mean())


@dataclass(frozen=True)
class Score:
    """A number with its 95 % interval, NaN where all clips are from one location."""

    value: float
    low: float
    high: float


def score(
    correct: np.ndarray, losses: np.ndarray, labels: np.ndarray, locations: np.ndarray, differences: bool = False
) -> dict[str, Score]:
    """Accuracy and both log losses, with intervals from resampled locations.

    Parameters
    ----------
    correct : (clips,) 0 or 1, or the mean of that over seeds
    losses : (clips,) log losses, or their mean over seeds
    labels : (clips,) class numbers
    locations : (clips,) where each was recorded
    differences : ``correct`` and ``losses`` are those of two systems, subtracted

    Returns
    -------
    accuracy, log_loss, log_loss_macro
    """
    places = np.unique(locations)
    values = _resampled(correct, losses, labels, locations, places)
    if len(places) < 2:  # one location says nothing of others
        return {name: Score(float(series[0]), np.nan, np.nan) for name, series in values.items()}
    scores = {name: _interval(series) for name, series in values.items()}
    if not differences and set(correct) in ({0.0}, {1.0}):
        scores["accuracy"] = _unanimous(float(correct[0]), len(places))
    return scores


def score_apart(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> dict[str, Score]:
    """`score` of some clips less that of others, such as other devices'; locations are resampled for both at once.

    Parameters
    ----------
    first, second : ``correct``, ``losses``, ``labels`` and ``locations`` of each, as for `score`
    """
    places = np.unique(np.concatenate([first[3], second[3]]))
    one, other = (_resampled(*clips, places) for clips in (first, second))
    return {name: _interval(one[name] - other[name]) for name in one}


def _resampled(
    correct: np.ndarray, losses: np.ndarray, labels: np.ndarray, locations: np.ndarray, places: np.ndarray
) -> dict[str, np.ndarray]:
    """Each score of the clips as they are, then with the ``places`` drawn anew, (1 + resamples,)."""
    place = np.searchsorted(places, locations)
    _, scene = np.unique(labels, return_inverse=True)
    shape = (len(places), scene.max() + 1)
    each = np.ones(len(labels)), correct, losses
    cell, size = place * shape[1] + scene, shape[0] * shape[1]
    sums = [np.bincount(cell, values, size).reshape(shape) for values in each]  # locations, classes
    drawn = np.random.default_rng(0).multinomial(shape[0], np.full(shape[0], 1 / shape[0]), RESAMPLES)
    weights = np.vstack([np.ones(shape[0]), drawn])  # the first row is the data as they are
    count, right, loss = (weights @ table for table in sums)  # resamples, classes
    with np.errstate(invalid="ignore"):  # a class whose locations were not drawn does not count
        return {
            "accuracy": np.nanmean(right / count, axis=1),
            "log_loss": loss.sum(axis=1) / count.sum(axis=1),
            "log_loss_macro": np.nanmean(loss / count, axis=1),
        }


def _unanimous(value: float, locations: int) -> Score:
    """All right or all wrong at every location."""
    far = ((1 - LEVEL) / 2) ** (1 / locations)
    return Score(value, far, 1.0) if value else Score(value, 0.0, 1 - far)


def _interval(series: np.ndarray) -> Score:
    low, high = np.nanquantile(series[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(float(series[0]), float(low), float(high))
