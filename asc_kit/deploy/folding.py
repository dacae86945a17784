"""Batch norms taken into the convolutions before them; the first, which has none, becomes an affine per mel bin."""

import copy

import torch
from torch import nn


class Affine(nn.Module):
    """What a batch norm does under eval(): each mel bin scaled and shifted."""

    def __init__(self, norm: nn.BatchNorm1d):
        super().__init__()
        scale, shift = _affine(norm)
        self.scale, self.shift = nn.Parameter(scale.to(norm.weight)), nn.Parameter(shift.to(norm.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, mel, time) to the same."""
        return x * self.scale[:, None] + self.shift[:, None]


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """scale, shift: (channels,) float64."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def folded(net: nn.Module) -> bool:
    """Whether no batch norm is left."""
    return not any(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in net.modules())


@torch.no_grad()
def fold(net: nn.Module) -> nn.Module:
    """A network without batch norms that gives, up to rounding, what ``net`` gives under eval(); ``net`` stays.

    Computed in float64. A norm is called as the convolution before it: ``stem_norm`` after ``stem``, and in the
    baseline ``norm1`` after ``conv1``. A folded network is copied as it is.
    """
    net = copy.deepcopy(net).float()
    modules = dict(net.named_modules())
    for name, norm in modules.items():
        if isinstance(norm, nn.BatchNorm1d):
            net.set_submodule(name, Affine(norm))
        elif isinstance(norm, nn.BatchNorm2d):
            before = name.replace("norm", "conv") if name[-1].isdigit() else name.removesuffix("_norm")
            _into(modules[before], norm)
            net.set_submodule(name, nn.Identity())
    return net.eval().requires_grad_(False)


def _into(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    scale, shift = _affine(norm)
    bias = 0 if conv.bias is None else conv.bias.double() * scale
    conv.bias = nn.Parameter((bias + shift).to(conv.weight))
    conv.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
