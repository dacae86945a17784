"""A network that scores recordings faster on a core; its logits move by rounding alone.

Batch norms are folded, tensors lie channels last, as the processor's convolutions want them, and activations and the
gates of squeeze-and-excitation overwrite what nothing else reads. It is derived from the network as torch.fx traces it;
one that cannot be traced is folded and laid channels last, no more.
"""

import dataclasses

import torch
from torch import fx, nn

from asc_kit import kernels
from asc_kit.deploy.compact import Model
from asc_kit.deploy.folding import Affine, Tracer, fold

ACTIVATIONS = (nn.functional.silu, nn.functional.relu, nn.functional.hardswish)
GATE = kernels.squeeze_excite


def quickened(model: Model) -> Model:
    """The model for scoring on a CPU; one with float16 arithmetic is given back as it is."""
    if model.config.training.float16 == "arithmetic":
        return model
    net = fold(model.network).to(memory_format=torch.channels_last)
    return dataclasses.replace(model, network=in_place(net))


def in_place(net: nn.Module) -> nn.Module:
    """The network with operations that overwrite their input where nothing else reads it."""
    try:
        graph = Tracer().trace(net)
    except Exception:  # whatever a network does that a trace cannot follow
        return net
    made = fx.GraphModule(net, graph)
    for node in graph.nodes:
        if node.op == "call_function" and node.target in (*ACTIVATIONS, GATE) and _free(made, node.args[0]):
            if node.target is GATE:
                node.target = kernels.squeeze_excite_
            else:
                node.kwargs = {**node.kwargs, "inplace": True}
    made.recompile()
    return made


def _free(net: nn.Module, node: fx.Node) -> bool:
    """Whether a node's output is a tensor of its own that one operation alone reads."""
    layers = (nn.Conv1d, nn.Conv2d, nn.Linear, Affine)
    own = node.op == "call_module" and isinstance(net.get_submodule(node.target), layers)
    return len(node.users) == 1 and (own or node.op == "call_function" and node.target in ACTIVATIONS)
