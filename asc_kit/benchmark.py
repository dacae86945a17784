"""What 11_performance measures, each in a process of its own, so that memory is that work's alone."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from asc_kit import experiment, kernels, network
from asc_kit.config import Features, Recipe
from asc_kit.data import corpus as corpora
from asc_kit.data.store import Store, open_store
from asc_kit.features import LogMel
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


def alone(function: str, *values: Any) -> dict[str, float]:
    """Run a function of this module in a new process of one thread; its result, a dictionary of numbers."""
    code = f"import json; from asc_kit import benchmark as b; print(json.dumps(b.{function}(*{values!r})))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


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


def stepping(root: str, submission: str, steps: int, batch_size: int, seconds: float) -> dict[str, float]:
    """Train as `Trainer` does, without checkpoints: clips a second after the first step, of crops of ``seconds``."""
    torch.set_num_threads(1)
    kernels.keep_memory()
    recipe = Recipe(
        "benchmark",
        augmentation=dict(crop_seconds=seconds),
        training=dict(batch_size=batch_size, precision="bfloat16", selection="none", epochs=1),
    )
    config = recipe.config(submission)
    work = experiment.Work(config, corpora.read(root))
    trainer = Trainer(network.build(submission, config.features, len(work.classes)), config.training, 0, steps, None, "", "")
    batches, times = work.batches(0), []
    for _ in range(steps):
        started = time.perf_counter()
        trainer.step(*next(batches))
        times.append(time.perf_counter() - started)
    return {"clips_a_second": batch_size / float(np.median(times[1:]))}


def scoring(repeats: int) -> list[dict[str, float]]:
    """Milliseconds that one clip of 10 s takes on one thread, by mel bins: features, and features with the network.

    The sizes take turns, so that a disturbance meets all of them; the median of ``repeats``.
    """
    torch.set_num_threads(1)
    parts, wave = [], 0.1 * torch.randn(1, 10 * RATE, generator=torch.Generator().manual_seed(0))
    for mels in (32, 64, 128, 160):
        config = Features(n_mels=mels)
        parts.append((mels, LogMel(config), network.build("4", config, 10).eval(), [], []))
    with torch.inference_mode():
        for turn in range(repeats + 1):  # the first warms up
            for _, features, net, halves, wholes in parts:
                started = time.perf_counter()
                frames = features(wave)
                halfway = time.perf_counter()
                net(frames)
                if turn:
                    halves.append(1000 * (halfway - started))
                    wholes.append(1000 * (time.perf_counter() - started))
    names = ("mel_bins", "features_milliseconds", "milliseconds")
    return [dict(zip(names, (mels, np.median(halves), np.median(wholes)))) for mels, _, _, halves, wholes in parts]


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
