"""Section 2.2: the crop, BC learning's mixup in float64 numpy and at its limits, and SpecAugment."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asc_kit.augmentations import Loudness, Mixup, SpecAugment, TemporalCrop, a_weighting, beta, mix
from asc_kit.beyond import FreqMixStyle, Recorder, response_curve
from asc_kit.config import Augmentation, generator


def numpy_gain(wave: np.ndarray, rate: int = 44100) -> float:
    """A-weighted level of the loudest window, written from the formulas of the original."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(4096) / 4096)
    f = np.fft.rfftfreq(4096, 1 / rate) ** 2
    f[0] = 1.0
    a = 2 + 20 * (2 * np.log10(12194) + 2 * np.log10(f) - np.log10(f + 12194**2) - np.log10(f + 20.6**2)
                  - 0.5 * np.log10(f + 107.7**2) - 0.5 * np.log10(f + 737.9**2))  # fmt: skip
    weight = 10 ** (np.maximum(a, -80) / 10)
    loudest = 1e-8
    for start in range(0, len(wave) - 4096 + 1, 2048):
        spectrum = np.abs(np.fft.rfft(wave[start : start + 4096].astype(np.float64) * window)) ** 2
        loudest = max(loudest, float((spectrum * weight).sum()))
    return 10 * np.log10(loudest)


def numpy_mix(x1, x2, r, g1, g2):
    t = 1 / (1 + 10 ** ((g1 - g2) / 20) * (1 - r) / r)
    return (t * x1 + (1 - t) * x2) / np.sqrt(t**2 + (1 - t) ** 2)


def waves(count: int = 2, samples: int = 30000) -> torch.Tensor:
    random = np.random.default_rng(1)
    return torch.from_numpy(
        (random.standard_normal((count, samples)) * np.geomspace(0.3, 0.003, count)[:, None]).astype("f4")
    )


def test_a_weighting_has_its_standard_values():
    level = a_weighting(44100)
    hertz = torch.linspace(0, 22050, 2049)
    for frequency, expected in ((1000, 0.0), (100, -19.1), (10000, -2.5), (31.5, -39.4)):
        nearest = int((hertz - frequency).abs().argmin())
        assert level[nearest].item() == pytest.approx(expected, abs=0.6)
    assert level.min() == -80


def test_loudness_equals_float64_numpy():
    x = waves(3)
    assert Loudness(44100)(x).numpy() == pytest.approx([numpy_gain(w) for w in x.numpy()], abs=1e-3)


def test_silence_has_the_floor_and_a_short_clip_a_level():
    assert Loudness(44100)(torch.zeros(1, 9000)).item() == pytest.approx(-80)
    assert torch.isfinite(Loudness(44100)(waves(1, 1000))).all()


@given(r=st.floats(0.01, 0.99), g1=st.floats(-60, 20), g2=st.floats(-60, 20))
def test_mix_equals_the_formula(r, g1, g2):
    x = waves(2, 50).double()
    mixed = mix(x[:1], x[1:], torch.tensor([r], dtype=torch.float64), torch.tensor([[g1], [g2]], dtype=torch.float64))
    assert np.allclose(mixed[0].numpy(), numpy_mix(x[0].numpy(), x[1].numpy(), r, g1, g2), rtol=1e-9, atol=1e-12)


def test_limits_of_the_mix():
    x = waves(2)
    gains = Loudness(44100)(x)[:, None]
    assert torch.equal(mix(x[:1], x[1:], torch.ones(1), gains), x[:1])
    assert torch.equal(mix(x[:1], x[1:], torch.zeros(1), gains), x[1:])
    r = torch.tensor([0.3])
    equal = mix(x[:1], x[1:], r, torch.zeros(2, 1))
    assert torch.allclose(equal, (0.3 * x[:1] + 0.7 * x[1:]) / (0.3**2 + 0.7**2) ** 0.5)
    silent = torch.stack([x[0], torch.zeros_like(x[0])])
    assert torch.isfinite(mix(silent[:1], silent[1:], r, Loudness(44100)(silent)[:, None])).all()


def test_mixed_halves_are_heard_alike():
    """At r = 1/2 both shares of a mix of a loud and a quiet clip have the same A-weighted level."""
    x = waves(2)
    gains = Loudness(44100)(x)
    ratio = 10 ** ((gains[0] - gains[1]) / 20)
    t = 0.5 / (0.5 + ratio * 0.5)
    parts = torch.stack([t * x[0], (1 - t) * x[1]])
    assert Loudness(44100)(parts)[0].item() == pytest.approx(Loudness(44100)(parts)[1].item(), abs=1e-3)


@pytest.mark.parametrize("kind", ["modified", "standard"])
def test_mixup_labels_keep_their_sum_and_repeat(kind):
    mixup = Mixup(Augmentation(mixup=kind), 44100)
    x, y = waves(6, 9000), torch.eye(6)
    first, second = (mixup(x, y, generator(3, "mixup", 1)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert torch.allclose(first[1].sum(1), torch.ones(6)) and not torch.equal(first[1], y)
    assert not torch.equal(first[0], mixup(x, y, generator(3, "mixup", 2))[0])


def test_standard_mixup_is_the_weighted_sum():
    x, y = waves(4, 100), torch.eye(4)
    mixed, soft = Mixup(Augmentation(mixup="standard"), 44100)(x, y, generator(0, "m"))
    assert torch.allclose(mixed, soft @ x, atol=1e-6)


@pytest.mark.parametrize("kind", ["modified", "standard"])
def test_features_are_mixed_as_they_are_heard(kind):
    """The labels of waveform mixup, and log-mel in the share r or, by the loudness term, t of [5]."""
    x, y = waves(5, 9000) * torch.tensor([1, 0.1, 0.5, 0.02, 0.3])[:, None], torch.eye(5)
    log_mel = torch.randn(5, 1, 7, 3, generator=torch.Generator().manual_seed(1))
    mixup = Mixup(Augmentation(mixup=kind, mixup_domain="log_mel"), 44100)
    mixed, soft = mixup(x, y, generator(3, "mixup", 1), log_mel)
    assert torch.equal(soft, Mixup(Augmentation(mixup=kind), 44100)(x, y, generator(3, "mixup", 1))[1])
    for i in range(5):
        partner = next((j for j in range(5) if j != i and soft[i, j] > 0), i)
        r = soft[i, i].item() if partner != i else 0.5
        gains = [numpy_gain(x[k].numpy()) if kind == "modified" else 0.0 for k in (i, partner)]
        t = 1 / (1 + 10 ** ((gains[0] - gains[1]) / 20) * (1 - r) / r)
        assert torch.allclose(mixed[i], t * log_mel[i] + (1 - t) * log_mel[partner], atol=1e-4)


def test_ratio_follows_beta_with_the_reports_alpha():
    r = beta(0.6, 20000, generator(0, "r"))
    assert r.mean().item() == pytest.approx(0.5, abs=0.01)
    assert r.var().item() == pytest.approx(1 / (4 * (2 * 0.6 + 1)), abs=0.003)  # variance of Beta(a, a)


def test_partner_of_another_class():
    mixup = Mixup(Augmentation(mixup_partner="other_class"), 44100)
    y = torch.eye(2)[[0, 0, 0, 1, 1, 0, 1, 0]]
    partner = mixup._partner(y, generator(0, "p"))
    assert (y.argmax(1) != y[partner].argmax(1)).all()
    assert torch.equal(mixup._partner(torch.eye(2)[[0, 0]], generator(0, "p")), torch.arange(2))  # there is no other


@given(samples=st.integers(1, 50), length=st.integers(1, 80), seed=st.integers(0, 99))
def test_crop_lies_inside_and_is_contiguous(samples, length, seed):
    wave = torch.arange(length).float().repeat(3, 1)
    cropped = TemporalCrop(samples)(wave, generator(seed, "crop"))
    assert cropped.shape == (3, min(samples, length))
    assert (cropped.diff(dim=1) == 1).all()


def test_crop_reaches_both_ends():
    starts, _ = TemporalCrop(8).section(2000, 10, generator(0, "crop"))
    assert set(starts.tolist()) == {0, 1, 2}


def test_spec_augment_masks_whole_bins_and_frames_with_the_mean():
    x = torch.randn(16, 1, 512, 64, generator=generator(0, "x"))
    augment = SpecAugment(Augmentation())
    before = x.clone()
    y = augment(x, generator(1, "s"))
    assert torch.equal(x, before)
    masked = y != x
    mean = x.mean((0, 1, 2)).expand_as(x)
    assert torch.equal(y[masked], mean[masked])
    assert 0 < masked.float().mean() < 2 / 8 + 2 / 8
    rows = masked[:, 0].all(2).sum(1)  # whole frames masked, of 512: two masks below 64
    assert rows.max() <= 2 * 63 and rows.float().mean().item() == pytest.approx(60, abs=20)
    columns = masked[:, 0].all(1).sum(1)  # two below 8 of 64
    assert columns.max() <= 2 * 7


def test_spec_augment_zero_fill_and_no_masks():
    x = torch.ones(4, 1, 64, 32)
    assert set(SpecAugment(Augmentation(mask_fill="zero"))(x, generator(0, "s")).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(SpecAugment(Augmentation(time_masks=0, mel_masks=0))(x, generator(0, "s")), x)


def test_all_are_inert_under_eval():
    x, y = waves(4, 9000), torch.eye(4)
    mixed, labels = Mixup(Augmentation(), 44100).eval()(x, y, generator(0, "m"))
    assert mixed is x and labels is y
    assert torch.equal(TemporalCrop(10).eval()(x, generator(0, "c")), x)
    assert SpecAugment(Augmentation()).eval()(x, generator(0, "s")) is x


SWAPS = 1  # a seed whose permutation of two exchanges them


def noise(count: int, samples: int) -> torch.Tensor:
    return torch.randn(count, samples, generator=torch.Generator().manual_seed(0))


def recorder(**values):
    return Recorder(Augmentation(**values), 44100).train()


def test_beyond_the_report_nothing_is_on_as_it_comes():
    waves, features = noise(3, 5000), noise(3, 700).reshape(3, 1, 70, 10)
    assert recorder()(waves, generator(0, "a")) is waves
    assert FreqMixStyle(Augmentation()).train()(features, generator(0, "b")) is features
    on = Augmentation(roll=True, gain_db=6, device_response=1, mixstyle=1)
    assert Recorder(on, 44100).eval()(waves, generator(0, "a")) is waves
    assert FreqMixStyle(on).eval()(features, generator(0, "b")) is features


def test_roll_keeps_the_samples_and_their_circle():
    waves = torch.arange(1000.0).expand(4, 1000)
    rolled = recorder(roll=True)(waves, generator(0, "r"))
    starts = {int(clip[0]) for clip in rolled}
    assert len(starts) == 4
    for clip in rolled:
        assert torch.equal(clip, (torch.arange(1000) + clip[0]) % 1000)


def test_gain_is_one_factor_a_clip_within_its_bounds():
    waves = noise(200, 64)
    factors = recorder(gain_db=6)(waves, generator(0, "g")) / waves
    levels = 20 * factors[:, 0].log10()
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert levels.min() >= -6 and levels.max() <= 6 and levels.min() < -5 and levels.max() > 5


def test_response_goes_through_its_octaves_in_decibels_and_straight_between():
    gains = torch.tensor([[0.0, 6, 0, -6, 0, 3, 0, 0, 12, -12]])
    level = 20 * response_curve(gains, 44100, 44100)[0].log10()  # a bin a hertz
    points = {1: 0, 31: 0, 62: 6, 250: -6, 1000: 3, 8000: 12, 16000: -12, 22050: -12}
    for hertz, decibel in points.items():
        assert abs(level[hertz].item() - decibel) < 0.3, hertz
    middle = level[round(4000 * 2**0.5)].item()
    assert abs(middle - 6) < 0.01  # half an octave above 4 kHz, between 0 and 12 dB


def test_a_device_colours_the_chosen_share_of_clips_only():
    waves = noise(400, 256)
    heard = recorder(device_response=0.5)(waves, generator(0, "d"))
    changed = ~torch.isclose(heard, waves, atol=1e-5).all(1)
    assert 160 < changed.sum() < 240
    spectra = (torch.fft.rfft(heard[changed].double()).abs() / torch.fft.rfft(waves[changed].double()).abs()).log10()
    known = 20 * spectra[:, [32, 64]]  # 5.5 and 11 kHz: between octaves, so their deviation is below 6 dB
    assert 3 < known.std() < 6


def test_freq_mixstyle_moves_each_bin_between_two_clips_statistics():
    x = noise(2, 6000).reshape(2, 1, 600, 10) * torch.tensor([3.0, 1.0]).view(2, 1, 1, 1)
    x[0] += 10
    x[1] -= 20
    mixed = FreqMixStyle(Augmentation(mixstyle=1, mixstyle_alpha=5)).train()(x, generator(SWAPS, "m"))
    (deviation, mean), (new_deviation, new_mean) = torch.std_mean(x, 2), torch.std_mean(mixed, 2)  # 2, 1, mel
    own = (new_mean - mean.flip(0)) / (mean - mean.flip(0))
    assert ((own > 0.05) & (own < 0.95)).all()  # neither clip's alone
    torch.testing.assert_close(own, own[..., :1].expand_as(own), rtol=1e-3, atol=1e-3)  # one share a clip
    between = own * deviation + (1 - own) * deviation.flip(0)
    torch.testing.assert_close(new_deviation, between, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close((mixed - new_mean[:, :, None]) / new_deviation[:, :, None],
                               (x - mean[:, :, None]) / deviation[:, :, None], rtol=1e-3, atol=1e-3)  # fmt: skip


def test_freq_mixstyle_takes_its_share_of_batches():
    x = noise(4, 200).reshape(4, 1, 20, 10)
    module = FreqMixStyle(Augmentation(mixstyle=0.3)).train()
    changed = sum(module(x, generator(seed, "m")) is not x for seed in range(400))
    assert 90 < changed < 150
