"""The sounds of the SYNTHETIC corpus: beds, engines, rails, steps, voices, birds; and scenes mixed from them."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator, default_rng
from scipy import fft, signal
from scipy.interpolate import PchipInterpolator

RATE = 44100  # Hz
CITIES = ("barcelona", "helsinki", "lisbon", "lyon", "paris", "vienna")
BANDS = 31.25 * 2.0 ** np.arange(10)  # Hz, octaves from 31 to 16,000

# Sounds: each takes a generator of the place (`here`: the same for all its segments), one of the segment (`now`) and a
# number of samples. A continuous sound has an RMS of about 1, an event a peak of about 1.


def _slow(rng: Generator, n: int, seconds: float) -> np.ndarray:
    """A random curve that turns every ``seconds``, (n,), of unit variance at its knots."""
    knots = rng.standard_normal(2 + int(n / RATE / seconds))
    return np.interp(np.arange(n) / (RATE * seconds), np.arange(len(knots)), knots)


def curve(n: int, gains: np.ndarray) -> np.ndarray:
    """Factor of each bin of a real FFT of ``n`` samples, from gains in dB at `BANDS`."""
    octave = np.log2(np.maximum(fft.rfftfreq(n, 1 / RATE), 1) / BANDS[0]).clip(0, len(BANDS) - 1)
    return 10 ** (PchipInterpolator(np.arange(len(BANDS)), gains)(octave) / 20)


def _noise(rng: Generator, n: int, low: float, high: float, tilt: float = 0.0) -> np.ndarray:
    """Noise of unit RMS between ``low`` and ``high`` Hz, falling by ``tilt`` dB an octave."""
    f = np.maximum(fft.rfftfreq(n, 1 / RATE), 1)
    shape = f ** (-tilt / 6.02) / np.sqrt((1 + (low / f) ** 4) * (1 + (f / high) ** 4))
    bins = rng.standard_normal((len(f), 2), np.float32).view(np.complex64)[:, 0] * shape.astype(np.float32)
    return _unit(fft.irfft(bins, n))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2) + 1e-12)


def _decay(n: int, seconds: float) -> np.ndarray:
    return np.exp(-np.arange(n) / (RATE * seconds))


def _band(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return signal.sosfilt(signal.butter(1, (low, high), "band", fs=RATE, output="sos"), x)


def _thud(rng: Generator, low: float, high: float) -> np.ndarray:
    return _band(rng.standard_normal(5000) * _decay(5000, 0.02), low, high)


def _add(out: np.ndarray, start: float, sound: np.ndarray) -> None:
    """Add an event at ``start`` seconds; what reaches beyond the clip is cut."""
    first = max(0, int(start * RATE))
    part = sound[: max(0, len(out) - first)]
    out[first : first + len(part)] += part


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
    click = _thud(now, 120, here.uniform(900, 2500))
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
        thump, period = _thud(now, 0.5 * centre, 3 * centre), now.uniform(0.45, 0.65)
        for start in np.arange(now.uniform(0, period), n / RATE, period):
            _add(out, start + now.normal(0, 0.015), now.uniform(0.3, 1) * thump)
    return out


def _birds(here: Generator, now: Generator, n: int) -> np.ndarray:
    """Songs of a few equal notes, each a sweep."""
    out, centre = np.zeros(n), here.uniform(2500, 5500)
    for _ in range(now.poisson(here.uniform(0.5, 1.6) * n / RATE)):
        m = int(RATE * now.uniform(0.05, 0.18))
        sweep = 1 + now.uniform(-0.25, 0.25) * np.linspace(-1, 1, m) ** now.integers(1, 3)
        note = np.hanning(m) * _tone(centre * now.uniform(0.75, 1.3) * sweep, {1: 1, 2: 0.15})
        song = np.tile(np.concatenate([note, np.zeros(m // 2)]), now.integers(2, 7))
        _add(out, now.uniform(0, n / RATE), now.uniform(0.2, 1) * song)
    return out


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
    return out + _band(speech, 400, 3500)


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
    """A class: its usual level in dBFS, its reverberation in seconds, and each sound's level in dB."""

    level: float
    room: float
    late: float  # ms after which a wall's reflection follows; 0: none
    sounds: dict[str, float]


SCENES = {
    "airport": Scene(-30, 0.9, 13, dict(ventilation=0, city=-8, crowd=-6, wheels=6, chime=6, steps=4)),
    "bus": Scene(-25, 0.08, 0, dict(rumble=-3, diesel=2, ventilation=-9, talk=-2, city=-10)),
    "metro": Scene(-24, 0.15, 13, dict(rumble=0, metro_motor=-8, metro_rails=8, squeal=-12, ventilation=-6, talk=-5)),
    "metro_station": Scene(-28, 1.3, 0, dict(rumble=1, ventilation=-3, crowd=-6, many_steps=6, chime=5, squeal=-6)),
    "park": Scene(-34, 0.05, 0, dict(city=-3, leaves=-5, birds=7, talk=-6, steps=2)),
    "public_square": Scene(-31, 0.3, 9, dict(city=0, crowd=-2, steps=6, traffic=-3, leaves=-14, birds=-3)),
    "shopping_mall": Scene(-30, 0.6, 9, dict(ventilation=-6, crowd=4, music=5, many_steps=5, city=-10)),
    "street_pedestrian": Scene(-30, 0.25, 13, dict(city=-2, crowd=2, talk=5, many_steps=10, traffic=-12)),
    "street_traffic": Scene(-26, 0.15, 0, dict(city=-6, traffic=5, diesel=-8, steps=0, talk=-12)),
    "tram": Scene(-25, 0.12, 9, dict(rumble=-2, tram_motor=-9, tram_rails=7, squeal=-11, ventilation=-8, talk=-2)),
}
# Amplitude of a reflection. It is put in so that more mel bins hear more: its ripple in the spectrum, 77 or 111 Hz from
# crest to crest (13 or 9 ms late), stands out between the filters of 128 mel bins, 29 Hz apart below 1 kHz, and
# vanishes inside those of 32, 112 Hz apart.
REFLECTED = 0.8
SPREAD = 3.0  # dB: how far a sound's level strays from its class's, from place to place
SEGMENT_SPREAD = 1.5  # dB: and from segment to segment
COLOUR = 2.2  # dB: of a place's frequency response, each octave
CITY_COLOUR = 0.7  # dB: of its city's


@dataclass(frozen=True)
class Segment:
    """One scene: where, which, and the devices that record it."""

    scene: str
    city: str
    location: int
    number: int
    devices: tuple[str, ...]
    evaluation: bool


def synthesise(segment: Segment, seed: int, seconds: float) -> np.ndarray:
    """The sound of a scene before any device: (samples,) float32 at 44.1 kHz."""
    n, scene = round(seconds * RATE), SCENES[segment.scene]
    city = 10**6 + CITIES.index(segment.city)
    here = default_rng([seed, segment.location])
    now = default_rng([seed, segment.location, 1 + segment.number])
    mixed = np.zeros(n)
    for i, (name, sound) in enumerate(SOUNDS.items(), 1):  # from 1: a seed's trailing zeros do not count
        level = here.normal(0, SPREAD) + now.normal(0, SEGMENT_SPREAD)  # drawn for all: a table's change shifts none
        if name in scene.sounds:
            place = default_rng([seed, city if name == "chime" else segment.location, 0, i])
            moment = default_rng([seed, segment.location, 1 + segment.number, i])
            mixed += 10 ** ((scene.sounds[name] + level) / 20) * sound(place, moment, n)
    colour = default_rng([seed, city]).normal(0, CITY_COLOUR, len(BANDS)) + here.normal(0, COLOUR, len(BANDS))
    tail = min(n, int(4 * RATE * scene.room))
    echo = here.standard_normal(tail) * _decay(tail, scene.room * here.uniform(0.7, 1.3) / 3)
    response = curve(n, colour) * (1 + 0.5 * fft.rfft(echo / np.sqrt(np.sum(echo**2)), n))
    if scene.late:
        late = scene.late / 1000 * here.normal(1, 0.02)
        response *= 1 + REFLECTED * np.exp(-2j * np.pi * late * fft.rfftfreq(n, 1 / RATE))
    mixed = _unit(fft.irfft(fft.rfft(mixed) * response, n))  # circular: what came before the clip rings on in it
    level = scene.level + here.normal(0, 2.5) + now.normal(0, 1)
    return (mixed * min(10 ** (level / 20), 0.9 / np.abs(mixed).max())).astype(np.float32)
