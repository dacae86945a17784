"""Augmentation explorer: crop, modified and standard mixup, SpecAugment, heard and seen."""

from dataclasses import replace

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from asc_kit.augmentations import Loudness, SpecAugment, TemporalCrop, heard, mix
from asc_kit.config import Augmentation, Features, generator
from asc_kit.features import LogMel
from asc_kit.lab.explorer import Explorer, dropdown, slider
from asc_kit.lab.shown import grid, limits, picture, player, show_mel

RATE = 44100  # Hz
ALONE = -1  # in the second clip's place: a dropdown takes None for nothing chosen


def balance(share: float, gains: torch.Tensor) -> float:
    """dB (A-weighted) by which the first of two clips stands above the second when ``share`` is its amplitude."""
    with np.errstate(divide="ignore"):
        return float(gains[0] - gains[1]) + float(20 * (np.log10(np.float64(share)) - np.log10(np.float64(1 - share))))


class Augmented(Explorer):
    """What training hears: a crop of one clip or of two mixed, and its masked log-mel.

    Attributes
    ----------
    first, second, difference, r, seconds, time_masks, mel_masks, fraction, seed : controls; ``difference`` is the dB
        by which the second clip is made quieter
    sounds : name -> (samples,): first, second, standard, modified
    levels : what is drawn -> log-mel (time, mel); the mixed ones, or the one clip's second, with masks
    numbers : what is heard of the first above the second, in the standard and in the modified mixup
    """

    def __init__(self, waves: torch.Tensor, names: list[str], synthetic: bool, difference: float = 20.0):
        """``waves`` : (clips, samples) at 44.1 kHz, with a name each."""
        super().__init__()
        self.waves, self.synthetic, self.loudness = waves, synthetic, Loudness(RATE)
        self.features, self.usual = Features(), Augmentation()
        clips = [(name, place) for place, name in enumerate(names)]
        longest = waves.shape[1] / RATE
        self.first, self.second = (
            dropdown(clips, "first"),
            dropdown([("none (one clip)", ALONE), *clips], "second", len(clips) - 1),
        )
        self.difference = slider(widgets.FloatSlider, 0, 40, difference, 1, "second quieter by, dB")
        self.r = slider(widgets.FloatSlider, 0, 1, 0.5, 0.05, "r, share of the first")
        self.seconds = slider(widgets.FloatSlider, 0.5, longest, min(8.0, longest), 0.5, "crop, s")
        self.time_masks = slider(widgets.IntSlider, 0, 6, self.usual.time_masks, 1, "time masks")
        self.mel_masks = slider(widgets.IntSlider, 0, 6, self.usual.mel_masks, 1, "mel masks")
        self.fraction = slider(widgets.FloatSlider, 0, 0.5, self.usual.mask_fraction, 0.025, "widest mask, of the axis")
        self.seed = slider(widgets.IntSlider, 0, 50, 0, 1, "another draw")
        self.table, self.players, self.image = (widgets.HTML() for _ in range(3))
        self.start([self.first, self.second, self.difference, self.r, self.seconds, self.time_masks, self.mel_masks,
                    self.fraction, self.seed], [self.table, self.players, self.image])  # fmt: skip

    def update(self) -> None:
        """Crop, mix, mask; show and play."""
        crop = TemporalCrop(round(self.seconds.value * RATE)).train()
        places = [self.first.value] + ([] if self.second.value == ALONE else [self.second.value])
        waves = crop(self.waves[places], generator(self.seed.value, "crop"))
        self.sounds, self.numbers = {"first": waves[0]}, {}
        if len(places) > 1:
            self._mix(waves[0], waves[1] * 10 ** (-self.difference.value / 20))
        clean = LogMel(self.features)(torch.stack(list(self.sounds.values())))  # sounds, 1, time, mel
        masked = self._masked(clean)
        shown = {"first": clean[0], "masked": masked[0]}
        if len(places) > 1:
            shown = {"first": clean[0], "second": clean[1], "standard": masked[2], "modified": masked[3]}
        self.levels = {name: level[0].numpy() for name, level in shown.items()}
        self._show()

    def _mix(self, first: torch.Tensor, second: torch.Tensor) -> None:
        r, pair = self.r.value, torch.stack([first, second])
        gains, share = self.loudness(pair), torch.tensor([r])
        t = float(heard(share, gains[:, None])[0])
        self.sounds |= {"second": second, "standard": r * first + (1 - r) * second,
                        "modified": mix(pair[:1], pair[1:], share, gains[:, None])[0]}  # fmt: skip
        self.numbers = {"standard": (r, r, balance(r, gains)), "modified": (r, t, balance(t, gains))}
        self.gains = gains.tolist()

    def _masked(self, levels: torch.Tensor) -> torch.Tensor:
        settings = replace(self.usual, time_masks=self.time_masks.value, mel_masks=self.mel_masks.value,
                           mask_fraction=self.fraction.value)  # fmt: skip
        same = generator(self.seed.value, "spec_augment")
        augment, state = SpecAugment(settings).train(), same.get_state()
        return torch.cat([augment(level[None], same.set_state(state)) for level in levels])  # the same masks on each

    def _show(self) -> None:
        names = {"first": "first", "second": f"second, {self.difference.value:g} dB down", "masked": "first, masked",
                 "standard": "standard mixup", "modified": "modified mixup"}  # fmt: skip
        peak = max(float(wave.abs().max()) for wave in self.sounds.values())  # one scale: louder is heard as louder
        self.players.value = "".join(player(wave.numpy(), RATE, self.synthetic, names[name], peak)
                                     for name, wave in self.sounds.items())  # fmt: skip
        columns = ["label: share of the first", "weight of the first wave", "first heard above second, dB"]
        table = pd.DataFrame.from_dict(self.numbers, orient="index", columns=columns)
        table[columns[2]] = [f"{value.round(1) + 0.0:.1f}" for value in table[columns[2]].to_numpy(float)]  # no -0.0
        self.table.value = grid(table, index=True) if len(table) else ""
        count = len(self.levels)
        figure, axes = plt.subplots(-(-count // 2), min(count, 2), figsize=(11, 2.7 * -(-count // 2)), squeeze=False)
        for axis, (name, level) in zip(axes.flat, self.levels.items()):
            title = names[name] + ", masked" * (name in self.numbers)
            show_mel(level, self.features, axis, title, limits(*self.levels.values()))
        figure.tight_layout()
        self.image.value = picture(figure, f"log-mel spectrograms: {', '.join(names[name] for name in self.levels)}")
