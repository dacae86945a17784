"""Augmentation that the report does not have, off as it comes: other recorders and Freq-MixStyle.

As in `asc_kit.augmentations`, each is a module that does nothing under ``eval()`` and draws from the generator handed
in.
"""

import torch
from torch import nn

from asc_kit.augmentations import beta
from asc_kit.config import Augmentation

OCTAVES = 10  # 31 Hz to 16 kHz, where a made-up device's response is drawn


class Recorder(nn.Module):
    """As another device, louder or softer, might have recorded it: roll, response, gain.

    The response is made up: a standard deviation of ``response_db`` in each octave, straight between them. It stands
    for the measured ones of Morocutti et al. (2023), "Device-robust acoustic scene classification via impulse response
    augmentation". It is applied as a circular convolution.

    Parameters
    ----------
    config : which of them, how often and how strong
    sample_rate : Hz
    """

    def __init__(self, config: Augmentation, sample_rate: int):
        super().__init__()
        self.config, self.sample_rate = config, sample_rate

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
            gains = self.config.response_db * torch.randn(count, OCTAVES, generator=generator) * chosen[:, None]
            response = response_curve(gains, samples, self.sample_rate).to(waveforms)  # batch, bins
            waveforms = torch.fft.irfft(torch.fft.rfft(waveforms) * response, samples)
        if self.config.gain_db:
            gains = self.config.gain_db * (2 * torch.rand(count, 1, generator=generator) - 1)
            waveforms = waveforms * (10 ** (gains / 20)).to(waveforms)
        return waveforms


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
        own = beta(self.config.mixstyle_alpha, count, generator).to(features).view(-1, 1, 1, 1)
        partner = torch.randperm(count, generator=generator).to(features.device)
        deviation, mean = torch.std_mean(features, 2, keepdim=True)  # batch, 1, 1, mel
        deviation = deviation + 1e-6
        scale, shift = (torch.lerp(value[partner], value, own) for value in (deviation, mean))
        return (features - mean) / deviation * scale + shift
