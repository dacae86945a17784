"""The floor that a network should beat: logistic regression on the mean and deviation of every log-mel band."""

from collections.abc import Iterable

import numpy as np
import torch


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


def fit_predict(training: np.ndarray, labels: np.ndarray, evaluation: np.ndarray, n_classes: int) -> np.ndarray:
    """Standardise, fit scikit-learn's logistic regression as it comes (C = 1), and score.

    Returns
    -------
    (evaluation clips, classes) probabilities; 0 for a class that the training rows lack
    """
    from sklearn.linear_model import LogisticRegression  # here: their import takes a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(training, labels)
    probabilities = np.zeros((len(evaluation), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(evaluation)
    return probabilities
