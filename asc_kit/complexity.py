"""Tables 1, 5 and 6 from the built network: structure, parameters, bytes, multiply-accumulates (Section 3.5)."""

import pandas as pd
import torch
from torch import nn

from asc_kit import network
from asc_kit.blocks import FusedMBConv4, MBConv4
from asc_kit.config import Features
from asc_kit.deploy.folding import fold
from asc_kit.network import TABLE_1, Network

BYTES = 2  # float16

# Table 5, in the report's notation: layer, attribute of the built block, formula in MBConv4, in Fused-MBConv4
TABLE_5 = (
    ("Conv2dExpand", "expand", "4·I²", "36·I²"),
    ("BatchNorm + swish", "expand_norm", "8·I", "8·I"),
    ("Conv2dDepthwise", "depthwise", "36·I", ""),
    ("BatchNorm + swish", "depthwise_norm", "8·I", ""),
    ("Global pooling", None, "0", "0"),
    ("Conv2dSEReduce", "squeeze_excite.reduce", "(1 + 4·I)·[0.25·I]", "(1 + 4·I)·[0.25·I]"),
    ("Swish", None, "0", "0"),
    ("Conv2dSEExpand", "squeeze_excite.expand", "4·I·(1 + [0.25·I])", "4·I·(1 + [0.25·I])"),
    ("Conv2dReduce", "reduce", "4·I·O", "4·I·O"),
    ("BatchNorm2d", "reduce_norm", "2·O", "2·O"),
    ("Conv2dShortcut", "shortcut", "H(I, O)", "H(I, O)"),
)  # fmt: skip


def count(module: nn.Module) -> int:
    """Trainable parameters, the report's count: running statistics of the batch norms are not among them."""
    return sum(p.numel() for p in module.parameters())


def size_kb(net: nn.Module) -> float:
    """Model size of Table 7: two bytes a parameter, / 1024; with the running statistics where a network counts them."""
    return (count(net) + getattr(net, "counts_statistics", False) * statistics(net)) * BYTES / 1024


def statistics(net: nn.Module) -> int:
    """Running means and variances of the batch norms."""
    return sum(b.numel() for name, b in net.named_buffers() if name.endswith(("running_mean", "running_var")))


def sizes(net: nn.Module) -> dict[str, int]:
    """The three ways to count a network's numbers: the report's, the challenge's Keras counter, and what a file needs.

    ``parameters`` as `count`; ``with_statistics`` adds the batch norms' running ones; ``folded`` has the batch norms
    in the convolutions before them, and the first, which has none, as an affine. The baseline's normalisation of its
    features counts only there.
    """
    folded = sum(value.numel() for value in fold(net).state_dict().values())
    return {"parameters": count(net), "with_statistics": count(net) + statistics(net), "folded": folded}


def evaluate(formula: str, i: int, o: int) -> int:
    """A formula of Table 5 for I inputs and O outputs; H is equation (1), [x] the integer part."""
    code = formula.replace("·", "*").replace("²", "**2").replace("[0.25*I]", "(I // 4)")
    return eval(code, {"__builtins__": {}}, {"I": i, "O": o, "H": lambda x, y: x * y if x != y else 0})


def block_parameters(block: MBConv4 | FusedMBConv4) -> list[int]:
    """Parameters of a built block, by the rows of Table 5; 0 where the block has no such layer."""
    return [count(block.get_submodule(name)) if name and hasattr(block, name.split(".")[0]) else 0
            for _, name, _, _ in TABLE_5]  # fmt: skip


def channels(block: MBConv4 | FusedMBConv4) -> tuple[int, int]:
    """(I, O) of a built block."""
    return block.expand.in_channels, block.reduce.out_channels


def table_1(rows: tuple[network.Row, ...] = TABLE_1) -> pd.DataFrame:
    """block, stride, kernel, channels; "" where a row has none."""
    named = [(f"{r.repeats} x {r.block}" if r.repeats > 1 else r.block, "x".join(map(str, r.stride)),
              "x".join(map(str, r.kernel)), str(r.channels)) for r in rows]  # fmt: skip
    width = str(rows[-1].channels)
    after = [("Global pooling", "", "", width), ("Flatten", "", "", width), ("Fully connected (FC)", "", "", ""),
             ("Softmax", "", "", "")]  # fmt: skip
    return pd.DataFrame([("BatchNorm", "", "", "1"), *named, *after], columns=["block", "stride", "kernel", "channels"])


def table_5() -> pd.DataFrame:
    """layer, mbconv4, fused_mbconv4 (formulas)."""
    return pd.DataFrame([(layer, a, b) for layer, _, a, b in TABLE_5], columns=["layer", "mbconv4", "fused_mbconv4"])


def table_6(net: Network) -> pd.DataFrame:
    """block, parameters, size_bytes of every row of Table 6, and their total."""
    rows = [("BatchNorm", net.norm), ("Conv2d", net.stem), ("BatchNorm + swish", net.stem_norm)]
    for block in net.blocks:
        kind = "Fused-MBConv4" if isinstance(block, FusedMBConv4) else "MBConv4"
        rows.append((f"{kind}{channels(block)}", block))
    nothing = nn.Identity()
    rows += [("Conv2d", net.head), ("BatchNorm + swish", net.head_norm), ("Global pooling", nothing),
             ("Flatten", nothing), ("Fully connected (FC)", net.classifier), ("Softmax", nothing),
             ("Total", net)]  # fmt: skip
    table = pd.DataFrame([(name, count(module)) for name, module in rows], columns=["block", "parameters"])
    return table.assign(size_bytes=BYTES * table.parameters)


def multiply_accumulates(net: nn.Module, features: Features, seconds: float = 10.0) -> int:
    """Multiply-accumulates of the convolutions and products for one clip, counted while the built network runs."""
    from torch.utils.flop_counter import FlopCounterMode  # here: its import takes half a second

    with FlopCounterMode(display=False) as counter:  # a multiplication and an addition are two
        _pass(net, features, seconds)
    return counter.get_total_flops() // 2


@torch.no_grad()
def _pass(net: nn.Module, features: Features, seconds: float) -> None:
    """Run a silent clip through the network as it is scored."""
    was_training = net.training
    net.eval()(torch.zeros(1, 1, features.frames(round(seconds * features.sample_rate)), features.n_mels))
    net.train(was_training)


@torch.no_grad()
def peak_activations(net: nn.Module, features: Features, seconds: float = 10.0) -> int:
    """Numbers that the convolution or product which needs most takes and gives, for one clip.

    What a shortcut keeps meanwhile comes on top; all else (norms, activations, gates) can be done in place.
    """
    sizes = [0]
    hooks = [layer.register_forward_hook(lambda _, x, y: sizes.append(x[0].numel() + y.numel()))
             for layer in net.modules() if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear))]  # fmt: skip
    _pass(net, features, seconds)
    for hook in hooks:
        hook.remove()
    return max(sizes)
