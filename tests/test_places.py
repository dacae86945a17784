"""What the evaluation fold's clips can tell: recomputed from the public predictions where they are."""

import math

import numpy as np
import pandas as pd
import pytest
from conftest import real
from scipy import stats

from asc_kit.report import audit, places, tables
from tools import places as recomputed


@pytest.fixture(scope="module")
def two_stage():
    """The clips of the fold as that system answered them."""
    return recomputed.answered(real("tau2020_predictions") / "two_stage.tsv", real("tau2020_splits/v2"))


def test_published_widths_are_those_of_the_predictions(two_stage):
    pd.testing.assert_frame_equal(recomputed.widths(two_stage), places.published(), rtol=0, atol=2e-4)


def test_the_rows_of_the_predictions_are_not_committed():
    assert len(places.published()) == 1 + len(audit.CLASSES) + len(audit.DEVICES)
    assert not (tables.PUBLISHED / "two_stage.tsv").exists()


def test_ratio_is_that_of_the_linearised_errors(two_stage):
    """By other means, without resampling: the variance of sums over places against that over clips."""
    clips = two_stage
    sizes = clips.groupby("label").correct.transform("size")
    shares = (clips.correct - clips.groupby("label").correct.transform("mean")) / sizes / clips.label.nunique()
    ratio = math.sqrt((shares.groupby(clips.identifier).sum() ** 2).sum() / (shares**2).sum())
    assert places.published().accuracy_ratio[0] == pytest.approx(ratio, rel=0.06)


def test_places_widen_an_interval_where_their_clips_are_alike():
    """16 clips a place: alike, four times; drawn at random, hardly."""
    random, places_of = np.random.default_rng(0), np.repeat(np.arange(60), 16)
    for right, ratio in ((np.repeat(random.random(60) < 0.5, 16), 4), (random.random(960) < 0.5, 1)):
        values = [right.astype(float), right * 2.0, np.zeros(960, int)]
        by_clip, by_place = (recomputed.halves(values, units) for units in (np.arange(960), places_of))
        for score in ("accuracy", "log_loss"):
            assert by_place[score][1] / by_clip[score][1] == pytest.approx(ratio, rel=0.15)


def test_intervals_are_wilsons_and_enclose_what_is_printed():
    found = places.intervals()
    printed = pd.concat([tables.published(number).query("column == 'accuracy'") for number in (2, 3, 4, 7)])
    assert [found.row.tolist(), found.accuracy.tolist()] == [printed.row.tolist(), printed.value.astype(float).tolist()]
    for row in found.itertuples():
        ends = stats.binomtest(round(row.accuracy * row.clips / 100), row.clips).proportion_ci(method="wilson")
        assert (row.by_clip_low, row.by_clip_high) == pytest.approx((100 * ends.low, 100 * ends.high), abs=0.2)
        assert 0 < row.low < row.by_clip_low < row.accuracy < row.by_clip_high < row.high < 100
        assert (row.high - row.low) / (row.by_clip_high - row.by_clip_low) == pytest.approx(row.ratio, rel=0.15)


def test_pairs_by_clip_are_the_paired_test_of_such_predictions():
    """Against McNemar's test without correction on a table of agreement with that correlation."""
    row = places.pairs(0.6).set_index(["system", "against"]).loc[("4", "2")]
    one, two, clips = 0.705, 0.688, 2968
    both = one * two + 0.6 * math.sqrt(one * (1 - one) * two * (1 - two))
    won, lost = clips * (one - both), clips * (two - both)
    assert row.p_by_clip == pytest.approx(2 * stats.norm.sf((won - lost) / math.sqrt(won + lost)), rel=0.05)
    assert row.p_by_clip < row.p_by_place and row.half_by_place > 2 * row.half_by_clip
    at = places.pairs(row.needed).set_index(["system", "against"]).loc[("4", "2")]
    assert at.p_by_place == pytest.approx(0.05) and at.half_by_place == pytest.approx(at.points)
    assert places.pairs().set_index(["system", "against"]).needed[("1", "baseline")] == -1  # at any correlation
