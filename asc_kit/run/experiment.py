"""One run from audio to ``predictions.tsv``: brings corpus, store, augmentations, network and trainer together."""

import json
import platform
import re
import subprocess
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from asc_kit import kernels, network
from asc_kit.beyond import Recorder
from asc_kit.common import InputError, locked, say, write_file
from asc_kit.config import CODE, FLOORS, ROOT, Augmentation, Demo, build, cache, code_digest, digest, generator, path
from asc_kit.data import corpus as corpora
from asc_kit.data.corpus import Corpus
from asc_kit.data.store import Store, open_store
from asc_kit.deploy import compact
from asc_kit.deploy.predict import calibrate, predict, write_predictions
from asc_kit.run import floors, truth
from asc_kit.run.checkpoint import AfterStep, Checkpoints
from asc_kit.run.data import RunData
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run
from asc_kit.trainer import NotFinite, Trainer

FEW = 200  # steps, below which that is said
HISTORY = ["epoch", "learning_rate", "loss", "validation_accuracy", "validation_log_loss"]  # history.csv's columns
LIBRARIES = ("torch", "torchaudio", "numpy", "scipy", "scikit-learn", "soundfile", "soxr", "safetensors", "pandas")


def open_corpus(recipe: Recipe, dataset_root: str | Path | None = None) -> Corpus:
    """The recipe's data set: ``dataset_root``, the recipe's own, or the synthetic corpus, made at first use."""
    root = dataset_root or recipe.dataset_root
    if root:
        return corpora.read(path(root), recipe.split)
    if recipe.synthetic is None:
        raise InputError(f"dataset_root: {recipe.name} needs a folder of recordings; give dataset_root "
                         f"(make reproduce EXPERIMENT={recipe.name} DATA=folder)")  # fmt: skip
    from asc_kit.data import demo  # here: real recordings need not wait for scipy.signal

    name = digest(str(sorted(recipe.synthetic.items())), code_digest("data/demo", "data/sounds"))
    return corpora.read(demo.build(cache() / f"synthetic-{name}", Demo(**recipe.synthetic)))


def train(run: Run, after_step: AfterStep = lambda trainer: None) -> Run:
    """Train, score and write a run; a whole one is left as it is, a broken-off one goes on.

    Raises
    ------
    InputError : the folder holds a run of another configuration, or another process is training it.
    """
    started = time.time()
    torch.set_num_threads(run.config.training.threads)
    kernels.keep_memory()
    # First of all, so that faults of the data show before a file is made.
    data = RunData(run.config, open_corpus(run.recipe, run.dataset_root))
    busy = f"{run.folder}: another process is training this run; wait for it"
    with locked(run.folder / "checkpoint" / "lock", busy, "results_dir"):
        run.refuse_other(data.store.fingerprint)
        if run.about is not None and (run.folder / "predictions.tsv").exists():
            same = run.about["code"] == code()
            other = "" if same else ", by other code than this: delete its folder to train it again"
            say(f"{run.title}: already trained{other}; nothing to do")
            return run
        _train(run, data, started, after_step)
    return run


def finish(run: Run) -> None:
    """Remove the checkpoints of a run that is whole, once nothing that was made of it can be lost.

    Snakemake deletes what a failed job made: until 05_train has shown it, the last checkpoint gives it back in seconds.
    """
    if run.about is not None:
        for file in (run.folder / "checkpoint").glob("*.pt"):
            file.unlink(missing_ok=True)


def code() -> str:
    """Names the code that a run's numbers depend on; words and layout do not count."""
    return code_digest(*CODE)


def _train(run: Run, data: RunData, started: float, after_step: AfterStep) -> None:
    truth.write(run.home, data.corpus, data.evaluation)
    averages = () if run.variant else run.home.glob(f"averaged_{run.config.submission}/seed_*/predictions.tsv")
    for file in (*run.folder.glob("predictions_*.tsv"), *averages):  # 14_beyond's, of another network than this will be
        file.unlink(missing_ok=True)
    about = _describe(run, data)
    if run.config.architecture.network in FLOORS:
        about |= _fit_floor(run, data, compact.origin(about))
    else:
        about |= _fit_network(run, data, compact.origin(about), after_step)
    about["started"] = datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds")
    about["seconds"] = round(time.time() - started, 1)
    write_file(run.folder / "run.json", json.dumps(about, indent=1) + "\n")


def _fit_network(run: Run, data: RunData, origin: dict[str, Any], after_step: AfterStep) -> dict[str, Any]:
    config, folder = run.config, run.folder
    logistic, chosen = None, {}
    if config.architecture.network == "both":  # first of all, since its faults show at once; no gradient trains it
        hears = build(Augmentation, asdict(config.augmentation) | config.architecture.logistic, "logistic")
        fitted, chosen = _floor("logistic", data, data.recorder_of(hears))
        logistic = _as_network(fitted, chosen, data)
    torch.manual_seed(generator(config.seed, "weights").initial_seed())
    net = network.build(config, len(data.classes)).to(data.device)
    if hasattr(net, "standardise"):  # a network may ask for the mean and deviation of every mel bin
        net.standardise(*data.statistics())
    trainer = Trainer(net.network if logistic else net, config.training, config.seed, data.steps)
    if (total := data.steps * config.training.epochs) < FEW and not data.corpus.synthetic:
        say(f"warning: {total} steps in all, where a network wants some hundred; give more epochs, or a smaller "
            f"batch_size than {config.training.batch_size}")  # fmt: skip
    checkpoints = Checkpoints(folder / "checkpoint", f"{config.hash} on {data.store.fingerprint}", code())
    try:
        trained = checkpoints.fit(trainer, data.batches, data.evaluate if len(data.watched) else None, after_step)
    except NotFinite as error:
        batch = data.training.filename.iloc[data.order(error.epoch)[error.step].tolist()]
        raise InputError(f"{error}; the last checkpoint is kept; its batch of {len(batch)} begins with "
                         f"{batch.iloc[0]}") from None  # fmt: skip
    if logistic:
        net.network, net.logistic = trained, logistic
        trained = net
    write_file(folder / "history.csv", pd.DataFrame(trainer.state.history, columns=HISTORY).to_csv(index=False))
    model = _save(run, data, trained, origin)
    if config.training.selection == "validation":
        predict(model, data.store, data.watched, folder / "predictions_validation.tsv", data.device)
        held_out = run.predictions("predictions_validation")[list(data.classes)].to_numpy()
        labels, sides = data.labels(data.watched), (data.training, data.watched)
        calibrate(model, data.store, data.device, folder, held_out, labels, *sides)
    predict(model, data.store, data.evaluation, folder / "predictions.tsv", data.device)
    return {"parameters": model.parameters, "nonzero": model.nonzero, "epochs": trainer.state.epoch,
            "best_epoch": trainer.state.best_epoch} | chosen  # fmt: skip


def _save(run: Run, data: RunData, trained: nn.Module, origin: dict[str, Any]) -> compact.Model:
    """Write both files of a model, and read the float16 one, of which all scores come."""
    file = run.folder / "model.safetensors"
    compact.save(trained, run.config, data.classes, file)
    model = compact.load(file)
    compact.save_folded(replace(model, origin=origin), file.with_name("compact.safetensors"))
    return model


def _fit_floor(run: Run, data: RunData, origin: dict[str, Any]) -> dict[str, Any]:
    kind = run.config.architecture.network
    fitted, chosen = _floor(kind, data, data.recorder)
    if kind == "logistic":  # which can be taken away
        _save(run, data, _as_network(fitted, chosen, data), origin)
    evaluation = floors.statistics(map(data.features, data.clips(data.evaluation, "measuring clips")))
    scores = floors.probabilities(fitted, chosen["temperature"], evaluation, len(data.classes))
    write_predictions(run.folder / "predictions.tsv", data.evaluation, scores, data.classes)
    return chosen


def _floor(kind: str, data: RunData, recorder: Recorder) -> tuple[Any, dict[str, Any]]:
    """A floor fitted to the training clips, and where a recipe asks for it to copies by other microphones, too."""
    measured = [floors.statistics(map(data.features, data.clips(data.training, "measuring clips")))]
    copies = floors.COPIES if recorder.config.device_response else 0
    for copy in range(copies):
        draw = generator(data.config.seed, "floor", copy)
        waves = data.clips(data.training, f"measuring copies, {copy + 1} of {copies}")
        measured.append(floors.statistics(data.features(recorder(wave, draw)) for wave in waves))
    rows = pd.concat([data.training] * len(measured), ignore_index=True)
    return floors.fit(kind, np.concatenate(measured), rows, data.classes)


def _as_network(fitted: Any, chosen: dict[str, Any], data: RunData) -> network.Logistic:
    return floors.as_network(fitted, chosen["temperature"], data.config.features.n_mels, len(data.classes))


def _describe(run: Run, data: RunData) -> dict[str, Any]:
    """What ``run.json`` says whatever comes of the training."""
    corpus = data.corpus
    clips = {"training": len(data.training), "validation": len(data.watched), "evaluation": len(data.evaluation)}
    return {
        "run": f"{run.folder.parent.name}/{run.folder.name}", "recipe": run.recipe.name,
        "config": run.config.as_dict(), "hash": run.config.hash, "commit": commit(), "code": code(),
        "features_code": code_digest("features", "data/audio", "data/containers", "data/store"),
        "data": {"name": corpus.root.resolve().name, "synthetic": corpus.synthetic, **data.store.about, **clips},
        "classes": data.classes,
        "versions": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "machine": {"system": platform.platform(), "processor": processor(), "device": str(data.device),
                    "threads": torch.get_num_threads(), "precision": data.precision},
    }  # fmt: skip


def prepare(recipe: Recipe, corpus: Corpus, home: Path) -> Store:
    """Decode a corpus and write the experiment's ``truth.tsv`` for every fold of the recipe."""
    store = open_store(corpus, recipe.config("4").features.sample_rate)
    if not corpus.labelled:
        say(f"{corpus.root}: has no scene_label: there will be predictions, and no scores")
        return store
    scored = [corpus.split(fold, recipe.folds, recipe.split_seed)[1] for fold in recipe.fold]
    truth.write(home, corpus, pd.concat(scored))
    return store


def commit() -> str:
    """The repository's commit, with a + where files differ from it; empty outside git."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor() -> str:
    """The processor's name."""
    file = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", file.read_text(), re.M) if file.exists() else []
    return names[0] if names else platform.processor()
