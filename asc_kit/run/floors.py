"""The floors that a network should beat: scikit-learn's classifiers on the mean and deviation of every log-mel band."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from asc_kit import metrics
from asc_kit.common.errors import InputError
from asc_kit.data.corpus import fold_numbers
from asc_kit.deploy import calibration

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

STRENGTHS = 10.0 ** np.arange(-3, 4)  # C; a small one holds the classifier back
FOLDS = 3


def statistics(features: Iterable[torch.Tensor]) -> np.ndarray:
    """Mean and deviation over time.

    Parameters
    ----------
    features : batches of (batch, 1, time, mel)

    Returns
    -------
    (clips, 2 x mel) float64
    """
    parts = [torch.cat([x[:, 0].double().mean(1), x[:, 0].double().std(1)], dim=1) for x in features]
    return torch.cat(parts).cpu().numpy()


def fit_predict(
    kind: str, training: np.ndarray, rows: pd.DataFrame, evaluation: np.ndarray, classes: tuple[str, ...]
) -> tuple[np.ndarray, dict[str, float]]:
    """Standardise, fit scikit-learn's classifier with the C and the temperature that training clips choose, and score.

    Parameters
    ----------
    kind : "logistic" regression, or "svm" with a radial kernel
    training, evaluation : (clips, statistics)
    rows : of the training clips; scene_label, identifier

    Returns
    -------
    (evaluation clips, classes) probabilities, 0 for a class that the training rows lack; what was chosen: C and
    temperature

    Raises
    ------
    InputError : too few classes or locations to choose by
    """
    labels = pd.Categorical(rows.scene_label, classes).codes
    try:
        strength, temperature = choose(kind, training, labels, fold_numbers(rows, FOLDS, 0).to_numpy(), len(classes))
    except InputError as error:
        raise InputError(f"submission: {kind} chooses its C in {FOLDS} folds of the training clips by location, which "
                         f"these do not allow ({error}); leave it out of the recipe") from None  # fmt: skip
    model = _classifier(kind, strength).fit(training, labels)
    probabilities = calibration.tempered(_probabilities(model, evaluation, len(classes)), temperature)
    return probabilities, {"C": strength, "temperature": temperature}


def choose(
    kind: str, training: np.ndarray, labels: np.ndarray, folds: np.ndarray, n_classes: int
) -> tuple[float, float]:
    """C and temperature of the least log loss on training clips of locations that the classifier was not fitted to.

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
    return min(found)[1:]


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
