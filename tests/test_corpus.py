"""Reading a data set: TAU's names, folds, and one line for every fault of its lists."""

import re
import shutil

import pandas as pd
import pytest
from conftest import real, write_corpus
from hypothesis import given
from hypothesis import strategies as st

from asc_kit.common import InputError
from asc_kit.data import check, corpus, own


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
        "filename\tscene_label\n" + "".join(f"{n}\t{n[6:].split('-')[0]}\n" for n in names[:4])
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
        (None, "neither meta.csv nor folders of recordings"), ("", "meta.csv: is empty; give it a line that names the columns"), (META, "has no rows"),
        ("filename,scene_label\na.wav,bus\n", "no column 'filename'"), ("filename\tscene\na.wav\tbus\n", "is 'scene' meant"),
        (META + "a.wav\tbus\tx\na.wav\tbus\tx\n", "a.wav is listed twice"), (META + "a.wav\t\tx\n", "line 2 has no scene_label"),
        ("filename\tscene_label\na.wav\tbus\n", "line 2 has no identifier"), (META + "a.wav\tbus\tx\ty\n" * 2, "more fields than its first line"),
        (META + "a.wav\tbus\tx\n\n\nb.wav\t\tx\n", "line 5 has no scene_label"),
        (META + "a.wav\tbus\tx\nb.wav\tBus \tx\n", "'Bus' and 'bus' differ in case or spaces alone"),
        (META + 'a.wav\t"bus\tx\n' + "".join(f"{i}.wav\tbus\tx\n" for i in range(999)), "line 2 has a quotation mark without"),
        (META + 'a.wav\tbus\tx\n\nb.wav\tbus"\tx\n', "line 4 has a quotation mark without its pair; remove it"),
        ("Filename\tfilename \nx\ty\n", "names the column filename twice"),
        (META + "a.wav\tbu\x07s\tx\nb.wav\tpark\tx\n", "holds a character that is not shown"),
    ],
)  # fmt: skip
def test_faults_of_lists_are_one_line_that_names_the_file(tmp_path, text, what):
    if text is not None:
        (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        corpus.read(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value) and len(str(caught.value)) < 300


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
    """Said before anything long, with what to type."""
    read = corpus.read(tiny)
    for draw in (lambda: read.split(1, 7), lambda: read.check_folds(7)):
        with pytest.raises(InputError, match="6 locations are too few for 7 folds .*; write folds: 6 in the recipe"):
            draw()
    assert read.check_folds(6) is None


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


# Lists as others write them

NAMES = ("filename", "scene_label", "identifier", "source_label")


def dressed(name: str) -> st.SearchStrategy[str]:
    """A column's name in any case, with blanks around it, and one of another kind for that within."""
    case = st.lists(st.booleans(), min_size=len(name), max_size=len(name)).map(
        lambda ups: "".join(letter.upper() if up else letter for letter, up in zip(name, ups))
    )
    blank = st.text(" \u00a0", max_size=2)
    return st.tuples(blank, case, blank, st.sampled_from("_ ")).map(lambda p: p[0] + p[1].replace("_", p[3]) + p[2])


@given(
    order=st.permutations(range(4)),
    head=st.tuples(*map(dressed, NAMES)),
    bom=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    quoted=st.booleans(),
)
def test_a_header_is_read_whatever_its_case_blanks_and_order(tmp_path_factory, order, head, bom, end, quoted):
    folder = tmp_path_factory.mktemp("head")
    rows = [("a.wav", "bus", "yard", "zoom"), ("b c.wav", "city park", "hall", "")]
    quote = '"' if quoted else ""
    lines = ["\t".join(quote + row[i] + quote for i in order) for row in (head, *rows)]
    (folder / "meta.csv").write_bytes(b"\xef\xbb\xbf" * bom + (end.join(lines) + end).encode())
    read = corpus.read(folder)
    assert read.labelled and list(read.table[list(NAMES)].itertuples(index=False, name=None)) == rows


def tut(folder, year: str):
    """The layout of TUT 2016 and 2017: lists without names, the third column since 2017."""
    clips = [
        (f"audio/{place}_{10 * k}_{10 * k + 10}.wav", scene, place)
        for place, scene in (("a001", "beach"), ("a023", "train"), ("b105", "beach"), ("b007", "train"))
        for k in range(2)
    ]
    write_corpus(folder, [(*clip, "") for clip in clips], 0.2)
    (folder / "meta.csv").unlink()
    (folder / "evaluation_setup").mkdir()
    width = 3 if year == "2017" else 2
    (folder / "meta.txt").write_text("".join("\t".join(clip[:width]) + "\n" for clip in clips))
    for fold in (1, 2):
        sides = {"train": clips[:4], "evaluate": clips[4:], "test": clips[4:]}
        for side, rows in sides.items():
            lines = ["\t".join(row[: 1 if side == "test" else width]) + "\n" for row in rows[:: 1 if fold == 1 else -1]]
            (folder / f"evaluation_setup/fold{fold}_{side}.txt").write_text("".join(lines))
    return clips


@pytest.mark.parametrize("year", ["2016", "2017"])
def test_the_layout_of_tut_is_read(tmp_path, year):
    folder = tmp_path / "outer" / "TUT-acoustic-scenes-development"
    clips = tut(folder, year)
    read = corpus.read(tmp_path / "outer")
    assert list(read.table[["filename", "scene_label", "identifier"]].itertuples(index=False, name=None)) == clips
    assert list(read.lists) == [1, 2] and read.split(2, 5)[1].filename.tolist() == [clip[0] for clip in clips[:3:-1]]
    report = check.check(folder)
    assert report.whole and report.clips == 8 and sum(report.sides.values()) == 16
    (folder / clips[0][0]).unlink()
    assert set(check.check(folder).faults) == {"missing"}
    (folder / "meta.txt").unlink()  # the lists of the folds name all clips too
    assert len(corpus.read(folder).table) == 8
    (folder / "meta.txt").write_text("a.wav\tbus\n\nb.wav\t\n")
    with pytest.raises(InputError, match="meta.txt: line 3 has no scene_label"):
        corpus.read(folder)


def test_a_fold_without_its_other_list_is_named(tmp_path):
    tut(tmp_path, "2017")
    (tmp_path / "evaluation_setup/fold2_evaluate.txt").unlink()
    with pytest.raises(
        InputError, match="fold2_train.txt: has no fold2_evaluate.txt beside it; fetch it again, or remove"
    ):
        corpus.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "title"), [("meta/esc50.csv", "ESC-50"), ("metadata/UrbanSound8K.csv", "UrbanSound8K")]
)
def test_a_known_layout_that_is_not_read_is_named(tmp_path, name, title):
    folder = tmp_path / f"{title}-master"
    write_corpus(folder, [(f"audio/{i}.wav", "bus", "x", "") for i in range(2)], 0.2)
    (folder / name).parent.mkdir()
    (folder / "meta.csv").rename(folder / name)
    for look in (corpus.read, check.check):
        for root in (folder, tmp_path):
            with pytest.raises(
                InputError, match=f"is laid out as {title}, which is not read; make a CSV file of {name}"
            ):
                look(root)


def test_fold_lists_of_other_labels_are_refused(tiny):
    """Coarse labels in the lists and fine ones in meta.csv: nobody knows which are meant."""
    names = corpus.read(tiny).table.filename.tolist()
    (tiny / "evaluation_setup").mkdir()
    setup = tiny / "evaluation_setup"
    (setup / "fold1_train.csv").write_text("filename\tScene_label\n" + "".join(f"{n}\toutdoor\n" for n in names[:6]))
    (setup / "fold1_evaluate.csv").write_text("filename\tscene_label\n" + "".join(f"{n}\t\n" for n in names[6:]))
    said = f"fold1_train.csv: {names[0]} is 'outdoor' here and 'bus' in meta.csv (6 such lines); make them agree"
    for look in (corpus.read, check.check):
        with pytest.raises(InputError, match=re.escape(said)):
            look(tiny)
    (setup / "fold1_train.csv").write_text("filename\n" + "".join(f"{n.removeprefix('audio/')}\n" for n in names[:6]))
    with pytest.raises(InputError, match=rf"is not in meta.csv \(6 such lines\); it is {names[0]} there"):
        corpus.read(tiny)


@given(
    st.lists(
        st.sampled_from(["Room 1", "room 1", " ROOM  1", "room\u00a01 ", "Hall", "hall ", "HALL"]),
        min_size=8,
        max_size=20,
    )
)
def test_a_place_whose_name_differs_in_case_or_blanks_is_one_place(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("places")
    rows = [f"{i}.wav\t{('bus', 'park')[i % 2]}\t{name}\n" for i, name in enumerate(names)]
    (folder / "meta.csv").write_text(META + "".join(rows))
    places = corpus.read(folder).table.identifier
    plain = [" ".join(name.lower().split()) for name in names]
    assert [places[i] == places[k] for i in range(8) for k in range(8)] == [
        plain[i] == plain[k] for i in range(8) for k in range(8)
    ]
    assert set(places) <= {name.strip() for name in names}


def test_a_place_of_two_classes_is_on_one_side(tmp_path, monkeypatch):
    """Folders pump/room1 and fan/room1, and the same as a CSV file."""
    monkeypatch.setenv("ASC_CACHE", str(tmp_path / "cache"))
    lines = ["filename,scene_label,location"]
    for number in range(24):
        scene, room = ("pump", "fan")[number % 2], f"room{number // 4}"
        folder = write_corpus(tmp_path / "x", [("audio/a.wav", "", "", "")], 1)
        file = tmp_path / "mine" / scene / room / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        (folder / "audio/a.wav").rename(file)
        shutil.rmtree(folder)
        lines.append(f"mine/{scene}/{room}/{number}.wav,{scene},{room}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    for source in (tmp_path / "mine", tmp_path / "list.csv"):
        read = corpus.read(source)
        assert set(read.table.identifier) == {f"room{room}" for room in range(6)}
        for fold in range(1, 4):
            training, evaluation = read.split(fold, 3)
            assert not set(training.identifier) & set(evaluation.identifier) and len(evaluation) == 8
    assert own.build(tmp_path / "mine") != own.build(tmp_path / "list.csv")
