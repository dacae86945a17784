"""Architecture explorers: a row of Table 1 or 6 taken apart, and channels and depth traded within 128 KB."""

from dataclasses import replace

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from asc_kit import complexity
from asc_kit.blocks import FusedMBConv4, MBConv4
from asc_kit.config import Features
from asc_kit.lab.explorer import Explorer, choose, dropdown, slider
from asc_kit.lab.shown import grid, picture
from asc_kit.network import TABLE_1, Network, Row
from asc_kit.report import figures

LIMIT = 128 * 1024  # bytes, as the report counts them
OUTER = ("norm", "stem", "stem_norm", "head", "head_norm", "classifier")  # what stands around the blocks


def table_1_modules(rows: tuple[Row, ...] = TABLE_1) -> list[tuple[str, tuple[str, ...]]]:
    """Rows of Table 1 that have parameters, each with the names of its modules."""
    named, place = [], 0
    for number, row in enumerate(rows):
        if row.block == "Conv2d":
            name = "stem" if number == 0 else "head"
            named.append((f"Conv2d, {row.channels}", (name, f"{name}_norm")))
            continue
        names = tuple(f"blocks.{i}" for i in range(place, place + row.repeats))
        named.append((f"{row.repeats} x {row.block}, {row.channels}", names))
        place += row.repeats
    return [("BatchNorm", ("norm",)), *named, ("Fully connected (FC)", ("classifier",))]


def table_6_modules(net: Network) -> list[tuple[str, tuple[str, ...]]]:
    """Rows of Table 6 that have parameters, each with the name of its module."""
    names = [*OUTER[:3], *(f"blocks.{i}" for i in range(len(net.blocks))), *OUTER[3:]]
    table = complexity.table_6(net)
    labels = table.block[(table.parameters > 0) & (table.block != "Total")]
    return [(f"{number}. {label}", (name,)) for number, (label, name) in enumerate(zip(labels, names), 1)]


class Anatomy(Explorer):
    """A row of Table 1 or 6: its diagram, shapes, parameters and MACs.

    Attributes
    ----------
    table, row, clip : controls; ``clip`` is the length in seconds
    all : every row of the table: parameters, million MACs, and their shares of the network
    part : the row's modules, a row each: parameters, input, output, macs
    layers : what is inside, a row a layer
    """

    def __init__(self, n_mels: int = 160):
        super().__init__()
        self.features, self.net = Features(n_mels=n_mels), Network(n_mels, 10)
        self.rows = {"Table 1": table_1_modules(), "Table 6": table_6_modules(self.net)}
        self.table = dropdown(list(self.rows), "rows of")
        self.row = dropdown(self.rows["Table 1"], "row", self.rows["Table 1"][2][1])
        self.clip = slider(widgets.FloatSlider, 1, 10, 10, 1, "clip, s")
        self.words, self.image, self.inside, self.every = (widgets.HTML() for _ in range(4))
        self.start([self.table, self.row, self.clip], [self.words, self.image, self.inside, self.every])

    def update(self) -> None:
        """Count and draw the row."""
        rows = self.rows[self.table.value]
        choose(self.row, rows, next((names for _, names in rows if names[0] == self.row.value[0]), None))
        whole = complexity.anatomy(self.net, self.features, self.clip.value)
        self.part = whole.loc[list(self.row.value)]
        inside = [name for name in whole.index for part in self.row.value if name.startswith(f"{part}.")]
        self.layers = whole.loc[inside]
        share = self.part.parameters.sum() / whole.parameters[""]
        self.words.value = (
            f"<b>{self.part.parameters.sum():,} parameters</b>, {share:.1%} of {whole.parameters['']:,}; "
            f"{self.part.macs.sum() / 1e6:.3g} of {whole.macs[''] / 1e6:.3g} million MACs; "
            f"{_shape(self.part.input.iloc[0])} to {_shape(self.part.output.iloc[-1])} (channels × time × mel)"
        )
        module = self.net.get_submodule(self.row.value[0])
        drawn = [picture(figure, alt) for figure, alt in self._figures(module)]
        self.image.value = f'<div style="display:flex;flex-wrap:wrap;align-items:start">{"".join(drawn)}</div>'
        order = [n for part in self.row.value for n in [n for n in inside if n.startswith(f"{part}.")] or [part]]
        self.inside.value = f"<p>Layer by layer:</p>{grid(self._told(whole.loc[order]), True)}"
        self._count(whole, rows)

    @staticmethod
    def _told(layers: pd.DataFrame) -> pd.DataFrame:
        """For people; a block's own row is left out, or its layers would count twice."""
        form = {"parameters": "{:,}".format, "input": _shape, "output": _shape, "macs": _millions}
        shown = layers.assign(**{name: layers[name].map(how) for name, how in form.items()}).rename_axis(None)
        return shown.rename(columns={"macs": "million MACs"})

    def _count(self, whole: pd.DataFrame, rows: list[tuple[str, tuple[str, ...]]]) -> None:
        """Every row of the table, and its share of the network."""
        counts = {label: whole.loc[list(names), ["parameters", "macs"]].sum() for label, names in rows}
        self.all = pd.DataFrame(counts).T
        self.all.loc["Total"] = self.all.sum()
        share = self.all / self.all.loc["Total"]
        chosen = ["◀" if label == self.row.label else "" for label in self.all.index]
        shown = pd.DataFrame({"parameters": self.all.parameters.map("{:,}".format),
                              "share": share.parameters.map("{:.1%}".format),
                              "million MACs": self.all.macs.map(_millions),
                              "share of MACs": share.macs.map("{:.1%}".format), "": chosen})  # fmt: skip
        self.every.value = f"<p>All rows of {self.table.value}:</p>{grid(shown, True)}"

    def _figures(self, module: nn.Module) -> list[tuple[Figure, str]]:
        """Figures 1 and 2 of a block, or the layer between what it takes and gives; and where the bytes are."""
        budget, _ = figures.size_budget(complexity.table_6(self.net), self._marked())
        size = [(budget, "size of every row of Table 6, added up; the row chosen is orange")]
        if isinstance(module, (MBConv4, FusedMBConv4)):
            gate = figures.squeeze_excite_diagram(module.squeeze_excite)
            return [(figures.block_diagram(module), "the block"), (gate, "its squeeze-and-excitation"), *size]
        steps = [_shape(self.part.input.iloc[0]), *(_words(self.net.get_submodule(n)) for n in self.row.value),
                 _shape(self.part.output.iloc[-1])]  # fmt: skip
        return [(figures.diagram(steps, self.row.label), "the layer between what it takes and gives"), *size]

    def _marked(self) -> list[int]:
        """Places of the row's modules among Table 6's rows with parameters."""
        order = [names[0] for _, names in self.rows["Table 6"]]
        return [order.index(name) for name in self.row.value]


def _shape(sizes: tuple[int, ...]) -> str:
    return " × ".join(map(str, sizes))


def _millions(macs: int) -> str:
    return f"{macs / 1e6:,.2f}" if macs else ""


def _words(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        return f"conv {'×'.join(map(str, module.kernel_size))}, {module.in_channels} → {module.out_channels}"
    if isinstance(module, nn.Linear):
        return f"fully connected, {module.in_features} → {module.out_features}"
    return f"BatchNorm, {module.num_features}" + ("" if isinstance(module, nn.BatchNorm1d) else "\nswish")


class Budget(Explorer):
    """Channels and depth of Table 1's rows, mel bins and classes, and what is left of 128 KB.

    Attributes
    ----------
    channels : six sliders, one a row of Table 1 with channels
    repeats : four sliders, one a row of blocks
    n_mels, n_classes : sliders
    rows : Table 1 as the sliders have it
    numbers : parameters, KB, MACs, memory; columns ``here`` and ``report``
    """

    def __init__(self) -> None:
        super().__init__()
        names = [f"channels, row {number}" for number, row in enumerate(TABLE_1, 1)]
        self.channels = [slider(widgets.IntSlider, 4, 300 if row is TABLE_1[-1] else 64, row.channels, 1, name)
                         for name, row in zip(names, TABLE_1)]  # fmt: skip
        self.repeats = [slider(widgets.IntSlider, 1, 6, row.repeats, 1, f"blocks, row {number}")
                        for number, row in enumerate(TABLE_1, 1) if row.block != "Conv2d"]  # fmt: skip
        self.n_mels = slider(widgets.IntSlider, 16, 256, 160, 8, "mel bins M")
        self.n_classes = slider(widgets.IntSlider, 2, 50, 10, 1, "classes")
        self.report = self._count(TABLE_1, 160, 10)
        self.words, self.table, self.image = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.start([*self.channels, *self.repeats, self.n_mels, self.n_classes], [self.words, self.table, self.image])

    @property
    def rows(self) -> tuple[Row, ...]:
        """Table 1 as the sliders have it."""
        repeats = [1, *(control.value for control in self.repeats), 1]
        return tuple(replace(row, channels=control.value, repeats=count)
                     for row, control, count in zip(TABLE_1, self.channels, repeats))  # fmt: skip

    @staticmethod
    def _count(rows: tuple[Row, ...], n_mels: int, n_classes: int) -> tuple[pd.Series, pd.Series]:
        """Numbers of the network, and bytes by row of Table 1."""
        with torch.random.fork_rng([]):  # building it draws weights; the notebook's draws stay as they were
            net, features = Network(n_mels, n_classes, rows), Features(n_mels=n_mels)
        numbers = {"parameters": complexity.count(net), "KB in float16": complexity.size_kb(net),
                   "million MACs for 10 s": complexity.multiply_accumulates(net, features) / 1e6,
                   "numbers in memory at once": complexity.peak_activations(net, features)}  # fmt: skip
        names = ["BatchNorm", *(f"{number}. {row.block}" for number, row in enumerate(rows, 1)), "FC"]
        parts = [sum(complexity.count(net.get_submodule(name)) for name in part) for _, part in table_1_modules(rows)]
        return pd.Series(numbers), pd.Series(parts, names) * complexity.BYTES

    def update(self) -> None:
        """Build the network and count it."""
        here, parts = self._count(self.rows, self.n_mels.value, self.n_classes.value)
        self.numbers = pd.DataFrame({"here": here, "report": self.report[0]})
        left = LIMIT - complexity.BYTES * int(here["parameters"])
        verdict = f"{left:,} bytes are left of 128 KB" if left >= 0 else f"over 128 KB by {-left:,} bytes"
        self.words.value = f"<b>{verdict}</b>"
        self.table.value = grid(
            self.numbers.map(lambda value: f"{value:,.0f}" if value > 1000 else f"{value:,.2f}").T, index=True
        )
        figure, axis = plt.subplots(figsize=(8, 3.4))
        pair = pd.DataFrame({"here": parts, "report": self.report[1]}) / 1024
        pair.plot.barh(ax=axis, color=[figures.COLOURS[figures.OURS], figures.COLOURS[figures.REPORT]], width=0.8)
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set(xlabel="KB in float16", title="by row of Table 1")
        self.image.value = picture(figure, f"KB by row of Table 1, here and in the report; {verdict}")
