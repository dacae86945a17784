"""Recipes: which runs an experiment has, on what data, and what differs from the report (``config/*.yaml``)."""

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from asc_kit.common import InputError
from asc_kit.common.checked import Checked, at_least, between, fits
from asc_kit.config import FLOORS, PARTS, SETTINGS, SYSTEMS, Config, Demo, Network, build, known, path
from asc_kit.data.check import DEVICES

EXPECTED = ("dataset", "clips", "training", "evaluation", "seconds", "bytes_a_sample")


@dataclass(frozen=True)
class Recipe(Checked):
    """A ``config/*.yaml``: which runs, on what data, and what differs from the report."""

    name: str
    title: str = ""
    synthetic: dict | None = None  # the demo corpus's settings, where the recipe brings its own data
    dataset_root: str | None = None
    responses: str | None = None  # for systems with device_response: a folder of microphones', or its identity
    expected: dict = field(default_factory=dict)  # what the data set holds, for the plan made before it is there
    submissions: tuple = ("baseline", "1", "2", "3", "4")
    seeds: tuple = (0,)
    fold: tuple = (1,)
    folds: int = at_least(2, 5)  # how many are drawn where the data set brings none
    split_seed: int = between(0, 2**32 - 1, 0)
    split: Literal["given", "drawn", "recording", "all"] = "given"  # `asc_kit.data.corpus.read` has what they mean
    features: dict = field(default_factory=dict)
    augmentation: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    systems: dict = field(default_factory=dict)  # name -> settings: systems of its own, or what differs in a known one
    ablation: dict = field(default_factory=dict)  # variant -> the only values in which it differs
    ablation_submission: str = "2"  # whose variants they are
    chosen_on: str | None = None  # a table whose filenames chose this recipe: the floors are met on the others, too
    beyond: list | None = None  # score in ways that the report has not (14_beyond), and through these SIMULATED devices

    def config(
        self, submission: object, seed: int = 0, fold: int = 1, variant: str | None = None, **changes: Any
    ) -> Config:
        """Resolve one run.

        Parameters
        ----------
        submission : a system's name: 1 to 4, baseline, logistic, svm, or one of `systems`
        seed, fold : of the run.
        variant : of the recipe's ablation; None is the recipe as it stands.
        changes : any of `SETTINGS`; None means the recipe's value.

        Raises
        ------
        InputError : unknown submission or parameter, or a value out of range.
        """
        name = str(submission)
        if type(seed) is not int or type(fold) is not int or seed < 0 or fold < 1:
            raise InputError(f"seed, fold: {seed!r}, {fold!r}; give a seed from 0 and a fold from 1")
        values = {**self.features, **self.augmentation, **self.training, **self.system(name)}
        if variant is not None:
            known({variant: {}}, self.ablation, "variant")
            values |= {k: "off" if v is None else v for k, v in self.ablation[variant].items()}
        known(changes, SETTINGS, "parameters")
        values |= {k: v for k, v in changes.items() if v is not None}
        heard = values.get("device_response", "off") not in ("off", False, None)
        if self.responses and heard:
            values.setdefault("responses", self.responses)
        if values.get("responses", "off") not in ("off", False):
            if not heard and (changes.get("responses") or "device_response" not in values):
                raise InputError("responses: without device_response no clip is heard through them; give it, too, such "
                                 "as device_response=0.8")  # fmt: skip
            from asc_kit.data import responses  # here: it reads sound

            values["responses"] = responses.identity(values["responses"]) if heard else "off"
        parts = {}
        for part, kind in PARTS.items():
            of_part = {key: value for key, value in values.items() if SETTINGS[key] == part}
            parts[part] = build(kind, of_part, f"{self.name}: {name}: {part}")
        if parts["architecture"].logistic and not parts["augmentation"].device_response:
            raise InputError(f"{self.name}: {name}: device_response: the network hears no microphone, and its logistic "
                             "regression does (options: logistic); give it to both or to neither")  # fmt: skip
        return Config(name, seed, fold, self.folds, self.split_seed, **parts, split=self.split)

    def system(self, name: str) -> dict[str, Any]:
        """A system's own settings, those of the recipe before the kit's; `InputError` where there is none such."""
        if name not in self.names:
            raise InputError(f"submission: {name!r} is unknown; give one of {', '.join(self.names)}")
        own = SYSTEMS.get(name, {}) | self.systems.get(name, {})
        if own.get("network", "report") == "report":  # whose options are settings
            own |= own.pop("options", {})
            known(own, SETTINGS, f"{self.name}: systems: {name}: options")
        return own

    @property
    def names(self) -> tuple[str, ...]:
        """Every system that it knows."""
        return tuple(SYSTEMS | self.systems)

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
        raise InputError(f"{file}: no such recipe; config/ of the repository holds the kit's") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no text, or no date
        raise InputError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    known(values, {f.name for f in fields(Recipe)} | {"smoke"}, str(file))
    values = {"name": file.stem} | {name: value for name, value in values.items() if value is not None}
    smoke = values.pop("smoke", {})
    if os.environ.get("ASC_SMOKE") == "1" and smoke:
        merged = {k: {**values.get(k, {}), **v} if isinstance(v, dict) else v for k, v in smoke.items()}
        values = {**values, **merged, "name": f"{values['name']}-smoke"}
    try:
        return _checked(values | overrides, file.parent)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def _checked(values: dict[str, Any], folder: Path) -> Recipe:
    """The recipe of these values, which lie in a file of ``folder``."""
    for name in [name for name in ("submissions", "seeds", "fold") if name in values]:
        given = values[name] if isinstance(values[name], list) else [values[name]]
        values[name] = tuple(map(str, given) if name == "submissions" else given)
        if not given or len(set(map(str, given))) < len(given):
            raise InputError(f"{name}: {given!r}; give one or more, and none twice")
    recipe = Recipe(**values)
    for part in ("features", "augmentation", "training"):  # n_mels is a system's
        known(getattr(recipe, part), [n for n, of in SETTINGS.items() if of == part and n != "n_mels"], part)
    for part, named in {"systems": recipe.systems, "ablation": recipe.ablation}.items():
        for name in named:
            if not re.fullmatch(r"\w[\w.-]*", str(name)) or not isinstance(name, str):
                raise InputError(f"{part}: {name!r} names a folder; give letters, digits, _ . or -, a number in quotes")
            named[name] = named[name] or {}
            known(named[name], SETTINGS, f"{part}: {name}")
    expected = recipe.expected
    numbers = [value for name, value in expected.items() if name != "dataset"]
    if expected and (set(expected) != set(EXPECTED) or not all(fits(n, float) and n > 0 for n in numbers)):
        raise InputError(f"expected: {expected}; give {', '.join(EXPECTED)}: the first a name, others above 0")
    if recipe.chosen_on and not path(recipe.chosen_on).is_file():
        raise InputError(f"chosen_on: {path(recipe.chosen_on)} is not there; name a table with a column filename")
    known(dict.fromkeys(map(str, recipe.beyond or ())), DEVICES, "beyond")
    build(Demo, recipe.synthetic or {}, "synthetic")
    _check_networks(folder, [*recipe.configs(), *(config for _, config in recipe.variants())])
    return recipe


def _check_networks(folder: Path, configs: list[Config]) -> None:
    """Build every network that is not the kit's own, before any run starts."""
    usual = [Network(), Network("baseline"), *map(Network, FLOORS)]
    for name, config in {c.submission: c for c in configs if c.architecture not in usual}.items():
        from asc_kit import network  # here: a recipe of the kit's own networks is read without torch

        network.trust(config.architecture.network, folder)
        try:
            network.probe(config)
        except InputError as error:
            raise InputError(f"systems: {name}: {error}") from None
