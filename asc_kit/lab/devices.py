"""Corpus explorer: one scene, heard and seen by every device that recorded it."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
import torch

from asc_kit.common.errors import InputError
from asc_kit.config import Features
from asc_kit.data.corpus import Corpus
from asc_kit.data.store import Store
from asc_kit.features import LogMel, filterbank
from asc_kit.lab.explorer import ANY, Explorer, choose, dropdown, picture, player, side_by_side, slider

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
    recorded = stems.where(table.segment == "", stems.str.rpartition("-")[0])
    return table.assign(recorded=recorded, device=table.source_label.replace("", "unknown"))


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
    levels : device -> log-mel (time, mel) of what is played
    difference : dB above the reference device, a row a frequency, a column a device; a mean over ``segments`` segments
    """

    def __init__(self, corpus: Corpus, store: Store):
        self.corpus, self.store, self.features = corpus, store, Features(n_mels=64)
        self.rows = segments(corpus, store)
        names = sorted(set(self.rows.device))
        longest = store.length / self.features.sample_rate
        super().__init__(
            "curve sound image",
            scene=dropdown([ANY, *corpus.classes], "class"),
            city=dropdown([ANY, *sorted(set(self.rows.city) - {""})], "city"),
            device=dropdown([(f"{names[0]}, or the first there", ANY), *zip(names, names)], "compared with"),
            over=dropdown([ALL, ONE], "curve of"),
            segment=dropdown([], "segment"),
            seconds=slider(0.5, longest, min(3.0, longest), 0.5, "seconds of each"),
        )

    def update(self) -> None:
        """Read, show and play the segment."""
        counts = self._found()
        if counts.empty:
            raise InputError("class, city, device: no clip has all three; choose another")
        choose(self.segment, [(f"{name}  ({n} device{'s' * (n > 1)})", name) for name, n in counts.items()])
        waves, self.levels = self._read(self.segment.value)
        self._differ(counts if self.over.value == ALL else counts[[self.segment.value]])
        self._play(waves)
        figure = side_by_side({f"device {name}": level for name, level in self.levels.items()}, self.features, ABREAST)
        alt = f"log-mel spectrograms of {self.segment.value} by {', '.join(self.levels)}"
        self.image.value = picture(figure, alt)
        several = self.difference.shape[1] > 1
        self.curve.value = self._curve() if several else "There is one device in each segment: nothing to compare."

    def _found(self) -> pd.Series:
        """Number of devices of the segments that the filters leave, by segment, those with the most first."""
        rows = self.rows
        for column, wanted in (("scene_label", self.scene.value), ("city", self.city.value)):
            rows = rows[(rows[column] == wanted) | (wanted == ANY)]
        wanted = rows[(rows.device == self.device.value) | (self.device.value == ANY)].recorded
        counts = rows[rows.recorded.isin(wanted)].groupby("recorded").size()
        return counts.sort_values(ascending=False, kind="stable")

    def _read(self, segment: str) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """Waveforms of a segment, (devices, samples), and the log-mel of each, (time, mel), by device."""
        rows = self.rows[self.rows.recorded == segment].sort_values("device")
        length = round(min(self.seconds.value * self.features.sample_rate, self.store.length))
        waves = self.store.read(self.store.rows(rows.filename), length=length)
        return waves, dict(zip(rows.device, LogMel(self.features)(waves)[:, 0].numpy()))

    def _differ(self, counts: pd.Series) -> None:
        """Mean over time, then over the segments, of each device's log-mel less that of the device chosen or first."""
        names = list(counts.index[counts > 1][:MOST]) or [self.segment.value]
        means = pd.DataFrame({(name, device): level.mean(0) for name in names
                              for device, level in self._read(name)[1].items()})  # fmt: skip
        found = means.columns.unique(1)
        self.reference = self.device.value if self.device.value in found else min(found)
        names = [name for name in names if (name, self.reference) in means]
        each = pd.concat([means[name].sub(means[name, self.reference], axis=0) for name in names], axis=1)
        self.segments = len(names)
        self.difference = each.T.groupby(level=0).mean().T.set_index(centres(self.features)).rename_axis("Hz")

    def _play(self, waves: torch.Tensor) -> None:
        pause = torch.zeros(len(waves), round(PAUSE * self.features.sample_rate))
        self.sequence = torch.cat([waves, pause], dim=1).flatten().numpy()
        title = f"devices {', '.join(self.levels)}, {self.seconds.value:g} s each, as loud as recorded"
        self.sound.value = player(self.sequence, self.features.sample_rate, self.corpus.synthetic, title)

    def _curve(self) -> str:
        long = self.difference.reset_index().melt("Hz", var_name="device", value_name="dB")
        plot = sns.relplot(long, kind="line", x="Hz", y="dB", hue="device", style="device", palette="colorblind",
                           height=3.2, aspect=2.6)  # fmt: skip
        worst = self.difference.std().idxmax()
        over = "one segment" if self.segments == 1 else f"mean of {self.segments} segments"
        plot.set(xscale="log", ylabel=f"dB above device {self.reference}",
                 title=f"difference of devices, {over}: {worst} differs most in shape")  # fmt: skip
        plot.ax.xaxis.set_major_formatter("{x:,.0f}")
        return picture(plot.figure, f"dB by frequency above device {self.reference}; {worst} differs most in shape")
