"""The kit's own data, SYNTHETIC: a procedural corpus in the layout of TAU Urban Acoustic Scenes 2020 Mobile.

It stands in for the real recordings wherever those are not at hand, and shares their difficulty in small: ten scene
classes that overlap, locations that never stand on both sides, devices that the training fold has not heard. A scene
is a mixture of sounds (`SCENES`), each with traits of its location and of its segment; a device is a filter, self-noise
and a compressor (`DEVICES`). Its accuracies say that the machinery works, and nothing about real scenes.

Every random number comes from a generator seeded by what it is for, so that the same settings give the same bytes.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from scipy import fft, signal
from scipy.interpolate import PchipInterpolator
from scipy.io import wavfile
from tqdm import tqdm

from asc_kit.errors import InputError

RATE = 44100  # Hz
CITIES = ("barcelona", "helsinki", "lisbon", "lyon", "paris", "vienna")
TRAINING, UNSEEN = ("a", "b", "c", "s1", "s2", "s3"), ("s4", "s5", "s6")  # devices
BANDS = 31.25 * 2.0 ** np.arange(10)  # Hz, octaves from 31 to 16,000


@dataclass(frozen=True)
class Demo:
    """Settings of the corpus; the size is that of the training fold unless it says evaluation.

    Parameters
    ----------
    seed : of every random number
    seconds : length of a clip
    locations, evaluation_locations : places per scene class; none stands on both sides
    segments, evaluation_segments : scenes per place
    """

    seed: int = 2021
    seconds: float = 10.0
    locations: int = 8
    segments: int = 4
    evaluation_locations: int = 3
    evaluation_segments: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value, low = getattr(self, field.name), {"seed": 0, "seconds": 0.1}.get(field.name, 1)
            kinds = (int, float) if field.name == "seconds" else (int,)
            if type(value) not in kinds or not low <= value < 2**31:
                raise InputError(f"{field.name}: {value!r} is not possible; give a number from {low}")


# Sounds: each takes a generator of the place (`here`: the same for all its segments), one of the segment (`now`) and a
# number of samples. A continuous sound has an RMS of about 1, an event a peak of about 1.


def _slow(rng: Generator, n: int, seconds: float) -> np.ndarray:
    """A random curve that turns every ``seconds``, (n,), of unit variance at its knots."""
    knots = rng.standard_normal(2 + int(n / RATE / seconds))
    return np.interp(np.arange(n) / (RATE * seconds), np.arange(len(knots)), knots)


def _curve(n: int, gains: np.ndarray) -> np.ndarray:
    """Factor of each bin of a real FFT of ``n`` samples, from gains in dB at `BANDS`."""
    octave = np.log2(np.maximum(fft.rfftfreq(n, 1 / RATE), 1) / BANDS[0]).clip(0, len(BANDS) - 1)
    return 10 ** (PchipInterpolator(np.arange(len(BANDS)), gains)(octave) / 20)


def _noise(rng: Generator, n: int, low: float, high: float, tilt: float = 0.0) -> np.ndarray:
    """Noise of unit RMS between ``low`` and ``high`` Hz, falling by ``tilt`` dB an octave."""
    f = np.maximum(fft.rfftfreq(n, 1 / RATE), 1)
    shape = f ** (-tilt / 6.02) / np.sqrt((1 + (low / f) ** 4) * (1 + (f / high) ** 4))
    bins = rng.standard_normal((len(f), 2)).view(np.complex128)[:, 0] * shape
    return _unit(fft.irfft(bins, n))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2) + 1e-12)


def _decay(n: int, seconds: float) -> np.ndarray:
    return np.exp(-np.arange(n) / (RATE * seconds))


def _add(out: np.ndarray, start: float, sound: np.ndarray) -> None:
    """Add an event at ``start`` seconds; what reaches beyond the clip is cut."""
    first = max(0, int(start * RATE))
    part = sound[: max(0, len(out) - first)]
    out[first : first + len(part)] += part


def _scatter(now: Generator, n: int, rate: float, make: Callable[[], np.ndarray]) -> np.ndarray:
    """``rate`` events a second, at random times and distances."""
    out = np.zeros(n)
    for _ in range(now.poisson(rate * n / RATE)):
        _add(out, now.uniform(0, n / RATE), now.uniform(0.2, 1) * make())
    return out


def _tone(frequency: np.ndarray, partials: dict[float, float]) -> np.ndarray:
    """Partials (multiple: amplitude) of a gliding tone."""
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    return sum(a * np.sin(m * phase + 7 * m) for m, a in partials.items())


def _bed(here: Generator, now: Generator, n: int, low: float, high: float, tilt: float, gusts: float) -> np.ndarray:
    """Steady noise that swells by ``gusts`` dB."""
    noise = _noise(now, n, low * here.uniform(0.7, 1.4), high * here.uniform(0.7, 1.4), tilt + here.normal(0, 0.7))
    return noise * 10 ** (gusts * _slow(now, n, 1.2) / 20)


def _ventilation(here: Generator, now: Generator, n: int) -> np.ndarray:
    blades = here.uniform(90, 180) * (1 + 0.002 * _slow(now, n, 1.0))
    return _noise(now, n, 60, 5000, 4.5) + 0.2 * _tone(blades, {0.5: 0.6, 1: 1, 2: 0.5})


def _engine(here: Generator, now: Generator, n: int, idle: float) -> np.ndarray:
    """A diesel: harmonics of the firing rate, and noise in its rhythm."""
    rate = idle * here.uniform(0.85, 1.15) * 2 ** (0.25 * _slow(now, n, 2.5))
    weights = here.uniform(0.3, 1, 8) / np.arange(1, 9) ** 0.5
    rhythm = 1 + 0.7 * _tone(rate, {0.5: 1})
    return _unit(_tone(rate, dict(enumerate(weights, 1)))) + 0.35 * rhythm * _noise(now, n, 200, 3000, 3)


def _motor(here: Generator, now: Generator, n: int, carrier: float) -> np.ndarray:
    """An inverter: a fixed carrier, side bands that glide with the speed, and gear noise."""
    carrier *= 1 + 0.015 * here.standard_normal()
    speed = np.abs(60 + 40 * _slow(now, n, 4.0))
    sides = sum(_tone(carrier + k * speed, {1: a}) for k, a in ((0, 1), (2, 0.5), (-2, 0.5), (4, 0.25)))
    return _unit(sides * (1 + 0.4 * _slow(now, n, 1.5)))


def _rails(here: Generator, now: Generator, n: int, pace: float) -> np.ndarray:
    """Pairs of axles over rail joints, ``pace`` a second, on rolling noise."""
    out = 0.12 * _noise(now, n, 150, 2500, 3) * 10 ** (3 * _slow(now, n, 0.4) / 20)
    click = signal.sosfilt(signal.butter(1, (120, here.uniform(900, 2500)), "band", fs=RATE, output="sos"),
                           now.standard_normal(6000) * _decay(6000, 0.02))  # fmt: skip
    period = 1 / (pace * here.uniform(0.8, 1.25))
    for start in np.arange(now.uniform(0, period), n / RATE, period):
        for axle in (0, 0.11):
            _add(out, start + axle + now.normal(0, 0.004), now.uniform(0.5, 1) * click)
    return out


def _squeal(here: Generator, now: Generator, n: int) -> np.ndarray:
    pitch = here.uniform(2200, 4200) * (1 + 0.008 * _slow(now, n, 0.15))
    presence = np.clip(_slow(now, n, 1.0) - 0.4, 0, 1)
    return presence * _tone(pitch, {1: 0.7, 1.52: 0.3, 2: 0.2})


def _syllable(rng: Generator, pitch: float) -> np.ndarray:
    """A voiced burst with three formants."""
    n = int(RATE * rng.uniform(0.09, 0.26))
    glide = pitch * np.linspace(1, rng.uniform(0.8, 1.2), n)
    source = signal.sawtooth(2 * np.pi * np.cumsum(glide) / RATE) + 0.2 * rng.standard_normal(n)
    formants = ((rng.uniform(280, 800), 1), (rng.uniform(900, 2200), 0.6), (rng.uniform(2300, 3400), 0.35))
    voiced = sum(a * signal.lfilter(*signal.iirpeak(f, 7, RATE), source) for f, a in formants)
    return np.hanning(n) * voiced


def _voices(here: Generator, now: Generator, n: int, talkers: float) -> np.ndarray:
    """People talking: syllables in phrases, with pauses."""
    out = np.zeros(n)
    for _ in range(1 + now.poisson(talkers)):
        pitch = now.uniform(95, 230)
        known = [_syllable(now, pitch * now.uniform(0.85, 1.2)) for _ in range(6)]
        distance, pace, start = now.uniform(0.15, 1), now.uniform(0.16, 0.25), now.uniform(-1, 1)
        while start < n / RATE:
            if start >= 0:
                _add(out, start, distance * now.uniform(0.4, 1) * known[now.integers(6)])
            start += pace * now.uniform(0.7, 1.4) + (now.uniform(0.4, 1.8) if now.random() < 0.12 else 0)
    return out


def _steps(here: Generator, now: Generator, n: int, walkers: float) -> np.ndarray:
    out = np.zeros(n)
    centre = here.uniform(250, 1600)
    for _ in range(1 + now.poisson(walkers)):
        sos = signal.butter(1, (0.5 * centre, 3 * centre), "band", fs=RATE, output="sos")
        thump = signal.sosfilt(sos, now.standard_normal(4000) * _decay(4000, 0.018))
        period, start = now.uniform(0.45, 0.65), now.uniform(0, 3)
        for start in np.arange(now.uniform(0, period), n / RATE, period):
            _add(out, start + now.normal(0, 0.015), now.uniform(0.3, 1) * thump)
    return out


def _birds(here: Generator, now: Generator, n: int) -> np.ndarray:
    centre = here.uniform(2500, 5500)

    def song() -> np.ndarray:
        length, pitch, notes = now.uniform(0.05, 0.18), centre * now.uniform(0.75, 1.3), now.integers(2, 7)
        m = int(RATE * length)
        sweep = pitch * (1 + now.uniform(-0.25, 0.25) * np.linspace(-1, 1, m) ** now.integers(1, 3))
        note = np.hanning(m) * _tone(sweep, {1: 1, 2: 0.15})
        return np.tile(np.concatenate([note, np.zeros(m // 2)]), notes)

    return _scatter(now, n, here.uniform(0.5, 1.6), song)


def _passing(here: Generator, now: Generator, n: int, rate: float) -> np.ndarray:
    """Vehicles that come and go."""
    at = np.arange(n) / RATE
    envelope = np.full(n, 0.1)
    for _ in range(1 + now.poisson(rate * n / RATE)):
        envelope += now.uniform(0.3, 1) / (1 + ((at - now.uniform(0, n / RATE)) / now.uniform(0.5, 1.6)) ** 2)
    return envelope * (_noise(now, n, 40, 400, 3) + 0.8 * _noise(now, n, 500, here.uniform(1500, 3000), 1))


def _chime(here: Generator, now: Generator, n: int) -> np.ndarray:
    """A jingle and an announcement; ``here`` is the city's."""
    notes = here.uniform(420, 760) * 2 ** (here.choice([0, 4, 5, 7, 9, 12], 3, replace=False) / 12)
    out, start = np.zeros(n), now.uniform(0, 0.5 * n / RATE)
    for i, note in enumerate(notes):
        bell = _decay(RATE, 0.35) * _tone(np.full(RATE, note), {1: 0.6, 2: 0.25, 3.01: 0.12})
        _add(out, start + 0.4 * i, bell)
    speech = _voices(here, now, n, 0)
    speech[: int((start + 1.4) * RATE)] = 0
    return out + signal.sosfilt(signal.butter(2, (400, 3500), "band", fs=RATE, output="sos"), speech)


def _music(here: Generator, now: Generator, n: int) -> np.ndarray:
    """Soft chords on a beat."""
    out, beat = np.zeros(n), 60 / here.uniform(80, 125)
    root = here.uniform(180, 260)
    for start in np.arange(-now.uniform(0, beat), n / RATE, beat):
        chord = root * 2 ** (now.choice([0, 5, 7, 9]) / 12) * np.array([1, 1.26, 1.5, 2])
        played = sum(_tone(np.full(int(beat * RATE), f), {1: 0.3, 2: 0.15, 3: 0.08, 4: 0.05}) for f in chord)
        _add(out, max(start, 0), played * _decay(len(played), 0.4))
    return out


def _wheels(here: Generator, now: Generator, n: int) -> np.ndarray:
    """Suitcases rolled over tiles."""
    tiles = here.uniform(14, 26) * (1 + 0.1 * _slow(now, n, 1.0))
    presence = np.clip(_slow(now, n, 1.5) + 0.5, 0, 1.5)
    return presence * _noise(now, n, 700, 4000, 2) * np.clip(_tone(tiles, {1: 1}), 0, 1) ** 2


SOUNDS = {
    "rumble": partial(_bed, low=25, high=250, tilt=4, gusts=1.5),
    "city": partial(_bed, low=50, high=2500, tilt=4, gusts=1.5),
    "leaves": partial(_bed, low=1500, high=9000, tilt=0, gusts=4),
    "ventilation": _ventilation,
    "diesel": partial(_engine, idle=29),
    "metro_motor": partial(_motor, carrier=880),
    "tram_motor": partial(_motor, carrier=1080),
    "metro_rails": partial(_rails, pace=1.5),
    "tram_rails": partial(_rails, pace=0.8),
    "squeal": _squeal,
    "crowd": partial(_voices, talkers=9),
    "talk": partial(_voices, talkers=1),
    "steps": partial(_steps, walkers=1),
    "many_steps": partial(_steps, walkers=5),
    "birds": _birds,
    "traffic": partial(_passing, rate=0.35),
    "chime": _chime,
    "music": _music,
    "wheels": _wheels,
}


@dataclass(frozen=True)
class Scene:
    """A class: its usual level in dBFS, its reverberation in seconds and each sound's level in dB."""

    level: float
    room: float
    sounds: dict[str, float]


SCENES = {
    "airport": Scene(-30, 0.9, dict(ventilation=0, city=-6, crowd=-2, wheels=2, chime=3, steps=4)),
    "bus": Scene(-25, 0.08, dict(rumble=0, diesel=-3, ventilation=-8, talk=-2, city=-10)),
    "metro": Scene(-24, 0.15, dict(rumble=0, metro_motor=-13, metro_rails=4, squeal=-12, ventilation=-6, talk=-4)),
    "metro_station": Scene(
        -28, 1.3, dict(rumble=-3, ventilation=-3, crowd=-6, many_steps=4, chime=2, squeal=-8, metro_motor=-20)
    ),
    "park": Scene(-34, 0.05, dict(city=-3, leaves=-8, birds=3, talk=-6, steps=2)),
    "public_square": Scene(-31, 0.3, dict(city=0, crowd=-3, many_steps=5, traffic=-8, leaves=-18, birds=-6)),
    "shopping_mall": Scene(-30, 0.6, dict(ventilation=-2, crowd=2, music=-3, many_steps=5, city=-8)),
    "street_pedestrian": Scene(-30, 0.25, dict(city=-2, crowd=0, talk=4, many_steps=7, traffic=-12)),
    "street_traffic": Scene(-26, 0.15, dict(city=-6, traffic=4, diesel=-10, steps=0, talk=-10)),
    "tram": Scene(-25, 0.12, dict(rumble=-2, tram_motor=-13, tram_rails=5, squeal=-12, ventilation=-8, talk=-1)),
}
SPREAD = 4.0  # dB: how far a sound's level strays from its class's, from place to place
SEGMENT_SPREAD = 2.0  # dB: and from segment to segment
COLOUR = 2.5  # dB: of a place's frequency response, each octave
CITY_COLOUR = 1.0  # dB: of its city's


@dataclass(frozen=True)
class Segment:
    """One scene: where, which, and the devices that record it."""

    scene: str
    city: str
    location: int
    number: int
    devices: tuple[str, ...]
    evaluation: bool


def synthesise(segment: Segment, demo: Demo) -> np.ndarray:
    """The sound of a scene before any device: (samples,) float64 at 44.1 kHz."""
    n, scene = round(demo.seconds * RATE), SCENES[segment.scene]
    city = 10**6 + CITIES.index(segment.city)
    here = default_rng([demo.seed, segment.location])
    now = default_rng([demo.seed, segment.location, 1 + segment.number])
    mixed = np.zeros(n)
    for i, (name, sound) in enumerate(SOUNDS.items()):
        level = here.normal(0, SPREAD) + now.normal(0, SEGMENT_SPREAD)  # drawn for all: a table's change shifts none
        if name in scene.sounds:
            place = default_rng([demo.seed, city if name == "chime" else segment.location, 0, i])
            moment = default_rng([demo.seed, segment.location, 1 + segment.number, i])
            mixed += 10 ** ((scene.sounds[name] + level) / 20) * sound(place, moment, n)
    colour = default_rng([demo.seed, city]).normal(0, CITY_COLOUR, len(BANDS)) + here.normal(0, COLOUR, len(BANDS))
    tail = min(n, int(4 * RATE * scene.room))
    echo = here.standard_normal(tail) * _decay(tail, scene.room * here.uniform(0.7, 1.3) / 3)
    response = _curve(n, colour) * (1 + 0.5 * fft.rfft(echo / np.sqrt(np.sum(echo**2)), n))
    mixed = _unit(fft.irfft(fft.rfft(mixed) * response, n))  # circular: what came before the clip rings on in it
    level = scene.level + here.normal(0, 2.5) + now.normal(0, 1)
    return mixed * min(10 ** (level / 20), 0.9 / np.abs(mixed).max())


@dataclass(frozen=True)
class Device:
    """A recorder: dB at `BANDS`, gain in dB, RMS of its self-noise in dBFS, and the compressor above ``threshold``."""

    response: tuple[float, ...]
    gain: float
    noise: float
    threshold: float = -40.0  # dBFS
    ratio: float = 1.0


DEVICES = {
    "a": Device((-1, 0, 0, 0, 0, 0, 0, 0, 0, -1), 0, -75),
    "b": Device((-16, -9, -4, -1, 0, 1, 2, 2, 0, -5), 3, -66, -34, 1.5),
    "c": Device((-12, -5, -1, 0, 1, 0, -1, 3, 2, -3), -3, -68, -38, 1.4),
    "s1": Device((-9, -6, -1, 3, 1, -3, 1, 4, -2, -8), 2, -67, -40, 2.0),
    "s2": Device((-4, 1, 4, 0, -4, -1, 3, -2, -6, -12), -4, -65, -42, 1.8),
    "s3": Device((-18, -11, -6, 0, 4, 2, -3, -1, 3, -2), 1, -66, -36, 2.5),
    "s4": Device((-20, -14, -4, 4, -2, 5, 6, -5, -12, -20), 4, -60, -42, 3.0),
    "s5": Device((3, 5, -3, -7, 2, 6, -4, 5, 7, 0), -5, -62, -45, 2.5),
    "s6": Device((-10, -2, 6, 3, -6, -5, 3, -8, 2, -10), 3, -58, -40, 3.5),
}


def apply_device(waveform: np.ndarray, device: str, seed: int = 0) -> np.ndarray:
    """Record a waveform with one of `DEVICES`: filter, gain, self-noise, dynamic range compressor.

    Parameters
    ----------
    waveform : (samples,) float in [-1, 1] at 44.1 kHz
    device : a, b, c or s1 to s6; a is nearly flat and does not compress
    seed : of the self-noise; give each clip its own

    Returns
    -------
    (samples,) of the same type, within [-1, 1]

    Raises
    ------
    InputError : the device is unknown, or the waveform is not one channel of floating point samples.
    """
    if device not in DEVICES:
        raise InputError(f"device: {device!r} is unknown; give one of {', '.join(DEVICES)}")
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or waveform.dtype.kind != "f" or not len(waveform):
        raise InputError(f"waveform: {waveform.dtype} {waveform.shape}; give one channel of floating point samples")
    settings, n = DEVICES[device], len(waveform)
    spectrum = fft.rfft(waveform.astype(np.float64)) * _curve(n, np.array(settings.response) + settings.gain)
    rng = default_rng([seed, list(DEVICES).index(device)])
    heard = fft.irfft(spectrum, n) + 10 ** (settings.noise / 20) * rng.standard_normal(n)
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
    sound, rows = synthesise(segment, demo), []
    for device in segment.devices:
        name = f"audio/{segment.scene}-{segment.city}-{segment.location}-{segment.number}-{device}.wav"
        clip = apply_device(sound, device, seed=1000 * segment.location + segment.number)
        wavfile.write(folder / name, RATE, np.round(32767 * clip).astype(np.int16))
        rows.append((name, segment.scene, f"{segment.city}-{segment.location}", device))
    return rows


def _table(file: Path, columns: str, rows: list[tuple[str, ...]]) -> None:
    file.write_text("".join("\t".join(row) + "\n" for row in [tuple(columns.split()), *rows]))


def _write(folder: Path, demo: Demo, workers: int) -> None:
    (folder / "audio").mkdir()
    (folder / "evaluation_setup").mkdir()
    segments = list(plan(demo))
    with ThreadPoolExecutor(workers) as pool:  # most time is spent in FFTs, which leave the interpreter free
        made = pool.map(partial(_record, demo=demo, folder=folder), segments)
        rows = list(tqdm(made, "synthetic scenes", len(segments), disable=None))
    train, evaluate = ([r for s, part in zip(segments, rows) if s.evaluation == side for r in part] for side in (0, 1))
    _table(folder / "meta.csv", "filename scene_label identifier source_label", train + evaluate)
    setup = folder / "evaluation_setup"
    _table(setup / "fold1_train.csv", "filename scene_label", [r[:2] for r in train])
    _table(setup / "fold1_test.csv", "filename", [r[:1] for r in evaluate])
    _table(setup / "fold1_evaluate.csv", "filename scene_label", [r[:2] for r in evaluate])


def _readme(demo: Demo) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in asdict(demo).items())
    return (f"SYNTHETIC audio, made by asc_kit (asc_kit/data/demo.py) in the layout of TAU Urban Acoustic Scenes 2020 "
            f"Mobile: no recording of any place, whatever its file names say. Settings: {settings}.\n")  # fmt: skip


def build(root: str | Path, demo: Demo = Demo(), workers: int | None = None) -> Path:
    """Write the corpus, whole or not at all; one that is there with the same settings is left as it is.

    Parameters
    ----------
    root : the folder to make
    demo : settings
    workers : threads, by default one a core; the bytes do not depend on it

    Raises
    ------
    InputError : ``root`` holds something else, or it cannot be written.
    """
    root, readme = Path(root), _readme(demo)
    try:
        if _built(root, readme):
            return root
        root.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
        try:
            folder.chmod(0o755)
            _write(folder, demo, workers or os.cpu_count())
            (folder / "README.md").write_text(readme)
            if not _built(root, readme):  # another process may have been faster
                os.replace(folder, root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{root}: the synthetic corpus cannot be written: {error.strerror or error}") from None
    return root


def _built(root: Path, readme: str) -> bool:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    if (root / "README.md").is_file() and (root / "README.md").read_text() == readme:
        return True
    raise InputError(f"{root}: holds other files or other settings; remove it or give another folder")
