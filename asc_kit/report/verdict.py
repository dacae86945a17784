"""What came of `asc_kit.run.own`: a sentence, a page, and the models to take away."""

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import torch

from asc_kit import network
from asc_kit.common import InputError, write_file
from asc_kit.config import CHECKOUT, Config, Network
from asc_kit.data.store import open_store
from asc_kit.deploy import compact, predict
from asc_kit.report import predictions
from asc_kit.report.evaluation import Results, Scored, difference, load
from asc_kit.run.own import SYSTEMS, Plan
from asc_kit.run.runs import Run

BOTH = "both"
NAMES = {"network": "the network", "logistic": "the logistic regression", BOTH: "the mean of both"}
FEW = 5  # places of a class; with fewer, more are worth more than anything else
WRONG = 50  # clips shown
TEMPLATE = jinja2.Template((Path(__file__).parent / "verdict.html").read_text(), autoescape=True)
CARD = jinja2.Template((Path(__file__).parent / "card.md").read_text())


def write(plan: Plan) -> tuple[str, str]:
    """Write ``report.html`` and a folder for each model; the best system, and the verdict for people.

    ``best`` leads to the best one's, where the disk has links. A model's folder has ``model.safetensors`` and its
    ``run.json``, ``compact.safetensors``, ``model.onnx``, ``temperature.json`` and ``MODEL_CARD.md``; it was trained on
    all clips, and the scores are those of the folds.
    """
    if config := _both(plan):
        for runs in zip(*(_folds(plan, system) for system in NAMES)):
            _put_together(*runs)
    results = load(plan.out / "held_out", plan.recipe)
    best, lines = judge(results, plan.kind)
    for system in results.scored:
        _models(plan, system, config)
        _take_away(plan, results.scored[system], system, lines)
    write_file(plan.out / "report.html", _page(plan, results, best, lines))
    home = _link(plan.out / "best", best)
    model = home / "model.safetensors"
    program, onnx = ".venv/bin/asc-kit" if CHECKOUT else "asc-kit", home / "model.onnx"
    allow = " --allow-code" if best == "network" and plan.final(best).config.architecture.foreign else ""
    ways = [f"Hear and see it:   {plan.out / 'report.html'}",
            f"Classify a file:   {program} predict {model} FILE{allow}",
            f"Take it with you:  {onnx if onnx.exists() else model} (and MODEL_CARD.md beside it)"]  # fmt: skip
    return best, "\n".join([*lines, "", *ways])


def judge(results: Results, kind: str) -> tuple[str, list[str]]:
    """The system of the least held-out log loss, and in sentences how good it is and how sure that is.

    Parameters
    ----------
    kind : of what the folds are drawn by, place or recording
    """
    rows = {name: scored.row() for name, scored in results.scored.items()}
    places = results.scored[SYSTEMS[0]].clips.identifier.nunique()
    best, *others = sorted(rows, key=lambda name: rows[name]["log_loss"])
    have = ", ".join(f"{NAMES[name]} has {_cell(rows[name])}" for name in others)
    lines = [f"Take {NAMES[best]}: {_cell(rows[best])} of {rows[best]['n']} clips from {kind}s it never heard; {have}."]
    if (seeds := rows["network"]["seeds"]) > 1:
        lines.append(f"The scores are means of {seeds} seeds.")
    apart = difference(results.scored[best], results.scored[others[0]])
    value, low, high = (apart[f"log_loss_difference{end}"] for end in ("", "_low", "_high"))
    less = f"; the first is lower than the second by {-value:.2f} [{-high:.2f}, {-low:.2f}]"
    losses = ", ".join(f"{NAMES[name]} {rows[name]['log_loss']:.2f}" for name in (best, *others))
    guess = np.log(len(results.classes))
    lines.append(f"The lower log loss decides (a guess has {guess:.2f}): {losses}{'' if np.isnan(low) else less}.")
    if not apart["log_loss_difference_high"] < 0:
        lines.append(f"These {kind}s cannot tell the two apart: others might turn them round.")
    if rows[best]["accuracy"] == 1:
        lines.append(f"All are right: how often it fails at others, {places} {kind}s cannot tell.")
    elif not rows[best]["accuracy_low"] > 1 / len(results.classes):
        lines.append(f"That is not shown to be better than guessing ({100 / len(results.classes):.0f} %).")
    return best, lines


def _cell(row: dict[str, Any]) -> str:
    no_interval = np.isnan(row["accuracy_low"]) or row["accuracy"] == 1
    between = "" if no_interval else f" [{row['accuracy_low']:.0%}, {row['accuracy_high']:.0%}]"
    return f"{row['accuracy']:.0%}".replace("%", " %") + between.replace("%", "")


def advice(scored: Scored, kind: str = "place") -> list[str]:
    """What would help most: places (or recordings) for classes that have few, and which classes are taken for which."""
    few = [row for row in by(scored, "scene_label") if row["places"] < FEW and row["right"] < 0.9]
    has = "it has {places}" + (" recordings" if kind == "recording" else "")
    lines = [("Record {name} at more places: " + has + ", and {right:.0%} of its clips are right.").format(**row)
             for row in few[:3]]  # fmt: skip
    counts = scored.confusion.astype(float)
    np.fill_diagonal(counts, 0)
    share = counts / np.maximum(scored.confusion.sum(1, keepdims=True), 1)
    true, taken = np.unravel_index(share.argmax(), share.shape)
    if share[true, taken] >= 0.2:
        lines.append(f"{scored.classes[true]} is taken for {scored.classes[taken]} in {share[true, taken]:.0%} of its "
                     "clips: hear them in report.html; are their labels right?")  # fmt: skip
    return [line.replace("%", " %") for line in lines]


def by(scored: Scored, column: str) -> list[dict[str, Any]]:
    """A row a class or place, the worst first."""
    groups = [{"name": name, "clips": len(rows), "places": rows.identifier.nunique(),
               "classes": ", ".join(sorted(set(rows.scene_label))), "right": rows.correct.mean()}
              for name, rows in scored.clips.groupby(column)]  # fmt: skip
    return sorted(groups, key=lambda row: row["right"])


def _wrong(plan: Plan, scored: Scored) -> list[dict[str, Any]]:
    """The clips that are wrong, the surest first, and where in which file they are heard."""
    clips = scored.clips.join(plan.corpus.table.set_index("filename")[["recording", "start"]])
    wrong, root = clips[clips.correct == 0].sort_values("loss", ascending=False), plan.corpus.root.resolve()
    return [{"file": os.path.relpath(root / row.recording, plan.folder), "true": row.scene_label, "start": row.start,
             "said": scored.classes[int(row.predicted)],
             "address": (root / row.recording).as_uri() + (f"#t={row.start}" if row.start else "")}
            for row in wrong.head(WRONG).itertuples()]  # fmt: skip


def _page(plan: Plan, results: Results, best: str, lines: list[str]) -> str:
    scored = results.scored[best]
    order = sorted(results.scored, key=lambda name: name != best)
    systems = [{"name": NAMES[name], "folder": name, **results.scored[name].row()} for name in order]
    wrong = int((scored.clips.correct == 0).sum())
    return TEMPLATE.render(
        plan=plan, lines=lines, best=NAMES[best], systems=systems, classes=by(scored, "scene_label"),
        places=_named(plan, by(scored, "identifier")), names=scored.classes, confusion=scored.confusion.tolist(),
        advice=advice(scored, plan.kind), wrong=_wrong(plan, scored), count=wrong,
    )  # fmt: skip


def _named(plan: Plan, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose names are recordings' own: from the folder on."""
    return [row | {"name": os.path.relpath(row["name"], plan.folder.resolve())} if os.path.isabs(row["name"]) else row
            for row in rows]  # fmt: skip


def _folds(plan: Plan, system: str) -> list[Run]:
    """Where a system's held-out predictions lie, seed by seed and fold by fold."""
    return [replace(run, config=replace(run.config, submission=system)) for run in plan.runs("network")[1:]]


def _both(plan: Plan) -> Config | None:
    """The configuration of `network.Both`; None where features differ, or the network is not the report's."""
    one, other = (plan.final(name).config for name in SYSTEMS)
    style = {name: value for name, value in asdict(one.architecture).items() if value != getattr(Network(), name)}
    strange = style.keys() & {"network", "options", "rows"} or one.training.float16 != "storage"
    if strange or one.features != other.features:
        return None
    return replace(one, submission=BOTH, architecture=Network(BOTH, style))


def _put_together(one: Run, other: Run, both: Run) -> None:
    """Write the held-out predictions of a fold that `network.Both` would give of its two parts."""
    parts = [run.predictions().set_index("filename").drop(columns="scene_label") for run in (one, other)]
    mean = predictions.together(*parts)
    predict.write_predictions(both.folder / "predictions.tsv", mean.reset_index(), mean.to_numpy(), tuple(mean))


def _models(plan: Plan, system: str, config: Config | None) -> None:
    """The models of a system that has heard all clips, and the ``run.json`` that tells where they come from."""
    folder, runs = plan.out / system, [plan.final(name) for name in (SYSTEMS if system == BOTH else (system,))]
    folder.mkdir(exist_ok=True)
    if system != BOTH:
        for name in ("model.safetensors", "compact.safetensors", "run.json"):
            shutil.copyfile(runs[0].folder / name, folder / name)
        return
    parts = [compact.load(run.folder / "model.safetensors") for run in runs]
    net = network.build(config, len(parts[0].classes))
    net.network, net.logistic = (part.network for part in parts)
    about = runs[0].about | {"run": BOTH, "config": config.as_dict(), "hash": config.hash}
    write_file(folder / "run.json", json.dumps(about, indent=1) + "\n")
    compact.save(net, config, parts[0].classes, folder / "model.safetensors")
    compact.save_folded(compact.load(folder / "model.safetensors"), folder / "compact.safetensors")


def _take_away(plan: Plan, scored: Scored, system: str, lines: list[str]) -> None:
    folder = plan.out / system
    model = compact.load(folder / "model.safetensors")
    _calibrate(plan, scored, model, folder)
    onnx = _export(model, folder / "model.onnx")
    row, table = scored.row(), plan.corpus.table
    text = CARD.render(plan=plan, name=NAMES[system], model=model, row=row, classes=by(scored, "scene_label"),
                       places=table.identifier.nunique(), onnx=onnx, cell=_cell(row), lines=lines,
                       least=min(1.0, plan.seconds))  # fmt: skip
    write_file(folder / "MODEL_CARD.md", text)


def _link(link: Path, name: str) -> Path:
    """The link to a folder beside it; the folder where the disk takes no links, as a memory card does."""
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(name)
    except OSError:
        return link.with_name(name)
    return link


def _export(model: compact.Model, file: Path) -> str:
    """Why there is no ONNX file; empty where there is one."""
    try:
        from asc_kit.deploy import onnx  # here: an extra of the installation

        onnx.export(model, file)
    except ModuleNotFoundError as error:
        return f"not written: {error.name} is not installed"
    except InputError as error:  # someone else's network may not allow it; it is trained, and the verdict is wanted
        file.unlink(missing_ok=True)
        return f"not written: {error}"
    return ""


def _calibrate(plan: Plan, scored: Scored, model: compact.Model, folder: Path) -> None:
    """A temperature from the folds' predictions, and the profile of all clips."""
    rows = pd.concat([run.predictions() for run in _folds(plan, scored.submission)]).set_index("filename")
    held_out, labels = rows[list(scored.classes)].to_numpy(), scored.clips.label.loc[rows.index].to_numpy()
    store, table = open_store(plan.corpus, model.config.features.sample_rate), plan.corpus.table
    predict.calibrate(model, store, torch.device("cpu"), folder, held_out, labels, table, table[:0])
