"""``python -m asc_kit listen``: a microphone, or samples from a pipe, labelled while they come."""

import json
import os
import queue
import select
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from asc_kit import kernels
from asc_kit.common import InputError, say
from asc_kit.deploy import calibration, ready, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.deploy.stream import SILENT, Heard, Stream

PATIENCE = 5.0  # seconds without samples, after which that is said
PIECE = 1 << 16  # bytes read from a pipe at most
WAITING = 1000  # blocks of a microphone, some ten seconds; beyond, samples are lost

Blocks = Iterator[np.ndarray | None]  # (samples,) float32; None where nothing came for a while


def listen(model_file: Path, device: str | None, rate: float | None, every: float, as_json: bool, **ways: Any) -> None:
    """Print what is heard until the sound ends, its reader goes, or Ctrl+C.

    Parameters
    ----------
    device : a microphone's name or number; None: the system's own
    rate : of samples that come by standard input, in Hz; None: a microphone is heard
    every : seconds between labels
    as_json : an object for every window; else a line where the verdict changes
    ways : as `ready.load`

    Raises
    ------
    InputError : as `ready.load`, `calibration.read`, `Stream` and `microphone`; the sound ends too soon for a label.
    """
    kernels.keep_memory()
    model, blocks = quickened(ready.load(model_file, **ways)), piped()
    fitted = model_file.with_name(calibration.NAME).exists()
    about = calibration.read(model_file, model.config) if fitted else None
    if rate is None:
        rate, blocks = microphone(device, model.config.features.sample_rate)
    stream, lines = Stream(model, every, rate, about), Lines(model.classes, as_json)
    try:
        with suppress(KeyboardInterrupt):
            for block in patient(blocks, rate):
                lines.show(stream.feed(block))
            lines.show(stream.finish())
            if stream.number == 0:
                raise InputError(f"too little sound for a label: {stream.samples.end / stream.rate:.3f} s")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the rest goes that is not yet written


def patient(blocks: Blocks, rate: float) -> Iterator[np.ndarray]:
    """Blocks that come; says once where none do, and where they come faster than real time."""
    started, seconds, waiting, burst = time.monotonic(), 0.0, False, False
    for block in blocks:
        if block is None and not waiting:
            say(f"warning: nothing came for {PATIENCE:g} s; still listening")
        waiting = block is None
        if not waiting:
            seconds += len(block) / rate
            if not burst and seconds - (time.monotonic() - started) > recordings.WINDOW:
                burst = True
                say("note: it comes faster than real time; every window is scored all the same")
            yield block


def piped() -> Blocks:
    """Samples of standard input: signed 16 bits, little endian, one channel."""
    if sys.stdin is None:
        raise InputError("--stdin: standard input is closed; pipe samples into it")
    pipe, data = sys.stdin.fileno(), b""
    while True:
        if not select.select([pipe], [], [], PATIENCE)[0]:
            yield None
        elif came := os.read(pipe, PIECE):
            data += came
            yield np.frombuffer(data, "<i2", len(data) // 2).astype(np.float32) / 32768
            data = data[len(data) // 2 * 2 :]
        else:
            return


def microphone(device: str | None, rate: int) -> tuple[int, Blocks]:
    """A microphone's samples and their rate: ``rate`` where it can, else its own.

    Raises
    ------
    InputError : there is none of that name, and those that are there; it cannot be opened; it stops.
    """
    try:
        import sounddevice  # here: an extra
    except ModuleNotFoundError:
        raise InputError("sounddevice: is not installed; pip install '.[listen]' in asc_kit's repository") from None
    except OSError as error:  # of the library that it calls
        raise InputError(f"sounddevice: {error}; install it (Debian: apt-get install libportaudio2)") from None
    try:
        found = sounddevice.query_devices(int(device) if device and device.isdigit() else device, "input")
    except (ValueError, sounddevice.PortAudioError):
        there = [f"{number} {one['name']}" for number, one in enumerate(sounddevice.query_devices())
                 if one["max_input_channels"]]  # fmt: skip
        names = f"there are: {', '.join(there)}" if there else "none is there; plug one in, or give --stdin"
        raise InputError(f"--device: no microphone {device or 'by default'}; {names}") from None
    with suppress(sounddevice.PortAudioError):
        sounddevice.check_input_settings(found["index"], 1, "float32", None, rate)
        return rate, _captured(sounddevice, found, rate)
    return (own := round(found["default_samplerate"])), _captured(sounddevice, found, own)


def _captured(sounddevice: Any, found: dict[str, Any], rate: int) -> Blocks:
    name, blocks, lost, told = found["name"], queue.Queue[np.ndarray](WAITING), set[str](), set[str]()

    def take(samples: np.ndarray, frames: int, times: Any, status: Any) -> None:
        if status or blocks.full():
            lost.add(str(status) or "this machine is too slow")
        with suppress(queue.Full):
            blocks.put_nowait(samples[:, 0].copy())

    try:
        with sounddevice.InputStream(rate, None, found["index"], 1, "float32", callback=take) as stream:
            say(f"listening to {name} at {rate} Hz; Ctrl+C ends it")
            while True:
                block = None
                with suppress(queue.Empty):
                    block = blocks.get(timeout=PATIENCE)
                if block is None and not stream.active:
                    raise InputError(f"{name}: stopped; is it still plugged in?")
                for reason in lost - told:
                    say(f"warning: {name}: samples were lost: {reason}")
                told |= lost
                yield block
    except sounddevice.PortAudioError as error:
        raise InputError(f"{name}: cannot be heard ({error}); is another program using it?") from None


class Lines:
    """Windows on standard output: as JSON, or for people where the verdict changes."""

    def __init__(self, classes: tuple[str, ...], as_json: bool):
        self.classes, self.as_json, self.verdict, self.doubts = classes, as_json, "", ()

    def show(self, found: list[Heard]) -> None:
        """Print windows; and what is doubtful of them, where that begins."""
        for heard in found:
            for doubt in heard.doubts:
                if doubt not in self.doubts:
                    say(f"warning: at {heard.end:.0f} s: {doubt}: doubtful")
            p, before, self.doubts = heard.smoothed, self.verdict, heard.doubts
            self.verdict = ("silent" if SILENT in self.doubts else "unlike anything heard" if heard.unlike else
                            "unsure" if recordings.unsure(p) else self.classes[p.argmax()])  # fmt: skip
            if self.as_json:
                both = {"probabilities": heard.probabilities, "smoothed": p}
                named = {name: dict(zip(self.classes, values.tolist())) for name, values in both.items()}
                print(json.dumps({"time": round(heard.end, 6), "label": heard.label, **named}), flush=True)
            elif self.verdict != before:
                clock = timedelta(seconds=int(heard.end))
                print(f"{clock}  {self.verdict:<21}  {p.max():.2f}  {heard.level:4.0f} dB", flush=True)
