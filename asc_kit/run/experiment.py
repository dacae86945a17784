"""One run from audio to ``predictions.tsv``: brings corpus, store, augmentations, network and trainer together."""

import json
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from asc_kit import config as configuration
from asc_kit import kernels, metrics, network
from asc_kit.augmentations import Mixup, SpecAugment, TemporalCrop
from asc_kit.beyond import FreqMixStyle, Recorder
from asc_kit.common.errors import InputError
from asc_kit.common.files import locked, replacing
from asc_kit.common.progress import say
from asc_kit.config import FLOORS, Config, generator
from asc_kit.data import corpus as corpora
from asc_kit.data import demo
from asc_kit.data.corpus import Corpus
from asc_kit.data.gains import Gains
from asc_kit.data.store import Store, open_store
from asc_kit.deploy import calibration, compact
from asc_kit.deploy.predict import clips, predict, processing_device, write_predictions
from asc_kit.features import LogMel
from asc_kit.run import floors as reference
from asc_kit.run import truth
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run
from asc_kit.trainer import NotFinite, Trainer, autocast, write_history

DRAWS = ("crop", "recorder", "mixup", "mixstyle", "spec_augment")  # each from a generator of its own
LIBRARIES = ("torch", "torchaudio", "numpy", "scipy", "scikit-learn", "soundfile", "soxr", "safetensors", "pandas")


def open_corpus(recipe: Recipe, dataset_root: str | Path | None = None) -> Corpus:
    """The recipe's data set: ``dataset_root``, the recipe's own, or the synthetic corpus, made at first use."""
    root = dataset_root or recipe.dataset_root
    if root:
        return corpora.read(configuration.path(root))
    if recipe.synthetic is None:
        raise InputError(f"dataset_root: {recipe.name} needs a folder of recordings; give dataset_root "
                         f"(make reproduce EXPERIMENT={recipe.name} DATA=folder)")  # fmt: skip
    name = configuration.digest(
        str(sorted(recipe.synthetic.items())), configuration.code_digest("data/demo", "data/sounds")
    )
    root = configuration.cache() / f"synthetic-{name}"
    return corpora.read(demo.build(root, demo.Demo(**recipe.synthetic)))


def train(run: Run) -> Run:
    """Train, score and write a run; a whole one is left as it is, a broken-off one goes on.

    Raises
    ------
    InputError : the folder holds a run of another configuration, or another process is training it.
    """
    started = time.time()
    torch.set_num_threads(run.config.training.threads)
    kernels.keep_memory()
    work = Work(run.config, open_corpus(run.recipe, run.dataset_root))  # faults of the data show before a file is made
    busy = f"{run.folder}: another process is training this run; wait for it"
    with locked(run.folder / "checkpoint" / "lock", busy, "results_dir"):
        run.refuse_other()
        if run.about is not None and (run.folder / "predictions.tsv").exists():
            _say_trained(run, work)
            return run
        _train(run, work, started)
    return run


def finish(run: Run) -> None:
    """Remove the checkpoints of a run that is whole, once nothing that was made of it can be lost.

    Snakemake deletes what a failed job made: until 05_train has shown it, the last checkpoint gives it back in seconds.
    """
    if run.about is not None:
        for file in (run.folder / "checkpoint").glob("*.safetensors"):
            file.unlink(missing_ok=True)


def _say_trained(run: Run, work: "Work") -> None:
    there, here = run.about["data"]["fingerprint"], work.store.fingerprint
    if there != here:
        raise InputError(f"{run.folder}: holds a run on other data (fingerprint {there}, this is {here}); "
                         "name another experiment")  # fmt: skip
    other = "" if run.about["code"] == code() else ", by other code than this: delete its folder to train it again"
    say(f"{run.title}: already trained{other}; nothing to do")


def code() -> str:
    """Names the code that a run's numbers depend on; words and layout do not count."""
    return configuration.code_digest(*configuration.CODE)


def _train(run: Run, work: "Work", started: float) -> None:
    truth.write(run.home, work.corpus, work.evaluation)
    stale = run.folder.glob("predictions_*.tsv")  # 14_beyond's, of another network than this will be
    fold = run.folder.name.partition("_fold_")[1:]
    averaged = [] if run.variant else run.home.glob(f"averaged_{run.config.submission}/seed_*/predictions.tsv")
    for file in chain(stale, (file for file in averaged if file.parent.name.partition("_fold_")[1:] == fold)):
        file.unlink(missing_ok=True)
    result = (_fit_reference if run.config.submission in FLOORS else _train_network)(run, work)
    _write_about(run, work, started, result)


def _train_network(run: Run, work: "Work") -> dict[str, Any]:
    config, folder = run.config, run.folder
    torch.manual_seed(generator(config.seed, "weights").initial_seed())
    net = network.build(config.submission, config.features, len(work.classes)).to(work.device)
    if isinstance(net, network.Baseline):
        net.mean, net.deviation = work.statistics()
    identity = f"{config.hash} on {work.store.fingerprint}"
    trainer = Trainer(net, config.training, config.seed, work.steps, folder / "checkpoint", identity, code())
    try:
        trained = trainer.fit(work.batches, work.evaluate if len(work.watched) else None)
    except NotFinite as error:
        raise InputError(f"{error}; {_post_mortem(folder / 'postmortem.json', trainer, work)}") from None
    compact.save(trained, config, work.classes, folder / "model.safetensors")
    write_history(folder / "history.csv", trainer.state.history)
    model = compact.load(folder / "model.safetensors")  # scores come from the float16 file
    compact.save_folded(replace(model, origin=compact.origin(_identity(run, work))), folder / "compact.safetensors")
    if config.training.selection == "validation":
        work.predict(model, work.watched, folder / "predictions_validation.tsv")
        _calibrate(run, work)
    work.predict(model, work.evaluation, folder / "predictions.tsv")
    return {"parameters": model.parameters, "nonzero": model.nonzero, "epochs": trainer.state.epoch,
            "best_epoch": trainer.state.best_epoch}  # fmt: skip


def _calibrate(run: Run, work: "Work") -> None:
    """Write ``temperature.json`` from the validation predictions and some hundred clips' statistics."""
    probabilities = run.predictions("predictions_validation")[list(work.classes)].to_numpy()
    fitted = calibration.fit(probabilities, work.labels(work.watched))
    sides = [rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), calibration.MEASURED)).astype(int)]
             for rows in (work.training, work.watched)]  # fmt: skip
    known, other = (
        np.concatenate([calibration.statistics(work.features(waves)) for waves in work.clips(rows, "measuring clips")])
        for rows in sides
    )
    profile = calibration.profile(known, sides[0].identifier, other)
    calibration.write(run.folder / calibration.NAME, run.config, fitted, profile)


def _post_mortem(file: Path, trainer: Trainer, work: "Work") -> str:
    """Write what was at hand when the loss became NaN or infinite; returns it in words."""
    largest = {name: str(value.detach().abs().max().item()) for name, value in trainer.network.named_parameters()}
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    about = {"epoch": trainer.state.epoch + 1, "learning_rate": rates, "history": trainer.state.history,
             "batch": work.batch, "largest_weights": largest}  # fmt: skip
    with replacing(file) as part:
        part.write_text(json.dumps(about, indent=1) + "\n")
    return f"its batch of {len(work.batch)} begins with {work.batch[0]}; all are named in {file}"


def _fit_reference(run: Run, work: "Work") -> dict[str, Any]:
    sides = [reference.statistics(map(work.features, work.clips(rows, "measuring clips")))
             for rows in (work.training, work.evaluation)]  # fmt: skip
    scores, chosen = reference.fit_predict(run.config.submission, sides[0], work.training, sides[1], work.classes)
    write_predictions(run.folder / "predictions.tsv", work.evaluation, scores, work.classes)
    return chosen


def _identity(run: Run, work: "Work") -> dict[str, Any]:
    data = {"synthetic": work.corpus.synthetic, **work.store.about}
    return {"run": f"{run.folder.parent.name}/{run.folder.name}", "hash": run.config.hash, "code": code(), "data": data}


def _write_about(run: Run, work: "Work", started: float, result: dict[str, Any]) -> None:
    identity = _identity(run, work)
    data = {
        "name": work.corpus.root.resolve().name,
        **identity["data"],
        "training": len(work.training),
        "validation": len(work.watched),
        "evaluation": len(work.evaluation),
    }
    about = {
        "run": identity["run"], "recipe": run.recipe.name,
        "config": run.config.as_dict(), "hash": identity["hash"], "commit": commit(),
        "code": identity["code"], "features_code": configuration.code_digest("features", "data/audio", "data/store"),
        "data": data, "classes": work.classes, **result,
        "versions": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "machine": {"system": platform.platform(), "processor": processor(), "device": str(work.device),
                    "threads": torch.get_num_threads()},
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
    }  # fmt: skip
    with replacing(run.folder / "run.json") as part:
        part.write_text(json.dumps(about, indent=1) + "\n")


class Work:
    """A run's data: rows of each part, batches for the trainer, and scoring."""

    def __init__(self, config: Config, corpus: Corpus):
        self.config, self.corpus, self.classes = config, corpus, corpus.classes
        self.batch: list[str] = []  # file names of the batch that was given last
        if not corpus.labelled:
            raise InputError(f"dataset_root: {corpus.root} has no scene_label: a trained model can predict it "
                             "(06_evaluate's other_root), but nothing can be trained on it or scored")  # fmt: skip
        if len(corpus.classes) == 1:
            raise InputError(f"dataset_root: every clip of {corpus.root} has the class {corpus.classes[0]!r}; give two "
                             "or more (is meta.csv missing, or a folder level too many?)")  # fmt: skip
        training = config.training
        self.device = processing_device(training.device)
        self.training, self.evaluation = corpus.split(config.fold, config.folds, config.split_seed)
        self.store: Store = open_store(corpus, config.features.sample_rate)  # long: after the faults
        if training.training_devices is not None:
            self.training = corpora.of_devices(self.training, training.training_devices, corpus.root)
        self.watched = self.training.iloc[:0]
        if training.selection == "validation":
            self.training, self.watched = corpora.hold_out(
                self.training, training.validation_fraction, config.split_seed
            )
        elif training.selection == "test":
            say("selection: the best epoch is chosen on the evaluation fold; its scores are optimistic")
            self.watched = self.evaluation
        self.features = LogMel(config.features).to(self.device)
        crop = config.augmentation.crop_seconds
        self.crop = TemporalCrop(None if crop is None else round(crop * config.features.sample_rate))
        self.mixup = Mixup(config.augmentation, config.features.sample_rate).to(self.device)
        self.recorder = Recorder(config.augmentation, config.features.sample_rate)
        known = config.augmentation.mixup == "modified" and not self.recorder.changes_loudness
        self.gains = Gains(self.store) if known else None
        self.mixstyle, self.spec_augment = FreqMixStyle(config.augmentation), SpecAugment(config.augmentation)

    @property
    def steps(self) -> int:
        """Batches in an epoch; a last batch of a single clip, which a batch norm cannot take, is left out."""
        whole, rest = divmod(len(self.training), self.config.training.batch_size)
        if whole == 0 and rest < 2:
            raise InputError(f"dataset_root: {self.corpus.root} leaves {rest} clips to train on; it needs two or more")
        return whole + (rest > 1)

    def labels(self, rows: pd.DataFrame) -> np.ndarray:
        """(clips,) class numbers."""
        return rows.scene_label.map({name: i for i, name in enumerate(self.classes)}).to_numpy()

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Section 2.2: an epoch's augmented features (batch, 1, time, mel) and soft labels (batch, classes).

        Parameters
        ----------
        epoch, first : from 1; the step to begin with, from 0. Every step draws from generators of its own
        """
        rows = self.store.rows(self.training.filename)
        targets = nn.functional.one_hot(torch.tensor(self.labels(self.training)), len(self.classes)).float()
        order = torch.randperm(len(rows), generator=generator(self.config.seed, "order", epoch))
        batches = order.split(self.config.training.batch_size)[: self.steps]
        for step, chosen in enumerate(batches[first:], start=first):
            draw = {name: generator(self.config.seed, name, epoch, step) for name in DRAWS}
            self.batch = self.training.filename.iloc[chosen.tolist()].to_list()  # for a post-mortem
            starts, length = self.crop.section(len(chosen), self.store.length, draw["crop"])
            waves = self.store.read(rows[chosen.numpy()], starts.tolist(), length).to(self.device)
            waves = self.recorder(waves, draw["recorder"])
            labels, gains = targets[chosen].to(self.device), None
            if self.gains is not None:
                gains = self.gains.of(rows[chosen.numpy()], starts.tolist(), length).to(self.device)
            if self.config.augmentation.mixup_domain == "log_mel":
                inputs, soft = self.mixup(waves, labels, draw["mixup"], self.features(waves), gains)
            else:
                waves, soft = self.mixup(waves, labels, draw["mixup"], gains=gains)
                inputs = self.features(waves)
            yield self.spec_augment(self.mixstyle(inputs, draw["mixstyle"]), draw["spec_augment"]), soft

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of every mel bin over the training rows, (mel,) each: the baseline's normalisation."""
        totals = torch.zeros(2, self.config.features.n_mels, dtype=torch.float64)
        count = 0
        for waves in self.clips(self.training, "measuring the training fold"):
            frames = self.features(waves).cpu().double().flatten(0, 2)  # frames, mel
            totals += torch.stack([frames.sum(0), frames.square().sum(0)])
            count += len(frames)
        mean, square = totals / count
        deviation = (square - mean.square()).clamp(min=1e-12).sqrt()
        return mean.float().to(self.device), deviation.float().to(self.device)

    def clips(self, rows: pd.DataFrame, title: str) -> Iterator[torch.Tensor]:
        """Whole clips of rows, (up to 8, samples) at a time."""
        return clips(self.store, rows, title, self.device)

    @torch.inference_mode()
    def evaluate(self, net: nn.Module) -> dict[str, float]:
        """Scores of the watched rows, whole clips, in the training's precision."""
        logits = []
        for waves in self.clips(self.watched, "validation"):
            with autocast(self.device, self.config.training.precision):
                logits.append(net(self.features(waves)).float().cpu())
        probabilities, labels = metrics.softmax(torch.cat(logits).numpy()), self.labels(self.watched)
        return {
            "accuracy": metrics.accuracy(probabilities, labels),
            "log_loss": metrics.log_loss(probabilities, labels),
        }

    def predict(self, model: compact.Model, rows: pd.DataFrame, file: Path) -> None:
        """Write the probabilities of whole clips in the DCASE output format."""
        predict(model, self.store, rows, file, self.device)


def prepare(recipe: Recipe, corpus: Corpus, home: Path) -> Store:
    """Decode a corpus and write the experiment's ``truth.tsv`` for every fold of the recipe."""
    store = open_store(corpus, recipe.config("4").features.sample_rate)
    if not corpus.labelled:
        say(f"{corpus.root}: has no scene_label: there will be predictions, and no scores")
        return store
    truth.write(
        home, corpus, pd.concat([corpus.split(fold, recipe.folds, recipe.split_seed)[1] for fold in recipe.fold])
    )
    return store


def commit() -> str:
    """The repository's commit, with a + where files differ from it; empty outside git."""
    command = ["git", "-C", str(configuration.ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor() -> str:
    """The processor's name."""
    file = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", file.read_text(), re.M) if file.exists() else []
    return names[0] if names else platform.processor()
