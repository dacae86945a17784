"""Scores against scikit-learn, frozen values and the report's own arithmetic."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from asc_kit import metrics
from asc_kit.common import InputError

FROZEN = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6], [0.5, 0.25, 0.25]])
LABELS = np.array([0, 1, 0, 2, 2])


def random_case(seed: int, clips: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(classes), clips), random.integers(0, classes, clips)


def test_frozen_scores():
    assert metrics.accuracy(FROZEN, LABELS) == pytest.approx((1 / 2 + 1 + 1 / 2) / 3, abs=1e-12)
    losses = -np.log([0.7, 0.8, 0.3, 0.6, 0.25])
    assert metrics.log_loss(FROZEN, LABELS) == pytest.approx(losses.mean(), abs=1e-12)
    macro = ((losses[0] + losses[2]) / 2 + losses[1] + (losses[3] + losses[4]) / 2) / 3
    assert metrics.log_loss_macro(FROZEN, LABELS) == pytest.approx(macro, abs=1e-12)


@given(seed=st.integers(0, 10**6), clips=st.integers(2, 60), classes=st.integers(2, 12))
def test_equals_scikit_learn(seed, clips, classes):
    p, y = random_case(seed, clips, classes)
    assert metrics.accuracy(p, y) == pytest.approx(sklearn.metrics.balanced_accuracy_score(y, p.argmax(1)), abs=1e-12)
    assert metrics.log_loss(p, y) == pytest.approx(sklearn.metrics.log_loss(y, p, labels=range(classes)), abs=1e-12)


@given(seed=st.integers(0, 10**6))
def test_order_of_clips_does_not_matter(seed):
    p, y = random_case(seed, 30, 4)
    order = np.random.default_rng(seed).permutation(30)
    assert metrics.accuracy(p, y) == pytest.approx(metrics.accuracy(p[order], y[order]), abs=1e-12)
    assert metrics.log_loss_macro(p, y) == pytest.approx(metrics.log_loss_macro(p[order], y[order]), abs=1e-12)


def test_certain_and_wrong_is_clipped_not_infinite():
    assert metrics.log_loss(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(-np.log(1e-15))


def test_rows_that_do_not_sum_to_one_are_normalised_and_said():
    with pytest.warns(UserWarning, match="2 of 5 rows"):
        scaled = FROZEN * np.array([[1], [3], [1], [0.5], [1]])
        assert metrics.log_loss(scaled, LABELS) == pytest.approx(metrics.log_loss(FROZEN, LABELS), abs=1e-12)


@pytest.mark.parametrize(
    ("p", "y", "what"),
    [
        (FROZEN[:3], LABELS, "shape"), (FROZEN[0], LABELS, "shape"), (FROZEN[:0], LABELS[:0], "no clip"),
        (np.where(FROZEN == 0.8, np.nan, FROZEN), LABELS, "row 1 holds NaN"),
        (np.where(FROZEN == 0.8, np.inf, FROZEN), LABELS, "row 1"), (FROZEN - 0.15, LABELS, "negative"),
        (FROZEN * [[0], [1], [1], [1], [1]], LABELS, "row 0 is all zeros"), (FROZEN, LABELS + 1, "labels"),
        (FROZEN, LABELS.astype(float), "labels"), (FROZEN, LABELS - 1, "labels"),
    ],
)  # fmt: skip
def test_faults_are_named(p, y, what):
    with pytest.raises(InputError, match=what):
        metrics.accuracy(p, y)


def test_softmax_is_exact_for_large_logits():
    assert metrics.softmax(np.array([1000.0, 1000.0])).tolist() == [0.5, 0.5]
    assert metrics.softmax(np.array([[0.0, np.log(3.0)]])) == pytest.approx(np.array([[0.25, 0.75]]))


def scored(p, y, places):
    correct = (p.argmax(1) == y).astype(float)
    return metrics.score(correct, metrics.clip_losses(p, y), y, places)


def test_score_is_the_metric_and_its_interval_holds_it():
    p, y = random_case(0, 400, 5)
    result = scored(p, y, np.arange(400) // 4)
    assert result["accuracy"].value == pytest.approx(metrics.accuracy(p, y), abs=1e-12)
    assert result["log_loss"].value == pytest.approx(metrics.log_loss(p, y), abs=1e-12)
    assert result["log_loss_macro"].value == pytest.approx(metrics.log_loss_macro(p, y), abs=1e-12)
    for s in result.values():
        assert s.low < s.value < s.high


def test_locations_not_clips_are_resampled():
    """Forty clips of a place that are all alike tell no more than one."""
    random = np.random.default_rng(0)
    right = np.repeat(random.random(30) < 0.6, 40)
    y = np.zeros(1200, dtype=int)
    p = np.where(right[:, None], [[0.9, 0.1]], [[0.1, 0.9]])
    by_place = scored(p, y, np.arange(1200) // 40)["accuracy"]
    by_clip = scored(p, y, np.arange(1200))["accuracy"]
    assert by_place.value == by_clip.value
    width = by_place.high - by_place.low
    assert width == pytest.approx(2 * 1.96 * (0.6 * 0.4 / 30) ** 0.5, rel=0.2)  # the binomial of thirty places
    assert width > 5 * (by_clip.high - by_clip.low)


def test_interval_covers_as_often_as_it_says():
    """Of 200 drawn data sets about 95 % have an interval that holds the truth."""
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        hit = np.repeat(random.random(60) < 0.7, 3)
        y = np.zeros(180, dtype=int)
        s = metrics.score(hit.astype(float), np.zeros(180), y, np.arange(180) // 3)["accuracy"]
        held += s.low <= 0.7 <= s.high
    assert 180 <= held <= 199


def test_one_location_has_no_interval():
    p, y = random_case(0, 10, 2)
    s = scored(p, y, np.zeros(10))["accuracy"]
    assert np.isnan(s.low) and np.isnan(s.high) and s.value == metrics.accuracy(p, y)


@pytest.mark.parametrize("places", [2, 3, 9, 50])
def test_all_right_or_all_wrong_leaves_room_for_chance(places):
    """The exact binomial interval: from nine places all wrong, up to a third of all could be right."""
    from scipy.stats import beta

    place = np.repeat(np.arange(places), 4)
    for right in (0.0, 1.0):
        s = metrics.score(np.full(len(place), right), np.ones(len(place)), np.zeros(len(place), int), place)["accuracy"]
        hits = int(right) * places
        low = beta.ppf(0.025, hits, places - hits + 1) if hits else 0.0
        high = beta.ppf(0.975, hits + 1, places - hits) if hits < places else 1.0
        assert (s.value, s.low, s.high) == (right, pytest.approx(low), pytest.approx(high))
    same = metrics.score(np.zeros(8), np.zeros(8), np.zeros(8, int), np.arange(8), differences=True)["accuracy"]
    assert (same.low, same.high) == (0, 0)


def test_scores_of_two_groups_of_clips_apart():
    """Value by hand; an interval that holds what two thousand draws of places, written out, give."""
    rng = np.random.default_rng(3)
    correct = rng.integers(0, 2, 60).astype(float)
    losses, labels, places = rng.random(60), np.tile([0, 1, 2], 20), np.array([f"p{k // 3}" for k in range(60)])
    first = np.arange(60) % 2 == 0
    sides = [(correct[m], losses[m], labels[m], places[m]) for m in (first, ~first)]
    found = metrics.score_apart(*sides)
    recalls = [np.mean([side[0][side[2] == k].mean() for k in range(3)]) for side in sides]
    assert found["accuracy"].value == pytest.approx(recalls[0] - recalls[1])
    assert found["log_loss"].value == pytest.approx(sides[0][1].mean() - sides[1][1].mean())
    drawn = []
    for _ in range(2000):
        chosen = rng.choice(np.unique(places), 20)
        parts = [np.concatenate([side[1][side[3] == place] for place in chosen]) for side in sides]
        drawn.append(parts[0].mean() - parts[1].mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found["log_loss"].low == pytest.approx(low, abs=0.03) and found["log_loss"].high == pytest.approx(
        high, abs=0.03
    )
    same = metrics.score_apart(sides[0], sides[0])
    assert same["accuracy"] == metrics.Score(0.0, 0.0, 0.0)
