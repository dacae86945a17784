"""``index.html`` of an experiment: one page, no network, read in place of the report."""

import base64
import html
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import soundfile
from markupsafe import Markup

from asc_kit.common.files import replacing
from asc_kit.config import MEL_BINS, PREDICTIONS, ROOT
from asc_kit.data import demo
from asc_kit.data.sounds import RATE, synthesise
from asc_kit.report import words
from asc_kit.report.ablation import AS_IT_STANDS
from asc_kit.report.evaluation import NETWORKS, Results
from asc_kit.report.tables import TABLES, pretty
from asc_kit.run.recipes import Recipe

CAPTIONS = {
    "mel_bins": "Accuracy and log loss against the number of mel bins, with 95 % intervals.",
    "by_class": "Accuracy and log loss of every class, with 95 % intervals.",
    "by_device": "Accuracy and log loss of every device, with 95 % intervals.",
    "confusion_matrix": "What each true class was taken for.",
    "ablation": "Differences of every variant from the recipe in accuracy and log loss, with 95 % intervals.",
    "simulated_devices": "Accuracy through simulated devices, with 95 % intervals.",
    "learning_curves": "Training loss by epoch, and validation scores where a run has a validation part. A network's "
    "labels are mixed, so that its loss cannot reach 0; the baseline's are not: their losses are not comparable.",
}
SENTENCES = {"floors": words.floors, "floors_unseen": words.floors, "ablation": words.ablation, "beyond": words.beyond}
MORE = {  # tables that the report does not have: title, notebook, figure
    "floors": ("Against the floors: logistic regression, SVM, an even guess", "08_submissions", ""),
    "floors_unseen": ("Against the floors, without the clips that chose the recipe", "08_submissions", ""),
    "ablation": ("Ablation: the recipe against its variants", "13_ablation", "ablation"),
    "ablation_pairs": ("Ablation: the variants against each other", "13_ablation", ""),
    "ablation_devices": ("Ablation, by device", "13_ablation", ""),
    "beyond": ("Other ways to score, and ensembles", "14_beyond", ""),
    "simulated_devices": ("Simulated devices", "14_beyond", "simulated_devices"),
}
ON_VALIDATION = (
    ", on the validation clips that chose each run's best epoch, not the evaluation clips of the tables above"
)
LAST = ("average", "all", "Total")  # rows that stay last when a table is sorted
HEARD = ("metro_station", "park", "street_traffic")  # classes of the synthetic clips that the page plays
NUMBER = re.compile(r"[-+]?[\d,.]+%?( \[.*\])?( ± .*)?")  # as `pretty` writes them
TEMPLATE = jinja2.Template((Path(__file__).parent / "page.html").read_text(), autoescape=True)


@dataclass(frozen=True)
class Shown:
    """A table of text cells as the page has it; each row may have links: what it was made from, by words."""

    columns: list[str]
    rows: list[tuple[list[str], dict[str, str]]]

    @property
    def body(self) -> list:
        """Rows that may be sorted."""
        return [row for row in self.rows if row[0][0] not in LAST]

    @property
    def numbers(self) -> list[bool]:
        """Whether a column holds numbers alone, by column."""
        cells = [[row[0][place] for row in self.rows if row[0][place]] for place in range(len(self.columns))]
        return [bool(column) and all(map(NUMBER.fullmatch, column)) for column in cells]

    @property
    def last(self) -> list:
        """Rows that stay last."""
        return [row for row in self.rows if row[0][0] in LAST]


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
    files = [file for kind in ("submission", "ablation") for file in sorted(home.glob(f"{kind}_*/seed_*/run.json"))]
    return [json.loads(file.read_text()) for file in files]


def notebook(home: Path, name: str, folder: Path | None = None) -> dict[str, str]:
    """Link to an executed notebook of the experiment, or of a run's folder, else to the kit's own where it is near."""
    executed = (folder or home) / f"{name}.ipynb"
    if executed.exists():
        return {name: executed.relative_to(home).as_posix()}
    if home.resolve().is_relative_to(ROOT):
        return {name: Path(os.path.relpath(ROOT / "notebooks" / f"{name}.ipynb", home.resolve())).as_posix()}
    return {}


def sources(home: Path, folder: str, predictions: str = "predictions.tsv") -> dict[str, str]:
    """Links to what the numbers of ``submission_<id>`` or ``ablation_<variant>`` were made from, of every run."""
    links = {}
    for file in sorted(home.glob(f"{folder}/seed_*/{predictions}")):
        for name in ("run.json", predictions, "05_train.ipynb"):
            if (file.parent / name).exists():
                links[f"{file.parent.name}/{name}"] = (file.parent / name).relative_to(home).as_posix()
    return links


def sounds(results: Results) -> list[tuple[str, str]]:
    """A few seconds of the experiment's synthetic clips: name, FLAC as a data address; nobody's recordings."""
    if not results.synthetic or results.recipe.synthetic is None:
        return []
    settings, found = demo.Demo(**results.recipe.synthetic), {}
    for segment in demo.plan(settings):
        if segment.evaluation and segment.scene in HEARD:
            found.setdefault(segment.scene, segment)
    return [(scene, _flac(found[scene], settings)) for scene in HEARD if scene in found]


def _flac(segment: demo.Segment, settings: demo.Demo) -> str:
    file, clip = io.BytesIO(), synthesise(segment, settings.seed, settings.seconds)[: 3 * RATE]
    soundfile.write(file, clip / max(abs(clip).max(), 1e-9), RATE, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(file.getvalue()).decode()}"


def render(results: Results, made: dict[int, pd.DataFrame]) -> str:
    """The page's text, from the tables just made and the figures in ``figures``."""
    home, abouts = results.home, _abouts(results.home)
    makers = {1: "04_architecture", 5: "04_architecture", 6: "04_architecture", 2: "07_mel_bins", 7: "08_submissions"}
    return TEMPLATE.render(
        recipe=results.recipe.name,
        best=results.best,
        scored=len(results.scored[results.best].clips) if results.best else 0,
        classes=len(results.classes),
        title=results.recipe.title if results.synthetic == (results.recipe.synthetic is not None) else home.name,
        synthetic=results.synthetic,
        data=abouts[0]["data"] if abouts else None,
        notes=sorted({note for about in abouts for note in about["data"]["notes"]}),
        tables=[(number, TABLES[number][0], _table(results, made[number], number),
                 notebook(home, makers.get(number, "12_report"))) for number in (7, 2, 3, 4, 1, 5, 6)],
        more=_more(home, results.recipe),
        figures=_figures(home),
        runs=_runs(home),
        sounds=sounds(results),
        audit=notebook(home, "09_audit"),
        said={key: _html(text) for key, text in (words.of_tables(results, made) | _sentences(home)).items() if text},
    )  # fmt: skip


def write(results: Results, made: dict[int, pd.DataFrame]) -> Path:
    """Write `render` as ``index.html``."""
    target = results.home / "index.html"
    with replacing(target) as part:
        part.write_text(render(results, made))
    return target


def _figures(home: Path) -> dict[str, tuple[str, str]]:
    """Caption and drawing of every figure that is there."""
    drawn = {}
    for name, caption in CAPTIONS.items():
        file = home / "figures" / f"{name}.svg"
        if file.exists():
            drawing = file.read_text().partition("<svg")[2]
            drawn[name] = (caption, f'<svg role="img" aria-label="{html.escape(caption)}"{drawing}')
    return drawn


def _table(results: Results, table: pd.DataFrame, number: int) -> Shown:
    shown = pretty(table)
    submissions = table["submission"] if "submission" in table else [""] * len(table)
    if number == 2:
        submissions = table.mel_bins.map({MEL_BINS[name]: name for name in NETWORKS})
    links = [sources(results.home, f"submission_{name}") if name else {} for name in submissions]
    return Shown(list(shown.columns), list(zip(shown.to_numpy().tolist(), links)))


def _made_from(home: Path, name: str, row: Any, recipe: Recipe) -> dict[str, str]:
    """Links to the predictions behind a row of a table that the report does not have."""
    if name.startswith("ablation"):
        usual = row.variant == AS_IT_STANDS
        folder = f"submission_{recipe.ablation_submission}" if usual else f"ablation_{row.variant}"
        return sources(home, folder, f"{PREDICTIONS[recipe.ablation_clips]}.tsv")
    if name == "simulated_devices":
        return sources(home, f"submission_{row.submission}", f"predictions_simulated_{row.device}.tsv")
    if name == "beyond" and row.way == "mean over crops":
        return sources(home, f"submission_{row.submission}", "predictions_crops.tsv")
    if name == "beyond" and row.way.endswith("weights"):
        return sources(home, f"averaged_{row.submission}")
    wanted = NETWORKS if row.submission == "1 to 4" else (row.submission,)
    return {f"{one}/{text}" if len(wanted) > 1 else text: link for one in wanted
            for text, link in sources(home, f"submission_{one}").items()}  # fmt: skip


def _more(home: Path, recipe: Recipe) -> list[tuple[str, str, Shown, dict[str, str], str]]:
    """Name, title, table, notebook and figure of what goes beyond the report, where it has been made."""
    found = []
    for name, (title, maker, figure) in MORE.items():
        file = home / "tables" / f"{name}.csv"
        table = pd.read_csv(file, dtype={"submission": str, "disagree": "Int64"}) if file.exists() else pd.DataFrame()
        if len(table):
            shown = pretty(table)
            links = [_made_from(home, name, row, recipe) for row in table.itertuples()]
            rows = list(zip(shown.to_numpy().tolist(), links))
            if name in ("ablation", "ablation_pairs", "ablation_devices") and recipe.ablation_clips == "validation":
                title += ON_VALIDATION
            found.append((name, title, Shown(list(shown.columns), rows), notebook(home, maker), figure))
    return found


def _sentences(home: Path) -> dict[str, str]:
    """What the tables show that go beyond the report's, in words."""
    files = {name: home / "tables" / f"{name}.csv" for name in SENTENCES}
    read = {name: pd.read_csv(file, dtype={"submission": str}) for name, file in files.items() if file.exists()}
    return {name: SENTENCES[name](table) for name, table in read.items()}


def _html(text: str) -> Markup:
    """Sentences whose only Markdown is bold and broken lines."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))
    return Markup(bold.replace(words.BREAK, "<br>"))


def _runs(home: Path) -> Shown:
    table = runs(home)
    if table.empty:
        return Shown(["run"], [(["none is there yet"], {})])
    shown = pretty(table)
    links = [{"run.json": f"{name}/run.json"} | notebook(home, "05_train", home / name)
             | notebook(home, "06_evaluate", home / name) for name in table.run]  # fmt: skip
    return Shown(list(shown.columns), list(zip(shown.to_numpy().tolist(), links)))
