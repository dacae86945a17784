"""Architecture explorers: a network taken apart row by row, and channels and depth traded within 128 KB."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn

from asc_kit import complexity
from asc_kit.blocks import SqueezeExcite
from asc_kit.config import Features
from asc_kit.deploy import compact
from asc_kit.lab.explorer import Explorer, choose, dropdown, grid, picture, slider
from asc_kit.network import TABLE_1, Network, Row
from asc_kit.report import figures

LIMIT = 128 * 1024  # bytes, as the report counts them


def built(n_mels: int, n_classes: int = 10, rows: tuple[Row, ...] = TABLE_1) -> Network:
    """The report's network; building it draws weights, and the notebook's draws stay as they were."""
    with torch.random.fork_rng([]):
        return Network(n_mels, n_classes, rows)


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


def table_1_modules(net: Network) -> dict[str, list[str]]:
    """Rows of Table 1 that have parameters, each with the names of its modules."""
    table, names = complexity.table_1(), iter(parts(net))
    counts = [1, 2, *(row.repeats for row in TABLE_1[1:-1]), 2, 1]  # a convolution and its norm are two modules
    labels = [*(table.block + ", " + table.channels)[: len(counts) - 1], "Fully connected (FC)"]
    return {label: list(islice(names, count)) for label, count in zip(labels, counts)}


def table_6_modules(net: Network) -> dict[str, list[str]]:
    """Rows of Table 6 that have parameters, each with the name of its module."""
    table = complexity.table_6(net)
    labels = table.block[(table.parameters > 0) & (table.block != "Total")]
    return {f"{number}. {label}": [name] for number, (label, name) in enumerate(zip(labels, parts(net)), 1)}


class Anatomy(Explorer):
    """A row of Table 1 or 6, or a part of another network: its diagram, shapes, parameters and MACs.

    Attributes
    ----------
    table, row, clip : controls; ``clip`` is the length in seconds
    all : every row of the table: parameters and million MACs
    part : the row's modules, a row each: parameters, input, output, macs
    layers : what is inside, a row a layer
    """

    def __init__(self, n_mels: int = 160, model: str | Path | None = None):
        """``model`` : a run's model file, whose network is taken apart in place of the report's."""
        self.features, self.net, usual = Features(n_mels=n_mels), built(n_mels), True
        if model is not None:
            loaded = compact.load(model)
            self.features, self.net = loaded.config.features, loaded.network
            usual = isinstance(self.net, Network) and loaded.config.architecture.rows is None
        names = parts(self.net)
        self.tables = {"parts": {f"{name}, {type(self.net.get_submodule(name)).__name__}": [name] for name in names}}
        if usual:
            self.tables = {"Table 1": table_1_modules(self.net), "Table 6": table_6_modules(self.net)}
        rows = [(label, of[0]) for label, of in next(iter(self.tables.values())).items()]
        super().__init__(
            "image inside every",
            table=dropdown(list(self.tables), "rows of"),
            row=dropdown(rows, "row", value=rows[:3][-1][1]),  # the report's first block
            clip=slider(1, 10, 10, 1.0, "clip, s"),
        )

    def update(self) -> None:
        """Count and draw the row."""
        whole = complexity.anatomy(self.net, self.features, self.clip.value)
        rows = {label: names for label, names in self.tables[self.table.value].items() if {*names} <= {*whole.index}}
        choose(self.row, [(label, names[0]) for label, names in rows.items()])
        names = rows[self.row.label]
        inner = {name.rpartition(".")[0] for name in whole.index}
        leaves = [name for name in whole.index if name not in inner]  # with what holds them, they would count twice
        self.part = whole.loc[names]
        layers = whole.loc[[leaf for name in names for leaf in leaves if f"{leaf}.".startswith(f"{name}.")]]
        self.layers = layers.assign(macs=layers.macs / 1e6).rename(columns={"macs": "million MACs"})
        table = grid(self.layers.rename_axis(None))
        self.inside.value = f"<p>Layer by layer; sizes are channels, time, mel:</p>{table}"
        self._count(whole, rows)
        drawn = "".join(picture(figure, alt) for figure, alt in self._figures(names))
        self.image.value = f'<div style="display:flex;flex-wrap:wrap;align-items:start">{drawn}</div>'

    def _count(self, whole: pd.DataFrame, rows: dict[str, list[str]]) -> None:
        """Every row of the table, and its share of the network."""
        sums = {label: whole.loc[names, ["parameters", "macs"]].sum() for label, names in rows.items()}
        self.all = pd.DataFrame(sums).T
        self.all.loc["Total"] = whole.loc["", ["parameters", "macs"]].to_list()
        table = self.all.assign(macs=self.all.macs / 1e6).rename(columns={"macs": "million MACs"})
        shares = (100 * table / table.loc["Total"]).add_prefix("% of ")
        chosen = pd.Series({self.row.label: "◀"}, name="").reindex(table.index, fill_value="")
        self.every.value = f"<p>All rows of {self.table.value}:</p>{grid(table.join(shares).join(chosen))}"

    def _figures(self, names: list[str]) -> Iterator[tuple[plt.Figure, str]]:
        """Figures 1 and 2 of a block, or the layer between what it takes and gives; and where the bytes are."""
        module = self.net.get_submodule(names[0])
        gate = getattr(module, "squeeze_excite", None)
        if isinstance(gate, SqueezeExcite):
            yield figures.block_diagram(module), "the block"
            yield figures.squeeze_excite_diagram(gate), "its squeeze-and-excitation"
        else:
            inner = [_words(self.net.get_submodule(name)) for name in names]
            steps = [str(self.part.input.iloc[0]), *inner, str(self.part.output.iloc[-1])]
            yield figures.diagram(steps, self.row.label), "the layer between what it takes and gives"
        sizes = self.all.rename_axis("block").reset_index().eval(f"size_bytes = {complexity.BYTES} * parameters")
        figure, _ = figures.size_budget(sizes, [list(self.all.index).index(self.row.label)])
        yield figure, f"size of every row of {self.table.value}, added up; the row chosen is orange"


def _words(module: nn.Module) -> str:
    """A layer by its kind and sizes."""
    sizes = module.extra_repr().partition(", eps")[0]
    return f"{type(module).__name__}\n{fill(sizes, 40)}".strip()


class Budget(Explorer):
    """Channels and depth of Table 1's rows, mel bins and classes, and what is left of 128 KB.

    Attributes
    ----------
    channels : six sliders, one a row of Table 1 with channels
    repeats : four sliders, one a row of blocks
    n_mels, n_classes : sliders
    numbers : `costs`; columns ``here`` and ``report``
    """

    def __init__(self) -> None:
        numbered = list(enumerate(TABLE_1, 1))
        channels = {f"channels_{n}": slider(4, 300 if n == len(TABLE_1) else 64, row.channels, 1, f"channels, row {n}")
                    for n, row in numbered}  # fmt: skip
        repeats = {f"repeats_{n}": slider(1, 6, row.repeats, 1, f"blocks, row {n}") for n, row in numbered[1:-1]}
        self.channels, self.repeats = list(channels.values()), list(repeats.values())
        self.report = costs(built(160), Features())
        mels, classes = slider(16, 256, 160, 8, "mel bins M"), slider(2, 50, 10, 1, "classes")
        super().__init__("words table image", **channels, **repeats, n_mels=mels, n_classes=classes)

    def update(self) -> None:
        """Build the network and count it."""
        n_mels, repeats = self.n_mels.value, [1, *(control.value for control in self.repeats), 1]
        rows = [replace(row, channels=control.value, repeats=count)
                for row, control, count in zip(TABLE_1, self.channels, repeats)]  # fmt: skip
        net = built(n_mels, self.n_classes.value, tuple(rows))
        self.numbers = pd.DataFrame({"here": costs(net, Features(n_mels=n_mels)), "report": self.report})
        left = LIMIT - complexity.BYTES * complexity.count(net)
        verdict = f"{left:,} bytes are left of 128 KB" if left >= 0 else f"over 128 KB by {-left:,} bytes"
        self.words.value = f"<b>{verdict}</b>"
        self.table.value = grid(self.numbers.T)
        figure, _ = figures.size_budget(complexity.table_6(net))
        self.image.value = picture(figure, f"KB by row of Table 6, added up; {verdict}")
