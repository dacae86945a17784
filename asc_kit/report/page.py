"""``index.html`` of an experiment: one page, no network, read in place of the report."""

import html
import json
import os
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from asc_kit.common import write_file
from asc_kit.config import ROOT
from asc_kit.report import ablation, words
from asc_kit.report.evaluation import Results
from asc_kit.report.tables import TABLES, pretty
from asc_kit.run.runs import flat

# Tables that the report does not have; page.html names them.
MORE = ("league", "floors", "floors_unseen", "together", "ablation", "ablation_pairs", "beyond", "simulated_devices")
SENTENCES = {"league": words.league, "floors": words.floors, "floors_unseen": words.floors, "ablation": words.ablation,
             "beyond": words.beyond}  # fmt: skip
RUN = {  # what the page shows of a run.json
    "run": "run", "epochs": "epochs", "best_epoch": "best epoch", "parameters": "parameters",
    "nonzero": "non-zero in float16", "data.training": "training clips", "data.evaluation": "evaluation clips",
    "hash": "configuration", "code": "code", "data.fingerprint": "data", "commit": "commit",
    "config.training.selection": "selection", "versions.torch": "torch", "machine.processor": "machine",
}  # fmt: skip
NUMBER = re.compile(r"[-+]?[\d,.]+%?( \[.*\])?( ± .*)?")  # as `pretty` writes them
TEMPLATE = jinja2.Template((Path(__file__).parent / "page.html").read_text(), autoescape=True)
Links = dict[str, str]  # text -> address


def runs(home: Path) -> pd.DataFrame:
    """What was run and on what, a row a ``run.json``; times stand there and in the league alone."""
    flats = [flat(about) for about in _abouts(home)]
    return pd.DataFrame([{title: values.get(key, "") for key, title in RUN.items()} for values in flats])


def _abouts(home: Path) -> list[dict[str, Any]]:
    files = [file for kind in ("submission", "ablation") for file in sorted(home.glob(f"{kind}_*/seed_*/run.json"))]
    return [json.loads(file.read_text()) for file in files]


def notebook(home: Path, name: str, folder: Path | None = None) -> Links:
    """Link to an executed notebook of the experiment, or of a run's folder, else to the kit's own where it is near."""
    executed = (folder or home) / f"{name}.ipynb"
    if executed.exists():
        return {name: executed.relative_to(home).as_posix()}
    if home.resolve().is_relative_to(ROOT):
        return {name: Path(os.path.relpath(ROOT / "notebooks" / f"{name}.ipynb", home.resolve())).as_posix()}
    return {}


def sources(home: Path, folder: str) -> Links:
    """Links to what lies in a system's or a variant's runs."""
    files = [place / name for place in sorted(home.glob(f"{folder}/seed_*"))
             for name in ("run.json", "predictions.tsv", "05_train.ipynb")]  # fmt: skip
    paths = [file.relative_to(home).as_posix() for file in files if file.exists()]
    return {path.removeprefix(f"{folder}/"): path for path in paths}


def render(results: Results, made: dict[int, pd.DataFrame]) -> str:
    """The page's text, from the tables just made and the figures in ``figures``."""
    home, recipe, abouts, more = results.home, results.recipe, _abouts(results.home), _more(results.home)
    sentences = words.of_tables(results) | {name: SENTENCES[name](more[name]) for name in SENTENCES.keys() & more}
    return TEMPLATE.render(
        results=results,
        recipe=recipe,
        title=recipe.title if results.synthetic == (recipe.synthetic is not None) else home.name,
        data=abouts[0]["data"] if abouts else None,
        notes=sorted({note for about in abouts for note in about["data"]["notes"]}),
        titles={number: title for number, (title, _) in TABLES.items()},
        tables={number: _shown(table, _made_from(results, number, table)) for number, table in made.items()},
        more={name: _shown(table, _made_from(results, name, table)) for name, table in more.items()},
        # the drawing of every figure that is there, from its first attribute on
        figures={file.stem: file.read_text().partition("<svg")[2] for file in (home / "figures").glob("*.svg")},
        runs=_runs(home),
        notebook=lambda name: notebook(home, name),
        said={key: _html(text) for key, text in sentences.items() if text},
        built_in=_html(words.built_in(results)),
    )


def write(results: Results, made: dict[int, pd.DataFrame]) -> Path:
    """Write `render` as ``index.html``."""
    target = results.home / "index.html"
    write_file(target, render(results, made))
    return target


def _shown(table: pd.DataFrame, links: list[Links]) -> dict[str, Any]:
    """A table as the template has it: rows of text cells, each with links, and whether a column holds numbers alone."""
    shown = pretty(table)
    numbers = [shown[name].any() and all(map(NUMBER.fullmatch, filter(None, shown[name]))) for name in shown]
    return {"columns": list(shown), "numbers": numbers, "rows": list(zip(shown.to_numpy().tolist(), links))}


def _made_from(results: Results, name: int | str, table: pd.DataFrame) -> list[Links]:
    """Links to the runs behind every row of a table."""
    if "variant" in table:
        folders = [ablation.folder(results.recipe, variant) for variant in table.variant]
    else:
        systems = results.by_mel_bins if name == 2 else table.get("submission", [""] * len(table))
        folders = [f"submission_{system}" for system in systems]
    return [sources(results.home, folder) for folder in folders]


def _more(home: Path) -> dict[str, pd.DataFrame]:
    """What goes beyond the report, where it has been made."""
    files = {name: home / "tables" / f"{name}.csv" for name in MORE}
    kinds = {"submission": str} | dict.fromkeys(("disagree", "parameters", "macs", "training_seconds"), "Int64")
    return {name: pd.read_csv(file, dtype=kinds) for name, file in files.items() if file.exists()}


def _html(text: str) -> Markup:
    """Sentences whose only Markdown is bold and broken lines."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))
    return Markup(bold.replace(words.BREAK, "<br>"))


def _runs(home: Path) -> dict[str, Any]:
    table = runs(home)
    if table.empty:
        return _shown(pd.DataFrame({"run": ["none is there yet"]}), [{}])
    links = [{"run.json": f"{name}/run.json"} | notebook(home, "05_train", home / name)
             | notebook(home, "06_evaluate", home / name) for name in table.run]  # fmt: skip
    return _shown(table, links)
