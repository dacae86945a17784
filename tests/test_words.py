"""Sentences beside the tables: only what the tables do not say, and right when the numbers turn round."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from asc_kit.data.demo import DEVICES
from asc_kit.report import evaluation, tables, words
from asc_kit.report.evaluation import Results, Scored
from asc_kit.run import recipes
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
        "160 mel bins against 32, paired by clip: accuracy -25.0 points [-45.0, -5.0], worse; log loss +0.000"
    )
    same = words.mel_bins(systems(_1=20, _3=20))
    assert same.startswith("128 mel bins against 32, paired by clip: accuracy +0.0 points")
    assert same.count("these clips cannot tell") == 2
    assert words.mel_bins(systems(_1=20)) == words.mel_bins(NOTHING) == ""


def test_every_network_is_held_against_the_baseline():
    text = words.submissions(systems(logistic=19, baseline=15, _1=20, _2=10, mine=15))
    assert text.startswith(
        "Against **baseline**. Accuracy: higher (better) for 1; lower for 2; these clips cannot tell for mine."
    )
    assert text.endswith("Log loss: these clips cannot tell for 1, 2, mine.")
    assert words.submissions(systems(logistic=12, baseline=15)) == words.submissions(systems(_1=8)) == ""
    assert words.submissions(NOTHING) == ""


def test_a_lower_log_loss_is_better():
    both = systems(_1=10, _4=10)
    lower = dataclasses.replace(both.scored["4"], seeds={0: both.scored["4"].clips.assign(loss=0.05)})
    said = words.mel_bins(dataclasses.replace(both, scored=both.scored | {"4": lower}))
    assert said.endswith("log loss -0.050 [-0.050, -0.050], better.")


def test_what_the_control_says_is_what_its_tables_show():
    results = evaluation.open_results("config/control.yaml")
    bins, devices, mixup = words.built_in(results).split(words.BREAK)
    accuracy = pd.read_csv(results.home / "tables/table_2.csv").set_index("mel_bins").accuracy
    assert f"3 against 1, paired by clip: accuracy {100 * (accuracy[128] - accuracy[32]):+.1f} points [" in bins
    assert accuracy[128] - accuracy[32] >= 0.08 and "], better; log loss" in bins
    groups = pd.read_csv(results.home / "tables/device_groups.csv", dtype={"submission": str})
    for row in groups[groups.devices == "s4, s5, s6"].itertuples():
        assert row.accuracy_difference_high < 0 < row.log_loss_difference_low, row
    assert "3 on s4, s5, s6 against s1, s2, s3: accuracy -" in devices and "], worse; log loss +" in devices
    variant = pd.read_csv(results.home / "tables/ablation.csv").set_index("variant").loc["standard_mixup"]
    assert f"accuracy {-100 * variant.accuracy_difference:+.1f} points" in mixup
    assert words.built_in(evaluation.open_results("config/tau2022.yaml")) == ""


def test_the_control_is_the_demo_but_for_its_seeds_and_its_variant(monkeypatch):
    """Else what the record finds would not be of `make reproduce`; and its devices differ as the sentence says."""
    monkeypatch.delenv("ASC_SMOKE", raising=False)
    demo, control = (recipes.load(f"config/{name}.yaml") for name in ("demo", "control"))
    assert demo.synthetic == control.synthetic and control.seeds == (0, 1, 2)
    assert all(demo.config(name) == control.config(name) for name in control.submissions)
    bent = {name: np.std(np.subtract(device.response, DEVICES["a"].response)) for name, device in DEVICES.items()}
    assert min(bent[name] for name in ("s4", "s5", "s6")) > max(bent[name] for name in ("s1", "s2", "s3")), bent


def test_systems_of_other_clips_or_of_one_place_have_no_interval():
    both = systems(_1=20, _4=10)
    one = {name: dataclasses.replace(s, seeds={0: s.clips.assign(identifier="p")}) for name, s in both.scored.items()}
    assert "of one place" in words.mel_bins(dataclasses.replace(both, scored=one))
    apart = both.scored | {"4": dataclasses.replace(both.scored["4"], seeds={0: CLIPS.set_index(CLIPS.index + 50)})}
    assert words.mel_bins(dataclasses.replace(both, scored=apart)).startswith(
        "160 mel bins against 32, paired by clip: no clip in common"
    )


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
