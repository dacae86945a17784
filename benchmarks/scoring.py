"""Features and labels, timed on one core: the kit, torchaudio and librosa, plain eager PyTorch, and ONNX Runtime."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio

from asc_kit import kernels, network
from asc_kit.common import InputError
from asc_kit.config import ROOT, Features
from asc_kit.deploy import compact, recordings
from asc_kit.deploy.quick import quickened
from asc_kit.features import LogMel
from benchmarks.training import alone

RATE, SECONDS = 44100, 10.0
CLOCKS = ("milliseconds", "processor_milliseconds")  # on the wall; the processor's, which other work does not stretch
MODEL = ROOT / "results" / "tau2022" / "submission_4" / "seed_0" / "model.safetensors"  # 160 mel bins
NEAR = 2e-3  # what a probability may differ between the ways


def turns(ways: dict[str, Callable[[], Any]], repeats: int, warm: int = 2) -> dict[str, dict[str, float]]:
    """Milliseconds of each way by `CLOCKS`, the ways taking turns: the medians, without the first ``warm``."""
    times: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for _ in range(repeats + warm):
        for name, way in ways.items():
            started = _clocks()
            way()
            times[name].append(1000 * (_clocks() - started))
    return {name: dict(zip(CLOCKS, np.median(values[warm:], axis=0).tolist())) for name, values in times.items()}


def _clocks() -> np.ndarray:
    """Seconds by each of `CLOCKS`, of this process and of those that it started and that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), time.process_time() + ended.ru_utime + ended.ru_stime])


def torchaudios(config: Features) -> torch.nn.Module:
    """torchaudio's log-mel of waveforms (batch, samples): (batch, mel, time)."""
    mel = torchaudio.transforms.MelSpectrogram(
        config.sample_rate, config.window, config.window, config.hop, config.f_min, config.f_max,
        n_mels=config.n_mels, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    return torch.nn.Sequential(mel, torchaudio.transforms.AmplitudeToDB("power"))


def log_mel(mels: int, repeats: int) -> dict[str, float]:
    """Milliseconds of a clip of 10 s on one thread, the ways taking turns: the medians."""
    import librosa

    torch.set_num_threads(1)
    config = Features(n_mels=mels)
    mine, theirs = LogMel(config), torchaudios(config)
    wave = 0.1 * torch.randn(1, 10 * RATE, generator=torch.Generator().manual_seed(0))
    frames = torch.randn(config.frames(10 * RATE), config.window)
    settings = dict(sr=RATE, n_fft=config.window, hop_length=config.hop, n_mels=mels, fmin=config.f_min,
                    fmax=config.f_max)  # fmt: skip
    ways = {
        "asc_kit": lambda: mine(wave),
        "torchaudio": lambda: theirs(wave),
        "librosa": lambda: librosa.power_to_db(
            librosa.feature.melspectrogram(y=wave[0].numpy(), **settings), top_db=None
        ),
        "Fourier transforms alone": lambda: torch.fft.rfft(frames),
    }
    return {name: times["milliseconds"] for name, times in turns(ways, repeats).items()}


def rounding(wave: torch.Tensor) -> dict[str, float]:
    """How far the features of a waveform (samples,) are from the same in float64, in dB, above the floor."""
    config = Features()
    mine = LogMel(config)(wave[None]).double()
    exact = LogMel(config).double()(wave[None].double())
    theirs = torchaudios(config)(wave).T.double()
    above = exact > 10 * np.log10(config.amin) + 1
    error, other = (mine - exact).abs()[above], (theirs - exact[0, 0]).abs()[above[0, 0]]
    return {"median": error.median().item(), "99.9 % of all": error.quantile(0.999).item(),
            "largest": error.max().item(), "torchaudio's largest": other.max().item()}  # fmt: skip


def scoring(repeats: int) -> list[dict[str, float]]:
    """Milliseconds that one clip of 10 s takes on one thread, by mel bins: features, and features with the network.

    The sizes take turns, so that a disturbance meets all of them; the median of ``repeats``.
    """
    torch.set_num_threads(1)
    parts, wave = [], 0.1 * torch.randn(1, 10 * RATE, generator=torch.Generator().manual_seed(0))
    for mels in (32, 64, 128, 160):
        config = Features(n_mels=mels)
        parts.append((mels, LogMel(config), network.Network(mels, 10).eval(), [], []))
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
    tries = {name: [alone("timed", name, repeats, model_file, module=__name__)] for name in MAKERS}
    for _ in range(rounds - 1):
        for name in MAKERS:
            tries[name].append(alone("timed", name, repeats, model_file, module=__name__))
    found = {name: np.array(some[0]["probabilities"]) for name, some in tries.items()}
    off = max(float(np.abs(values - found["plain"]).max()) for values in found.values())
    if off > NEAR:
        raise InputError(f"{model_file}: the ways to score it differ by {off:.2g} in a probability")
    medians = {name: {clock: float(np.median([one[clock] for one in some])) for clock in CLOCKS}
               for name, some in tries.items()}  # fmt: skip
    return medians | {"largest difference": off}


def timed(name: str, repeats: int, model_file: str = str(MODEL)) -> dict[str, Any]:
    """One of `MAKERS` in this process: its probabilities, and its medians by `CLOCKS`."""
    torch.set_num_threads(1)
    if name == "asc_kit":
        kernels.keep_memory()
    with noise() as file:
        way = MAKERS[name](compact.load(model_file), file)
        return {"probabilities": way().tolist(), **turns({name: way}, repeats)[name]}


def _kit(model: compact.Model, file: Path) -> Callable[[], np.ndarray]:
    folded = file.with_name("compact.safetensors")
    compact.save_folded(model, folded)
    quick = quickened(compact.load(folded))
    return lambda: recordings.score(quick, file).probabilities


def _plain(model: compact.Model, file: Path) -> Callable[[], np.ndarray]:
    log_mel = torchaudios(model.config.features)

    @torch.no_grad()  # where the blocks are PyTorch's own operations
    def plain() -> np.ndarray:
        features = log_mel(torch.from_numpy(_read(file)))  # 1, mel, time
        return model.network(features.transpose(1, 2)[:, None]).softmax(1)[0].numpy()

    return plain


def _onnx(model: compact.Model, file: Path) -> Callable[[], np.ndarray]:
    import onnxruntime  # here: predict has no use for it

    from asc_kit.deploy import onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = onnx.build(model).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"waveform": _read(file)})[0][0]


MAKERS = {"asc_kit": _kit, "plain": _plain, "ONNX Runtime": _onnx}  # of a way, from a model and a sound file


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
        for name in MAKERS
    ]  # fmt: skip
    return [*table, {"what": "cold start of predict", **start}]
