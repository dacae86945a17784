"""How many streams one core carries in real time, with PyTorch and with ONNX Runtime in its network's place.

    python -m benchmarks.streams [SUBMISSION ...]   # writes results/performance/streams.csv

Every measurement is a process of its own on one thread. Its clock is the processor's own time, so that other work on
the machine does not count, unless by what it takes of caches and memory's bandwidth. The delay is that of a clock in
which arriving sound and the work's own time are played against each other: streams begin at random moments and send
blocks of 0.1 s; what has arrived when the last work ends is worked on next, all together.
"""

import os
import sys
import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from asc_kit import complexity, kernels
from asc_kit.common import InputError
from asc_kit.config import ROOT
from asc_kit.deploy import compact, stream
from asc_kit.deploy.folding import fold
from asc_kit.deploy.quick import quickened
from asc_kit.run import experiment
from benchmarks.training import alone

MODEL = "results/tut2017_full/submission_{}/seed_0/model.safetensors"
FILE = ROOT / "results" / "performance" / "streams.csv"
ENGINES = ("PyTorch", "ONNX Runtime")
INTERVALS = (1.0, 10.0)  # seconds between labels
BATCHES = (1, 8)
BLOCK = 0.1  # seconds
FULL = 0.8  # of what a core carries; the delay is that of so many streams
LABELS = 24  # timed for the cost of one
NEAR = 1e-5


class Runtime(nn.Module):
    """ONNX Runtime as a network: features of ten seconds, (batch, 1, time, mel), to logits."""

    def __init__(self, net: nn.Module, shape: tuple[int, int, int]):
        import onnxruntime

        super().__init__()
        with torch.no_grad():  # where the blocks are PyTorch's own operations
            made = torch.onnx.export(fold(net), (torch.zeros(2, *shape),), dynamo=True, opset_version=18, verbose=False,
                                     input_names=["features"], dynamic_shapes=({0: "batch"},))  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(made.model_proto.SerializeToString(), options,
                                                    providers=["CPUExecutionProvider"])  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"features": x.numpy()})[0])


class Nothing(nn.Module):
    """A network that takes no time."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(x), self.classes)


def without(model: compact.Model) -> compact.Model:
    """A model whose network takes no time."""
    return replace(model, network=Nothing(len(model.classes)))


class Streams:
    """Many streams that share a model; what is due together is scored together.

    Parameters
    ----------
    model, every, about : as `stream.Stream`

    Attributes
    ----------
    by_name : the streams
    """

    def __init__(self, model: compact.Model, every: float = 1.0, about: dict[str, Any] | None = None):
        self.model, self.every, self.about, self.by_name = model, every, about, dict[Hashable, stream.Stream]()

    def add(self, name: Hashable, rate: float | None = None) -> None:
        """Begin a stream, anew where there is one of that name."""
        self.by_name[name] = stream.Stream(self.model, self.every, rate, self.about, name)

    def feed(self, blocks: Mapping[Hashable, np.ndarray]) -> list[stream.Heard]:
        """`stream.Stream.feed` for any of them."""
        parts = (self.by_name[name].windows(block) for name, block in blocks.items())
        return stream.scored(self.model, chain.from_iterable(parts))

    def finish(self, *names: Hashable) -> list[stream.Heard]:
        """`stream.Stream.finish` for some, which are then forgotten."""
        return stream.scored(self.model, chain.from_iterable(self.by_name.pop(name).rest() for name in names))


class Running:
    """Streams that have run for ten seconds or more, and the sound that comes next: SYNTHETIC white noise."""

    def __init__(self, model: compact.Model, count: int, every: float):
        self.rate, self.every = model.config.features.sample_rate, every
        self.noise = 0.1 * np.random.default_rng(0).standard_normal(30 * self.rate).astype(np.float32)
        self.streams, self.taken = Streams(without(model), every), [0] * count
        for number in range(count):
            self.streams.add(number)
            self.feed({number: 10.0})
        self.streams.model = model

    def feed(self, seconds: dict[int, float]) -> list[stream.Heard]:
        """Let sound of some seconds come, by stream."""
        blocks = {}
        for number, length in seconds.items():
            start, size = (self.taken[number] + 997 * number) % (19 * self.rate), round(length * self.rate)
            blocks[number] = self.noise[start : start + size]
            self.taken[number] += size
        return self.streams.feed(blocks)


def carried(submission: str, engine: str, every: float) -> dict[str, float]:
    """What a label costs here, how many streams that makes, and the delay of nearly so many.

    Returns
    -------
    streams : every / milliseconds
    milliseconds : of the processor, for a label, by the better ``batch``; without_network_milliseconds : of them
    least_milliseconds : the network's multiply-accumulates at the rate of a large float32 product on this core
    tried_streams, labels, delay_median, delay_99 : of 0.8 times as many; seconds from a label's last sample to it
    wall_for_processor : seconds on the wall for one of the processor; above 1 other work takes the rest

    Raises
    ------
    InputError : the engines differ by more than 1e-5 in a probability.
    """
    torch.set_num_threads(1)
    kernels.keep_memory()
    plain = compact.load(ROOT / MODEL.format(submission))
    model, features = quickened(plain), plain.config.features
    if engine == "ONNX Runtime":
        wave = 0.1 * torch.randn(1, 10 * features.sample_rate, generator=torch.Generator().manual_seed(0))
        model = replace(model, network=Runtime(plain.network, plain.features(wave).shape[1:]))
        if (off := np.abs(model.probabilities(wave) - plain.probabilities(wave)).max()) > NEAR:
            raise InputError(f"{engine}: differs from PyTorch by {off:.2g} in a probability")
    wall, worked = time.perf_counter(), time.process_time()
    costs = {batch: cost(model, every, batch) for batch in BATCHES}
    best = min(costs, key=costs.get)
    other, tried = cost(without(model), every, best), max(1, int(FULL * every / costs[best]))
    delays = np.array(list(delayed(model, tried, every)))
    wall, worked = time.perf_counter() - wall, time.process_time() - worked
    macs = complexity.multiply_accumulates(plain.network, features)
    return {"streams": every / costs[best], "milliseconds": 1000 * costs[best], "batch": best,
            "without_network_milliseconds": 1000 * other, "least_milliseconds": 1000 * macs * product(),
            "tried_streams": tried, "labels": len(delays), "delay_median": float(np.median(delays)),
            "delay_99": float(np.quantile(delays, 0.99)), "wall_for_processor": wall / worked}  # fmt: skip


def product(side: int = 1024) -> float:
    """Seconds of the processor for one multiply-accumulate of a large float32 product: the least of some tries."""
    matrix, tries = torch.randn(side, side), []
    for _ in range(12):
        started = time.process_time()
        matrix @ matrix
        tries.append(time.process_time() - started)
    return min(tries) / side**3


def cost(model: compact.Model, every: float, batch: int) -> float:
    """Seconds of the processor for a label: the median of some rounds, in which eight streams come due together."""
    stream.BATCH = batch
    running, rounds = Running(model, 8, every), []
    for _ in range(LABELS // 8 + 1):
        started = time.process_time()
        for _ in range(round(every / BLOCK)):
            found = running.feed(dict.fromkeys(range(8), BLOCK))
        rounds.append((time.process_time() - started) / len(found))
    return float(np.median(rounds[1:]))  # the first warms up


def delayed(model: compact.Model, count: int, every: float) -> Iterator[float]:
    """Seconds from a label's last sample to the label, of ``count`` streams: a label of each and 5 s at least."""
    running, phases = Running(model, count, every), np.random.default_rng(1).uniform(0, every, count)
    come, now, end = np.zeros(count, int), 0.0, max(5.0, 2 * every)  # blocks so far; the clock
    while now < end:
        there = np.floor((now - phases) / BLOCK + 1e-9).astype(int).clip(0)
        if not (there > come).any():
            now = float((phases + (come + 1) * BLOCK).min())
            continue
        started = time.process_time()
        found = running.feed({int(n): (there[n] - come[n]) * BLOCK for n in np.flatnonzero(there > come)})
        now, come = now + time.process_time() - started, np.maximum(there, come)
        yield from (now - phases[heard.name] - (heard.end - 10) for heard in found)


def main(submissions: list[str]) -> None:
    """Measure, and write the table; rows of other submissions stay."""
    for submission in submissions:
        rows, load = [], os.getloadavg()[0]
        for every in INTERVALS:
            for engine in ENGINES:
                row = {"submission": int(submission), "seconds_between_labels": every, "engine": engine}
                rows.append(row | alone("carried", submission, engine, every, module="benchmarks.streams"))
                print(rows[-1], flush=True)
        save(rows, load)


def save(rows: list[dict], load: float) -> None:
    """Put a submission's rows into the table; ``load`` : the machine's, before them."""
    about = {"load": load, "cores": os.cpu_count(), "processor": experiment.processor(),
             "instructions": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__,
             "onnxruntime": version("onnxruntime")}  # fmt: skip
    table = pd.DataFrame(rows).assign(**about).round(3)
    if FILE.exists():
        before = pd.read_csv(FILE)
        table = pd.concat([before[~before.submission.isin(table.submission)], table])
    table.sort_values("submission", kind="stable").to_csv(FILE, index=False)


if __name__ == "__main__":
    main(sys.argv[1:] or ["1", "2", "3", "4"])
