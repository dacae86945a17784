"""Whether training on a GPU computes what the CPU does, and how fast it is; under ten minutes.

    python -m benchmarks.gpu [--device cuda] [--out results/performance/gpu.csv]

The clips are noise and tones, and their number does not matter. ``--device cpu --quick`` takes the GPU's ways on a CPU
at a tiny size, to try the program itself.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from torch import nn

from asc_kit import config as configuration
from asc_kit import kernels, network
from asc_kit.common import InputError, write_file
from asc_kit.config import Config
from asc_kit.data import corpus as corpora
from asc_kit.data.corpus import Corpus
from asc_kit.deploy.predict import processing_device
from asc_kit.features import LogMel
from asc_kit.run import plan, recipes
from asc_kit.run.data import RunData
from asc_kit.trainer import READ_EVERY, Trainer
from benchmarks import training

OUT = "results/performance/gpu.csv"
COLUMNS = ["system", "way", "what", "value", "unit", "limit"]
STEPS, CLASSES = 20, 10  # that CPU and GPU are compared by

# CPU and GPU add in another order, and their Fourier transforms and convolutions are other algorithms, so that they
# differ as two roundings of a number do. On a CPU float32 differs from float64 by 3e-6 dB, 1e-6 of a loss, 1e-5 of a
# gradient and, after 20 steps, 1e-5 of the first loss; a limit is a hundred times that or more, as an algorithm may
# round so much worse, and far below what a wrong window, filter, mask or layout makes of it.
LIMITS = {
    "log-mel, worst": (0.01, "dB"),
    "log-mel, mean": (1e-4, "dB"),
    "loss of a step": (1e-4, "of it"),
    "gradient of a step": (1e-3, "of its norm"),
    "losses of 20 steps": (0.01, "of the first"),  # Adam divides by the gradient: differences grow from step to step
    "losses of 20 steps, bfloat16": (0.05, "of the first"),  # 8 bits for 24, against the CPU's float32
}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    systems: tuple[str, ...] = ("1", "2", "3", "4", "baseline")
    clips: int = 1024
    seconds: float = 10.0  # of a clip
    crop: float = 8.0
    batch: int | None = None  # None: the system's own
    compared: tuple[int, float] = (16, 2.0)  # clips and their seconds, of the comparison with the CPU
    measured: float = 4.0  # seconds of each speed, after a round of warming up
    steps: int = READ_EVERY  # between two looks at the clock
    profiled: tuple[str, ...] = ("recipe", "bfloat16")
    more: str | None = "4"  # the system that other ways than the kit's are tried on


QUICK = Size(("1", "baseline"), 80, 0.5, 0.4, 4, (4, 0.3), 0.0, 1, ("recipe",), None)
WAYS = {  # what differs from the recipe, and whether the GPU holds the clips
    "recipe": ({}, True),
    "bfloat16": ({"precision": "bfloat16"}, True),
    "bfloat16, read ahead": ({"precision": "bfloat16"}, False),
}


@contextmanager
def gpu_ways() -> Iterator[None]:
    """Let the CPU take them, too."""
    kernels.BATCHED = True
    try:
        yield
    finally:
        kernels.BATCHED = False


def settings(system: str, size: Size, **changes: Any) -> Config:
    """The report's, at this size."""
    sizes = {} if size.batch is None else {"batch_size": size.batch}
    crop = {} if system == "baseline" else {"crop_seconds": size.crop}
    return recipes.load("config/report.yaml").config(system, **sizes, **crop, selection="none", **changes)


def compare(system: str, size: Size, device: torch.device) -> Iterator[tuple[str, float]]:
    """How far a device is from the CPU, as `LIMITS` name it."""
    config, (clips, seconds) = settings(system, size, epochs=1), size.compared
    waves, targets = sounds(clips, round(seconds * config.features.sample_rate))
    log_mel = LogMel(config.features)
    inputs = log_mel(waves)
    with gpu_ways():
        apart = (log_mel.to(device)(waves.to(device)).cpu() - inputs).abs()
    yield "log-mel, worst", apart.max().item()
    yield "log-mel, mean", apart.mean().item()
    losses, gradient = first_steps(config, inputs, targets, torch.device("cpu"))
    with gpu_ways(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found, other = first_steps(config, inputs, targets, device)
    yield "loss of a step", (found[0] / losses[0] - 1).abs().item()
    yield "gradient of a step", ((other - gradient).norm() / gradient.norm()).item()
    yield "losses of 20 steps", (found - losses).abs().max().item() / losses[0].item()
    half = replace(config, training=replace(config.training, precision="bfloat16"))
    found = first_steps(half, inputs, targets, device)[0]
    yield "losses of 20 steps, bfloat16", (found - losses).abs().max().item() / losses[0].item()


def sounds(clips: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a tone for each class, (clips, samples), and labels, (clips, classes)."""
    labels = torch.arange(clips) % CLASSES
    tones = (torch.arange(samples) * (labels[:, None] + 1) * 0.02).sin()
    noise = torch.randn(clips, samples, generator=torch.Generator().manual_seed(0))
    return 0.1 * noise + 0.1 * tones, nn.functional.one_hot(labels, CLASSES).float()


def first_steps(
    config: Config, inputs: torch.Tensor, targets: torch.Tensor, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses of 20 steps on one batch, and the first step's gradient."""
    torch.manual_seed(0)
    net = network.build(config, CLASSES)
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # each device draws its own
    trainer = Trainer(net.to(device), config.training, 0, STEPS)
    losses = [trainer.step(inputs.to(device), targets.to(device))]
    gradient = torch.cat([parameter.grad.flatten().cpu() for parameter in net.parameters()])
    losses += [trainer.step(inputs.to(device), targets.to(device)) for _ in range(STEPS - 1)]
    return torch.stack(losses).cpu(), gradient


class Work:
    """A system's training on a device.

    Parameters
    ----------
    held : whether the GPU holds the clips, or they are read ahead
    """

    def __init__(self, config: Config, corpus: Corpus, held: bool):
        self.data = data = RunData(config, corpus)
        store = replace(self.data.store, held=None)
        self.data.store = store.copied(self.data.device) if held else store
        torch.manual_seed(0)
        net = network.build(config, len(self.data.classes)).to(self.data.device)
        self.trainer = Trainer(net, config.training, 0, self.data.steps)
        self.trainer.network.train()
        self.batches = training.again(lambda: data.batches(1))

    def steps(self, number: int) -> int:
        """So many steps, to their end on the device; their clips."""
        clips = 0
        for _ in range(number):
            inputs, targets = next(self.batches)
            self.trainer.step(inputs, targets)
            clips += len(targets)
        self.trainer.read_losses()  # waits for the device
        return clips

    def rate(self, size: Size) -> float:
        """Clips a second, after a round of warming up."""
        self.steps(size.steps)
        started, clips = time.perf_counter(), 0
        while clips == 0 or time.perf_counter() - started < size.measured:
            clips += self.steps(size.steps)
        return clips / (time.perf_counter() - started)

    def scoring_rate(self) -> float:
        """Clips a second of the evaluation, the second time."""
        self.data.watched = self.data.evaluation
        for _ in range(2):
            started = time.perf_counter()
            self.data.evaluate(self.trainer.average.network)
        return len(self.data.watched) / (time.perf_counter() - started)

    def profile(self, steps: int) -> tuple[dict[str, float], int]:
        """Seconds of a step by kind of operation, the largest first, and kernels launched; on a CPU its operations."""
        kinds = torch.profiler.ProfilerActivity
        cuda = self.data.device.type == "cuda"
        with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA] if cuda else [kinds.CPU]) as profiler:
            self.steps(steps)
        spent, launched = {}, 0
        for event in profiler.key_averages():
            if event.device_type == torch.autograd.DeviceType.CPU:  # an operation, with what it launched
                seconds = (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6 / steps
                name = training.kind(event.key)
                spent[name] = spent.get(name, 0.0) + seconds
            if (event.device_type == torch.autograd.DeviceType.CPU) != cuda:
                launched += event.count
        return dict(sorted(spent.items(), key=lambda item: -item[1])), launched // steps


def measure(system: str, size: Size, device: torch.device, corpus: Corpus) -> Iterator[tuple]:
    """A system's rows: way, what, value, unit."""
    with gpu_ways():
        for way, (changes, held) in WAYS.items():
            work = None  # before the next, so that its memory is free
            work = Work(settings(system, size, device=device.type, **changes), corpus, held)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            yield way, "training", work.rate(size), "clips/s"
            if device.type == "cuda":
                clips = work.data.store.samples.nbytes if held else 0
                yield way, "peak memory beside the clips", (torch.cuda.max_memory_allocated() - clips) / 1e9, "GB"
            yield way, "scoring", work.scoring_rate(), "clips/s"
            if way in size.profiled:
                spent, launched = work.profile(min(4, size.steps))
                yield way, "launched in a step", launched, "kernels"
                for kind, seconds in spent.items():
                    yield way, f"step: {kind}", 1000 * seconds, "ms"
        if system == size.more:
            yield from others(work, size)


def others(work: Work, size: Size) -> Iterator[tuple]:
    """Ways that the kit does not take: whether they would gain, on the same clips."""
    changes = {
        "bfloat16, read ahead, convolutions tried": lambda: setattr(torch.backends.cudnn, "benchmark", True),
        "bfloat16, read ahead, channels first": lambda: work.trainer.network.to(memory_format=torch.contiguous_format),
        "bfloat16, read ahead, compiled": lambda: work.trainer.network.to(memory_format=torch.channels_last).compile(),
    }
    for way, change in changes.items():
        try:
            change()
            yield way, "training", work.rate(size), "clips/s"
        except Exception as error:  # whatever a compiler raises; the rest is measured all the same
            print(f"gpu: {way}: {type(error).__name__}: {str(error).splitlines()[:1]}", file=sys.stderr)
        torch.backends.cudnn.benchmark = False


def hours(table: pd.DataFrame) -> Iterator[tuple]:
    """Of the report's experiment, whole trainings with an evaluation after each epoch, from the measured rates."""
    report = recipes.load("config/report.yaml")
    work = plan.trainings(report).set_index("submission")
    for way in WAYS:
        rates = table[table.way == way].pivot(index="system", columns="what", values="value")[["training", "scoring"]]
        work_here = work.loc[work.index.intersection(rates.index)].join(rates)
        watched = work_here.epochs * report.expected["training"] - work_here.clips
        spent = work_here.runs * (work_here.clips / work_here.training + watched / work_here.scoring) / 3600
        yield from ((system, way, "full training", value, "hours", None) for system, value in spent.items())
        yield "all", way, "full training", spent.sum(), "hours", None


def table(size: Size, device: torch.device) -> pd.DataFrame:
    """All rows, as ``gpu.csv`` has them."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, in a GPU's ways"
    rows: list[tuple] = [("all", name, f"torch {torch.__version__}", None, "", None)]
    for system in size.systems:
        print(f"gpu: system {system}", file=sys.stderr, flush=True)
        rows += [(system, "", what, value, *LIMITS[what][::-1]) for what, value in compare(system, size, device)]
    home = configuration.cache()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder, patch.dict(os.environ, ASC_CACHE=folder):
        corpus = corpora.read(training.random_corpus(Path(folder) / "gpu", size.clips, size.seconds))
        for system in size.systems:
            print(f"gpu: speed of system {system}", file=sys.stderr, flush=True)
            rows += [(system, *row, None) for row in measure(system, size, device, corpus)]
    rows += hours(pd.DataFrame(rows, columns=COLUMNS))
    return pd.DataFrame(rows, columns=COLUMNS)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; 1 where there is no such device, or a difference is beyond its limit."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", help=f"a CSV file; of a GPU {OUT}, where nothing is said")
    parser.add_argument("--quick", action="store_true", help="a tiny size, which says nothing of speed")
    options = parser.parse_args(arguments)
    try:
        device = processing_device(options.device)
        found = table(QUICK if options.quick else Size(), device)
    except InputError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 1
    print(found.to_string(index=False, na_rep="", float_format="{:.4g}".format))
    out = options.out or (OUT if device.type == "cuda" and not options.quick else None)
    if out:
        write_file(configuration.path(out), found.to_csv(index=False, float_format="%.4g"))
    beyond = found[found.value > found.limit]
    for row in beyond.itertuples():
        print(f"gpu: system {row.system}: {row.what} differs by {row.value:.3g}, limit {row.limit:g} {row.unit}",
              file=sys.stderr)  # fmt: skip
    return int(len(beyond) > 0)


if __name__ == "__main__":
    sys.exit(main())
