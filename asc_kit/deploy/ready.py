"""A model made ready for those who use it: set to their microphone, its probabilities as sure as they should be."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from asc_kit.common import InputError, say
from asc_kit.deploy import calibration, compact, microphone

LEAST, MOST = 0.01, 100  # temperatures: beyond, float32 may not hold what is left


class Tempered(nn.Module):
    """A network whose logits are divided by a temperature, in float32."""

    def __init__(self, network: nn.Module, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        return self.network(x).float() / self.temperature


def load(file: Path, allow_code: bool = False, folder: Path | None = None, temperature: str = "1") -> compact.Model:
    """A model for `predict`, `listen`, `export` and `web`; what was done to it stands in its origin.

    Parameters
    ----------
    folder : recordings by the microphone that it is set to; None: it stays as it is
    temperature : of its probabilities: a number, or "fitted", that of the ``temperature.json`` beside it

    Raises
    ------
    InputError : as `compact.load`, `microphone.corrected` and `calibration.read`; no such temperature is possible.
    """
    model = compact.load(file, allow_code)
    degree = _degree(temperature, file, model)
    if folder is not None:
        model = microphone.corrected(model, file, folder)
    return model if degree == 1 else tempered(model, degree)


def tempered(model: compact.Model, temperature: float) -> compact.Model:
    """A model whose probabilities have that temperature."""
    origin = model.origin | {"temperature": temperature}
    return replace(model, network=Tempered(model.network, temperature), origin=origin)


def _degree(text: str, model_file: Path, model: compact.Model) -> float:
    if text == "fitted":
        about = calibration.read(model_file, model.config)
        say(f"temperature {about['temperature']:g}, fitted on {about['clips']} held-out clips")
        return about["temperature"]
    with suppress(ValueError):
        if LEAST <= float(text) <= MOST:
            return float(text)
    raise InputError(f"temperature: {text!r} is not possible; give a number from {LEAST} to {MOST}, or fitted")
