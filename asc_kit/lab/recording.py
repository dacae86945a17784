"""10_your_recording: a file seen, heard and classified, and in plain words how far to trust what comes of it."""

import html
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from os.path import relpath
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.io import wavfile

from asc_kit import config as configuration
from asc_kit.common.errors import InputError
from asc_kit.common.files import replacing
from asc_kit.data import demo
from asc_kit.data.own import sound_files
from asc_kit.data.sounds import CITIES, RATE, Segment, synthesise
from asc_kit.deploy import calibration, compact, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.deploy.recordings import WINDOW, Scored
from asc_kit.lab.explorer import Explorer, choose, dropdown, picture, player, show_mel

SHOWN = 60.0  # seconds of a long recording that are seen and heard; all of it is classified
RUNS = 6  # stretches of time with one label that are told one by one
COLUMNS = 20  # windows of the timeline, so far as they are from 1 to 10 s long
CLIPS = {"street-then-park.wav": ("street_traffic", "park"), "bus.wav": ("bus",), "airport.wav": ("airport",)}
LISTED = 1000  # recordings of a folder, in the dropdown
MADE = "synthetic: made by the kit; what a network says of it is no claim about real scenes"


def choose_model(name: str | None = None, results: Path = configuration.ROOT / "results") -> Path:
    """``name``, or else the demo's newest model of its largest network, or else that of real recordings."""
    if name is not None:
        return configuration.path(name)
    found = (results / "demo").glob("submission_[1-4]/seed_*/model.safetensors")
    real = results / "tut2017_full" / "submission_2" / "seed_0" / "model.safetensors"
    return max(found, key=lambda file: (file.parent.parent, file.stat().st_mtime), default=real)


def choose_recording(name: str | None = None) -> Path:
    """``name``, or else the first of three SYNTHETIC recordings, made at first use: scenes of 15 s in a row."""
    if name is not None:
        return configuration.path(name)
    folder = configuration.cache() / "synthetic-recordings"
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
class Classified:
    """A recording and what a network says of it.

    Attributes
    ----------
    result : by windows of 10 s, as ``predict`` gives it
    timeline : by some twenty windows
    wave : (samples,) of the first minute, at the model's rate
    level : (time, mel) of the same
    unlike : for each window of 10 s whether it is unlike the training clips; empty where that is not known
    synthetic : made by the kit
    applied : with the fitted temperature
    """

    result: Scored
    timeline: Scored
    wave: np.ndarray
    level: np.ndarray
    unlike: tuple[bool, ...]
    synthetic: bool
    applied: bool

    @property
    def seconds(self) -> float:
        """Length of the whole recording."""
        return self.result.segments[-1].end


class Listener:
    """A model, and what is known of how far to trust it.

    Attributes
    ----------
    model : ready to score
    title : for people: file, network and what it was trained on
    about : contents of the ``temperature.json`` beside it, or None
    missing : why there is none
    temperature : the fitted one, or 1

    Raises
    ------
    InputError : as `compact.load`.
    """

    def __init__(self, file: Path):
        self.model, self.about, self.missing, self.temperature = quickened(compact.load(file)), None, "", 1.0
        config, root = self.model.config, configuration.ROOT
        name = file.relative_to(root) if file.is_relative_to(root) else file
        licence, self.rate = self.model.origin.get("licence", "of unknown origin"), config.features.sample_rate
        self.title = (f"{name}: submission {config.submission}, {config.features.n_mels} mel bins, "
                      f"{len(self.model.classes)} classes; {licence}")  # fmt: skip
        try:
            self.about = calibration.read(file, config)
            self.temperature = self.about["temperature"]
        except InputError as error:
            self.missing = str(error).replace(f"{root}/", "")  # notebooks are passed on

    def hear(self, file: Path, applied: bool = False) -> Classified:
        """Classify a recording.

        Parameters
        ----------
        applied : with the fitted temperature

        Raises
        ------
        InputError : as `recordings.score`.
        """
        degree = self.temperature if applied else 1.0
        result = recordings.score(self.model, file, temperature=degree)
        length = float(np.clip(round(result.segments[-1].end / COLUMNS), 1, WINDOW))
        timeline = recordings.score(self.model, file, length, degree)
        first, unlike = [], []
        for window in recordings.windows(recordings.Source(file, self.rate), round(WINDOW * self.rate)):
            if len(first) * WINDOW < SHOWN:
                first.append(window)
            if self.about:
                features = self.model.features(torch.from_numpy(window)[None])
                unlike.append(bool(calibration.unlike(self.about, features)[0]))
        wave = np.concatenate(first)[: round(SHOWN * self.rate)]
        level = self.model.features(torch.from_numpy(wave)[None])[0, 0].numpy()
        return Classified(result, timeline, wave, level, tuple(unlike), synthetic(file), applied)

    def words(self, found: Classified) -> list[str]:
        """What a person should know, a line each."""
        doubts = [f"doubtful: {doubt}" for doubt in found.result.doubts]
        notes = [f"note: {note}" for note in found.result.notes]
        return [*self._verdict(found), *doubts, *notes, *self._trust(found), *[MADE] * found.synthetic]

    def _verdict(self, found: Classified) -> Iterator[str]:
        p, classes = found.result.probabilities, self.model.classes
        best = ", ".join(f"{classes[i]} {p[i]:.2f}" for i in np.argsort(-p, kind="stable")[:3])
        unsure = f"unsure: no class has a probability of {recordings.UNSURE:g}"
        yield f"{unsure if recordings.unsure(p) else classes[p.argmax()]}; the first are {best}"
        spans = groupby(found.timeline.segments, key=lambda part: classes[part.probabilities.argmax()])
        runs = [(name, list(parts)) for name, parts in spans]
        if len(runs) > RUNS:
            yield f"in time: changes {len(runs) - 1} times, between {', '.join(sorted({name for name, _ in runs}))}"
        elif len(runs) > 1:
            yield "in time: " + ", ".join(f"{parts[0].start:.0f} to {parts[-1].end:.0f} s {n}" for n, parts in runs)

    def _trust(self, found: Classified) -> Iterator[str]:
        if self.about is None:
            yield (f"{self.missing}: what its probabilities are worth, and whether a recording is unlike the training "
                   "data, is not known")  # fmt: skip
            return
        about, count, alarms = self.about, sum(found.unlike), self.about["profile"]["false_alarms"]
        known = "" if alarms is None else f"; so are {alarms:.0%} of the validation clips"
        yield (f"unlike the training data: {count} of {len(found.unlike)} windows of {WINDOW:g} s{known}" if count
               else "not unlike the training data")  # fmt: skip
        yield (f"temperature {self.temperature:g}, {'' if found.applied else 'not '}applied here: on the "
               f"{about['clips']} validation clips it was fitted on, log loss is {about['log_loss_before']:.3f} "
               f"without it, {about['log_loss_after']:.3f} with it")  # fmt: skip

    def draw(self, found: Classified) -> plt.Figure:
        """Log-mel above; below the probabilities, as bars and in time."""
        classes, p = self.model.classes, found.result.probabilities
        bottom = 0.6 + 0.24 * len(classes)  # inches, as the top's
        places = [[".", "mel"], ["bars", "times"]]
        figure, axes = plt.subplot_mosaic(places, width_ratios=(1, 2.6), height_ratios=(3, bottom),
                                          figsize=(12, 3.8 + bottom), layout="constrained")  # fmt: skip
        unsure = ", unsure" * recordings.unsure(p)
        figure.suptitle(f"{found.result.file.name[:60]}: {classes[p.argmax()]}, probability {p.max():.2f}{unsure}")
        part = "" if found.seconds <= SHOWN else f": the first {SHOWN:g} of {found.seconds:.0f} s"
        show_mel(found.level, self.model.config.features, axes["mel"], f"log-mel{part}")
        bars = axes["bars"]
        bars.barh(classes, p, color=np.where(p == p.max(), "#d55e00", "#0072b2"))
        bars.axvline(recordings.UNSURE, color="grey", linestyle=":", linewidth=1)
        bars.set(xlim=(0, 1), ylim=(len(classes) - 0.5, -0.5), xlabel="probability",
                 title="with the temperature" if found.applied else "whole recording")  # fmt: skip
        bars.grid(False)
        _times(axes["times"], found.timeline)
        return figure


def _times(axis: plt.Axes, timeline: Scored) -> None:
    edges = [part.start for part in timeline.segments] + [timeline.segments[-1].end]
    values = np.array([part.probabilities for part in timeline.segments]).T  # classes, windows
    image = axis.pcolormesh(edges, np.arange(len(values) + 1) - 0.5, values, vmin=0, vmax=1, cmap="cividis")
    axis.set(ylim=(len(values) - 0.5, -0.5), yticks=[], xlabel="s",
             title=f"in time, by windows of {edges[1] - edges[0]:.3g} s")  # fmt: skip
    plt.colorbar(image, ax=axis, pad=0.01, label="probability")
    axis.grid(False)


def listed(folder: Path, *more: Path) -> list[tuple[str, Path]]:
    """The recordings of a folder, and ``more``, as options."""
    found = sound_files(folder)[0][:LISTED]
    return [(relpath(file, folder), file) for file in sorted({*more, *found})]


class Recording(Explorer):
    """A recording is chosen from a folder or uploaded; then it is seen, heard and classified.

    Attributes
    ----------
    folder, file, upload : where recordings are looked for, those found, and what the browser sends
    applied : whether the fitted temperature is; disabled where there is none
    words, sound, image : what `Listener.words` tells, a player, `Listener.draw`
    """

    def __init__(self, listener: Listener, first: Path):
        self.listener, self.uploads = listener, tempfile.TemporaryDirectory(prefix="asc-kit-upload-")
        super().__init__(
            "words sound image",
            folder=widgets.Text(str(first.parent), description="folder", continuous_update=False,
                                style={"description_width": "initial"}, layout={"width": "36em"}),
            file=dropdown(listed(first.parent, first), "recording", value=first),
            upload=widgets.FileUpload(description="upload (up to 10 MB)", multiple=False, layout={"width": "16em"}),
            applied=widgets.Checkbox(False, description="apply the fitted temperature", indent=False,
                                     disabled=listener.about is None),
        )  # fmt: skip

    def update(self) -> None:
        """List, classify and show, as far as the control that was moved asks for it."""
        if self.changed is self.folder:
            choose(self.file, listed(configuration.path(self.folder.value)))
        elif self.changed is self.upload:
            self._receive()
        if self.file.value is None:
            raise InputError(f"{self.folder.value}: no recordings in it; name another folder")
        found = self.listener.hear(self.file.value, self.applied.value)
        lines = self.listener.words(found)
        self.words.value = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
        self.sound.value = player(found.wave, self.listener.rate, found.synthetic)
        alt = f"log-mel and probabilities of {found.result.file.name}: {lines[0]}"
        self.image.value = picture(self.listener.draw(found), alt)

    def _receive(self) -> None:
        (sent,) = self.upload.value
        file = Path(self.uploads.name) / (Path(sent["name"]).name or "upload")
        file.write_bytes(sent["content"])
        self.file.options = [(f"uploaded: {file.name}", file), *(o for o in self.file.options if o[1] != file)]
        self.file.value = file
