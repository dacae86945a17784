"""What every explorer shares: controls above what they change, and what is seen and heard there."""

import html
import os
from collections.abc import Sequence
from numbers import Real

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.core.pylabtools import print_figure
from IPython.display import Audio

from asc_kit.common import InputError
from asc_kit.config import Features

ANY = "any"
# ipywidgets draws the arrow of a dropdown in black, also in JupyterLab's dark theme.
DARK = """<style>[data-jp-theme-light="false"] .widget-dropdown > select {background-image: url("data:image/svg+xml,\
%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'%3E%3Cpath fill='%23ccc' d='M5 7l4 4 4-4z'/%3E%3C/svg%3E")}
</style>"""


def slider(low: int, high: int, value: int, step: int, name: str) -> widgets.IntSlider:
    """A slider of whole numbers that acts when it is let go and not at each step of a drag."""
    return widgets.IntSlider(value, low, high, step, description=name, continuous_update=False,
                             style={"description_width": "14em"}, layout={"width": "31em"})  # fmt: skip


def dropdown(options: Sequence, name: str, **more: object) -> widgets.Dropdown:
    """A dropdown; its first option is chosen unless a ``value`` is given."""
    return widgets.Dropdown(options=options, description=name, style={"description_width": "initial"},
                            layout={"width": "max-content"}, **more)  # fmt: skip


def choose(control: widgets.Dropdown, options: Sequence[tuple[str, object]]) -> None:
    """Give a dropdown other options, keeping its value where it is still one; else the first is chosen."""
    kept, values = control.value, [value for _, value in options]
    control.options = options
    control.value = kept if kept in values else next(iter(values), None)


class Explorer(widgets.VBox):
    """Controls above outputs, each the attribute of its name; `update` reads the controls and fills the outputs.

    A fault of the input is one line in ``message``, in place of the outputs.

    Parameters
    ----------
    outputs : names of HTML widgets, in their order
    controls : widgets
    """

    def __init__(self, outputs: str, **controls: widgets.Widget):
        super().__init__()
        self.message, self._busy = widgets.HTML(), False
        self.outputs = {name: widgets.HTML() for name in outputs.split()}
        for name, widget in {**controls, **self.outputs}.items():
            setattr(self, name, widget)
        row = widgets.HBox(tuple(controls.values()), layout={"flex_flow": "row wrap", "grid_gap": "0 1em"})
        self.children = [widgets.HTML(DARK, layout={"display": "none"}), row, self.message, *self.outputs.values()]
        for control in controls.values():
            control.observe(lambda _: self.refresh(), "value")
        self.refresh()

    def refresh(self) -> None:
        """Call `update`; show its outputs, or its fault alone."""
        if self._busy:  # an update that changes a control's options is not another update
            return
        self._busy, self.message.value = True, "working …"
        try:
            self.update()
            self.message.value = ""
        except InputError as error:
            self.message.value = f'<span role="alert">{html.escape(str(error))}</span>'
        finally:
            self._busy = False
        for output in self.outputs.values():  # beside a fault they would be the picture of other settings
            output.layout.display = "none" if self.message.value else None

    def update(self) -> None:
        """Show what the controls ask for."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """What stands in a notebook where no kernel keeps the controls alive."""
        return f"{type(self).__name__}(its controls appear in JupyterLab, after Run > Run All Cells)"


def listen(wave: np.ndarray, sample_rate: int, synthetic: bool) -> Audio | str:
    """A player of (samples,), as loud as it can be.

    Recordings of others are not written into notebooks that batches execute and people pass on.
    """
    if synthetic or "JPY_SESSION_NAME" in os.environ:
        return Audio(wave / max(float(np.abs(wave).max()), 1e-9), rate=sample_rate, normalize=False)
    return "real recording: open this notebook in JupyterLab to hear it"


def player(wave: np.ndarray, sample_rate: int, synthetic: bool, title: str = "") -> str:
    """`listen` as HTML, for a widget, under its title."""
    sound = listen(wave, sample_rate, synthetic)
    sound = sound if isinstance(sound, str) else sound._repr_html_()
    return f'<div style="display:inline-block;margin:0 1em 0.5em 0">{html.escape(title)}<br>{sound}</div>'


def limits(*levels: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale for log-mels, (time, mel) each."""
    low, high = np.quantile(np.concatenate([level.ravel() for level in levels]), [0.02, 0.998])
    return float(low), float(high)


def show_mel(level: np.ndarray, features: Features, axis: plt.Axes, title: str = "", scale: tuple = ()) -> None:
    """Draw a log-mel spectrogram, (time, mel), on its own colour scale or on that of several (`limits`)."""
    seconds = len(level) * features.hop / features.sample_rate
    low, high = scale or limits(level)
    image = axis.imshow(level.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
                        extent=(0, seconds, 0, level.shape[1]))  # fmt: skip
    axis.set(title=title, xlabel="s", ylabel="mel bin")
    axis.grid(False)
    plt.colorbar(image, ax=axis, pad=0.01, label="dB")


def picture(figure: plt.Figure, alt: str) -> str:
    """The figure as an HTML image, for a widget; the figure is closed, or the notebook would show it once more."""
    data = print_figure(figure, base64=True, dpi=90, facecolor="white")
    plt.close(figure)
    return f'<img alt="{html.escape(alt)}" style="max-width:100%" src="data:image/png;base64,{data}">'


def grid(table: pd.DataFrame) -> str:
    """A table as HTML, for a widget, in JupyterLab's own dress; numbers as `short`."""
    inner = table.map(short).to_html(border=0, na_rep="")
    inner = inner.replace("<table", '<table style="margin-left:0"', 1)  # JupyterLab centres them
    return f'<div class="jp-RenderedHTMLCommon" style="overflow-x:auto">{inner}</div>'


def short(value: object) -> object:
    """A number for people: whole above 1,000, else of four digits; anything else as it is."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return value
    return f"{value:,.0f}" if value > 1000 else f"{value:.4g}"
