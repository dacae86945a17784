"""The floors that a network should beat: scikit-learn's classifiers on statistics of every log-mel band.

They are as strong as what a minute allows: their features, their C and a temperature are chosen by training clips of
places that the classifier was not fitted to. Where a recipe asks for other microphones, they are given copies of the
clips, too (`asc_kit.run.experiment`).
"""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from asc_kit import metrics, network
from asc_kit.common import InputError
from asc_kit.data.corpus import fold_numbers
from asc_kit.deploy import calibration

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

STRENGTHS = 10.0 ** np.arange(-3, 4)  # C; a small one holds the classifier back
FOLDS = 3
COPIES = 4  # of a training clip by other microphones, where a recipe asks for them (device_response)
UNSEEN = 1e4  # below every other class's logit
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
    return torch.cat(parts).cpu().numpy() if parts else np.empty((0, 0))


def probabilities(model: "Pipeline", temperature: float, evaluation: np.ndarray, n_classes: int) -> np.ndarray:
    """What `fit` gave says of `statistics`: (clips, classes)."""
    if not len(evaluation):
        return np.empty((0, n_classes))
    return calibration.tempered(_probabilities(model, evaluation[:, : model.n_features_in_], n_classes), temperature)


def fit(
    kind: str, training: np.ndarray, rows: pd.DataFrame, classes: tuple[str, ...]
) -> tuple["Pipeline", dict[str, str | float]]:
    """Standardise and fit scikit-learn's classifier as training clips choose it.

    Parameters
    ----------
    kind : "logistic" regression, or "svm" with a radial kernel
    training : `statistics`
    rows : of the training clips; scene_label, identifier

    Returns
    -------
    the classifier of as many of the statistics as were chosen; features, C and temperature

    Raises
    ------
    InputError : too few classes or locations to choose by
    """
    labels = pd.Categorical(rows.scene_label, classes).codes
    columns = {name: count * training.shape[1] // 3 for name, count in FEATURES.items()}
    try:
        places = rows.identifier.nunique()
        if places < FOLDS and "recording" in rows:  # too few to choose by
            rows = rows.assign(identifier=rows.recording)
        folds = fold_numbers(rows, FOLDS, 0).to_numpy()
        found = [(*choose(kind, training[:, :n], labels, folds, len(classes)), name) for name, n in columns.items()]
    except InputError as error:
        raise InputError(f"submission: {kind} chooses its C in {FOLDS} folds of the training clips by location, which "
                         f"these do not allow ({error}); leave out of the recipe what needs it") from None  # fmt: skip
    _, strength, temperature, name = min(found)
    model = _classifier(kind, strength).fit(training[:, : columns[name]], labels)
    return model, {"features": name, "C": strength, "temperature": temperature}


def as_network(model: "Pipeline", temperature: float, n_mels: int, n_classes: int) -> network.Logistic:
    """A fitted logistic regression as a module whose float16 copy gives its probabilities, but for some 0.001.

    What rounding moves in the means and deviations is taken back in the weights. A class that it has not seen has a
    probability of 0.
    """
    net, (scaler, regression) = network.Logistic(n_mels, n_classes), (step for _, step in model.steps)
    net.mean[: len(scaler.mean_)] = torch.from_numpy(scaler.mean_).half()
    net.deviation[: len(scaler.scale_)] = torch.from_numpy(scaler.scale_).half()
    mean, deviation = (x[: len(scaler.mean_)].double().numpy() for x in (net.mean, net.deviation))
    seen = regression.classes_[-len(regression.coef_) :]  # of two classes, the second alone has weights
    weights = regression.coef_ / scaler.scale_
    with torch.no_grad():
        net.classifier.weight.zero_()
        net.classifier.bias.fill_(-UNSEEN)[regression.classes_] = 0.0
        net.classifier.weight[seen, : len(mean)] = torch.from_numpy(weights * deviation / temperature).float()
        bias = regression.intercept_ + weights @ (mean - scaler.mean_)
        net.classifier.bias[seen] = torch.from_numpy(bias / temperature).float()
    return net.eval()


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

    # Of the few clips in a fold's training part, half as many as classes do.
    warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
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
