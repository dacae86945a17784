"""The floors that a network should beat: scikit-learn's classifiers on statistics of every log-mel band.

They are as strong as what a minute allows: their features, their C and a temperature are chosen by training clips of
places that the classifier was not fitted to.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from asc_kit import metrics
from asc_kit.common import InputError
from asc_kit.data.corpus import fold_numbers
from asc_kit.deploy import calibration

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

STRENGTHS = 10.0 ** np.arange(-3, 4)  # C; a small one holds the classifier back
FOLDS = 3
FEATURES = {"mean, deviation": 2, "mean, deviation, deviation of differences": 3}  # -> how many of `statistics`'


def statistics(features: Iterable[torch.Tensor]) -> np.ndarray:
    """Over time: mean, deviation, and deviation of the differences from frame to frame.

    Parameters
    ----------
    features : batches of (batch, 1, time, mel)

    Returns
    -------
    (clips, 3 x mel) float64
    """
    batches = (x[:, 0].double() for x in features)  # batch, time, mel
    parts = [torch.cat([x.mean(1), x.std(1), x.diff(dim=1).std(1)], dim=1) for x in batches]
    return torch.cat(parts).cpu().numpy()


def fit_predict(
    kind: str, training: np.ndarray, rows: pd.DataFrame, evaluation: np.ndarray, classes: tuple[str, ...]
) -> tuple[np.ndarray, dict[str, str | float]]:
    """Standardise, fit scikit-learn's classifier as training clips choose it, and score.

    Parameters
    ----------
    kind : "logistic" regression, or "svm" with a radial kernel
    training, evaluation : `statistics`
    rows : of the training clips; scene_label, identifier

    Returns
    -------
    (evaluation clips, classes) probabilities, 0 for a class that the training rows lack; what was chosen:
    features, C and temperature

    Raises
    ------
    InputError : too few classes or locations to choose by
    """
    labels = pd.Categorical(rows.scene_label, classes).codes
    columns = {name: count * training.shape[1] // 3 for name, count in FEATURES.items()}
    try:
        folds = fold_numbers(rows, FOLDS, 0).to_numpy()
        found = [(*choose(kind, training[:, :n], labels, folds, len(classes)), name) for name, n in columns.items()]
    except InputError as error:
        raise InputError(f"submission: {kind} chooses its C in {FOLDS} folds of the training clips by location, which "
                         f"these do not allow ({error}); leave it out of the recipe") from None  # fmt: skip
    _, strength, temperature, name = min(found)
    model = _classifier(kind, strength).fit(training[:, : columns[name]], labels)
    probabilities = _probabilities(model, evaluation[:, : columns[name]], len(classes))
    chosen = {"features": name, "C": strength, "temperature": temperature}
    return calibration.tempered(probabilities, temperature), chosen


def choose(
    kind: str, training: np.ndarray, labels: np.ndarray, folds: np.ndarray, n_classes: int
) -> tuple[float, float, float]:
    """The least log loss on training clips of locations that the classifier was not fitted to, its C and temperature.

    Parameters
    ----------
    labels, folds : (clips,) class and fold of every training clip; one whose class the other folds lack, or that they
        have no second class to tell from, does not count

    Raises
    ------
    InputError : no clip counts
    """
    found, known = [], np.zeros(len(labels), bool)
    for strength in STRENGTHS:
        held_out = np.zeros((len(labels), n_classes))
        for fold in np.unique(folds):
            inside = folds == fold
            if len(np.unique(labels[~inside])) > 1:
                model = _classifier(kind, strength).fit(training[~inside], labels[~inside])
                held_out[inside] = _probabilities(model, training[inside], n_classes)
                known[inside] = np.isin(labels[inside], labels[~inside])
        if not known.any():
            raise InputError("no class is in two of them beside another class")
        fitted = calibration.fit(held_out[known], labels[known])
        found.append((fitted["log_loss_after"], float(strength), fitted["temperature"]))
    return min(found)


def _classifier(kind: str, strength: float) -> "Pipeline":
    from sklearn.linear_model import LogisticRegression  # here: their import takes a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    chosen = LogisticRegression(C=strength, max_iter=5000) if kind == "logistic" else SVC(C=strength)
    return make_pipeline(StandardScaler(), chosen)


def _probabilities(model: "Pipeline", x: np.ndarray, n_classes: int) -> np.ndarray:
    """(clips, classes): the softmax of the decision values, which for a logistic regression is what it says."""
    values = model.decision_function(x)
    if values.ndim == 1:  # of two classes, the second's
        values = np.stack([np.zeros_like(values), values], axis=1)
    logits = np.full((len(x), n_classes), -np.inf)
    logits[:, model.classes_] = values
    return metrics.softmax(logits)
