"""What a run is called and where it lies; light, so that the Snakefile can ask without importing torch.

A run lies in ``<results_dir>/<experiment>/submission_<id>/seed_<k>/``; ``run.json`` is written last and says that the
run is whole.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from asc_kit import config as configuration
from asc_kit.common import InputError
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
        """A run by the notebooks' parameters; ``changes`` are settings, None meaning the recipe's.

        Without ``resume`` it starts afresh in the first experiment of that name, -2, -3 ... that is not there yet.
        """
        recipe = recipes.load(config)
        home = configuration.path(results_dir) / str(experiment or recipe.name)
        if not resume:
            homes = [home, *(home.with_name(f"{home.name}-{number}") for number in range(2, 1000))]
            home = next(home for home in homes if not home.exists())
        return cls(recipe, recipe.config(submission, seed, fold, variant, **changes), home, dataset_root, variant)

    @classmethod
    def trained(
        cls, submission: object, seed: int = 0, fold: int = 1, experiment: str | None = None,
        results_dir: str = "results", variant: str | None = None, dataset_root: str | None = None,
        config: str | None = None,
    ) -> "Run":  # fmt: skip
        """A run that is there, with the settings of its ``run.json``.

        Parameters
        ----------
        experiment : None, the recipe's name
        config : the recipe; None, the one that the run names, and the demo's where the experiment is not named either

        Raises
        ------
        InputError : there is no such run yet
        """
        recipe = None if experiment and not config else recipes.load(config or "config/demo.yaml")
        home = configuration.path(results_dir) / str(experiment or recipe.name)
        about = _read_about(home / place(submission, seed, fold, variant))
        if about is None:
            raise _missing(home / place(submission, seed, fold, variant))
        return cls(recipe or _recipe_of(home, about), Config.from_dict(about["config"]), home, dataset_root, variant)

    @property
    def folder(self) -> Path:
        """``submission_<id>/seed_<k>``, or ``ablation_<variant>/...``."""
        return self.home / place(self.config.submission, self.config.seed, self.config.fold, self.variant)

    @property
    def title(self) -> str:
        """For people: experiment, submission, seed and configuration."""
        return f"{self.home.name}/{self.folder.parent.name}/{self.folder.name}, configuration {self.config.hash}"

    @property
    def about(self) -> dict[str, Any] | None:
        """``run.json``, or None while the run is not whole."""
        return _read_about(self.folder)

    def predictions(self, name: str = "predictions") -> pd.DataFrame:
        """``predictions.tsv``: filename, scene_label, a column a class."""
        file = self.folder / f"{name}.tsv"
        if not file.exists():
            raise _missing(file)
        text = {"filename": str, "scene_label": str}  # a class may be called None or NA
        return pd.read_csv(file, sep="\t", dtype=text, keep_default_na=False)

    def refuse_other(self, fingerprint: str) -> None:
        """Raise `InputError` where the folder holds a run of another configuration or on other data."""
        about = self.about
        if about is None:
            return
        if differ := differences(Config.from_dict(about["config"]).as_dict(), self.config.as_dict()):
            name, (there, here) = next(iter(differ.items()))
            first = f"{name} is {there!r} there, {here!r} here"
            raise InputError(f"{self.folder}: holds a run of another configuration ({first}; {len(differ)} differ: "
                             f"{', '.join(differ)}); name another experiment, or give its values")  # fmt: skip
        if (there := about["data"]["fingerprint"]) != fingerprint:
            raise InputError(f"{self.folder}: holds a run on other data (fingerprint {there}, this is {fingerprint}); "
                             "name another experiment, or its own data")  # fmt: skip


def place(submission: object, seed: int, fold: int, variant: str | None = None) -> str:
    """A run's folder in its experiment; folds after the first stand in its name."""
    name = f"ablation_{variant}" if variant else f"submission_{submission}"
    return f"{name}/seed_{seed}" + (f"_fold_{fold}" if fold > 1 else "")


def _missing(place: Path) -> InputError:
    return InputError(f"{place}: no such run yet; train it with notebooks/05_train.ipynb")


def _read_about(folder: Path) -> dict[str, Any] | None:
    file = folder / "run.json"
    return json.loads(file.read_text()) if file.exists() else None


def _recipe_of(home: Path, about: dict[str, Any]) -> Recipe:
    """The recipe that a run names: the experiment's own, the kit's, or as much of it as the run's settings tell."""
    name, config = about["recipe"], about["config"]
    for file in (home / "recipe.yaml", configuration.path(f"config/{name.removesuffix('-smoke')}.yaml")):
        if file.is_file() and (recipe := recipes.load(file)).name == name:
            return recipe
    return Recipe(name, submissions=(config["submission"],), seeds=(config["seed"],), fold=(config["fold"],),
                  folds=config["folds"], split_seed=config["split_seed"])  # fmt: skip


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
