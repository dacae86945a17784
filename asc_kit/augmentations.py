"""Training-time augmentation (Section 2.2): temporal crop, modified mixup, SpecAugment.

Each is a module that does nothing under ``eval()``. What is random is drawn from the generator handed in, on the
CPU, so that the choices are the same whatever the device; only they are sent there.
"""

import math

import torch
from torch import nn

from asc_kit import kernels
from asc_kit.config import Augmentation

WINDOW, HOP = 4096, 2048  # samples; BC learning's loudness window at 44.1 kHz


class TemporalCrop(nn.Module):
    """A section of ``samples`` samples from a random place; whole clips under ``eval()``.

    >>> TemporalCrop(352_800)(torch.zeros(2, 441_000), torch.Generator()).shape  # 8 s of 10
    torch.Size([2, 352800])
    """

    def __init__(self, samples: int | None):
        super().__init__()
        self.samples = samples

    def section(self, count: int, length: int, generator: torch.Generator) -> tuple[torch.Tensor, int]:
        """First samples of ``count`` sections of clips of ``length`` samples, and the sections' length."""
        if not self.training or self.samples is None or self.samples >= length:
            return torch.zeros(count, dtype=torch.long), length
        return torch.randint(length - self.samples + 1, (count,), generator=generator), self.samples

    def forward(self, waveforms: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(batch, samples) to (batch, crop)."""
        starts, samples = self.section(*waveforms.shape, generator)
        return torch.stack([clip[s : s + samples] for clip, s in zip(waveforms, starts.tolist())])


def a_weighting(sample_rate: int, window: int = WINDOW) -> torch.Tensor:
    """A-weighting in dB of the bins of a real FFT, (window // 2 + 1,), floored at -80 dB [5]."""
    f2 = torch.linspace(0, sample_rate / 2, window // 2 + 1, dtype=torch.float64).square()
    f2[0] = 1  # the logarithm of 0 Hz
    level = 2 + 20 * (2 * math.log10(12194) + 2 * f2.log10() - (f2 + 12194**2).log10() - (f2 + 20.6**2).log10()
                      - 0.5 * (f2 + 107.7**2).log10() - 0.5 * (f2 + 737.9**2).log10())  # fmt: skip
    return level.clamp(min=-80)


class Loudness(nn.Module):
    """A-weighted sound pressure level of BC learning [5]: the loudest window's energy.

    Parameters
    ----------
    sample_rate : Hz
    """

    def __init__(self, sample_rate: int):
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("weight", 10 ** (a_weighting(sample_rate).float() / 10), persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to (batch,) in dB; a clip shorter than the window is padded with silence."""
        return self.level(self.energies(waveforms).amax(-1))

    def energies(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to (batch, windows), each window's A-weighted energy."""
        short = max(0, WINDOW - waveforms.shape[-1])
        frames = nn.functional.pad(waveforms, (0, short)).unfold(-1, WINDOW, HOP)  # batch, windows, samples
        if kernels.batched(frames.device):
            return self._energy(frames)
        return torch.stack([self._energy(clip) for clip in frames])

    def _energy(self, frames: torch.Tensor) -> torch.Tensor:
        square = torch.view_as_real(torch.fft.rfft(frames * self.window)).square()  # ..., bins, 2
        return (square[..., 0] + square[..., 1]) @ self.weight

    @staticmethod
    def level(energy: torch.Tensor) -> torch.Tensor:
        """Energy in dB, at least -80 dB [5]."""
        return 10 * energy.clamp(min=1e-8).log10()


def beta(alpha: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """(count,) draws from Beta(alpha, alpha)."""
    # as a ratio of two Gammas: torch.distributions takes no generator
    pair = torch._standard_gamma(torch.full((2, count), alpha, dtype=torch.float64), generator)
    return pair[0] / pair.sum(0)


def heard(r: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """The amplitude t at which the first of two signals with ``gains`` (2, batch) dB is heard as the share r [5]."""
    return r / (r + 10 ** ((gains[0] - gains[1]) / 20) * (1 - r))  # its fraction, without the division by r = 0


def mix(first: torch.Tensor, second: torch.Tensor, r: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Mix waveforms so that ``r`` is the share that is heard [5, equations 1 and 2].

    t = 1 / (1 + 10^((G1 - G2) / 20) (1 - r) / r);  x = (t x1 + (1 - t) x2) / sqrt(t^2 + (1 - t)^2)

    Parameters
    ----------
    first, second : (batch, samples)
    r : (batch,) in [0, 1]; 0 gives ``second``, 1 gives ``first``
    gains : (2, batch) dB

    >>> waves = torch.tensor([[0.5, -0.5]]), torch.tensor([[0.1, 0.1]])
    >>> mix(*waves, torch.tensor([1.0]), gains=torch.tensor([[-6.0], [-20.0]]))  # the first alone
    tensor([[ 0.5000, -0.5000]])
    """
    t = heard(r, gains)[:, None]
    root = (t.square() + (1 - t).square()).sqrt()
    return torch.addcmul(t / root * first, (1 - t) / root, second)


class Mixup(nn.Module):
    """Modified mixup on waveforms [5] with r ~ Beta(alpha, alpha), or the standard one: x = r x1 + (1 - r) x2.

    The label is r y1 + (1 - r) y2 in both. Where log-mel features are mixed in the waveforms' place, the modified kind
    weighs them by the waveforms' t, without the root that keeps a waveform's energy.

    Parameters
    ----------
    config : kind, alpha and choice of partner
    sample_rate : Hz

    >>> mixup = Mixup(Augmentation(), sample_rate=44_100)
    >>> waves, labels = 0.1 * torch.randn(4, 441_000), torch.eye(10)[:4]
    >>> mixed, soft = mixup(waves, labels, torch.Generator().manual_seed(0))
    >>> mixed.shape, soft.shape, bool(torch.allclose(soft.sum(1), torch.ones(4)))
    (torch.Size([4, 441000]), torch.Size([4, 10]), True)
    """

    def __init__(self, config: Augmentation, sample_rate: int):
        super().__init__()
        self.config = config
        self.loudness = Loudness(sample_rate) if config.mixup == "modified" else None

    @torch.no_grad()
    def forward(
        self, waveforms: torch.Tensor, targets: torch.Tensor, generator: torch.Generator,
        log_mel: torch.Tensor | None = None, gains: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Mix each clip with one of the batch; with "any" partner that may be itself, once a batch on average.

        Parameters
        ----------
        waveforms : (batch, samples)
        targets : (batch, classes) on the CPU, as the draws are
        log_mel : (batch, 1, time, mel), mixed in the waveforms' place
        gains : (batch,) the waveforms' loudness in dB, where it is known

        Returns
        -------
        what was mixed, and soft targets on the CPU
        """
        inputs = waveforms if log_mel is None else log_mel
        if not self.training or self.config.mixup is None:
            return inputs, targets
        device = waveforms.device
        partner = self._partner(targets, generator)
        r = beta(self.config.mixup_alpha, len(waveforms), generator).to(waveforms.dtype)
        soft = r[:, None] * targets + (1 - r)[:, None] * targets[partner]
        partner, share = kernels.send(partner, device), kernels.send(r, device)
        if self.loudness is not None:
            gains = self.loudness(waveforms) if gains is None else kernels.send(gains, device)
            gains = torch.stack([gains, gains[partner]])
            if log_mel is None:
                return mix(waveforms, waveforms[partner], share, gains), soft
            share = heard(share, gains)
        share = share.view(-1, *[1] * (inputs.dim() - 1))
        return share * inputs + (1 - share) * inputs[partner], soft

    def _partner(self, targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        count = len(targets)
        if self.config.mixup_partner == "any":
            return torch.randperm(count, generator=generator)
        labels = targets.argmax(1)
        other = (labels[:, None] != labels[None]).double()
        other += 1e-9 * torch.eye(count)  # a batch of one class: the clip itself
        return torch.multinomial(other, 1, generator=generator)[:, 0]


class SpecAugment(nn.Module):
    """Time and mel masks [11], after PANNs [3]: two each, of widths below 1/8 of the axis.

    A mask is filled with the bin's mean over the batch, which the network's first batch norm turns into (nearly) 0.

    Parameters
    ----------
    config : numbers, widths and filling of the masks

    >>> masks = SpecAugment(Augmentation())
    >>> masks(torch.zeros(2, 1, 511, 160), torch.Generator()).shape
    torch.Size([2, 1, 511, 160])
    """

    def __init__(self, config: Augmentation):
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(batch, 1, time, mel) to the same, masked clip by clip; the input is left as it is."""
        if not self.training:
            return features
        batch, _, time, mel = features.shape
        sizes = (time, self.config.time_masks), (mel, self.config.mel_masks)
        times, mels = (kernels.send(self._mask(batch, *size, generator), features.device) for size in sizes)
        masked = times[:, None, :, None] | mels[:, None, None]  # batch, 1, time, mel
        fill = features.mean((0, 1, 2)) if self.config.mask_fill == "mean" else features.new_zeros(())
        return torch.where(masked, fill, features)

    def _mask(self, batch: int, size: int, masks: int, generator: torch.Generator) -> torch.Tensor:
        widest = max(1, round(size * self.config.mask_fraction))
        width = torch.randint(widest, (batch, masks, 1), generator=generator)  # 0 to widest - 1
        start = (torch.rand(batch, masks, 1, generator=generator) * (size - width + 1)).long()
        place = torch.arange(size)
        return ((place >= start) & (place < start + width)).any(1)  # batch, size
