"""Log-mel spectrogram (Section 2.1): Hann 2760, hop 690, 44.1 kHz, 10 to 16,000 Hz; 10 s give 640 x M.

The same module, with other settings, computes the baseline's features [18]. It equals torchaudio's MelSpectrogram
(the tests compare them) and takes about a third of its time: nothing is padded to a power of two, the bins above
``f_max`` are never turned into power, neighbouring mel filters are applied to the few bins that they cover, and a
hundred frames at a time stay in the processor's cache. A GPU takes the whole batch at once.
"""

import torch
import torchaudio
from torch import nn

from asc_kit import kernels
from asc_kit.config import Features

FRAMES = 128  # worked on at a time; 1.4 MB of samples
FILTERS = 32  # that are applied together
WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window}


def filterbank(config: Features) -> torch.Tensor:
    """Triangular mel filters, (n_fft // 2 + 1) x n_mels, as torchaudio makes them.

    >>> filterbank(Features(n_mels=64)).shape
    torch.Size([1381, 64])
    """
    return torchaudio.functional.melscale_fbanks(
        (config.n_fft or config.window) // 2 + 1, config.f_min, config.f_max, config.n_mels, config.sample_rate,
        norm=config.mel_norm, mel_scale=config.mel_scale,
    )  # fmt: skip


class LogMel(nn.Module):
    """Waveform to log-mel spectrogram.

    Parameters
    ----------
    config : window, mel filters and logarithm.

    >>> log_mel = LogMel(Features(n_mels=160))
    >>> log_mel(torch.zeros(2, 441_000)).shape  # two clips of 10 s: batch, 1, time, mel
    torch.Size([2, 1, 640, 160])
    >>> log_mel(torch.zeros(1, 441_000)).max()  # dB of silence
    tensor(-100.)
    """

    def __init__(self, config: Features):
        super().__init__()
        self.config = config
        self.n_fft = config.n_fft or config.window
        filters = filterbank(config)
        window = WINDOWS[config.window_function](config.window)  # periodic
        left = (self.n_fft - config.window) // 2
        window = nn.functional.pad(window, (left, self.n_fft - config.window - left))
        self.register_buffer("window", window, persistent=False)
        self.bands = []  # of bins, one for each group of filters
        for number, group in enumerate(filters.split(FILTERS, dim=1)):
            used = group.any(dim=1).nonzero().flatten().tolist() or [0]  # filters narrower than a bin may be empty
            self.bands.append(slice(used[0], used[-1] + 1))
            self.register_buffer(f"filters{number}", group[self.bands[-1]].contiguous(), persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Compute the features.

        Parameters
        ----------
        waveforms : (batch, samples) float32 in [-1, 1]

        Returns
        -------
        (batch, 1, time, mel) float32, dB for the report's setting
        """
        with torch.autocast(waveforms.device.type, enabled=False):  # 16 bits cannot hold a power spectrum
            if kernels.batched(waveforms.device):
                mel = self._filtered(self._frames(waveforms))
            else:  # clip by clip: frames stay in the cache
                mel = torch.stack([self.mel(clip) for clip in waveforms])
        return self.log(mel)[:, None]

    def mel(self, clip: torch.Tensor) -> torch.Tensor:
        """Power in the mel filters of a clip, (samples,): (time, mel)."""
        return torch.cat([self._filtered(some) for some in self._frames(clip).split(FRAMES)])

    def _frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(..., samples) to (..., time, n_fft), a view of the padded samples."""
        half, samples = self.n_fft // 2, waveforms.shape[-1]
        mode = "reflect" if samples > half else "constant"  # a short clip has too little to reflect
        padded = nn.functional.pad(waveforms.unsqueeze(-2), (half, half), mode=mode).squeeze(-2)
        frames = padded.unfold(-1, self.n_fft, self.config.hop)
        return frames[..., : self.config.frames(samples), :]

    def _filtered(self, frames: torch.Tensor) -> torch.Tensor:
        """Power in the mel filters: (..., time, n_fft) to (..., time, mel)."""
        spectrum = torch.fft.rfft(frames * self.window)[..., : self.bands[-1].stop]
        square = torch.view_as_real(spectrum).square()  # ..., time, bins, 2
        power = square[..., 0] + square[..., 1]
        if self.config.power == 1:
            power = power.sqrt_()
        mel = [power[..., band] @ getattr(self, f"filters{i}") for i, band in enumerate(self.bands)]
        return torch.cat(mel, dim=-1)

    def log(self, mel: torch.Tensor) -> torch.Tensor:
        """Power in the mel filters, (batch, time, mel), to its logarithm."""
        if self.config.log == "ln":
            return torch.log(mel + self.config.amin)
        level = 10 * torch.log10(mel.clamp(min=self.config.amin))
        if self.config.top_db is not None:
            level = level.maximum(level.amax((-2, -1), keepdim=True) - self.config.top_db)
        return level
