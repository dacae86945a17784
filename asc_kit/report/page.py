"""``index.html`` of an experiment: one page, no network, read in place of the report."""

import html
import json
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from asc_kit.files import replacing
from asc_kit.report.tables import TABLES, Results, pretty

CAPTIONS = {
    "mel_bins": "Accuracy and log loss against the number of mel bins, with 95 % intervals.",
    "by_class": "Accuracy and log loss of every class, with 95 % intervals.",
    "by_device": "Accuracy and log loss of every device, with 95 % intervals.",
    "confusion_matrix": "What each true class was taken for.",
    "learning_curves": "Training loss and validation scores by epoch.",
}
TEMPLATE = jinja2.Template((Path(__file__).parent / "page.html").read_text(), autoescape=True)


def runs(home: Path) -> pd.DataFrame:
    """What was run and on what, a row a ``run.json``; times stand there alone, so that equal runs give equal pages."""
    rows = []
    for about in _abouts(home):
        row = {name.replace("_", " "): about.get(name, "") for name in ("run", "epochs", "best_epoch", "parameters")}
        row |= {"non-zero in float16": about.get("nonzero", ""), "training clips": about["data"]["training"],
                "evaluation clips": about["data"]["evaluation"], "configuration": about["hash"], "code": about["code"],
                "data": about["data"]["fingerprint"], "commit": about["commit"],
                "selection": about["config"]["training"]["selection"],
                "torch": about["versions"]["torch"],
                "machine": about["machine"]["processor"]}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def _abouts(home: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(home.glob("submission_*/seed_*/run.json"))]


def write(results: Results, made: dict[int, pd.DataFrame]) -> Path:
    """Write ``index.html`` from the tables just made and the figures in ``figures``."""
    home, abouts = results.home, _abouts(results.home)
    figures = {}
    for name, caption in CAPTIONS.items():
        file = home / "figures" / f"{name}.svg"
        if file.exists():
            drawing = file.read_text().partition("<svg")[2]
            figures[name] = (caption, f'<svg role="img" aria-label="{html.escape(caption)}"{drawing}')
    text = TEMPLATE.render(
        recipe=results.recipe.name,
        title=results.recipe.title if results.synthetic == (results.recipe.synthetic is not None) else home.name,
        synthetic=results.synthetic,
        data=abouts[0]["data"] if abouts else None,
        notes=sorted({note for about in abouts for note in about["data"]["notes"]}),
        tables=[(number, TABLES[number][0], _table(made[number])) for number in (7, 2, 3, 4, 1, 5, 6)],
        figures=figures,
        runs=_table(runs(home)),
    )
    target = home / "index.html"
    with replacing(target) as part:
        part.write_text(text)
    return target


def _table(table: pd.DataFrame) -> str:
    shown = pretty(table) if len(table) else pd.DataFrame({"run": ["none is there yet"]})
    return shown.to_html(index=False, border=0, justify="left", classes="table")
