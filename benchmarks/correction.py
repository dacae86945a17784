"""Models set to another microphone by recordings of it without labels (`asc_kit.deploy.microphone`): what that gives.

    python -m benchmarks.correction TUT2017 RESPONSES TAU2022

The models are committed ones; none is trained. TUT 2017: the folds of `benchmarks.microphones`, through each unheard
microphone, by the recorder itself, and by it at other levels; a clip is scored by a model that was set by clips of
other places of its fold: 5, or 20, or all of three classes, some 12, drawn twice; or by all clips of the fold, itself
included. The second draw's models are those of the second seed, where there is one. TAU 2022: its nine devices, the
official split, the first seed; a clip is scored by a model that was set by the clips of the same device in the other
half of its evaluation places.
"""

import argparse
import gzip
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupKFold

from asc_kit.common import write_file
from asc_kit.config import ROOT
from asc_kit.data import corpus as corpora
from asc_kit.data import responses
from asc_kit.data.corpus import Corpus
from asc_kit.data.store import Store, open_store
from asc_kit.deploy import calibration, compact, microphone, predict
from asc_kit.report import tables
from asc_kit.report.evaluation import DIFFERENCES, SCORES, Scored, difference
from asc_kit.report.predictions import read_truth, together
from asc_kit.run import recipes
from benchmarks import microphones as folds

HOME = ROOT / "results" / "correction"
TAU = ROOT / "results" / "tau2022"
SYSTEMS = ("both", "plain_both", "robust_network")
DRAWS = (0, 1)  # of the recordings; of the networks trained through microphones the seeds, too
RECORDINGS = ("5", "20", "of 3 classes", "themselves")
SOFTER = "the recorder itself, 12 dB softer"
LEVELS = {SOFTER: -12, "the recorder itself, 6 dB softer": -6, "the recorder itself, 6 dB louder": 6}
KINDS = (folds.CLEAN, *LEVELS, "unheard microphones")
PARTS = 4  # of a fold's places; a part's model is set by the others' clips
DEVICES = ("1", "2", "3", "4", "robust", "logistic")  # systems on TAU 2022, seed 0
GROUPS = {"a": ("a",), "b, c": ("b", "c"), "s1 to s3": ("s1", "s2", "s3"), "s4 to s6": ("s4", "s5", "s6")}


def logmel(model: compact.Model, store: Store, rows: pd.DataFrame, response: np.ndarray | None = None) -> torch.Tensor:
    """Of whole clips, through a microphone where one is given: (clips, 1, time, mel)."""
    found = []
    for waves in predict.clips(store, rows, "measuring clips", torch.device("cpu")):
        if response is not None:
            waves = folds.filtered(waves, response)
        found.append(model.features(waves))
    return torch.cat(found)


def probabilities(model: compact.Model, features: torch.Tensor) -> pd.DataFrame:
    """A row a clip, a column a class."""
    found = [model.from_features(some) for some in features.split(predict.SCORING_BATCH)]
    return pd.DataFrame(np.concatenate(found), columns=list(model.classes))


def setting(parts: np.ndarray, classes: np.ndarray, which: str, seed: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Part -> the clips that its model is set by: one of `RECORDINGS`, or ``all`` of other parts."""
    found = {}
    for part in range(parts.max() + 1):
        others, draw = np.flatnonzero(parts != part), np.random.default_rng([*seed, part])
        if which == "themselves":
            found[part] = np.arange(len(parts))
        elif which == "of 3 classes":
            some = draw.choice(np.unique(classes[others]), 3, replace=False)
            found[part] = others[np.isin(classes[others], some)]
        else:
            found[part] = others if which == "all" else draw.choice(others, int(which), replace=False)
    return found


def shifts(known: dict, features: torch.Tensor, parts: np.ndarray, by: dict[int, np.ndarray]) -> torch.Tensor:
    """For every clip what a microphone most likely adds, by what `setting` gave: (clips, 1, 1, mel)."""
    spectra, found = calibration.mean_spectra(features), np.zeros((len(features), features.shape[-1]))
    for part, clips in by.items():
        found[parts == part] = microphone.shift(known, spectra[clips])
    return torch.from_numpy(found).float()[:, None, None]


def parts_of(rows: pd.DataFrame, count: int) -> np.ndarray:
    """(clips,) part of every clip; no place is in two."""
    found = np.zeros(len(rows), int)
    for part, (_, inside) in enumerate(GroupKFold(count).split(rows, groups=rows.identifier)):
        found[inside] = part
    return found


def through(data: Path, files: tuple[Path, ...], fold: int) -> pd.DataFrame:
    """A fold's clips by the recorder itself, at other levels, and through its unheard microphones, by `SYSTEMS`."""
    torch.set_num_threads(1)
    return pd.concat(_through(data, files, fold))


def _through(data: Path, files: tuple[Path, ...], fold: int) -> Iterator[pd.DataFrame]:
    recipe = recipes.load("config/small.yaml")
    corpus = corpora.read(data, recipe.split)
    training, rows = corpus.split(fold, recipe.folds, recipe.split_seed)
    models = {(name, draw): compact.load(folds._folder(name, fold, seed(name, draw)) / "model.safetensors")
              for name, draw in product(folds.MODELS, DRAWS)}  # fmt: skip
    any_model = models["plain", 0]  # the features of all are alike
    rate = any_model.config.features.sample_rate
    store, measured = open_store(corpus, rate), dict(zip(files, responses.read(files[0].parent, rate).numpy()))
    known = calibration.spectrum(calibration.mean_spectra(logmel(any_model, store, training)))
    parts = parts_of(rows, PARTS)
    ways = {folds.CLEAN: None} | {name: np.array([10 ** (level / 20)]) for name, level in LEVELS.items()}
    ways |= {file.name: measured[file] for file in folds.unheard(files)[fold]}
    for (number, (way, response)), draw in product(enumerate(ways.items()), DRAWS):
        features = logmel(any_model, store, rows, response)
        for place, which in enumerate(("none", *RECORDINGS) if way in LEVELS else RECORDINGS):
            corrected = features
            if which != "none":
                by = setting(parts, rows.scene_label.to_numpy(), which, (fold, number, place, draw))
                corrected = features - shifts(known, features, parts, by)
            likely = {name: probabilities(models[name, draw], corrected) for name in folds.MODELS}
            likely |= {name: together(*(likely[part] for part in pair)) for name, pair in folds.PARTS.items()}
            table = {"filename": rows.filename, "microphone": way, "recordings": which, "draw": draw}
            for system in SYSTEMS:
                table |= folds.told(likely[system], rows, system)
            yield pd.DataFrame(table)


def seed(system: str, draw: int) -> int:
    """Of a system's networks that a draw sets."""
    return draw if draw in folds.seeds(system) else 0


def by_devices(corpus: Corpus) -> pd.DataFrame:
    """TAU 2022's evaluation clips, each by models that were set by its device's clips of the other half of places."""
    training, rows = corpus.split(1, 1, 0)
    table: dict[str, object] = {"filename": rows.filename}
    for system in DEVICES:
        model = compact.load(TAU / f"submission_{system}" / "seed_0" / "model.safetensors")
        store = open_store(corpus, model.config.features.sample_rate)
        known = calibration.spectrum(calibration.mean_spectra(logmel(model, store, training)))
        features = logmel(model, store, rows)
        corrected = features.clone()
        for _, places in rows.reset_index(drop=True).groupby("source_label").groups.items():
            some, halves = features[list(places)], parts_of(rows.iloc[places], 2)
            by = setting(halves, rows.scene_label.to_numpy()[places], "all", ())
            corrected[list(places)] -= shifts(known, some, halves, by)
        table |= folds.told(probabilities(model, corrected), rows, system)
    return pd.DataFrame(table)


def microphones_table(truth: pd.DataFrame, corrected: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """TUT 2017: by the recorder and through unheard microphones, set by no recording or by `RECORDINGS`.

    Returns
    -------
    system, through, recordings, accuracy and log loss, means over `DRAWS`, with intervals from resampled places, n, and
    what the system has over itself without recordings
    """
    made = []
    kind_of = dict.fromkeys(before.microphone, KINDS[-1]) | {name: name for name in KINDS[:-1]}
    for system, kind in product(SYSTEMS, KINDS):
        rows, usual = corrected[corrected.microphone.map(kind_of).eq(kind)], {}
        for number in {seed(system, draw) for draw in DRAWS}:
            found = folds.clips(truth, before, system, number)
            usual[number] = found[found.microphone.map(kind_of).eq(kind)].set_index("filename")
        plain = Scored(system, usual) if kind not in LEVELS else _drawn(rows, "none", truth, system)
        made.append({"system": system, "through": kind, "recordings": "none"} | plain.row())
        for which in RECORDINGS:
            one = _drawn(rows, which, truth, system)
            made.append({"system": system, "through": kind, "recordings": which} | one.row() | difference(one, plain))
    return pd.DataFrame(made)[["system", "through", "recordings", *SCORES, "n", *DIFFERENCES]]


def _drawn(rows: pd.DataFrame, which: str, truth: pd.DataFrame, system: str) -> Scored:
    rows = rows[rows.recordings.eq(which)]
    return Scored(system, {draw: _right(rows[rows.draw.eq(str(draw))], truth, system) for draw in DRAWS})


def devices_table(truth: pd.DataFrame, corrected: pd.DataFrame) -> pd.DataFrame:
    """TAU 2022: by groups of devices, as they are and set by some 15 recordings of the device.

    Returns
    -------
    system, devices, accuracy and log loss as they are, then corrected, n, and the differences
    """
    made = []
    for system in DEVICES:
        predictions = folds.read_probabilities(TAU / f"submission_{system}" / "seed_0" / "predictions.tsv", truth)
        before = folds.score_table(predictions, truth, TAU / "truth.tsv")
        both = Scored(system, {0: _right(corrected, truth, system)}), Scored(system, {0: before})
        for name, devices in {"all": sum(GROUPS.values(), ()), **GROUPS}.items():
            one, usual = (each.where("source_label", *devices) for each in both)
            row = {"system": system, "devices": name, "n": len(one.clips)}
            for title, each in (("", usual), ("corrected_", one)):
                row |= {f"{title}{score}": each.row()[score] for score in ("accuracy", "log_loss")}
            made.append(row | difference(one, usual))
    return pd.DataFrame(made)


def _right(rows: pd.DataFrame, truth: pd.DataFrame, system: str) -> pd.DataFrame:
    return folds.right(rows, truth, system).set_index("filename")


def rows_of(name: str) -> pd.DataFrame:
    """The committed rows of ``tut2017`` or ``tau2022``, all as text."""
    return pd.read_csv(HOME / f"{name}.tsv.gz", sep="\t", dtype=str)


def write() -> None:
    """The tables, from what is committed alone."""
    truth, tau = read_truth(folds.TRUTH), read_truth(TAU / "truth.tsv")
    before = pd.read_csv(folds.HOME / "microphones.tsv", sep="\t", dtype=str)
    found = microphones_table(truth, rows_of("tut2017"), before)
    tables.write_one(found, HOME, "microphones", "Set to microphones by recordings without labels, two draws.")
    found = devices_table(tau, rows_of("tau2022"))
    tables.write_one(found, HOME, "devices", "Set to TAU's devices by recordings without labels, first seed.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tut2017", "responses", "tau2022"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    files = responses.files(given.responses.resolve())
    numbers, data = range(1, folds.FOLDS + 1), given.tut2017.resolve()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = {"tut2017": pd.concat(pool.map(partial(through, data, files), numbers))}
    torch.set_num_threads(1)
    found["tau2022"] = by_devices(corpora.read(given.tau2022.resolve(), "given"))
    for name, rows in found.items():
        text = rows.to_csv(sep="\t", index=False).encode()
        write_file(HOME / f"{name}.tsv.gz", gzip.compress(text, mtime=0))  # equal rows are equal bytes
    write()


if __name__ == "__main__":
    main()
