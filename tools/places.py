"""asc_kit/report/published/places.csv: how much wider two_stage's intervals are by place than by clip.

    .venv/bin/python -m tools.places TWO_STAGE.tsv FOLDER

TWO_STAGE.tsv holds its probabilities for TAU 2020's evaluation fold, FOLDER that release's lists.
"""

import sys

import numpy as np
import pandas as pd

from asc_kit import metrics
from asc_kit.data import corpus
from asc_kit.data.check import DEVICES, TRAINING_A
from asc_kit.report import tables

CLASSES = list(TRAINING_A)
DRAWS = 5  # times 2,000 resamples: one leaves a ratio open by some 4 %


def answered(predictions: str, folder: str) -> pd.DataFrame:
    """The clips of the fold as a system answered them: their rows, label, correct and loss."""
    _, clips = corpus.read(folder).split(1, 1)
    table = pd.read_csv(predictions, sep="\t").set_index("filename").loc[clips.filename]
    probabilities, labels = table[CLASSES].to_numpy(), clips.scene_label.map(CLASSES.index).to_numpy()
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    return clips.assign(label=labels, correct=right, loss=metrics.clip_losses(probabilities, labels))


def widths(clips: pd.DataFrame) -> pd.DataFrame:
    """Half the 95 % intervals of a system's scores, resampling clips and resampling places.

    Parameters
    ----------
    clips : scene_label, source_label, identifier (place), label (class number), correct, loss; a row a clip

    Returns
    -------
    part (all, class or device), row, clips, places and, for accuracy (a fraction) and log_loss, the score, its half
    intervals ``_by_clip`` and ``_by_place``, and ``_ratio`` of the second to the first
    """
    parts = [("all", "average", clips)]
    parts += [("class", name, clips[clips.scene_label == name]) for name in TRAINING_A]
    parts += [("device", name, clips[clips.source_label == name]) for name in DEVICES]
    rows = []
    for part, name, rows_of in parts:
        row = {"part": part, "row": name, "clips": len(rows_of), "places": rows_of.identifier.nunique()}
        values = [rows_of[column].to_numpy() for column in ("correct", "loss", "label")]
        by_clip, by_place = halves(values, np.arange(len(rows_of))), halves(values, rows_of.identifier)
        for score, (value, half) in by_clip.items():
            wider = by_place[score][1]
            row |= {score: value, f"{score}_by_clip": half, f"{score}_by_place": wider, f"{score}_ratio": wider / half}
        rows.append(row)
    return pd.DataFrame(rows).round(4)


def halves(values: list[np.ndarray], units: np.ndarray) -> dict[str, tuple[float, float]]:
    """Accuracy and log loss, each with half its interval from resampled units, the mean of `DRAWS`."""
    names, number = np.unique(units, return_inverse=True)
    orders = [np.random.default_rng(seed).permutation(len(names)) for seed in range(DRAWS)]  # `score` draws by order
    found = [metrics.score(*values, order[number]) for order in orders]
    return {name: (found[0][name].value, float(np.mean([one[name].high - one[name].low for one in found]) / 2))
            for name in ("accuracy", "log_loss")}  # fmt: skip


if __name__ == "__main__":
    widths(answered(*sys.argv[1:3])).to_csv(tables.PUBLISHED / "places.csv", index=False)
