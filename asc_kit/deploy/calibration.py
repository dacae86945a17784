"""How far a network's probabilities can be trusted, and whether a recording is unlike what the network knows.

``temperature.json`` lies beside the model of a run that has a validation part. It holds a temperature (Guo et al.,
2017, arXiv:1706.04599) fitted on that part's predictions, with its effect there; and a profile of training clips: the
mean and the precision matrix of coarse log-mel statistics, and the squared Mahalanobis distance that one in a hundred
training clips exceeds, each measured by clips of other locations. How many validation clips exceed it stands beside:
those are false alarms. The training clips' mean spectrum, and how it varies, set the model to another microphone
(`asc_kit.deploy.microphone`).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asc_kit import metrics
from asc_kit.common import InputError, write_file
from asc_kit.config import Config

NAME = "temperature.json"
RANGE = (0.05, 20.0)  # of the temperature
BANDS = 8  # groups of mel bins; each gives a mean and a deviation over time
MEASURED = 400  # clips at most, of training and of validation
QUANTILE = 0.99
DIRECTIONS = 8  # in which training clips' spectra vary most; of more, nothing that counts is left
PARTS = 5  # of the training clips; each is measured by the others


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities, (..., classes), with their logits divided by the temperature."""
    if temperature == 1:
        return probabilities
    with np.errstate(divide="ignore"):  # a probability of zero stays zero
        return metrics.softmax(np.log(probabilities) / temperature)


def fit(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Find the temperature of the least log loss.

    Parameters
    ----------
    probabilities, labels : (clips, classes) and (clips,) class numbers of clips that were not trained on

    Returns
    -------
    temperature; log_loss_before and log_loss_after, on these very clips; clips
    """
    from scipy.optimize import minimize_scalar  # here: predict has no use for it

    found = minimize_scalar(
        lambda x: metrics.log_loss(tempered(probabilities, np.exp(x)), labels), bounds=np.log(RANGE), method="bounded"
    )
    before, best = metrics.log_loss(probabilities, labels), round(float(np.exp(found.x)), 4)
    after = metrics.log_loss(tempered(probabilities, best), labels)
    if after >= before or (probabilities.argmax(1) == labels).all():  # all right: the least loss is at no temperature
        best, after = 1.0, before
    return {"temperature": best, "log_loss_before": before, "log_loss_after": after, "clips": len(labels)}


def statistics(features: torch.Tensor) -> np.ndarray:
    """Level of up to eight groups of mel bins, its mean and deviation over time, in the features' own unit.

    Parameters
    ----------
    features : (clips, 1, time, mel)

    Returns
    -------
    (clips, 2 x groups) float64
    """
    groups = features.squeeze(1).double().tensor_split(min(BANDS, features.shape[-1]), dim=-1)
    levels = torch.stack([group.mean(-1) for group in groups], dim=-1)  # clips, time, groups
    return torch.cat([levels.mean(1), levels.std(1, correction=0)], dim=1).cpu().numpy()


def profile(training: np.ndarray, places: Iterable[str], validation: np.ndarray) -> dict[str, Any]:
    """What `distance` measures by, and from where on it tells a recording to be unlike the training clips.

    Parameters
    ----------
    training, validation : `statistics` of clips
    places : location of each training clip

    Returns
    -------
    mean, precision; limit; clips, validation_clips, and false_alarms, the fraction of the latter beyond the limit
    """
    from sklearn.model_selection import GroupKFold  # here: predict has no use for it

    places = np.asarray(list(places))
    parts = min(PARTS, len(set(places)))
    known = _shape(training)
    if parts > 1:
        folds = GroupKFold(parts).split(training, groups=places)
        others = np.concatenate([distance(_shape(training[rest]), training[part]) for rest, part in folds])
    else:
        others = distance(known, training)
    limit = float(np.quantile(others, QUANTILE))
    alarms = float((distance(known, validation) > limit).mean()) if len(validation) else None
    return known | {"limit": limit, "clips": len(training), "validation_clips": len(validation), "false_alarms": alarms}


def _shape(known: np.ndarray) -> dict[str, Any]:
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(known)
    precision = np.linalg.pinv(covariance, hermitian=True)
    return {"mean": _short(known.mean(0)), "precision": _short(precision)}


def _short(values: np.ndarray) -> Any:
    """Six digits, so that the file stays small."""
    return np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])(values).tolist()


def distance(known: dict[str, Any], statistics: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance of clips, (clips, n), to a profile: (clips,)."""
    off = statistics - np.array(known["mean"])
    return np.einsum("ci,ij,cj->c", off, np.array(known["precision"]), off)


def unlike(about: dict[str, Any], features: torch.Tensor) -> np.ndarray:
    """Whether clips are unlike the training clips: (clips,) bool.

    Parameters
    ----------
    about : what `read` gave
    features : (clips, 1, time, mel), of the model's own kind
    """
    return distance(about["profile"], statistics(features)) > about["profile"]["limit"]


def mean_spectra(features: torch.Tensor) -> np.ndarray:
    """Of (clips, 1, time, mel), the mean over time: (clips, mel) float64."""
    return features.squeeze(1).double().mean(1).cpu().numpy()


def spectrum(spectra: np.ndarray) -> dict[str, Any]:
    """Training clips' mean spectrum, and how a clip's differs from it.

    Parameters
    ----------
    spectra : (clips, mel), each the mean over time

    Returns
    -------
    mean, (mel,); directions of most variance, (up to 8, mel) of length 1, and variances along them; variance of a bin
    """
    off = spectra - spectra.mean(0)
    _, deviations, directions = np.linalg.svd(off / max(1, len(off) - 1) ** 0.5, full_matrices=False)
    variances, some = deviations**2, slice(min(DIRECTIONS, len(off) - 1))
    found = {"mean": spectra.mean(0), "directions": directions[some], "variances": variances[some],
             "variance": variances.sum() / off.shape[1]}  # fmt: skip
    return {name: _short(values) for name, values in found.items()}


def write(
    file: Path, config: Config, fitted: dict[str, float], known: dict[str, Any], spectrum: dict[str, Any]
) -> None:
    """Write ``temperature.json``; it names the configuration it belongs to."""
    about = {**fitted, "fold": config.fold, "configuration": config.hash, "profile": known, "spectrum": spectrum}
    write_file(file, json.dumps(about, indent=1) + "\n")


def read(model_file: str | Path, config: Config) -> dict[str, Any]:
    """Read the ``temperature.json`` beside a model.

    Raises
    ------
    InputError : it is not there, damaged, or of another model.
    """
    file = Path(model_file).with_name(NAME)
    try:
        about = json.loads(file.read_text())
        whole = RANGE[0] / 2 < about["temperature"] < RANGE[1] * 2 and {"limit", "mean"} <= about["profile"].keys()
        whole = whole and {"configuration", "clips"} <= about.keys()
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; a run with a validation part writes it beside its model") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"{file}: is no whole {NAME} of this kit; train the run again")
    if about["configuration"] != config.hash:
        raise InputError(f"{file}: is of configuration {about['configuration']}, the model of {config.hash}; "
                         "put the model's own beside it")  # fmt: skip
    return about
