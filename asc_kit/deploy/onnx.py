"""A model as one ONNX file: waveform in, probabilities out, log-mel inside; by torch's own exporter.

ONNX Runtime's STFT and DFT take 240 ms for a clip of 10 s, and its product with a dense basis 31 ms and 22 MB; so the
DFT of n = P Q points is taken in two products, as Cooley and Tukey do: over P for every remainder, then over Q for
those frequencies alone that a mel filter uses.
"""

import io
import json
import logging
import math
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import onnxscript  # noqa: F401  torch's exporter needs it; here, so that its absence shows at once
import torch
from torch import nn

from asc_kit.common import InputError, check_writable, write_file
from asc_kit.deploy.compact import LICENCE, Model
from asc_kit.deploy.folding import fold
from asc_kit.features import LogMel, filterbank

OPSET, IR = 18, 8  # what ONNX Runtime 1.14 (2023) reads
SECONDS = 1.0  # the shortest recording


def split(points: int, used: int) -> tuple[int, int]:
    """P and Q of a DFT of ``points`` points with the fewest multiplications for the first ``used`` frequencies."""
    pairs = [(p, points // p) for p in range(1, points + 1) if points % p == 0]
    return min(pairs, key=lambda pair: 2 * (pair[0] // 2 + 1) * points + 4 * pair[1] * used)


def dft(points: int, used: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two products that give the power of a real frame's first ``used`` frequencies.

    Frequency k and its mirror image ``points - k`` have the same power; with r = k mod P, one of them has r <= P // 2.

    Returns
    -------
    over P, (2 R, P) with R = P // 2 + 1: real and imaginary part for every r; over Q, (R, 2 Q, 2 L): for every r, its L
    frequencies' real and imaginary parts; and which frequency each is, (R, L), -1 where an r has fewer
    """
    p, q = split(points, used)
    rests = p // 2 + 1
    of = [[k if k % p < rests else points - k for k in range(used) if min(k % p, -k % p) == r] for r in range(rests)]
    width = max(map(len, of))
    frequencies = np.array([row + [-1] * (width - len(row)) for row in of])  # R, L
    angle = 2 * np.pi * (np.arange(rests)[:, None] * np.arange(p) % p) / p
    first = np.concatenate([np.cos(angle), -np.sin(angle)])
    angle = 2 * np.pi * (np.arange(q)[:, None] * frequencies[:, None] % points) / points  # R, Q, L
    cos, sin = np.cos(angle), np.sin(angle)
    second = np.concatenate([np.concatenate([cos, -sin], 2), np.concatenate([sin, cos], 2)], 1)
    bins = np.where(frequencies < used, frequencies, points - frequencies)  # a mirror image counts as its frequency
    return first, second, np.where(frequencies < 0, -1, bins)


class ProductLogMel(nn.Module):
    """`LogMel` by matrix products, for a runtime whose Fourier transform is slow.

    Parameters
    ----------
    features : whose window, filters and logarithm it takes
    """

    def __init__(self, features: LogMel):
        super().__init__()
        self.features, config = features, features.config
        first, second, bins = dft(features.n_fft, features.bands[-1].stop)
        self.shape = first.shape[1], second.shape[1] // 2  # P, Q
        self.block = math.gcd(features.n_fft, config.hop)  # samples are read in blocks, which divide frame and hop
        filters = np.where((bins >= 0)[..., None], filterbank(config).numpy()[bins], 0)  # R, L, mel
        constants = {"first": first, "second": second, "filters": filters.reshape(bins.size, -1),
                     "window": features.window.numpy().reshape(self.shape)}  # fmt: skip
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to (batch, 1, time, mel)."""
        batch, config, (p, q) = waveforms.shape[0], self.features.config, self.shape  # not len(): any batch
        rests = self.second.shape[0]
        frames = self._frames(waveforms)  # batch, time, n_fft
        time = frames.shape[1]
        parts = self.first @ (frames.reshape(batch, time, p, q) * self.window)  # batch, time, 2 R, Q
        parts = parts.reshape(batch, time, 2, rests, q).permute(3, 0, 1, 2, 4).reshape(rests, -1, 2 * q)
        real, imaginary = (parts @ self.second).chunk(2, dim=2)  # R, batch time, L
        power = real * real + imaginary * imaginary
        if config.power == 1:
            power = power.sqrt()
        mel = power.permute(1, 0, 2).reshape(-1, len(self.filters)) @ self.filters  # batch time, mel
        return self.features.log(mel.reshape(batch, time, config.n_mels))[:, None]

    def _frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Centred on every hop, the ends mirrored: (batch, time, n_fft)."""
        config, points, block = self.features.config, self.features.n_fft, self.block
        padded = nn.functional.pad(waveforms[:, None], (points // 2, points // 2), mode="reflect")[:, 0]
        odd = points % 2 if config.last_frame else 0  # as many whole frames as torch.unfold gives
        time = (waveforms.shape[1] - odd) // config.hop + int(config.last_frame)
        blocks = padded[:, : (time - 1) * config.hop + points].reshape(waveforms.shape[0], -1, block)
        places = torch.arange(time)[:, None] * (config.hop // block) + torch.arange(points // block)
        return blocks[:, places].reshape(waveforms.shape[0], time, points)


class Classifier(nn.Module):
    """(batch, samples) to probabilities, (batch, classes); with ``shown`` the log-mel, (batch, time, mel), too."""

    def __init__(self, features: nn.Module, network: nn.Module, shown: bool):
        super().__init__()
        self.features, self.network, self.shown = features, network, shown

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.features(waveform)
        probabilities = self.network(features).softmax(-1)
        return (probabilities, features[:, 0]) if self.shown else (probabilities,)


def build(model: Model, shown: bool = False) -> onnx.ModelProto:
    """The model as a checked ONNX graph.

    Parameters
    ----------
    shown : adds the output ``features``, (batch, time, mel)

    Raises
    ------
    InputError : what the graph cannot do as the model does.
    """
    config = model.config
    if config.training.float16 == "arithmetic":
        raise InputError("float16: a model with float16 arithmetic is not exported; train it with float16: storage")
    if model.features.n_fft >= 2 * SECONDS * config.features.sample_rate:
        raise InputError(f"n_fft: {model.features.n_fft} samples are too many for recordings of {SECONDS:g} s")
    whole = Classifier(ProductLogMel(model.features), fold(model.network), shown)
    made = exported(whole, config.features.sample_rate, "probabilities", *["features"] * shown)
    made.doc_string = (f"waveform: float32, batch x samples, {config.features.sample_rate} Hz, mono, in [-1, 1], "
                       f"{SECONDS:g} s or longer; probabilities: batch x classes")  # fmt: skip
    name = f"asc_kit {config.submission}"
    about = {"name": name, "classes": json.dumps(model.classes), "sample_rate": str(config.features.sample_rate),
             "licence": model.origin.get("licence", LICENCE[False]), "config": json.dumps(config.as_dict()),
             "origin": json.dumps(model.origin)}  # fmt: skip
    made.graph.name, made.producer_name = name, "asc_kit"
    onnx.helper.set_model_props(made, about)
    onnx.checker.check_model(made, full_check=True)
    return made


def exported(whole: nn.Module, sample_rate: int, *outputs: str) -> onnx.ModelProto:
    """A module of waveforms (batch, samples) as an ONNX graph for any number and length of them.

    Raises
    ------
    InputError : torch cannot export it.
    """
    example = torch.zeros(2, round(1.7 * SECONDS * sample_rate) + 1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # of libraries that are not needed
    try:
        with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                whole.eval(), (example,), dynamo=True, opset_version=OPSET, input_names=["waveform"],
                output_names=outputs, dynamic_shapes=({0: "batch", 1: "samples"},), verbose=False,
            )  # fmt: skip
    except Exception as error:  # whatever of a network the exporter does not know
        while error.__cause__ is not None:
            error = error.__cause__
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"export: torch cannot write this network as ONNX ({reason})") from None
    made = program.model_proto
    made.ir_version = IR
    for part in (made.graph, *made.graph.node, *made.graph.value_info, *made.graph.input, *made.graph.output,
                 *made.graph.initializer):  # fmt: skip
        del part.metadata_props[:]  # paths of the machine it was made on
    return made


def export(model: Model, file: Path, *inputs: Path) -> None:
    """Write a model as one ONNX file.

    Raises
    ------
    InputError : as `build`, or the file cannot be written, or is one of ``inputs``.
    """
    check_writable(file, *inputs)
    write_file(file, build(model).SerializeToString())
