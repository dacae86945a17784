"""Every choice of an experiment, frozen, with the report's value as its default.

A recipe (`asc_kit.run.recipes`) holds only what differs from the defaults below. A run is one submission, one seed
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

from asc_kit.common import InputError
from asc_kit.common.checked import Checked, at_least, between, fits, later

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = (ROOT / "Snakefile").is_file()  # else the package is installed alone
STYLE = ("expansion", "squeeze_excite", "activation", "relative", "dropout")  # of the report's network, Table 1 aside
MICROPHONE = ("device_response", "response_db", "device_limits")  # what two parts of a model may hear differently
FLOORS = ("logistic", "svm")  # what a network must beat: scikit-learn's on log-mel statistics


def path(name: str | Path) -> Path:
    """``name`` as a path.

    A relative one counts from the repository's root, wherever a kernel starts; installed, from the current folder.
    """
    return (ROOT if CHECKOUT else Path.cwd()) / Path(name).expanduser()


def cache() -> Path:
    """Where derived data lies: ``$ASC_CACHE``, or ``.cache`` in the repository; installed, the user's cache folder."""
    if CHECKOUT or os.environ.get("ASC_CACHE"):
        return path(os.environ.get("ASC_CACHE") or ".cache")
    import platformdirs  # here: the Snakefile does without it

    return platformdirs.user_cache_path("asc_kit", appauthor=False)


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
    mixup_alpha: float = between(1e-2, 1e3, 0.6)  # below, the draws lose their ends
    mixup_domain: Literal["waveform", "log_mel"] = "waveform"  # open: what is mixed; [5] and ERANN mix waveforms
    mixup_partner: Literal["any", "other_class"] = "any"  # open
    time_masks: int = at_least(0, 2)  # SpecAugment, as PANNs
    mel_masks: int = at_least(0, 2)
    mask_fraction: float = between(0, 1, 0.125)  # widest mask: 64 of 512 frames, M / 8 bins
    mask_fill: Literal["mean", "zero"] = "mean"
    # Beyond the report, off as it comes
    roll: bool = False  # a crop begins anywhere in itself
    gain_db: float | None = at_least(0, None)  # louder or softer by up to so much
    device_response: float | None = between(0, 1, None)  # share of clips heard through another microphone [theMoro]
    responses: str | None = later(None)  # a folder of measured ones; None: made up by response_db alone
    response_db: float = at_least(0, 6.0)  # deviation in each octave of what is made up, on a measured one, too
    device_limits: bool = later(False)  # such a microphone cuts low and high, compresses and hisses, too
    balanced_devices: bool = later(False)  # every device of the training clips as often as any other
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
    validation_fraction: float = between(0.05, 0.9, 0.15)  # open: of the training fold, by location
    training_devices: str | None = None  # beyond the report: train on these alone, "a" or "a,b"
    watch: Literal["log_loss", "accuracy"] = "log_loss"  # open
    patience: int | None = at_least(1, 100)  # open: epochs without a better value; None: the whole schedule
    best_after: int = at_least(0, 0)  # epochs before which no epoch is taken as the best
    precision: Literal["float32", "bfloat16"] = "float32"  # autocast, where the processor has it; weights stay float32
    float16: Literal["storage", "arithmetic"] = "storage"  # open: scoring in float32 on stored halves, or in float16
    label_smoothing: float = later(0.0, 0, 0.9)  # beyond the report: this much of a label spread over all classes
    threads: int = at_least(1, 1)  # two single-thread runs beat one with two threads
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class Network(Checked):
    """Section 2.3: the report's network, in what may differ from Table 1; or a class of anyone's."""

    network: str = "report"  # or baseline, logistic, svm, both, or package.module:Class
    options: dict = field(default_factory=dict)  # what such a class is called with, besides n_mels and n_classes
    rows: list | None = None  # of Table 1, each block, repeats, stride, kernel, channels; None: the report's
    expansion: int = at_least(1, 4)
    squeeze_excite: bool = True
    activation: Literal["swish", "relu", "hardswish"] = "swish"
    relative: float = later(0.0, 0, 1)  # beyond the report: share of a clip's mean taken from each mel bin
    dropout: float = later(0.0, 0, 0.9)  # beyond the report: before the classifier

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network == "both":
            known(self.options, (*STYLE, "logistic"), "options")
            Network(**self.style)
            known(self.logistic, MICROPHONE, "options: logistic")
            build(Augmentation, self.logistic, "options: logistic")
        own = [f.name for f in fields(self) if f.name not in ("network", "options")]
        if self.network != "report" and (strange := [n for n in own if getattr(self, n) != getattr(Network, n)]):
            raise InputError(f"{strange[0]}: is the report's network's, not {self.network}'s; give it under options")

    @property
    def style(self) -> dict[str, Any]:
        """Of the report's network in both."""
        return {name: value for name, value in self.options.items() if name != "logistic"}

    @property
    def logistic(self) -> dict[str, Any]:
        """How the microphones differ that the logistic regression in both hears."""
        return self.options.get("logistic", {}) if self.network == "both" else {}

    @property
    def foreign(self) -> bool:
        """Whether it is a class of someone else's."""
        return ":" in self.network


PARTS = {"features": Features, "architecture": Network, "augmentation": Augmentation, "training": Training}
SETTINGS = {f.name: part for part, kind in PARTS.items() for f in fields(kind)}  # -> its part; no name is in two

# The systems that every recipe knows, by name: what differs from the defaults above. 1 to 4 are Table 7's.
SYSTEMS: dict[str, dict[str, Any]] = {
    "logistic": {"network": "logistic", "n_mels": 64, "selection": "none"},
    "svm": {"network": "svm", "n_mels": 64, "selection": "none"},
    # The 2021 baseline's own features and recipe [18], read in its repository's task1a.yaml and dcase_util.
    "baseline": {
        "network": "baseline", "n_mels": 40, "window": 1764, "hop": 882, "n_fft": 2048, "window_function": "hamming",
        "power": 1, "f_min": 0.0, "f_max": 22050.0, "log": "ln", "amin": 2.0**-52, "last_frame": False,
        "crop_seconds": None, "mixup": None, "time_masks": 0, "mel_masks": 0,
        "epochs": 200, "batch_size": 16, "optimizer": "adam", "schedule": "constant", "max_lr": 1e-3,
        "weight_decay": 0.0, "ema_decay": None, "validation_fraction": 0.3, "watch": "accuracy", "patience": None,
        "best_after": 50,
    },
    "1": {"n_mels": 32}, "2": {"n_mels": 64}, "3": {"n_mels": 128}, "4": {"n_mels": 160},
}  # fmt: skip
# The modules that a run's numbers depend on.
CODE = (
    "features", "augmentations", "blocks", "network", "trainer", "metrics", "beyond", "kernels", "data/audio",
    "data/containers", "data/corpus", "data/gains", "data/responses", "data/store", "deploy/calibration",
    "deploy/compact", "deploy/folding", "deploy/predict", "run/checkpoint", "run/data", "run/floors", "run/experiment",
)  # fmt: skip


@dataclass(frozen=True)
class Demo(Checked):
    """The SYNTHETIC corpus (`asc_kit.data.demo`); its size is that of the training fold unless it says evaluation.

    Parameters
    ----------
    seed : of every random number
    seconds : length of a clip
    locations, evaluation_locations : places per scene class; none stands on both sides
    segments, evaluation_segments : scenes per place
    """

    seed: int = at_least(0, 2021)
    seconds: float = at_least(0.1, 10.0)
    locations: int = at_least(1, 8)
    segments: int = at_least(1, 4)
    evaluation_locations: int = at_least(1, 3)
    evaluation_segments: int = at_least(1, 1)


@dataclass(frozen=True)
class Config:
    """One run, resolved: all that its numbers depend on besides data and code."""

    submission: str  # the system's name, and no more than that
    seed: int
    fold: int
    folds: int  # how many are drawn where the data set brings no split
    split_seed: int  # what they and the validation part are drawn from, whatever the run's seed
    features: Features
    augmentation: Augmentation
    training: Training
    architecture: Network
    split: str = "given"  # by the data set's own lists, where it has them; or drawn

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, for JSON."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name this configuration.

        An architecture that the system's name implies, and settings that came later, do not count at their defaults:
        runs made before them keep their hash.
        """
        values = self.as_dict()
        if self.architecture == _implied(self.submission):
            del values["architecture"]
        if self.split == "given":
            del values["split"]
        for part in PARTS.keys() & values.keys():
            for one in fields(PARTS[part]):
                if one.metadata.get("later") and values[part][one.name] == one.default:
                    del values[part][one.name]
        return digest(json.dumps(values, sort_keys=True))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The inverse of `as_dict`; unknown keys raise."""
        values = {"architecture": asdict(_implied(values["submission"]))} | values
        parts = {name: build(part, values[name], name) for name, part in PARTS.items()}
        others = ("submission", "seed", "fold", "folds", "split_seed", "split")
        return cls(**{k: values[k] for k in others if k in values}, **parts)


def _implied(system: str) -> Network:
    """The architecture of a system that does not tell it."""
    return Network(SYSTEMS.get(system, {}).get("network", "report"))


def build(kind: type, values: dict[str, Any], where: str) -> Any:
    """One of `PARTS` from names and values, as a recipe or a notebook has them."""
    known(values, [f.name for f in fields(kind)], where)
    hints = get_type_hints(kind)
    try:
        return kind(**{name: _read(value, hints[name]) for name, value in values.items()})
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _read(value: Any, hint: Any) -> Any:
    """The word off (which YAML reads as False) turns off what may be None; YAML reads 1e-3 as text."""
    if (value == "off" or value is False) and fits(None, hint):
        return None
    if isinstance(value, str) and fits(0.5, hint):
        with suppress(ValueError):
            return float(value)
    return value


def known(values: Any, names: Any, where: str) -> None:
    """Raise `InputError` where the values are no mapping, or one of them is none of the names."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: holds {values!r}; give names and values")
    for name in values:
        if name not in names:
            raise InputError(f"{where}: unknown parameter {name!r}; known are {', '.join(sorted(names))}")


def code_digest(*modules: str) -> str:
    """Hash of what the named modules of asc_kit do: comments, docstrings and layout do not count."""
    trees = []
    for module in modules:
        tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        trees.append(ast.dump(tree))
    return digest(*trees)
