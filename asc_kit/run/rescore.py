"""A run's own evaluation clips, scored again in ways that the report does not have.

Each way leaves a file of predictions beside ``predictions.tsv``; `asc_kit.report.beyond` makes tables of them without
audio.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from asc_kit import config as configuration
from asc_kit.common import InputError, say
from asc_kit.data import corpus as corpora
from asc_kit.data.corpus import Corpus
from asc_kit.data.demo import DEVICES, apply_device
from asc_kit.data.store import Store, open_store
from asc_kit.deploy import compact
from asc_kit.deploy.predict import predict, processing_device
from asc_kit.run.experiment import open_corpus
from asc_kit.run.runs import Run


def crops(run: Run, count: int = 5) -> None:
    """Test-time augmentation: the mean over ``count`` crops as long as the training's, from first to last.

    Raises
    ------
    InputError : the run was trained on whole clips, has no model, or ran on other data.
    """
    model, store, rows, device = _opened(run)
    seconds = run.config.augmentation.crop_seconds
    length = round((seconds or 0) * model.config.features.sample_rate)
    if not 0 < length < store.length:
        raise InputError(f"crop_seconds: {run.title} was trained on whole clips: there are no crops to average")
    starts = np.linspace(0, store.length - length, count).round().astype(int)
    predict(model, store, rows, run.folder / "predictions_crops.tsv", device,
            lambda waves: np.mean([model.probabilities(waves[:, s : s + length]) for s in starts], axis=0))  # fmt: skip


def through_devices(run: Run, names: tuple[str, ...] = tuple(DEVICES)) -> None:
    """Every clip as a SIMULATED device would have recorded it, a file of predictions for each of ``names``."""
    model, store, rows, device = _opened(run)
    for name in names:
        number = iter(range(len(rows)))  # of the clip: the seed of its self-noise

        def heard(waves: torch.Tensor, name: str = name, number: Iterator[int] = number) -> np.ndarray:
            recorded = [apply_device(wave, name, seed) for wave, seed in zip(waves.cpu().numpy(), number)]
            return model.probabilities(torch.from_numpy(np.stack(recorded)).to(device))

        predict(model, store, rows, run.folder / f"predictions_simulated_{name}.tsv", device, heard)


def averaged(runs: list[Run]) -> None:
    """One network with the mean of the weights of several seeds' networks of one fold.

    It is written to ``averaged_<submission>/seed_<first>`` of the experiment.
    """
    first = runs[0]
    model, store, rows, device = _opened(first)
    states = [compact.load(run.folder / "model.safetensors").network.state_dict() for run in runs]
    mean = {name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
            for name, value in states[0].items()}  # fmt: skip
    model.network.load_state_dict(mean)
    folder = first.home / f"averaged_{first.config.submission}" / first.folder.name
    predict(model, store, rows, folder / "predictions.tsv", device)


def _opened(run: Run) -> tuple[compact.Model, Store, pd.DataFrame, torch.device]:
    """The run's model, its data and the clips that it was scored on, in their order."""
    names = run.predictions().filename
    model = compact.load(run.folder / "model.safetensors")
    corpus = open_corpus(run.recipe, run.dataset_root)
    store = open_store(corpus, model.config.features.sample_rate)
    run.refuse_other(store.fingerprint)
    torch.set_num_threads(run.config.training.threads)
    rows = corpus.table.set_index("filename", drop=False).loc[list(names)]
    return model, store, rows, processing_device(run.config.training.device)


def predict_other(run: Run, root: str | Path) -> tuple[Path, Corpus]:
    """Let a trained run predict every clip of another data set, labelled or not.

    Returns
    -------
    ``predictions_<name of the data set>.tsv`` in the run's folder, and the data set

    Raises
    ------
    InputError : the run has no model, or the data set cannot be read.
    """
    model = compact.load(run.folder / "model.safetensors")
    corpus = corpora.read(configuration.path(root))
    if strange := sorted(set(corpus.classes) - set(model.classes)):
        say(f"{corpus.root}: has scenes that the model does not know: {', '.join(strange)}")
    torch.set_num_threads(run.config.training.threads)
    file = run.folder / f"predictions_{corpus.root.resolve().name}.tsv"
    store = open_store(corpus, model.config.features.sample_rate)
    if run.about and run.about["data"]["fingerprint"] == store.fingerprint:
        say(f"{corpus.root}: is what the run was trained on; scores of it say nothing of other recordings")
    rows = corpus.table[corpus.table.filename.isin(corpus.used())]
    predict(model, store, rows, file, processing_device(run.config.training.device))
    return file, corpus
