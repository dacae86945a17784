"""Static int8 quantization, measured beside float16: what `results/performance/int8.csv` holds.

It is no option of ``export``: see the table. The network's convolutions and products get int8 weights with a scale for
each channel, and activations whose ranges are those of training clips; the log-mel front end stays in float32, because
a power spectrum spans more than 8 bits can. Made by::

    python -c "from asc_kit.deploy import int8; int8.write('results/tau2022', 'FOLDER OF THE CLIPS')"
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, QuantType

from asc_kit import metrics
from asc_kit.common.files import replacing
from asc_kit.config import ROOT, path
from asc_kit.data import corpus as corpora
from asc_kit.data.store import open_store
from asc_kit.deploy import compact
from asc_kit.deploy import onnx as exporting
from asc_kit.run.experiment import processor

CALIBRATION = 32  # training clips
ACTIVATIONS = {"uint8": QuantType.QUInt8, "uint16": QuantType.QUInt16}
TABLE = ROOT / "results" / "performance" / "int8.csv"


class _Clips(CalibrationDataReader):
    def __init__(self, waves: np.ndarray):
        self.left = iter(waves)

    def get_next(self) -> dict[str, np.ndarray] | None:
        wave = next(self.left, None)
        return None if wave is None else {"waveform": wave[None]}


def quantize(made: onnx.ModelProto, waves: np.ndarray, activations: str = "uint8") -> onnx.ModelProto:
    """A graph of `asc_kit.deploy.onnx` with int8 weights.

    Parameters
    ----------
    waves : (clips, samples) float32, from which the ranges of the activations are taken
    activations : "uint8" or "uint16"
    """
    float_parts = [node.name for node in made.graph.node if node.name.startswith("features/")]
    source = onnx.load_from_string(made.SerializeToString())  # ONNX Runtime changes the graph that it is given
    with tempfile.TemporaryDirectory() as folder:
        quantization.quantize_static(
            source, Path(folder) / "int8.onnx", _Clips(waves), nodes_to_exclude=float_parts, per_channel=True,
            op_types_to_quantize=["Conv", "Gemm"], weight_type=QuantType.QInt8,
            activation_type=ACTIVATIONS[activations], extra_options={"UseQDQContribOps": activations == "uint16"},
        )  # fmt: skip
        return onnx.load(Path(folder) / "int8.onnx")


def weight_bytes(made: onnx.ModelProto) -> int:
    """Bytes of the network's constants, scales and zero points among them, without the front end."""
    constants = [one for one in made.graph.initializer if not one.name.startswith("features/")]
    return sum(onnx.numpy_helper.to_array(one).nbytes for one in constants)


def session(made: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """One thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # what its optimizer thinks of unused constants
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def compare(home: str | Path, root: str | Path, submissions: tuple[str, ...] = ("2", "4")) -> pd.DataFrame:
    """Scores of every fold's evaluation clips, from the runs in an experiment's folder, beside float16.

    Returns
    -------
    a row for each submission and kind of activations: accuracy, log_loss, labels_changed and largest_move against the
    float16 model, over n clips; bytes of the weights and of the whole ONNX file; milliseconds for 10 s on one core
    (what a scale and a zero point of every channel cost is among the bytes)
    """
    corpus = corpora.read(path(root))
    rows = []
    for submission in submissions:
        scored: dict[str, list[np.ndarray]] = {"float32": [], **{name: [] for name in ACTIVATIONS}}
        truth = []
        for file in sorted((path(home) / f"submission_{submission}").glob("seed_*/model.safetensors")):
            model = compact.load(file)
            config, store = model.config, open_store(corpus, model.config.features.sample_rate)
            training, evaluation = corpus.split(config.fold, config.folds, config.split_seed)
            chosen = np.linspace(0, len(training) - 1, min(CALIBRATION, len(training))).astype(int)
            waves = store.read(store.rows(training.filename.iloc[chosen])).numpy()
            clips = store.read(store.rows(evaluation.filename)).numpy()
            made = {"float32": exporting.build(model)}
            made |= {name: quantize(made["float32"], waves, name) for name in ACTIVATIONS}
            for name, graph in made.items():
                scored[name].append(session(graph).run(None, {"waveform": clips})[0])
            truth.append(evaluation.scene_label.map({c: i for i, c in enumerate(model.classes)}).to_numpy())
        rows += _rows(submission, scored, np.concatenate(truth), made)
    return pd.DataFrame(rows).assign(processor=processor(), onnxruntime=onnxruntime.__version__)


def _rows(submission: str, scored: dict[str, list], labels: np.ndarray, made: dict[str, onnx.ModelProto]) -> list[dict]:
    """``made`` is the last fold's; its sizes are those of all."""
    probabilities = {name: metrics.softmax(np.log(np.concatenate(parts))) for name, parts in scored.items()}
    before, times = probabilities["float32"], _milliseconds(made)
    return [{
        "submission": submission, "weights": "float16" if name == "float32" else "int8", "activations": name,
        "accuracy": round(metrics.accuracy(now, labels), 4), "log_loss": round(metrics.log_loss(now, labels), 4),
        "labels_changed": int((now.argmax(1) != before.argmax(1)).sum()), "n": len(labels),
        "largest_move": round(float(np.abs(now - before).max()), 4),
        "weight_bytes": weight_bytes(made[name]) // (2 if name == "float32" else 1),  # stored as halves
        "onnx_bytes": made[name].ByteSize(), "milliseconds": round(times[name], 2),
    } for name, now in probabilities.items()]  # fmt: skip


def _milliseconds(made: dict[str, onnx.ModelProto], repeats: int = 15) -> dict[str, float]:
    """For 10 s, median; the graphs take turns, so that a disturbance meets all of them."""
    wave = (0.1 * np.random.default_rng(0).standard_normal((1, 441000))).astype(np.float32)
    sessions, times = {name: session(graph) for name, graph in made.items()}, {name: [] for name in made}
    for turn in range(repeats + 1):  # the first warms up
        for name, one in sessions.items():
            started = time.perf_counter()
            one.run(None, {"waveform": wave})
            times[name] += [1000 * (time.perf_counter() - started)] if turn else []
    return {name: float(np.median(series)) for name, series in times.items()}


def write(home: str | Path, root: str | Path, file: Path = TABLE) -> pd.DataFrame:
    """Write the table of `compare`."""
    table = compare(home, root)
    with replacing(file) as part:
        table.to_csv(part, index=False)
    return table
