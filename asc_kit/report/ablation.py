"""What each part of the recipe is worth: the ablation that the report leaves out, from predictions alone."""

from itertools import combinations
from pathlib import Path

import pandas as pd

from asc_kit.common.errors import InputError
from asc_kit.common.files import replacing
from asc_kit.config import PREDICTIONS
from asc_kit.data.corpus import COLUMNS, Corpus
from asc_kit.report import evaluation, tables
from asc_kit.report.evaluation import DIFFERENCES, SCORES, Scored
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run, differences

AS_IT_STANDS = "the recipe"
VALIDATION = "truth_validation"


def table(home: Path, recipe: Recipe) -> pd.DataFrame:
    """The recipe's runs of its ablation's submission, and each variant's.

    Differences are paired by clip, a clip's scores being means over seeds, and their intervals come from resampled
    locations.

    Returns
    -------
    variant, changes, differences from the recipe's runs, scores, n, seeds, note

    Raises
    ------
    InputError : a variant's run differs from the recipe in more than the variant declares.
    """
    usual = _scored(home, recipe, None)
    rows = []
    for variant in (None, *recipe.ablation):
        scored = _scored(home, recipe, variant)
        changes = recipe.ablation[variant] if variant else {}
        row: dict[str, object] = {"variant": variant or AS_IT_STANDS}
        row["changes"] = ", ".join(f"{k}: {'off' if v is None else v}" for k, v in changes.items())
        if scored is None:
            row |= dict.fromkeys(SCORES, "") | {"n": 0, "seeds": 0, "note": "no run of it is there"}
        else:
            row |= scored.row() | (evaluation.difference(scored, usual) if variant and usual else {})
            every = (
                recipe.config(recipe.ablation_submission, k, f, variant) for k in recipe.seeds for f in recipe.fold
            )
            planned = [Run(recipe, one, home, variant=variant).folder for one in every]
            missing = sum(not (folder / f"{PREDICTIONS[recipe.ablation_clips]}.tsv").exists() for folder in planned)
            row["note"] = f"{missing} of {len(planned)} runs are missing" if missing else ""
        rows.append(row)
    columns = ["variant", "changes", *DIFFERENCES, *SCORES, "n", "seeds", "note"]
    return pd.DataFrame(rows).reindex(columns=columns)


def pairs(home: Path, recipe: Recipe) -> pd.DataFrame:
    """Every two variants that ran, as `table` compares each with the recipe.

    Returns
    -------
    variant, against, n (clips), disagree (clips that one of them has right more often), differences
    """
    there = {name: scored for name in recipe.ablation if (scored := _scored(home, recipe, name))}
    results = evaluation.Results(home, recipe, (), there)
    compared = evaluation.paired(results, [(one, two) for two, one in combinations(there, 2)])
    return compared.rename(columns={"submission": "variant"})


def by_device(home: Path, recipe: Recipe) -> pd.DataFrame:
    """The same by recorder, and of all recorders but the first; empty where they are not known.

    Returns
    -------
    variant, device, scores, n, seeds, differences from the recipe's runs
    """
    usual = _scored(home, recipe, None)
    rows = []
    for variant in (None, *recipe.ablation):
        scored = _scored(home, recipe, variant)
        names = evaluation.devices(scored) if scored else []
        parts = {name: [name] for name in names} | ({f"all but {names[0]}": names[1:]} if names[1:] else {})
        for device, values in parts.items():
            part = scored.where("source_label", *values)
            row = {"variant": variant or AS_IT_STANDS, "device": device} | part.row()
            if variant and usual:
                row |= evaluation.difference(part, usual.where("source_label", *values))
            rows.append(row)
    return pd.DataFrame(rows, columns=["variant", "device", *SCORES, "n", "seeds", *DIFFERENCES])


def _folder(recipe: Recipe, variant: str | None) -> str:
    return f"ablation_{variant}" if variant else f"submission_{recipe.ablation_submission}"


def _scored(home: Path, recipe: Recipe, variant: str | None) -> Scored | None:
    folder = _folder(recipe, variant)
    for file in sorted(home.glob(f"{folder}/seed_*/run.json")):
        config = evaluation.about(file)["config"]
        declared = recipe.config(recipe.ablation_submission, config["seed"], config["fold"], variant).as_dict()
        if differ := differences(config, declared):
            who = f"the variant {variant}" if variant else "it"
            raise InputError(
                f"{file.parent}: differs from the recipe in {', '.join(differ)}, which {who} does not declare; "
                "train it again"
            )
    truth = VALIDATION if recipe.ablation_clips == "validation" else "truth"
    results = evaluation.load(home, recipe, f"{folder}/seed_*", PREDICTIONS[recipe.ablation_clips], truth)
    return next(iter(results.scored.values()), None)


def write_truth(home: Path, corpus: Corpus) -> None:
    """Write ``truth_validation.tsv``: the clips that the runs held out, which ``truth.tsv`` does not have."""
    files = home.glob(f"*/seed_*/{PREDICTIONS['validation']}.tsv")
    names = {name for file in files for name in pd.read_csv(file, sep="\t").filename}
    if missing := names - set(corpus.table.filename):
        raise InputError(f"dataset_root: {corpus.root} has no {min(missing)} ({len(missing)} such clips); give the "
                         f"data that the runs of {home} were trained on")  # fmt: skip
    with replacing(home / f"{VALIDATION}.tsv") as part:
        corpus.table[corpus.table.filename.isin(names)][COLUMNS].to_csv(part, sep="\t", index=False)


def write(home: Path, recipe: Recipe) -> pd.DataFrame:
    """Write ``tables/ablation``, which is returned, ``ablation_pairs`` and, of known devices, ``ablation_devices``."""
    made, what = table(home, recipe), f"Ablation of submission {recipe.ablation_submission}"
    on = ", scored on the clips that chose each run's best epoch" if recipe.ablation_clips == "validation" else ""
    said = tables.of(evaluation.is_synthetic(home))
    tables.write_one(made, home, "ablation", f"{what}{on}.{said}")
    tables.write_one(pairs(home, recipe), home, "ablation_pairs", f"{what}{on}, its variants against each other.{said}")
    tables.write_one(by_device(home, recipe), home, "ablation_devices", f"{what}{on}, by device.{said}")
    return made
