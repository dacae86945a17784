"""The package of a DCASE 2021 Task 1A submission: written from an experiment, and checked, whoever made it.

The form is that of https://dcase.community/challenge2021/submission and
https://dcase.community/challenge2021/task-acoustic-scene-classification: a zip file with a folder
``task1a/<label>`` for each of at most four systems, that holds ``<label>.output.csv`` and ``<label>.meta.yaml``;
a label reads Surname_Institute_task1a_<1 to 4>. Fields, and the folder ``submission`` above, as in a package that
was sent (https://github.com/valeoai/SP4ASC, folder submission) and in the organisers' validator of the year before
(https://github.com/toni-heittola/dcase2020_task1_submission_validator). The technical report, a PDF file beside the
folders, is the sender's.
"""

import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml

from asc_kit.common.errors import InputError
from asc_kit.common.files import check_writable, replacing
from asc_kit.common.progress import say
from asc_kit.data import corpus as corpora
from asc_kit.data.check import DEVICES, TRAINING_A
from asc_kit.data.corpus import Corpus
from asc_kit.data.store import open_store
from asc_kit.deploy import compact, predict
from asc_kit.report import evaluation
from asc_kit.report.evaluation import NETWORKS
from asc_kit.run.recipes import Recipe

CLASSES = tuple(TRAINING_A)
COLUMNS = ["filename", "scene_label", *CLASSES]
LABEL = re.compile(r"[^\W_]+(?:-[^\W_]+)*_[^\W_]+_task1a")
LIMIT = 128.0  # KB of non-zero parameters
FIELDS = {
    "submission": ("label", "name", "abbreviation", "authors"),
    "system": ("description", "complexity", "external_datasets", "source_code"),
    "system.description": ("input_sampling_rate", "acoustic_features", "embeddings", "data_augmentation",
                           "machine_learning_method", "ensemble_method_subsystem_count", "decision_making",
                           "external_data_usage", "complexity_management"),
    "system.complexity": ("total_parameters", "total_parameters_non_zero", "model_size"),
    "results": ("development_dataset",),
    "results.development_dataset": ("overall", "class_wise", "device_wise"),
    "results.development_dataset.overall": ("accuracy", "logloss"),
    "results.development_dataset.class_wise": CLASSES,
    "results.development_dataset.device_wise": DEVICES,
}  # fmt: skip
AUTHOR = ("lastname", "firstname", "email", "affiliation")


def package(home: Path, label: str, data: Path, out: Path, seed: int | None = None) -> list[str]:
    """Let each submission of an experiment predict a data set, and write the package.

    Parameters
    ----------
    home : the experiment's folder; its submissions 1 to 4 that are whole are taken, of their first fold
    label : Surname_Institute_task1a
    data : the data set to predict, labelled or not
    seed : None: the only one

    Returns
    -------
    labels of the systems in it

    Raises
    ------
    InputError : nothing was run, other classes than the task's, or several seeds of which none was chosen.
    """
    if not LABEL.fullmatch(label):
        raise InputError(f"label: {label!r} does not read Surname_Institute_task1a, in letters and digits")
    check_writable(out)
    systems = {f"{label}_{name}": folder for name, folder in runs(home, seed).items()}
    corpus = corpora.read(data)
    if strange := sorted(set(corpus.classes) - set(CLASSES)):
        raise InputError(f"{data}: has the class {strange[0]!r}, which DCASE 2021 Task 1A has not; name its data set")
    name, count = Counter(map(shown, corpus.table.filename)).most_common(1)[0]
    if count > 1:
        raise InputError(f"{data}: lists {name} with audio/ before it and without; remove one of its lines")
    abouts = {name: meta(folder, name) for name, folder in systems.items()}  # their faults show before the work
    parts = {}
    for name, folder in systems.items():
        parts[f"{name}.output.csv"] = _output(folder, corpus)
        parts[f"{name}.meta.yaml"] = yaml.safe_dump(abouts[name], sort_keys=False, allow_unicode=True)
    _zip(parts, out)
    say(f"{out}: names, addresses and institutes of the authors are empty in the .meta.yaml files, and the technical "
        "report is not in it; add them before you send it")  # fmt: skip
    return list(systems)


def shown(filename: str) -> str:
    """A clip's name in the output, where ``audio/`` is not part of it."""
    return filename.removeprefix("audio/")


def runs(home: Path, seed: int | None) -> dict[str, Path]:
    """Folders of the whole runs of submissions 1 to 4; later folds than the first are no system to send."""
    found = [file.parent for name in NETWORKS for file in sorted(home.glob(f"submission_{name}/seed_*/run.json"))]
    found = [folder for folder in found if re.fullmatch(r"seed_\d+", folder.name)]
    seeds = sorted({int(folder.name.removeprefix("seed_")) for folder in found})
    if not seeds:
        raise InputError(f"{home}: holds no whole run of submissions 1 to 4; train one with notebooks/05_train.ipynb")
    if seed is None and len(seeds) > 1:
        raise InputError(f"seed: {home} has {', '.join(map(str, seeds))}; choose one with --seed")
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise InputError(f"seed: {home} has no seed {seed}; it has {', '.join(map(str, seeds))}")
    return {folder.parent.name.removeprefix("submission_"): folder for folder in found if folder.name == f"seed_{seed}"}


def _output(folder: Path, corpus: Corpus) -> str:
    """``<label>.output.csv`` of a run."""
    model = compact.load(folder / "model.safetensors")
    if model.classes != CLASSES:
        raise InputError(f"{folder}: its classes are {', '.join(model.classes)}, not the ten of DCASE 2021 Task 1A")
    torch.set_num_threads(model.config.training.threads)
    store = open_store(corpus, model.config.features.sample_rate)
    rows = corpus.table[corpus.table.filename.isin(corpus.used())]
    device = predict.processing_device(model.config.training.device)
    probabilities = predict.scores(model, store, rows, device)
    return predict.as_text(rows.assign(filename=rows.filename.map(shown)), probabilities, model.classes)


def meta(folder: Path, label: str) -> dict[str, Any]:
    """What ``<label>.meta.yaml`` says of a run: the system, its complexity, its results on the evaluation fold."""
    surname, institute, _, number = label.split("_")
    author = {"lastname": surname, "firstname": None, "email": None, "corresponding": True,
              "affiliation": {"abbreviation": institute, "institute": None, "location": None}}  # fmt: skip
    about = json.loads((folder / "run.json").read_text())
    model = compact.load(folder / "model.safetensors")
    return {
        "submission": {"label": label, "name": f"Inverted bottlenecks, {model.config.features.n_mels} mel bins",
                       "abbreviation": f"MB_{model.config.features.n_mels}_{number}", "authors": [author]},
        "system": {"description": _description(model), "complexity": _complexity(model), "external_datasets": [],
                   "source_code": ""},
        "results": {"development_dataset": _results(folder)},
        "remark": f"configuration {about['hash']}, trained on {about['data']['name']}"
                  + (", SYNTHETIC data" if about["data"]["synthetic"] else ""),
    }  # fmt: skip


def _description(model: compact.Model) -> dict[str, Any]:
    augmentation = model.config.augmentation
    used = {"temporal crop": augmentation.crop_seconds, f"{augmentation.mixup} mixup": augmentation.mixup,
            "SpecAugment": augmentation.time_masks or augmentation.mel_masks}  # fmt: skip
    return dict.fromkeys(FIELDS["system.description"]) | {
        "input_sampling_rate": f"{model.config.features.sample_rate / 1000:g}kHz",
        "acoustic_features": "log-mel energies",
        "data_augmentation": ", ".join(name for name, value in used.items() if value) or None,
        "machine_learning_method": "CNN", "complexity_management": "weight quantization, inverted bottlenecks",
    }  # fmt: skip


def _complexity(model: compact.Model) -> dict[str, Any]:
    return {"total_parameters": model.parameters, "total_parameters_non_zero": model.nonzero,
            "model_size": round(model.nonzero * 2 / 1024, 4)}  # fmt: skip


def _results(folder: Path) -> dict[str, Any]:
    """Accuracy in per cent and log loss of the run's own evaluation clips; None where a class or device has none."""
    home, submission = folder.parent.parent, folder.parent.name.removeprefix("submission_")
    for file in (home / "truth.tsv", folder / "predictions.tsv"):
        if not file.exists():
            raise InputError(f"{file}: no such file; train again with notebooks/01_corpus.ipynb and 05_train.ipynb")
    results = evaluation.load(home, Recipe("package"), f"{folder.parent.name}/{folder.name}")
    scored = results.scored[submission]

    def row(part: evaluation.Scored) -> dict[str, float | None]:
        if part.clips.empty:
            return {"accuracy": None, "logloss": None}
        score = part.row()
        return {"accuracy": round(100 * score["accuracy"], 4), "logloss": round(score["log_loss"], 6)}

    return {
        "overall": row(scored),
        "class_wise": {name: row(scored.where("scene_label", name)) for name in CLASSES},
        "device_wise": {name: row(scored.where("source_label", name)) for name in DEVICES},
    }


def _zip(parts: dict[str, str], out: Path) -> None:
    """Equal parts make equal bytes: every file is of the same day."""
    with replacing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in parts.items():
            label = name.split(".")[0]
            entry = zipfile.ZipInfo(f"submission/task1a/{label}/{name}", (2021, 6, 15, 0, 0, 0))
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            file.writestr(entry, text)
