"""Corpus explorer: one scene, heard and seen by every device that recorded it."""

from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

from asc_kit.common.errors import InputError
from asc_kit.config import Features
from asc_kit.data.corpus import TAU_NAME, Corpus
from asc_kit.data.store import Store
from asc_kit.features import LogMel, filterbank
from asc_kit.lab.explorer import ANY, Explorer, choose, dropdown, slider
from asc_kit.lab.shown import limits, picture, player, show_mel

PAUSE = 0.25  # seconds of silence between two devices
ABREAST = 3  # spectrograms beside each other
MOST = 40  # segments whose mean is drawn: of a whole data set those with the most devices
ALL, ONE = "all segments of the class and city", "the segment below"


def segments(corpus: Corpus, store: Store) -> pd.DataFrame:
    """The store's clips with the columns ``recorded`` (what is equal on all devices) and ``device``.

    TAU's names tell: scene-city-location-segment, then the device. Another name stands for itself alone.
    """
    table = corpus.table[corpus.table.filename.isin(store.index.filename)]
    stems = table.filename.map(lambda name: Path(name).stem)
    tau = stems.str.fullmatch(TAU_NAME.pattern)
    return table.assign(
        recorded=stems.where(~tau, stems.str.rpartition("-")[0]), device=table.source_label.replace("", "unknown")
    )


def centres(features: Features) -> np.ndarray:
    """Centre frequency of every mel filter in Hz, (mel,)."""
    filters = filterbank(features).numpy().astype(np.float64)  # bins, mel
    hertz = np.linspace(0, features.sample_rate / 2, len(filters))
    return hertz @ filters / filters.sum(0).clip(1e-30)


class Devices(Explorer):
    """One scene as its devices recorded it: heard one after the other, seen side by side, and their difference.

    Attributes
    ----------
    scene, city, device, over, segment, seconds : controls; ``device`` is what the others are compared with, and
        leaves the segments that it recorded
    levels : device -> log-mel (time, mel) of what is heard
    difference : dB above the reference device, a row a frequency, a column a device; a mean over ``segments`` segments
    """

    def __init__(self, corpus: Corpus, store: Store, features: Features | None = None):
        super().__init__()
        self.corpus, self.store, self.features = corpus, store, features or Features(n_mels=64)
        self.rows = segments(corpus, store)
        self.scene = dropdown([ANY, *corpus.classes], "class")
        self.city = dropdown([ANY, *sorted(set(self.rows.city) - {""})], "city")
        names = sorted(set(self.rows.device))
        self.device = dropdown([(f"{names[0]}, or the first there", ANY), *((n, n) for n in names)], "compared with")
        self.over = dropdown([ALL, ONE], "curve of")
        self.segment = dropdown(self._found(), "segment")
        longest = store.length / self.features.sample_rate
        self.seconds = slider(widgets.FloatSlider, 0.5, longest, min(3.0, longest), 0.5, "seconds of each")
        self.sound, self.image, self.curve = (widgets.HTML() for _ in range(3))
        self.start([self.scene, self.city, self.device, self.over, self.segment, self.seconds],
                   [self.curve, self.sound, self.image])  # fmt: skip

    def _found(self) -> list[tuple[str, str]]:
        """Segments that the filters leave, those with the most devices first, as options."""
        rows = self.rows
        for column, wanted in (("scene_label", self.scene), ("city", self.city)):
            rows = rows[(rows[column] == wanted.value) | (wanted.value == ANY)]
        wanted = rows[(rows.device == self.device.value) | (self.device.value == ANY)].recorded.unique()
        counts = rows[rows.recorded.isin(wanted)].recorded.value_counts(sort=False)
        counts = counts.sort_index().sort_values(ascending=False, kind="stable")
        return [(f"{name}  ({n} device{'s' * (n > 1)})", name) for name, n in counts.items()]

    def update(self) -> None:
        """Read, show and play the segment."""
        found = self._found()
        if not found:
            raise InputError("class, city, device: no clip has all three; choose another")
        choose(self.segment, found)
        waves, self.levels = self._read(self.segment.value)
        self.heard = list(self.levels)
        self._level([value for _, value in found] if self.over.value == ALL else [self.segment.value])
        self._play(waves)
        self._draw()

    def _read(self, segment: str) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """Waveforms of a segment, (devices, samples), and the log-mel of each, (time, mel), by device."""
        rows = self.rows[self.rows.recorded == segment].sort_values("device")
        length = round(min(self.seconds.value * self.features.sample_rate, self.store.length))
        waves = self.store.read(self.store.rows(rows.filename), length=length)
        return waves, dict(zip(rows.device, LogMel(self.features)(waves)[:, 0].numpy()))

    def _level(self, segments: list[str]) -> None:
        """Mean over time, then over the segments, of each device's log-mel less that of the device chosen or first."""
        counts = self.rows[self.rows.recorded.isin(segments)].recorded.value_counts()
        several = [name for name in segments if counts[name] > 1][:MOST] or [self.segment.value]
        found = [self.levels if name == self.segment.value else self._read(name)[1] for name in several]
        named = {name for levels in found for name in levels}
        self.reference = self.device.value if self.device.value in named else min(named)
        found = [levels for levels in found if self.reference in levels]
        each = [pd.DataFrame({name: level.mean(0) - levels[self.reference].mean(0) for name, level in levels.items()})
                for levels in found]  # fmt: skip
        mean = pd.concat(each, keys=range(len(each))).groupby(level=1).mean()
        self.segments = len(each)
        self.difference = mean[sorted(mean)].set_index(centres(self.features)).rename_axis("Hz")

    def _play(self, waves: torch.Tensor) -> None:
        pause = torch.zeros(len(waves), round(PAUSE * self.features.sample_rate))
        self.sequence = torch.cat([waves, pause], dim=1).flatten().numpy()
        title = f"devices {', '.join(self.heard)}, {self.seconds.value:g} s each, as loud as recorded"
        self.sound.value = player(self.sequence, self.features.sample_rate, self.corpus.synthetic, title)

    def _draw(self) -> None:
        count, wide = len(self.levels), min(len(self.levels), ABREAST)
        figure, axes = plt.subplots(-(-count // wide), wide, figsize=(4.4 * wide, 2.4 * -(-count // wide)),
                                    sharex=True, sharey=True, squeeze=False)  # fmt: skip
        one = limits(*self.levels.values())  # one scale: louder is brighter
        for axis, (name, level) in zip(axes.flat, self.levels.items()):
            show_mel(level, self.features, axis, f"device {name}", one)
            axis.label_outer()
        for axis in axes.flat[count:]:
            axis.set_visible(False)
        figure.tight_layout()
        self.image.value = picture(figure, f"log-mel spectrograms of {self.segment.value} by {', '.join(self.heard)}")
        several = self.difference.shape[1] > 1
        self.curve.value = self._curve() if several else "There is one device in each segment: nothing to compare."

    def _curve(self) -> str:
        figure, axis = plt.subplots(figsize=(9, 3.2))
        long = self.difference.reset_index().melt("Hz", var_name="device", value_name="dB")
        sns.lineplot(long, x="Hz", y="dB", hue="device", style="device", palette="colorblind", dashes=True, ax=axis)
        worst = self.difference.std().idxmax()
        over = "one segment" if self.segments == 1 else f"mean of {self.segments} segments"
        title = f"difference of devices, {over}: {worst} differs most in shape"
        axis.set(xscale="log", ylabel=f"dB above device {self.reference}", title=title)
        axis.xaxis.set_major_formatter("{x:,.0f}")
        sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5))
        return picture(figure, f"dB by frequency above device {self.reference}; {worst} differs most in shape")
