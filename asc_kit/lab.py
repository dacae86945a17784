"""Small displays for the notebooks."""

import os

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Audio
from matplotlib.axes import Axes

from asc_kit.config import Features


def listen(wave: np.ndarray, sample_rate: int, synthetic: bool) -> Audio | str:
    """A player; recordings of others are not written into notebooks that batches execute and people pass on."""
    if synthetic or "JPY_SESSION_NAME" in os.environ:
        return Audio(wave, rate=sample_rate, normalize=True)
    return "real recording: open this notebook in JupyterLab to hear it"


def show_mel(level: np.ndarray, features: Features, axis: Axes, title: str = "") -> None:
    """Draw a log-mel spectrogram, (time, mel)."""
    seconds = len(level) * features.hop / features.sample_rate
    low, high = np.quantile(level, [0.02, 0.998])
    image = axis.imshow(level.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
                        extent=(0, seconds, 0, level.shape[1]))  # fmt: skip
    axis.set(title=title, xlabel="s", ylabel="mel bin")
    axis.grid(False)
    plt.colorbar(image, ax=axis, pad=0.01, label="dB")
