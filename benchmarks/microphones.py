"""The recipe of config/small.yaml at places and through microphones that training never heard: five folds of both.

    python -m benchmarks.microphones TUT2017 RESPONSES [--folds 1 2]

A fold's network hears the measured microphones of other makers than those it is scored through, so that with each seed
every clip is scored once by the recorder itself, and every microphone once by clips of unheard places. A run that is
there is left as it is; once all folds are, ``microphones.tsv`` has every clip through every microphone of its fold, and
the tables that follow from it are written, and the temperature of ``results/small``. The plain recipe's networks are
those of ``results/tut2017``, of one seed.
"""

import argparse
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.signal import oaconvolve
from sklearn.model_selection import GroupKFold

from asc_kit import metrics
from asc_kit.common import cached, write_file
from asc_kit.config import ROOT, cache, generator
from asc_kit.data import responses
from asc_kit.data.simulate import maker
from asc_kit.data.store import open_store
from asc_kit.deploy import calibration, compact
from asc_kit.deploy.predict import scores
from asc_kit.report import tables
from asc_kit.report.evaluation import DIFFERENCES, SCORES, Scored, difference
from asc_kit.report.predictions import read_probabilities, read_truth, score_table, together
from asc_kit.run import experiment
from asc_kit.run.data import RunData
from asc_kit.run.runs import Run, place

FOLDS, SEEDS = 5, (0, 1)
# Two as one model, the mean of their log probabilities, which network.Both gives.
PARTS = {"both": ("robust_network", "robust_logistic"), "plain_both": ("plain", "logistic")}
HOME = ROOT / "results" / "small_folds"
TRUTH = ROOT / "results" / "tut2017" / "truth.tsv"  # of the same clips
# system -> experiment and submission
MODELS = {"robust_network": (HOME, "2"), "robust_logistic": (HOME, "robust_logistic"),
          "plain": (ROOT / "results" / "tut2017", "2"), "logistic": (HOME, "logistic")}  # fmt: skip
SYSTEMS = (*PARTS, *MODELS)
# system -> its like without microphones: the recipes differ in nothing else, the runs in the processor, too
AGAINST = {"both": "plain_both", "robust_network": "plain", "robust_logistic": "logistic"}
CLEAN = "the recorder itself"


def unheard(files: tuple[Path, ...]) -> dict[int, list[Path]]:
    """Fold -> the microphones that it is scored through; no maker is in two."""
    parts = GroupKFold(FOLDS).split(files, groups=list(map(maker, files)))
    return {fold: [files[i] for i in rows] for fold, (_, rows) in enumerate(parts, start=1)}


def heard(files: tuple[Path, ...], fold: int) -> Path:
    """A folder of the microphones that a fold's network hears."""
    folder = cache() / "microphones" / f"unlike_fold_{fold}"
    with cached(folder) as part:
        shutil.rmtree(folder, ignore_errors=True)
        for file in sorted(set(files) - set(unheard(files)[fold])):
            shutil.copyfile(file, part / file.name)
    return folder


def seeds(system: str) -> tuple[int, ...]:
    """Those that a system was trained with."""
    return SEEDS if system in AGAINST else SEEDS[:1]


def train(data: Path, files: tuple[Path, ...], fold: int) -> None:
    """The networks and the logistic regressions of a fold by config/small.yaml."""
    place, robust = (fold, str(data), HOME.name, str(HOME.parent)), {"responses": str(heard(files, fold))}
    experiment.finish(experiment.train(Run.of("config/small.yaml", "logistic", 0, *place)))
    for seed, system in product(SEEDS, ("robust_logistic", "2")):
        experiment.finish(experiment.train(Run.of("config/small.yaml", system, seed, *place, **robust)))


def through(data: Path, files: tuple[Path, ...], fold: int, seed: int) -> pd.DataFrame:
    """Every clip of a fold through every microphone that it is scored through, by every system of a seed.

    Returns
    -------
    filename, microphone, seed; for each of the systems its label, and the probability of the true class, in four digits
    """
    torch.set_num_threads(1)
    systems = [system for system in SYSTEMS if seed in seeds(system)]
    run = Run.of("config/small.yaml", "2", 0, fold, str(data), HOME.name, str(HOME.parent))
    corpus = experiment.open_corpus(run.recipe, data)
    _, rows = corpus.split(fold, run.recipe.folds, run.recipe.split_seed)
    files_of = {name: _folder(name, fold, seed) / "model.safetensors" for name in MODELS if name in systems}
    models = {name: compact.load(file) for name, file in files_of.items()}
    rate = models["robust_network"].config.features.sample_rate
    store, found = open_store(corpus, rate), []
    measured = dict(zip(files, responses.read(files[0].parent, rate).numpy()))
    for file in unheard(files)[fold]:
        table = pd.DataFrame({"filename": rows.filename, "microphone": file.name, "seed": seed})
        likely = {}
        for name, model in models.items():

            def way(waves: torch.Tensor, model: compact.Model = model, response: np.ndarray = measured[file]):
                return model.probabilities(filtered(waves, response))

            likely[name] = pd.DataFrame(scores(model, store, rows, torch.device("cpu"), way), columns=model.classes)
        for name in systems:
            if name in PARTS:
                likely[name] = together(*(likely[part] for part in PARTS[name]))
            table = table.assign(**told(likely[name], rows, name))
        found.append(table)
    return pd.concat(found)


def filtered(waves: torch.Tensor, response: np.ndarray) -> torch.Tensor:
    """Clips, (batch, samples), as a microphone of that response would have them."""
    return torch.from_numpy(oaconvolve(waves.numpy(), response[None], axes=1)[:, : waves.shape[1]]).float()


def told(likely: pd.DataFrame, rows: pd.DataFrame, name: str) -> dict[str, object]:
    """A system's label and the probability of the true class, in four digits, of every row."""
    true = likely.to_numpy()[np.arange(len(rows)), likely.columns.get_indexer(rows.scene_label)]
    return {f"{name}_label": likely.idxmax(axis=1).to_numpy(), f"{name}_true": [f"{p:.4g}" for p in true]}


def right(rows: pd.DataFrame, truth: pd.DataFrame, system: str) -> pd.DataFrame:
    """What `told` gave, with the clips' truth: correct, loss and label (the class's number), too."""
    rows = rows.join(truth, on="filename")
    numbers = {name: number for number, name in enumerate(sorted(truth.scene_label.unique()))}
    correct = rows[f"{system}_label"].eq(rows.scene_label).astype(float)
    loss = -np.log(rows[f"{system}_true"].astype(float).clip(lower=metrics.SMALLEST))
    return rows.assign(correct=correct, loss=loss, label=rows.scene_label.map(numbers))


def _folder(model: str, fold: int, seed: int = 0) -> Path:
    home, submission = MODELS[model]
    return home / place(submission, seed, fold)


def _probabilities(truth: pd.DataFrame, system: str, fold: int, seed: int = 0) -> pd.DataFrame:
    """Of the clips of a fold as the recorder itself recorded them."""
    files = [_folder(name, fold, seed) / "predictions.tsv" for name in PARTS.get(system, (system,))]
    found = [read_probabilities(file, truth) for file in files]
    return together(*found) if len(found) > 1 else found[0]


def clips(truth: pd.DataFrame, microphones: pd.DataFrame, system: str, seed: int = 0) -> pd.DataFrame:
    """A row a clip and microphone, `CLEAN` included: filename, microphone, correct, loss, label, identifier."""
    found = pd.concat([_probabilities(truth, system, fold, seed) for fold in range(1, FOLDS + 1)])
    clean = score_table(found, truth, TRUTH).assign(microphone=CLEAN).reset_index()
    other = right(microphones[microphones.seed.eq(str(seed))], truth, system)
    rows = pd.concat([clean, other], ignore_index=True)
    return rows[["filename", "microphone", "correct", "loss", "label", "identifier"]]


def table(truth: pd.DataFrame, microphones: pd.DataFrame) -> pd.DataFrame:
    """The systems by the recorder itself and through unheard microphones, and what each has over its like without them.

    Returns
    -------
    system, through, accuracy and log loss with intervals from resampled places, least_accuracy (through one
    microphone, mean over seeds), n, seeds, differences from `AGAINST`
    """
    made = []
    for kind in (CLEAN, "unheard microphones"):
        found = {}
        for system in SYSTEMS:
            rows = {seed: clips(truth, microphones, system, seed) for seed in seeds(system)}
            rows = {seed: part[part.microphone.eq(CLEAN) == (kind == CLEAN)] for seed, part in rows.items()}
            # of a clip the mean over its microphones
            found[system] = Scored(system, {seed: part.set_index("filename") for seed, part in rows.items()})
            least = "" if kind == CLEAN else _each(rows.values()).accuracy.min()
            made.append({"system": system, "through": kind, "least_accuracy": least} | found[system].row())
        for row in made[-len(SYSTEMS) :]:
            if usual := AGAINST.get(row["system"]):
                row |= {"against": usual} | difference(found[row["system"]], found[usual])
    return pd.DataFrame(made)[["system", "through", *SCORES, "least_accuracy", "n", "seeds", "against", *DIFFERENCES]]


def by_microphone(truth: pd.DataFrame, microphones: pd.DataFrame) -> pd.DataFrame:
    """microphone, maker, n, and accuracy and log loss, means over seeds; the worst for both first."""
    found = {}
    for system in ("both", "robust_network", "plain"):
        each = _each(clips(truth, microphones, system, seed).query("microphone != @CLEAN") for seed in seeds(system))
        found |= {f"{system}_accuracy": each.accuracy, f"{system}_log_loss": each.log_loss, "n": each.n}
    made = pd.DataFrame(found).sort_values("both_accuracy").reset_index()
    made.insert(1, "maker", made.microphone.map(maker))
    return made


def by_scene(truth: pd.DataFrame, microphones: pd.DataFrame) -> pd.DataFrame:
    """scene_label, clips, places, and both's accuracy by the recorder and through microphones, means over seeds."""
    rows = pd.concat(clips(truth, microphones, "both", seed) for seed in seeds("both"))
    rows = rows.assign(scene_label=rows.filename.map(truth.scene_label), clean=rows.microphone.eq(CLEAN))
    groups = truth.groupby("scene_label")
    made = pd.DataFrame({"clips": groups.size(), "places": groups.identifier.nunique()})
    for name, part in (("recorder", rows[rows.clean]), ("microphones", rows[~rows.clean])):
        made[f"{name}_accuracy"] = part.groupby(["scene_label", "filename"]).correct.mean().groupby(level=0).mean()
    return made.reset_index()


def _each(seeds: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """By microphone, means over seeds of `clips`: accuracy (the mean of the classes), log_loss; n clips."""
    groups = [rows.groupby("microphone") for rows in seeds]
    parts = [pd.DataFrame({"accuracy": group[["correct", "label"]].apply(_macro), "log_loss": group.loss.mean(),
                           "n": group.size()}) for group in groups]  # fmt: skip
    return pd.concat(parts).groupby(level=0).mean().astype({"n": int})


def _macro(rows: pd.DataFrame) -> float:
    return rows.correct.groupby(rows.label).mean().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("responses", type=Path)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(1, FOLDS + 1)), help="to train")
    given = parser.parse_args()
    data, files = given.data.resolve(), responses.files(given.responses.resolve())
    for fold in given.folds:
        train(data, files, fold)
    parts = list(product(range(1, FOLDS + 1), SEEDS))
    if all((_folder("robust_network", *part) / "run.json").exists() for part in parts):
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            found = pd.concat(pool.map(partial(through, data, files), *zip(*parts)))
        torch.set_num_threads(1)
        write_file(HOME / "microphones.tsv", found.to_csv(sep="\t", index=False))
        (HOME / "truth.tsv").unlink(missing_ok=True)  # no experiment: each fold has another configuration
        write()
        calibrate(data, files[0].parent)


def calibrate(data: Path, microphones: Path) -> None:
    """``temperature.json`` of results/small: the temperature from the folds' clips as the recorder recorded them and
    the first seed scored them, the profile from all clips, each so and once more as training hears it, the spectrum
    from all as they are.
    """
    truth = read_truth(TRUTH)
    held_out = pd.concat([_probabilities(truth, "both", fold) for fold in range(1, FOLDS + 1)])
    classes = list(held_out)
    labels = truth.scene_label[held_out.index].map(classes.index).to_numpy()
    fitted = calibration.fit(held_out.to_numpy(), labels)
    run = Run.of("results/small/all_clips.yaml", "both", 0, 1, str(data), "small", str(ROOT / "results"),
                 responses=str(microphones))  # fmt: skip
    all_clips = RunData(run.config, experiment.open_corpus(run.recipe, data))
    draw, known, spectra = generator(0, "profile"), [], []
    for waves in all_clips.clips(all_clips.training, "measuring clips"):
        heard = all_clips.features(waves), all_clips.features(all_clips.recorder(waves, draw))
        known.append([calibration.statistics(features) for features in heard])
        spectra.append(calibration.mean_spectra(heard[0]))
    plain, through = (np.concatenate(part) for part in zip(*known))
    places = list(all_clips.training.identifier)
    profile = calibration.profile(np.concatenate([plain, through]), places * 2, plain[:0])
    spectrum = calibration.spectrum(np.concatenate(spectra))
    calibration.write(ROOT / "results" / "small" / calibration.NAME, run.config, fitted, profile, spectrum)


def write() -> None:
    """The tables, from what is committed alone."""
    truth, found = read_truth(TRUTH), pd.read_csv(HOME / "microphones.tsv", sep="\t", dtype=str)
    tables.write_one(table(truth, found), HOME, "microphones", "Places and microphones that training never heard.")
    tables.write_one(by_microphone(truth, found), HOME, "by_microphone", "Through each unheard microphone.")
    tables.write_one(by_scene(truth, found), HOME, "by_scene", "Both, by scene.")


if __name__ == "__main__":
    main()
