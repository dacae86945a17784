"""What the report does not have: other ways to score, ensembles, simulated devices; by hand, and on a tiny run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT

from asc_kit.common import InputError
from asc_kit.data import corpus
from asc_kit.data.demo import apply_device
from asc_kit.data.store import open_store
from asc_kit.deploy import compact
from asc_kit.report import beyond
from asc_kit.run import batch, rescore
from asc_kit.run.experiment import train
from asc_kit.run.recipes import load
from asc_kit.run.runs import Run

RECIPE = {"folds": 3, "submissions": ["1"], "seeds": [0, 1], "augmentation": {"crop_seconds": 0.4},
          "training": {"epochs": 1, "batch_size": 4, "selection": "none"}}  # fmt: skip


@pytest.fixture
def runs(tmp_path, tiny):
    """Two seeds of submission 1 on twelve short clips."""
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(RECIPE))
    recipe = load(tmp_path / "toy.yaml")
    return [train(Run(recipe, settings, tmp_path / "results", str(tiny))) for settings in recipe.configs()]


def clip_by_clip(run, tiny):
    """The run's model, and its clips as float32 at 44.1 kHz, from the store, in the order of its predictions."""
    store = open_store(corpus.read(tiny), 44100)
    return compact.load(run.folder / "model.safetensors"), store.read(store.rows(run.predictions().filename))


def probabilities(file: Path) -> np.ndarray:
    return pd.read_csv(file, sep="\t")[["bus", "park"]].to_numpy()


def test_crops_are_the_mean_from_the_first_to_the_last(runs, tiny):
    rescore.crops(runs[0], 3)
    model, waves = clip_by_clip(runs[0], tiny)
    length, last = round(0.4 * 44100), waves.shape[1] - round(0.4 * 44100)
    parts = [model.probabilities(waves[:, s : s + length]) for s in (0, round(last / 2), last)]
    found = probabilities(runs[0].folder / "predictions_crops.tsv")
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-6)
    assert not np.allclose(found, probabilities(runs[0].folder / "predictions.tsv"), atol=1e-4)


def test_devices_are_those_of_the_synthetic_corpus_with_noise_of_their_own(runs, tiny):
    rescore.through_devices(runs[0], ("a", "s6"))
    model, waves = clip_by_clip(runs[0], tiny)
    for name in ("a", "s6"):
        heard = np.stack([apply_device(wave, name, number) for number, wave in enumerate(waves.numpy())])
        found = probabilities(runs[0].folder / f"predictions_simulated_{name}.tsv")
        np.testing.assert_allclose(found, model.probabilities(torch.from_numpy(heard)), atol=1e-6)


def test_averaged_weights_are_the_mean_of_the_seeds(runs, tiny):
    rescore.averaged(runs)
    models = [clip_by_clip(run, tiny)[0] for run in runs]
    waves = clip_by_clip(runs[0], tiny)[1]
    states = [model.network.state_dict() for model in models]
    models[0].network.load_state_dict({k: (states[0][k] + states[1][k]) / 2 for k in states[0]})
    found = probabilities(runs[0].home / "averaged_1" / "seed_0" / "predictions.tsv")
    np.testing.assert_allclose(found, models[0].probabilities(waves), atol=1e-5)


def test_the_tables_are_made_without_audio(runs, tiny, monkeypatch):
    rescore.crops(runs[0]), rescore.crops(runs[1]), rescore.averaged(runs)
    rescore.through_devices(runs[0], ("b",))
    monkeypatch.setattr(compact, "load", None)
    better, heard = beyond.write(runs[0].home, runs[0].recipe)
    assert list(better.way) == ["alone", "mean over crops", "mean of its seeds' weights",
                                "mean of its 2 seeds' probabilities"]  # fmt: skip
    assert better.size_kb.tolist() == pytest.approx([better.size_kb[0]] * 3 + [2 * better.size_kb[0]])
    row = better.set_index("way").loc["mean of its 2 seeds' probabilities"]
    mean = np.mean([probabilities(run.folder / "predictions.tsv") for run in runs], axis=0)
    truth = pd.read_csv(runs[0].home / "truth.tsv", sep="\t").set_index("filename")
    label = truth.loc[runs[0].predictions().filename].scene_label.map(["bus", "park"].index).to_numpy()
    assert row.log_loss == pytest.approx(-np.log(mean[np.arange(len(label)), label]).mean())
    assert heard.device.tolist() == ["b"] and heard.n.tolist() == [len(label)] and heard.seeds.tolist() == [1]
    assert (runs[0].home / "tables" / "simulated_devices.md").exists()


def test_what_was_scored_again_goes_when_the_network_does(runs, tiny):
    rescore.crops(runs[0]), rescore.crops(runs[1]), rescore.averaged(runs)
    (runs[0].folder / "run.json").unlink()
    train(runs[0])
    assert not (runs[0].folder / "predictions_crops.tsv").exists()
    assert not list(runs[0].home.glob("averaged_1/*/predictions.tsv"))
    assert (runs[1].folder / "predictions_crops.tsv").exists()  # of a network that is still there


@pytest.mark.parametrize("fault", ["whole clips", "other data", "no run"])
def test_faults_are_named(runs, tiny, tmp_path, fault):
    run = runs[0]
    if fault == "whole clips":
        whole = replace(run.config, augmentation=replace(run.config.augmentation, crop_seconds=None))
        about = run.about | {"config": whole.as_dict()}
        (run.folder / "run.json").write_text(json.dumps(about))
        run, said = replace(run, config=whole), "trained on whole clips"
    elif fault == "other data":
        about = run.about
        about["data"]["fingerprint"] = "other"
        (run.folder / "run.json").write_text(json.dumps(about))
        said = r"holds a run on other data \(fingerprint other"
    else:
        run, said = replace(run, home=tmp_path / "nothing"), "no such run yet"
    with pytest.raises(InputError, match=said):
        rescore.crops(run)
    assert not (run.folder / "predictions_crops.tsv").exists()


def four(home, shift=0):
    """Made-up predictions of four submissions and two seeds on forty clips."""
    names = [f"audio/{c}-{i}.wav" for c in ("bus", "park") for i in range(20)]
    truth = pd.DataFrame({"filename": names, "scene_label": ["bus"] * 20 + ["park"] * 20,
                          "identifier": [f"x{i % 8}" for i in range(40)], "source_label": "a"})  # fmt: skip
    truth.to_csv(home / "truth.tsv", sep="\t", index=False)
    made = {}
    for s in "1234":
        for seed in (0, 1):
            folder = home / f"submission_{s}" / f"seed_{seed}"
            folder.mkdir(parents=True)
            p = np.random.default_rng([int(s), seed]).uniform(0.05, 0.95, 40)
            table = pd.DataFrame({"filename": names, "scene_label": "bus", "bus": p, "park": 1 - p})
            table.iloc[: len(table) - shift * (s == "4")].to_csv(folder / "predictions.tsv", sep="\t", index=False)
            made[s, seed] = p
    return made


def test_four_together_are_each_seeds_mean(tmp_path):
    made = four(tmp_path)
    table = beyond.ways(tmp_path, replace(load(ROOT / "config/demo.yaml"), seeds=(0, 1))).set_index("way")
    row = table.loc["mean of the four's probabilities, against 4 alone"]
    losses = []
    for seed in (0, 1):
        p = np.mean([made[s, seed] for s in "1234"], axis=0)
        losses.append(-np.log(np.concatenate([p[:20], 1 - p[20:]])))
    assert row.log_loss == pytest.approx(np.mean(losses)) and row.seeds == 2 and row.submission == "1 to 4"
    assert row.size_kb == pytest.approx(table[table.index == "alone"].size_kb.sum())
    fourth = table[(table.index == "alone") & (table.submission == "4")].iloc[0]
    assert row.log_loss_difference == pytest.approx(row.log_loss - fourth.log_loss)


def test_devices_without_predict_are_refused(tmp_path):
    with pytest.raises(InputError, match="devices: nothing is scored without predict"):
        batch.execute("notebooks/14_beyond.ipynb", tmp_path / "14.ipynb", {"devices": ["a"]})


def test_networks_of_other_clips_have_no_mean(tmp_path):
    four(tmp_path, shift=1)
    with pytest.raises(InputError, match="submission_4.*has other clips than"):
        beyond.ways(tmp_path, load(ROOT / "config/demo.yaml"))


def test_a_missing_run_is_left_out_of_the_mean(tmp_path):
    made = four(tmp_path)
    (tmp_path / "submission_3" / "seed_1" / "predictions.tsv").unlink()
    table = beyond.ways(tmp_path, load(ROOT / "config/demo.yaml")).set_index("way")
    row = table.loc["mean of the four's probabilities, against 4 alone"]
    p = np.mean([made[s, 0] for s in "1234"], axis=0)
    assert row.seeds == 1 and row.log_loss == pytest.approx(-np.log(np.concatenate([p[:20], 1 - p[20:]])).mean())
    alone = -np.log(np.concatenate([made["4", 0][:20], 1 - made["4", 0][20:]])).mean()
    assert row.log_loss_difference == pytest.approx(row.log_loss - alone)  # of the same seed, not of both
    (tmp_path / "submission_4" / "seed_0" / "predictions.tsv").unlink()  # no seed has all four any more
    assert not any("of the four" in way for way in beyond.ways(tmp_path, load(ROOT / "config/demo.yaml")).way)
