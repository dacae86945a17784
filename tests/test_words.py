"""Sentences beside the tables: only what the tables do not say, and right when the numbers turn round."""

import dataclasses

import pandas as pd
import pytest

from asc_kit.report import tables, words
from asc_kit.report.evaluation import Results, Scored
from asc_kit.run.recipes import Recipe

NOTHING = Results(home=None, recipe=Recipe("toy"), classes=(), scored={})
CLIPS = pd.DataFrame({"correct": 1.0, "loss": 0.1, "label": 0, "identifier": [f"p{i}" for i in range(20)]})


def systems(**right):
    """Systems that are right at so many of twenty places."""
    parts = {name: CLIPS.assign(correct=[0.0] * (20 - count) + [1.0] * count) for name, count in right.items()}
    scored = {name.strip("_"): Scored(name, {0: rows}, ("bus", "park")) for name, rows in parts.items()}
    return dataclasses.replace(NOTHING, scored=scored)


def test_the_fewest_and_the_most_mel_bins_are_paired():
    assert words.mel_bins(systems(_1=20, _2=3, _4=15)).startswith(
        "4 against 1, paired by clip: accuracy -25.0 points [-45.0, -5.0], which leaves out 0"
    )
    same = words.mel_bins(systems(_1=20, _3=20))
    assert same.startswith("3 against 1, paired by clip: accuracy +0.0 points") and "includes 0" in same
    assert words.mel_bins(systems(_1=20)) == words.mel_bins(NOTHING) == ""


def test_the_best_network_is_held_against_the_baseline_and_without_it_against_the_best_floor():
    text = words.submissions(systems(logistic=19, baseline=15, _1=20, _2=10))
    assert text.startswith("1 against baseline, paired by clip: accuracy +25.0 points") and "leaves out 0" in text
    text = words.submissions(systems(logistic=12, svm=15, _1=8, mine=20))
    assert text.startswith("mine against svm, paired by clip: accuracy +25.0 points")
    assert words.submissions(systems(logistic=12, svm=15)) == words.submissions(NOTHING) == ""
    assert words.submissions(systems(logistic=12, baseline=15)).startswith("baseline against logistic")


def test_systems_of_other_clips_or_of_one_place_have_no_interval():
    both = systems(_1=20, _4=10)
    one = {name: dataclasses.replace(s, seeds={0: s.clips.assign(identifier="p")}) for name, s in both.scored.items()}
    assert "of one place" in words.mel_bins(dataclasses.replace(both, scored=one))
    apart = both.scored | {"4": dataclasses.replace(both.scored["4"], seeds={0: CLIPS.set_index(CLIPS.index + 50)})}
    assert words.mel_bins(dataclasses.replace(both, scored=apart)).startswith("4 and 1 have no clip in common")


def test_the_setup_is_the_runs_beside_the_reports():
    usual = words.setup(Recipe("toy").config("4"))
    assert usual.report["training.batch_size"] == usual["this run"]["training.batch_size"] == "64"
    other = words.setup(Recipe("toy").config("baseline", selection="none"))["this run"]
    assert other.tolist() == ["adam", "16", "constant", "0.001", "200", "None", "none", "None", "None", "None", "0.6"]


def test_floors_say_who_beats_them_and_who_does_not():
    """Twenty places: one network right everywhere, one as the floor, one worse; the words follow the signs."""
    clips = CLIPS.assign(correct=[0.0] * 8 + [1.0] * 12, loss=1.0)
    better, worse = clips.assign(correct=1.0, loss=0.1), clips.assign(correct=0.0, loss=3.0)
    rows = {"logistic": clips, "1": worse, "2": clips, "4": better}
    scored = {name: Scored(name, {0: part}) for name, part in rows.items()}
    floors = tables.floors(dataclasses.replace(NOTHING, scored=scored, classes=("bus", "park")))
    assert floors.submission.tolist() == ["1", "2", "4", "logistic", "1", "2", "4"]
    assert floors.accuracy_difference.tolist() == pytest.approx([-0.6, 0, 0.4, 0.1, -0.5, 0.1, 0.5])
    assert words.floors(floors).split(words.BREAK)[0] == (
        "Against **logistic**. Accuracy: higher (better) for 4; lower for 1; these clips cannot tell for 2. "
        "Log loss: higher for 1; lower (better) for 4; these clips cannot tell for 2."
    )
    assert "Against **even guess**. Accuracy: higher (better) for 4; lower for 1;" in words.floors(floors)
    assert "Nothing has run" in words.floors(tables.floors(NOTHING))
