"""What 11_performance measures, each in a process of its own, so that memory is that work's alone."""

import importlib
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from asc_kit import complexity, kernels, network
from asc_kit import config as configuration
from asc_kit.common import InputError
from asc_kit.config import Config
from asc_kit.data import corpus as corpora
from asc_kit.data.store import Store, open_store
from asc_kit.run.data import RunData
from asc_kit.run.recipes import Recipe
from asc_kit.trainer import Trainer

RATE = 44100
FILES = 64  # different ones; all other names are links to them, so that a corpus of any size costs little disk


def random_corpus(folder: Path, clips: int, seconds: float) -> Path:
    """A data set of random bytes: 64 different files of white noise under as many names as are asked for."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    rows = ["filename\tscene_label\tidentifier\tsource_label"]
    for number in range(clips):
        name = f"audio/{number:06d}.wav"
        rows.append(f"{name}\tscene{number % 10}\tplace{number % 200}\ta")
        file = folder / name
        if number < FILES and not file.exists():
            noise = draw.integers(-32768, 32768, round(seconds * RATE), dtype=np.int16)
            soundfile.write(file, noise, RATE, subtype="PCM_16")
        elif not file.exists():
            os.link(folder / f"audio/{number % FILES:06d}.wav", file)
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    return folder


def alone(function: str, *values: Any, module: str = "benchmarks.training") -> Any:
    """Run a module's function in a process of its own, forked from one that has imported the kit and no more."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchaudio", "asc_kit.run.data", "asc_kit.trainer"])
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(_call, dict(os.environ), module, function, values).result()
        except Exception as error:  # whatever it was; of a process that was killed, that the pool broke
            raise InputError(f"{function}: failed ({error!r}); is there memory enough?") from error


def _call(environment: dict[str, str], module: str, function: str, values: tuple) -> Any:
    os.environ.update(environment)  # the process that was forked may be older
    return getattr(importlib.import_module(module), function)(*values)


def opening(root: str) -> dict[str, float]:
    """Open a store, built where it is not yet: seconds, and memory of the process's own after it (MB)."""
    before, started = own_memory(), time.perf_counter()
    store = open_store(corpora.read(root), RATE)
    return {"clips": len(store.index), "seconds": time.perf_counter() - started,
            "gigabytes": store.samples.nbytes / 1e9, "own_memory_mb": own_memory() - before}  # fmt: skip


def reading(root: str, crops: int, seconds: float, cold: bool) -> dict[str, float]:
    """Read random crops, 16 at a time: crops a second, and the growth of the process's own memory (MB).

    Parameters
    ----------
    cold : the store's pages are taken from the system's cache first
    """
    store = open_store(corpora.read(root), RATE)
    length, draw = min(round(seconds * RATE), store.length), np.random.default_rng(1)
    places = [(draw.integers(0, len(store.index), 16), draw.integers(0, store.length - length + 1, 16))
              for _ in range(-(-crops // 16))]  # fmt: skip
    if cold:
        forget(store)
    before, started = own_memory(), time.perf_counter()
    for rows, starts in places:
        store.read(rows, starts, length)
    return {"crops_a_second": 16 * len(places) / (time.perf_counter() - started),
            "own_memory_mb": own_memory() - before, "own_memory_all_mb": own_memory()}  # fmt: skip


def stepping(
    root: str, submission: str, steps: int, batch_size: int, seconds: float, precision: str = "bfloat16"
) -> dict[str, float]:
    """Train as `Trainer` does, without checkpoints, on one thread; the medians of all steps but the first two.

    Parameters
    ----------
    seconds : length of the crops
    precision : "plain" trains the plain way, which notebooks/11_performance writes into ``plain.py`` in the folder of
        the cache

    Returns
    -------
    clips_a_second; data_share, average_share: the time for batches, and for the moving average, in the step's; loss,
    of the first step; peak_mb
    """
    batches, way = _ways(root, submission, steps, batch_size, seconds, precision)
    times, averaging, losses = [], [], []
    update = way.average.update if precision != "plain" else way.average.update_parameters

    def timed(network: torch.nn.Module) -> None:
        started = time.perf_counter()
        update(network)
        averaging.append(time.perf_counter() - started)

    setattr(way.average, "update_parameters" if precision == "plain" else "update", timed)
    for _ in range(steps):
        started = time.perf_counter()
        batch = next(batches)
        halfway = time.perf_counter()
        losses.append(float(way.step(*batch)))
        clips = len(batch[1])
        times.append(((time.perf_counter() - started) / clips, (halfway - started) / clips))
    whole, data = np.median(times[min(2, steps - 1) :], axis=0)
    return {"clips_a_second": 1 / whole, "data_share": data / whole,
            "average_share": float(np.median(averaging)) / (whole * batch_size), "loss": losses[0],
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}  # fmt: skip


def _ways(root: str, submission: str, steps: int, batch_size: int, seconds: float, precision: str) -> tuple[Any, Any]:
    torch.set_num_threads(1)
    plain = precision == "plain"
    training = dict(batch_size=batch_size, precision="float32" if plain else precision, selection="none", epochs=1)
    recipe = Recipe("benchmark", augmentation=dict(crop_seconds=seconds), training=training)
    config = recipe.config(submission)
    work = RunData(config, corpora.read(root))
    torch.manual_seed(0)
    net = network.build(config, len(work.classes))
    if plain:
        sys.path.insert(0, str(configuration.cache()))
        from plain import PlainWay

        way = PlainWay(work, net)
        return again(way.batches), way
    kernels.keep_memory()
    return again(lambda: work.batches(1)), Trainer(net, config.training, 0, steps)


def again(epoch: Callable[[], Iterator]) -> Iterator:
    while True:
        yield from epoch()


def together(processes: int, function: str, *values: Any) -> list[dict[str, float]]:
    """Run a function of this module in several processes at once; their results."""
    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(lambda _: alone(function, *values), range(processes)))


KINDS = {  # where a step's time goes: parts of the names that PyTorch's profiler gives its operations
    "convolutions, backward": ("convolution_backward", "conv2d_backward"),
    "convolutions": ("convolution", "conv2d"),
    "batch norms, backward": ("batch_norm_backward",),
    "batch norms": ("batch_norm",),
    "swish": ("silu", "sigmoid"),
    "Fourier transforms": ("fft", "stft"),
    "matrix products": ("mm", "bmm", "matmul"),
    "sums, means, maxima": ("sum", "mean", "max"),
    "additions, products, logarithms": ("add", "mul", "div", "lerp", "log", "pow", "sqrt", "square", "abs", "sub"),
    "copies and conversions": ("copy", "zero", "fill", "to", "cat", "stack", "pad", "index", "clamp", "where"),
}


def kind(name: str) -> str:
    """Which of `KINDS` an operation is; the rest are also autograd's steps and the kit's own, around operations."""
    kinds = KINDS if name.startswith("aten::") else {}
    return next((kind for kind, parts in kinds.items() if any(part in name for part in parts)), "the rest")


def profile(root: str, submission: str, batch_size: int, seconds: float, precision: str) -> dict[str, float]:
    """Seconds of one step by kind of operation, the third after a start."""
    batches, way = _ways(root, submission, 3, batch_size, seconds, precision)
    for _ in range(2):
        way.step(*next(batches))
    started = time.perf_counter()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        way.step(*next(batches))
    whole = time.perf_counter() - started
    spent = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages():
        if (name := kind(event.key)) in spent:
            spent[name] += event.self_cpu_time_total / 1e6
    return {**spent, "the rest": whole - sum(spent.values())}


def floor(submission: str, batch_size: int, seconds: float) -> dict[str, float]:
    """How fast this core does alone what a training step must at least do.

    Bytes: every tensor that the backward pass needs is written once and read once, and so is its gradient.

    Returns
    -------
    gigaoperations, gigabytes; operations_seconds at the rate of a large matrix product, in bfloat16 where the processor
    has it; bytes_seconds at the rate of a large copy
    """
    torch.set_num_threads(1)
    kernels.keep_memory()
    config = Recipe("benchmark").config(submission, precision="bfloat16")
    operations, kept = work_of_step(config, 10, batch_size, seconds)
    moved = 4 * kept
    side, block = torch.randn(2048, 2048), torch.empty(2**28, dtype=torch.uint8)
    if kernels.computes_bfloat16(side.device):
        side = side.bfloat16()
    product = _least(lambda: side @ side)
    copy = _least(lambda: block[: 2**27].copy_(block[2**27 :]))
    return {"gigaoperations": operations / 1e9, "gigabytes": moved / 1e9,
            "operations_seconds": operations * product / (2 * 2048**3),
            "bytes_seconds": moved * copy / 2**28}  # fmt: skip


def work_of_step(config: Config, classes: int, batch_size: int, seconds: float) -> tuple[float, float]:
    """What a training step of the network must at least do.

    Returns
    -------
    operations : three times the forward pass's multiply-accumulates, two each
    bytes kept : of every tensor that the backward pass needs
    """
    net = network.build(config, classes).to(memory_format=torch.channels_last)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    frames = config.features.frames(round(seconds * config.features.sample_rate))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        kernels.autocast(torch.device("cpu"), config.training.precision),
    ):
        net(torch.zeros(batch_size, 1, frames, config.features.n_mels))
    return 3 * 2 * batch_size * complexity.multiply_accumulates(net, config.features, seconds), sum(kept.values())


def _least(work: Callable[[], Any], repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats + 1):  # the first warms up
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def starting(root: str, batch_size: int, seconds: float) -> dict[str, float]:
    """Seconds from nothing to the first batch of a run on a built store, with the imports."""
    code = ("import torch; torch.set_num_threads(1); from benchmarks import training as b; "
            f"next(b._ways({root!r}, '2', 1, {batch_size}, {seconds}, 'bfloat16')[0])")  # fmt: skip
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=configuration.ROOT)
    return {"seconds": time.perf_counter() - started}


def forget(store: Store) -> None:
    """Drop a store's pages from the system's cache, so that the next reading comes from the disk."""
    with (store.folder / "samples.i16").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def own_memory() -> float:
    """RssAnon of this process in MB: its own memory, without files that are mapped."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    return float("nan")
