"""Three networks of the field beside the report's, written from their papers; config/league.yaml trains them.

In a recipe: `systems: {field: {network: "examples.networks:BCResNet", n_mels: 64, options: {width: 34}}}`.

Each takes (batch, 1, time, mel) log-mel and gives (batch, classes) logits. Inside, as in the papers, frequency stands
before time: (batch, channels, mel, time). The papers use 256 mel bins; fewer leave the weights' number as it is.
"""

import torch
from torch import nn
from torch.nn import functional

from asc_kit.blocks import Depthwise


def convolution(inputs: int, outputs: int, kernel=1, stride=1, groups=1, activation=True) -> nn.Sequential:
    """Convolution without bias that keeps the size up to its stride, batch norm, ReLU."""
    kind = Depthwise if groups > 1 else nn.Conv2d  # PyTorch's own is slow where it strides
    layer = kind(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU() if activation else nn.Identity())


class Scaled(nn.Module):
    """Begins with z-scores of every mel bin by the training clips' statistics, which are no weights.

    That is this file's choice, for features in dB; CP-Mobile's code scales all bins by one mean and one deviation.
    """

    def __init__(self, n_mels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("deviation", torch.ones(n_mels))

    def standardise(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Take the training clips' statistics, (mel,) each; the kit calls it."""
        self.mean, self.deviation = mean, deviation

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, 1, mel, time)."""
        return ((x - self.mean) / self.deviation).transpose(2, 3)


# BC-ResNet-ASC: B. Kim, S. Yang, J. Kim, S. Chang, "QTI submission to DCASE 2021: residual normalization for
# device-imbalanced acoustic scene classification with efficient design", arXiv:2206.13909 (there BC-ResNet-Mod), and
# "Domain generalization on efficient acoustic scene classification using residual normalization", arXiv:2111.06531.
# The block: B. Kim, S. Chang, J. Lee, D. Sung, "Broadcasted residual learning for efficient keyword spotting",
# Interspeech 2021, arXiv:2106.04140.
class ResidualNorm(nn.Module):
    """A share of the input, and the input normalised in every mel bin of every clip (arXiv:2111.06531, Section 2).

    A microphone's response is a constant of a bin: the second term has lost it, and the first keeps a little of what
    the bin's level tells of the scene.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, mel, time) to the same."""
        centred = x - x.mean((1, 3), keepdim=True)
        variance = centred.square().mean((1, 3), keepdim=True)  # batch, 1, mel, 1
        return self.share * x + centred * (variance + 1e-5).rsqrt()


class SubSpectralNorm(nn.Module):
    """A batch norm of its own for every sub-band (S. Chang et al., ICASSP 2021)."""

    def __init__(self, channels: int, bands: int):
        super().__init__()
        self.bands, self.norm = bands, nn.BatchNorm2d(channels * bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, mel, time) to the same."""
        x = self.norm(x.unflatten(2, (self.bands, -1)).flatten(1, 2))  # batch, channels bands, mel / bands, time
        return x.unflatten(1, (-1, self.bands)).flatten(2, 3)


class BCResBlock(nn.Module):
    """Convolves in two dimensions, then the mean over frequency in time alone, which goes back to all frequencies.

    arXiv:2106.04140, Section 2: the transition block where the channels change, else the normal one.
    """

    def __init__(self, inputs: int, outputs: int, bands: int):
        super().__init__()
        self.transition = convolution(inputs, outputs) if inputs != outputs else None
        self.frequency = nn.Conv2d(outputs, outputs, (3, 1), padding=(1, 0), groups=outputs, bias=False)
        self.frequency_norm = SubSpectralNorm(outputs, bands)
        self.time = nn.Conv2d(outputs, outputs, (1, 3), padding=(0, 1), groups=outputs, bias=False)
        self.time_norm = nn.BatchNorm2d(outputs)
        self.mix = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, mel, time) to (batch, outputs, mel, time)."""
        wide = self.frequency_norm(self.frequency(x if self.transition is None else self.transition(x)))
        narrow = self.time_norm(self.time(wide.mean(2, keepdim=True)))  # batch, outputs, 1, time
        y = wide + self.dropout(self.mix(functional.silu(narrow)))
        return functional.relu(y if self.transition else x + y)


class BCResNet(Scaled):
    """BC-ResNet-ASC (arXiv:2111.06531, Table 1): no dilation, pooling in place of strides, five residual norms.

    Parameters
    ----------
    width : c of the table; the paper's networks have 10 and 80, its submission was pruned and quantised
    share : lambda, of the input in every residual norm
    """

    STAGES = ((1, 2), (1.5, 2), (2, 2), (2.5, 3))  # channels in multiples of the width, blocks

    def __init__(self, n_mels: int, n_classes: int, width: int = 34, share: float = 0.1, bands: int = 4):
        super().__init__(n_mels)
        if n_mels % (8 * bands) or width % 2:
            raise ValueError(f"n_mels must be a multiple of {8 * bands} ({bands} bands after 3 halvings), width of 2")
        self.norm = ResidualNorm(share)
        self.stem = convolution(1, 2 * width, kernel=5, stride=2)
        self.stages, inputs = nn.ModuleList(), 2 * width
        for multiple, blocks in self.STAGES:
            outputs = int(multiple * width)
            chain = [inputs, *[outputs] * blocks]
            self.stages.append(nn.Sequential(*[BCResBlock(i, o, bands) for i, o in zip(chain, chain[1:])]))
            inputs = outputs
        self.classifier = nn.Conv2d(inputs, n_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        x = self.stem(self.norm(self.scaled(x)))  # batch, 2 c, mel / 2, time / 2
        for number, stage in enumerate(self.stages):
            x = functional.max_pool2d(x, 2) if number in (1, 2) else x
            x = self.norm(stage(x))
        return self.classifier(x).mean((2, 3))  # of 2.5 c, mel / 8, time / 8


# CP-Mobile: F. Schmid, T. Morocutti, S. Masoudian, K. Koutini, G. Widmer, "CP-JKU submission to DCASE23: efficient
# acoustic scene classification with CP-Mobile", DCASE 2023 Challenge; "Distilling the knowledge of transformers and
# CNNs with CP-Mobile", DCASE Workshop 2023; layers read in github.com/fschmid56/cpjku_dcase23. Its simplification:
# F. Schmid et al., "Data-efficient low-complexity acoustic scene classification in the DCASE 2024 Challenge",
# arXiv:2405.10018; layers counted in github.com/CPJKU/dcase2024_task1_baseline.
class ResponseNorm(nn.Module):
    """Global response normalisation, with two weights for all channels (S. Woo et al., ConvNeXt V2, CVPR 2023)."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, mel, time) to the same."""
        response = (x.square().sum((2, 3), keepdim=True) + 1e-12).sqrt()  # its slope at 0 is finite
        response = response / (response.mean(1, keepdim=True) + 1e-6)  # batch, channels, 1, 1
        return x + self.weight * x * response + self.bias


class CPBlock(nn.Module):
    """Expand, depthwise, project; where the channels stay, a shortcut, which is averaged where the block strides."""

    def __init__(self, inputs: int, outputs: int, expansion: float, stride: tuple[int, int], response_norm: bool):
        super().__init__()
        wide = eights(expansion * inputs)
        self.inner = nn.Sequential(
            convolution(inputs, wide),
            convolution(wide, wide, 3, stride, wide),
            convolution(wide, outputs, activation=False),
        )
        pool = nn.AvgPool2d(3, stride, 1) if stride != (1, 1) else nn.Identity()
        self.shortcut = pool if inputs == outputs else None
        self.norm = ResponseNorm() if response_norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, mel, time) to (batch, outputs, mel / stride, time / stride)."""
        y = self.inner(x) if self.shortcut is None else self.inner(x) + self.shortcut(x)
        return functional.relu(self.norm(y))


def eights(channels: float) -> int:
    """The nearest multiple of 8, or the next where that is more than a tenth less."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


class CPMobile(Scaled):
    """CP-Mobile: two strided convolutions, six blocks in three stages, classifier, batch norm, mean.

    Parameters
    ----------
    width, multiplier, expansion : channels of the first stage, their growth from stage to stage, and of the inner ones;
        as they stand the largest of the four submissions of DCASE 2023
    simplified : as DCASE 2024's baseline has it: no response norm, and less pooling over frequency
    """

    BLOCKS = (3, 2, 1)  # of every stage
    STRIDES = {False: {1: (2, 2), 3: (2, 1)}, True: {2: (1, 2), 3: (2, 1)}}  # simplified -> block -> mel x time

    def __init__(
        self, n_mels: int, n_classes: int, width: int = 32, multiplier: float = 1.7, expansion: float = 1.9,
        simplified: bool = False,
    ):  # fmt: skip
        super().__init__(n_mels)
        inputs = eights(width)
        self.stem = nn.Sequential(convolution(1, inputs // 4, 3, 2), convolution(inputs // 4, inputs, 3, 2))
        self.blocks = nn.Sequential()
        for stage, blocks in enumerate(self.BLOCKS):
            outputs = eights(eights(width) * multiplier**stage)
            for _ in range(blocks):
                stride = self.STRIDES[simplified].get(len(self.blocks), (1, 1))
                self.blocks.append(CPBlock(inputs, outputs, expansion, stride, not simplified))
                inputs = outputs
        self.classifier = convolution(inputs, n_classes, activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        x = self.blocks(self.stem(self.scaled(x)))  # batch, 96, mel / 16, time / 8
        return self.classifier(x).mean((2, 3))


# SP4ASC: G. Puy, H. Jain, A. Bursuc, "Separable convolutions and test-time augmentations for low-complexity and
# calibrated acoustic scene classification", DCASE 2021 Challenge, Task 1A; layers read in github.com/valeoai/SP4ASC.
class SeparableConv(nn.Module):
    """1x1, then the sum of a convolution over frequency and one over time of every channel, batch norm, ReLU, half."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.mix = nn.Conv2d(inputs, outputs, 1, bias=False)
        each = {"groups": outputs, "bias": False}
        self.frequency = nn.Conv2d(outputs, outputs, (3, 1), padding=(2, 0), dilation=(2, 1), **each)
        self.time = nn.Conv2d(outputs, outputs, (1, 3), padding=(0, 2), dilation=(1, 2), **each)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, mel, time) to (batch, outputs, mel / 2, time / 2)."""
        x = self.mix(x)
        x = functional.relu(self.norm(self.frequency(x) + self.time(x)))
        return functional.avg_pool2d(x, 2)


class SP4ASC(nn.Module):
    """PANNs' CNN6 of separable convolutions: batch norm per mel bin, four of them, max + mean over time, two layers."""

    CHANNELS = (64, 128, 128, 128)

    def __init__(self, n_mels: int, n_classes: int, dropout: float = 0.2):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_mels)
        self.convolutions = nn.Sequential(*[SeparableConv(i, o) for i, o in zip((1, *self.CHANNELS), self.CHANNELS)])
        last = self.CHANNELS[-1]
        self.dropout = nn.Dropout(dropout)
        self.hidden, self.classifier = nn.Linear(last, last), nn.Linear(last, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        x = self.norm(x.transpose(1, 3)).permute(0, 3, 1, 2)  # batch, 1, mel, time
        x = self.convolutions(x).mean(2)  # batch, 128, time / 16
        x = self.dropout(x.amax(2) + x.mean(2))
        return self.classifier(self.dropout(functional.relu(self.hidden(x))))
