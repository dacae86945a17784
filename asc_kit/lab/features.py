"""Features explorer: what window, hop, mel bins and cut-offs do to a clip, to the frame and to the network."""

import matplotlib.pyplot as plt
import pandas as pd
import torch

from asc_kit.config import Features
from asc_kit.features import LogMel, filterbank
from asc_kit.lab.architecture import built, costs
from asc_kit.lab.explorer import Explorer, grid, picture, show_mel, slider

REPORT = Features()


def numbers(features: Features) -> dict[str, float]:
    """What follows from the settings, for a clip of 10 s and ten classes."""
    return {
        "frames": features.frames(10 * features.sample_rate), "mel bins": features.n_mels,
        "window, ms": 1000 * features.window / features.sample_rate,
        "hop, ms": 1000 * features.hop / features.sample_rate,
        "Hz between bins": features.sample_rate / features.window,
        "filters without a bin": int((filterbank(features).sum(0) == 0).sum()),
    } | costs(built(features.n_mels), features)  # fmt: skip


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
        self.wave = wave
        super().__init__(
            "table image",
            window=slider(256, 8192, REPORT.window, 2, "window, samples"),
            hop=slider(230, 4410, REPORT.hop, 10, "hop, samples"),
            n_mels=slider(8, 256, REPORT.n_mels, 8, "mel bins M"),
            f_min=slider(0, 8000, int(REPORT.f_min), 10, "lowest, Hz"),
            f_max=slider(1000, 22050, int(REPORT.f_max), 50, "highest, Hz"),
        )

    def update(self) -> None:
        """Compute the clip's features and what follows from the settings."""
        names = ("window", "hop", "n_mels", "f_min", "f_max")
        features = Features(**{name: getattr(self, name).value for name in names})
        self.numbers = pd.DataFrame({"here": numbers(features), "report": numbers(REPORT)})
        changed = self.numbers.here != self.numbers.report
        self.table.value = grid(self.numbers.assign(**{"": changed.map({True: "changed", False: ""})}).T)
        figure, axes = plt.subplots(2, 1, figsize=(9, 5), sharex=True)
        levels = [LogMel(settings)(self.wave[None])[0, 0].numpy() for settings in (features, REPORT)]
        for axis, level, settings, name in zip(axes, levels, (features, REPORT), ("here", "report")):
            show_mel(level, settings, axis, f"{name}: {len(level)} x {settings.n_mels}")
        figure.tight_layout()
        self.level = levels[0]
        self.image.value = picture(figure, f"log-mel of {len(self.level)} frames by {features.n_mels} mel bins, "
                                           "and the report's below")  # fmt: skip
