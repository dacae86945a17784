"""Augmentation that the report does not have, off as it comes: other recorders and Freq-MixStyle.

As in `asc_kit.augmentations`, each is a module that does nothing under ``eval()`` and draws from the generator handed
in.
"""

import torch
from torch import nn

from asc_kit import kernels
from asc_kit.augmentations import beta
from asc_kit.config import Augmentation

OCTAVES = 10  # 31 Hz to 16 kHz, where a made-up device's response is drawn


class Recorder(nn.Module):
    """As another device, louder or softer, might have recorded it: roll, microphone, gain.

    A microphone is one of the measured ``responses``, after Morocutti et al. (2023), "Device-robust acoustic scene
    classification via impulse response augmentation", and what is made up: a standard deviation of ``response_db`` in
    each octave, straight between them, and with ``device_limits`` what a response does not hold: a band from 20 to
    300 Hz to 5 to 16 kHz, compression of up to 3 : 1 and noise 15 to 60 dB below the clip, each in every other clip.

    Parameters
    ----------
    config : which of them, how often and how strong
    sample_rate : Hz
    responses : (microphones, taps) measured, at that rate; None: made up alone
    """

    def __init__(self, config: Augmentation, sample_rate: int, responses: torch.Tensor | None = None):
        super().__init__()
        self.config, self.sample_rate = config, sample_rate
        self.register_buffer("responses", responses, persistent=False)

    @property
    def changes_loudness(self) -> bool:
        """Whether the loudness of what comes out differs from that of what went in."""
        return bool(self.config.device_response or self.config.gain_db)

    @torch.no_grad()
    def forward(self, waveforms: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(batch, samples) to the same."""
        if not self.training:
            return waveforms
        count, samples = waveforms.shape
        if self.config.roll:
            shifts = torch.randint(samples, (count,), generator=generator).tolist()
            waveforms = torch.stack([clip.roll(shift) for clip, shift in zip(waveforms, shifts)])
        if self.config.device_response:
            chosen = torch.rand(count, generator=generator) < self.config.device_response
            if chosen.any():  # a Fourier transform of no clip is an error
                waveforms = waveforms.clone()
                waveforms[chosen] = self._through(waveforms[chosen], generator)
        if self.config.gain_db:
            gains = self.config.gain_db * (2 * torch.rand(count, 1, generator=generator) - 1)
            waveforms = waveforms * (10 ** (gains / 20)).to(waveforms)
        return waveforms

    def _through(self, waveforms: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        count, samples = waveforms.shape
        taps = 0 if self.responses is None else self.responses.shape[1]
        size = fast_length(samples + taps)
        gains = self.config.response_db * torch.randn(count, OCTAVES, generator=generator)
        spectrum = torch.fft.rfft(waveforms, size)  # batch, bins
        spectrum *= response_curve(gains, size, self.sample_rate).to(waveforms)
        if self.responses is not None:
            chosen = torch.randint(len(self.responses), (count,), generator=generator)
            spectrum *= torch.fft.rfft(self.responses[chosen], size)
        if not self.config.device_limits:
            return torch.fft.irfft(spectrum, size)[:, :samples]
        on = torch.rand(4, count, 1, generator=generator) < 0.5
        drawn = torch.rand(4, count, 1, generator=generator)
        low = 20 * 15 ** drawn[0] * on[0]  # Hz, 20 to 300
        high = torch.where(on[1], 5000 * 3.2 ** drawn[1], torch.inf)  # Hz, 5 to 16 kHz
        f = torch.linspace(0, self.sample_rate / 2, size // 2 + 1).clamp(min=1)
        spectrum *= (1 / ((1 + (low / f) ** 4) * (1 + (f / high) ** 4)).sqrt()).to(waveforms)
        waveforms = torch.fft.irfft(spectrum, size)[:, :samples]
        waveforms = compress(waveforms, (1 + 2 * drawn[2] * on[2]).to(waveforms), self.sample_rate)
        level = waveforms.square().mean(1, keepdim=True).sqrt()
        hiss = level * (10 ** (-(15 + 45 * drawn[3]) / 20) * on[3]).to(waveforms)
        return waveforms + hiss * torch.randn(count, samples, generator=generator).to(waveforms)


def compress(waveforms: torch.Tensor, ratio: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Levels of 20 ms brought nearer to the clip's: a difference in dB is divided by ``ratio`` (batch, 1)."""
    block = round(0.02 * sample_rate)
    power = nn.functional.avg_pool1d(waveforms.square()[:, None], block, ceil_mode=True)[:, 0]  # batch, blocks
    mean = power.mean(1, keepdim=True).clamp(min=1e-12)
    gain = (power.clamp(min=1e-12) / mean) ** ((1 / ratio - 1) / 2)
    return waveforms * nn.functional.interpolate(gain[:, None], waveforms.shape[1], mode="linear")[:, 0]


def fast_length(samples: int) -> int:
    """The next product of 2, 3 and 5 of which a Fourier transform is fast; even."""
    from scipy.fft import next_fast_len  # here: its import takes a while

    return 2 * next_fast_len(-(-samples // 2), real=True)


def response_curve(gains: torch.Tensor, samples: int, sample_rate: int) -> torch.Tensor:
    """Factors (batch, bins) of a real FFT of ``samples`` from gains (batch, 10) in dB at 31.25 Hz to 16 kHz."""
    f = torch.linspace(0, sample_rate / 2, samples // 2 + 1).clamp(min=1)
    octave = (f / 31.25).log2().clamp(0, OCTAVES - 1)
    left = octave.long().clamp(max=OCTAVES - 2)
    return 10 ** (torch.lerp(gains[:, left], gains[:, left + 1], octave - left) / 20)


class FreqMixStyle(nn.Module):
    """Give each mel bin of a clip another clip's mean and deviation, in part: devices differ in little else.

    Kim et al. (2022), "Domain generalization with relaxed instance frequency-wise normalization", and Schmid et al.
    (2022), who apply it to log-mel features, a share lambda ~ Beta(alpha, alpha) of them the clip's own.

    Parameters
    ----------
    config : share of batches, and alpha
    """

    def __init__(self, config: Augmentation):
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(batch, 1, time, mel) to the same."""
        share = self.config.mixstyle
        if not self.training or not share or torch.rand((), generator=generator) >= share:
            return features
        count = len(features)
        own = beta(self.config.mixstyle_alpha, count, generator).to(features.dtype).view(-1, 1, 1, 1)
        partner = torch.randperm(count, generator=generator)
        own, partner = kernels.send(own, features.device), kernels.send(partner, features.device)
        deviation, mean = torch.std_mean(features, 2, keepdim=True)  # batch, 1, 1, mel
        deviation = deviation + 1e-6
        scale, shift = (torch.lerp(value[partner], value, own) for value in (deviation, mean))
        return (features - mean) / deviation * scale + shift
