"""Augmentation explorer: two clips, their standard and their modified mixup, heard and seen."""

import math

import pandas as pd
import torch

from asc_kit.augmentations import Loudness, heard, mix
from asc_kit.config import Features
from asc_kit.features import LogMel
from asc_kit.lab.explorer import Explorer, dropdown, grid, picture, player, side_by_side, slider

RATE = 44100  # Hz
COLUMNS = ["label: share of the first", "weight of the first wave", "first heard above second, dB"]


def balance(share: float, gains: torch.Tensor) -> float:
    """dB (A-weighted) by which the first of two clips stands above the second when ``share`` is its amplitude."""
    ratio = torch.tensor(share, dtype=torch.float64).logit()  # ln(share / (1 - share)); infinite where one is alone
    return float(gains[0] - gains[1] + 20 / math.log(10) * ratio)


class Mixed(Explorer):
    """Two clips and what training hears of them.

    Attributes
    ----------
    first, second, difference, r : controls; ``difference`` is the dB by which the second clip is made quieter
    sounds : name -> (samples,), what is played and drawn: the two clips, the standard and the modified mixup
    numbers : `COLUMNS` of the standard and of the modified mixup
    """

    def __init__(self, waves: torch.Tensor, names: list[str], synthetic: bool, difference: float = 20.0):
        """``waves`` : (clips, samples) at 44.1 kHz, with a name each."""
        self.waves, self.synthetic, self.loudness = waves, synthetic, Loudness(RATE)
        clips = [(name, place) for place, name in enumerate(names)]
        super().__init__(
            "table players image",
            first=dropdown(clips, "first"),
            second=dropdown(clips, "second", value=len(clips) - 1),
            difference=slider(0, 40, difference, 1.0, "second quieter by, dB"),
            r=slider(0, 1, 0.5, 0.05, "r, share of the first"),
        )

    def update(self) -> None:
        """Mix; show and play."""
        r, second = self.r.value, self.waves[self.second.value] * 10 ** (-self.difference.value / 20)
        pair, share = torch.stack([self.waves[self.first.value], second]), torch.tensor([r])
        gains = self.loudness(pair)
        t = float(heard(share, gains[:, None])[0])
        modified = mix(pair[:1], pair[1:], share, gains[:, None])[0]
        self.sounds = {"first": pair[0], f"second, {self.difference.value:g} dB down": second,
                       "standard mixup": r * pair[0] + (1 - r) * second, "modified mixup": modified}  # fmt: skip
        self.numbers = {"standard mixup": (r, r, balance(r, gains)), "modified mixup": (r, t, balance(t, gains))}
        table = pd.DataFrame.from_dict(self.numbers, orient="index", columns=COLUMNS)
        self.table.value = grid(table.assign(**{COLUMNS[2]: table[COLUMNS[2]].map("{:z.1f}".format)}))  # no -0.0
        peak = max(float(wave.abs().max()) for wave in self.sounds.values())  # one scale: louder is heard as louder
        players = [player(wave.numpy(), RATE, self.synthetic, name, peak) for name, wave in self.sounds.items()]
        self.players.value = "".join(players)
        levels = LogMel(Features())(torch.stack(list(self.sounds.values())))[:, 0].numpy()  # sounds, time, mel
        figure = side_by_side(dict(zip(self.sounds, levels)), Features(), 2)
        self.image.value = picture(figure, f"log-mel spectrograms: {', '.join(self.sounds)}")
