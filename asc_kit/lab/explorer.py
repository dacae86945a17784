"""What every explorer shares: controls above what they change."""

import html
from collections.abc import Sequence

import ipywidgets as widgets

from asc_kit.common.errors import InputError

ANY = "any"
WRAP = widgets.Layout(flex_flow="row wrap", grid_gap="0 1em")
LABEL, TRACK = 0.55, 17  # em: a letter of a slider's name, and what stands beside the name
# ipywidgets draws the arrow of a dropdown in black, also in JupyterLab's dark theme.
ARROW = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'%3E"
    "%3Cpath fill='%23ccc' d='M5 7l4 4 4-4z'/%3E%3C/svg%3E"
)
DARK = (
    f"""<style>[data-jp-theme-light="false"] .widget-dropdown > select {{background-image: url("{ARROW}")}}</style>"""
)


def slider(kind: type, low: float, high: float, value: float, step: float, name: str) -> widgets.Widget:
    """A slider that acts when it is let go: each step of a drag would wait for the one before."""
    decimals = len(f"{step:g}".partition(".")[2])
    return kind(value=value, min=low, max=high, step=step, description=name, continuous_update=False,
                readout_format=f".{decimals}f" if kind is widgets.FloatSlider else "d")  # fmt: skip


def align(controls: Sequence[widgets.Widget]) -> None:
    """Give sliders that stand under each other equal room for their names, and so tracks in line."""
    sliders = [control for control in controls if isinstance(control, widgets.IntSlider | widgets.FloatSlider)]
    room = LABEL * max((len(control.description) for control in sliders), default=0) + 0.5
    for control in sliders:
        control.style.description_width, control.layout.width = f"{room:g}em", f"{room + TRACK:g}em"


def dark() -> widgets.HTML:
    """What JupyterLab's dark theme needs, invisible itself."""
    return widgets.HTML(DARK, layout={"display": "none"})


def dropdown(options: Sequence, name: str, value: object = None) -> widgets.Dropdown:
    """A dropdown; its first option is chosen unless another is named."""
    return widgets.Dropdown(options=options, description=name, value=value if value is not None else _first(options),
                            style={"description_width": "initial"}, layout={"width": "max-content"})  # fmt: skip


def _first(options: Sequence) -> object:
    first = options[0] if options else None
    return first[1] if isinstance(first, tuple) else first


class Explorer(widgets.VBox):
    """A subclass makes its widgets, each an attribute, and calls `start`; `update` reads them and shows.

    A fault of the input is one line in ``message``, in place of what was shown before it.
    """

    def start(
        self,
        controls: Sequence[widgets.Widget],
        shown: Sequence[widgets.Widget],
        lasting: Sequence[widgets.Widget] = (),
    ) -> None:
        """Put the controls above what they change, and show it for the first time; ``lasting`` stays beside a fault."""
        align(controls)
        self.message, self._busy, self.changing = widgets.HTML(), False, tuple(shown)
        self.children = [dark(), widgets.HBox(controls, layout=WRAP), *lasting, self.message, *shown]
        for control in controls:
            control.observe(self._changed, "value")
        self._changed()

    def _changed(self, _: object = None) -> None:
        if self._busy:  # an update that changes a control's options is not another update
            return
        self._busy, self.message.value = True, "working …"
        try:
            self.update()
            self.message.value = ""
            self._appear(None)
        except InputError as error:
            self.message.value = f'<span role="alert">{html.escape(str(error))}</span>'
            self._appear("none")  # it would be the picture of other settings
        finally:
            self._busy = False

    def _appear(self, display: str | None) -> None:
        for part in self.changing:
            part.layout.display = display

    def __repr__(self) -> str:
        """What stands in a notebook where no kernel keeps the controls alive."""
        return f"{type(self).__name__}(its controls appear in JupyterLab, after Run > Run All Cells)"

    def update(self) -> None:
        """Show what the controls ask for."""
        raise NotImplementedError


def choose(control: widgets.Dropdown, options: Sequence, value: object = None) -> None:
    """Give a dropdown other options, keeping its value where it is still one, else taking ``value`` or the first."""
    kept = control.value
    control.options = options
    values = [option[1] if isinstance(option, tuple) else option for option in options]
    control.value = next(option for option in (kept, value, _first(options)) if option in values)
