"""A model as one ONNX file: waveform in, probabilities out, log-mel inside.

The graph is written node by node, from the folded network: twelve kinds of layers are less than an exporter's own
graph, and nothing but onnx is needed. ONNX Runtime's STFT and DFT take 240 ms for a clip of 10 s, and its product with
a dense basis 31 ms and 22 MB; so the DFT of n = P Q points is taken in two products, as Cooley and Tukey do: over P
for every remainder, then over Q for those frequencies alone that a mel filter uses.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from asc_kit.blocks import FusedMBConv4, InvertedBottleneck, SqueezeExcite
from asc_kit.common.errors import InputError
from asc_kit.common.files import check_writable, replacing
from asc_kit.deploy.compact import LICENCE, Model
from asc_kit.deploy.folding import fold
from asc_kit.features import LogMel, filterbank
from asc_kit.network import Baseline, Network

OPSET, IR = 17, 8  # what ONNX Runtime 1.12 (2022) reads
SECONDS = 1.0  # the shortest recording


class Graph:
    """Nodes and constants, added one by one; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.part = ""  # prefix of the names

    def constant(self, value: Any, kind: type = np.float32) -> str:
        """A tensor, whole numbers as int64."""
        name = f"{self.part}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=kind), name))
        return name

    def whole(self, *values: int) -> str:
        """A list of whole numbers."""
        return self.constant(values, np.int64)

    def __call__(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{self.part}{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{name}_node", **attributes))
        return name


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


def log_mel(graph: Graph, wave: str, features: LogMel) -> str:
    """(batch, samples) to (batch, time, mel)."""
    config, points, used = features.config, features.n_fft, features.bands[-1].stop
    first, second, bins = dft(points, used)
    rests, wide, _ = second.shape
    frames = _frames(graph, wave, points, config.hop, config.last_frame)  # batch, time, n_fft / g, g
    frames = graph("Reshape", frames, graph.whole(0, 0, first.shape[1], wide // 2))  # batch, time, P, Q
    window = graph.constant(features.window.numpy().reshape(first.shape[1], wide // 2))
    parts = graph("MatMul", graph.constant(first), graph("Mul", frames, window))  # batch, time, 2 R, Q
    parts = graph("Reshape", parts, graph.whole(0, 0, 2, rests, wide // 2))
    parts = graph("Transpose", parts, perm=[3, 0, 1, 2, 4])  # R, batch, time, 2, Q
    parts = graph("Reshape", parts, graph.whole(rests, -1, wide))  # R, batch time, 2 Q
    spectrum = graph("MatMul", parts, graph.constant(second))  # R, batch time, 2 L
    power = _power(graph, spectrum, bins.shape[1])
    if config.power == 1:
        power = graph("Sqrt", power)
    filters = np.where((bins >= 0)[..., None], filterbank(config).numpy()[bins], 0)  # R, L, mel
    power = graph("Reshape", graph("Transpose", power, perm=[1, 0, 2]), graph.whole(-1, bins.size))
    mel = graph("MatMul", power, graph.constant(filters.reshape(bins.size, -1)))  # batch time, mel
    batch = graph("Slice", graph("Shape", wave), graph.whole(0), graph.whole(1))
    shape = graph("Concat", batch, graph.whole(-1, config.n_mels), axis=0)
    return _log(graph, graph("Reshape", mel, shape), config)


def _frames(graph: Graph, wave: str, points: int, hop: int, last_frame: bool) -> str:
    """Frames centred on every hop, the ends mirrored; read in blocks of g samples, which divides frame and hop."""
    block = math.gcd(points, hop)
    half = graph.whole(0, points // 2, 0, points // 2)
    padded = graph("Pad", wave, half, mode="reflect")
    samples = graph("Slice", graph("Shape", wave), graph.whole(1), graph.whole(2))
    odd = graph("Sub", samples, graph.whole(int(last_frame and points % 2)))  # as many whole frames as torch.unfold
    count = graph("Add", graph("Div", odd, graph.whole(hop)), graph.whole(int(last_frame)))
    end = graph("Add", graph("Mul", graph("Sub", count, graph.whole(1)), graph.whole(hop)), graph.whole(points))
    used = graph("Slice", padded, graph.whole(0), end, graph.whole(1))
    blocks = graph("Reshape", used, graph.whole(0, -1, block))  # batch, blocks, g
    numbers = graph("Range", graph.constant(0, np.int64), graph("Squeeze", count), graph.constant(1, np.int64))
    starts = graph("Mul", graph("Unsqueeze", numbers, graph.whole(1)), graph.whole(hop // block))  # time, 1
    return graph("Gather", blocks, graph("Add", starts, graph.whole(*range(points // block))), axis=1)


def _power(graph: Graph, spectrum: str, width: int) -> str:
    real = graph("Slice", spectrum, graph.whole(0), graph.whole(width), graph.whole(2))
    imaginary = graph("Slice", spectrum, graph.whole(width), graph.whole(2 * width), graph.whole(2))
    return graph("Add", graph("Mul", real, real), graph("Mul", imaginary, imaginary))


def _log(graph: Graph, mel: str, config: Any) -> str:
    if config.log == "ln":
        return graph("Log", graph("Add", mel, graph.constant(config.amin)))
    level = graph("Log", graph("Max", mel, graph.constant(config.amin)))
    level = graph("Mul", level, graph.constant(10 / math.log(10)))
    if config.top_db is not None:
        floor = graph("Sub", graph("ReduceMax", level, axes=[1, 2], keepdims=1), graph.constant(config.top_db))
        level = graph("Max", level, floor)
    return level


def _convolution(graph: Graph, x: str, layer: nn.Conv2d, stride: tuple[int, int] | None = None) -> str:
    weights = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
    return graph("Conv", x, *(graph.constant(value.numpy()) for value in weights), strides=stride or layer.stride,
                 kernel_shape=layer.kernel_size, pads=[*layer.padding, *layer.padding], group=layer.groups)  # fmt: skip


def _swish(graph: Graph, x: str) -> str:
    return graph("Mul", x, graph("Sigmoid", x))


def _squeeze_excite(graph: Graph, x: str, layer: SqueezeExcite) -> str:
    gate = _swish(graph, _convolution(graph, graph("GlobalAveragePool", x), layer.reduce))
    return graph("Mul", x, graph("Sigmoid", _convolution(graph, gate, layer.expand)))


def _block(graph: Graph, x: str, block: InvertedBottleneck) -> str:
    inner = _swish(graph, _convolution(graph, x, block.expand))
    if not isinstance(block, FusedMBConv4):
        inner = _swish(graph, _convolution(graph, inner, block.depthwise))
    inner = _convolution(graph, _squeeze_excite(graph, inner, block.squeeze_excite), block.reduce)
    bare = isinstance(block.shortcut, nn.Identity)  # only where the stride is 1 too
    return graph("Add", inner, x if bare else _convolution(graph, x, block.shortcut, block.stride))


def _dense(graph: Graph, x: str, layer: nn.Linear) -> str:
    return graph("Gemm", x, graph.constant(layer.weight.numpy()), graph.constant(layer.bias.numpy()), transB=1)


def _network(graph: Graph, x: str, net: Network) -> str:
    x = graph("Add", graph("Mul", x, graph.constant(net.norm.scale)), graph.constant(net.norm.shift))
    if net.axis_order == "frequency_time":
        x = graph("Transpose", x, perm=[0, 2, 1])
    x = graph("Unsqueeze", x, graph.whole(1))  # batch, 1, time, mel
    x = _swish(graph, _convolution(graph, x, net.stem))
    for block in net.blocks:
        x = _block(graph, x, block)
    x = _swish(graph, _convolution(graph, x, net.head))  # batch, 100, time / 16, mel / 8
    x = graph("Add", graph("GlobalMaxPool", x), graph("GlobalAveragePool", x))
    return _dense(graph, graph("Flatten", x), net.classifier)


def _baseline(graph: Graph, x: str, net: Baseline) -> str:
    x = graph("Div", graph("Sub", x, graph.constant(net.mean)), graph.constant(net.deviation))
    x = graph("Unsqueeze", graph("Transpose", x, perm=[0, 2, 1]), graph.whole(1))  # batch, 1, mel, time
    x = graph("Relu", _convolution(graph, x, net.conv1))
    x = graph("Relu", _convolution(graph, x, net.conv2))
    x = graph("MaxPool", x, kernel_shape=[5, 5], strides=[5, 5])
    x = graph("Relu", _convolution(graph, x, net.conv3))
    x = graph("ReduceMax", graph("MaxPool", x, kernel_shape=[4, 1], strides=[4, 1]), axes=[3])
    return _dense(graph, graph("Relu", _dense(graph, graph("Flatten", x), net.dense)), net.classifier)


def build(model: Model, temperature: float | None = None) -> onnx.ModelProto:
    """The model as a checked ONNX graph.

    Parameters
    ----------
    temperature : divides the logits; None leaves them

    Raises
    ------
    InputError : what the graph cannot do as the model does.
    """
    config = model.config
    if config.training.float16 == "arithmetic":
        raise InputError("float16: a model with float16 arithmetic is not exported; train it with float16: storage")
    if model.features.n_fft >= 2 * SECONDS * config.features.sample_rate:
        raise InputError(f"n_fft: {model.features.n_fft} samples are too many for recordings of {SECONDS:g} s")
    if temperature is not None and not 0 < temperature < float("inf"):
        raise InputError(f"temperature: {temperature} is not possible; give a number above 0")
    graph, net = Graph(), fold(model.network)
    graph.part = "features/"
    x = log_mel(graph, "waveform", model.features)
    graph.part = "network/"
    x = (_baseline if isinstance(net, Baseline) else _network)(graph, x, net)
    if temperature is not None:
        x = graph("Div", x, graph.constant(temperature))
    graph("Softmax", x, output="probabilities", axis=-1)
    made = _finished(graph, model, temperature)
    onnx.checker.check_model(made, full_check=True)
    return made


def _finished(graph: Graph, model: Model, temperature: float | None) -> onnx.ModelProto:
    config, name = model.config, f"asc_kit submission {model.config.submission}"
    wave = helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(model.classes)])
    made = helper.make_model(
        helper.make_graph(graph.nodes, name, [wave], [out], graph.constants),
        producer_name="asc_kit", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR,
        doc_string=f"waveform: float32, batch x samples, {config.features.sample_rate} Hz, mono, in [-1, 1], "
                   f"{SECONDS:g} s or longer; probabilities: batch x classes",
    )  # fmt: skip
    about = {"name": name, "classes": json.dumps(model.classes), "sample_rate": str(config.features.sample_rate),
             "licence": model.origin.get("licence", LICENCE[False]), "config": json.dumps(config.as_dict()),
             "origin": json.dumps(model.origin), "temperature": str(temperature or 1.0)}  # fmt: skip
    helper.set_model_props(made, about)
    return made


def export(model: Model, file: Path, temperature: float | None = None, *inputs: Path) -> None:
    """Write a model as one ONNX file.

    Raises
    ------
    InputError : as `build`, or the file cannot be written, or is one of ``inputs``.
    """
    check_writable(file, *inputs)
    made = build(model, temperature)
    with replacing(file) as part:
        part.write_bytes(made.SerializeToString())
