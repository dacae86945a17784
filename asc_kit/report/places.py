"""What 2,968 clips can tell: those of one place are alike, and an interval that takes places for units is wider.

How much wider is measured on the report's very clips, by a public system, two_stage: its probabilities for the
evaluation fold of TAU 2020 Mobile (re-release), and the places that the clips' names tell. Its rows are not the kit's
to give away; what tools/places.py derives from them is, in ``published/places.csv``. The report's predictions are not
public: its accuracies borrow the ratios. Its log losses do not, since their spread depends on how confident a system
is, and two_stage is too little so.
"""

import math

import pandas as pd
from scipy import stats

from asc_kit import metrics
from asc_kit.report import tables

TWO_STAGE = "two_stage"  # the public system
Z = float(stats.norm.isf((1 - metrics.LEVEL) / 2))
CORRELATION = 0.5  # of right answers; 0.3 to 0.75 between two of the report's networks on 79 clips of TUT 2017
PAIRS = (("4", "3"), ("4", "2"), ("3", "2"), ("2", "1"), ("1", "baseline"), (TWO_STAGE, "4"))


def published() -> pd.DataFrame:
    """part (all, class or device), row, clips, places; of accuracy (a fraction) and log_loss the score, half its 95 %
    interval ``_by_clip`` and ``_by_place``, and the ``_ratio`` of these: two_stage's, by tools/places.py."""
    return pd.read_csv(tables.PUBLISHED / "places.csv")


def wilson(accuracy: float, clips: float) -> tuple[float, float]:
    """Wilson's (1927) 95 % interval of an accuracy, a fraction, on so many independent clips.

    >>> [round(end, 3) for end in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    centre, scale = accuracy + Z**2 / (2 * clips), 1 + Z**2 / clips
    half = Z * math.sqrt(accuracy * (1 - accuracy) / clips + (Z / (2 * clips)) ** 2)
    return (centre - half) / scale, (centre + half) / scale


def intervals() -> pd.DataFrame:
    """Every accuracy that Tables 2, 3, 4 and 7 print, with 95 % intervals.

    By clip: Wilson's, of as many clips as were scored. By place: of that number divided by the square of two_stage's
    ratio for the class or device, or for all clips; that is as many times as wide. Both hold for a share of clips; of
    the mean over classes they are some 10 % too wide, since the classes' sizes are fixed.

    Returns
    -------
    table, row, clips, ratio, and in per cent accuracy, by_clip_low, by_clip_high, low, high
    """
    wider = published().set_index("row")
    rows = []
    for number in (2, 3, 4, 7):
        printed = tables.published(number)
        for row in printed[printed.column == "accuracy"].itertuples():
            of, value = wider.loc[row.row if number in (3, 4) else "average"], float(row.value)
            fewer = of.clips / of.accuracy_ratio**2
            ends = [100 * end for units in (of.clips, fewer) for end in wilson(value / 100, units)]
            rows.append((number, row.row, of.clips, of.accuracy_ratio, value, *ends))
    names = ["table", "row", "clips", "ratio", "accuracy", "by_clip_low", "by_clip_high", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def pairs(correlation: float = CORRELATION) -> pd.DataFrame:
    """The paired test of two published accuracies on the same clips, if right answers correlate so.

    Predictions would tell the correlation; printed accuracies do not. Places are taken to widen a difference's
    interval as they widen an accuracy's: too much where two systems fail at the same places.

    Returns
    -------
    system, against, points, half (the 95 % interval's, in points) and p by clip and by place, and needed: the
    correlation above which the difference, by place, is larger than chance; -1: any is
    """
    seven = tables.published(7).query("column == 'accuracy'").set_index("row").value.astype(float) / 100
    everything = published().set_index("row").loc["average"]
    accuracy = seven.to_dict() | {TWO_STAGE: everything.accuracy}
    rows = []
    for one, two in PAIRS:
        first, second = (accuracy[name] * (1 - accuracy[name]) for name in (one, two))  # variances of a clip
        difference, both = accuracy[one] - accuracy[two], math.sqrt(first * second)
        row = {"system": one, "against": two, "points": 100 * difference}
        for by, ratio in (("clip", 1), ("place", everything.accuracy_ratio)):
            error = ratio * math.sqrt((first + second - 2 * correlation * both) / everything.clips)
            row |= {f"half_by_{by}": 100 * Z * error, f"p_by_{by}": 2 * stats.norm.sf(abs(difference) / error)}
        shown = everything.clips * (difference / (Z * everything.accuracy_ratio)) ** 2
        rows.append(row | {"needed": max(-1.0, (first + second - shown) / (2 * both))})
    return pd.DataFrame(rows)
