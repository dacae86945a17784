"""The blocks of Figures 1 and 2, as Table 5 counts them.

Differences from EfficientNetV2 that Tables 5 and 6 require: squeeze-and-excitation in Fused-MBConv too, and a bare
1x1 shortcut convolution (no bias, no norm) where the channels change.
"""

import torch
from torch import nn

from asc_kit import kernels

ACTIVATIONS = {"swish": nn.functional.silu, "relu": nn.functional.relu, "hardswish": nn.functional.hardswish}


class SqueezeExcite(nn.Module):
    """Figure 2 [12]: channels weighted by a gate computed from their means.

    The width is [0.25 I] of the block's input I, not of the expanded channels; both convolutions have a bias.
    """

    def __init__(self, channels: int, reduced: int):
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.reduce.weight[:, :, 0, 0], self.reduce.bias, self.expand.weight[:, :, 0, 0], self.expand.bias
        return kernels.squeeze_excite(x, *weights)


class Depthwise(nn.Conv2d):
    """A convolution of every channel by itself, whose backward pass is `kernels.depthwise`'s."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, C, time, mel) to (batch, C, time / stride, mel / stride)."""
        if self.bias is not None:  # folded
            return super().forward(x)
        return kernels.depthwise(x, self.weight, self.stride, self.padding)


class InvertedBottleneck(nn.Module):
    """What both blocks share: expand -> squeeze-excite -> reduce, and the shortcut; `expanded` is each block's own.

    Parameters
    ----------
    inputs, outputs : channels I and O
    stride : time x frequency
    expansion : inner channels, in multiples of I
    squeeze_excite : whether the inner channels are weighted
    activation : one of `ACTIVATIONS`
    """

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, int], expansion: int, squeeze_excite: bool,
        activation: str,
    ):  # fmt: skip
        super().__init__()
        self.stride, self.activation = stride, ACTIVATIONS[activation]
        self.wide = expansion * inputs
        self.squeeze_excite = SqueezeExcite(self.wide, max(1, inputs // 4)) if squeeze_excite else nn.Identity()
        self.reduce = nn.Conv2d(self.wide, outputs, 1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, I, time, mel) to (batch, O, ceil(time / stride), ceil(mel / stride))."""
        inner = self.reduce_norm(self.reduce(self.squeeze_excite(self.expanded(x))))
        # Sliced before an unstrided convolution, and not strided: see kernels.subsample.
        return inner + self.shortcut(kernels.subsample(x, self.stride))


class MBConv4(InvertedBottleneck):
    """Figure 1, left [8]: 1x1 expansion, depthwise convolution (the stride sits here), SE, reduction.

    >>> MBConv4(12, 18, stride=(2, 1))(torch.zeros(1, 12, 64, 32)).shape
    torch.Size([1, 18, 32, 32])
    >>> sum(p.numel() for p in MBConv4(12, 18).parameters())  # Table 6
    2655
    """

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, int] = (1, 1),
        kernel: tuple[int, int] = (3, 3), expansion: int = 4, squeeze_excite: bool = True,
        activation: str = "swish",
    ):  # fmt: skip
        super().__init__(inputs, outputs, stride, expansion, squeeze_excite, activation)
        wide, padding = self.wide, (kernel[0] // 2, kernel[1] // 2)
        self.expand = nn.Conv2d(inputs, wide, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(wide)
        self.depthwise = Depthwise(wide, wide, kernel, stride, padding, groups=wide, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(wide)

    def expanded(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.expand_norm(self.expand(x)))  # batch, 4 I, time, mel
        return self.activation(self.depthwise_norm(self.depthwise(x)))


class FusedMBConv4(InvertedBottleneck):
    """Figure 1, right [9]: one 3x3 expansion in place of the 1x1 and the depthwise convolution.

    >>> FusedMBConv4(6, 12, stride=(2, 2))(torch.zeros(1, 6, 64, 32)).shape
    torch.Size([1, 12, 32, 16])
    >>> sum(p.numel() for p in FusedMBConv4(6, 12).parameters())  # Table 6
    1801
    """

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, int] = (1, 1),
        kernel: tuple[int, int] = (3, 3), expansion: int = 4, squeeze_excite: bool = True,
        activation: str = "swish",
    ):  # fmt: skip
        super().__init__(inputs, outputs, stride, expansion, squeeze_excite, activation)
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.expand = nn.Conv2d(inputs, self.wide, kernel, stride, padding, bias=False)
        self.expand_norm = nn.BatchNorm2d(self.wide)

    def expanded(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.expand_norm(self.expand(x)))  # batch, 4 I, time, mel
