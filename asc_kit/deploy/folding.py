"""Batch norms taken into the layers before them; what is left of them becomes an affine per channel.

Which layer stands before a norm follows from the order in which the network's modules run, as torch.fx traces it, not
from their names. A network that cannot be traced keeps its norms as affines.
"""

import copy
import math

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from asc_kit import kernels
from asc_kit.blocks import Depthwise

FOLDABLE = (nn.Conv1d, nn.Conv2d, Depthwise)  # these very classes: a subclass may do more with its weight
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Affine(nn.Module):
    """What a batch norm does under eval(): each channel scaled and shifted."""

    def __init__(self, norm: _BatchNorm):
        super().__init__()
        weight, bias = (1, 0) if norm.weight is None else (norm.weight, norm.bias)
        scale = weight * (norm.running_var + norm.eps).rsqrt()
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(bias - norm.running_mean * scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, ...) to the same."""
        shape = (-1, *[1] * (x.dim() - 2))
        return x * self.scale.view(shape) + self.shift.view(shape)


class Tracer(fx.Tracer):
    """Takes the kit's kernels as one operation each, and the layers that can be folded as one module each."""

    def __init__(self) -> None:
        super().__init__(autowrap_modules=(math, kernels))

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return type(module) in (*FOLDABLE, Affine) or super().is_leaf_module(module, name)


def traced(net: nn.Module) -> fx.Graph | None:
    """The order in which a network's operations run; None where a trace cannot follow it."""
    try:
        return Tracer().trace(net)
    except Exception:  # whatever a network does
        return None


@torch.no_grad()
def fold(net: nn.Module) -> nn.Module:
    """A network without batch norms that gives, up to rounding, what ``net`` gives under eval(); ``net`` stays.

    Computed in float64. A folded network is copied as it is.
    """
    net = copy.deepcopy(net).double().eval()
    for layer, norm in _pairs(net):
        layer = net.get_submodule(layer)  # changed where it stands: a network may have it under two names
        fused = fuse_conv_bn_eval(layer, net.get_submodule(norm))
        layer.weight, layer.bias = fused.weight, fused.bias
        net.set_submodule(norm, nn.Identity())
    for name, module in list(net.named_modules()):
        if type(module) in NORMS and module.running_mean is not None:
            net.set_submodule(name, Affine(module))
    return net.float().requires_grad_(False)


def _pairs(net: nn.Module) -> list[tuple[str, str]]:
    """Names of layers and of the norms that take their output, and alone take it; each runs once."""
    graph = traced(net)
    calls = [node for node in graph.nodes if node.op == "call_module"] if graph else []
    once = {node.target for node in calls if sum(other.target == node.target for other in calls) == 1}
    pairs = []
    for node in calls:
        before = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if before in calls and len(before.users) == 1 and {node.target, before.target} <= once:
            layer, norm = net.get_submodule(before.target), net.get_submodule(node.target)
            if type(norm) in NORMS and norm.running_mean is not None and _foldable(layer):
                pairs.append((before.target, node.target))
    return pairs


def _foldable(layer: nn.Module) -> bool:
    """Whether a layer's output is linear in its weight, and nothing else looks at it."""
    return type(layer) in FOLDABLE and not layer._forward_hooks and not layer._forward_pre_hooks
