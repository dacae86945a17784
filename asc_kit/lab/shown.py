"""What is seen and heard: players, log-mels, pictures, tables."""

import base64
import html
import io
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Audio
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asc_kit.config import Features


def listen(wave: np.ndarray, sample_rate: int, synthetic: bool, peak: float | None = None) -> Audio | str:
    """A player; recordings of others are not written into notebooks that batches execute and people pass on.

    Parameters
    ----------
    wave : (samples,)
    peak : what plays at full scale; None: the wave's own, so that every player is as loud as it can be
    """
    if synthetic or "JPY_SESSION_NAME" in os.environ:
        peak = max(float(np.abs(wave).max()), 1e-9) if peak is None else peak
        return Audio(np.clip(wave / peak, -1, 1), rate=sample_rate, normalize=False)
    return "real recording: open this notebook in JupyterLab to hear it"


def limits(*levels: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale for log-mels, (time, mel) each."""
    low, high = np.quantile(np.concatenate([level.ravel() for level in levels]), [0.02, 0.998])
    return float(low), float(high)


def show_mel(
    level: np.ndarray, features: Features, axis: Axes, title: str = "", scale: tuple[float, float] | None = None
) -> None:
    """Draw a log-mel spectrogram, (time, mel), on its own colour scale or on that of several (`limits`)."""
    seconds = len(level) * features.hop / features.sample_rate
    low, high = scale or limits(level)
    image = axis.imshow(level.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
                        extent=(0, seconds, 0, level.shape[1]))  # fmt: skip
    axis.set(title=title, xlabel="s", ylabel="mel bin")
    axis.grid(False)
    plt.colorbar(image, ax=axis, pad=0.01, label="dB")


def picture(figure: Figure, alt: str) -> str:
    """The figure as an HTML image, for a widget; the figure is closed, or the notebook would show it once more."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" style="max-width:100%" src="data:image/png;base64,{data}">'


def player(wave: np.ndarray, sample_rate: int, synthetic: bool, title: str = "", peak: float | None = None) -> str:
    """`listen` as HTML, for a widget, under its title."""
    heard = listen(wave, sample_rate, synthetic, peak)
    sound = heard if isinstance(heard, str) else heard._repr_html_()
    return f'<div style="display:inline-block;margin:0 1em 0.5em 0">{html.escape(title)}<br>{sound}</div>'


def grid(table: pd.DataFrame, index: bool = False) -> str:
    """A table as HTML, for a widget, in JupyterLab's own dress."""
    inner = table.to_html(index=index, border=0, na_rep="", float_format="{:.3g}".format)
    inner = inner.replace("<table", '<table style="margin-left:0"', 1)  # JupyterLab centres them
    return f'<div class="jp-RenderedHTMLCommon" style="overflow-x:auto">{inner}</div>'
