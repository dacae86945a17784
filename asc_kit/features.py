"""Log-mel spectrogram (Section 2.1): Hann 2760, hop 690, 44.1 kHz, 10 to 16,000 Hz; 10 s give 640 x M.

The same module, with other settings, computes the baseline's features [18]. It equals torchaudio's MelSpectrogram
(the tests compare them) and takes less time: nothing is padded to a power of two and the bins above ``f_max`` are
never turned into power.
"""

import torch
import torchaudio
from torch import nn

from asc_kit.config import Features

WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window}


def filterbank(config: Features) -> torch.Tensor:
    """Triangular mel filters, (n_fft // 2 + 1) x n_mels, as torchaudio makes them."""
    return torchaudio.functional.melscale_fbanks(
        (config.n_fft or config.window) // 2 + 1, config.f_min, config.f_max, config.n_mels, config.sample_rate,
        norm=config.mel_norm, mel_scale=config.mel_scale,
    )  # fmt: skip


class LogMel(nn.Module):
    """Waveform to log-mel spectrogram.

    Parameters
    ----------
    config : window, mel filters and logarithm.
    """

    def __init__(self, config: Features):
        super().__init__()
        self.config = config
        self.n_fft = config.n_fft or config.window
        filters = filterbank(config)
        used = int(filters.any(dim=1).nonzero().max()) + 1  # 1,002 of 1,381 bins for the report
        window = WINDOWS[config.window_function](config.window)  # periodic
        left = (self.n_fft - config.window) // 2
        window = nn.functional.pad(window, (left, self.n_fft - config.window - left))
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters[:used].contiguous(), persistent=False)  # bins, mels

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
            mel = torch.stack([self._mel(clip) for clip in waveforms])  # clip by clip: frames stay in the cache
        return self._log(mel)[:, None]

    def _mel(self, clip: torch.Tensor) -> torch.Tensor:
        half = self.n_fft // 2
        mode = "reflect" if len(clip) > half else "constant"  # a clip shorter than the window has too little to reflect
        padded = nn.functional.pad(clip[None, None], (half, half), mode=mode)[0, 0]
        frames = padded.unfold(0, self.n_fft, self.config.hop)[: self.config.frames(len(clip))]  # time, n_fft
        spectrum = torch.fft.rfft(frames * self.window)[:, : len(self.filters)]  # time, bins
        power = torch.view_as_real(spectrum).square().sum(-1)
        return (power if self.config.power == 2 else power.sqrt()) @ self.filters  # time, mel

    def _log(self, mel: torch.Tensor) -> torch.Tensor:
        if self.config.log == "ln":
            return torch.log(mel + self.config.amin)
        level = 10 * torch.log10(mel.clamp_(min=self.config.amin))
        if self.config.top_db is not None:
            level = level.maximum(level.amax((-2, -1), keepdim=True) - self.config.top_db)
        return level
