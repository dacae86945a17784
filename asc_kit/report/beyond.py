"""What the report does not have, from predictions alone: other ways of scoring, ensembles, simulated devices."""

import itertools
from dataclasses import replace
from pathlib import Path

import pandas as pd

from asc_kit.common import InputError
from asc_kit.data.demo import DEVICES
from asc_kit.report import predictions, tables
from asc_kit.report.evaluation import DIFFERENCES, NETWORKS, SCORES, Scored, beside, load
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
        mean = _mean(home, (name,), over_seeds=True) if seeds > 1 else None
        probabilities = f"mean of its {seeds} seeds' probabilities"
        rows += [_row(ALONE, name, size, alone), _row("mean over crops", name, size, over_crops.get(name), alone),
                 _row("mean of its seeds' weights", name, size, weights, alone),
                 _row(probabilities, name, size and seeds * size, mean, alone)]  # fmt: skip
    if sizes.keys() >= set(NETWORKS) and (mean := _mean(home, NETWORKS, over_seeds=False)):
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


def _mean(home: Path, names: tuple[str, ...], over_seeds: bool) -> Scored | None:
    """The scores of several networks' mean probabilities: of every seed that all have, or of all seeds together.

    Raises
    ------
    InputError : the networks of a seed and fold scored different clips.
    """
    truth = predictions.read_truth(home / "truth.tsv")
    groups: dict[tuple[int, int], list[Path]] = {}
    for file in sorted(file for name in names for file in home.glob(f"submission_{name}/seed_*/predictions.tsv")):
        seed, fold = predictions.place(file)
        groups.setdefault((0 if over_seeds else seed, fold), []).append(file)
    seeds: dict[int, list[pd.DataFrame]] = {}
    needed = max(map(len, groups.values())) if over_seeds else len(names)
    for (seed, _), files in sorted(groups.items()):
        if len(files) == needed:  # else a run of it is missing
            parts = [predictions.read_probabilities(file, truth) for file in files]
            for file, part in zip(files, parts):
                if not part.index.equals(parts[0].index):
                    raise InputError(f"{file}: has other clips than {files[0]}; their probabilities have no mean")
            mean = sum(parts) / len(parts)
            seeds.setdefault(seed, []).append(predictions.score_table(mean, truth, files[0]))
    return Scored("mean", {seed: pd.concat(folds) for seed, folds in seeds.items()}) if seeds else None
