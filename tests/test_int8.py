"""Static quantization: int8 weights, the front end untouched, and the committed measurement."""

import numpy as np
import onnx
import pandas as pd
import pytest
from test_onnx import model, noise

from asc_kit.config import ROOT
from asc_kit.deploy import onnx as exporting
from benchmarks import int8


@pytest.mark.parametrize(("activations", "far"), [("uint8", 0.1), ("uint16", 0.01)])
def test_network_is_int8_and_front_end_is_not(tmp_path, activations, far):
    made = exporting.build(model(tmp_path, "1"))
    before = made.SerializeToString()
    waves = noise(1, 8, seed=1)
    small = int8.quantize(made, waves, activations)
    assert made.SerializeToString() == before
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in small.graph.initializer}
    weights = [value for name, value in constants.items() if name.startswith("network/") and value.ndim > 1]
    assert sum(value.size for value in weights if value.dtype == np.int8) == 57658  # all but biases and the affine
    assert not any(value.size > 32 for value in weights if value.dtype == np.float32)
    features = {c.name: onnx.numpy_helper.to_array(c) for c in made.graph.initializer if c.name.startswith("features/")}
    assert all(np.array_equal(constants[name], value) for name, value in features.items())
    assert int8.weight_bytes(small) < 0.5 * int8.weight_bytes(made)
    want, got = (int8.session(graph).run(None, {"waveform": waves})[0] for graph in (made, small))
    assert 0 < np.abs(want - got).max() < far


def test_compare_scores_every_fold(tmp_path, tiny):
    from asc_kit.run.runs import Run

    (tmp_path / "toy.yaml").write_text("folds: 3\n")
    for fold in (1, 2):
        run = Run.of(str(tmp_path / "toy.yaml"), "1", 0, fold, str(tiny), "toy", str(tmp_path))
        run.folder.mkdir(parents=True)
        _save(run, ("bus", "park"))
    table = int8.compare(tmp_path / "toy", tiny, ("1",))
    assert table.activations.tolist() == ["float32", "uint8", "uint16"]
    assert (table.n == 8).all() and table.labels_changed[0] == 0 and table.largest_move[0] == 0
    assert table.weight_bytes[0] == 2 * (60252 - 8 * 101) + 4  # an axis of the graph is a whole number


def _save(run, classes):
    from asc_kit import network
    from asc_kit.deploy import compact

    compact.save(network.build(run.config, 2), run.config, classes, run.folder / "model.safetensors")


def test_committed_table_is_why_export_has_no_int8():
    table = pd.read_csv(ROOT / "results" / "performance" / "int8.csv")
    for _, rows in table.groupby("submission"):
        whole, small = rows[rows.weights == "float16"].iloc[0], rows[rows.weights == "int8"]
        assert (small.labels_changed > 0).all() and (small.milliseconds > whole.milliseconds).all()
        assert (small.onnx_bytes > 0.9 * whole.onnx_bytes).all()
