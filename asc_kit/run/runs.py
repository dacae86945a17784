"""What a run is called and where it lies; light, so that the Snakefile can ask without importing torch.

A run lies in ``<results_dir>/<experiment>/submission_<id>/seed_<k>/``; ``run.json`` is written last and says that the
run is whole.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from asc_kit import config as configuration
from asc_kit.common.errors import InputError
from asc_kit.config import Config
from asc_kit.run import recipes
from asc_kit.run.recipes import Recipe


@dataclass(frozen=True)
class Run:
    """A submission, a seed and a fold of a recipe, and where its files lie."""

    recipe: Recipe
    config: Config
    home: Path  # the experiment's folder
    dataset_root: str | Path | None = None
    variant: str | None = None  # of the recipe's ablation

    @classmethod
    def of(
        cls, config: str, submission: object, seed: int = 0, fold: int = 1, dataset_root: str | None = None,
        experiment: str | None = None, results_dir: str = "results", resume: bool = True,
        variant: str | None = None, **changes: Any,
    ) -> "Run":  # fmt: skip
        """A run by the notebooks' parameters; ``changes`` are training values, None meaning the recipe's.

        Without ``resume`` it starts afresh in the first experiment of that name, -2, -3 ... that is not there yet.
        """
        recipe = recipes.load(config)
        home = configuration.path(results_dir) / str(experiment or recipe.name)
        if not resume:
            homes = [home, *(home.with_name(f"{home.name}-{number}") for number in range(2, 1000))]
            home = next(home for home in homes if not home.exists())
        return cls(recipe, recipe.config(submission, seed, fold, variant, **changes), home, dataset_root, variant)

    @property
    def folder(self) -> Path:
        """``submission_<id>/seed_<k>``, or ``ablation_<variant>/``; folds after the first stand in its name."""
        fold = f"_fold_{self.config.fold}" if self.config.fold > 1 else ""
        name = f"ablation_{self.variant}" if self.variant else f"submission_{self.config.submission}"
        return self.home / name / f"seed_{self.config.seed}{fold}"

    @property
    def title(self) -> str:
        """For people: experiment, submission, seed and configuration."""
        return f"{self.home.name}/{self.folder.parent.name}/{self.folder.name}, configuration {self.config.hash}"

    @property
    def about(self) -> dict[str, Any] | None:
        """``run.json``, or None while the run is not whole."""
        file = self.folder / "run.json"
        return json.loads(file.read_text()) if file.exists() else None

    def predictions(self, name: str = "predictions") -> pd.DataFrame:
        """``predictions.tsv``: filename, scene_label, a column a class."""
        file = self.folder / f"{name}.tsv"
        if not file.exists():
            raise InputError(f"{file}: no such run yet; train it with notebooks/05_train.ipynb")
        text = {"filename": str, "scene_label": str}  # a class may be called None or NA
        return pd.read_csv(file, sep="\t", dtype=text, keep_default_na=False)

    def refuse_other(self) -> None:
        """Raise `InputError` where the folder holds a run of another configuration; its first difference is named."""
        if self.about is None:
            return
        differ = differences(Config.from_dict(self.about["config"]).as_dict(), self.config.as_dict())
        if differ:
            name, (there, here) = next(iter(differ.items()))
            first = f"{name} is {there!r} there, {here!r} here"
            raise InputError(f"{self.folder}: holds a run of another configuration ({first}; {len(differ)} differ: "
                             f"{', '.join(differ)}); name another experiment, or give its values")  # fmt: skip


def check_parameters(history: list[str]) -> None:
    """Refuse an injected parameter that a notebook does not have; papermill itself only warns.

    Parameters
    ----------
    history : IPython's ``In``
    """
    injected = [i for i, cell in enumerate(history) if cell.startswith("# Parameters\n")]
    if injected and injected[-1] > 0:
        known, given = (
            set(re.findall(r"^(\w+)\s*(?::[^=]+)?=", history[i], re.M)) for i in (injected[-1] - 1, injected[-1])
        )
        if given - known:
            raise InputError(
                f"parameters: unknown {', '.join(sorted(given - known))}; known are {', '.join(sorted(known))}"
            )


def differences(one: dict[str, Any], two: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings in which two configurations differ, ``part.key`` -> both values."""
    one, two = flat(one), flat(two)
    both = {key: (one.get(key), two.get(key)) for key in sorted(one.keys() | two.keys())}
    return {key: (here, there) for key, (here, there) in both.items() if here != there}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``part.key``."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out
