"""The floors that a network should beat: scikit-learn's classifiers on the mean and deviation of every log-mel band."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from asc_kit.errors import InputError

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin


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
    kind: str, training: np.ndarray, labels: np.ndarray, evaluation: np.ndarray, n_classes: int
) -> np.ndarray:
    """Standardise, fit scikit-learn's classifier as it comes (C = 1), and score.

    Parameters
    ----------
    kind : "logistic" regression, or "svm" with a radial kernel; a support vector machine has no probabilities of its
        own: they are its decision values at a temperature fitted in three folds of the training rows

    Returns
    -------
    (evaluation clips, classes) probabilities; 0 for a class that the training rows lack

    Raises
    ------
    InputError : fewer than three training clips of a class, for the SVM
    """
    from sklearn.pipeline import make_pipeline  # here: their import takes a second
    from sklearn.preprocessing import StandardScaler

    classifier = _logistic() if kind == "logistic" else _svm(labels)
    model = make_pipeline(StandardScaler(), classifier).fit(training, labels)
    probabilities = np.zeros((len(evaluation), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(evaluation)
    return probabilities


def _logistic() -> "ClassifierMixin":
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=5000)


def _svm(labels: np.ndarray) -> "ClassifierMixin":
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import SVC

    if (smallest := min(np.unique_counts(labels).counts)) < 3:
        raise InputError(f"submission: svm needs three training clips of every class, and one has {smallest}; "
                         "leave svm out of the recipe")  # fmt: skip
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    return CalibratedClassifierCV(SVC(), method="temperature", ensemble=False, cv=folds)
