"""A trained network as one file: float16 weights, with its configuration and class list inside (Section 3.2).

``model.safetensors`` holds every tensor by name, as it was trained. ``compact.safetensors`` is made from it and stays
below 128,000 bytes: batch norms folded, all numbers in one flat float16 tensor in the order of the folded network's
``state_dict``, because a name costs some 90 bytes. Behind them lies what rounding took from the network's beginning, up
to its first convolution: dB of up to 100 are multiplied there by numbers that float16 holds to 0.05 %, and without the
rest a probability moves by up to 0.006. Whole numbers, such as an index, lie beside it by name.
"""

import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from asc_kit import network
from asc_kit.common import InputError, write_tensors
from asc_kit.config import Config
from asc_kit.deploy.folding import fold
from asc_kit.features import LogMel
from asc_kit.metrics import softmax

FLAT = "weights"
COUNTS = "num_batches_tracked"  # of batches that a norm has seen, which scoring does not use
LICENCE = {
    True: "MIT; trained on synthetic recordings",
    False: "kit: MIT; weights: as the training recordings' licence allows (TAU and TUT: not for commerce)",
}


@dataclass(frozen=True)
class Model:
    """A network read from a file, ready to score.

    Attributes
    ----------
    network : logits from features, eval mode, of a compact file the folded one; float32 arithmetic on weights that
        were stored as float16, unless its configuration asks for float16 arithmetic
    features : log-mel of the network's own setting
    config, classes : of the run that trained it
    nonzero : parameters that are not zero in the stored float16, without the running statistics (Section 3.5)
    parameters : all of them
    origin : run, hash of its configuration, code, fingerprint of its data, kit's version and licence, so far as the
        file or the ``run.json`` beside it tells
    """

    network: nn.Module
    features: LogMel
    config: Config
    classes: tuple[str, ...]
    nonzero: int
    parameters: int
    origin: dict[str, Any] = field(default_factory=dict)

    @torch.inference_mode()
    def probabilities(self, waveforms: torch.Tensor) -> np.ndarray:
        """(batch, samples) float32 at the model's sample rate to (batch, classes) float64."""
        return self.from_features(self.features(waveforms))

    @torch.inference_mode()
    def from_features(self, features: torch.Tensor) -> np.ndarray:
        """(batch, 1, time, mel) of the model's own kind to (batch, classes) float64."""
        half = self.config.training.float16 == "arithmetic"
        return softmax(self.network(features.half() if half else features).float().cpu().numpy())


def save(trained: nn.Module, config: Config, classes: tuple[str, ...], file: Path) -> None:
    """Write ``model.safetensors``.

    Raises
    ------
    InputError : a weight does not fit into float16.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in _tensors(trained).items()}
    tensors = {name: _half(value, name, file) if value.is_floating_point() else value
               for name, value in tensors.items()}  # fmt: skip
    write_tensors(tensors, file, json.dumps({"config": config.as_dict(), "classes": classes}, sort_keys=True))


def save_folded(model: Model, file: Path) -> None:
    """Write ``compact.safetensors``.

    Raises
    ------
    InputError : a folded weight does not fit into float16.
    """
    net = fold(model.network)
    numbers, first = (torch.cat([value.flatten() for value in values]) for values in _laid_out(net))
    flat = torch.cat([_half(numbers, "a folded weight", file), (first - first.half()).half()])
    about = {"config": model.config.as_dict(), "classes": model.classes, "origin": model.origin}
    others = {name: value for name, value in _tensors(net).items() if not value.is_floating_point()}
    write_tensors({FLAT: flat} | others, file, json.dumps(about, sort_keys=True))


def _half(values: torch.Tensor, name: str, file: Path) -> torch.Tensor:
    halves = values.half()
    if not torch.isfinite(halves).all():
        raise InputError(f"{file}: {name} does not fit into float16 (largest {values.abs().max():.3g}); not written")
    return halves


def load(file: str | Path, allow_code: bool = False) -> Model:
    """Read ``model.safetensors`` or ``compact.safetensors``. Nothing but safetensors is ever read.

    Parameters
    ----------
    allow_code : import the class that the file names, where it is none of the kit's; one that a recipe at work names
        is imported in any case

    Raises
    ------
    InputError : the file is missing, damaged, of another kind, of another network, or of one that may not be imported.
    """
    file = Path(file)
    about, tensors = _read(file)
    try:
        inside = json.loads(about["asc_kit"])
        config, classes = Config.from_dict(inside["config"]), tuple(inside["classes"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{file}: holds no asc_kit configuration; give a model.safetensors of this kit") from None
    kind = config.architecture
    if kind.foreign and not allow_code and kind.network not in network.TRUSTED:
        raise InputError(f"{file}: is a network of the class {kind.network}, which does not come with the kit; give "
                         "--allow-code to import it, if you trust it")  # fmt: skip
    try:
        net = network.build(config, len(classes))
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if FLAT in tensors:
        net = fold(net)
        _fill(net, tensors.pop(FLAT), file)
        tensors |= {name: value for name, value in net.state_dict().items() if value.is_floating_point()}
    counts = {name: value for name, value in net.state_dict().items() if name.endswith(COUNTS)}
    try:
        net.load_state_dict(tensors | counts)
    except RuntimeError as error:  # names what is missing, too much or of another shape, a line each
        fault = str(error).splitlines()[1].split('", ')[0].strip(" .\t").replace('"', "")
        raise InputError(f"{file}: does not fit its network: {fault}; is it damaged, or the code another?") from None
    parameters = [value.half() for value in net.parameters()]
    if config.training.float16 == "arithmetic":
        net.half()
    return Model(net.eval().requires_grad_(False), LogMel(config.features), config, classes,
                 sum(int(p.count_nonzero()) for p in parameters), sum(p.numel() for p in parameters),
                 inside.get("origin") or _beside(file))  # fmt: skip


def _tensors(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in net.state_dict().items() if not name.endswith(COUNTS)}


def _laid_out(net: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The numbers of a folded network in the flat tensor's order, and those to the first convolution, as registered."""
    numbers = {name: value for name, value in net.state_dict().items() if value.is_floating_point()}
    layers = (name for name, module in net.named_modules() if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)))
    first, names = next(layers, ""), list(numbers)
    end = max((place for place, name in enumerate(names) if name.startswith(f"{first}.")), default=-1)
    return list(numbers.values()), list(numbers.values())[: end + 1]


def _fill(net: nn.Module, flat: torch.Tensor, file: Path) -> None:
    numbers, first = _laid_out(net)
    sizes = [value.numel() for value in [*numbers, *first]]
    if flat.shape != (sum(sizes),):
        raise InputError(f"{file}: holds {flat.numel()} numbers where its network has {sum(sizes)}; it is damaged, or "
                         "of another network")  # fmt: skip
    parts = [part.float() for part in flat.split(sizes)]
    for value, part in zip(numbers, parts):
        value.copy_(part.view_as(value))
    for value, rest in zip(first, parts[len(numbers) :]):
        value.add_(rest.view_as(value))


def _beside(file: Path) -> dict[str, Any]:
    """Where a ``model.safetensors`` comes from, by its ``run.json``."""
    try:
        return origin(json.loads((file.parent / "run.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def origin(about: dict[str, Any]) -> dict[str, Any]:
    """What a compact file tells of its run, from the contents of ``run.json``."""
    data = about["data"]
    seconds = round(data["length"] / data["sample_rate"], 3)  # of a clip
    return {"run": about["run"], "hash": about["hash"], "code": about["code"], "data": data["fingerprint"],
            "seconds": seconds, "asc_kit": version("asc_kit"), "licence": LICENCE[bool(data["synthetic"])]}  # fmt: skip


def _read(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not file.is_file():
        raise InputError(f"{file}: no such model; train one with notebooks/05_train.ipynb")
    try:
        with safe_open(file, framework="pt") as handle:
            return handle.metadata() or {}, {key: handle.get_tensor(key) for key in handle.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: is no whole safetensors file ({' '.join(str(error).split())})") from None
