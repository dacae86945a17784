"""Features explorer: what window, hop, mel bins and cut-offs do to a clip, to the frame and to the network."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from asc_kit import complexity
from asc_kit.config import Features
from asc_kit.features import LogMel, filterbank
from asc_kit.lab.explorer import Explorer, slider
from asc_kit.lab.shown import grid, picture, show_mel
from asc_kit.network import Network

REPORT = Features()


def numbers(features: Features) -> dict[str, float]:
    """What follows from the settings, for a clip of 10 s and ten classes."""
    net = Network(features.n_mels, 10)
    return {
        "frames": features.frames(10 * features.sample_rate), "mel bins": features.n_mels,
        "window, ms": 1000 * features.window / features.sample_rate,
        "hop, ms": 1000 * features.hop / features.sample_rate,
        "Hz between bins": features.sample_rate / features.window,
        "filters without a bin": int((filterbank(features).sum(0) == 0).sum()),
        "parameters": complexity.count(net), "KB in float16": complexity.size_kb(net),
        "million MACs": complexity.multiply_accumulates(net, features) / 1e6,
    }  # fmt: skip


class Settings(Explorer):
    """A clip's log-mel with settings of your own, above that with the report's.

    Attributes
    ----------
    window, hop, n_mels, f_min, f_max : controls; samples, samples, bins, Hz, Hz
    level : (time, mel) of the clip
    numbers : frames, parameters, MACs ... a row each, columns ``here`` and ``report``
    """

    def __init__(self, wave: torch.Tensor):
        """``wave`` : (samples,) at 44.1 kHz."""
        super().__init__()
        self.wave = wave
        self.window = slider(widgets.IntSlider, 256, 8192, REPORT.window, 2, "window, samples")
        self.hop = slider(widgets.IntSlider, 230, 4410, REPORT.hop, 10, "hop, samples")
        self.n_mels = slider(widgets.IntSlider, 8, 256, REPORT.n_mels, 8, "mel bins M")
        self.f_min = slider(widgets.FloatSlider, 0, 8000, REPORT.f_min, 10, "lowest, Hz")
        self.f_max = slider(widgets.FloatSlider, 1000, 22050, REPORT.f_max, 50, "highest, Hz")
        self.table, self.image = widgets.HTML(), widgets.HTML()
        self.start([self.window, self.hop, self.n_mels, self.f_min, self.f_max], [self.table, self.image])

    @property
    def features(self) -> Features:
        """The settings; `InputError` where they do not go together."""
        names = ("window", "hop", "n_mels", "f_min", "f_max")
        return Features(**{name: getattr(self, name).value for name in names})

    def update(self) -> None:
        """Compute the clip's features and what follows from the settings."""
        features = self.features
        self.level = LogMel(features)(self.wave[None])[0, 0].numpy()
        self.numbers = pd.DataFrame({"here": numbers(features), "report": numbers(REPORT)})
        same = self.numbers.here == self.numbers.report
        shown = self.numbers.map(lambda value: f"{value:,.0f}" if value > 1000 else f"{value:.4g}").assign(
            **{"": np.where(same, "", "changed")}
        )
        self.table.value = grid(shown.T, index=True)
        report = LogMel(REPORT)(self.wave[None])[0, 0].numpy()
        figure, axes = plt.subplots(2, 1, figsize=(9, 5), sharex=True)
        for axis, level, used, name in zip(axes, (self.level, report), (features, REPORT), ("here", "report")):
            show_mel(level, used, axis, f"{name}: {len(level)} x {used.n_mels}")
        figure.tight_layout()
        self.image.value = picture(figure, f"log-mel of {len(self.level)} frames by {features.n_mels} mel bins, "
                                           "and the report's below")  # fmt: skip
