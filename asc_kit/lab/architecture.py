"""Architecture explorer: channels and depth traded within 128 KB."""

from dataclasses import replace

import pandas as pd
import torch
from torch import nn

from asc_kit import complexity
from asc_kit.config import Features
from asc_kit.lab.explorer import Explorer, grid, picture, slider
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
            "numbers that a layer takes and gives, at most": complexity.peak_activations(net, features)}  # fmt: skip


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
