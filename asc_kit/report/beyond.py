"""What the report does not have, from predictions alone: other ways of scoring, ensembles, simulated devices."""

import itertools
from dataclasses import replace
from pathlib import Path

import pandas as pd

from asc_kit.data.demo import DEVICES
from asc_kit.report import predictions, tables
from asc_kit.report.evaluation import DIFFERENCES, NETWORKS, SCORES, Scored, beside, combined, load
from asc_kit.run.recipes import Recipe

ALONE = "alone"
COLUMNS = ["way", "submission", "size_kb", *SCORES, "n", "seeds", *DIFFERENCES]


def ways(home: Path, recipe: Recipe) -> pd.DataFrame:
    """Each network alone, over crops, as the mean of its seeds; and the report's four together.

    Differences are from the network alone, of the four from submission 4 alone, paired by clip, a clip's scores being
    means over seeds.

    Returns
    -------
    way, submission, size_kb (of all networks that it takes), scores, n, seeds, differences
    """
    results = load(home, recipe)
    over_crops = load(home, recipe, name="predictions_crops").scored
    sizes = {name: tables.size_kb(results, name) for name in results.ran("network")}
    rows = []
    for name, size in sizes.items():
        alone, seeds = results.scored[name], len(results.scored[name].seeds)
        weights = load(home, recipe, f"averaged_{name}/seed_*").scored.get(f"averaged_{name}")
        mean = combined(home, (name,), _mean, over_seeds=True) if seeds > 1 else None
        probabilities = f"mean of its {seeds} seeds' probabilities"
        rows += [_row(ALONE, name, size, alone), _row("mean over crops", name, size, over_crops.get(name), alone),
                 _row("mean of its seeds' weights", name, size, weights, alone),
                 _row(probabilities, name, size and seeds * size, mean, alone)]  # fmt: skip
    if sizes.keys() >= set(NETWORKS) and (mean := combined(home, NETWORKS, _mean)):
        fourth = results.scored["4"]
        same = replace(fourth, seeds={seed: fourth.seeds[seed] for seed in mean.seeds})
        size = sum(sizes[name] for name in NETWORKS)
        rows.append(_row("mean of the four's probabilities, against 4 alone", "1 to 4", size, mean, same))
    return pd.DataFrame([row for row in rows if row]).reindex(columns=COLUMNS)


def simulated(home: Path, recipe: Recipe) -> pd.DataFrame:
    """Each network on its clips as SIMULATED devices would have recorded them, beside the clips as they are.

    Returns
    -------
    submission, device, scores, n, seeds, differences from the clips as they are
    """
    rows, usual = [], load(home, recipe)
    through = {name: load(home, recipe, name=f"predictions_simulated_{name}").scored for name in DEVICES}
    for name, device in itertools.product(usual.ran("network"), DEVICES):
        if scored := through[device].get(name):
            rows.append({"submission": name, "device": device} | beside(scored, usual.scored[name]))
    return pd.DataFrame(rows, columns=["submission", "device", *SCORES, "n", "seeds", *DIFFERENCES])


def write(home: Path, recipe: Recipe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write ``tables/beyond`` and ``tables/simulated_devices``, csv and md; returns them."""
    made = ways(home, recipe), simulated(home, recipe)
    synthetic = predictions.is_synthetic(home)
    tables.write_one(made[0], home, "beyond", "Beyond the report: other ways to score, and ensembles.", synthetic)
    tables.write_one(made[1], home, "simulated_devices", "Evaluation clips through SIMULATED devices.", synthetic)
    return made


def _row(way: str, name: str, size: float | str, scored: Scored | None, usual: Scored | None = None) -> dict | None:
    if scored is None:
        return None
    return {"way": way, "submission": name, "size_kb": size} | beside(scored, usual)


def _mean(*parts: pd.DataFrame) -> pd.DataFrame:
    return sum(parts) / len(parts)
