"""A run's data: the rows of each part, batches of augmented features for the trainer, and scoring."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pandas as pd
import torch
from torch import nn

from asc_kit import kernels, metrics
from asc_kit.augmentations import Mixup, SpecAugment, TemporalCrop
from asc_kit.beyond import FreqMixStyle, Recorder
from asc_kit.common import InputError, say
from asc_kit.config import Augmentation, Config, generator
from asc_kit.data import corpus as corpora
from asc_kit.data import responses
from asc_kit.data.corpus import Corpus
from asc_kit.data.gains import Gains
from asc_kit.data.store import Store, open_store
from asc_kit.deploy.predict import clips, processing_device
from asc_kit.features import LogMel

DRAWS = ("recorder", "mixup", "mixstyle", "spec_augment")  # each from a generator of its own


class RunData:
    """A run's data; opening it decodes what the store has not yet."""

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
        self.recorder = self.recorder_of(config.augmentation)
        known = config.augmentation.mixup == "modified" and not self.recorder.changes_loudness
        self.gains = Gains(self.store) if known else None
        self.mixstyle, self.spec_augment = FreqMixStyle(config.augmentation), SpecAugment(config.augmentation)
        self.store = self.store.on(self.device)

    def recorder_of(self, sound: Augmentation) -> Recorder:
        """What plays clips through other microphones, with the measured responses where ``sound`` names them."""
        measured, rate = None, self.config.features.sample_rate
        if sound.device_response and sound.responses:
            measured = responses.of(sound.responses, rate)
        elif sound.device_response:
            say("device_response: the microphones are made up; give responses, a folder of measured ones")
        return Recorder(sound, rate, measured).to(self.device)

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
