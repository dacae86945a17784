"""python -m asc_kit score: any system's predictions, against scikit-learn and against an independent computation."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from conftest import cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asc_kit.common import InputError
from asc_kit.common.tables import label
from asc_kit.report.score import score

CLASSES = ["bus", "metro_station", "park", "street_pedestrian"]


def case(seed, clips=40, scale=False):
    random = np.random.default_rng(seed)
    truth = pd.DataFrame({"filename": [f"audio/c{i}.wav" for i in range(clips)]})
    truth["scene_label"] = random.choice(CLASSES, clips)
    truth["identifier"] = [f"place-{i // 3}" for i in range(clips)]
    truth["source_label"] = random.choice(["a", "s1"], clips)
    p = random.dirichlet(np.ones(4), clips) * (random.uniform(0.5, 9, (clips, 1)) if scale else 1)
    table = pd.DataFrame(p, columns=CLASSES)
    table.insert(0, "filename", truth.filename)
    table.insert(1, "scene_label", np.array(CLASSES)[p.argmax(1)])
    return truth, table


def write(folder, truth, table, sep="\t", header=True):
    truth.to_csv(folder / "truth.csv", sep="\t", index=False)
    table.to_csv(folder / "p.csv", sep=sep, index=False, header=header)
    return folder / "p.csv", folder / "truth.csv", folder / "out"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(seed=st.integers(0, 10**6), scale=st.booleans())
@pytest.mark.filterwarnings("ignore:probabilities")
def test_equals_scikit_learn_and_an_independent_computation(tmp_path, seed, scale):
    truth, table = case(seed, scale=scale)
    overall = score(*write(tmp_path, truth, table.sample(frac=1, random_state=seed)))
    p = table[CLASSES].to_numpy()
    p = p / p.sum(1, keepdims=True)
    y = truth.scene_label.map(CLASSES.index).to_numpy()
    assert overall["accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(y, p.argmax(1)), abs=1e-12)
    assert overall["log_loss"] == pytest.approx(sklearn.metrics.log_loss(y, p, labels=range(4)), abs=1e-12)
    by_class = [np.mean([-np.log(p[i, k]) for i in range(len(y)) if y[i] == k]) for k in sorted(set(y))]
    assert overall["log_loss_macro"] == pytest.approx(np.mean(by_class), abs=1e-12)
    assert overall == json.loads((tmp_path / "out" / "overall.json").read_text()) and overall["n"] == 40
    devices = pd.read_csv(tmp_path / "out" / "table_4.csv").set_index("device")
    mine = (truth.source_label == "s1").to_numpy()
    assert devices.log_loss["s1"] == pytest.approx(-np.log(p[mine, y[mine]]).mean(), abs=1e-12)
    confusion = pd.read_csv(tmp_path / "out" / "confusion_matrix.csv").set_index("true")
    assert confusion.to_numpy().tolist() == sklearn.metrics.confusion_matrix(y, p.argmax(1), labels=range(4)).tolist()


@pytest.mark.parametrize("sep", ["\t", ",", ";"])
@pytest.mark.parametrize("header", [True, False])
def test_separators_and_headers(tmp_path, sep, header):
    """Without a header line the classes stand in alphabetical order."""
    truth, table = case(1)
    expected = score(*write(tmp_path, truth, table))
    files = write(tmp_path, truth, table, sep, header)
    assert score(*files) == expected
    if header:  # its order counts
        turned = table[["filename", "scene_label", *CLASSES[::-1]]]
        assert score(*write(tmp_path, truth, turned, sep)) == pytest.approx(expected)
    else:
        table.assign(more=1.0).to_csv(files[0], sep=sep, index=False, header=False)
        with pytest.raises(
            InputError, match="its first line names no column 'filename' .it begins 'audio/c0.wav' and has 7"
        ):
            score(*files)


def test_a_truth_without_a_header_line(tmp_path):
    truth, table = case(4, clips=4)
    names = [f"audio/bus-oslo-{i}-7-{d}.wav" for i, d in enumerate(("a", "s3", "s3", "b"))]
    bare = truth[["filename", "scene_label"]].assign(filename=names)
    files = write(tmp_path, bare, table.assign(filename=names))
    expected = score(*files)
    bare.to_csv(files[1], sep="\t", index=False, header=False)
    assert score(*files) == expected


def test_a_spreadsheets_files_are_read(tmp_path):
    """A mark of UTF-8 at the beginning, and a capital in the header."""
    truth, table = case(1)
    p, t, out = write(tmp_path, truth, table)
    expected = score(p, t, out)
    for file in (p, t):
        file.write_text("\ufeff" + file.read_text().replace("filename", "Filename", 1), encoding="utf-8")
    assert score(p, t, out) == expected


def test_labels_are_case_and_space_tolerant(tmp_path):
    assert (
        label("Street, pedestrian") == label(" street  pedestrian") == label("street_pedestrian") == "street_pedestrian"
    )
    truth, table = case(2)
    expected = score(*write(tmp_path, truth, table))
    table = table.rename(columns={"metro_station": "Metro station", "bus": " BUS "})
    assert score(*write(tmp_path, truth.assign(scene_label=truth.scene_label.str.replace("_", " ")), table)) == expected


def test_a_label_that_is_not_the_argmax_is_counted_and_said(tmp_path, capsys):
    truth, table = case(3)
    expected = score(*write(tmp_path, truth, table))
    table.loc[:4, "scene_label"] = [CLASSES[(CLASSES.index(s) + 1) % 4] for s in table.scene_label[:5]]
    assert score(*write(tmp_path, truth, table)) == expected
    assert "5 of 40 clips" in capsys.readouterr().err


def test_devices_and_places_come_from_tau_names(tmp_path):
    truth, table = case(4, clips=4)
    names = [f"audio/bus-oslo-{i}-7-{d}.wav" for i, d in enumerate(("a", "s3", "s3", "b"))]
    score(*write(tmp_path, truth[["filename", "scene_label"]].assign(filename=names), table.assign(filename=names)))
    assert pd.read_csv(tmp_path / "out" / "table_4.csv").device.tolist() == ["a", "b", "s3", "average"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t[3:], "3 clips are missing: audio/c0.wav"),
        (lambda t: pd.concat([t, t[:1]]), "audio/c0.wav is there twice"),
        (lambda t: pd.concat([t, t[:1].assign(filename="audio/x.wav")]), "audio/x.wav is not in the truth"),
        (lambda t: t.rename(columns={"park": "garden"}), "no column for the class 'park'"),
        (lambda t: t.assign(park=-1.0), "negative"), (lambda t: t.assign(park="much"), "scores must be numbers"),
        (lambda t: t.assign(park=np.nan), "scores must be numbers"), (lambda t: t[:0], "has no rows"),
        (lambda t: t.assign(Bus=0.5), "its first line names the column bus twice .Bus is bus."), (lambda t: t[["filename"]], "names no column 'scene_label' .it begins 'filename' and has 1 cells.; it needs filename, scene_label"),
        (lambda t: t.drop(columns="park"), "no column for the class 'park'"),
    ],
)  # fmt: skip
def test_faults_are_one_line_and_nothing_is_written(tmp_path, change, what):
    truth, table = case(5)
    with pytest.raises(InputError, match=what) as caught:
        score(*write(tmp_path, truth, change(table)))
    assert "\n" not in str(caught.value) and "p.csv" in str(caught.value) and not (tmp_path / "out").exists()


def test_a_column_that_is_no_class_is_named_and_left_out_only_where_the_classes_are_known(tmp_path, capsys):
    """fold, max_prob, an index."""
    truth, table = case(3)
    expected = score(*write(tmp_path, truth, table))
    extra = {"fold": 1, "max_prob": table[CLASSES].max(axis=1), "target": range(len(table)), "city": "oslo"}
    for name, values in extra.items():
        more = table.assign(**{name: values})
        with pytest.raises(InputError, match=f"p.csv: column '{name}' is no class of the truth; leave it out, or name"):
            score(*write(tmp_path, truth, more))
        assert score(*write(tmp_path, truth, more), classes=CLASSES) == expected
        assert f"p.csv: column '{name}' is no class and is left out" in capsys.readouterr().err
    for place in (0, 1, 3):  # wherever it stands
        moved = table.copy()
        moved.insert(place, "fold", 9)
        assert score(*write(tmp_path, truth, moved), classes=CLASSES) == expected


def test_a_class_that_no_clip_has_is_named_or_the_models(tmp_path):
    """Probabilities of five classes, of which the truth has four: a fifth of every one is the garden's."""
    truth, table = case(3)
    five = table.assign(garden=0.2, **{name: 0.8 * table[name] for name in CLASSES})
    files = write(tmp_path, truth, five)
    with pytest.raises(InputError, match="column 'garden' is no class of the truth"):
        score(*files)
    named = score(*files, classes=(*CLASSES, "Garden"))
    assert named["log_loss"] == pytest.approx(score(*write(tmp_path, truth, table))["log_loss"] - np.log(0.8))
    (tmp_path / "run.json").write_text(json.dumps({"classes": [*CLASSES, "garden"]}))
    assert score(*write(tmp_path, truth, five)) == named
    with pytest.raises(InputError, match="no column for the class 'garden' .no class are 'fold'."):
        score(*write(tmp_path, truth, table.assign(fold=1)))


def test_messages_name_what_is_wrong_and_what_to_do(tmp_path, capsys):
    truth, table = case(5)
    p, t, out = write(tmp_path, truth, table.rename(columns={"filename": "file"}))
    with pytest.raises(
        InputError, match="p.csv: its first line names no column 'filename' .it begins 'file' and has 6"
    ):
        score(p, t, out)
    table.to_csv(p, sep="\t", header=False)
    with pytest.raises(
        InputError, match="p.csv: its first line names no column 'filename' .it begins '0' and has 7 cells"
    ):
        score(p, t, out)
    expected = score(*write(tmp_path, truth, table))
    table.to_csv(p, sep="\t")  # an index
    truth.to_csv(t, sep="\t")
    assert score(p, t, out) == expected
    assert f"{p}: a column without a name, as of an index, is left out" in capsys.readouterr().err
    truth.rename(columns={"scene_label": "Scene label"}).to_csv(t, sep="\t", index=False)
    assert score(p, t, out) == expected
    p.write_text(p.read_text(), encoding="utf-16")
    with pytest.raises(InputError, match="p.csv: cannot be read .it is no UTF-8 text"):
        score(p, t, out)
    write(tmp_path, truth, table.assign(filename=table.filename.str.removeprefix("audio/")))
    with pytest.raises(
        InputError, match="40 clips are missing: audio/c0.wav, .*; it names c0.wav, which the truth has"
    ):
        score(p, t, out)
    write(tmp_path, truth.assign(scene_label=["", *truth.scene_label[1:]]), table)
    with pytest.raises(InputError, match="truth.csv: audio/c0.wav is without a scene_label .1 such"):
        score(p, t, out)
    write(tmp_path, truth, table.assign(park=["0,5", *table.park[1:]]))
    with pytest.raises(InputError, match="p.csv: column 'park' holds '0,5' at audio/c0.wav; scores must be numbers"):
        score(p, t, out)
    p.write_text("\n".join(line.rpartition("\t")[0] if number == 3 else line
                           for number, line in enumerate(table.to_csv(sep="\t", index=False).splitlines())))  # fmt: skip
    with pytest.raises(InputError, match="column 'street_pedestrian' holds '' at audio/c2.wav"):
        score(p, t, out)
    p.write_text(table.to_csv(sep="\t", index=False) + "x\t" * 9)
    with pytest.raises(InputError, match="p.csv: line 42 has more fields than its first line names"):
        score(p, t, out)


def test_a_truth_with_a_column_twice_and_a_quote_without_end(tmp_path):
    p, truth, out = write(tmp_path, *case(5))
    good = truth.read_text()
    truth.write_text(good.replace("identifier", "scene_label"))
    with pytest.raises(InputError, match="truth.csv: its first line names the column scene_label twice"):
        score(p, truth, out)
    truth.write_text(good.replace("audio", '"audio', 1) + "\n" * 2**17)
    with pytest.raises(InputError, match="truth.csv: line 2 has a quotation mark without its pair; remove it"):
        score(p, truth, out)


def test_differences_from_another_system_are_paired(tmp_path):
    truth, table = case(3)
    files = write(tmp_path, truth, table)
    other = case(4)[1].assign(filename=table.filename).sample(frac=1, random_state=0)
    other.to_csv(tmp_path / "other.csv", sep="\t", index=False)
    theirs = score(tmp_path / "other.csv", *files[1:])
    mine = score(*files, against=tmp_path / "other.csv")
    for name in ("accuracy", "log_loss"):
        assert mine[f"{name}_difference"] == pytest.approx(mine[name] - theirs[name], abs=1e-12)
        assert mine[f"{name}_difference_low"] < mine[f"{name}_difference"] < mine[f"{name}_difference_high"]
    assert score(*files, against=files[0])["log_loss_difference_high"] == 0
    other.iloc[1:].to_csv(tmp_path / "other.csv", sep="\t", index=False)
    with pytest.raises(InputError, match="other.csv: 1 clips are missing"):
        score(*files, against=tmp_path / "other.csv")


def test_command(tmp_path):
    p, truth, out = write(tmp_path, *case(6))
    done = cli("score", p, "--truth", truth, "--out", out)
    assert done.returncode == 0 and done.stdout.startswith("accuracy\t") and (out / "table_3.csv").exists()
    done = cli("score", tmp_path / "nowhere.csv", "--truth", truth, "--out", out)
    assert done.returncode == 1 and "nowhere.csv: cannot be read" in done.stderr and not done.stdout
