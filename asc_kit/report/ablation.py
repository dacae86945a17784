"""What each part of the recipe is worth: the ablation that the report leaves out, from predictions alone."""

from itertools import combinations
from pathlib import Path

import pandas as pd

from asc_kit.common import InputError
from asc_kit.report import predictions, tables
from asc_kit.report.evaluation import DIFFERENCES, SCORES, Results, Scored, beside, load, paired
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import differences

AS_IT_STANDS = "the recipe"


def folder(recipe: Recipe, variant: str) -> str:
    """Where the runs of a variant lie, or of the recipe `AS_IT_STANDS`."""
    return f"submission_{recipe.ablation_submission}" if variant == AS_IT_STANDS else f"ablation_{variant}"


def scores(home: Path, recipe: Recipe) -> dict[str, Scored]:
    """The scores of the recipe `AS_IT_STANDS` and of every variant that ran, by name.

    Raises
    ------
    InputError : a variant's run differs from the recipe in more than the variant declares.
    """
    found = {}
    for variant in (AS_IT_STANDS, *recipe.ablation):
        results = load(home, recipe, f"{folder(recipe, variant)}/seed_*")
        declared = variant if variant in recipe.ablation else None
        for about in sum(results.abouts.values(), []):
            config = about["config"]
            planned = recipe.config(recipe.ablation_submission, config["seed"], config["fold"], declared).as_dict()
            if differ := differences(config, planned):
                raise InputError(f"{home}: a run of {folder(recipe, variant)} differs from the recipe in "
                                 f"{', '.join(differ)}, which it does not declare; train it again")  # fmt: skip
        found |= dict(zip([variant], results.scored.values()))
    return found


def table(home: Path, recipe: Recipe, scored: dict[str, Scored]) -> pd.DataFrame:
    """The recipe's runs of its ablation's system, and each variant's.

    Differences are paired by clip, a clip's scores being means over seeds, and their intervals come from resampled
    locations.

    Returns
    -------
    variant, changes, differences from the recipe's runs, scores, n, seeds, note
    """
    rows = []
    for variant in (AS_IT_STANDS, *recipe.ablation):
        usual = scored.get(AS_IT_STANDS) if variant != AS_IT_STANDS else None
        changes = recipe.ablation.get(variant, {}).items()
        row = {"variant": variant, "changes": ", ".join(f"{k}: {'off' if v is None else v}" for k, v in changes)}
        if variant in scored:
            files = home.glob(f"{folder(recipe, variant)}/seed_*/predictions.tsv")
            row |= beside(scored[variant], usual) | {"note": predictions.missing(recipe, files)}
        else:
            row |= dict.fromkeys(SCORES, "") | {"n": 0, "seeds": 0, "note": "no run of it is there"}
        rows.append(row)
    columns = ["variant", "changes", *DIFFERENCES, *SCORES, "n", "seeds", "note"]
    return pd.DataFrame(rows).reindex(columns=columns)


def pairs(home: Path, recipe: Recipe, scored: dict[str, Scored]) -> pd.DataFrame:
    """Every two variants that ran, as `table` compares each with the recipe.

    Returns
    -------
    variant, against, n (clips), disagree (clips that one of them has right more often), differences
    """
    there = [name for name in recipe.ablation if name in scored]
    compared = paired(Results(home, recipe, (), scored), [(one, two) for two, one in combinations(there, 2)])
    return compared.rename(columns={"submission": "variant"})


def write(home: Path, recipe: Recipe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write ``tables/ablation`` and ``ablation_pairs``; returns them."""
    scored, what = scores(home, recipe), f"Ablation of submission {recipe.ablation_submission}"
    made = table(home, recipe, scored), pairs(home, recipe, scored)
    synthetic = predictions.is_synthetic(home)
    tables.write_one(made[0], home, "ablation", f"{what}.", synthetic)
    tables.write_one(made[1], home, "ablation_pairs", f"{what}, its variants against each other.", synthetic)
    return made
