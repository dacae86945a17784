"""What the training settings of `asc-kit train` rest on: subsets of real recordings, trained in several ways.

    python -m benchmarks.own_rule DATA --clips 40 100 --out results/performance/own_rule.csv

Half of the places are trained on, thinned to so many clips, and all clips of the other half are scored (a fifth where
half is too few). One setting is changed at a time; a row that is there already is not made again.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from asc_kit import kernels, metrics, network
from asc_kit.config import generator
from asc_kit.data import corpus
from asc_kit.data.corpus import Corpus
from asc_kit.run import floors, own
from asc_kit.run.data import RunData
from asc_kit.run.recipes import Recipe
from asc_kit.trainer import Trainer

RECIPE = Recipe("rule", training={"selection": "none"})
CHANGES = ({}, {"mixup": "off"}, {"steps": 2}, {"crop": 2})


def subset(data: Path, clips: int, seed: int = 0) -> Corpus:
    """A data set in a folder of its own: ``clips`` to train on, and other places to score."""
    table = corpus.read(data, "all").table
    folds = 2 if clips <= len(table) // 2 else 5
    numbers = corpus.fold_numbers(table, folds, seed)
    training = table[numbers != 1]
    order = training.sample(frac=1, random_state=seed)
    turn = order.groupby("scene_label").cumcount()  # as many of each class as there are
    training = order.loc[turn.sort_values(kind="stable").index].head(clips)
    folder = Path(tempfile.mkdtemp(prefix="asc-kit-subset-"))
    (folder / "audio").symlink_to((data / "audio").resolve())
    (folder / "evaluation_setup").mkdir()
    columns = ["filename", "scene_label", "identifier"]
    pd.concat([training, table[numbers == 1]])[columns].to_csv(folder / "meta.csv", sep="\t", index=False)
    for part, rows in (("train", training), ("evaluate", table[numbers == 1])):
        rows[columns[:2]].to_csv(folder / f"evaluation_setup/fold1_{part}.csv", sep="\t", index=False)
    return corpus.read(folder)


def settings(clips: int, seconds: float, change: dict) -> dict:
    """The rule's, with one thing changed: steps, crop and batch by a factor, mixup by name."""
    made = own.rule(clips)
    batch = min(made["batch_size"] * change.get("batch", 1), clips)
    epoch = clips // batch + (clips % batch > 1)
    steps = min(max(2 * clips, own.STEPS[0]), own.STEPS[1]) * change.get("steps", 1)
    crop = max(seconds / 5, own.CROP) * change.get("crop", 1)
    made |= {"n_mels": 64, "batch_size": batch, "epochs": math.ceil(steps / epoch), "precision": "float32"}
    made["crop_seconds"] = crop if crop < seconds else "off"
    return made | ({"mixup": change["mixup"]} if "mixup" in change else {})


def trained(data: Corpus, given: dict) -> tuple[np.ndarray, np.ndarray, int]:
    """Probabilities of the network at the other places, and the labels there; steps of an epoch."""
    config = RECIPE.config("2", 0, 1, **given)
    run = RunData(config, data)
    torch.manual_seed(generator(0, "weights").initial_seed())
    trainer = Trainer(network.build(config, len(run.classes)), config.training, 0, run.steps)
    averaged = trainer.fit(run.batches)
    with torch.inference_mode():
        logits = [averaged(run.features(wave)) for wave in run.clips(run.evaluation, "")]
    return metrics.softmax(torch.cat(logits).numpy()), run.labels(run.evaluation), trainer.steps


def floor(data: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """The same of the logistic regression, without steps."""
    run = RunData(RECIPE.config("logistic", 0, 1), data)
    part = {name: floors.statistics(run.features(wave) for wave in run.clips(rows, ""))
            for name, rows in (("train", run.training), ("evaluate", run.evaluation))}  # fmt: skip
    model, chosen = floors.fit("logistic", part["train"], run.training, run.classes)
    found = floors.probabilities(model, chosen["temperature"], part["evaluate"], len(run.classes))
    return found, run.labels(run.evaluation)


def score(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    right = pd.Series(probabilities.argmax(1) == labels).groupby(labels).mean()
    return right.mean(), metrics.log_loss(probabilities, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", required=True, help="to train on")
    parser.add_argument("--out", type=Path, default=Path("results/performance/own_rule.csv"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    kernels.keep_memory()
    rows = pd.read_csv(given.out).to_dict("records") if given.out.exists() else []
    done = {(row["data"], row["clips"], row["changed"]) for row in rows}
    for clips in given.clips:
        data = subset(given.data, clips)
        training, scored = data.split(1, 1, 0)
        seconds = RunData(RECIPE.config("2", 0, 1), data).store.length / 44100
        for change in ("logistic", "both", *CHANGES):
            name = change if isinstance(change, str) else ", ".join(f"{k} {v}" for k, v in change.items()) or "the rule"
            if (given.data.name, clips, name) in done or "crop" in change and seconds <= 2 * own.CROP:
                continue
            row = {"data": given.data.name, "clips": clips, "clip_seconds": round(seconds, 3), "changed": name}
            started = time.process_time()
            if change == "logistic":
                found, labels = floor(data)
                row |= {"steps": None, "batch": None, "crop_seconds": None}
            else:
                made = settings(clips, seconds, {} if change == "both" else change)
                found, labels, epoch = trained(data, made)
                row |= {"steps": epoch * made["epochs"], "batch": made["batch_size"]}
                crop = made["crop_seconds"]
                row["crop_seconds"] = crop if crop == "off" else round(crop, 3)
            if change == "both":  # of the rule's network, as network.Both
                found = metrics.softmax((np.log(found) + np.log(floor(data)[0])) / 2)
            accuracy, loss = score(found, labels)
            row |= {"scored_clips": len(scored), "accuracy": round(float(accuracy), 4), "log_loss": round(loss, 4),
                    "processor_seconds": round(time.process_time() - started)}  # fmt: skip
            rows.append(row)
            print(row, flush=True)
            pd.DataFrame(rows).astype({"steps": "Int64", "batch": "Int64"}).to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
