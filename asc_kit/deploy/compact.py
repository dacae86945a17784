"""A trained network as one file: float16 weights, with its configuration and class list inside (Section 3.2)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from asc_kit import network
from asc_kit.config import Config
from asc_kit.errors import InputError
from asc_kit.features import LogMel
from asc_kit.files import write_tensors
from asc_kit.metrics import softmax


@dataclass(frozen=True)
class Model:
    """A network read from a file, ready to score.

    Attributes
    ----------
    network : logits from features, eval mode; float32 arithmetic on weights that were stored as float16, unless its
        configuration asks for float16 arithmetic
    features : log-mel of the network's own setting
    config, classes : of the run that trained it
    nonzero : parameters that are not zero in the stored float16, without the running statistics (Section 3.5)
    parameters : all of them
    """

    network: nn.Module
    features: LogMel
    config: Config
    classes: tuple[str, ...]
    nonzero: int
    parameters: int

    @torch.inference_mode()
    def probabilities(self, waveforms: torch.Tensor) -> np.ndarray:
        """(batch, samples) float32 at the model's sample rate to (batch, classes) float64."""
        half = self.config.training.float16 == "arithmetic"
        features = self.features(waveforms)
        return softmax(self.network(features.half() if half else features).float().cpu().numpy())


def save(trained: nn.Module, config: Config, classes: tuple[str, ...], file: Path) -> None:
    """Write ``model.safetensors``.

    Raises
    ------
    InputError : a weight does not fit into float16.
    """
    tensors = {}
    for name, value in trained.state_dict().items():
        if not value.is_floating_point():
            continue  # the count of batches, which scoring does not use
        tensors[name] = value.detach().cpu().half().contiguous()
        if not torch.isfinite(tensors[name]).all():
            raise InputError(f"{file}: {name} does not fit into float16 (largest {value.abs().max():.3g}); not written")
    write_tensors(tensors, file, json.dumps({"config": config.as_dict(), "classes": classes}, sort_keys=True))


def load(file: str | Path) -> Model:
    """Read ``model.safetensors``. Nothing but safetensors is ever read.

    Raises
    ------
    InputError : the file is missing, damaged, of another kind, or of another network.
    """
    about, tensors = _read(Path(file))
    try:
        inside = json.loads(about["asc_kit"])
        config, classes = Config.from_dict(inside["config"]), tuple(inside["classes"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{file}: holds no asc_kit configuration; give a model.safetensors of this kit") from None
    net = network.build(config.submission, config.features, len(classes))
    missing = [name for name, value in net.state_dict().items() if value.is_floating_point() and name not in tensors]
    try:
        net.load_state_dict(tensors, strict=False)
    except RuntimeError:
        missing = ["of another shape"]
    if missing:
        raise InputError(f"{file}: its weights do not fit submission {config.submission} ({missing[0]} ...)")
    parameters = [tensors[name] for name, _ in net.named_parameters()]
    if config.training.float16 == "arithmetic":
        net.half()
    return Model(net.eval().requires_grad_(False), LogMel(config.features), config, classes,
                 sum(int(p.count_nonzero()) for p in parameters), sum(p.numel() for p in parameters))  # fmt: skip


def _read(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not file.is_file():
        raise InputError(f"{file}: no such model; train one with notebooks/05_train.ipynb")
    try:
        with safe_open(file, framework="pt") as handle:
            return handle.metadata() or {}, {key: handle.get_tensor(key) for key in handle.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: is no whole safetensors file ({' '.join(str(error).split())})") from None
