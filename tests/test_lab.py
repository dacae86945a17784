"""The notebooks' explorers: each control set as a hand would, and what follows in numbers, picture and sound."""

import base64
import io
import json
import re
import sys

import ipywidgets as widgets
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import ROOT, write_corpus

from asc_kit import lab
from asc_kit.blocks import MBConv4
from asc_kit.common import InputError, say
from asc_kit.config import Features
from asc_kit.data import corpus as corpora
from asc_kit.data.store import open_store
from asc_kit.features import LogMel
from asc_kit.lab import overview
from asc_kit.lab.architecture import Budget
from asc_kit.lab.curves import Runs
from asc_kit.lab.devices import Devices, centres
from asc_kit.lab.explorer import picture
from asc_kit.lab.features import Settings
from asc_kit.lab.mistakes import Mistakes
from asc_kit.report import figures, tables
from asc_kit.run import batch
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run

CLASSES = ["bus", "park", "tram"]


def heard(text):
    """Every player's samples in a widget's HTML."""
    return [soundfile.read(io.BytesIO(base64.b64decode(part)))[0]
            for part in re.findall(r"data:audio/wav;base64,([^\"]+)", text)]  # fmt: skip


def drawn(text):
    """Every picture's bytes in a widget's HTML; each has a text in its place."""
    assert text.count("<img") == len(re.findall(r'<img alt="[^"]+"', text)) > 0
    return [base64.b64decode(part) for part in re.findall(r"data:image/png;base64,([^\"]+)", text)]


@pytest.fixture
def devices(tmp_path):
    """bus in oslo by a, b and s1; bus in rome by a; park in rome by c. One name is not TAU's."""
    names = [("bus", "oslo", 1, d) for d in ("a", "b", "s1")] + [("bus", "rome", 2, "a"), ("park", "rome", 3, "c")]
    rows = [(f"audio/{s}-{c}-{p}-0-{d}.wav", s, f"{c}-{p}", d) for s, c, p, d in names]
    rows.append(("audio/field_7.wav", "park", "home", ""))
    root = write_corpus(tmp_path / "set", rows)
    (root / "README.md").write_text("SYNTHETIC\n")
    corpus = corpora.read(root)
    return Devices(corpus, open_store(corpus, 44100))


@pytest.mark.parametrize("with_gate", [True, False])
def test_a_block_is_drawn_with_the_gate_that_it_has(with_gate):
    figure = figures.block_diagram(MBConv4(12, 18, squeeze_excite=with_gate))
    assert any("SE:" in text.get_text() for text in figure.axes[0].texts) == with_gate
    plt.close(figure)


def test_devices_of_one_segment_stand_together(devices):
    assert [value for _, value in devices.segment.options][0] == "bus-oslo-1-0"
    assert list(devices.levels) == ["a", "b", "s1"]
    waves = [
        soundfile.read(devices.corpus.root / f"audio/bus-oslo-1-0-{d}.wav", dtype="float32")[0] for d in devices.levels
    ]
    mel = LogMel(devices.features)
    means = [mel(torch.from_numpy(wave)[None])[0, 0].numpy().mean(0) for wave in waves]
    assert devices.difference.shape == (64, 3) and (devices.difference["a"] == 0).all()
    assert np.allclose(devices.difference["s1"], means[2] - means[0], atol=1e-3)
    assert np.allclose(devices.sequence[:44100], waves[0], atol=1e-4)
    after = 44100 + round(0.25 * 44100)
    assert np.allclose(devices.sequence[after : after + 44100], waves[1], atol=1e-4)
    (sound,) = heard(devices.sound.value)
    assert repr(devices).startswith("Devices(")
    assert len(sound) == 3 * after and len(drawn(devices.image.value)) == len(drawn(devices.curve.value)) == 1


def test_class_and_segment_choose_what_is_seen_and_heard(devices):
    assert devices.scene.options == ("bus", "park") and devices.reference == "a"
    before = drawn(devices.image.value)
    devices.segment.value = "bus-rome-2-0"
    assert list(devices.levels) == ["a"] and drawn(devices.image.value) != before
    assert len(drawn(devices.curve.value)) == 1  # of the class's segments, also where this one has one device
    devices.scene.value = "park"
    assert [value for _, value in devices.segment.options] == ["field_7", "park-rome-3-0"]
    assert list(devices.levels) == ["unknown"] and "one device" in devices.curve.value and not devices.message.value


def test_the_curve_is_the_mean_over_the_segments_that_the_reference_recorded(tmp_path):
    places = ((1, "ab"), (2, "abc"), (3, "bc"))
    rows = [(f"audio/bus-oslo-{p}-0-{d}.wav", "bus", f"oslo-{p}", d) for p, ds in places for d in ds]
    corpus = corpora.read(write_corpus(tmp_path / "set", rows))
    explorer = Devices(corpus, open_store(corpus, 44100))
    means = []
    for place in (1, 2):
        explorer.segment.value = f"bus-oslo-{place}-0"
        means.append({device: level.mean(0) for device, level in explorer.levels.items()})
    assert list(explorer.difference) == ["a", "b", "c"] and (explorer.difference["a"] == 0).all()
    b = (means[0]["b"] - means[0]["a"] + means[1]["b"] - means[1]["a"]) / 2
    assert np.allclose(explorer.difference["b"], b, atol=1e-4)
    assert np.allclose(explorer.difference["c"], means[1]["c"] - means[1]["a"], atol=1e-4)


def test_centres_of_mel_filters_rise_to_the_cut_off():
    hertz = centres(Features(n_mels=64))
    assert (np.diff(hertz) > 0).all() and 10 < hertz[0] < 100 and 15000 < hertz[-1] < 16000


def tone(hertz, seconds=1.0, peak=0.5):
    return torch.from_numpy(peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 44100)) / 44100)).float()


def test_settings_change_frame_parameters_and_macs():
    explorer = Settings(tone(3000, 2.0))
    assert explorer.numbers.loc["frames"].tolist() == [640, 640] and explorer.level.shape == (128, 160)
    assert explorer.numbers.here["parameters"] == 62346 and round(explorer.numbers.here["million MACs for 10 s"]) == 397
    first = drawn(explorer.image.value)
    explorer.n_mels.value = 32
    assert explorer.numbers.here["parameters"] == 62090 and explorer.level.shape == (128, 32)
    assert round(explorer.numbers.here["million MACs for 10 s"]) == 79 and drawn(explorer.image.value) != first
    explorer.hop.value = 1380
    assert explorer.numbers.here["frames"] == 320 and explorer.level.shape == (64, 32)
    explorer.f_max.value = 2000  # the tone lies above
    below = explorer.level.max()
    explorer.f_max.value = 16000
    assert explorer.level.max() > below + 20
    explorer.window.value = 1380
    assert explorer.numbers.here["Hz between bins"] == pytest.approx(2 * explorer.numbers.report["Hz between bins"])


def test_settings_that_do_not_go_together_are_said_and_show_nothing():
    explorer = Settings(tone(3000))
    explorer.f_max.value = 5000
    kept = explorer.level
    explorer.f_min.value = 6000
    assert "f_max" in explorer.message.value and "alert" in explorer.message.value and explorer.level is kept
    assert explorer.image.layout.display == explorer.table.layout.display == "none"
    explorer.f_min.value = 100
    assert explorer.message.value == "" and explorer.level is not kept and explorer.image.layout.display is None


def test_the_budget_starts_at_the_report_and_says_what_is_over():
    explorer = Budget()
    assert (explorer.numbers.here == explorer.numbers.report).all() and "6,380 bytes are left" in explorer.words.value
    first = drawn(explorer.image.value)
    explorer.repeats[3].value = 3
    assert "over 128 KB by" in explorer.words.value
    table = tables.published(6).query("column == 'parameters'").set_index("label")
    more = explorer.numbers.here["parameters"] - 62346
    assert more == int(table.value["MBConv4(30, 30)"]) and drawn(explorer.image.value) != first
    explorer.repeats[3].value = 2
    explorer.channels[5].value = 50
    assert explorer.numbers.here["parameters"] == 62346 - 50 * (30 + 1 + 2 + 10)


@pytest.fixture
def run(tmp_path):
    """Twelve clips of three classes and four devices, scored with known probabilities; synthetic audio."""
    rows = [
        (f"audio/{c}-oslo-{i}-0-{d}.wav", c, f"oslo-{i}", d)
        for i, c in enumerate(CLASSES)
        for d in ("a", "b", "c", "s1")
    ]
    root = write_corpus(tmp_path / "set", rows)
    (root / "README.md").write_text("SYNTHETIC\n")
    p = np.full((12, 3), 0.2)
    p[np.arange(12), np.arange(12) // 4] = 0.6
    p[1] = 0.1, 0.8, 0.1  # bus by b, taken for park: the surest mistake
    p[2] = 0.3, 0.5, 0.2  # bus by c, taken for park
    p[5] = 0.1, 0.78, 0.12  # park by b: nearest to the first mistake
    recipe = Recipe("toy", submissions=("1",))
    one = Run(recipe, recipe.config("1"), tmp_path / "toy", root)
    one.folder.mkdir(parents=True)
    about = {"config": one.config.as_dict(), "data": {"name": "toy", "synthetic": True}}
    (one.folder / "run.json").write_text(json.dumps(about))
    table = pd.DataFrame(p, columns=CLASSES)
    table.insert(0, "filename", [row[0] for row in rows])
    table.insert(1, "scene_label", np.array(CLASSES)[p.argmax(1)])
    table.to_csv(one.folder / "predictions.tsv", sep="\t", index=False)
    truth = pd.DataFrame(rows, columns=["filename", "scene_label", "identifier", "source_label"])
    truth.to_csv(one.home / "truth.tsv", sep="\t", index=False)
    return one


def test_a_confusion_shows_and_plays_its_clips(run):
    explorer = Mistakes(run)
    assert repr(explorer).startswith("Mistakes(")
    assert explorer.pair.value == ("bus", "park") and explorer.pair.label == "bus, taken for park: 2 clips"
    assert list(explorer.found.index) == ["audio/bus-oslo-0-0-b.wav", "audio/bus-oslo-0-0-c.wav"]
    assert explorer.found.p_predicted.tolist() == [0.8, 0.5] and explorer.found.p_true.tolist() == [0.1, 0.3]
    assert "clips: 2, locations: 1, from one location: 2" in explorer.listing.value
    (sound,) = heard(explorer.sound.value)
    wave = soundfile.read(run.dataset_root / "audio/bus-oslo-0-0-b.wav")[0]
    assert np.allclose(sound, wave / np.abs(wave).max(), atol=1e-3)
    before = drawn(explorer.image.value)
    explorer.clip.value = "audio/bus-oslo-0-0-c.wav"
    assert drawn(explorer.image.value) != before


def test_confusions_come_before_what_is_right_and_a_device_filters_them(run):
    explorer = Mistakes(run)
    assert [pair for _, pair in explorer.pair.options] == [
        ("bus", "park"), ("park", "park"), ("tram", "tram"), ("bus", "bus")]  # fmt: skip
    explorer.pair.value = ("tram", "tram")
    explorer.device.value = "s1"
    assert list(explorer.found.index) == ["audio/tram-oslo-2-0-s1.wav"] and explorer.pairs.clips.tolist() == [1, 1, 1]
    explorer.device.value = "b"
    explorer.pair.value = ("bus", "park")
    explorer.device.value = "s1"  # which has no such clip: the first of those that are left
    assert explorer.pair.value == ("bus", "bus") and explorer.message.value == ""


def test_another_run_of_the_experiment_is_shown_by_its_control(run):
    other = run.home / "submission_2" / "seed_1"
    other.mkdir(parents=True)
    table = pd.read_csv(run.folder / "predictions.tsv", sep="\t")
    table.loc[8:, CLASSES] = 0.7, 0.2, 0.1  # every tram taken for a bus
    table.to_csv(other / "predictions.tsv", sep="\t", index=False)
    (other / "run.json").write_text(json.dumps({"config": Recipe("toy").config("2", 1).as_dict()}))
    explorer = Mistakes(run)
    assert [name for name, _ in explorer.run.options] == ["submission_1/seed_0", "submission_2/seed_1"]
    explorer.run.value = explorer.run.options[1][1]
    assert explorer.pair.value == ("bus", "park") and len(explorer.found) == 2
    assert explorer.pairs.clips.head(2).to_dict() == {("tram", "bus"): 4, ("bus", "park"): 2}
    explorer.pair.value = ("tram", "bus")
    assert len(explorer.found) == 4 and explorer.message.value == ""


def test_without_recordings_there_are_probabilities_still(run):
    for file in run.dataset_root.glob("audio/*"):
        file.unlink()
    explorer = Mistakes(run)
    assert "not here" in explorer.sound.value and len(drawn(explorer.image.value)) == 1


def test_real_recordings_are_heard_in_jupyterlab_alone(run, monkeypatch):
    (run.dataset_root / "README.md").unlink()
    assert heard(Mistakes(run).sound.value) == []
    monkeypatch.setenv("JPY_SESSION_NAME", "06")
    assert len(heard(Mistakes(run).sound.value)) == 1


def write_run(folder, loss, **changes):
    config = Recipe("toy").config("1", **changes).as_dict()
    about = {"config": config, "data": {"name": "toy", "synthetic": True}}
    (folder / "run.json").write_text(json.dumps(about))
    pd.DataFrame({"epoch": [1, 2], "loss": loss, "learning_rate": 0.1}).to_csv(folder / "history.csv", index=False)


def test_runs_are_laid_over_each_other(run):
    other = run.home.parent / "second" / "submission_1" / "seed_0"
    other.mkdir(parents=True)
    (other / "predictions.tsv").write_bytes((run.folder / "predictions.tsv").read_bytes())
    (other.parents[1] / "truth.tsv").write_bytes((run.home / "truth.tsv").read_bytes())
    write_run(run.folder, [2.0, 1.0])
    write_run(other, [3.0, 2.5], epochs=7)
    explorer = Runs(run.home.parent)
    assert explorer.chosen.value == ("second/submission_1/seed_0", "toy/submission_1/seed_0")
    assert explorer.curves.groupby("run").loss.min().tolist() == [2.5, 1.0]
    assert explorer.scored.accuracy.tolist() == pytest.approx([10 / 12, 10 / 12])
    assert explorer.scored["training.epochs"].tolist() == [7, 500] and "training.max_lr" not in explorer.scored
    rows = re.findall(r"<tr>\s*<th>([^<]+)</th>((?:\s*<td>.*</td>)+)", explorer.table.value)
    assert [(name, cells.count("<td>")) for name, cells in rows] == [
        ("clips", 2), ("accuracy", 2), ("log loss", 2), ("training.epochs", 2)]  # fmt: skip
    first = drawn(explorer.image.value)
    explorer.chosen.value = ("toy/submission_1/seed_0",)
    assert explorer.curves.run.nunique() == 1 and drawn(explorer.image.value) != first
    second = drawn(explorer.image.value)
    explorer.curve.value = "learning_rate"
    assert drawn(explorer.image.value) != second and len(explorer.scored) == 1
    explorer.chosen.value = ()
    assert "none is chosen" in explorer.message.value and len(explorer.scored) == 1


def test_a_system_of_ones_own_and_an_ablation_are_runs_like_any(run):
    recipe = Recipe("toy", systems={"plain": {"n_mels": 64, "squeeze_excite": False}})
    write_run(run.folder, [2.0, 1.0])
    for name, epochs in (("submission_plain", 500), ("ablation_long", 700)):
        folder = run.home / name / "seed_0"
        folder.mkdir(parents=True)
        (folder / "predictions.tsv").write_bytes((run.folder / "predictions.tsv").read_bytes())
        config = recipe.config("plain", epochs=epochs).as_dict()
        (folder / "run.json").write_text(json.dumps({"config": config, "data": {"name": "toy", "synthetic": True}}))
    explorer = Runs(run.home.parent)
    assert [name.split("/")[1] for name in explorer.chosen.value] == [
        "submission_1",
        "submission_plain",
        "ablation_long",
    ]
    assert explorer.scored["architecture.squeeze_excite"].tolist() == [True, False, False]
    assert explorer.curves.run.unique().tolist() == ["toy/submission_1/seed_0"]
    explorer.chosen.value = ("toy/submission_plain/seed_0",)
    assert explorer.image.value == "No run chosen has a learning curve."
    mistakes = Mistakes(run)
    assert [name for name, _ in mistakes.run.options] == [
        "ablation_long/seed_0",
        "submission_1/seed_0",
        "submission_plain/seed_0",
    ]
    assert mistakes.run.value == run.folder
    before = drawn(mistakes.image.value)
    mistakes.run.value = run.home / "submission_plain" / "seed_0"
    assert drawn(mistakes.image.value) != before and mistakes.message.value == ""  # 64 mel bins in place of 32


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(InputError, match="holds no whole run"):
        Runs(tmp_path)


def test_a_player_is_as_loud_as_it_can_be():
    wave = np.array([0.0, 0.25, -0.5])
    assert np.allclose(heard(lab.listen(wave, 44100, True)._repr_html_())[0], 2 * wave, atol=1e-4)


def test_red_is_for_faults_in_jupyterlab_and_standard_output_for_results_elsewhere(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    say("batch")
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook")
    say("person")
    monkeypatch.delitem(sys.modules, "ipykernel")
    say("what a kernel starts")
    assert capsys.readouterr() == ("person\n", "batch\nwhat a kernel starts\n")


def test_a_picture_is_closed_and_its_words_escaped():
    before = plt.get_fignums()  # of other tests
    text = picture(figures.diagram(["a", "b"], "title"), 'a "quoted" <word>')
    assert 'alt="a &quot;quoted&quot; &lt;word&gt;"' in text and plt.get_fignums() == before


@pytest.mark.parametrize("kind", [Devices, Settings, Budget, Mistakes, Runs])
def test_no_explorer_hides_what_ipywidgets_needs(kind):
    """A method of the same name as a private one of its own breaks the display, in JupyterLab alone."""
    own = [name for part in kind.__mro__ if part.__module__.startswith("asc_kit") for name in vars(part)]
    theirs = set(dir(widgets.VBox)) - set(dir(object)) - {"_trait_default_generators"}
    assert not [name for name in own if name in theirs and callable(getattr(widgets.VBox, name)) and name[:2] != "__"]


@pytest.mark.parametrize("kind", [lambda: Settings(tone(500)), Budget])
def test_an_explorer_shows_itself(kind):
    """As JupyterLab asks for it."""
    explorer = kind()
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_() and repr(explorer)


def test_the_state_of_results_is_that_of_its_files(run):
    (row,) = overview.state(run.home.parent).itertuples()
    assert (row.experiment, row.data, row.runs, row.submission) == ("toy", "synthetic", 1, "1")
    assert row.accuracy.startswith("83.3%") and row.page == "12_report makes it"
    predictions = run.folder / "predictions.tsv"
    predictions.write_text(predictions.read_text().replace("bus-oslo", "nobody"))
    (row,) = overview.state(run.home.parent).itertuples()
    assert row.data.startswith("at fault: ") and "not in the truth" in row.data
    assert overview.state(run.home).empty


def test_the_committed_table_of_00_is_of_the_committed_results():
    """nbval cannot compare it: whoever has run the demo has a row more."""
    book = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    (shown,) = [out.data["text/html"] for cell in book.cells for out in cell.get("outputs", []) if "data" in out]
    rows = overview.state(ROOT / "results").set_index("experiment")
    names = [name for name in rows.index if f"<th>{name}</th>" in shown]
    assert {"control", "tau2022", "tut2017"} <= set(names) and len(names) == shown.count("results/")
    for name in names:
        row = shown.partition(f"<th>{name}</th>")[2].partition("</tr>")[0]
        assert f"<td>{rows.accuracy[name]}</td>" in row and f"<td>{rows['log loss'][name]}</td>" in row, name


def test_every_notebook_is_on_the_map_and_has_its_picture():
    book = json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text())
    text = "".join("".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "markdown")
    names = [file.stem for file in sorted((ROOT / "notebooks").glob("[01][0-9]_*.ipynb"))][1:]
    assert len(names) >= 11 and all(f"]({name}.ipynb)" in text for name in names)
    shown = re.findall(r'<img src="(pictures/[^"]+)" alt="[^"]+"', text)
    assert all((ROOT / "notebooks" / file).is_file() for file in shown) and len(shown) >= len(names)
    assert sum((ROOT / "notebooks" / file).stat().st_size for file in shown) < 200_000


def test_explorers_are_left_out_of_batches():
    """Papermill may hang on a displayed widget."""
    explorer = re.compile(r"import (Devices|Settings|Budget|Mistakes|Runs)\b")
    found = 0
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(file.read_text())["cells"]:
            if explorer.search("".join(cell["source"])):
                found += 1
                assert {"skip-execution", "nbval-skip"} <= set(cell["metadata"]["tags"]), file
                said = ["".join(text) for output in cell["outputs"] for text in output["data"].values()]
                assert all("its controls appear in JupyterLab" in text for text in said), file  # where a golden one is
    assert found == 5


def test_code_that_teaches_nothing_is_folded_away():
    """Imports and explorers; never the parameters."""
    for file in sorted((ROOT / "notebooks").glob("[01][0-9]_*.ipynb")):
        code = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
        folded = [cell["metadata"].get("jupyter", {}).get("source_hidden", False) for cell in code]
        assert folded[:2] == [False, True], file
        assert all(hidden for cell, hidden in zip(code, folded) if "skip-execution" in cell["metadata"].get("tags", []))


def test_a_batch_that_takes_too_long_names_its_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "CELL_SECONDS", 1)
    cells = [nbformat.v4.new_code_cell("1"), nbformat.v4.new_code_cell("import time\n\ntime.sleep(60)")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "slow.ipynb")
    with pytest.raises(InputError, match="A cell timed out while it was being executed, after 1 seconds"):
        batch.execute(tmp_path / "slow.ipynb", tmp_path / "out.ipynb", {})


def test_kernels_of_a_batch_share_no_ports(tmp_path):
    """Two that start at once could choose the same, and wait for each other's answers."""
    cell = nbformat.v4.new_code_cell(
        "import json\n\nfrom ipykernel import get_connection_info\n\n"
        'info = json.loads(get_connection_info())\n(info["transport"], info["ip"])'
    )
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), tmp_path / "who.ipynb")
    told = set()
    for name in ("a.ipynb", "b.ipynb"):
        batch.execute(tmp_path / "who.ipynb", tmp_path / name, {})
        told.add(nbformat.read(tmp_path / name, as_version=4).cells[0].outputs[0].data["text/plain"])
    assert len(told) == 2 and all(text.startswith("('ipc', '/") for text in told)


def test_a_kernel_that_does_not_start_is_one_line(tmp_path, monkeypatch):
    def silent(*_, **__):
        raise RuntimeError("Kernel didn't respond in 60 seconds")

    monkeypatch.setattr(batch.papermill, "execute_notebook", silent)
    with pytest.raises(InputError, match=r"out.ipynb: Kernel didn't respond in 60 seconds$"):
        batch.execute("notebooks/04_architecture.ipynb", tmp_path / "out.ipynb", {})
