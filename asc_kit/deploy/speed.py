"""From a sound file on disk to its label, timed: the kit, plain eager PyTorch, and ONNX Runtime, on one core."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from asc_kit.config import ROOT
from asc_kit.deploy import compact, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.errors import InputError

RATE, SECONDS = 44100, 10.0
MODEL = ROOT / "results" / "tau2022" / "submission_4" / "seed_0" / "model.safetensors"  # 160 mel bins
NEAR = 2e-3  # what a probability may differ between the ways


@contextmanager
def noise() -> Iterator[Path]:
    """A wav file of 10 s, 16 bits, mono: SYNTHETIC white noise, which takes as long as any other sound."""
    with tempfile.TemporaryDirectory() as folder:
        wave = 0.1 * np.random.default_rng(0).standard_normal(round(SECONDS * RATE))
        soundfile.write(Path(folder) / "noise.wav", wave, RATE, subtype="PCM_16")
        yield Path(folder) / "noise.wav"


def labelling(repeats: int, model_file: str = str(MODEL)) -> dict[str, float]:
    """Milliseconds from wav file to probabilities, one thread, the ways taking turns: the medians.

    Returns
    -------
    asc_kit : as `predict` does it, of the compact file; plain : the network as it was trained, eager, float32, after
    torchaudio's MelSpectrogram and AmplitudeToDB; ONNX Runtime : the file that `export` writes

    Raises
    ------
    InputError : the ways differ by more than 2e-3 in a probability.
    """
    torch.set_num_threads(1)
    with noise() as file:
        ways = _ways(compact.load(model_file), file)
        found = {name: way() for name, way in ways.items()}
        off = max(float(np.abs(values - found["plain"]).max()) for values in found.values())
        if off > NEAR:
            raise InputError(f"{model_file}: the ways to score it differ by {off:.2g} in a probability")
        return _turns(ways, repeats) | {"largest difference": off}


def _ways(model: compact.Model, file: Path) -> dict[str, Callable[[], np.ndarray]]:
    import onnxruntime  # here: predict has no use for it

    from asc_kit.deploy import onnx

    settings = model.config.features
    mel = torchaudio.transforms.MelSpectrogram(
        RATE, settings.window, settings.window, settings.hop, settings.f_min, settings.f_max, n_mels=settings.n_mels,
        norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    decibel = torchaudio.transforms.AmplitudeToDB("power")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = onnx.build(model).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    folded = file.with_name("compact.safetensors")
    compact.save_folded(model, folded)
    quick = quickened(compact.load(folded))

    @torch.no_grad()  # where the blocks are PyTorch's own operations
    def plain() -> np.ndarray:
        features = decibel(mel(torch.from_numpy(_read(file))))  # 1, mel, time
        return model.network(features.transpose(1, 2)[:, None]).softmax(1)[0].numpy()

    return {"asc_kit": lambda: recordings.score(quick, file).probabilities, "plain": plain,
            "ONNX Runtime": lambda: session.run(None, {"waveform": _read(file)})[0][0]}  # fmt: skip


def _read(file: Path) -> np.ndarray:
    return soundfile.read(file, dtype="float32")[0][None]


def _turns(ways: dict[str, Callable[[], np.ndarray]], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 2):  # the first two warm up
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def cold_start(repeats: int = 3, model_file: str = str(MODEL)) -> float:
    """Milliseconds of ``python -m asc_kit predict`` for one file, from nothing to its exit: the median."""
    with noise() as file:
        command = [sys.executable, "-m", "asc_kit", "predict", model_file, str(file)]
        return _turns({"predict": lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True)},
                      repeats)["predict"]  # fmt: skip


def rows(times: dict[str, float], start: float) -> list[dict[str, object]]:
    """A table of `labelling` and `cold_start`: milliseconds, real-time factor, clips a second, share of plain's."""
    table: list[dict[str, object]] = [
        {"what": name, "milliseconds": times[name], "real_time_factor": times[name] / 1000 / SECONDS,
         "clips_a_second": 1000 / times[name], "of_plain": times[name] / times["plain"]}
        for name in ("asc_kit", "plain", "ONNX Runtime")
    ]  # fmt: skip
    return [*table, {"what": "cold start of predict", "milliseconds": start}]
