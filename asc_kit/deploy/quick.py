"""A network that scores recordings as fast as eager PyTorch can on one core; its logits move by rounding alone.

Batch norms are folded; tensors lie channels last, as the processor's convolutions want them; swish overwrites its
input; and the gate of squeeze-and-excitation goes into the weights of the 1x1 convolution behind it, so that the
widest tensor of a block is never multiplied.
"""

import dataclasses

import torch
from torch import nn

from asc_kit.blocks import FusedMBConv4, InvertedBottleneck, SqueezeExcite
from asc_kit.deploy.compact import Model
from asc_kit.deploy.folding import fold
from asc_kit.network import Network

ONEDNN = torch.backends.mkldnn.is_available()


def quickened(model: Model) -> Model:
    """The model for scoring on a CPU; one with float16 arithmetic is given back as it is."""
    if model.config.training.float16 == "arithmetic":
        return model
    net = fold(model.network).to(memory_format=torch.channels_last)
    return dataclasses.replace(model, network=Quick(net) if isinstance(net, Network) else net)


class Quick(nn.Module):
    """A folded `Network` in inference mode, one clip after the other: the gate differs from clip to clip."""

    def __init__(self, folded: Network):
        super().__init__()
        self.folded = folded

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        return torch.cat([self._one(clip) for clip in x.split(1)])

    def _one(self, x: torch.Tensor) -> torch.Tensor:
        net = self.folded
        x = net.norm(x.squeeze(1).transpose(1, 2))  # 1, mel, time
        x = x[:, None] if net.axis_order == "frequency_time" else x.transpose(1, 2)[:, None]
        x = _swish(net.stem(x.contiguous(memory_format=torch.channels_last)))  # 1, 6, time, mel
        for block in net.blocks:
            x = _block(block, x)
        x = _swish(net.head(x))  # 1, 100, time / 16, mel / 8
        return net.classifier(x.amax((2, 3)) + x.mean((2, 3)))


def _swish(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.silu(x, inplace=True)


def _convolution(layer: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """oneDNN's, where it is built in: of one clip PyTorch itself takes a way that is slower for 1x1 kernels."""
    weight = layer.weight if weight is None else weight
    if ONEDNN:
        return torch.mkldnn_convolution(
            x, weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups
        )
    return nn.functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _block(block: InvertedBottleneck, x: torch.Tensor) -> torch.Tensor:
    wide = _swish(_convolution(block.expand, x))  # 1, 4 I, time, mel
    if not isinstance(block, FusedMBConv4):
        wide = _swish(block.depthwise(wide))
    weight = block.reduce.weight * _gate(block.squeeze_excite, wide)  # O, 4 I, 1, 1
    inner = _convolution(block.reduce, wide, weight)
    return inner.add_(block.shortcut(x[:, :, :: block.stride[0], :: block.stride[1]]))


def _gate(layer: SqueezeExcite, x: torch.Tensor) -> torch.Tensor:
    return layer.expand(_swish(layer.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()  # 1, 4 I, 1, 1
