"""10_your_recording: a file seen, heard and classified, and in plain words how far to trust what comes of it."""

import html
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.io import wavfile

from asc_kit import config as configuration
from asc_kit.common.errors import InputError
from asc_kit.common.files import replacing
from asc_kit.data import demo
from asc_kit.data.sounds import CITIES, RATE, Segment, synthesise
from asc_kit.deploy import calibration, compact, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.deploy.recordings import WINDOW, Scored
from asc_kit.lab import listen, show_mel
from asc_kit.lab.explorer import WRAP, dark

SHOWN = 60.0  # seconds of a long recording that are seen and heard; all of it is classified
RUNS = 6  # stretches of time with one label that are told one by one
COLUMNS = 20  # windows of the timeline, so far as they are from 1 to 10 s long
CLIPS = {"street-then-park.wav": ("street_traffic", "park"), "bus.wav": ("bus",), "airport.wav": ("airport",)}
LISTED = 1000  # recordings of a folder, in the dropdown
HOUSE = "synthetic-recordings"


def choose_model(name: str | None = None, results: Path = configuration.ROOT / "results") -> Path:
    """``name``, or else the demo's newest model of its largest network, or else that of real recordings."""
    if name is not None:
        return configuration.path(name)
    for submission in "4321":
        if found := list((results / "demo").glob(f"submission_{submission}/seed_*/model.safetensors")):
            return max(found, key=lambda file: file.stat().st_mtime)
    return results / "tut2017_full" / "submission_2" / "seed_0" / "model.safetensors"


def choose_recording(name: str | None = None) -> Path:
    """``name``, or else the first of three SYNTHETIC recordings, made at first use: scenes of 15 s in a row."""
    if name is not None:
        return configuration.path(name)
    folder = configuration.cache() / HOUSE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("SYNTHETIC audio, made by asc_kit/data/sounds.py: no recording of any place.\n")
    for file in [folder / name for name in CLIPS if not (folder / name).exists()]:
        scenes = [Segment(scene, CITIES[0], 0, 0, ("a",), False) for scene in CLIPS[file.name]]
        wave = np.concatenate([demo.apply_device(synthesise(scene, 2021, 15.0), "a") for scene in scenes])
        with replacing(file) as part:
            wavfile.write(part, RATE, np.round(32767 * wave).astype(np.int16))
    return folder / next(iter(CLIPS))


def synthetic(file: Path) -> bool:
    """Whether the kit made a recording: the README of its folder, or of its data set, says so."""
    readmes = [folder / "README.md" for folder in list(file.absolute().parents)[:2]]
    return any(readme.read_text(errors="replace").startswith("SYNTHETIC") for readme in readmes if readme.is_file())


@dataclass(frozen=True)
class Heard:
    """A recording and what a network says of it.

    Attributes
    ----------
    result : by windows of 10 s, as ``predict`` gives it
    timeline : by some twenty windows
    wave : (samples,) of the first minute, at the model's rate
    level : (time, mel) of the same
    unlike : for each window of 10 s whether it is unlike the training clips; None where that is not known
    synthetic : made by the kit
    """

    result: Scored
    timeline: Scored
    wave: np.ndarray
    level: np.ndarray
    unlike: tuple[bool, ...] | None
    synthetic: bool

    @property
    def seconds(self) -> float:
        """Length of the whole recording."""
        return self.result.segments[-1].end

    def tempered(self, temperature: float) -> "Heard":
        """The same with every window's logits divided by a temperature."""
        return replace(self, result=_tempered(self.result, temperature), timeline=_tempered(self.timeline, temperature))


def _tempered(scored: Scored, temperature: float) -> Scored:
    parts = [replace(part, probabilities=calibration.tempered(part.probabilities, temperature))
             for part in scored.segments]  # fmt: skip
    mean = np.average([p.probabilities for p in parts], axis=0, weights=[p.end - p.start for p in parts])
    return replace(scored, segments=tuple(parts), probabilities=mean)


class Listener:
    """A model, and what is known of how far to trust it.

    Attributes
    ----------
    model : ready to score
    about : contents of the ``temperature.json`` beside it, or None
    missing : why there is none

    Raises
    ------
    InputError : as `compact.load`.
    """

    def __init__(self, file: Path):
        self.file, self.about, self.missing = file, None, ""
        self.model = quickened(compact.load(file))
        self.rate = self.model.config.features.sample_rate
        if not file.with_name(calibration.NAME).exists():
            self.missing = f"no {calibration.NAME} lies beside the model (a run with a validation part writes it)"
            return
        try:
            self.about = calibration.read(file, self.model.config)
        except InputError as error:
            self.missing = str(error)

    @property
    def title(self) -> str:
        """For people: file, network and what it was trained on."""
        made = self.model.origin.get("licence", "of unknown origin")
        root = configuration.ROOT
        name = self.file.relative_to(root) if self.file.is_relative_to(root) else self.file
        bins, classes = self.model.config.features.n_mels, len(self.model.classes)
        return f"{name}: submission {self.model.config.submission}, {bins} mel bins, {classes} classes; {made}"

    @property
    def temperature(self) -> float:
        """The fitted one, or 1."""
        return self.about["temperature"] if self.about else 1.0

    def hear(self, file: Path) -> Heard:
        """Classify a recording.

        Raises
        ------
        InputError : as `recordings.score`.
        """
        result = recordings.score(self.model, file)
        length = float(np.clip(round(result.segments[-1].end / COLUMNS), 1, WINDOW))
        timeline = result if length == WINDOW else recordings.score(self.model, file, length)
        first, unlike = self._look(file)
        wave = np.concatenate(first)[: round(SHOWN * self.rate)]
        level = self.model.features(torch.from_numpy(wave)[None])[0, 0].numpy()
        return Heard(result, timeline, wave, level, unlike, synthetic(file))

    def _look(self, file: Path) -> tuple[list[np.ndarray], tuple[bool, ...] | None]:
        """The first windows, and whether each of all is unlike the training clips; one at a time is in memory."""
        first, unlike = [], []
        for number, window in enumerate(
            recordings.windows(recordings.Source(file, self.rate), round(WINDOW * self.rate))
        ):
            if number * WINDOW < SHOWN:
                first.append(window)
            if self.about:
                features = self.model.features(torch.from_numpy(window)[None])
                unlike.append(bool(calibration.unlike(self.about, features)[0]))
        return first, tuple(unlike) if self.about else None

    def words(self, heard: Heard, applied: bool = False) -> list[str]:
        """What a person should know, a line each.

        Parameters
        ----------
        applied : the fitted temperature is applied
        """
        shown = heard.tempered(self.temperature) if applied else heard
        made = "synthetic: made by the kit; what a network says of it is no claim about real scenes"
        return [*self._verdict(shown), *(f"doubtful: {doubt}" for doubt in shown.result.doubts),
                *(f"note: {note}" for note in shown.result.notes), *self._trust(heard, applied),
                *[made] * heard.synthetic]  # fmt: skip

    def _verdict(self, heard: Heard) -> Iterator[str]:
        p, classes = heard.result.probabilities, self.model.classes
        best = ", ".join(f"{classes[i]} {p[i]:.2f}" for i in np.argsort(-p, kind="stable")[:3])
        if recordings.unsure(p):
            yield f"unsure: no class has a probability of {recordings.UNSURE:g}; the first are {best}"
        else:
            yield f"{classes[p.argmax()]}; the first are {best}"
        spans = groupby(heard.timeline.segments, key=lambda part: classes[part.probabilities.argmax()])
        runs = [(name, list(parts)) for name, parts in spans]
        if len(runs) > RUNS:
            yield f"in time: changes {len(runs) - 1} times, between {', '.join(sorted({name for name, _ in runs}))}"
        elif len(runs) > 1:
            yield "in time: " + ", ".join(f"{parts[0].start:.0f} to {parts[-1].end:.0f} s {n}" for n, parts in runs)

    def _trust(self, heard: Heard, applied: bool) -> Iterator[str]:
        if self.about is None:
            yield (f"{self.missing}: what its probabilities are worth, and whether a recording is unlike the training "
                   "data, is not known")  # fmt: skip
            return
        about, count, alarms = self.about, sum(heard.unlike), self.about["profile"]["false_alarms"]
        if count:
            known = "" if alarms is None else f"; so are {alarms:.0%} of the validation clips"
            yield f"unlike the training data: {count} of {len(heard.unlike)} windows of {WINDOW:g} s{known}"
        else:
            yield "not unlike the training data"
        yield (f"temperature {self.temperature:g}, {'' if applied else 'not '}applied here: on the {about['clips']} "
               f"validation clips it was fitted on, log loss is {about['log_loss_before']:.3f} without it, "
               f"{about['log_loss_after']:.3f} with it")  # fmt: skip

    def draw(self, heard: Heard, applied: bool = False) -> Figure:
        """Log-mel above; below the probabilities, as bars and in time. ``applied``: with the fitted temperature."""
        shown = heard.tempered(self.temperature) if applied else heard
        figure = plt.figure(figsize=(12, 4.2 + 0.24 * len(self.model.classes)), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(1, 2.6), height_ratios=(3, 0.6 + 0.24 * len(self.model.classes)))
        mel, times = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
        bars, text = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[0, 0])
        part = "" if heard.seconds <= SHOWN else f": the first {SHOWN:g} of {heard.seconds:.0f} s"
        show_mel(heard.level, self.model.config.features, mel, f"log-mel{part}")
        _bars(bars, self.model.classes, heard.result, shown.result if applied else None)
        _times(times, shown.timeline)
        p = shown.result.probabilities
        text.axis("off")
        text.text(0.5, 0.65, self.model.classes[p.argmax()], ha="center", fontsize=18, weight="bold", wrap=True)
        text.text(0.5, 0.45, f"probability {p.max():.2f}{', unsure' * recordings.unsure(p)}", ha="center", fontsize=12)
        name = heard.result.file.name
        if applied:
            text.legend(*bars.get_legend_handles_labels(), loc="lower center", fontsize=8, frameon=False)
        text.text(0.5, 0.29, name if len(name) <= 36 else f"{name[:20]} … {name[-12:]}", ha="center", fontsize=9)
        return figure


def _bars(axis: Axes, classes: tuple[str, ...], plain: Scored, tempered: Scored | None) -> None:
    places, shown = np.arange(len(classes)), tempered or plain
    colours = ["#d55e00" if p == shown.probabilities.max() else "#0072b2" for p in shown.probabilities]
    axis.barh(places, shown.probabilities, color=colours, label="with the temperature" if tempered else None)
    if tempered:
        axis.plot(plain.probabilities, places, "k|", markersize=10, label="without the temperature")
    axis.axvline(recordings.UNSURE, color="grey", linestyle=":", linewidth=1)
    axis.set(yticks=places, yticklabels=classes, xlim=(0, 1), ylim=(len(classes) - 0.5, -0.5), xlabel="probability",
             title="whole recording")  # fmt: skip
    axis.grid(False)


def _times(axis: Axes, timeline: Scored) -> None:
    edges = [part.start for part in timeline.segments] + [timeline.segments[-1].end]
    values = np.array([part.probabilities for part in timeline.segments]).T  # classes, windows
    image = axis.pcolormesh(edges, np.arange(len(values) + 1) - 0.5, values, vmin=0, vmax=1, cmap="cividis")
    length = edges[1] - edges[0]
    axis.set(ylim=(len(values) - 0.5, -0.5), yticks=np.arange(len(values)), yticklabels=[], xlabel="s",
             title=f"in time, by windows of {length:.3g} s")  # fmt: skip
    plt.colorbar(image, ax=axis, pad=0.01, label="probability")
    axis.grid(False)


class Recording(widgets.VBox):
    """A recording is chosen from a folder or uploaded; then it is seen, heard and classified.

    Attributes
    ----------
    folder, file, upload : where recordings are looked for, those found, and what the browser sends
    applied : whether the fitted temperature is; disabled where there is none
    message, words, sound, picture : a fault in one line; what `Listener.words` tells, a player, `Listener.draw`
    """

    def __init__(self, listener: Listener, first: Path):
        self.listener, self._sent = listener, tempfile.TemporaryDirectory(prefix="asc-kit-upload-")
        wide, name = {"description_width": "initial"}, {"width": "36em"}
        self.folder = widgets.Text(
            str(first.parent), description="folder", continuous_update=False, style=wide, layout=name
        )
        self.file = widgets.Dropdown(description="recording", style=wide, layout=name)
        self.upload = widgets.FileUpload(description="upload (up to 10 MB)", multiple=False, layout={"width": "16em"})
        self.applied = widgets.Checkbox(False, description="apply the fitted temperature", indent=False,
                                        disabled=listener.about is None)  # fmt: skip
        self.message, self.words, self.sound = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.picture, self._heard = widgets.Image(format="png", layout={"max_width": "100%", "display": "none"}), None
        super().__init__([dark(), widgets.HBox([self.folder, self.file, self.upload, self.applied],
                                               layout=WRAP),
                          self.message, self.words, self.sound, self.picture])  # fmt: skip
        self._list(first)
        self.folder.observe(lambda _: self._list(None), "value")
        self.file.observe(lambda _: self._classify(), "value")
        self.upload.observe(lambda _: self._receive(), "value")
        self.applied.observe(lambda _: self._show(), "value")
        self._classify()

    def _list(self, chosen: Path | None) -> None:
        folder = configuration.path(self.folder.value)
        found = [file for file in recordings.find([folder]) if not file.is_dir()][:LISTED] if folder.is_dir() else []
        self.message.value = "" if found or chosen else _line(f"{folder}: no recordings in it; name another folder")
        if chosen is not None and chosen not in found:
            found.insert(0, chosen)
        names = [str(file.relative_to(folder)) if file.is_relative_to(folder) else file.name for file in found]
        self.file.options = list(zip(names, found))
        self.file.value = chosen or (found[0] if found else None)

    def _receive(self) -> None:
        if not self.upload.value:
            return
        sent = self.upload.value[0]
        file = Path(self._sent.name) / (Path(sent["name"]).name or "upload")
        file.write_bytes(sent["content"])
        again = self.file.value == file
        self.file.options = [(f"uploaded: {file.name}", file), *(o for o in self.file.options if o[1] != file)]
        self.file.value = file
        if again:  # another sound of the same name
            self._classify()

    def _classify(self) -> None:
        if self.file.value is None:  # an empty folder: what was heard before is not of it
            self._heard = None
            self._show()
            return
        self._heard, self.message.value = None, "listening …"
        try:
            self._heard = self.listener.hear(self.file.value)
            self.message.value = ""
        except InputError as error:
            self.message.value = _line(str(error))
        self._show()

    def _show(self) -> None:
        heard, applied = self._heard, self.applied.value
        self.picture.layout.display = "none" if heard is None else "block"
        self.words.value = self.sound.value = ""
        if heard is None:
            return
        lines = "".join(map(_line, self.listener.words(heard, applied)))
        self.words.value = f'<section style="line-height:1.5">{lines}</section>'
        player = listen(heard.wave, self.listener.rate, heard.synthetic)
        self.sound.value = player if isinstance(player, str) else player._repr_html_()
        figure, file = self.listener.draw(heard, applied), io.BytesIO()
        figure.savefig(file, format="png", dpi=90, facecolor="white")
        plt.close(figure)  # or the notebook shows it once more
        self.picture.value = file.getvalue()


def _line(text: str) -> str:
    return f"<div>{html.escape(text)}</div>"
