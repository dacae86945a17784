"""The package of a DCASE 2021 Task 1A submission: written from an experiment, and checked, whoever made it.

The form is that of https://dcase.community/challenge2021/submission and
https://dcase.community/challenge2021/task-acoustic-scene-classification: a zip file with a folder
``task1a/<label>`` for each of at most four systems, that holds ``<label>.output.csv`` and ``<label>.meta.yaml``;
a label reads Surname_Institute_task1a_<1 to 4>. Fields, and the folder ``submission`` above, as in a package that
was sent (https://github.com/valeoai/SP4ASC, folder submission) and in the organisers' validator of the year before
(https://github.com/toni-heittola/dcase2020_task1_submission_validator). The technical report, a PDF file beside the
folders, is the sender's.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
import yaml
from jsonschema import Draft202012Validator, ValidationError

from asc_kit import kernels
from asc_kit.blocks import FusedMBConv4, MBConv4
from asc_kit.common import ARCHIVE_FAULTS, InputError, check_writable, replacing, say
from asc_kit.data import check, store
from asc_kit.data import corpus as corpora
from asc_kit.deploy import compact, predict
from asc_kit.deploy.quick import quickened
from asc_kit.report import evaluation
from asc_kit.run.recipes import Recipe

CLASSES = tuple(check.TRAINING_A)
COLUMNS = ["filename", "scene_label", *CLASSES]
LABEL = r"[^\W_]+(?:-[^\W_]+)*_[^\W_]+_task1a"
PLACE = rf"^(?:.*/)?(?P<label>(?P<sender>{LABEL})_(?P<number>[1-4]))/(?P=label)\.(?P<kind>output\.csv|meta\.yaml)$"
METADATA = (Path(__file__).parent / "package_metadata.yaml").read_text(encoding="utf-8")
SCHEMA = Draft202012Validator(yaml.safe_load(Path(__file__).with_name("package_schema.yaml").read_text()))
SUM = 1e-3  # what a row of rounded probabilities may be off


def package(home: Path, label: str, data: Path, out: Path, seed: int = 0) -> list[str]:
    """Let each submission of an experiment predict a data set, and write the package.

    Equal predictions make equal bytes: every file in it is of the same day.

    Parameters
    ----------
    home : the experiment's folder; its submissions 1 to 4 that are whole are taken, of their first fold
    label : Surname_Institute_task1a
    data : the data set to predict, labelled or not
    seed : of the runs

    Returns
    -------
    labels of the systems in it

    Raises
    ------
    InputError : nothing was run, or other classes than the task's.
    """
    if not re.fullmatch(LABEL, label):
        raise InputError(f"label: {label!r} does not read Surname_Institute_task1a, in letters and digits")
    check_writable(out)
    systems = {f"{label}_{name}": folder for name, folder in runs(home, seed).items()}
    corpus = corpora.read(data)
    if strange := sorted(set(corpus.classes) - set(CLASSES)):
        raise InputError(f"{data}: has the class {strange[0]!r}, which DCASE 2021 Task 1A has not; name its data set")
    abouts = {name: yaml.safe_dump(metadata(folder, name), sort_keys=False, allow_unicode=True)
              for name, folder in systems.items()}  # fmt: skip  # before the work: their faults show at once
    with replacing(out) as part, zipfile.ZipFile(part, "w") as file:
        for name, folder in systems.items():
            for kind, text in (("output.csv", _output(folder, corpus)), ("meta.yaml", abouts[name])):
                entry = zipfile.ZipInfo(f"submission/task1a/{name}/{name}.{kind}", (2021, 6, 15, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                file.writestr(entry, text, zipfile.ZIP_DEFLATED)
    say(f"{out}: before you send it, add authors and institutes to its .meta.yaml files, and the technical report")
    return list(systems)


def clip_name(filename: str) -> str:
    """A clip's name in the output, where ``audio/`` is not part of it."""
    return filename.removeprefix("audio/")


def runs(home: Path, seed: int) -> dict[str, Path]:
    """Folders of the whole runs of submissions 1 to 4; later folds than the first are no system to send."""
    files = sorted(home.glob(f"submission_[1-4]/seed_{seed}/run.json"))
    if not files:
        raise InputError(f"{home}: holds no whole run of submissions 1 to 4 with seed {seed}; train one with "
                         "notebooks/05_train.ipynb, or choose another with --seed")  # fmt: skip
    return {file.parents[1].name[-1]: file.parent for file in files}


def _output(folder: Path, corpus: corpora.Corpus) -> str:
    """``<label>.output.csv`` of a run."""
    model = compact.load(folder / "model.safetensors")
    if model.classes != CLASSES:
        raise InputError(f"{folder}: its classes are {', '.join(model.classes)}, not the ten of DCASE 2021 Task 1A")
    torch.set_num_threads(model.config.training.threads)
    kernels.keep_memory()
    clips = store.open_store(corpus, model.config.features.sample_rate)
    rows = corpus.table[corpus.table.filename.isin(corpus.used())]
    device = predict.processing_device(model.config.training.device)
    probabilities = predict.scores(quickened(model) if device.type == "cpu" else model, clips, rows, device)
    return predict.as_text(rows.assign(filename=rows.filename.map(clip_name)), probabilities, model.classes)


def metadata(folder: Path, label: str) -> dict:
    """What ``<label>.meta.yaml`` says of a run: the system, its complexity, its results on the evaluation fold."""
    about, model = json.loads((folder / "run.json").read_text()), compact.load(folder / "model.safetensors")
    augmentation = model.config.augmentation
    used = {"temporal crop": augmentation.crop_seconds, f"{augmentation.mixup} mixup": augmentation.mixup,
            "SpecAugment": augmentation.time_masks or augmentation.mel_masks}  # fmt: skip
    layers = set(map(type, model.network.modules()))
    inverted = bool(layers & {MBConv4, FusedMBConv4})
    remark = f"configuration {about['hash']}, trained on {about['data']['name']}"
    values = {
        "kind": "Inverted bottlenecks" if inverted else type(model.network).__name__,
        "short": "MB" if inverted else "NN", "method": "CNN" if layers & {torch.nn.Conv1d, torch.nn.Conv2d} else "DNN",
        "blocks": ", inverted bottlenecks" * inverted, "label": label, "parts": label.split("_"), "model": model,
        "kilohertz": f"{model.config.features.sample_rate / 1000:g}", "size": round(model.nonzero * 2 / 1024, 4),
        "augmentation": ", ".join(name for name, value in used.items() if value) or "null",
        "remark": json.dumps(remark + ", SYNTHETIC data" * about["data"]["synthetic"], ensure_ascii=False),
    }  # fmt: skip
    return yaml.safe_load(METADATA.format_map(values)) | {"results": {"development_dataset": _results(folder)}}


def _results(folder: Path) -> dict:
    """Accuracy in per cent and log loss of the run's own evaluation clips; None where a class or device has none."""
    results = evaluation.load(folder.parents[1], Recipe("package"), f"{folder.parent.name}/{folder.name}")
    if not results.scored:
        raise InputError(f"{folder}: predictions.tsv, or its experiment's truth.tsv, is missing; train it again")
    (scored,) = results.scored.values()

    def row(part: evaluation.Scored) -> dict[str, float | None]:
        if part.clips.empty:
            return {"accuracy": None, "logloss": None}
        score = part.row()
        return {"accuracy": round(100 * score["accuracy"], 4), "logloss": round(score["log_loss"], 6)}

    classes = {name: row(scored.where("scene_label", name)) for name in CLASSES}
    devices = {name: row(scored.where("source_label", name)) for name in check.DEVICES}
    return {"overall": row(scored), "class_wise": classes, "device_wise": devices}


def faults(package: Path, data: Path | None = None) -> list[str]:
    """Check a package, whoever made it; nothing is unpacked.

    Authors left blank and a missing technical report are no faults: they come last, and from people.

    Parameters
    ----------
    data : the data set that was to be predicted; without it, systems are compared with each other

    Returns
    -------
    a line a fault, which begins with the file in the package; none for a package that wants authors and report alone

    Raises
    ------
    InputError : the data set cannot be read.
    """
    try:
        with zipfile.ZipFile(package) as file:
            names = [name for name in file.namelist() if not name.endswith("/")]
            texts = {name: file.read(name) for name in names}
    except (OSError, *ARCHIVE_FAULTS) as error:
        return [f"{package}: is no zip file that can be read ({str(error) or 'it ends early'})"]
    files = pd.Series(names, names, dtype=str).str.extract(PLACE)  # NaN: of no system
    found = [f"{name}: is no <label>/<label>.output.csv or .meta.yaml, a label Surname_Institute_task1a_<1 to 4>"
             for name in files.index[files.label.isna()] if not name.endswith(".pdf")]  # fmt: skip
    files = files.dropna()
    for label, kinds in files.groupby("label").kind:
        if sorted(kinds) != ["meta.yaml", "output.csv"]:
            found.append(f"{label}: needs one output.csv and one meta.yaml, has {', '.join(kinds)}")
    if files.sender.nunique() != 1:
        found.append(f"needs systems of one sender, has {', '.join(files.label.unique()) or 'none'}")
    clips = {name: set() for name in files.index[files.kind == "output.csv"]}
    for name, label in files.label.items():
        lines = _check_output(texts[name], clips[name]) if name in clips else _check_metadata(texts[name], label)
        found += [f"{name}: {line}" for line in lines]
    return found + list(_compare_clips(clips, data))


def _check_output(data: bytes, clips: set[str]) -> Iterator[str]:
    """Faults of an output file; the names in it go to ``clips``."""
    try:
        table = pd.read_csv(io.BytesIO(data), sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # pandas' own, and what is no UTF-8
        yield f"is no TAB separated text ({' '.join(str(error).split())})"
        return
    if list(table) != COLUMNS:
        missing = ", ".join(name for name in COLUMNS if name not in table) or "none"
        yield f"missing columns: {missing}; it has {', '.join(table)[:200]}; give {', '.join(COLUMNS)}, in this order"
        return
    if table.empty:
        yield "has no row"
    clips.update(table.filename.map(clip_name))
    for fault, rows in _row_faults(table).items():
        if rows.any():
            yield f"line {rows.idxmax() + 2}: {fault} ({rows.sum()} such rows)"


def _row_faults(table: pd.DataFrame) -> dict[str, pd.Series]:
    """What may be wrong with a row, and with which rows it is."""
    known, values = table.scene_label.isin(CLASSES), table[list(CLASSES)].apply(pd.to_numeric, errors="coerce")
    numbers = (values.ge(0) & values.le(1)).all(axis=1)  # a text that is no number is NaN
    most = values.eq(values.max(axis=1), axis=0) & pd.DataFrame({name: table.scene_label == name for name in CLASSES})
    return {
        "names no file": table.filename == "",
        "names a file that is there twice": table.filename.map(clip_name).duplicated(),
        "its scene_label is none of the ten": ~known,
        "a class has no probability from 0 to 1": ~numbers,
        "its probabilities do not sum to 1": numbers & ((values.sum(axis=1) - 1).abs() > SUM),
        "its scene_label is not the most probable class": known & numbers & ~most.any(axis=1),
    }


def _compare_clips(clips: dict[str, set[str]], data: Path | None) -> Iterator[str]:
    """Clips that an output lacks, or has too many of."""
    wanted = set(map(clip_name, corpora.read(data).used())) if data else set().union(*clips.values())
    for name, there in clips.items():
        for verb, names, where in (("lacks", wanted - there, f"of {data or 'another system'}"),
                                   ("has", there - wanted, f"that {data} has not")):  # fmt: skip
            if there and names:
                yield f"{name}: {verb} {len(names)} clips {where}: {', '.join(sorted(names)[:3])}"


def _check_metadata(data: bytes, label: str) -> Iterator[str]:
    """Faults of ``<label>.meta.yaml``: of its form; where it has that, of its label."""
    try:
        about = yaml.safe_load(data.decode("utf-8-sig"))
        about = json.loads(json.dumps(about, default=str), parse_constant=str)  # NaN is no number, a date is text
    except Exception as error:  # PyYAML's constructors raise anything at values that are none of their tag's
        yield f"is no YAML: {' '.join(str(error).split())}"
        return
    errors = dict.fromkeys(map(_sentence, SCHEMA.iter_errors(about)))
    yield from errors
    if not errors and about["submission"]["label"] != label:
        yield f"submission.label is {about['submission']['label']!r}, the file is called {label}"


def _sentence(error: ValidationError) -> str:
    """A schema's message in the kit's form: where, what is wrong, what to give."""
    path = ".".join(map(str, error.absolute_path)) or "the file"
    if error.validator == "required":
        return f"{path} has no {', '.join(name for name in error.validator_value if name not in error.instance)}"
    return f"{path} is {error.instance!r:.60}; give {error.schema['description']}"
