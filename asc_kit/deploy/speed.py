"""From a sound file on disk to its label, timed: the kit, plain eager PyTorch, and ONNX Runtime, on one core."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from asc_kit import kernels
from asc_kit.benchmark import CLOCKS, alone, torchaudios, turns
from asc_kit.config import ROOT
from asc_kit.deploy import compact, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.errors import InputError

RATE, SECONDS = 44100, 10.0
MODEL = ROOT / "results" / "tau2022" / "submission_4" / "seed_0" / "model.safetensors"  # 160 mel bins
WAYS = ("asc_kit", "plain", "ONNX Runtime")
NEAR = 2e-3  # what a probability may differ between the ways


@contextmanager
def noise() -> Iterator[Path]:
    """A wav file of 10 s, 16 bits, mono: SYNTHETIC white noise, which takes as long as any other sound."""
    with tempfile.TemporaryDirectory() as folder:
        wave = 0.1 * np.random.default_rng(0).standard_normal(round(SECONDS * RATE))
        soundfile.write(Path(folder) / "noise.wav", wave, RATE, subtype="PCM_16")
        yield Path(folder) / "noise.wav"


def labelling(rounds: int, repeats: int, model_file: str = str(MODEL)) -> dict[str, Any]:
    """Milliseconds from wav file to probabilities, one thread, by `CLOCKS`: the medians.

    The ways take turns, each time in a process of its own: in a common one the memory that one way leaves decides how
    long the next takes, by up to a factor of two.

    Returns
    -------
    asc_kit : as `predict` does it, of the compact file; plain : the network as it was trained, eager, float32, after
    torchaudio's MelSpectrogram and AmplitudeToDB; ONNX Runtime : the file that `export` writes

    Raises
    ------
    InputError : the ways differ by more than 2e-3 in a probability.
    """
    tries = {name: [alone("timed", name, repeats, model_file, module=__name__)] for name in WAYS}
    for _ in range(rounds - 1):
        for name in WAYS:
            tries[name].append(alone("timed", name, repeats, model_file, module=__name__))
    found = {name: np.array(some[0]["probabilities"]) for name, some in tries.items()}
    off = max(float(np.abs(values - found["plain"]).max()) for values in found.values())
    if off > NEAR:
        raise InputError(f"{model_file}: the ways to score it differ by {off:.2g} in a probability")
    medians = {name: {clock: float(np.median([one[clock] for one in some])) for clock in CLOCKS}
               for name, some in tries.items()}  # fmt: skip
    return medians | {"largest difference": off}


def timed(name: str, repeats: int, model_file: str = str(MODEL)) -> dict[str, Any]:
    """One of `WAYS` in this process: its probabilities, and its medians by `CLOCKS`."""
    torch.set_num_threads(1)
    if name == "asc_kit":
        kernels.keep_memory()
    with noise() as file:
        way = _ways(compact.load(model_file), file)[name]
        return {"probabilities": way().tolist(), **turns({name: way}, repeats)[name]}


def _ways(model: compact.Model, file: Path) -> dict[str, Callable[[], np.ndarray]]:
    import onnxruntime  # here: predict has no use for it

    from asc_kit.deploy import onnx

    log_mel = torchaudios(model.config.features)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = onnx.build(model).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    folded = file.with_name("compact.safetensors")
    compact.save_folded(model, folded)
    quick = quickened(compact.load(folded))

    @torch.no_grad()  # where the blocks are PyTorch's own operations
    def plain() -> np.ndarray:
        features = log_mel(torch.from_numpy(_read(file)))  # 1, mel, time
        return model.network(features.transpose(1, 2)[:, None]).softmax(1)[0].numpy()

    return {"asc_kit": lambda: recordings.score(quick, file).probabilities, "plain": plain,
            "ONNX Runtime": lambda: session.run(None, {"waveform": _read(file)})[0][0]}  # fmt: skip


def _read(file: Path) -> np.ndarray:
    return soundfile.read(file, dtype="float32")[0][None]


def cold_start(repeats: int = 3, model_file: str = str(MODEL)) -> dict[str, float]:
    """Milliseconds of ``python -m asc_kit predict`` for one file, from nothing to its exit: the medians."""
    with noise() as file:
        command = [sys.executable, "-m", "asc_kit", "predict", model_file, str(file)]
        way = {"predict": lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True)}
        return turns(way, repeats, warm=1)["predict"]


def rows(times: dict[str, Any], start: dict[str, float]) -> list[dict[str, object]]:
    """A table of `labelling` and `cold_start`: real-time factor and clips a second by the clock on the wall."""
    plain = times["plain"]
    table: list[dict[str, object]] = [
        {"what": name, **times[name], "real_time_factor": times[name]["milliseconds"] / 1000 / SECONDS,
         "clips_a_second": 1000 / times[name]["milliseconds"],
         "of_plain": times[name]["milliseconds"] / plain["milliseconds"],
         "of_plain_processor": times[name]["processor_milliseconds"] / plain["processor_milliseconds"]}
        for name in WAYS
    ]  # fmt: skip
    return [*table, {"what": "cold start of predict", **start}]
