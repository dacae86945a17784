"""The kit's own data, SYNTHETIC: a procedural corpus in the layout of TAU Urban Acoustic Scenes 2020 Mobile.

It stands in for the real recordings wherever those are not at hand, and shares their difficulty in small: ten scene
classes that overlap, locations that never stand on both sides, devices that the training fold has not heard. A scene
is a mixture of sounds (``sounds.py``), each with traits of its location and of its segment; a device is a filter,
self-noise and a compressor (`DEVICES`). It is a positive control: that more mel bins help, and that unseen devices
cost, is built into it. Its accuracies say that the machinery finds that, and nothing about real scenes.

Every random number comes from a generator seeded by what it is for, so that the same settings give the same bytes.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import default_rng
from scipy import fft, signal
from scipy.io import wavfile

from asc_kit.common import InputError, cached, locked, progress
from asc_kit.config import Demo
from asc_kit.data.sounds import CITIES, RATE, SCENES, Segment, curve, synthesise

TRAINING, UNSEEN = ("a", "b", "c", "s1", "s2", "s3"), ("s4", "s5", "s6")  # devices


@dataclass(frozen=True)
class Device:
    """A recorder: dB at `sounds.BANDS`, gain in dB, RMS of its self-noise in dBFS, and a compressor."""

    response: tuple[float, ...]
    gain: float
    noise: float
    threshold: float = -40.0  # dBFS, above which it compresses
    ratio: float = 1.0


DEVICES = {
    "a": Device((-1, 0, 0, 0, 0, 0, 0, 0, 0, -1), 0, -75),
    "b": Device((-12, -6, -3, -1, 0, 1, 2, 2, 0, -4), 4, -70, -30, 1.4),
    "c": Device((-9, -4, -1, 0, 1, 0, -1, 2, 1, -2), -1, -72, -32, 1.3),
    "s1": Device((-6, -4, -1, 2, 1, -2, 1, 3, -1, -5), 4, -70, -32, 1.6),
    "s2": Device((-3, 1, 3, 0, -3, -1, 2, -1, -4, -8), 1, -69, -34, 1.5),
    "s3": Device((-12, -7, -4, 0, 3, 1, -2, -1, 2, -1), 4, -70, -30, 2.0),
    "s4": Device((-12, -8, -3, 3, -1, 3, 3, -3, -6, -12), 6, -67, -34, 2.2),
    "s5": Device((3, 5, -3, -7, 1, 6, -4, 4, 7, 0), 0, -68, -36, 2.0),
    "s6": Device((-10, -1, 6, 3, -7, -5, 4, -9, 1, -10), 6, -66, -32, 2.6),
}


def apply_device(waveform: np.ndarray, device: str, seed: int = 0) -> np.ndarray:
    """Record one channel with one of `DEVICES`: filter, gain, self-noise, dynamic range compressor.

    Parameters
    ----------
    waveform : (samples,) float in [-1, 1] at 44.1 kHz
    device : a, b, c or s1 to s6; a is nearly flat and does not compress
    seed : of the self-noise; give each clip its own

    Returns
    -------
    (samples,) of the same type, within [-1, 1]
    """
    settings, n = DEVICES[device], len(waveform)
    response = curve(n, np.array(settings.response) + settings.gain).astype(waveform.dtype)
    noise = default_rng([seed, list(DEVICES).index(device)]).standard_normal(n, np.float32)
    heard = fft.irfft(fft.rfft(waveform) * response, n) + 10 ** (settings.noise / 20) * noise
    return np.clip(_compress(heard, settings), -1, 1).astype(waveform.dtype)


def _compress(x: np.ndarray, device: Device, block: int = 441) -> np.ndarray:
    """Lower what is above the threshold; the level is followed every 10 ms, with a release of 100 ms."""
    if device.ratio == 1:
        return x
    power = np.mean(np.pad(x, (0, -len(x) % block)).reshape(-1, block) ** 2, 1)
    power = signal.lfilter([0.1], [1, -0.9], power, zi=[0.9 * power[0]])[0]
    over = np.maximum(10 * np.log10(power + 1e-12) - device.threshold, 0)
    gain = np.interp(np.arange(len(x)), block * (np.arange(len(power)) + 0.5), over * (1 / device.ratio - 1))
    return x * 10 ** (gain / 20)


def plan(demo: Demo) -> Iterator[Segment]:
    """Every scene of the corpus and who records it.

    In training, as in TAU, device a makes some 73 % of the clips and each other device a fifth of the rest; some
    scenes are recorded by several devices, some by another than a. In evaluation all nine record every scene.
    """
    location, scenes = 0, demo.locations * demo.segments
    for label, scene in enumerate(SCENES):
        order = default_rng([demo.seed, 2 * 10**6 + label]).permutation(scenes)
        devices = [["a"] if i >= scenes // 8 else [] for i in range(scenes)]
        for i in range(max(1, round(scenes / 16)) * 5):
            devices[i % scenes].append(TRAINING[1 + i % 5])
        devices = [tuple(devices[i]) for i in order]
        for place in range(demo.locations + demo.evaluation_locations):
            evaluation, city = place >= demo.locations, CITIES[(place + label) % len(CITIES)]
            for number in range(demo.evaluation_segments if evaluation else demo.segments):
                by = TRAINING + UNSEEN if evaluation else devices[place * demo.segments + number]
                yield Segment(scene, city, location, number, by, evaluation)
            location += 1


def _record(segment: Segment, demo: Demo, folder: Path) -> list[tuple[str, str, str, str]]:
    """Write one scene's clips into ``folder``; their rows of meta.csv."""
    sound, rows = synthesise(segment, demo.seed, demo.seconds), []
    for device in segment.devices:
        name = f"audio/{segment.scene}-{segment.city}-{segment.location}-{segment.number}-{device}.wav"
        clip = apply_device(sound, device, seed=1000 * segment.location + segment.number)
        wavfile.write(folder / name, RATE, np.round(32767 * clip).astype(np.int16))
        rows.append((name, segment.scene, f"{segment.city}-{segment.location}", device))
    return rows


def _table(file: Path, columns: str, rows: list[tuple[str, ...]]) -> None:
    file.write_text("".join("\t".join(row) + "\n" for row in [tuple(columns.split()), *rows]))


def _write(folder: Path, demo: Demo) -> None:
    (folder / "audio").mkdir()
    (folder / "evaluation_setup").mkdir()
    segments = list(plan(demo))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most time is spent in FFTs, which leave the interpreter free
        made = pool.map(partial(_record, demo=demo, folder=folder), segments)
        rows = list(progress(made, "synthetic scenes", total=len(segments)))
    train = [row for segment, part in zip(segments, rows) if not segment.evaluation for row in part]
    evaluate = [row for segment, part in zip(segments, rows) if segment.evaluation for row in part]
    _table(folder / "meta.csv", "filename scene_label identifier source_label", train + evaluate)
    setup = folder / "evaluation_setup"
    _table(setup / "fold1_train.csv", "filename scene_label", [r[:2] for r in train])
    _table(setup / "fold1_test.csv", "filename", [r[:1] for r in evaluate])
    _table(setup / "fold1_evaluate.csv", "filename scene_label", [r[:2] for r in evaluate])


def _readme(demo: Demo) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in asdict(demo).items())
    return (f"SYNTHETIC audio, made by asc_kit (asc_kit/data/demo.py) in the layout of TAU Urban Acoustic Scenes 2020 "
            f"Mobile: no recording of any place, whatever its file names say. Settings: {settings}.\n")  # fmt: skip


def build(root: str | Path, demo: Demo) -> Path:
    """Write the corpus, whole or not at all; one that is there with the same settings is left as it is.

    Parameters
    ----------
    root : the folder to make
    demo : settings

    Raises
    ------
    InputError : ``root`` holds something else, or it cannot be written.
    """
    root, readme = Path(root), _readme(demo)
    if _built(root, readme):
        return root
    with locked(root.with_name(f"{root.name}.lock")):
        if not _built(root, readme):  # another process may have built it meanwhile
            if root.is_file() or root.is_dir() and any(root.iterdir()):
                raise InputError(f"{root}: holds other files or other settings; remove it or give another folder")
            with cached(root) as part:
                _write(part, demo)
                (part / "README.md").write_text(readme)
    return root


def _built(root: Path, readme: str) -> bool:
    return (root / "README.md").is_file() and (root / "README.md").read_text() == readme
