"""Recipes: which runs an experiment has, on what data, and what differs from the report (``config/*.yaml``)."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from asc_kit.common.checked import fits
from asc_kit.common.errors import InputError
from asc_kit.config import MEL_BINS, OWN, PARTS, PREDICTIONS, TRAINING_VALUES, Config, build, known, path

EXPECTED = ("dataset", "clips", "training", "evaluation", "seconds", "bytes_a_sample")


@dataclass(frozen=True)
class Recipe:
    """A ``config/*.yaml``: which runs, on what data, and what differs from the report."""

    name: str
    title: str = ""
    synthetic: dict | None = None  # the demo corpus's settings, where the recipe brings its own data
    dataset_root: str | None = None
    expected: dict = field(default_factory=dict)  # what the data set holds, for the plan made before it is there
    submissions: tuple = ("baseline", "1", "2", "3", "4")
    seeds: tuple = (0,)
    fold: tuple = (1,)
    folds: int = 5  # how many are drawn where the data set brings none
    split_seed: int = 0
    features: dict = field(default_factory=dict)
    augmentation: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    baseline: dict = field(default_factory=dict)  # the same three parts again, for the baseline alone
    ablation: dict = field(default_factory=dict)  # variant -> the only values in which it differs
    ablation_submission: str = "2"  # whose variants they are
    ablation_clips: str = "evaluation"  # which compare them; validation: those held out of the training fold, to choose
    chosen_on: str | None = None  # a table whose filenames chose this recipe: the floors are met on the others, too
    beyond: list | None = None  # score in ways that the report has not (14_beyond), and through these SIMULATED devices

    def config(
        self, submission: object, seed: int = 0, fold: int = 1, variant: str | None = None, **changes: Any
    ) -> Config:
        """Resolve one run.

        Parameters
        ----------
        submission : "baseline" or 1 to 4, as in Table 7.
        seed, fold : of the run.
        variant : of the recipe's ablation; None is the recipe as it stands.
        changes : any of `TRAINING_VALUES`; None means the recipe's value.

        Raises
        ------
        InputError : unknown submission or parameter, or a value out of range.
        """
        name = str(submission)
        if name not in MEL_BINS:
            raise InputError(f"submission: {submission!r} is unknown; give one of {', '.join(MEL_BINS)}")
        if type(seed) is not int or type(fold) is not int or seed < 0 or fold < 1:
            raise InputError(f"seed, fold: {seed!r}, {fold!r}; give a seed from 0 and a fold from 1")
        known(changes, TRAINING_VALUES, "parameters")
        changes = {k: v for k, v in changes.items() if v is not None}
        if variant is not None:
            known({variant: {}}, self.ablation, "variant")
            changes = {k: "off" if v is None else v for k, v in self.ablation[variant].items()} | changes
        own = OWN.get(name, {})
        parts = {}
        for part, kind in PARTS.items():
            values = {**getattr(self, part), **own.get(part, {})}
            if name == "baseline":
                values |= self.baseline.get(part, {})
            names = [f.name for f in fields(kind)]
            values |= {k: v for k, v in changes.items() if k in names}
            if part == "features":
                if "n_mels" in values:
                    raise InputError(f"{self.name}: n_mels: follows from the submission; choose another")
                values["n_mels"] = MEL_BINS[name]
            parts[part] = build(kind, values, f"{self.name}: {part}")
        return Config(name, seed, fold, self.folds, self.split_seed, **parts)

    def configs(self) -> list[Config]:
        """Every run of the recipe, in Table 7's order."""
        return [self.config(s, k, f) for s in self.submissions for k in self.seeds for f in self.fold]

    @property
    def table_notebooks(self) -> tuple[str, ...]:
        """The notebooks that make the tables, before 12_report."""
        more = [("13_ablation", bool(self.ablation)), ("14_beyond", self.beyond is not None)]
        return ("07_mel_bins", "08_submissions", *(name for name, wanted in more if wanted))

    def variants(self) -> list[tuple[str, Config]]:
        """Every run of the ablation, besides the recipe's own; each differs only in what it declares."""
        return [(name, self.config(self.ablation_submission, k, f, name))
                for name in self.ablation for k in self.seeds for f in self.fold]  # fmt: skip


def load(recipe: str | Path, **overrides: Any) -> Recipe:
    """Read a recipe; ``overrides`` are laid over its values.

    With ``ASC_SMOKE=1`` in the environment its ``smoke`` part is laid over it, under the name ``<name>-smoke``:
    the tests run the same notebooks in seconds.

    Raises
    ------
    InputError : the file is missing, is not YAML, or holds an unknown key or value.
    """
    file = path(recipe)
    try:
        values = yaml.safe_load(file.read_text())
    except OSError:
        raise InputError(f"{file}: no such recipe; config/ holds those of the kit") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no text, or no date
        raise InputError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    known(values, {f.name for f in fields(Recipe)} | {"smoke"}, str(file))
    values = {name: value for name, value in values.items() if value is not None}  # a heading with nothing under it
    for name, hint in get_type_hints(Recipe).items():
        if name in values and not isinstance(values[name], (list, int, str) if hint is tuple else hint):
            raise InputError(f"{file}: {name}: {values[name]!r} is of the wrong kind")
    smoke = values.pop("smoke", {})
    values.setdefault("name", file.stem)
    if os.environ.get("ASC_SMOKE") == "1" and smoke:
        merged = {k: {**values.get(k, {}), **v} if isinstance(v, dict) else v for k, v in smoke.items()}
        values = {**values, **merged, "name": f"{values['name']}-smoke"}
    values |= overrides
    for name in [name for name in ("submissions", "seeds", "fold") if name in values]:
        given = values[name] if isinstance(values[name], list) else [values[name]]
        values[name] = tuple(map(str, given) if name == "submissions" else given)
        if not given or len(set(map(str, given))) < len(given):
            raise InputError(f"{file}: {name}: {given!r}; give one or more, and none twice")
    known(values.get("baseline", {}), PARTS, f"{file}: baseline")
    for part in ("baseline", "ablation"):
        for name, changes in values.get(part, {}).items():
            if not isinstance(name, str):
                raise InputError(f"{file}: {part}: YAML reads a name as {name!r}; put it in quotes")
            values[part][name] = changes or {}
            known(values[part][name], [f.name for p in PARTS.values() for f in fields(p)], f"{file}: {part}: {name}")
    result = Recipe(**values)
    if result.folds < 2 or not 0 <= result.split_seed < 2**32:
        raise InputError(
            f"{file}: folds, split_seed: {result.folds}, {result.split_seed}; give 2 or more, 0 to 2**32 - 1"
        )
    known(result.expected, EXPECTED, f"{file}: expected")
    for name in EXPECTED if result.expected else ():
        value = result.expected.get(name)
        if not (isinstance(value, str) if name == "dataset" else fits(value, float) and value > 0):
            raise InputError(f"{file}: expected: {name}: {value!r}; give dataset a name, all else a number above 0")
    if result.chosen_on and not path(result.chosen_on).is_file():
        raise InputError(
            f"{file}: chosen_on: {path(result.chosen_on)} is not there; name a table with a column filename"
        )
    known({result.ablation_clips: {}}, PREDICTIONS, f"{file}: ablation_clips")
    result.configs()  # every run is checked before any starts
    result.variants()
    from asc_kit.data.demo import DEVICES, Demo  # here: the corpus of a recipe is no part of a configuration

    known(dict.fromkeys(map(str, result.beyond or ())), DEVICES, f"{file}: beyond")
    known(result.synthetic or {}, [f.name for f in fields(Demo)], f"{file}: synthetic")
    Demo(**(result.synthetic or {}))
    return result
