"""The pictures of 00_start_here: from the notebooks' own outputs and the committed results.

    .venv/bin/python tools/pictures.py

01, 03, the ablation of 13 and the devices of 14 are made on the recipe's smoke part (a minute); the others show
what is committed.
"""

import base64
import io
import os
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("agg")
os.environ["ASC_SMOKE"] = "1"

import matplotlib.pyplot as plt  # noqa: E402
import nbformat  # noqa: E402
import pandas as pd  # noqa: E402
import yaml  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402

from asc_kit.config import ROOT  # noqa: E402
from asc_kit.data.demo import DEVICES  # noqa: E402
from asc_kit.report import ablation, beyond, figures  # noqa: E402
from asc_kit.run import (  # noqa: E402
    batch,
    recipes,
    rescore,  # noqa: E402
)
from asc_kit.run.experiment import train  # noqa: E402
from asc_kit.run.runs import Run  # noqa: E402

HERE, TAU = ROOT / "notebooks" / "pictures", ROOT / "results" / "tau2022"
WIDTH = 320  # pixels
FIGURES = {"06_evaluate": "confusion_matrix", "07_mel_bins": "mel_bins", "08_submissions": "learning_curves"}
COMMITTED = {"02_features": 0, "04_architecture": 0, "09_audit": 0}  # which of a notebook's pictures
EXECUTED = ("01_corpus", "03_augmentation")


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


def ablated() -> bytes:
    """An ablation of the smoke part's submission 1: what one looks like; its numbers mean nothing."""
    recipe = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    variants = {"no crop": {"crop_seconds": None}, "no mixup": {"mixup": None}, "no masks": {"mel_masks": 0}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ablation.yaml"
        file.write_text(yaml.safe_dump(recipe | {"ablation": variants, "ablation_submission": "1"}))
        for variant in (None, *variants):
            train(Run.of(str(file), "1", results_dir=folder, variant=variant))
        settings = recipes.load(file)
        table = ablation.write(Path(folder) / settings.name, settings)[0][1:]
        figures.differences(table, Path(folder) / settings.name)
        return (Path(folder) / settings.name / "figures" / "ablation.png").read_bytes()


def through_devices() -> bytes:
    """The smoke part's submission 1 heard through simulated devices: what it looks like; its numbers mean nothing."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(Run.of("config/demo.yaml", "1", results_dir=folder))
        rescore.through_devices(run, tuple(DEVICES))
        return png(figures.simulated(beyond.write(run.home, run.recipe)[1], run.home)[0])


def main() -> None:
    """Make all."""
    for name, figure in FIGURES.items():
        save(name, TAU / "figures" / f"{figure}.png")
    for name, which in COMMITTED.items():
        save(name, pictures(ROOT / "notebooks" / f"{name}.ipynb")[which])
    with tempfile.TemporaryDirectory() as folder:
        for name in EXECUTED:
            given = {"results_dir": f"{folder}/results"} if name != "03_augmentation" else {}
            batch.execute(f"notebooks/{name}.ipynb", f"{folder}/{name}.ipynb", given)
            save(name, pictures(Path(folder) / f"{name}.ipynb")[-1])
    history = pd.read_csv(TAU / "submission_4" / "seed_0" / "history.csv")
    save("05_train", png(figures.learning_curves({"4, seed_0": history})[0]))
    one = pd.read_csv(TAU / "submission_4" / "seed_0" / "predictions.tsv", sep="\t").iloc[0, 2:].astype(float)
    top = one.nlargest(4)[::-1]
    save("10_your_recording", bars(list(top.index), list(top), "probability"))
    speed = pd.read_csv(ROOT / "results" / "performance" / "inference.csv")
    labels = [f"{bins} mel" for bins in speed.mel_bins]
    save("11_performance", bars(labels, list(speed.milliseconds), "ms a clip of 10 s"))
    save("12_report", TAU / "figures" / "by_class.png")
    save("13_ablation", ablated())
    save("14_beyond", through_devices())
    scores = pd.read_csv(ROOT / "results" / "tut2017" / "tables" / "table_7.csv").set_index("submission").accuracy
    both = [scores["logistic"], scores["2"]]
    save("15_your_data", bars(["logistic regression", "network"], both, "held-out accuracy"))


if __name__ == "__main__":
    main()
