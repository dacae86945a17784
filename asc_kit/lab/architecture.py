"""Architecture explorers: where a network's parameters are, and channels and depth traded within 128 KB."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from asc_kit import complexity
from asc_kit.blocks import FusedMBConv4, MBConv4
from asc_kit.config import Features
from asc_kit.deploy import compact
from asc_kit.lab.explorer import Explorer, dropdown, grid, picture, slider
from asc_kit.network import TABLE_1, Network, Row
from asc_kit.report import figures

LIMIT = 128 * 1024  # bytes, as the report counts them


def built(n_mels: int, rows: tuple[Row, ...] = TABLE_1) -> Network:
    """The report's network; building it draws weights, and the notebook's draws stay as they were."""
    with torch.random.fork_rng([]):
        return Network(n_mels, n_classes=10, rows=rows)


def costs(net: nn.Module, features: Features) -> dict[str, float]:
    """What a network takes: parameters, KB, MACs and memory."""
    return {"parameters": complexity.count(net), "KB in float16": complexity.size_kb(net),
            "million MACs for 10 s": complexity.multiply_accumulates(net, features) / 1e6,
            "numbers in memory at once": complexity.peak_activations(net, features)}  # fmt: skip


def parts(net: nn.Module) -> list[str]:
    """Names of a network's children that have parameters; in the place of a Sequential those of its members."""
    names = []
    for name, child in net.named_children():
        several = [f"{name}.{place}" for place in range(len(child))] if isinstance(child, nn.Sequential) else [name]
        names += [name for name in several if complexity.count(net.get_submodule(name))]
    return names


class Anatomy(Explorer):
    """Every part's share of a network's parameters and MACs; of one part its layers and, of a block, its diagram.

    Attributes
    ----------
    part : control
    all : parameters and million MACs of every part
    layers : what is inside the part, a row a layer: parameters, input, output, million MACs
    """

    def __init__(self, n_mels: int = 160, model: str | Path | None = None):
        """``model`` : a run's model file, whose network is taken apart in place of the report's."""
        features, self.net = Features(n_mels=n_mels), built(n_mels)
        if model is not None:
            loaded = compact.load(model)
            features, self.net = loaded.config.features, loaded.network
        modules = complexity.anatomy(self.net, features)
        self.modules = modules.assign(macs=modules.macs / 1e6).rename(columns={"macs": "million MACs"})
        names = [name for name in parts(self.net) if name in modules.index]
        self.all = self.modules.loc[names, ["parameters", "million MACs"]].rename_axis(None)
        labels = [(f"{name}, {type(self.net.get_submodule(name)).__name__}", name) for name in names]
        super().__init__("every image inside", part=dropdown(labels, "part", value=names[:4][-1]))  # the first block

    def update(self) -> None:
        """Draw the part."""
        shares = (100 * self.all / self.modules.loc["", self.all.columns]).add_prefix("% of ")
        self.every.value = f"<p>All parts:</p>{grid(self.all.join(shares))}"
        inner = {name.rpartition(".")[0] for name in self.modules.index}
        leaves = [name for name in self.modules.index if name not in inner]  # with what holds them they count twice
        self.layers = self.modules.loc[[leaf for leaf in leaves if f"{leaf}.".startswith(f"{self.part.value}.")]]
        table = grid(self.layers.rename_axis(None))
        self.inside.value = f"<p>Layer by layer; sizes are channels, time, mel:</p>{table}"
        sizes = self.all.rename_axis("block").reset_index().eval(f"size_bytes = {complexity.BYTES} * parameters")
        figure, _ = figures.size_budget(sizes, [self.all.index.get_loc(self.part.value)])
        drawn = picture(figure, "size of every part, added up; the part chosen is orange")
        module = self.net.get_submodule(self.part.value)
        if isinstance(module, (MBConv4, FusedMBConv4)):
            drawn += picture(figures.block_diagram(module), "the block")
        self.image.value = drawn


class Budget(Explorer):
    """Channels and depth of Table 1's rows, and what is left of 128 KB.

    Attributes
    ----------
    channels : six sliders, one a row of Table 1 with channels
    repeats : four sliders, one a row of blocks
    numbers : `costs`; columns ``here`` and ``report``
    """

    def __init__(self) -> None:
        numbered = list(enumerate(TABLE_1, 1))
        channels = {f"channels_{n}": slider(4, 300 if n == len(TABLE_1) else 64, row.channels, 1, f"channels, row {n}")
                    for n, row in numbered}  # fmt: skip
        repeats = {f"repeats_{n}": slider(1, 6, row.repeats, 1, f"blocks, row {n}") for n, row in numbered[1:-1]}
        self.channels, self.repeats = list(channels.values()), list(repeats.values())
        self.report = costs(built(160), Features())
        super().__init__("words table image", **channels, **repeats)

    def update(self) -> None:
        """Build the network and count it."""
        repeats = [1, *(control.value for control in self.repeats), 1]
        rows = [replace(row, channels=control.value, repeats=count)
                for row, control, count in zip(TABLE_1, self.channels, repeats)]  # fmt: skip
        net = built(160, tuple(rows))
        self.numbers = pd.DataFrame({"here": costs(net, Features()), "report": self.report})
        left = LIMIT - complexity.BYTES * complexity.count(net)
        verdict = f"{left:,} bytes are left of 128 KB" if left >= 0 else f"over 128 KB by {-left:,} bytes"
        self.words.value = f"<b>{verdict}</b>"
        self.table.value = grid(self.numbers.T)
        figure, _ = figures.size_budget(complexity.table_6(net))
        self.image.value = picture(figure, f"KB by row of Table 6, added up; {verdict}")
