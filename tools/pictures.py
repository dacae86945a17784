"""The pictures of 00_start_here, in seconds: from the notebooks' own outputs and the committed results.

.venv/bin/python tools/pictures.py
"""

import base64
import io
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
import nbformat  # noqa: E402
import pandas as pd  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402

from asc_kit.config import ROOT  # noqa: E402
from asc_kit.report import figures  # noqa: E402

HERE, TAU = ROOT / "notebooks" / "pictures", ROOT / "results" / "tau2022"
WIDTH = 320  # pixels
FIGURES = {  # of committed experiments
    "06_evaluate": "tau2022/figures/confusion_matrix", "07_mel_bins": "tau2022/figures/mel_bins",
    "08_submissions": "tau2022/figures/learning_curves", "12_report": "tau2022/figures/by_class",
    "13_ablation": "tut2017_full/figures/ablation", "14_beyond": "tut2017_full/figures/simulated_devices",
}  # fmt: skip
OWN = {"01_corpus": -1, "02_features": 0, "03_augmentation": -1, "04_architecture": 0, "09_audit": 0}  # a notebook's


def pictures(file: Path) -> list[bytes]:
    """Every PNG among a notebook's outputs."""
    cells = nbformat.read(file, as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return [base64.b64decode(part["image/png"]) for part in data if "image/png" in part]


def save(name: str, png: bytes | Path) -> None:
    """Write a small copy."""
    image = Image.open(png if isinstance(png, Path) else io.BytesIO(png)).convert("RGB")
    image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    image.quantize(64).save(HERE / f"{name}.png", optimize=True)


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


def bars(labels: list[str], values: list[float], title: str) -> bytes:
    """A small bar chart as PNG."""
    figure, axis = plt.subplots(figsize=(5, 3))
    axis.barh(labels, values, color="#0173b2")
    axis.set(title=title)
    return png(figure)


def main() -> None:
    """Make all."""
    for name, figure in FIGURES.items():
        save(name, ROOT / "results" / f"{figure}.png")
    for name, which in OWN.items():
        save(name, pictures(ROOT / "notebooks" / f"{name}.ipynb")[which])
    history = pd.read_csv(TAU / "submission_4" / "seed_0" / "history.csv")
    save("05_train", png(figures.learning_curves({"4, seed_0": history})[0]))
    one = pd.read_csv(TAU / "submission_4" / "seed_0" / "predictions.tsv", sep="\t").iloc[0, 2:].astype(float)
    top = one.nlargest(4)[::-1]
    save("10_your_recording", bars(list(top.index), list(top), "probability"))
    speed = pd.read_csv(ROOT / "results" / "performance" / "inference.csv")
    labels = [f"{bins} mel" for bins in speed.mel_bins]
    save("11_performance", bars(labels, list(speed.milliseconds), "ms a clip of 10 s"))
    scores = pd.read_csv(ROOT / "results" / "tut2017" / "tables" / "table_7.csv").set_index("submission").accuracy
    both = [scores["logistic"], scores["2"]]
    save("15_your_data", bars(["logistic regression", "network"], both, "held-out accuracy"))


if __name__ == "__main__":
    main()
