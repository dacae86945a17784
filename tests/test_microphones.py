"""The recommended recipe at places and through microphones that training never heard: benchmarks/microphones.py."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from asc_kit.config import Config
from asc_kit.data.simulate import maker
from asc_kit.report import tables
from asc_kit.report.predictions import read_truth
from asc_kit.run import recipes, runs
from benchmarks import microphones

FILES = tuple(map(Path, pd.read_csv(ROOT / "results/mic_responses.tsv", sep="\t").file))


@pytest.fixture(scope="module")
def found():
    return pd.read_csv(microphones.HOME / "microphones.tsv", sep="\t", dtype=str)


def test_no_maker_is_in_two_folds_and_every_microphone_in_one():
    parts = microphones.unheard(FILES)
    assert sorted(file for part in parts.values() for file in part) == sorted(FILES) and len(parts) == 5
    makers = [set(map(maker, part)) for part in parts.values()]
    assert sum(map(len, makers)) == len(set.union(*makers)) == 16


def test_every_clip_went_through_the_microphones_of_its_own_fold_alone(found):
    parts = {fold: {file.name for file in part} for fold, part in microphones.unheard(FILES).items()}
    scored, recipe = [], recipes.load("config/small.yaml")
    for fold in parts:
        for seed in microphones.SEEDS:
            home = microphones._folder("robust_network", fold, seed)
            clips = pd.read_csv(home / "predictions.tsv", sep="\t").filename
            rows = found[found.filename.isin(clips) & found.seed.eq(str(seed))]
            assert set(rows.microphone) == parts[fold] and len(rows) == len(clips) * len(parts[fold])
            for system in ("robust_network", "robust_logistic"):
                about = json.loads((microphones._folder(system, fold, seed) / "run.json").read_text())
                heard = about["config"]["augmentation"]["responses"]
                wanted = recipe.config(microphones.MODELS[system][1], seed, fold, responses=heard)
                assert about["hash"] == wanted.hash
        scored += list(clips)
    assert sorted(scored) == sorted(read_truth(microphones.TRUTH).index) and len(scored) == 392


def test_the_network_without_microphones_differs_in_nothing_else():
    for fold in microphones.unheard(FILES):
        homes = [microphones._folder(name, fold) for name in ("robust_network", "plain")]
        configs = [Config.from_dict(json.loads((home / "run.json").read_text())["config"]).as_dict() for home in homes]
        assert set(runs.differences(*configs)) == {"augmentation.device_response", "augmentation.responses"}


def test_the_tables_follow_from_the_predictions(found, tmp_path):
    truth = read_truth(microphones.TRUTH)
    tables.write_one(microphones.table(truth, found), tmp_path, "microphones", "")
    tables.write_one(microphones.by_microphone(truth, found), tmp_path, "by_microphone", "")
    tables.write_one(microphones.by_scene(truth, found), tmp_path, "by_scene", "")
    for name in ("microphones.csv", "by_microphone.csv", "by_scene.csv"):
        assert (tmp_path / "tables" / name).read_text() == (microphones.HOME / "tables" / name).read_text()


def test_its_numbers_by_other_means(found):
    """The plain recipe's clean scores are tut2017's own; a microphone's accuracy is the mean of its classes' recalls."""
    made = pd.read_csv(microphones.HOME / "tables/microphones.csv").set_index(["through", "system"])
    usual = pd.read_csv(ROOT / "results/tut2017/tables/table_7.csv").set_index("submission").loc["2"]
    plain = made.loc[(microphones.CLEAN, "plain")]
    assert plain[["accuracy", "log_loss"]].to_list() == pytest.approx(usual[["accuracy", "log_loss"]].to_list())
    truth, recalls = read_truth(microphones.TRUTH), []
    for seed in microphones.SEEDS:  # of both: the most likely by the product
        right = []
        for fold in range(1, 6):
            parts = [pd.read_csv(microphones._folder(name, fold, seed) / "predictions.tsv", sep="\t", index_col=0)
                     for name in microphones.PARTS["both"]]  # fmt: skip
            product = parts[0].iloc[:, 1:] * parts[1].iloc[:, 1:].loc[parts[0].index]
            right.append(product.idxmax(axis=1) == truth.scene_label[product.index])
        right = pd.concat(right)
        recalls.append(right.groupby(truth.scene_label[right.index]).mean())
    both = sum(recalls) / len(recalls)
    assert made.loc[(microphones.CLEAN, "both")].accuracy == pytest.approx(both.mean()) and len(right) == 392
    scenes = pd.read_csv(microphones.HOME / "tables/by_scene.csv").set_index("scene_label")
    assert scenes.recorder_accuracy.to_dict() == pytest.approx(both.to_dict()) and scenes.clips.sum() == 392
    right = found.both_label.eq(truth.scene_label[found.filename].to_numpy()).groupby(found.filename).mean()
    through = right.groupby(truth.scene_label[right.index]).mean()
    assert scenes.microphones_accuracy.to_dict() == pytest.approx(through.to_dict())
    each = pd.read_csv(microphones.HOME / "tables/by_microphone.csv").set_index("microphone")
    for name, rows in found.groupby("microphone"):
        true = truth.loc[rows.filename].scene_label.to_numpy()
        right = pd.Series(rows.robust_network_label.to_numpy() == true).groupby([rows.seed.to_numpy(), true]).mean()
        loss = -np.log(rows.robust_network_true.astype(float)).mean()
        assert (right.groupby(level=0).mean().mean(), loss) == pytest.approx(
            tuple(each.loc[name, ["robust_network_accuracy", "robust_network_log_loss"]])
        )
    assert each.robust_network_accuracy.min() == pytest.approx(
        made.loc[("unheard microphones", "robust_network")].least_accuracy
    )
