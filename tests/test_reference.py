"""The floors: scikit-learn's classifiers on log-mel statistics."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from asc_kit import metrics
from asc_kit.common import InputError
from asc_kit.run import floors as reference
from asc_kit.run.floors import statistics

CLASSES = ("a", "b", "c", "d", "e")


def clusters(sizes, places=4, spread=0.0):
    """Overlapping classes of the given sizes, in five dimensions of unlike scales, at that many places each."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(size) % places for size in sizes])
    shift = spread * rng.normal(size=(len(sizes), places, 5))[labels, place]
    x = (rng.normal(size=(len(labels), 5)) + labels[:, None] / 2 + shift) * (1, 10, 100, 1, 1)
    identifier = [f"{CLASSES[label]}{k}" for label, k in zip(labels, place)]
    return x, pd.DataFrame({"scene_label": [CLASSES[label] for label in labels], "identifier": identifier}), labels


def fit_predict(kind, training, rows, evaluation, classes):
    model, chosen = reference.fit(kind, training, rows, classes)
    return reference.probabilities(model, chosen["temperature"], evaluation, len(classes)), chosen


@pytest.fixture(autouse=True)
def _one_kind_of_features(request, monkeypatch):
    """`clusters` has five dimensions, and no bands."""
    if "features" not in request.node.name:
        monkeypatch.setattr(reference, "FEATURES", {"all": 3})


def test_statistics_are_mean_and_deviation_of_each_band_and_of_its_differences():
    x = torch.randn(3, 1, 50, 4, generator=torch.Generator().manual_seed(0))
    y = x[:, 0].double().numpy()  # clips, time, bands
    steps = y[:, 1:] - y[:, :-1]
    expected = np.concatenate([y.mean(1), y.std(1, ddof=1), steps.std(1, ddof=1)], axis=1)
    np.testing.assert_allclose(statistics([x[:2], x[2:]]), expected)


@pytest.mark.parametrize("helps", [True, False])
def test_features_are_chosen_by_places_that_were_not_fitted_to(helps):
    """Differences that tell the class are taken; those that tell the place alone are left out."""
    x, rows, labels = clusters((60, 60, 60), places=6)
    rng = np.random.default_rng(1)
    if helps:
        differences = labels[:, None] + 0.3 * rng.normal(size=(len(labels), 5))
    else:
        differences = 30 * rng.normal(size=(180, 5))[pd.factorize(rows.identifier)[0]]
    parts = np.concatenate([x, x, differences], axis=1)
    _, chosen = fit_predict("logistic", parts, rows, parts, CLASSES[:3])
    assert ("differences" in chosen["features"]) == helps


@pytest.mark.parametrize(("kind", "plain"), [("logistic", LogisticRegression(max_iter=5000)), ("svm", SVC())])
def test_a_floor_says_what_scikit_learns_classifier_says(kind, plain, monkeypatch):
    monkeypatch.setattr(reference, "STRENGTHS", (1.0,))  # as they come
    x, rows, labels = clusters((30, 30, 30))
    scaler = StandardScaler().fit(x)
    plain.fit(scaler.transform(x), labels)
    expected = plain.predict(scaler.transform(x))
    assert 0.5 < (expected == labels).mean() < 0.99  # a task on which it errs
    probabilities, chosen = fit_predict(kind, x, rows, x, CLASSES[:3])
    assert (probabilities.argmax(1) == expected).all() and chosen["C"] == 1
    if kind == "logistic":  # its own probabilities, at the temperature that was chosen
        powers = plain.predict_proba(scaler.transform(x)) ** (1 / chosen["temperature"])
        assert probabilities == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_probabilities_can_be_trusted_at_places_that_were_not_trained_on(kind):
    """Where places differ more than clips, a classifier as it comes is too sure of itself; the chosen one is less so."""
    x, rows, labels = clusters((60, 60, 60), places=12, spread=2.0)
    there = rows.identifier.str[1:].astype(int).to_numpy() < 6
    probabilities, chosen = fit_predict(kind, x[there], rows[there].reset_index(drop=True), x[~there], CLASSES[:3])
    scaler = StandardScaler().fit(x[there])
    plain = LogisticRegression(C=1000).fit(scaler.transform(x[there]), labels[there])
    sure = plain.predict_proba(scaler.transform(x[~there]))
    assert metrics.log_loss(probabilities, labels[~there]) < metrics.log_loss(sure, labels[~there]) - 0.1
    assert metrics.log_loss(probabilities, labels[~there]) < np.log(3) and chosen["temperature"] != 1


def test_a_clip_that_is_called_impossible_counts_against_its_c(monkeypatch):
    """Confidence that rules a true class out must cost: such clips were once left out of the comparison."""
    labels, folds = np.array([0, 1, 2] * 6), np.repeat([0, 1], 9)

    def made_up(model, x, n_classes):
        sure = np.eye(3)[x[:, 0].astype(int)]
        if model == 1000:
            sure[0] = np.roll(sure[0], 1)  # one of nine wrong, with no doubt
            return sure
        return 0.8 * sure + 0.2 / 3

    class Fitted:
        def fit(self, x, y):
            return self.strength

    monkeypatch.setattr(reference, "_classifier", lambda kind, c: type("F", (Fitted,), {"strength": c})())
    monkeypatch.setattr(reference, "_probabilities", made_up)
    monkeypatch.setattr(reference, "STRENGTHS", (1, 1000))
    assert reference.choose("logistic", labels[:, None].astype(float), labels, folds, 3)[1] == 1


def test_a_second_time_the_same():
    x, rows, _ = clusters((30, 30, 30))
    once, twice = (fit_predict("svm", x, rows, x, CLASSES[:3])[0] for _ in range(2))
    np.testing.assert_array_equal(once, twice)


def test_two_classes_and_one_place_of_a_third():
    """Of two classes there is one decision value; a class of one place cannot be held out, and is learned all the same."""
    x, rows, labels = clusters((12, 12))
    assert (fit_predict("svm", x, rows, x, CLASSES[:2])[0].argmax(1) == labels).mean() > 0.7
    x, rows, labels = clusters((12, 12, 12))
    rows.loc[rows.scene_label == "c", "identifier"] = "c0"
    assert (fit_predict("logistic", x, rows, x, CLASSES[:3])[0][:, 2] > 0.3).any()


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_classes_that_training_lacks_get_nothing(kind):
    x, rows, _ = clusters((12, 0, 12, 4))
    probabilities, _ = fit_predict(kind, x, rows, x, CLASSES)
    assert probabilities.sum(1) == pytest.approx(np.ones(len(x)))
    assert not probabilities[:, [1, 4]].any() and (probabilities[:, [0, 2, 3]] > 0).all()


@pytest.mark.parametrize(
    ("sizes", "places", "message"),
    [((12, 12), 1, "2 locations are too few"), ((12, 12, 12), 1, "no class is in two"), ((12,), 4, "no class is in")],
)
def test_too_little_to_choose_by_is_said(sizes, places, message):
    x, rows, _ = clusters(sizes, places)
    with pytest.raises(InputError, match=f"submission: svm chooses its C in 3 folds .*{message}.*; leave out"):
        fit_predict("svm", x, rows, x, CLASSES[: len(sizes)])
