"""A plan for recordings of one's own: split by place, settings that fit them, and how long the training takes.

A fold is a run as any other (`asc_kit.run.experiment`); `asc_kit.run.workers` trains them all, and
`asc_kit.report.verdict` says what came of it.
"""

import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from asc_kit import kernels, network
from asc_kit.common import InputError, say, write_file
from asc_kit.config import FLOORS, SETTINGS, Demo, cache, known
from asc_kit.data import audio, corpus
from asc_kit.data.corpus import Corpus
from asc_kit.data.own import names_places
from asc_kit.data.store import open_store
from asc_kit.run import floors, recipes
from asc_kit.run.data import RunData
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run
from asc_kit.trainer import Trainer

SYSTEMS = ("network", "logistic")
FOLDS, SEEDS = 5, 20  # folds at most; splits tried until every fold is trained on every class
STEPS = (200, 1500)  # least and most, of a training
BATCHES = (16, 32)
CROP = 1.0  # seconds, at least; a fifth of a clip
RATES = (8000, 48000)  # Hz; recordings of one rate between them are trained on as they are
SHARED = 1.15  # a step takes so much longer beside another worker's
HIDES = ("a class was recorded at one place alone, so clips of the same place are trained on and scored; at other "
         "places expect less: how much less, these recordings cannot tell")  # fmt: skip
ALONE = ("no places are named; where recordings are of one place, it is trained on and scored, and at others expect "
         "less: how much less, these recordings cannot tell")  # fmt: skip


def example() -> tuple[Path, dict[str, Any]]:
    """A small SYNTHETIC set in the place of recordings, and settings that end soon where the tests ask for it."""
    from asc_kit.data import demo  # here: real recordings need not wait for scipy.signal

    made = Demo(seconds=1.0, locations=2, evaluation_locations=1, segments=1)
    folder = demo.build(cache() / "synthetic-yours", made)
    return folder, {"epochs": 2} if os.environ.get("ASC_SMOKE") == "1" else {}


def rule(clips: int) -> dict[str, Any]:
    """Settings that fit a number of training clips; docs/your_data.md has what they were chosen by."""
    batch = min(clips, BATCHES[clips >= 160])
    steps = min(max(2 * clips, STEPS[0]), STEPS[1])
    return {"batch_size": batch, "epochs": math.ceil(steps / _an_epoch(clips, batch)), "ema_decay": 0.99,
            "selection": "none"}  # fmt: skip


def _an_epoch(clips: int, batch: int) -> int:
    """Steps; a last batch of one clip is left out."""
    return clips // batch + (clips % batch > 1)


def features_at(rate: int) -> dict[str, int | float]:
    """The report's window and hop at another rate, in about the same seconds, and bands up to half of it."""
    hop = 5 * round(rate * 690 / 44100 / 5)  # a product of small factors
    return {"sample_rate": rate, "window": 4 * hop, "hop": hop, "f_max": min(16000.0, rate / 2)}


@dataclass(frozen=True)
class Plan:
    """What is trained on what, and where it goes.

    Attributes
    ----------
    folder, out : the recordings; all that is made
    corpus : their clips
    recipe : whose folds are scored; its title is what the split hides
    workers : trainings at a time
    step : seconds of a training step, measured on a few
    """

    folder: Path
    out: Path
    corpus: Corpus
    recipe: Recipe
    workers: int
    step: float = 0.0

    @property
    def kind(self) -> str:
        """What the folds are drawn by: place, or recording where places are unknown or too few."""
        return "place" if self.recipe.split == "drawn" and _names_places(self.corpus) else "recording"

    def final(self, system: str) -> Run:
        """The run of all clips."""
        whole = replace(self.recipe, split="all", fold=(1,))
        return Run(whole, whole.config(system), self.out / "all_clips")

    def runs(self, system: str) -> list[Run]:
        """One of all clips, then one a seed and fold."""
        folds = [(seed, fold) for seed in self.recipe.seeds for fold in self.recipe.fold]
        held_out = [Run(self.recipe, self.recipe.config(system, *one), self.out / "held_out") for one in folds]
        return [self.final(system), *held_out]

    def steps(self, run: Run) -> int:
        """Of the network's run of a fold, or of all clips."""
        clips = len(self.corpus.table)
        if run.recipe.split != "all":
            clips = len(self.corpus.split(run.config.fold, run.config.folds, run.config.split_seed)[0])
        return run.config.training.epochs * _an_epoch(clips, run.config.training.batch_size)

    @property
    def seconds(self) -> float:
        """Of a clip."""
        rate = self.recipe.config("logistic").features.sample_rate
        return open_store(self.corpus, rate).length / rate

    @property
    def minutes(self) -> float:
        """Of all trainings, and of what goes with them: the floor's features, scoring, start and export."""
        runs, workers = self.runs("network"), self.workers
        rounds = math.ceil(len(runs) / workers)
        copies = floors.COPIES if runs[0].config.augmentation.device_response else 0
        features = 0.005 * self.seconds * len(self.corpus.table) * (1 + copies) * len(runs)
        aside = 6 * rounds + features / min(workers, len(runs)) + 15
        longest = max(map(self.steps, runs)) * self.step * (SHARED if workers > 1 else 1)
        return (rounds * longest + aside) / 60

    def split(self) -> pd.DataFrame:
        """Filename (with its folders), scene_label, identifier and the fold in which it is scored; a row a file."""
        table = self.corpus.table
        folds = corpus.fold_numbers(table, self.recipe.folds, self.recipe.split_seed)
        home = (self.folder if self.folder.is_dir() else self.folder.parent).resolve()
        names = [os.path.relpath(self.corpus.root.resolve() / name, home) for name in table.recording]
        rows = table[["scene_label", "identifier"]].assign(filename=names, fold=folds)
        if self.kind == "recording":
            rows["identifier"] = rows.filename
        return rows[["filename", "scene_label", "identifier", "fold"]].drop_duplicates()


def plan(
    folder: Path, out: Path, minutes: float | None = None, workers: int | None = None, skip_broken: bool = False,
    seeds: int = 1, **changes: Any,
) -> Plan:  # fmt: skip
    """Read and split a folder, choose settings, measure a few steps, and say it all; a plan that is there is kept.

    Parameters
    ----------
    folder : as `corpus.read` takes it
    minutes : that it may take; None: as many as `rule` wants
    workers : None: as many as there are cores
    skip_broken : leave out, and name, recordings that cannot be read
    seeds : of each fold's trainings; scores are their means, and the model to take is of the first
    changes : any of `SETTINGS`, in place of the rule's

    Raises
    ------
    InputError : too few clips, classes or minutes, or an ``out`` that holds something else.
    """
    known(changes, SETTINGS, "parameters")
    if (kind := changes.get("network")) in (*FLOORS, "both"):
        raise InputError(f"network: {kind} is not trained here; a logistic regression and the mean of both are made in "
                         "any case")  # fmt: skip
    if changes.get("responses", "off") not in ("off", False):
        changes["responses"] = str(Path(changes["responses"]).absolute())  # from the current folder, as the recordings
        heard = {name: changes[name] for name in ("responses", "device_response") if name in changes}
        Recipe("given").config("2", **heard)  # whose faults show before the recordings are read
    if kind:
        network.trust(kind, Path.cwd())
        network.probe(Recipe("given", systems={"network": {"n_mels": 64, **changes}}).config("network"))
    folder, workers = folder.resolve(), workers or len(os.sched_getaffinity(0))
    file, kept = out / "recipe.yaml", out / "command.json"
    command = {"folder": str(folder), "minutes": minutes, "skip_broken": skip_broken, "seeds": seeds,
               "settings": changes}  # fmt: skip
    _refuse_other(out, kept, command)
    data = corpus.read(folder, skip_broken=skip_broken)
    if kept.exists():
        recipe = recipes.load(file)
        if Path(recipe.dataset_root).name != data.root.name:
            raise InputError(f"{out}: was begun with other recordings in {folder}; name another with --out")
        if recipe.dataset_root != str(data.root):  # the cache has moved
            recipe = replace(recipe, dataset_root=str(data.root))
            write_file(file, _yaml(recipe))
        made = Plan(folder, out, corpus.read(data.root, recipe.split), recipe, workers)
        made = replace(made, step=_step_seconds(made))
    else:
        _check(folder, data)
        split, hides = _split(folder, data)
        recipe = Recipe(out.name, hides, dataset_root=str(data.root), submissions=SYSTEMS, features=_features(data),
                        seeds=tuple(range(seeds)), fold=tuple(range(1, split["folds"] + 1)), **split)  # fmt: skip
        made = _fitted(Plan(folder, out, corpus.read(data.root, recipe.split), recipe, workers), minutes, changes)
        write_file(out / "split.csv", made.split().to_csv(index=False))
        write_file(file, _yaml(made.recipe))
        write_file(kept, json.dumps(command, indent=1) + "\n")
    _tell(made)
    return made


def _refuse_other(out: Path, kept: Path, command: dict[str, Any]) -> None:
    if not kept.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: holds something else than a training; name another with --out (make: NAME)")
        return
    there = {"seeds": 1} | json.loads(kept.read_text())  # which older folders do not name
    for name, here in command.items():
        if there.get(name) != here:
            raise InputError(f"{out}: holds another training ({name}: {there.get(name)!r} there, {here!r} here); "
                             "name another with --out (make: NAME), or delete it")  # fmt: skip


def _check(folder: Path, data: Corpus) -> None:
    if len(data.classes) < 2:
        raise InputError(f"{folder}: every clip has the class {''.join(data.classes)!r}; give two or more")
    recordings = data.table.groupby("scene_label").recording.nunique()
    if recordings.min() < 2:
        raise InputError(f"{folder}: the class {recordings.idxmin()!r} has one recording; add another to score it, too")


def _split(folder: Path, data: Corpus) -> tuple[dict[str, Any], str]:
    """Folds by place or else by recording in which every class is trained on, as many as can be; what that hides."""
    for kind, hides in (("drawn", "" if _names_places(data) else ALONE), ("recording", HIDES)):
        table = corpus.read(data.root, kind).table
        for folds in range(min(FOLDS, table.identifier.nunique()), 1, -1):
            for seed in range(SEEDS):
                try:
                    numbers = corpus.fold_numbers(table, folds, seed)
                except InputError:
                    continue
                if all(set(table.scene_label[numbers != k]) == set(data.classes) for k in range(1, folds + 1)):
                    return {"split": kind, "folds": folds, "split_seed": seed}, hides
    raise InputError(f"{folder}: too few recordings to train on every class and score it; add some")


def _names_places(data: Corpus) -> bool:
    return names_places(zip(data.table.recording, data.table.identifier))


def _features(data: Corpus) -> dict[str, Any]:
    rates = {audio.frames(data.root / name)[1] for name in data.table.filename}
    rate = min(rates)
    return {} if len(rates) > 1 or rate == 44100 or not RATES[0] <= rate <= RATES[1] else features_at(rate)


def _fitted(made: Plan, minutes: float | None, changes: dict[str, Any]) -> Plan:
    """With settings that fit the clips, and as many epochs as the minutes allow; few minutes take small batches."""
    training, seconds = len(made.corpus.table) * (made.recipe.folds - 1) // made.recipe.folds, made.seconds
    precision = "bfloat16" if kernels.computes_bfloat16(torch.device("cpu")) else "float32"
    crop = max(seconds / 5, CROP)
    settings = {"n_mels": 64, "precision": precision, **rule(training),
                "crop_seconds": crop if crop < seconds else "off", **changes}  # fmt: skip
    heard = {name: value for name, value in changes.items() if SETTINGS[name] == "augmentation"}
    systems = {"network": settings}
    if "device_response" in heard:  # else a floor has no use for them
        systems["logistic"] = heard
    made = replace(made, recipe=replace(made.recipe, systems=systems), step=0.0)
    aside, steps = made.minutes, made.steps(made.runs("network")[1])
    made = replace(made, step=_step_seconds(made))
    if minutes is None or made.minutes <= minutes:
        return made
    share = (minutes - aside) / (made.minutes - aside)
    if share * steps >= STEPS[0]:
        systems["network"] = settings | {"epochs": math.floor(settings["epochs"] * share)}
        return replace(made, recipe=replace(made.recipe, systems=systems))
    if settings["batch_size"] > BATCHES[0] and "batch_size" not in changes:
        return _fitted(made, minutes, {**changes, "batch_size": BATCHES[0]})
    least = math.ceil(aside + (made.minutes - aside) * STEPS[0] / steps)
    raise InputError(f"minutes: {minutes:g} are too few for {STEPS[0]} steps a training; give {least}")


def _step_seconds(made: Plan) -> float:
    """What a training step takes here: the least of three, after one that allocates memory."""
    config, spent = made.recipe.config("network"), []
    torch.set_num_threads(config.training.threads)
    kernels.keep_memory()
    data = RunData(config, made.corpus)
    trainer = Trainer(network.build(config, len(data.classes)), config.training, 0, data.steps)
    trainer.network.train()
    for epoch in range(4):
        started = time.perf_counter()
        trainer.step(*next(data.batches(epoch))).item()  # a GPU's step ends here
        spent.append(time.perf_counter() - started)
    return min(spent[1:])


def _tell(made: Plan) -> None:
    """Clips, split, training and time, a line each."""
    table, recipe, runs = made.corpus.table, made.recipe, made.runs("network")
    config, seconds, kind = runs[0].config, made.seconds, made.kind
    places = f" at {table.identifier.nunique()} places" if kind == "place" else ""
    say(f"{table.scene_label.nunique()} classes, {len(table)} clips of {seconds:.3g} s, "
        f"{config.features.sample_rate} Hz, {len(table) * seconds / 60:.1f} minutes in all, from "
        f"{table.recording.nunique()} recordings{places}")  # fmt: skip
    say(f"split by {kind} into {recipe.folds} folds ({made.out / 'split.csv'}): every clip is scored once, by systems "
        f"that were trained on no clip of its {kind}")  # fmt: skip
    if recipe.title:
        say(f"warning: {recipe.title}")
    crop = config.augmentation.crop_seconds
    say(f"the network is trained {len(runs)} times, {min(made.workers, len(runs))} at a time, in {made.steps(runs[0])} "
        f"steps of {config.training.batch_size} {f'sections of {crop:g} s' if crop else 'clips'}; beside it a logistic "
        "regression, and the mean of both")  # fmt: skip
    say(f"this takes about {max(made.minutes, 1):.0f} min; Ctrl+C keeps what is done, and the same command goes on")


def _yaml(recipe: Recipe) -> str:
    """A recipe as config/ has it, which Snakemake takes, for a cluster."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()
              if value != getattr(Recipe(""), name)}  # fmt: skip
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
