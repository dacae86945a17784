"""A network that scores recordings faster on a core; its logits move by rounding alone.

Batch norms are folded, and tensors lie channels last, as the processor's convolutions want them. A convolution and the
activation behind it are one operation of oneDNN, which PyTorch itself does not use for the 1x1 kernels of one clip; and
a gate of squeeze-and-excitation goes into the weights of the 1x1 convolution behind it, so that the widest tensor of a
block is not written again. All of it is derived from the network as torch.fx traces it; one that cannot be traced is
folded and laid channels last, no more.
"""

import dataclasses

import torch
from torch import fx, nn

from asc_kit import kernels
from asc_kit.blocks import Depthwise
from asc_kit.deploy.compact import Model
from asc_kit.deploy.folding import fold, traced

ACTIVATIONS = {nn.functional.silu: "swish", nn.SiLU: "swish", nn.functional.relu: "relu", nn.ReLU: "relu",
               nn.functional.hardswish: "hardswish", nn.Hardswish: "hardswish"}  # in oneDNN's words  # fmt: skip


def quickened(model: Model) -> Model:
    """The model for scoring on a CPU; one with float16 arithmetic is given back as it is."""
    if model.config.training.float16 == "arithmetic":
        return model
    net = fold(model.network).to(memory_format=torch.channels_last)
    return dataclasses.replace(model, network=fused(net))


class Convolution(nn.Module):
    """A convolution with what stands around it, without gradients.

    Parameters
    ----------
    layer : whose weights it takes
    activation : of its output, in oneDNN's words, or none
    """

    def __init__(self, layer: nn.Conv2d, activation: str):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.settings = list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups, activation

    def forward(self, x: torch.Tensor, *gate: torch.Tensor) -> torch.Tensor:
        """(batch, channels, time, mel) to what the layer gives.

        Parameters
        ----------
        gate : the weights of `kernels.squeeze_excite`, where that stands before a 1x1 convolution
        """
        weight = self.weight
        if gate and len(x) > 1:  # it differs from clip to clip
            x = kernels.squeeze_excite(x, *gate)
        elif gate:
            weight = weight * kernels.gate(x.mean((2, 3)), *gate)[:, :, None, None]
        return torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *self.settings, [], "")


def fused(net: nn.Module) -> nn.Module:
    """The network, folded, with every convolution that runs once as a `Convolution`."""
    graph = traced(net)
    if graph is None or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):  # torch's own, and not promised
        return net
    made = fx.GraphModule(net, graph)
    kinds = {node: type(net.get_submodule(node.target)) if node.op == "call_module" else node.target
             for node in graph.nodes}  # fmt: skip
    for node in [node for node, kind in kinds.items() if kind is nn.Identity]:  # where a norm was
        _put(node, node.args[0])
    targets = [node.target for node in graph.nodes]
    for node in [node for node, kind in kinds.items() if kind in (nn.Conv2d, Depthwise)]:
        layer = net.get_submodule(node.target)
        if targets.count(node.target) > 1 or layer.padding_mode != "zeros" or type(layer.padding) is str:
            continue
        readers, before, activation = list(node.users), node.args[0], "none"
        if len(readers) == 1 and kinds[readers[0]] in ACTIVATIONS:
            activation = ACTIVATIONS[kinds[readers[0]]]
            _put(readers[0], node)
        alone = len(before.users) == 1 and layer.kernel_size == (1, 1) and layer.groups == 1
        if alone and kinds[before] is kernels.squeeze_excite:
            node.args = before.args
            graph.erase_node(before)
        made.set_submodule(node.target, Convolution(layer, activation))
    made.recompile()
    return made


def _put(node: fx.Node, instead: fx.Node) -> None:
    """Another node in the place of one, which goes."""
    node.replace_all_uses_with(instead)
    node.graph.erase_node(node)
