"""Sentences beside the tables: computed, and right when the numbers turn round."""

import dataclasses

import pandas as pd
import pytest
from conftest import write_corpus

from asc_kit.report import evaluation, tables, words
from asc_kit.report.evaluation import Results
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run

NOTHING = Results(home=None, recipe=Recipe("toy"), classes=(), scored={})
MADE_UP = dataclasses.replace(NOTHING, synthetic=True)


def table(number, key, accuracy, half=0.01):
    """Rows of a table beside the report's numbers, each with an interval of ``half`` to either side."""
    rows = pd.DataFrame({key: list(accuracy), "accuracy": list(accuracy.values()), "n": 9})
    rows = rows.assign(accuracy_low=rows.accuracy - half, accuracy_high=rows.accuracy + half, note="")
    return tables._beside(rows, rows[key], number, ("accuracy", "log_loss"))


def test_mel_bins_say_the_direction_and_whether_the_clips_tell():
    rising = table(2, "mel_bins", {32: 0.5, 64: 0.6, 128: 0.55, 160: 0.7})
    text = words.mel_bins(NOTHING, rising)
    assert "rises here by 20.0 points, though not at every step" in text and "do not overlap" in text
    assert "In the report it rises by 6.1 points." in text and "synthetic" not in text
    falling = table(2, "mel_bins", {32: 0.7, 64: 0.69, 128: 0.68, 160: 0.65}, half=0.1)
    text = words.mel_bins(MADE_UP, falling)
    assert "falls here by 5.0 points, at every step" in text and "**the opposite direction**" in text
    assert "not decided" in text and "synthetic" in text
    assert "Too few" in words.mel_bins(NOTHING, rising.assign(n=[9, 0, 0, 0]))


def test_devices_say_who_is_hardest_and_what_training_heard():
    table_4 = table(4, "device", {"a": 0.8, "b": 0.7, "s1": 0.6, "s4": 0.5, "average": 0.65})
    text = words.devices(NOTHING, table_4, pd.Series({"a": 90, "b": 5, "s1": 4}))
    assert "Hardest here: **s4** (50.0%); easiest: a (80.0%); their intervals do not overlap" in text
    assert "Training clips: a 90, b 5, s1 4; none of s4." in text
    assert "Means here: A to C 75.0%, S1 to S3 60.0%, S4 to S6 50.0% (a step of -15.0 points, then of -10.0)." in text
    assert (
        "Means in the report: A to C 75.4%, S1 to S3 68.5%, S4 to S6 68.5% (a step of -6.9 points, then of +0.0)."
        in text
    )
    tied = table(4, "device", {"a": 0.8, "s5": 0.5, "s6": 0.5, "average": 0.65})
    assert "Hardest here: **s5, s6** (50.0%); easiest: a" in words.devices(NOTHING, tied)
    marked = words.mark(tables.pretty(table_4), pd.Series({"a": 90, "b": 5, "s1": 4}))
    assert marked["in TAU"].tolist() == ["real", "real", "simulated", "simulated", ""]
    assert marked["training clips"].tolist() == ["90", "5", "4", "0 (unseen)", "99"]
    assert "name no devices" in words.devices(NOTHING, table(4, "device", {"all": 0.5}))
    assert list(words.mark(tables.pretty(table(4, "device", {"phone": 0.5})), None)) == [
        "device", "accuracy", "n", "report accuracy", "report log loss"]  # fmt: skip


def test_why_is_told_from_the_reports_own_numbers():
    text = words.why(table(4, "device", dict.fromkeys([*evaluation.DEVICES, "average"], 0.5)))
    assert "in the first the devices change" in text
    few = words.why(table(4, "device", {"a": 0.5, "s1": 0.4, "average": 0.45}))
    assert "Two reasons" in few and "two steps" not in few  # there are none without S4 to S6
    assert words.why(table(4, "device", {"all": 0.5})) == ""
    assert "10,215 clips of A, about 750 of each" in text
    assert "unseen in training, stand 1.4 points below S1 to S3, not larger than chance" in text
    assert "B and C stand 6.5 points above S1 to S3, with as many training clips, larger than chance" in text
    assert "two devices against three cannot say" in text


def test_an_order_unlike_the_reports_is_said():
    order = (
        "bus",
        "street_traffic",
        "park",
        "metro",
        "metro_station",
        "tram",
        "airport",
        "street_pedestrian",
        "average",
    )
    accuracy = dict(zip(order, (0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.3, 0.6)))
    text = words.classes(NOTHING, table(3, "scene_label", accuracy))
    assert "Hardest here: **street_pedestrian** (30.0%); easiest: bus" in text
    assert "In the report: street_pedestrian (32.3%) and bus (90.6%)." in text and "is like the report's" in text
    turned = dict(zip(accuracy, [0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 0.6]))
    assert "**not like** the report's" in words.classes(NOTHING, table(3, "scene_label", turned))


def test_few_classes_in_common_have_no_order():
    accuracy = {"bus": 0.9, "beach": 0.8, "park": 0.7, "metro_station": 0.3, "average": 0.6}
    text = words.classes(NOTHING, table(3, "scene_label", accuracy))
    assert "In the report, of the 3 classes that it has, too: metro_station (73.4%) and bus (90.6%)." in text
    assert "order" not in text


def test_submissions_are_held_against_the_baseline():
    table_7 = table(7, "submission", {"baseline": 0.5, "1": 0.6, "4": 0.55})
    text = words.submissions(NOTHING, table_7)
    assert "submission 1, +10.0 points" in text and "In the report submission 4 is +22.8 points" in text


def test_systems_are_compared_clip_by_clip_where_both_are_there():
    """Twenty places: one system is right everywhere, the other in all but five; single intervals would overlap."""
    clips = pd.DataFrame({"correct": 1.0, "loss": 0.1, "label": 0, "identifier": [f"p{i}" for i in range(20)]})
    worse = clips.assign(correct=[0.0] * 5 + [1.0] * 15)
    scored = {
        name: evaluation.Scored(name, rows, {0: rows}, None) for name, rows in (("1", clips), ("baseline", worse))
    }
    both = dataclasses.replace(NOTHING, scored=scored)
    table_7 = table(7, "submission", {"baseline": 0.75, "1": 1.0, "4": 0.9}, half=0.2)
    text = words.submissions(both, table_7)
    assert "excludes 0: more than the choice of locations explains; one seed, so another training" in text
    twice = {name: dataclasses.replace(one, seeds={0: one.clips, 1: one.clips}) for name, one in scored.items()}
    assert "one seed" not in words.submissions(dataclasses.replace(both, scored=twice), table_7)
    same = dataclasses.replace(NOTHING, scored=scored | {"baseline": scored["1"]})
    assert "includes 0: these clips cannot tell" in words.submissions(same, table_7)


@pytest.mark.parametrize(("best", "said"), [("4", "this run's too"), ("1", "this run is submission 1 (32 mel bins)"),
                                            ("none", "variant none of an ablation")])  # fmt: skip
def test_whose_numbers_stand_beside_the_reports(best, said):
    text = words.whose(dataclasses.replace(NOTHING, scored={best: None}))
    assert said in text and "160-bin network, submission 4" in text


def test_training_clips_are_those_of_the_runs_fold(tmp_path):
    rows = [(f"audio/{c}-{p}-{d}.wav", c, f"{c}-{p}", d) for c in ("bus", "park") for p in range(5) for d in "ab"]
    root = write_corpus(tmp_path / "set", rows)
    recipe = Recipe("toy")
    run = Run(recipe, recipe.config("1"), tmp_path / "toy", root)
    assert words.training_clips(run).to_dict() == {"a": 8, "b": 8}
    alone = Run(recipe, recipe.config("1", training_devices="b"), tmp_path / "toy", root)
    assert words.training_clips(alone).to_dict() == {"b": 8}
    assert words.training_clips(Run(recipe, recipe.config("1"), tmp_path / "toy", tmp_path / "nowhere")) is None


def test_the_setup_is_the_runs_beside_the_reports():
    usual = words.setup(Recipe("toy").config("4"))
    assert usual["this run"].tolist()[1:5] == ["64", "one cycle up to 0.01", "at most 500", "decay 0.999"]
    assert usual["this run"]["early stopping"] == (
        "log loss of 15% of the training fold; stops after 100 epochs without a better one"
    )
    other = words.setup(Recipe("toy").config("baseline", selection="none", patience="off"))
    assert other["this run"].tolist() == ["adam, weight decay 0", "16", "constant, 0.001", "at most 200", "none",
                                          "none: the last epoch is taken", "the whole clip", "none"]  # fmt: skip


def test_floors_say_who_beats_them_and_who_does_not():
    """Twenty places: one network right everywhere, one as the floor, one worse; the words follow the signs."""
    clips = pd.DataFrame(
        {"correct": [0.0] * 8 + [1.0] * 12, "loss": 1.0, "label": 0, "identifier": [f"p{i}" for i in range(20)]}
    )
    better, worse = clips.assign(correct=1.0, loss=0.1), clips.assign(correct=0.0, loss=3.0)
    rows = {"logistic": clips, "1": worse, "2": clips, "4": better}
    scored = {name: evaluation.Scored(name, part, {0: part}, None) for name, part in rows.items()}
    floors = tables.floors(dataclasses.replace(NOTHING, scored=scored, classes=("bus", "park")))
    assert floors.submission.tolist() == ["1", "2", "4", "logistic", "1", "2", "4"]
    assert floors.accuracy_difference.tolist() == pytest.approx([-0.6, 0, 0.4, 0.1, -0.5, 0.1, 0.5])
    assert words.floors(floors).split(words.BREAK)[0] == (
        "Against **logistic**. Accuracy: higher (better) for 4; lower for 1; these clips cannot tell for 2. "
        "Log loss: higher for 1; lower (better) for 4; these clips cannot tell for 2."
    )
    assert "Against **even guess**. Accuracy: higher (better) for 4; lower for 1;" in words.floors(floors)
    assert "Nothing has run" in words.floors(tables.floors(NOTHING))
