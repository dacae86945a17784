"""Table 1 as a list of rows, the network built from it, the 2021 baseline [18], and anyone's own."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx, nn

from asc_kit.blocks import ACTIVATIONS, FusedMBConv4, MBConv4
from asc_kit.common import InputError
from asc_kit.config import ROOT, STYLE, Config

BLOCKS = {"Fused-MBConv4": FusedMBConv4, "MBConv4": MBConv4}


@dataclass(frozen=True)
class Row:
    """A row of Table 1; the stride is that of the first of ``repeats`` blocks, time x frequency."""

    block: str
    repeats: int
    stride: tuple[int, int]
    kernel: tuple[int, int]
    channels: int


TABLE_1 = (
    Row("Conv2d", 1, (1, 1), (5, 3), 6),
    Row("Fused-MBConv4", 2, (2, 2), (3, 3), 12),
    Row("MBConv4", 3, (2, 1), (3, 3), 18),
    Row("MBConv4", 3, (2, 2), (3, 3), 24),
    Row("MBConv4", 2, (2, 2), (3, 3), 30),
    Row("Conv2d", 1, (1, 1), (1, 1), 100),
)


class Network(nn.Module):
    """Section 2.3: batch norm per mel bin, stem, inverted bottleneck blocks, head, max + mean pooling, classifier.

    Parameters
    ----------
    n_mels : mel bins M; the only part of the network that depends on it is the first batch norm
    n_classes : outputs
    rows : Table 1; its first row is the stem, its last the head
    axis_order : "frequency_time" reads kernels and strides the other way round
    activation : of the stem, the head and the blocks, one of `blocks.ACTIVATIONS`
    relative : share of a clip's mean taken from each mel bin, so that a microphone's response counts less
    dropout : before the classifier
    style : what else the blocks differ in: ``expansion``, ``squeeze_excite``

    >>> net = Network(n_mels=160, n_classes=10)
    >>> net(torch.zeros(2, 1, 640, 160)).shape
    torch.Size([2, 10])
    >>> sum(p.numel() for p in net.parameters())  # Table 6
    62346
    """

    def __init__(
        self, n_mels: int, n_classes: int, rows: tuple[Row, ...] = TABLE_1,
        axis_order: str = "time_frequency", activation: str = "swish", relative: float = 0.0,
        dropout: float = 0.0, **style: int | bool,
    ):  # fmt: skip
        super().__init__()
        self.axis_order, self.activation = axis_order, ACTIVATIONS[activation]
        self.relative, self.dropout = relative, dropout
        stem, *middle, head = rows
        self.norm = nn.BatchNorm1d(n_mels)
        padding = (stem.kernel[0] // 2, stem.kernel[1] // 2)
        self.stem = nn.Conv2d(1, stem.channels, stem.kernel, stem.stride, padding)
        self.stem_norm = nn.BatchNorm2d(stem.channels)
        channels, blocks = stem.channels, []
        for row in middle:
            for i in range(row.repeats):
                stride = row.stride if i == 0 else (1, 1)
                block = BLOCKS[row.block](channels, row.channels, stride, row.kernel, activation=activation, **style)
                blocks.append(block)
                channels = row.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(channels, head.channels, head.kernel, head.stride)
        self.head_norm = nn.BatchNorm2d(head.channels)
        self.classifier = nn.Linear(head.channels, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel features to logits, for any number of frames.

        Parameters
        ----------
        x : (batch, 1, time, mel)

        Returns
        -------
        (batch, classes)
        """
        x = x.squeeze(1).transpose(1, 2)  # batch, mel, time
        if self.relative:
            x = x - self.relative * x.mean(2, keepdim=True)
        x = self.norm(x)
        if self.axis_order == "time_frequency":
            x = x.transpose(1, 2)  # batch, time, mel
        x = self.activation(self.stem_norm(self.stem(x[:, None])))  # batch, 6, time, mel
        x = self.blocks(x)  # batch, 30, time / 16, mel / 8
        x = self.activation(self.head_norm(self.head(x)))  # batch, 100, time / 16, mel / 8
        x = x.amax((2, 3)) + x.mean((2, 3))  # batch, 100
        if self.dropout:
            x = nn.functional.dropout(x, self.dropout, self.training)
        return self.classifier(x)


@fx.wrap  # a trace takes it as one operation, whatever the length
def pool_5(x: torch.Tensor) -> torch.Tensor:
    """Maxima of 5 x 5; of what there is where a clip has fewer than five frames."""
    return nn.functional.max_pool2d(x, 5, ceil_mode=bool(x.shape[3] < 5))


@fx.wrap
def pool_time(x: torch.Tensor) -> torch.Tensor:
    """Maxima of 4 mel bins and all frames; without gradients in two steps, which ONNX can have for any length."""
    if x.requires_grad:
        return nn.functional.max_pool2d(x, (4, x.shape[3]))
    return nn.functional.max_pool2d(x, (4, 1)).amax(3, keepdim=True)


class Baseline(nn.Module):
    """The DCASE 2021 Task 1A baseline [18]: three 7x7 convolutions, 46,246 numbers with the running statistics.

    Its features are z-normalised with the training fold's statistics, held in ``mean`` and ``deviation``. Its last
    pooling, (4, 100) for 500 frames, takes what time is left.
    """

    counts_statistics = True  # in its size, as its authors count

    def __init__(self, n_mels: int, n_classes: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("deviation", torch.ones(n_mels))
        keras = {"eps": 1e-3, "momentum": 0.01}  # Keras' defaults; its momentum of 0.99 is torch's 0.01
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 7, padding=3), nn.BatchNorm2d(16, **keras)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 7, padding=3), nn.BatchNorm2d(16, **keras)
        self.conv3, self.norm3 = nn.Conv2d(16, 32, 7, padding=3), nn.BatchNorm2d(32, **keras)
        self.dropout = nn.Dropout(0.3)
        self.dense = nn.Linear(32 * (n_mels // 5 // 4), 100)
        self.classifier = nn.Linear(100, n_classes)
        for layer in (self.conv1, self.conv2, self.conv3):  # Keras' glorot_uniform
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.dense, self.classifier):  # Keras' uniform
            nn.init.uniform_(layer.weight, -0.05, 0.05)
            nn.init.zeros_(layer.bias)

    def standardise(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Take the training fold's statistics, (mel,) each; any network with this method is given them."""
        self.mean, self.deviation = mean, deviation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        x = ((x - self.mean) / self.deviation).transpose(2, 3)  # batch, 1, mel, time
        x = nn.functional.relu(self.norm1(self.conv1(x)))  # batch, 16, mel, time
        x = nn.functional.relu(self.norm2(self.conv2(x)))
        x = self.dropout(pool_5(x))  # batch, 16, mel / 5, time / 5
        x = nn.functional.relu(self.norm3(self.conv3(x)))  # batch, 32, mel / 5, time / 5
        x = pool_time(x)  # batch, 32, mel / 20, 1
        x = self.dropout(x).flatten(1)
        return self.classifier(self.dropout(nn.functional.relu(self.dense(x))))


class Logistic(nn.Module):
    """A logistic regression on every mel bin's mean, deviation, and deviation of its differences from frame to frame.

    No gradient trains it: `asc_kit.run.floors` fits it, and it is scored, counted and exported as any network.
    """

    def __init__(self, n_mels: int, n_classes: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * n_mels))
        self.register_buffer("deviation", torch.ones(3 * n_mels))
        self.classifier = nn.Linear(3 * n_mels, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        x = x.squeeze(1)  # batch, time, mel
        x = torch.cat([x.mean(1), x.std(1), (x[:, 1:] - x[:, :-1]).std(1)], dim=1)  # batch, 3 mel
        return self.classifier((x - self.mean) / self.deviation)


class Both(nn.Module):
    """The report's network and a logistic regression as one: the mean of their log probabilities, as logits.

    Each is trained by itself (`asc_kit.run.experiment`, `asc_kit.report.verdict`). ``style`` is the network's.
    """

    def __init__(self, n_mels: int, n_classes: int, **style: float | str):
        super().__init__()
        self.network, self.logistic = Network(n_mels, n_classes, **style), Logistic(n_mels, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        return (self.network(x).log_softmax(1) + self.logistic(x).log_softmax(1)) / 2


NETWORKS = {"report": Network, "baseline": Baseline, "logistic": Logistic, "both": Both}
PLACES: list[Path] = [ROOT]  # where a module of someone else's is looked for, before what is installed
TRUSTED: set[str] = set()  # "package.module:Class" that a recipe at work names


def trust(name: str, folder: Path = ROOT) -> None:
    """Let a class be imported that a model file or a recipe names, from ``folder`` too."""
    TRUSTED.add(name)
    if folder not in PLACES:
        PLACES.append(folder)


def build(config: Config, n_classes: int) -> nn.Module:
    """The network of a configuration, randomly initialised from torch's global generator.

    Raises
    ------
    InputError : its rows are none, or its class cannot be imported or takes other arguments.
    """
    settings, n_mels = config.architecture, config.features.n_mels
    if settings.network == "report":
        rows = TABLE_1 if settings.rows is None else tuple(map(_row, settings.rows))
        style = {name: getattr(settings, name) for name in STYLE}
        return Network(n_mels, n_classes, rows, config.features.axis_order, **style)
    kind = NETWORKS.get(settings.network) or _imported(settings.network)
    options = settings.options
    if settings.network == "both":
        options = {"axis_order": config.features.axis_order} | settings.style
    try:
        return kind(n_mels=n_mels, n_classes=n_classes, **options)
    except Exception as error:  # anything: it is someone else's
        raise InputError(f"network: {settings.network} cannot be built with n_mels={n_mels}, n_classes={n_classes}, "
                         f"{settings.options} ({_line(error)})") from None  # fmt: skip


def probe(config: Config, n_classes: int = 10, seconds: float = 1.0) -> None:
    """Raise `InputError` where a network cannot be built, has no parameters, or gives another shape than logits."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        name, net = config.architecture.network, build(config, n_classes)
        if not isinstance(net, nn.Module) or not any(True for _ in net.parameters()):
            raise InputError(f"network: {name} is no torch.nn.Module with parameters")
        rate = config.features.sample_rate
        frames = config.features.frames(round((config.augmentation.crop_seconds or seconds) * rate))
        shape = (2, 1, frames, config.features.n_mels)
        try:
            logits = net.eval()(torch.zeros(shape))
        except Exception as error:
            raise InputError(f"network: {name} fails at features of shape {shape} ({_line(error)})") from None
        if getattr(logits, "shape", None) != (2, n_classes):
            given = tuple(getattr(logits, "shape", ())) or type(logits).__name__
            raise InputError(f"network: {name} gives {given} for features of shape {shape}; it must give logits of "
                             f"shape {(2, n_classes)}")  # fmt: skip


def _row(row: object) -> Row:
    try:
        block, repeats, stride, kernel, channels = row.values() if isinstance(row, dict) else row
        counts = (repeats, channels, *stride, *kernel)
        if len(counts) != 6 or block not in ("Conv2d", *BLOCKS) or not all(type(n) is int and n > 0 for n in counts):
            raise ValueError
        return Row(block, repeats, tuple(stride), tuple(kernel), channels)
    except (TypeError, ValueError):
        raise InputError(f"rows: {row!r} is no row of Table 1; give block, repeats, stride, kernel, channels, such as "
                         "[MBConv4, 3, [2, 1], [3, 3], 18]") from None  # fmt: skip


def _imported(name: str) -> type:
    module, _, kind = name.partition(":")
    sys.path += [str(place) for place in PLACES if str(place) not in sys.path]
    try:
        found = importlib.import_module(module)
        made = getattr(found, kind)
    except Exception as error:
        raise InputError(f"network: {name} cannot be imported ({_line(error)}); give report, baseline, logistic, svm, "
                         "both, or package.module:Class") from None  # fmt: skip
    file = Path(*module.split(".")).with_suffix(".py")
    beside = next((place / file for place in reversed(PLACES) if (place / file).is_file()), None)
    if beside and not beside.samefile(found.__file__):
        raise InputError(f"network: {name} is meant to be {beside}, but {found.__file__} goes by that name, too; "
                         "rename the module")  # fmt: skip
    return made


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
