"""Augmentation explorer: crop, modified and standard mixup, SpecAugment, heard and seen."""

import math
from dataclasses import replace

import pandas as pd
import torch

from asc_kit.augmentations import Loudness, SpecAugment, TemporalCrop, heard, mix
from asc_kit.config import Augmentation, Features, generator
from asc_kit.features import LogMel
from asc_kit.lab.explorer import Explorer, dropdown, grid, picture, player, side_by_side, slider

RATE = 44100  # Hz
ALONE = -1  # in the second clip's place: a dropdown takes None for nothing chosen
COLUMNS = ["label: share of the first", "weight of the first wave", "first heard above second, dB"]


def balance(share: float, gains: torch.Tensor) -> float:
    """dB (A-weighted) by which the first of two clips stands above the second when ``share`` is its amplitude."""
    ratio = torch.tensor(share, dtype=torch.float64).logit()  # ln(share / (1 - share)); infinite where one is alone
    return float(gains[0] - gains[1] + 20 / math.log(10) * ratio)


class Augmented(Explorer):
    """What training hears: a crop of one clip or of two mixed, and its masked log-mel.

    Attributes
    ----------
    first, second, difference, r, seconds, time_masks, mel_masks, fraction, seed : controls; ``difference`` is the dB
        by which the second clip is made quieter
    sounds : name -> (samples,), what is played: the first; with a second that one, the standard and the modified mixup
    levels : name -> log-mel (time, mel), what is drawn: the clips, and with masks the mixed ones or the one clip
    numbers : `COLUMNS` of the standard and of the modified mixup
    """

    def __init__(self, waves: torch.Tensor, names: list[str], synthetic: bool, difference: float = 20.0):
        """``waves`` : (clips, samples) at 44.1 kHz, with a name each."""
        self.waves, self.synthetic, self.loudness, self.usual = waves, synthetic, Loudness(RATE), Augmentation()
        clips = [(name, place) for place, name in enumerate(names)]
        longest = waves.shape[1] / RATE
        super().__init__(
            "table players image",
            first=dropdown(clips, "first"),
            second=dropdown([("none (one clip)", ALONE), *clips], "second", value=len(clips) - 1),
            difference=slider(0, 40, difference, 1.0, "second quieter by, dB"),
            r=slider(0, 1, 0.5, 0.05, "r, share of the first"),
            seconds=slider(0.5, longest, min(8.0, longest), 0.5, "crop, s"),
            time_masks=slider(0, 6, self.usual.time_masks, 1, "time masks"),
            mel_masks=slider(0, 6, self.usual.mel_masks, 1, "mel masks"),
            fraction=slider(0, 0.5, self.usual.mask_fraction, 0.025, "widest mask, of the axis"),
            seed=slider(0, 50, 0, 1, "another draw"),
        )

    def update(self) -> None:
        """Crop, mix, mask; show and play."""
        crop = TemporalCrop(round(self.seconds.value * RATE)).train()
        places = [place for place in (self.first.value, self.second.value) if place != ALONE]
        waves = crop(self.waves[places], generator(self.seed.value, "crop"))
        self.sounds, self.numbers = {"first": waves[0]}, {}
        if len(places) > 1:
            self._mix(waves[0], waves[1] * 10 ** (-self.difference.value / 20))
        clean = LogMel(Features())(torch.stack(list(self.sounds.values())))  # sounds, 1, time, mel
        each = list(zip(self.sounds, clean[:, 0].numpy(), self._masked(clean)[:, 0].numpy()))
        self.levels = {name: level for name, level, _ in each[:2]}
        self.levels |= {f"{name}, masked": level for name, _, level in each[2:] or each}
        table = pd.DataFrame.from_dict(self.numbers, orient="index", columns=COLUMNS)
        table[COLUMNS[2]] = table[COLUMNS[2]].map("{:z.1f}".format)  # no -0.0
        self.table.value = grid(table) if self.numbers else ""
        peak = max(float(wave.abs().max()) for wave in self.sounds.values())  # one scale: louder is heard as louder
        players = [player(wave.numpy(), RATE, self.synthetic, name, peak) for name, wave in self.sounds.items()]
        self.players.value = "".join(players)
        alt = f"log-mel spectrograms: {', '.join(self.levels)}"
        self.image.value = picture(side_by_side(self.levels, Features(), 2), alt)

    def _mix(self, first: torch.Tensor, second: torch.Tensor) -> None:
        r, pair = self.r.value, torch.stack([first, second])
        gains, share = self.loudness(pair), torch.tensor([r])
        t = float(heard(share, gains[:, None])[0])
        self.sounds |= {f"second, {self.difference.value:g} dB down": second,
                        "standard mixup": r * first + (1 - r) * second,
                        "modified mixup": mix(pair[:1], pair[1:], share, gains[:, None])[0]}  # fmt: skip
        self.numbers = {"standard mixup": (r, r, balance(r, gains)), "modified mixup": (r, t, balance(t, gains))}

    def _masked(self, levels: torch.Tensor) -> torch.Tensor:
        settings = replace(self.usual, time_masks=self.time_masks.value, mel_masks=self.mel_masks.value,
                           mask_fraction=self.fraction.value)  # fmt: skip
        augment = SpecAugment(settings).train()  # each with the same draws, and so the same masks
        return torch.cat([augment(level[None], generator(self.seed.value, "spec_augment")) for level in levels])
