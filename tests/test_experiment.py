"""One run from audio to predictions, in seconds, on a tiny corpus and on real recordings."""

import fcntl
import json
import random
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import ROOT, real

from asc_kit import kernels, metrics, network
from asc_kit.common import InputError
from asc_kit.data import corpus, store
from asc_kit.deploy import compact
from asc_kit.report import evaluation, predictions, tables
from asc_kit.run import floors
from asc_kit.run.data import RunData
from asc_kit.run.experiment import finish, open_corpus, prepare, train
from asc_kit.run.recipes import Recipe, load
from asc_kit.run.rescore import predict_other
from asc_kit.run.runs import Run
from asc_kit.trainer import Trainer

TEXT = """
folds: 3
augmentation: {crop_seconds: 0.5}
training: {epochs: 2, batch_size: 4, validation_fraction: 0.5}
systems:
  baseline: {epochs: 2, batch_size: 4, validation_fraction: 0.5, best_after: 0}
  both: {network: both}
  bare: {network: both, device_response: 0.5, options: {logistic: {device_response: off}}}
  apart: {network: both, device_response: 0.5, options: {logistic: {device_response: 1, response_db: 3, device_limits: true}}}
  heard: {network: logistic, n_mels: 32, selection: none, device_response: 0.5}
"""


@pytest.fixture
def start(tmp_path, tiny):
    (tmp_path / "toy.yaml").write_text(TEXT)

    def run(submission="1", experiment="toy", **values):
        return Run.of(str(tmp_path / "toy.yaml"), submission, values.pop("seed", 0), values.pop("fold", 1), str(tiny),
                      experiment, str(tmp_path / "results"), **values)  # fmt: skip

    return run


def files(run):
    return {p.name for p in run.folder.iterdir() if p.is_file()}


def test_a_run_leaves_what_is_promised(start):
    run = train(start())
    assert files(run) == {
        "model.safetensors",
        "compact.safetensors",
        "predictions.tsv",
        "predictions_validation.tsv",
        "temperature.json",
        "history.csv",
        "run.json",
    }
    finish(run)
    assert not list((run.folder / "checkpoint").glob("*.pt"))
    p = run.predictions()
    assert list(p.columns) == ["filename", "scene_label", "bus", "park"]
    truth = pd.read_csv(run.home / "truth.tsv", sep="\t")
    assert list(truth) == ["filename", "scene_label", "identifier", "source_label"]
    assert set(p.filename) == set(truth.filename)
    assert (p.scene_label == p[["bus", "park"]].idxmax(axis=1)).all()
    about = run.about
    assert about["config"] == run.config.as_dict() and about["hash"] == run.config.hash
    assert about["parameters"] == 62090 - 8 * 101 and 0 < about["nonzero"] <= about["parameters"]
    assert about["data"]["training"] + about["data"]["validation"] + about["data"]["evaluation"] == 12
    assert not about["data"]["synthetic"] and about["seconds"] > 0 and "torch" in about["versions"]
    history = pd.read_csv(run.folder / "history.csv")
    assert history.epoch.tolist() == [1, 2] and history.validation_log_loss.notna().all()


@pytest.mark.parametrize("submission", ["1", "baseline"])
def test_predictions_are_those_of_the_stored_float16_weights_on_whole_clips(start, tiny, submission):
    run = train(start(submission))
    model = compact.load(run.folder / "model.safetensors")
    opened = store.open_store(corpus.read(tiny), 44100)
    p = run.predictions()
    again = model.probabilities(opened.read(opened.rows(p.filename)))
    assert np.abs(again - p[["bus", "park"]].to_numpy()).max() < 1e-6


def test_validation_locations_are_in_no_other_part(start, tiny):
    run = train(start())
    places = corpus.read(tiny).table.set_index("filename").identifier
    validation = set(places[run.predictions("predictions_validation").filename])
    evaluation = set(places[run.predictions().filename])
    work = RunData(run.config, corpus.read(tiny))
    training = set(work.training.identifier)
    assert validation and not validation & evaluation and not validation & training and not evaluation & training


def test_equal_runs_are_equal_bytes(start):
    runs = [train(start(experiment=name)) for name in ("first", "second")]
    for name in files(runs[0]) - {"run.json"}:
        assert (runs[0].folder / name).read_bytes() == (runs[1].folder / name).read_bytes(), name
    other = train(start(experiment="third", seed=1))
    assert (other.folder / "model.safetensors").read_bytes() != (runs[0].folder / "model.safetensors").read_bytes()


def test_what_snakemake_deletes_of_a_failed_job_comes_back_without_training(start, monkeypatch):
    run = train(start())
    before = {name: (run.folder / name).read_bytes() for name in files(run) - {"run.json"}}
    for name in files(run):
        (run.folder / name).unlink()
    finish(run)  # not whole: nothing goes
    monkeypatch.setattr(Trainer, "step", None)
    train(run)
    assert {name: (run.folder / name).read_bytes() for name in files(run) - {"run.json"}} == before


def test_a_whole_run_is_left_as_it_is(start, capsys):
    run = train(start())
    before = {p: p.stat().st_mtime_ns for p in run.folder.iterdir() if p.is_file()}
    train(start())
    assert {p: p.stat().st_mtime_ns for p in run.folder.iterdir() if p.is_file()} == before
    assert "already trained" in capsys.readouterr().err


def test_a_whole_run_on_other_data_is_refused(start, tiny, capsys):
    train(start())
    clip = tiny / corpus.read(tiny).table.filename[0]
    soundfile.write(clip, np.zeros(44100), 44100, subtype="PCM_16")
    with pytest.raises(InputError, match="holds a run on other data"):
        train(start())


# Dies at the n-th call of a function: in a step, before and between a checkpoint's renames, in its evaluation.
DYING = """
import os, signal, sys
from pathlib import PosixPath
from asc_kit import trainer
from asc_kit.run import checkpoint, experiment
from asc_kit.config import *
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run
checkpoint.SECONDS = -1
run, (owner, name, count) = eval(sys.argv[1]), eval(sys.argv[2])
owner, calls = eval(owner), [0]
function = getattr(owner, name)
def dying(*values, **named):
    calls[0] += 1
    if calls[0] == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*values, **named)
setattr(owner, name, dying)
experiment.train(run)
"""
MOMENTS = [("trainer.Trainer", "step", 6), ("checkpoint", "write_file", 5), ("os", "replace", 6),
           ("experiment.RunData", "evaluate", 2)]  # fmt: skip


def kill_and_go_on(start, submission, moments):
    """Crop, mixup, SpecAugment or dropout, validation and the best epoch: all of a run."""
    whole = train(start(submission, "whole", epochs=6, batch_size=2))  # two steps an epoch
    run, kills = start(submission, "killed", epochs=6, batch_size=2), 0
    for moment in moments:
        done = subprocess.run([sys.executable, "-c", DYING, repr(run), repr(moment)], cwd=ROOT, capture_output=True)
        kills += done.returncode == -9
        assert done.returncode == (-9 if run.about is None else 0), (moment, done.stderr)  # or the moment never came
    assert kills
    train(run)
    for name in (
        "model.safetensors",
        "predictions.tsv",
        "predictions_validation.tsv",
        "temperature.json",
        "history.csv",
    ):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


@pytest.mark.parametrize("submission", ["1", pytest.param("baseline", marks=pytest.mark.long)])
def test_killed_and_started_again_gives_the_same_bytes(start, submission):
    """Once in a step, once more while a checkpoint is written."""
    kill_and_go_on(start, submission, [MOMENTS[0], random.Random(submission).choice(MOMENTS[1:3])])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_any_moment_any_number_of_times(start, seed):
    draw = random.Random(seed)
    moments = [(owner, name, draw.randint(1, count)) for owner, name, count in draw.choices(MOMENTS, k=3)]
    kill_and_go_on(start, draw.choice(["1", "baseline"]), moments)


def test_another_configuration_is_refused_with_its_keys(start):
    run = train(start())
    before = {name: (run.folder / name).read_bytes() for name in files(run)}
    with pytest.raises(InputError, match=r"training.epochs is 2 there, 3 here.*name another experiment"):
        train(start(epochs=3))
    assert before == {name: (run.folder / name).read_bytes() for name in files(run)}


def test_without_resume_a_new_folder_is_begun_and_nothing_touched(start):
    first = train(start())
    before = {p: p.read_bytes() for p in first.home.rglob("*") if p.is_file()}
    for number in (2, 3):
        run = train(start(resume=False))
        assert run.home == first.home.with_name(f"toy-{number}")
        assert (run.folder / "model.safetensors").read_bytes() == (first.folder / "model.safetensors").read_bytes()
    assert {p: p.read_bytes() for p in first.home.rglob("*") if p.is_file()} == before


def test_a_run_that_another_process_trains_is_refused(start):
    run = start()
    (run.folder / "checkpoint").mkdir(parents=True)
    with (run.folder / "checkpoint" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is training"):
            train(run)


@pytest.mark.parametrize(
    ("selection", "validation", "said"), [("none", 0, "warning: 4 steps in all"), ("test", 4, "optimistic")]
)
def test_selection(start, selection, validation, said, capsys):
    run = train(start(selection=selection))
    assert run.about["data"]["training"] == 8 and run.about["data"]["validation"] == validation
    assert "predictions_validation.tsv" not in files(run)
    assert said in capsys.readouterr().err
    if selection == "none":
        assert run.about["best_epoch"] == 2  # the last


def test_training_on_one_device_leaves_the_evaluation_as_it_is(start, tiny):
    whole, one = (RunData(start(training_devices=names).config, corpus.read(tiny)) for names in (None, "a"))
    assert set(one.training.source_label) == {"a"} and set(one.evaluation.source_label) == {"a", "b"}
    kept = whole.training[whole.training.source_label == "a"]
    assert one.training.filename.tolist() == kept.filename.tolist() and 0 < len(kept) < len(whole.training)
    assert one.evaluation.equals(whole.evaluation)
    with pytest.raises(InputError, match="training_devices: .*tiny has no training clip of 'c'; it has: a, b"):
        RunData(start(training_devices="a, c").config, corpus.read(tiny))


def test_devices_beyond_the_report_change_what_is_heard(start, tiny):
    """Each switch changes an epoch's features; without it they are what they were."""
    plain = next(RunData(start().config, corpus.read(tiny)).batches(1))[0]
    for switch in ({"roll": True}, {"gain_db": 6.0}, {"device_response": 1.0}, {"mixstyle": 1.0}):
        changed = next(RunData(start(**switch).config, corpus.read(tiny)).batches(1))[0]
        assert changed.shape == plain.shape and not torch.equal(changed, plain), switch
    assert torch.equal(next(RunData(start().config, corpus.read(tiny)).batches(1))[0], plain)


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_the_floors_are_scored_on_the_same_clips(start, kind):
    floor, net = train(start(kind)), train(start("1"))
    assert floor.predictions().filename.tolist() == net.predictions().filename.tolist()
    model = {"model.safetensors", "compact.safetensors"} if kind == "logistic" else set()
    assert floor.about["data"]["training"] == 8 and files(floor) == {"predictions.tsv", "run.json"} | model


DEVICES = {"n_mels": 32, "selection": "none", "device_response": 0.5}


def test_a_floor_hears_other_microphones_where_a_recipe_asks_for_them(start, monkeypatch):
    """The clips themselves, then copies: each clip's are drawn anew, half of them another device's."""
    told, fit = [], floors.fit
    monkeypatch.setattr(floors, "fit", lambda *args: told.append(args) or fit(*args))
    train(start("logistic", n_mels=32)), train(start("logistic", "devices", **DEVICES))
    (_, alone, clips, _), (_, heard, rows, _) = told
    assert len(clips) == 8 and len(heard) == len(rows) == 8 * (1 + floors.COPIES)
    assert rows.filename.tolist() == clips.filename.tolist() * (1 + floors.COPIES)
    copies = heard.reshape(-1, *alone.shape)
    np.testing.assert_array_equal(copies[0], alone)
    same = (copies[1:] == alone).all(2)  # copy, clip
    assert 8 < same.sum() < 24 and len(np.unique(copies[1:][~same][:, 0])) == (~same).sum()


def test_a_floor_that_hears_microphones_has_a_spread_over_seeds(start):
    runs = [train(start("heard", seed=seed)) for seed in (0, 1)]
    row = tables.table_7(evaluation.load(runs[0].home, runs[0].recipe)).set_index("submission").loc["heard"]
    assert row.seeds == 2 and row.log_loss_std > 0 and row.n == 4


@pytest.mark.parametrize("system, hears", [
    ("both", {}), ("bare", {"device_response": None}), ("apart", {"device_response": 1, "response_db": 3, "device_limits": True}),
])  # fmt: skip
def test_both_are_what_each_is_alone(start, system, hears):
    """A recipe's network and logistic regression as one system, each as it is trained by itself."""
    net, alone = train(start("2", **DEVICES)), train(start("logistic", **DEVICES | hears))
    run = train(start(system, "both", **DEVICES))
    assert (run.about["features"], run.about["epochs"]) == (alone.about["features"], 2)
    model = compact.load(run.folder / "model.safetensors").network
    for mine, part in ((model.network, net), (model.logistic, alone)):
        for name, value in compact.load(part.folder / "model.safetensors").network.state_dict().items():
            assert torch.equal(mine.state_dict()[name], value), name
    parts = (part.predictions().set_index("filename").drop(columns="scene_label") for part in (net, alone))
    mean = predictions.together(*parts)
    np.testing.assert_allclose(run.predictions()[list(mean)], mean, atol=2e-3)


def test_baseline_is_normalised_with_the_training_fold_alone(start, tiny):
    run = start("baseline")
    work = RunData(run.config, corpus.read(tiny))
    mean, deviation = work.statistics()
    opened = store.open_store(corpus.read(tiny), 44100)
    frames = work.features(opened.read(opened.rows(work.training.filename)))[:, 0].double().numpy().reshape(-1, 40)
    assert mean.numpy() == pytest.approx(frames.mean(0), rel=1e-5)
    assert deviation.numpy() == pytest.approx(frames.std(0), rel=1e-4)


def test_batches_are_features_and_soft_labels(start, tiny):
    work = RunData(start().config, corpus.read(tiny))
    epoch = list(work.batches(1))
    assert len(epoch) == work.steps == 1
    x, y = epoch[0]
    assert x.shape == (4, 1, 32, 32) and torch.allclose(y.sum(1), torch.ones(4))
    assert torch.equal(x, next(iter(work.batches(1)))[0]) and not torch.equal(x, next(iter(work.batches(2)))[0])


def test_folds_have_folders_of_their_own(start):
    assert start(fold=2).folder.name == "seed_0_fold_2" and start().folder.name == "seed_0"
    with pytest.raises(InputError, match="fold: 4 is none of the 3"):
        train(start(fold=4))


def test_a_class_may_be_called_none(start):
    run = start()
    run.folder.mkdir(parents=True)
    (run.folder / "predictions.tsv").write_text("filename\tscene_label\tNA\tNone\n1\tNone\t0.25\t0.75\n")
    assert run.predictions().values.tolist() == [["1", "None", 0.25, 0.75]]


def test_one_class_is_nothing_to_learn(start, tiny):
    meta = tiny / "meta.csv"
    meta.write_text(meta.read_text().replace("\tpark\t", "\tbus\t"))
    with pytest.raises(InputError, match="dataset_root: every clip of .*tiny has the class 'bus'; give two or more"):
        train(start())


def test_recipe_without_data_says_how_to_give_it():
    with pytest.raises(InputError, match="make reproduce EXPERIMENT=tut2017 DATA=folder"):
        open_corpus(load("config/tut2017.yaml"))


def test_synthetic_corpus_is_made_once(tmp_path, monkeypatch):
    recipe = Recipe("x", synthetic={"seconds": 0.5, "locations": 1, "segments": 1, "evaluation_locations": 1})
    first = open_corpus(recipe)
    stamp = (first.root / "meta.csv").stat().st_mtime_ns
    assert open_corpus(recipe).root == first.root and (first.root / "meta.csv").stat().st_mtime_ns == stamp
    assert len(first.classes) == 10


def test_loss_that_is_not_finite_names_its_batch(start, tiny, monkeypatch):
    """The second epoch's first batch brings NaN: the first epoch's checkpoint stays, and the run goes on from it."""
    batches, epochs = RunData.batches, []

    def poisoned(work, epoch, first):
        epochs.append(epoch)
        for number, (inputs, targets) in enumerate(batches(work, epoch, first), start=first):
            poisoned.files = work.training.filename.iloc[work.order(epoch)[number].tolist()].to_list()
            yield (inputs * float("nan") if (epoch, number) == (2, 0) else inputs), targets

    monkeypatch.setattr(RunData, "batches", poisoned)
    with pytest.raises(InputError, match="became nan in epoch 2") as caught:
        train(start())
    run = start()
    assert poisoned.files[0] in str(caught.value) and "\n" not in str(caught.value)
    assert set(poisoned.files) <= set(corpus.read(tiny).table.filename)
    assert (run.folder / "checkpoint" / "last.pt").exists() and run.about is None
    monkeypatch.setattr(RunData, "batches", batches)
    assert train(start()).about["epochs"] == 2


def unlabelled(tiny, folder):
    """The same clips as DCASE's evaluation sets have them: a list of names in evaluation_setup, and no more."""
    (folder / "evaluation_setup").mkdir(parents=True)
    (folder / "audio").symlink_to(tiny / "audio")
    names = corpus.read(tiny).table.filename
    (folder / "evaluation_setup" / "fold1_test.csv").write_text("filename\n" + "\n".join(names) + "\n")
    return folder


def test_set_without_labels_is_predicted_and_not_trained_on_or_scored(start, tiny, tmp_path, capsys):
    run = train(start())
    folder = unlabelled(tiny, tmp_path / "evaluation-set")
    file, other = predict_other(run, folder)
    assert not other.labelled and file == run.folder / "predictions_evaluation-set.tsv"
    predicted = pd.read_csv(file, sep="\t").set_index("filename")
    assert predicted.index.tolist() == corpus.read(tiny).table.filename.tolist()
    mine = run.predictions().set_index("filename")  # the same clips, the same model
    assert np.allclose(predicted.loc[mine.index, ["bus", "park"]], mine[["bus", "park"]], atol=1e-6)
    with pytest.raises(InputError, match="evaluation-set has no scene_label: a trained model can predict it"):
        train(Run.of(str(tmp_path / "toy.yaml"), "1", 0, 1, str(folder), "other", str(tmp_path / "results")))
    assert not (tmp_path / "results" / "other").exists()
    prepare(run.recipe, other, tmp_path / "home")
    assert "there will be predictions, and no scores" in capsys.readouterr().err
    assert not (tmp_path / "home" / "truth.tsv").exists()


def test_prediction_without_a_model_is_one_line(start, tiny):
    with pytest.raises(InputError, match="no such model; train one"):
        predict_other(start(), tiny)


def test_one_step_on_real_recordings(tmp_path):
    """The 120 clips of TAU 2022: one epoch of one batch size trains, scores and lies in the tables' form."""
    run = Run.of("config/tut2017.yaml", 1, dataset_root=str(real("tau2022_clips")), experiment="real",
                 results_dir=str(tmp_path), epochs=1)  # fmt: skip
    p = train(run).predictions()
    assert len(p) == 25 and p.shape[1] == 12 and np.isfinite(p.iloc[:, 2:].to_numpy()).all()


def test_logistic_regression_on_real_recordings(tmp_path):
    """Fifteen classes, locations apart: well above chance, as the notes say."""
    run = Run.of("config/tut2017.yaml", "logistic", dataset_root=str(real("tut2017")), results_dir=str(tmp_path))
    p = train(run).predictions()
    truth = pd.read_csv(run.home / "truth.tsv", sep="\t").set_index("filename").loc[p.filename]
    labels = truth.scene_label.map(list(p.columns[2:]).index).to_numpy()
    assert 0.45 < metrics.accuracy(p.iloc[:, 2:].to_numpy(), labels) < 0.70
    assert json.loads((run.folder / "run.json").read_text())["data"]["clips"] == 392


def test_prepare_writes_truth_for_every_fold(tmp_path, tiny):
    recipe = Recipe("x", fold=(1, 2, 3), folds=3)
    prepare(recipe, corpus.read(tiny), tmp_path)
    assert len(pd.read_csv(tmp_path / "truth.tsv", sep="\t")) == 12


def test_a_step_on_another_device_stays_there(start, tiny, monkeypatch):
    """The way on a GPU, with torch's meta device in its place: it refuses to be mixed with the CPU's tensors, and to
    give any number back. Only the losses are asked for, at once."""
    asked, values = [], torch.Tensor.tolist

    def answer(tensor):
        return asked.append(tensor.shape) or [1.0] * len(tensor) if tensor.is_meta else values(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", answer)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no meta device
    monkeypatch.setattr(kernels, "PLAIN", True)  # what a GPU's tensors take
    monkeypatch.setattr("asc_kit.run.data.processing_device", lambda name: torch.device("meta"))
    settings = start("2").config
    for domain in ("waveform", "log_mel"):
        changed = replace(settings, augmentation=replace(settings.augmentation, mixup_domain=domain))
        work = RunData(changed, corpus.read(tiny))
        net = network.build(changed, len(work.classes)).to(work.device)
        trainer = Trainer(net, changed.training, 0, work.steps)
        for inputs, targets in work.batches(1):
            assert inputs.is_meta and targets.is_meta
            trainer.step(inputs, targets)
            trainer.step(inputs, targets)
        assert not asked
        trainer.read_losses()
        assert asked == [torch.Size([2 * work.steps])] and trainer.state.loss == 2 * len(work.training)
        asked.clear()


def test_the_ways_of_a_gpu_on_the_cpu_train_the_same_network(start, tiny, monkeypatch):
    """Batches are read ahead, features and gains are of whole batches, losses are read together."""
    settings = dict(batch_size=2, epochs=3, gain_db=3.0)  # with a gain a crop's loudness is computed from the crop
    plain = train(start("1", "plain", **settings))
    monkeypatch.setattr(kernels, "BATCHED", True)
    batched = train(start("1", "batched", **settings))
    first, second = (pd.read_csv(run.folder / "history.csv") for run in (plain, batched))
    assert np.allclose(first, second, rtol=1e-3)
    first, second = (run.predictions() for run in (plain, batched))
    assert first.filename.equals(second.filename)
    assert np.allclose(first.iloc[:, 2:], second.iloc[:, 2:], atol=1e-3)


def test_batches_are_the_same_in_the_same_order_when_they_are_read_ahead(start, tiny, monkeypatch):
    work = RunData(start(batch_size=2).config, corpus.read(tiny))
    work.features = torch.nn.Identity()  # crops and labels alone are compared, to the bit
    work.spec_augment = lambda waves, draw: waves
    alone = list(work.batches(1))
    monkeypatch.setattr(kernels, "BATCHED", True)
    ahead = list(work.batches(1))
    assert len(alone) == len(ahead) == work.steps > 1
    assert all(torch.equal(x, y) for pair in zip(alone, ahead) for x, y in zip(*pair))
    assert torch.equal(next(work.batches(1, first=1))[0], alone[1][0])
    work.store = work.store.copied(torch.device("cpu"))  # as where a GPU holds all clips
    assert all(torch.equal(x, y) for pair in zip(alone, work.batches(1)) for x, y in zip(*pair))


def test_balanced_devices_come_equally_often(start, tiny):
    """However few clips one has; what the order is without it stays."""
    recorded = corpus.read(tiny)
    few = recorded.table.filename.eq("audio/park-oslo-1-1-b.wav").map({True: "b", False: "a"})
    uneven = replace(recorded, table=recorded.table.assign(source_label=few))
    data = RunData(start(balanced_devices=True, batch_size=2).config, uneven)
    device = data.training.set_index("filename").source_label
    seen = [device.iloc[int(row)] for epoch in range(60) for batch in data.order(epoch) for row in batch]
    assert device.eq("b").mean() < 0.4 and 0.42 < np.mean([name == "b" for name in seen]) < 0.58


def test_a_drawn_split_leaves_the_data_sets_own_lists_aside(tmp_path):
    """Each clip is scored once in five folds, those that no list names too."""
    root = tmp_path / "set"
    (root / "evaluation_setup").mkdir(parents=True)
    rows = [f"audio/{k}.wav\t{'ab'[k % 2]}\tplace{k // 2}" for k in range(20)]
    (root / "meta.csv").write_text("\n".join(["filename\tscene_label\tidentifier", *rows]) + "\n")
    for side, part in (("train", rows[:10]), ("evaluate", rows[10:16])):
        names = [row.split("\t")[0] for row in part]
        (root / "evaluation_setup" / f"fold1_{side}.csv").write_text("\n".join(["filename", *names]) + "\n")
    given, drawn = corpus.read(root), corpus.read(root, "drawn")
    assert len(given.used()) == 16 and len(drawn.used()) == 20
    scored = [name for fold in range(1, 6) for name in drawn.split(fold, 5)[1].filename]
    assert sorted(scored) == sorted(drawn.table.filename)
    with pytest.raises(InputError, match="has no fold 2; it has 1"):
        given.split(2, 5)
