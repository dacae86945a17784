"""The floors: scikit-learn's classifiers on log-mel statistics."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from asc_kit.errors import InputError
from asc_kit.reference import fit_predict, statistics


def clusters(sizes):
    """Overlapping classes of the given sizes, in five dimensions of unlike scales."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return (rng.normal(size=(len(labels), 5)) + labels[:, None] / 2) * (1, 10, 100, 1, 1), labels


def test_statistics_are_mean_and_deviation_of_each_band():
    x = torch.randn(3, 1, 50, 4, generator=torch.Generator().manual_seed(0))
    expected = np.concatenate([x[:, 0].double().mean(1), x[:, 0].double().std(1)], axis=1)
    np.testing.assert_allclose(statistics([x[:2], x[2:]]), expected)


def test_the_svm_says_what_a_support_vector_machine_says():
    x, labels = clusters((30, 30, 30))
    scaler = StandardScaler().fit(x)
    plain = SVC().fit(scaler.transform(x), labels).predict(scaler.transform(x))
    assert 0.5 < (plain == labels).mean() < 0.99  # a task on which it errs
    probabilities = fit_predict("svm", x, labels, x, 3)
    assert (probabilities.argmax(1) == plain).all()
    assert probabilities == pytest.approx(fit_predict("svm", x, labels, x, 3))  # a second time the same


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_classes_that_training_lacks_get_nothing(kind):
    x, labels = clusters((12, 0, 12, 4))
    probabilities = fit_predict(kind, x, labels, x, 5)
    assert probabilities.sum(1) == pytest.approx(np.ones(len(x)))
    assert not probabilities[:, [1, 4]].any() and (probabilities[:, [0, 2, 3]] > 0).all()


def test_the_svm_names_a_class_that_is_too_small():
    x, labels = clusters((12, 2, 12))
    with pytest.raises(InputError, match="three training clips of every class, and one has 2"):
        fit_predict("svm", x, labels, x, 3)
