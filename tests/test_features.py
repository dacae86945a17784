"""Section 2.1 against an independent float64 numpy computation, and against torchaudio."""

import numpy as np
import pytest
import torch
import torchaudio

from asc_kit import kernels
from asc_kit.common import InputError
from asc_kit.config import Features
from asc_kit.features import LogMel
from asc_kit.run.recipes import Recipe

RECIPE = Recipe("test")


def slaney_filters(bins: int, rate: int, low: float, high: float, count: int, scale: str = "slaney") -> np.ndarray:
    """Triangles of unit area on the slaney (linear, then logarithmic) or htk mel scale."""

    def to_mel(hertz):
        if scale == "htk":
            return 2595 * np.log10(1 + np.asarray(hertz) / 700)
        hertz = np.asarray(hertz, dtype=np.float64)
        return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1e-9) / 1000) / np.log(6.4))

    def to_hertz(mel):
        if scale == "htk":
            return 700 * (10 ** (mel / 2595) - 1)
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))

    edges = to_hertz(np.linspace(to_mel(low), to_mel(high), count + 2))
    frequency = np.linspace(0, rate // 2, bins)
    filters = np.zeros((count, bins))
    for i, (a, b, c) in enumerate(zip(edges, edges[1:], edges[2:])):
        filters[i] = np.maximum(0, np.minimum((frequency - a) / (b - a), (c - frequency) / (c - b))) * 2 / (c - a)
    return filters


def numpy_log_mel(wave: np.ndarray, f: Features) -> np.ndarray:
    """(time, mel) in float64, frame by frame."""
    n_fft = f.n_fft or f.window
    n = np.arange(f.window)
    shape = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}[f.window_function]
    window = shape[0] - shape[1] * np.cos(2 * np.pi * n / f.window)
    left = (n_fft - f.window) // 2
    window = np.pad(window, (left, n_fft - f.window - left))
    padded = np.pad(wave.astype(np.float64), n_fft // 2, mode="reflect")
    filters = slaney_filters(n_fft // 2 + 1, f.sample_rate, f.f_min, f.f_max, f.n_mels, f.mel_scale)
    frames = len(wave) // f.hop + f.last_frame
    out = []
    for t in range(frames):
        spectrum = np.abs(np.fft.rfft(padded[t * f.hop : t * f.hop + n_fft] * window)) ** f.power
        mel = filters @ spectrum
        out.append(np.log(mel + f.amin) if f.log == "ln" else 10 * np.log10(np.maximum(mel, f.amin)))
    return np.array(out)


def signal(samples: int) -> np.ndarray:
    random = np.random.default_rng(0)
    t = np.arange(samples) / 44100
    return (0.05 * random.standard_normal(samples) + 0.2 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


@pytest.mark.parametrize("submission", ["1", "2", "3", "4", "baseline"])
def test_equals_an_independent_float64_computation(submission):
    f = RECIPE.config(submission).features
    wave = signal(44100)
    ours = LogMel(f)(torch.from_numpy(wave)[None])[0, 0].double().numpy()
    theirs = numpy_log_mel(wave, f)
    assert ours.shape == theirs.shape
    above_floor = theirs > (-99 if f.log == "db" else np.log(1e-12))
    assert np.abs(ours - theirs)[above_floor].max() < 5e-4  # dB, or nepers for the baseline
    assert (ours[~above_floor] <= -98).all()  # filters without a bin stay at the floor


@pytest.mark.parametrize("submission", ["1", "2", "3", "4", "baseline"])
def test_a_whole_batch_at_once_equals_clip_by_clip(submission, monkeypatch):
    """As a GPU does it: a tone in noise, a tone alone, silence; whole clips and one shorter than the window."""
    log_mel = LogMel(RECIPE.config(submission).features)
    tone = torch.from_numpy(np.sin(np.arange(100_000) * 0.06).astype(np.float32))
    waves = torch.stack([torch.from_numpy(signal(100_000)), 0.5 * tone, torch.zeros(100_000)])
    one_by_one = [log_mel(waves), log_mel(waves[:, :1000])]
    monkeypatch.setattr(kernels, "BATCHED", True)
    monkeypatch.setattr(log_mel, "mel", None)
    for expected, found in zip(one_by_one, [log_mel(waves), log_mel(waves[:, :1000])]):
        assert found.shape == expected.shape and (found - expected).abs().max() < 1e-4  # dB, or nepers


def test_htk_scale_and_larger_transform_equal_numpy_too():
    f = Features(n_mels=64, mel_scale="htk", n_fft=4096)
    wave = signal(22050)
    assert np.abs(LogMel(f)(torch.from_numpy(wave)[None])[0, 0].double().numpy() - numpy_log_mel(wave, f)).max() < 5e-4


@pytest.mark.parametrize("mels", [32, 64, 128, 160])
@pytest.mark.parametrize(("seconds", "frames"), [(10, 640), (8, 512), (1, 64)])
def test_sizes_of_the_report(mels, seconds, frames):
    f = Features(n_mels=mels)
    assert LogMel(f)(torch.zeros(1, seconds * 44100)).shape == (1, 1, frames, mels)
    assert f.frames(seconds * 44100) == frames == 1 + seconds * 44100 // 690


def test_baseline_has_500_frames_of_40_mels():
    assert LogMel(RECIPE.config("baseline").features)(torch.zeros(1, 441000)).shape == (1, 1, 500, 40)


def test_equals_torchaudio():
    wave = torch.from_numpy(signal(441000))[None]
    mel = torchaudio.transforms.MelSpectrogram(
        44100, 2760, 2760, 690, 10.0, 16000.0, n_mels=160, norm="slaney", mel_scale="slaney"
    )(wave)
    theirs = 10 * mel.clamp(min=1e-10).log10().transpose(1, 2)
    assert (LogMel(Features())(wave)[:, 0] - theirs).abs().max() < 1e-4


def test_silence_lies_at_the_floor_and_top_db_raises_it():
    wave = torch.zeros(1, 44100)
    assert (LogMel(Features())(wave) == -100).all()
    wave[0, 20000:20100] = 0.5
    level = LogMel(Features(top_db=60.0))(wave)
    assert level.min() == pytest.approx(level.max().item() - 60, abs=1e-4)


def test_short_clip_is_padded_not_refused():
    assert LogMel(Features())(torch.ones(1, 1000)).isfinite().all()


@pytest.mark.parametrize(
    ("values", "name"),
    [({"f_max": 30000.0}, "f_max"), ({"n_fft": 1024}, "n_fft"), ({"mel_scale": "bark"}, "mel_scale"), ({"hop": 0}, "hop"),
     ({"n_mels": 64.0}, "n_mels")],
)  # fmt: skip
def test_impossible_settings_are_named(values, name):
    with pytest.raises(InputError, match=f"^{name}"):
        Features(**values)
