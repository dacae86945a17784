"""Reading a data set: TAU's names, folds, and one line for every fault of its lists."""

import pandas as pd
import pytest
from conftest import real, write_corpus
from hypothesis import given
from hypothesis import strategies as st

from asc_kit.common.errors import InputError
from asc_kit.data import corpus


def test_tau_names_give_city_location_and_device(tmp_path):
    (tmp_path / "meta.csv").write_text(
        "filename\tscene_label\n"
        "audio/airport-barcelona-203-6132-b.wav\tairport\n"
        "audio/street_traffic-vienna-177-5337-2-s3.wav\tstreet_traffic\n"
    )
    table = corpus.read(tmp_path).table
    assert table.identifier.tolist() == ["barcelona-203", "vienna-177"]
    assert table.source_label.tolist() == ["b", "s3"]
    assert table.city.tolist() == ["barcelona", "vienna"] and table.segment.tolist() == ["6132", "5337"]


def test_own_folds_are_used(tiny):
    names = corpus.read(tiny).table.filename.tolist()
    (tiny / "evaluation_setup").mkdir()
    (tiny / "evaluation_setup" / "fold1_train.csv").write_text(
        "filename\tscene_label\n" + "".join(f"{n}\tbus\n" for n in names[:4])
    )
    (tiny / "evaluation_setup" / "fold1_evaluate.csv").write_text("filename\n" + "\n".join(names[6:8]) + "\n")
    read = corpus.read(tiny)
    training, evaluation = read.split(1, 5)
    assert training.filename.tolist() == names[:4] and evaluation.filename.tolist() == names[6:8]
    assert read.used() == names[:4] + names[6:8]
    with pytest.raises(InputError, match="no fold 2"):
        read.split(2, 5)


@pytest.mark.filterwarnings("error")
def test_a_class_of_fewer_clips_than_folds_is_drawn_without_a_librarys_warning():
    rows = [(c, f"{c}-{place}") for c, count in (("bus", 12), ("park", 3)) for place in range(count)]
    numbers = corpus.fold_numbers(pd.DataFrame(rows, columns=["scene_label", "identifier"]), 5, 0)
    assert sorted(numbers[:12].value_counts()) == [2, 2, 2, 3, 3] and numbers[12:].nunique() == 3


@given(seed=st.integers(0, 1000), folds=st.integers(2, 5))
def test_drawn_folds_keep_locations_together_and_cover_all(seed, folds):
    rows = [(f"{p}-{c}", f"class{p % 3}", f"place{p}") for p in range(15) for c in range(1 + p % 4)]
    table = pd.DataFrame(rows, columns=["filename", "scene_label", "identifier"])
    numbers = corpus.fold_numbers(table, folds, seed)
    assert set(numbers) == set(range(1, folds + 1))
    assert (table.groupby("identifier").apply(lambda g: numbers[g.index].nunique(), include_groups=False) == 1).all()
    assert numbers.equals(corpus.fold_numbers(table, folds, seed))


def test_split_and_validation_hold_out_locations(tiny):
    read = corpus.read(tiny)
    training, evaluation = read.split(1, 3)
    rest, held = corpus.hold_out(training, 0.5, seed=0)
    sides = [set(part.identifier) for part in (evaluation, rest, held)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert len(evaluation) + len(rest) + len(held) == 12
    assert set(evaluation.scene_label) == {"bus", "park"}


def test_no_devices_no_labels_of_them(tmp_path):
    folder = write_corpus(
        tmp_path / "plain", [("audio/x.wav", "bus", "here", ""), ("audio/y.wav", "park", "there", "")]
    )
    assert set(corpus.read(folder).table.source_label) == {""}


META = "filename\tscene_label\tidentifier\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "neither meta.csv nor folders of recordings"), ("", "meta.csv: cannot be read"), (META, "lists no clip"),
        ("filename,scene_label\na.wav,bus\n", "no column 'filename'"), ("filename\tscene\na.wav\tbus\n", "is 'scene' meant"),
        (META + "a.wav\tbus\tx\na.wav\tbus\tx\n", "a.wav is listed twice"), (META + "a.wav\t\tx\n", "line 2 has no scene_label"),
        ("filename\tscene_label\na.wav\tbus\n", "line 2 has no identifier"), (META + "a.wav\tbus\tx\ty\n" * 2, "more fields than its first line"),
        (META + "a.wav\tbus\tx\n\n\nb.wav\t\tx\n", "line 5 has no scene_label"),
        (META + "a.wav\tbus\tx\nb.wav\tBus \tx\n", "'Bus ' and 'bus' differ in case or spaces alone"),
        (META + "a.wav\tbu\x07s\tx\nb.wav\tpark\tx\n", "holds a character that is not shown"),
    ],
)  # fmt: skip
def test_faults_of_lists_are_one_line_that_names_the_file(tmp_path, text, what):
    if text is not None:
        (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        corpus.read(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_missing_folder_and_strange_fold_entry(tmp_path, tiny):
    with pytest.raises(InputError, match="dataset_root: .*no such folder"):
        corpus.read(tmp_path / "nowhere")
    (tiny / "evaluation_setup").mkdir()
    for side in ("train", "evaluate"):
        (tiny / "evaluation_setup" / f"fold1_{side}.csv").write_text("filename\naudio/nobody.wav\n")
    with pytest.raises(InputError, match="nobody.wav is not in meta.csv"):
        corpus.read(tiny)


def test_clip_that_a_fold_lists_twice(tiny):
    names = corpus.read(tiny).table.filename.tolist()
    (tiny / "evaluation_setup").mkdir()
    for side, listed in (("train", [*names[:3], names[1]]), ("evaluate", names[4:])):
        (tiny / "evaluation_setup" / f"fold1_{side}.csv").write_text("filename\n" + "\n".join(listed) + "\n")
    with pytest.raises(InputError, match=f"fold1_train.csv: {names[1]} is listed twice"):
        corpus.read(tiny)


def test_too_few_locations(tiny):
    with pytest.raises(InputError, match="6 locations are too few for 7 folds"):
        corpus.read(tiny).split(1, 7)


def test_the_real_split_lists_are_read(tmp_path):
    """TAU 2020's own lists, both releases: the counts that tell them apart."""
    for release, counts in (("v1", (13965, 2970)), ("v2", (13962, 2968))):
        folder = tmp_path / release
        (folder / "evaluation_setup").mkdir(parents=True)
        for file in real(f"tau2020_splits/{release}").iterdir():
            (folder / "evaluation_setup" / file.name).write_text(file.read_text())
        lists = [
            (folder / "evaluation_setup" / f"fold1_{s}.csv").read_text().split("\n", 1)[1]
            for s in ("train", "evaluate")
        ]
        (folder / "meta.csv").write_text("filename\tscene_label\n" + "".join(lists))
        training, evaluation = corpus.read(folder).split(1, 5)
        assert (len(training), len(evaluation)) == counts
        assert not set(training.identifier) & set(evaluation.identifier)
        assert set(evaluation.source_label) - set(training.source_label) == {"s4", "s5", "s6"}
