"""Every choice of an experiment, frozen, with the report's value as its default.

A recipe (``config/*.yaml``) holds only what differs from the defaults below. A run is one submission, one seed
and one fold of a recipe; its identity is the hash of its resolved configuration. Where the report is silent the
field's comment says "open".
"""

import ast
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import yaml

from asc_kit.checked import Checked, at_least, between, fits
from asc_kit.errors import InputError

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]  # relative paths count from here, wherever a kernel starts
MEL_BINS = {"baseline": 40, "1": 32, "2": 64, "3": 128, "4": 160}  # submission -> M, Table 7
FLOORS = ("logistic", "svm")  # what a network must beat: scikit-learn's on log-mel statistics
MEL_BINS |= dict.fromkeys(FLOORS, 64)


def path(name: str | Path) -> Path:
    """``name`` as a path; a relative one counts from the repository's root."""
    return ROOT / Path(name).expanduser()


def cache() -> Path:
    """Where derived data lies: ``$ASC_CACHE``, or ``.cache`` in the repository."""
    return path(os.environ.get("ASC_CACHE") or ".cache")


def digest(*texts: str) -> str:
    """Twelve hexadecimal digits that name the texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def generator(seed: int, *names: object) -> "torch.Generator":
    """A random generator of its own for each purpose, so that adding one never shifts the others."""
    import torch  # here, so that reading a recipe does not take the seconds of its import

    name = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(name[:8], "little") >> 1)


@dataclass(frozen=True)
class Features(Checked):
    """Log-mel spectrogram (Section 2.1)."""

    sample_rate: int = at_least(8000, 44100)  # Hz; "we do not use resampling"
    window: int = at_least(2, 2760)  # samples
    hop: int = at_least(1, 690)  # samples; 75 % overlap
    n_fft: int | None = None  # samples, open: None means the window, unpadded
    window_function: Literal["hann", "hamming"] = "hann"
    power: Literal[1, 2] = 2  # open: 2 = power spectrum, 1 = magnitude
    n_mels: int = at_least(1, 160)
    f_min: float = at_least(0, 10.0)  # Hz
    f_max: float = at_least(1, 16000.0)  # Hz
    mel_scale: Literal["slaney", "htk"] = "slaney"  # open
    mel_norm: Literal["slaney", None] = "slaney"  # open; only shifts a bin, which the first batch norm absorbs
    log: Literal["db", "ln"] = "db"  # 10 log10 max(x, amin), or ln(x + amin)
    amin: float = at_least(1e-30, 1e-10)  # open: floor of the power
    top_db: float | None = at_least(1, None)  # open: floor below a clip's maximum, dB
    last_frame: bool = True  # the frame centred on the clip's end: 640 = 1 + 441000 // 690
    axis_order: Literal["time_frequency", "frequency_time"] = "time_frequency"  # open: how Table 1's strides read

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.f_min >= self.f_max or self.f_max > self.sample_rate / 2:
            raise InputError(f"f_max: {self.f_max} Hz must lie above f_min and at most at half the sample rate")
        if self.n_fft is not None and self.n_fft < self.window:
            raise InputError(f"n_fft: {self.n_fft} is shorter than the window of {self.window}; leave it None")

    def frames(self, samples: int) -> int:
        """Frames of a clip of ``samples`` samples."""
        return samples // self.hop + self.last_frame


@dataclass(frozen=True)
class Augmentation(Checked):
    """Section 2.2; alpha and the crop are the report's, the rest is open or goes beyond it."""

    crop_seconds: float | None = at_least(0.1, 8.0)  # None: whole clips
    mixup: Literal["modified", "standard", None] = "modified"
    mixup_alpha: float = between(1e-3, 1e3, 0.6)
    mixup_domain: Literal["waveform", "log_mel"] = "waveform"  # open: what is mixed; [5] and ERANN mix waveforms
    mixup_partner: Literal["any", "other_class"] = "any"  # open
    time_masks: int = at_least(0, 2)  # SpecAugment, as PANNs
    mel_masks: int = at_least(0, 2)
    mask_fraction: float = between(0, 1, 0.125)  # widest mask: 64 of 512 frames, M / 8 bins
    mask_fill: Literal["mean", "zero"] = "mean"
    # Beyond the report, off as it comes
    roll: bool = False  # a crop begins anywhere in itself
    gain_db: float | None = at_least(0, None)  # louder or softer by up to so much
    device_response: float | None = between(0, 1, None)  # share of clips heard through a made-up device [theMoro]
    response_db: float = at_least(0, 6.0)  # standard deviation of its response in each octave
    mixstyle: float | None = between(0, 1, None)  # share of batches with Freq-MixStyle
    mixstyle_alpha: float = between(1e-3, 1e3, 0.3)


@dataclass(frozen=True)
class Training(Checked):
    """Section 3.1."""

    epochs: int = at_least(1, 500)  # "max epochs of 500"
    schedule_epochs: int | None = at_least(1, None)  # open: length of the one cycle, then its last rate; None: epochs
    batch_size: int = at_least(2, 64)
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    max_lr: float = between(1e-9, 10, 0.01)
    weight_decay: float = at_least(0, 0.01)  # AdamW's standard
    cycle_momentum: bool = False  # open: "standard parameters" argues against cycling beta1
    ema_decay: float | None = between(0, 0.999999, 0.999)  # None: the raw weights
    ema_warmup: bool = True  # open: min(decay, (1 + n) / (10 + n)), or short runs report the random start
    ema_buffers: bool = True  # open: batch norms' running statistics are averaged too, or the last ones taken
    selection: Literal["validation", "test", "none"] = "validation"  # open: what early stopping watches
    validation_fraction: float = between(0.05, 0.9, 0.15)  # of the training fold, by location
    training_devices: str | None = None  # beyond the report: train on these alone, "a" or "a,b"
    watch: Literal["log_loss", "accuracy"] = "log_loss"  # open
    patience: int | None = at_least(1, 100)  # open: epochs without a better value; None: the whole schedule
    best_after: int = at_least(0, 0)  # epochs before which no epoch is taken as the best
    precision: Literal["float32", "bfloat16"] = "float32"  # autocast; the weights stay float32
    float16: Literal["storage", "arithmetic"] = "storage"  # open: scoring in float32 on stored halves, or in float16
    threads: int = at_least(1, 1)  # two single-thread runs beat one with two threads
    device: Literal["auto", "cpu", "cuda"] = "auto"


# The 2021 baseline's own features and recipe [18], read in its repository's task1a.yaml and dcase_util.
BASELINE = {
    "features": dict(window=1764, hop=882, n_fft=2048, window_function="hamming", power=1, f_min=0.0,
                     f_max=22050.0, log="ln", amin=2.0**-52, last_frame=False),
    "augmentation": dict(crop_seconds=None, mixup=None, time_masks=0, mel_masks=0),
    "training": dict(epochs=200, batch_size=16, optimizer="adam", schedule="constant", max_lr=1e-3,
                     weight_decay=0.0, ema_decay=None, validation_fraction=0.3, watch="accuracy", patience=None,
                     best_after=50),
}  # fmt: skip
OWN = {"baseline": BASELINE} | {name: {"training": dict(selection="none")} for name in FLOORS}
PARTS = {"features": Features, "augmentation": Augmentation, "training": Training}
# The modules that a run's numbers depend on.
CODE = ("features", "augmentations", "blocks", "kernels", "network", "trainer", "metrics", "reference", "experiment",
        "data/audio", "data/corpus", "data/gains", "data/store", "deploy/compact", "deploy/folding",
        "deploy/predict")  # fmt: skip
PREDICTIONS = {"evaluation": "predictions", "validation": "predictions_validation"}  # a run's files, by clips
EXPECTED = ("dataset", "clips", "training", "evaluation", "seconds", "bytes_a_sample")
# What a notebook or the command line may change one by one.
TRAINING_VALUES = tuple(f.name for part in (Training, Augmentation) for f in fields(part))


@dataclass(frozen=True)
class Config:
    """One run, resolved: all that its numbers depend on besides data and code."""

    submission: str
    seed: int
    fold: int
    folds: int  # how many are drawn where the data set brings no split
    split_seed: int  # what they and the validation part are drawn from, whatever the run's seed
    features: Features
    augmentation: Augmentation
    training: Training

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, for JSON."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name this configuration."""
        return digest(json.dumps(self.as_dict(), sort_keys=True))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The inverse of `as_dict`; unknown keys raise."""
        parts = {name: _build(part, values[name], name) for name, part in PARTS.items()}
        return cls(**{k: values[k] for k in ("submission", "seed", "fold", "folds", "split_seed")}, **parts)


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    _known(values, [f.name for f in fields(kind)], where)
    hints = get_type_hints(kind)
    return kind(**{name: _read(value, hints[name]) for name, value in values.items()})


def _read(value: Any, hint: Any) -> Any:
    """The word off (which YAML reads as False) turns off what may be None; YAML reads 1e-3 as text."""
    if (value == "off" or value is False) and fits(None, hint):
        return None
    if isinstance(value, str) and fits(0.5, hint):
        with suppress(ValueError):
            return float(value)
    return value


def _known(values: Any, names: Any, where: str) -> None:
    if not isinstance(values, dict):
        raise InputError(f"{where}: holds {values!r}; give names and values")
    for name in values:
        if name not in names:
            raise InputError(f"{where}: unknown parameter {name!r}; known are {', '.join(sorted(names))}")


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
        _known(changes, TRAINING_VALUES, "parameters")
        changes = {k: v for k, v in changes.items() if v is not None}
        if variant is not None:
            _known({variant: {}}, self.ablation, "variant")
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
            parts[part] = _build(kind, values, f"{self.name}: {part}")
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
    _known(values, {f.name for f in fields(Recipe)} | {"smoke"}, str(file))
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
    _known(values.get("baseline", {}), PARTS, f"{file}: baseline")
    for part in ("baseline", "ablation"):
        for name, changes in values.get(part, {}).items():
            values[part][name] = changes or {}
            _known(values[part][name], [f.name for p in PARTS.values() for f in fields(p)], f"{file}: {part}: {name}")
    result = Recipe(**values)
    if result.folds < 2 or result.split_seed < 0:
        raise InputError(f"{file}: folds, split_seed: {result.folds}, {result.split_seed}; give 2 or more, 0 or more")
    _known(result.expected, EXPECTED, f"{file}: expected")
    for name in EXPECTED if result.expected else ():
        value = result.expected.get(name)
        if not (isinstance(value, str) if name == "dataset" else fits(value, float) and value > 0):
            raise InputError(f"{file}: expected: {name}: {value!r}; give dataset a name, all else a number above 0")
    _known({result.ablation_clips: {}}, PREDICTIONS, f"{file}: ablation_clips")
    result.configs()  # every run is checked before any starts
    result.variants()
    from asc_kit.data.demo import DEVICES, Demo  # here: the corpus of a recipe is no part of a configuration

    _known(dict.fromkeys(map(str, result.beyond or ())), DEVICES, f"{file}: beyond")
    _known(result.synthetic or {}, [f.name for f in fields(Demo)], f"{file}: synthetic")
    Demo(**(result.synthetic or {}))
    return result


def code_digest(*modules: str) -> str:
    """Hash of what the named modules of asc_kit do: comments, docstrings and layout do not count."""
    trees = []
    for module in modules:
        tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                if isinstance(getattr(body[0], "value", None), ast.Constant):
                    node.body = body[1:]
        trees.append(ast.dump(tree))
    return digest(*trees)
