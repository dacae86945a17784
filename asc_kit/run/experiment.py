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
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from asc_kit import kernels, metrics, network
from asc_kit.augmentations import Mixup, SpecAugment, TemporalCrop
from asc_kit.beyond import FreqMixStyle, Recorder
from asc_kit.common import InputError, locked, say, write_file
from asc_kit.config import CODE, FLOORS, ROOT, Config, cache, code_digest, digest, generator, path
from asc_kit.data import corpus as corpora
from asc_kit.data import demo, responses
from asc_kit.data.corpus import Corpus
from asc_kit.data.gains import Gains
from asc_kit.data.store import Store, open_store
from asc_kit.deploy import compact
from asc_kit.deploy.predict import calibrate, clips, predict, processing_device, write_predictions
from asc_kit.features import LogMel
from asc_kit.run import floors, truth
from asc_kit.run.checkpoint import AfterStep, Checkpoints
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run
from asc_kit.trainer import NotFinite, Trainer

DRAWS = ("recorder", "mixup", "mixstyle", "spec_augment")  # each from a generator of its own
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
    name = digest(str(sorted(recipe.synthetic.items())), code_digest("data/demo", "data/sounds"))
    return corpora.read(demo.build(cache() / f"synthetic-{name}", demo.Demo(**recipe.synthetic)))


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


def _train(run: Run, data: "RunData", started: float, after_step: AfterStep) -> None:
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


def _fit_network(run: Run, data: "RunData", origin: dict[str, Any], after_step: AfterStep) -> dict[str, Any]:
    config, folder = run.config, run.folder
    logistic, chosen = None, {}
    if config.architecture.network == "both":  # first of all, since its faults show at once; no gradient trains it
        fitted, chosen = _floor("logistic", data)
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


def _save(run: Run, data: "RunData", trained: nn.Module, origin: dict[str, Any]) -> compact.Model:
    """Write both files of a model, and read the float16 one, of which all scores come."""
    file = run.folder / "model.safetensors"
    compact.save(trained, run.config, data.classes, file)
    model = compact.load(file)
    compact.save_folded(replace(model, origin=origin), file.with_name("compact.safetensors"))
    return model


def _fit_floor(run: Run, data: "RunData", origin: dict[str, Any]) -> dict[str, Any]:
    kind = run.config.architecture.network
    fitted, chosen = _floor(kind, data)
    if kind == "logistic":  # which can be taken away
        _save(run, data, _as_network(fitted, chosen, data), origin)
    evaluation = floors.statistics(map(data.features, data.clips(data.evaluation, "measuring clips")))
    scores = floors.probabilities(fitted, chosen["temperature"], evaluation, len(data.classes))
    write_predictions(run.folder / "predictions.tsv", data.evaluation, scores, data.classes)
    return chosen


def _floor(kind: str, data: "RunData") -> tuple[Any, dict[str, Any]]:
    """A floor fitted to the training clips, and where a recipe asks for it to copies by other microphones, too."""
    measured = [floors.statistics(map(data.features, data.clips(data.training, "measuring clips")))]
    copies = floors.COPIES if data.config.augmentation.device_response else 0
    for copy in range(copies):
        draw = generator(data.config.seed, "floor", copy)
        waves = data.clips(data.training, f"measuring copies, {copy + 1} of {copies}")
        measured.append(floors.statistics(data.features(data.recorder(wave, draw)) for wave in waves))
    rows = pd.concat([data.training] * len(measured), ignore_index=True)
    return floors.fit(kind, np.concatenate(measured), rows, data.classes)


def _as_network(fitted: Any, chosen: dict[str, Any], data: "RunData") -> network.Logistic:
    return floors.as_network(fitted, chosen["temperature"], data.config.features.n_mels, len(data.classes))


def _describe(run: Run, data: "RunData") -> dict[str, Any]:
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


class RunData:
    """A run's data: rows of each part, batches for the trainer, and scoring."""

    def __init__(self, config: Config, corpus: Corpus):
        self.config, self.corpus, self.classes = config, corpus, corpus.classes
        if not corpus.labelled:
            raise InputError(f"dataset_root: {corpus.root} has no scene_label: a trained model can predict it "
                             "(06_evaluate's other_root), but nothing can be trained on it or scored")  # fmt: skip
        if len(corpus.classes) == 1:
            raise InputError(f"dataset_root: every clip of {corpus.root} has the class {corpus.classes[0]!r}; give two "
                             "or more (is meta.csv missing, or a folder level too many?)")  # fmt: skip
        training = config.training
        self.device = processing_device(training.device)
        self.precision = training.precision
        if self.precision == "bfloat16" and not kernels.computes_bfloat16(self.device):
            self.precision = "float32"
            say("precision: this processor has no bfloat16 arithmetic; float32 is used, which is faster here")
        self.training, self.evaluation = corpus.split(config.fold, config.folds, config.split_seed)
        self.store: Store = open_store(corpus, config.features.sample_rate)  # long: after the faults
        if training.training_devices is not None:
            self.training = corpora.of_devices(self.training, training.training_devices, corpus.root)
        self.watched = self.training.iloc[:0]
        if training.selection == "validation":
            held = training.validation_fraction, config.split_seed
            self.training, self.watched = corpora.hold_out(self.training, *held)
        elif training.selection == "test":
            say("selection: the best epoch is chosen on the evaluation fold; its scores are optimistic")
            self.watched = self.evaluation
        self.features = LogMel(config.features).to(self.device)
        crop = config.augmentation.crop_seconds
        self.crop = TemporalCrop(None if crop is None else round(crop * config.features.sample_rate))
        self.mixup = Mixup(config.augmentation, config.features.sample_rate).to(self.device)
        self.recorder = Recorder(config.augmentation, config.features.sample_rate, self._responses()).to(self.device)
        known = config.augmentation.mixup == "modified" and not self.recorder.changes_loudness
        self.gains = Gains(self.store) if known else None
        self.mixstyle, self.spec_augment = FreqMixStyle(config.augmentation), SpecAugment(config.augmentation)
        self.store = self.store.on(self.device)

    def _responses(self) -> torch.Tensor | None:
        sound = self.config.augmentation
        if sound.device_response and sound.responses:
            return responses.of(sound.responses, self.config.features.sample_rate)
        if sound.device_response:
            say("device_response: the microphones are made up; give responses, a folder of measured ones")
        return None

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

    def order(self, epoch: int) -> tuple[torch.Tensor, ...]:
        """The training rows' numbers, (clips,) for every batch of an epoch."""
        rows, draw = len(self.training), generator(self.config.seed, "order", epoch)
        order = torch.randperm(rows, generator=draw)
        if self.config.augmentation.balanced_devices:  # with replacement: rare ones come again
            counts = self.training.source_label.map(self.training.source_label.value_counts())
            order = torch.multinomial(torch.tensor(1 / counts.to_numpy()), rows, True, generator=draw)
        return order.split(self.config.training.batch_size)[: self.steps]

    def _crops(self, rows: np.ndarray, epoch: int, step: int) -> tuple[np.ndarray, list[int], int]:
        draw = generator(self.config.seed, "crop", epoch, step)
        starts, length = self.crop.section(len(rows), self.store.length, draw)
        return rows, starts.tolist(), length

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Section 2.2: an epoch's augmented features (batch, 1, time, mel) and soft labels (batch, classes).

        Parameters
        ----------
        epoch, first : from 1; the step to begin with, from 0. Every step draws from generators of its own
        """
        rows = self.store.rows(self.training.filename)
        targets = nn.functional.one_hot(torch.tensor(self.labels(self.training)), len(self.classes)).float()
        order = self.order(epoch)[first:]
        places = [self._crops(rows[chosen.numpy()], epoch, step) for step, chosen in enumerate(order, first)]
        read = self.store.waves(places, self.device)
        for waves, place, chosen, step in zip(read, places, order, count(first)):
            draw = {name: generator(self.config.seed, name, epoch, step) for name in DRAWS}
            waves, labels = self.recorder(waves, draw["recorder"]), targets[chosen]
            gains = None if self.gains is None else self.gains.of(*place)
            if self.config.augmentation.mixup_domain == "log_mel":
                inputs, soft = self.mixup(waves, labels, draw["mixup"], self.features(waves), gains)
            else:
                waves, soft = self.mixup(waves, labels, draw["mixup"], gains=gains)
                inputs = self.features(waves)
            inputs = self.spec_augment(self.mixstyle(inputs, draw["mixstyle"]), draw["spec_augment"])
            yield inputs, kernels.send(soft, self.device)

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of every mel bin over the training rows, (mel,) each: the baseline's normalisation."""
        totals = torch.zeros(2, self.config.features.n_mels, dtype=torch.float64, device=self.device)
        measured = 0
        for waves in self.clips(self.training, "measuring the training fold"):
            frames = self.features(waves).double().flatten(0, 2)  # frames, mel
            totals += torch.stack([frames.sum(0), frames.square().sum(0)])
            measured += len(frames)
        mean, square = totals / measured
        deviation = (square - mean.square()).clamp(min=1e-12).sqrt()
        return mean.float(), deviation.float()

    def clips(self, rows: pd.DataFrame, title: str) -> Iterator[torch.Tensor]:
        """Whole clips of rows, some at a time."""
        return clips(self.store, rows, title, self.device)

    @torch.inference_mode()
    def evaluate(self, net: nn.Module) -> dict[str, float]:
        """Scores of the watched rows, whole clips, in the training's precision."""
        logits = []
        for waves in self.clips(self.watched, "validation"):
            with kernels.autocast(self.device, self.config.training.precision):
                logits.append(net(self.features(waves)).float())
        probabilities, labels = metrics.softmax(torch.cat(logits).cpu().numpy()), self.labels(self.watched)
        return {name: getattr(metrics, name)(probabilities, labels) for name in ("accuracy", "log_loss")}


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
