"""Corpus explorer: one scene, heard and seen by every device that recorded it."""

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

from asc_kit.config import Features
from asc_kit.data.corpus import Corpus
from asc_kit.data.store import Store
from asc_kit.features import LogMel, filterbank
from asc_kit.lab.explorer import Explorer, choose, dropdown, limits, picture, player, show_mel

PAUSE = 0.25  # seconds of silence between two devices
SECONDS = 3.0  # of each device
ABREAST = 3  # spectrograms beside each other
MOST = 40  # segments whose mean is drawn: of a whole data set those with the most devices


def segments(corpus: Corpus, store: Store) -> pd.DataFrame:
    """The store's clips with the columns ``recorded`` (what is equal on all devices) and ``device``.

    TAU's names tell: scene-city-location-segment, then the device. Another name stands for itself alone.
    """
    table = corpus.table[corpus.table.filename.isin(store.index.filename)]
    stems = table.filename.map(lambda name: Path(name).stem)
    recorded = stems.where(table.segment == "", stems.str.rpartition("-")[0])
    return table.assign(recorded=recorded, device=table.source_label.replace("", "unknown"))


def centres(features: Features) -> np.ndarray:
    """Centre frequency of every mel filter in Hz, (mel,)."""
    filters = filterbank(features).numpy()  # bins, mel
    return np.linspace(0, features.sample_rate / 2, len(filters))[filters.argmax(0)]


class Devices(Explorer):
    """One scene as its devices recorded it: heard one after the other, seen side by side, and their difference.

    Attributes
    ----------
    scene, segment : controls
    levels : device -> log-mel (time, mel) of what is played
    reference : the first of the class's devices
    difference : dB above the reference, a row a frequency, a column a device; a mean over segments of the class
    """

    def __init__(self, corpus: Corpus, store: Store):
        self.corpus, self.store, self.features = corpus, store, Features(n_mels=64)
        self.rows = segments(corpus, store)
        scenes = sorted(set(self.rows.scene_label))
        super().__init__("curve sound image", scene=dropdown(scenes, "class"), segment=dropdown([], "segment"))

    def update(self) -> None:
        """Read, show and play the segment."""
        rows = self.rows[self.rows.scene_label == self.scene.value]
        counts = rows.groupby("recorded").size().sort_values(ascending=False, kind="stable")
        choose(self.segment, [(f"{name} (devices: {count})", name) for name, count in counts.items()])
        waves, self.levels = self._read(self.segment.value)
        pause = torch.zeros(len(waves), round(PAUSE * self.features.sample_rate))
        self.sequence = torch.cat([waves, pause], dim=1).flatten().numpy()
        title = f"devices {', '.join(self.levels)}, one after the other, as loud as recorded"
        self.sound.value = player(self.sequence, self.features.sample_rate, self.corpus.synthetic, title)
        self.image.value = self._draw()
        self.reference = rows.device.min()
        compared = counts.index[counts > 1].intersection(rows.recorded[rows.device == self.reference], sort=False)
        none = "There is one device in each segment: nothing to compare."
        self.curve.value = self._curve(compared[:MOST]) if len(compared) else none

    def _read(self, segment: str) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """Waveforms of a segment, (devices, samples), and the log-mel of each, (time, mel), by device."""
        rows = self.rows[self.rows.recorded == segment].sort_values("device")
        length = round(min(SECONDS * self.features.sample_rate, self.store.length))
        waves = self.store.read(self.store.rows(rows.filename), length=length)
        return waves, dict(zip(rows.device, LogMel(self.features)(waves)[:, 0].numpy()))

    def _draw(self) -> str:
        """The log-mels beside each other on one colour scale: louder is brighter."""
        across = min(ABREAST, len(self.levels))
        down = math.ceil(len(self.levels) / across)
        figure = plt.figure(figsize=(4.6 * across, 2.5 * down), layout="constrained")
        for number, (name, level) in enumerate(self.levels.items(), 1):
            axis = figure.add_subplot(down, across, number)
            show_mel(level, self.features, axis, f"device {name}", limits(*self.levels.values()))
            axis.label_outer()
        return picture(figure, f"log-mel spectrograms of {self.segment.value} by {', '.join(self.levels)}")

    def _curve(self, names: pd.Index) -> str:
        """Mean over time, then over the segments, of each device's log-mel less the reference's."""
        means = [pd.DataFrame({device: level.mean(0) for device, level in self._read(name)[1].items()})
                 for name in names]  # fmt: skip
        each = pd.concat([mean.sub(mean[self.reference], axis=0) for mean in means])
        self.difference = each.groupby(level=0).mean().set_index(centres(self.features)).rename_axis("Hz")
        long = self.difference.reset_index().melt("Hz", var_name="device", value_name="dB")
        plot = sns.relplot(long, kind="line", x="Hz", y="dB", hue="device", style="device", palette="colorblind",
                           height=3.2, aspect=2.6)  # fmt: skip
        worst = self.difference.std().idxmax()
        title = f"difference of devices, mean of {len(names)} segments: {worst} differs most in shape"
        plot.set(xscale="log", ylabel=f"dB above device {self.reference}", title=title)
        plot.ax.xaxis.set_major_formatter("{x:,.0f}")
        return picture(plot.figure, f"dB by frequency above device {self.reference}; {worst} differs most in shape")
