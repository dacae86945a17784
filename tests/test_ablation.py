"""An ablation's table: paired by clip, scored by hand, and only of runs that differ in what they declare."""

import json

import numpy as np
import pandas as pd
import pytest

from asc_kit.common import InputError
from asc_kit.report import ablation, evaluation, words
from asc_kit.run import recipes
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run

CLASSES = ["bus", "park"]
RECIPE = Recipe("toy", submissions=("2",), seeds=(0, 1), training=dict(epochs=3),
                ablation={"crop": {"mixup": None}, "short": {"epochs": 1, "mask_fraction": 0.25}})  # fmt: skip


def write_run(home, variant, seed, chance, **changes):
    """A run whose predictions are right with ``chance``, and its run.json."""
    settings = RECIPE.config("2", seed, variant=variant, **changes)
    folder = home / (f"ablation_{variant}" if variant else "submission_2") / f"seed_{seed}"
    folder.mkdir(parents=True)
    truth = pd.read_csv(home / "truth.tsv", sep="\t")
    random = np.random.default_rng([seed, round(100 * chance)])
    p = np.where(random.random(len(truth)) < chance, 0.8, 0.3)
    first = np.where(truth.scene_label == CLASSES[0], p, 1 - p)
    table = pd.DataFrame({"filename": truth.filename, "scene_label": np.where(first > 0.5, *CLASSES),
                          CLASSES[0]: first, CLASSES[1]: 1 - first})  # fmt: skip
    table.to_csv(folder / "predictions.tsv", sep="\t", index=False)
    about = {"config": settings.as_dict(), "data": {"synthetic": False, "fingerprint": "f"}, "features_code": "c"}
    (folder / "run.json").write_text(json.dumps(about))
    return pd.Series(p > 0.5, index=truth.filename)


@pytest.fixture
def home(tmp_path):
    rows = [(f"audio/{c}-{i}.wav", c, f"{c}{i % 8}", "a") for c in CLASSES for i in range(40)]
    pd.DataFrame(rows, columns=["filename", "scene_label", "identifier", "source_label"]).to_csv(
        tmp_path / "truth.tsv", sep="\t", index=False
    )
    return tmp_path


def test_differences_are_paired_means_over_seeds(home):
    right = {(v, s): write_run(home, v, s, c) for v, c in ((None, 0.9), ("crop", 0.7)) for s in (0, 1)}
    table = ablation.write(home, RECIPE)[0].set_index("variant")
    assert list(table.index) == [ablation.AS_IT_STANDS, "crop", "short"]
    means = {v: (right[v, 0].astype(float) + right[v, 1]) / 2 for v in (None, "crop")}
    assert table.accuracy["crop"] == pytest.approx(means["crop"].mean())
    assert table.accuracy_difference["crop"] == pytest.approx((means["crop"] - means[None]).mean())
    assert (
        table.accuracy_difference_low["crop"]
        < table.accuracy_difference["crop"]
        < table.accuracy_difference_high["crop"]
    )
    spread = np.std([right["crop", s].mean() for s in (0, 1)], ddof=1)
    assert table.accuracy_std["crop"] == pytest.approx(spread)
    losses = {v: np.mean([-np.log(np.where(right[v, s], 0.8, 0.3)) for s in (0, 1)]) for v in (None, "crop")}
    assert table.log_loss_difference["crop"] == pytest.approx(losses["crop"] - losses[None])
    assert table.n["short"] == 0 and table.note["short"] == "no run of it is there"
    said = words.ablation(table.reset_index())
    assert said.startswith("Against the recipe. Accuracy: lower for crop.") and "Log loss: higher for crop." in said
    assert "crop | mixup: off" in (home / "tables" / "ablation.md").read_text()


def test_any_two_variants_are_compared(home):
    right = {v: write_run(home, v, 0, c) for v, c in ((None, 0.9), ("crop", 0.7), ("short", 0.5))}
    ablation.write(home, RECIPE)
    row = pd.read_csv(home / "tables" / "ablation_pairs.csv").set_index(["variant", "against"]).loc[("short", "crop")]
    assert row.accuracy_difference == pytest.approx(right["short"].mean() - right["crop"].mean())
    assert row.n == 80 and row.disagree == (right["short"] != right["crop"]).sum()
    (home / "ablation_short" / "seed_0" / "predictions.tsv").unlink()
    ablation.write(home, RECIPE)
    assert not list((home / "tables").glob("ablation_pairs.*"))  # one alone has no other


def test_a_variant_whose_seed_is_missing_says_so(home):
    for variant, seeds in ((None, (0, 1)), ("crop", (0,))):
        for seed in seeds:
            write_run(home, variant, seed, 0.8)
    table = ablation.write(home, RECIPE)[0].set_index("variant")
    assert table.note.to_dict() == {
        "the recipe": "",
        "crop": "1 of 2 runs are missing",
        "short": "no run of it is there",
    }


def test_equal_runs_differ_by_nothing(home):
    for variant in (None, "crop"):
        write_run(home, variant, 0, 0.8)
    row = ablation.write(home, RECIPE)[0].set_index("variant").loc["crop"]
    assert (row[evaluation.DIFFERENCES] == 0).all()


def test_a_run_from_before_a_switch_was_there_has_its_default(home):
    write_run(home, None, 0, 0.8)
    file = home / "submission_2" / "seed_0" / "run.json"
    about = json.loads(file.read_text())
    del about["config"]["augmentation"]["roll"]
    file.write_text(json.dumps(about))
    assert ablation.write(home, RECIPE)[0].n[0] == 80


@pytest.mark.parametrize("variant", [None, "crop"])
def test_a_run_that_differs_in_something_undeclared_is_refused(home, variant):
    write_run(home, None if variant else "crop", 0, 0.8)
    write_run(home, variant, 0, 0.8, batch_size=7)
    with pytest.raises(InputError, match="training.batch_size.*does not declare"):
        ablation.write(home, RECIPE)[0]


def test_a_variant_changes_what_it_declares_and_has_a_folder_of_its_own(tmp_path):
    usual, short = RECIPE.config("2"), RECIPE.config("2", variant="short")
    assert (short.training.epochs, short.augmentation.mask_fraction) == (1, 0.25)
    assert short.features == usual.features and short.hash != usual.hash
    assert RECIPE.config("2", variant="crop").augmentation.mixup is None
    assert RECIPE.config("2", variant="short", epochs=9).training.epochs == 9
    assert [(v, c.seed) for v, c in RECIPE.variants()] == [("crop", 0), ("crop", 1), ("short", 0), ("short", 1)]
    run = Run(RECIPE, short, tmp_path, variant="short")
    assert run.folder == tmp_path / "ablation_short" / "seed_0"


def test_faults_of_an_ablation_are_named(tmp_path):
    with pytest.raises(InputError, match="variant: unknown parameter 'long'; known are crop, short"):
        RECIPE.config("2", variant="long")
    (tmp_path / "bad.yaml").write_text("ablation: {odd: {mixing: off}}\n")
    with pytest.raises(InputError, match="ablation: odd: unknown parameter 'mixing'"):
        recipes.load(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("ablation: {odd: {epochs: 0}}\n")
    with pytest.raises(InputError, match="epochs"):
        recipes.load(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("chosen_on: nowhere.tsv\n")
    with pytest.raises(
        InputError, match="chosen_on: .*nowhere.tsv is not there; name a table"
    ):  # before hours of training
        recipes.load(tmp_path / "bad.yaml")
