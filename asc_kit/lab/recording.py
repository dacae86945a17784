"""10_your_recording: a file seen, heard and classified, and in plain words how far to trust what comes of it."""

import html
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch

from asc_kit import config as configuration
from asc_kit.common import InputError
from asc_kit.deploy import calibration, listen, ready, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.deploy.recordings import WINDOW, Scored
from asc_kit.deploy.stream import Heard, Stream
from asc_kit.lab.explorer import Explorer, picture, player, show_mel
from asc_kit.run import experiment, recipes

FIRST = 60.0  # seconds of a long recording that are drawn and played; all of it is classified
COLUMNS = 20  # windows of the timeline, so far as they are from 1 to 10 s long
MADE = "synthetic: made by the kit; what a network says of it is no claim about real scenes"


def choose_model(name: str | None = None, results: Path = configuration.ROOT / "results") -> Path:
    """``name``, or else the demo's newest model of its largest network, or else that of real recordings."""
    if name is not None:
        return configuration.path(name)
    found = (results / "demo").glob("submission_[1-4]/seed_*/model.safetensors")
    real = results / "small" / "model.safetensors"
    return max(found, key=lambda file: (file.parent.parent, file.stat().st_mtime), default=real)


def choose_recording(name: str | None = None) -> Path:
    """``name``, or else a clip of the SYNTHETIC demo corpus that the demo's networks are not trained on."""
    if name is not None:
        return configuration.path(name)
    recipe = recipes.load("config/demo.yaml")
    corpus = experiment.open_corpus(recipe)
    _, evaluation = corpus.split(recipe.fold[0], recipe.folds, recipe.split_seed)
    return corpus.root / evaluation.filename.iloc[0]


def synthetic(file: Path) -> bool:
    """Whether the kit made a recording: the README of its data set says so."""
    readme = file.absolute().parent.parent / "README.md"
    return readme.is_file() and readme.read_text(errors="replace").startswith("SYNTHETIC")


@dataclass(frozen=True)
class Classified:
    """A recording and what a network says of it.

    Attributes
    ----------
    result : by windows of 10 s, as ``predict`` gives it
    timeline : by some twenty windows
    wave : (samples,) of the first minute, at the model's rate
    synthetic : made by the kit
    """

    result: Scored
    timeline: Scored
    wave: np.ndarray
    synthetic: bool

    @property
    def seconds(self) -> float:
        """Length of the whole recording."""
        return self.result.segments[-1].end


class Listener:
    """A model, and what is known of how far to trust it.

    Attributes
    ----------
    model : ready to score
    rate : samples a second
    title : for people: file, network and what it was trained on
    about : contents of the ``temperature.json`` beside it, or None
    missing : why there is none

    Raises
    ------
    InputError : as `ready.load`, whose ``folder`` it takes.
    """

    def __init__(self, file: Path, folder: Path | None = None):
        self.model, self.about, self.missing = quickened(ready.load(file, folder=folder)), None, ""
        config, root = self.model.config, configuration.ROOT
        name = file.relative_to(root) if file.is_relative_to(root) else file
        licence, self.rate = self.model.origin.get("licence", "of unknown origin"), config.features.sample_rate
        self.title = (f"{name}: submission {config.submission}, {config.features.n_mels} mel bins, "
                      f"{len(self.model.classes)} classes; {licence}")  # fmt: skip
        try:
            self.about = calibration.read(file, config)
        except InputError as error:
            self.missing = str(error).replace(f"{root}/", "")  # notebooks are passed on

    def classify(self, file: Path) -> Classified:
        """Classify a recording.

        Raises
        ------
        InputError : as `recordings.score`.
        """
        result = recordings.score(self.model, file, about=self.about)
        length = float(np.clip(round(result.segments[-1].end / COLUMNS), 1, WINDOW))
        windows = recordings.windows(recordings.Source(file, self.rate), round(WINDOW * self.rate))
        wave = np.concatenate([*islice(windows, math.ceil(FIRST / WINDOW))])[: round(FIRST * self.rate)]
        return Classified(result, recordings.score(self.model, file, length), wave, synthetic(file))

    def hear(self, seconds: float) -> Iterator[Heard]:
        """The system's microphone for some seconds, a label a second; it is kept nowhere.

        Raises
        ------
        InputError : as `listen.microphone`.
        """
        rate, blocks = listen.microphone(None, self.rate)
        stream = Stream(self.model, rate=rate, about=self.about)
        for block in listen.patient(blocks, rate):
            yield from stream.feed(block)
            if stream.last >= seconds * self.rate:
                return

    def words(self, found: Classified) -> list[str]:
        """What a person should know, a line each."""
        p, classes = found.result.probabilities, self.model.classes
        best = ", ".join(f"{classes[i]} {p[i]:.2f}" for i in np.argsort(-p, kind="stable")[:3])
        unsure = f"unsure: no class has a probability of {recordings.UNSURE:g}"
        verdict = f"{unsure if recordings.unsure(p) else classes[p.argmax()]}; the first are {best}"
        doubts = [f"doubtful: {doubt}" for doubt in found.result.doubts if doubt != recordings.STRANGE]
        notes = [f"note: {note}" for note in found.result.notes]
        return [verdict, *doubts, *notes, *self._trust(found), *[MADE] * found.synthetic]

    def _trust(self, found: Classified) -> Iterator[str]:
        if self.about is None:
            yield (f"{self.missing}: what its probabilities are worth, and whether a recording is unlike the training "
                   "data, is not known")  # fmt: skip
            return
        about, unlike, alarms = self.about, found.result.unlike, self.about["profile"]["false_alarms"]
        known = "" if alarms is None else f"; so are {alarms:.0%} of the held-out clips"
        yield (f"unlike the training data: {sum(unlike)} of {len(unlike)} windows of {WINDOW:g} s{known}" if any(unlike)
               else "like the training data" if unlike
               else "whether it is unlike the training data is not known: its windows have another length")  # fmt: skip
        yield (f"temperature {about['temperature']:g}, not applied here: on the {about['clips']} held-out clips it "
               f"was fitted on, log loss is {about['log_loss_before']:.3f} without it, {about['log_loss_after']:.3f} "
               "with it")  # fmt: skip

    def draw(self, found: Classified) -> plt.Figure:
        """Log-mel above; below the probabilities, as bars and in time."""
        classes, p, parts = self.model.classes, found.result.probabilities, found.timeline.segments
        figure, axes = plt.subplot_mosaic([[".", "mel"], ["bars", "times"]], width_ratios=(1, 2.6),
                                          figsize=(12, 3 + 0.4 * len(classes)), layout="constrained")  # fmt: skip
        level = self.model.features(torch.from_numpy(found.wave)[None])[0, 0].numpy()
        more = "" if found.seconds <= FIRST else f": the first {FIRST:g} of {found.seconds:.0f} s"
        show_mel(level, self.model.config.features, axes["mel"], f"log-mel of {found.result.file.name[:60]}{more}")
        bars, times = axes["bars"], axes["times"]
        bars.barh(classes, p, color=np.where(p == p.max(), "#d55e00", "#0072b2"))
        bars.axvline(recordings.UNSURE, color="grey", linestyle=":", linewidth=1)
        bars.set(xlim=(0, 1), ylim=(len(classes) - 0.5, -0.5), xlabel="probability", title="whole recording")
        edges = [part.start for part in parts] + [parts[-1].end]
        values = np.array([part.probabilities for part in parts]).T  # classes, windows
        image = times.pcolormesh(edges, np.arange(len(classes) + 1), values, vmin=0, vmax=1, cmap="cividis")
        times.invert_yaxis()  # the first class on top, as beside it
        times.set(yticks=[], xlabel="s", title=f"in time, by windows of {edges[1] - edges[0]:.3g} s")
        plt.colorbar(image, ax=times, pad=0.01, label="probability")
        return figure


class Recording(Explorer):
    """A recording of one's own is uploaded; then it is seen, heard and classified.

    Attributes
    ----------
    upload : what the browser sends
    words, sound, image : what `Listener.words` tells, a player, `Listener.draw`
    """

    def __init__(self, listener: Listener, first: Path):
        """``first`` : the recording that is shown before one is uploaded."""
        self.listener, self.file = listener, first
        self.uploads = tempfile.TemporaryDirectory(prefix="asc-kit-upload-")
        upload = widgets.FileUpload(description="upload (up to 10 MB)", multiple=False, layout={"width": "16em"})
        super().__init__("words sound image", upload=upload)

    def update(self) -> None:
        """Classify and show."""
        for sent in self.upload.value:
            self.file = Path(self.uploads.name) / (Path(sent["name"]).name or "upload")
            self.file.write_bytes(sent["content"])
        found = self.listener.classify(self.file)
        lines = self.listener.words(found)
        self.words.value = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
        self.sound.value = player(found.wave, self.listener.rate, found.synthetic)
        alt = f"log-mel and probabilities of {found.result.file.name}: {lines[0]}"
        self.image.value = picture(self.listener.draw(found), alt)
