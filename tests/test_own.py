"""Own recordings become a data set: cut to the sample, named by place, built once, whole or not at all."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from asc_kit import config
from asc_kit.common import InputError
from asc_kit.data import audio, check, own, store
from asc_kit.data import corpus as corpora

RATE = 8000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASC_CACHE", str(tmp_path / "cache"))


def record(
    file: Path, seconds: float = 2.0, seed: int = 0, rate: int = RATE, channels: int = 1, **options: str
) -> Path:
    """A recording of noise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    soundfile.write(file, wave, rate, **options)
    return file


@pytest.fixture
def mine(tmp_path) -> Path:
    """Two classes of three places, two recordings each of 2 s."""
    for number in range(12):
        scene, place = ("bus", "park")[number % 2], number // 2 % 3
        record(tmp_path / "mine" / scene / f"place{place}" / f"r{number}.wav", 2, number)
    return tmp_path / "mine"


def fake_ffmpeg(folder: Path, sound: Path) -> str:
    """A PATH with an ffmpeg that makes ``sound`` of everything."""
    folder.mkdir()
    (folder / "ffmpeg").write_text(f'#!/bin/sh\nfor last; do :; done\ncp "{sound}" "$last"\n')
    (folder / "ffmpeg").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def cut(source: Path, seconds: float | None) -> Path:
    """A data set of clips of so many seconds; None: as usual."""
    with mock.patch.object(own, "SECONDS", (seconds, seconds) if seconds else own.SECONDS):
        return own.build(source)


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "meta.csv", sep="\t", dtype=str, keep_default_na=False)


def made() -> list[str]:
    return [file.name for file in (config.cache() / "own").glob("*") if file.suffix != ".lock"]


def test_folders_named_by_class_and_place(mine, capsys):
    (mine / "bus" / "place0" / "monday").mkdir()  # below a place all is of that place
    (mine / "bus" / "place0" / "r0.wav").rename(mine / "bus" / "place0" / "monday" / "r0.wav")
    rows = table(own.build(mine))
    assert rows.groupby("scene_label").identifier.unique().map(sorted).to_dict() == {
        scene: [f"place{place}" for place in range(3)] for scene in ("bus", "park")
    }
    assert len(rows) == 12 and set(rows.start) == {"0"} and rows.filename.is_unique
    assert {Path(name).name for name in rows.recording} == {f"r{number}.wav" for number in range(12)}
    said = capsys.readouterr().err
    assert "as the shortest recording" in said
    assert said.count("place0, place1, place2: a place's name in two classes is one place, on one side of a split") == 1


def test_folders_named_by_class_alone_make_each_recording_a_place(tmp_path, capsys):
    for number in range(3):
        record(tmp_path / "mine" / "bus" / f"{number}.wav", 1, number)
    assert table(own.build(tmp_path / "mine")).identifier.tolist() == ["bus/0.wav", "bus/1.wav", "bus/2.wav"]
    assert "each recording counts as a place of its own" in capsys.readouterr().err


HEAD = "filename,scene_label\n"
TIMED = "filename,scene_label,start,end\n"


@pytest.mark.parametrize("sign", [",", "\t", ";"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_csv_of_any_separator(tmp_path, monkeypatch, sign, start):
    name = f"my bus{sign}one.wav"
    record(tmp_path / name, 1, 1)
    record(tmp_path / "deep" / "park.flac", 1, 2)
    lines = [
        ["scene_label", "filename", "identifier", "source_label", "remark"],
        ["bus", f'"{name}"', "line 7", "phone", '"loud, ""very"""'],
        [" park ", "deep/park.flac", "", "", ""],
    ]
    (tmp_path / "list.csv").write_bytes(start + "\r\n".join(map(sign.join, lines)).encode() + b"\r\n")
    monkeypatch.chdir(tmp_path)
    rows = table(own.build("list.csv"))
    assert rows[["scene_label", "identifier", "source_label", "recording"]].values.tolist() == [
        ["bus", "line 7", "phone", str(tmp_path / name)],
        ["park", "deep/park.flac", "", str(tmp_path / "deep/park.flac")],
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [("", "is empty; give it a line that names the columns"), (HEAD, "line 2 needs"), ("name,kind\na.wav,bus\n", "line 2 needs filename and"),
     (HEAD + "a.wav, \n", "line 2 needs filename and scene_label; its columns are filename,scene_label"),
     (HEAD + '\n\na.wav,"bus\n"\n\na.wav, \n', "line 7 needs"),
     (HEAD + "a.wav,bus\nb.wav,bus\n", "b.wav: no such file"), (HEAD + "a.wav,\xe4", "cannot be read .it is no UTF-8 text."),
     (HEAD + "a.wav,bus\na.wav,park\n", "a.wav is listed twice"),
     (HEAD + "a.wav,bus\nb.wav,street, pedestrian\n", "line 3 has more fields than its first line names; name every"),
     (TIMED + "a.wav,bus,0,x\n", "line 2: 'x' is no time; give end in seconds"),
     (TIMED + "a.wav,bus,-1,2\n", "'-1' is no time"), (TIMED + "a.wav,bus,0,nan\n", "'nan' is no time"),
     (TIMED + "a.wav,bus,1,1\n", "a.wav lasts 2.00 s, and is listed from 1 to 1 s; correct start or end"),
     (TIMED + "a.wav,bus,0,3\n", "lasts 2.00 s, and is listed from 0 to 3 s"),
     (TIMED + "a.wav,bus,2,\n", "lasts 2.00 s, and is listed from 2 to inf s"),
     (TIMED + "a.wav,bus,0,1\na.wav,park,0,1\n", "a.wav is listed twice"),
     ("filename,Filename,scene_label\na.wav,a.wav,bus\n", "its first line names the column filename twice")],
)  # fmt: skip
def test_faults_of_a_csv_file_are_one_line(tmp_path, text, what):
    record(tmp_path / "a.wav")
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=what) as caught:
        own.build(tmp_path / "list.csv")
    assert str(tmp_path) in str(caught.value) and str(caught.value).isprintable() and made() == []


@pytest.mark.parametrize(
    ("lengths", "asked", "clip", "clips", "rest"),
    [((25, 31), None, 10, 5, 6), ((4, 9.5), None, 4, 3, 1.5), ((3, 4), 1.5, 1.5, 4, 1), ((2.0, 2.0), None, 2, 2, 0),
     ((0.5, 0.75), 0.25, 0.25, 5, 0)],
)  # fmt: skip
def test_lengths(tmp_path, capsys, lengths, asked, clip, clips, rest):
    """Ten seconds, or the shortest recording; what is left at the ends is said."""
    for number, seconds in enumerate(lengths):
        record(tmp_path / "mine" / "bus" / f"{number}.wav", seconds, number)
    folder = cut(tmp_path / "mine", asked)
    said = capsys.readouterr().err
    assert [audio.frames(folder / name) for name in table(folder).filename] == [(clip * RATE, RATE)] * clips
    assert (f"{rest:.1f} s at the ends of recordings" in said) == (rest > 0)
    assert (f"clips are {clip:.2f} s long, as the shortest" in said) == (asked is None and clip < 10)


def test_clipping_is_said_and_a_long_name_is_cut(tmp_path, capsys):
    file = record(tmp_path / "mine" / "bus" / f"{'ü' * 120}.wav", 2)
    soundfile.write(file, np.full(2 * RATE, 4.0), RATE, subtype="FLOAT")
    record(tmp_path / "mine" / "park" / "a.wav", 2)
    rows = table(own.build(tmp_path / "mine"))
    assert f"beyond full scale, clipped: {file}" in capsys.readouterr().err
    assert rows.filename[0] == f"audio/00000-{'ü' * 100}-0000.wav"


def test_too_short_is_one_line(tmp_path):
    record(tmp_path / "mine" / "bus" / "long.wav", 3)
    record(tmp_path / "mine" / "bus" / "blip.wav", 0.05)
    for asked, limit in ((None, 0.1), (2, 2)):
        with pytest.raises(InputError, match=f"blip.wav: lasts 0.05 s, shorter than a clip of {limit} s; take it out$"):
            cut(tmp_path / "mine", asked)
    assert made() == []


@pytest.mark.parametrize(
    ("channels", "rate", "subtype"), [(1, 8000, "PCM_16"), (2, 11025, "PCM_16"), (4, 48000, "PCM_24")]
)
def test_pieces_are_the_recording_to_the_bit(tmp_path, channels, rate, subtype):
    file = record(tmp_path / "mine" / "bus" / "a.wav", 3.5, 5, rate, channels, subtype=subtype)
    whole = soundfile.read(file, dtype="int32", always_2d=True)[0]
    folder = cut(tmp_path / "mine", 1.1)
    rows = table(folder)
    size = round(1.1 * rate)  # of 11,025 Hz not 1.1 s
    for count, row in enumerate(rows.itertuples()):
        piece = soundfile.read(folder / row.filename, dtype="int32", always_2d=True)[0]
        assert np.array_equal(piece, whole[count * size : (count + 1) * size])
        assert round(float(row.start) * rate) == count * size
    assert len(rows) == 3


def test_mixed_formats_and_rates(tmp_path):
    for number, suffix in enumerate((".wav", ".flac", ".ogg", ".mp3", ".WAV", ".aiff")):
        record(tmp_path / "mine" / "bus" / f"a{suffix}", 2.5, number, 48000 if number % 2 else 44100)
    folder = cut(tmp_path / "mine", 1)
    rows = table(folder)
    assert len(rows) == 12 and set(rows.filename.map(lambda name: Path(name).suffix)) == {".wav"}
    for row in rows.itertuples():
        sound, piece = audio.read(Path(row.recording)), audio.read(folder / row.filename)
        at = int(row.start) * sound.rate
        assert piece.rate == sound.rate and len(piece.wave) == sound.rate
        assert (
            np.abs(piece.wave - sound.wave[at : at + sound.rate]).max() <= 2**-22
        )  # 24 bits, and MP3's reading in parts
    assert store.open_store(corpora.read(tmp_path / "mine"), 44100).length == 2.5 * 44100


def test_hidden_files_and_others_are_left_out_and_loose_ones_said(mine, capsys):
    for name in (".hidden.wav", ".trash/place/a.wav", "bus/._r0.wav", "park/.cache/b.wav"):
        record(mine / name, 2)
    (mine / "bus" / "folder.wav").mkdir()
    (mine / "bus" / "notes.txt").write_text("nothing to hear")
    (mine / "bus" / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    record(mine / "loose.wav", 2)
    rows = table(own.build(mine))
    assert len(rows) == 12 and set(rows.scene_label) == {"bus", "park"}
    assert f"1 recordings lie in {mine} itself and have no class; left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ((), "no recordings in it"),
        (("a.wav", "b.wav"), "2 recordings lie in it"),
        (("bus/x.txt",), "no recordings in it"),
    ],
)
def test_nothing_to_use_is_one_line(tmp_path, files, what):
    (tmp_path / "mine").mkdir()
    for name in files:
        record(tmp_path / "mine" / name) if name.endswith(".wav") else (tmp_path / "mine" / name).parent.mkdir()
    for call in (own.build, corpora.read, check.check):
        with pytest.raises(InputError, match=f"dataset_root: {tmp_path}/mine: neither meta.csv nor .*{what}"):
            call(tmp_path / "mine")


def test_a_name_that_is_not_utf_8(tmp_path, monkeypatch):
    """soundfile takes none: of what ffmpeg converts the names are written escaped, others are refused by name."""
    wave, name = record(tmp_path / "a.wav", 1), os.fsdecode(b"caf\xe9")
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", wave))
    (tmp_path / name / "bus").mkdir(parents=True)
    (tmp_path / name / "bus" / f"{name}.m4a").write_bytes(b"converted")
    rows = table(own.build(tmp_path / name))
    assert len(store.open_store(corpora.read(tmp_path / name), RATE).samples) == 1
    assert rows.filename.tolist() == [r"audio/00000-caf\udce9-0000.wav"] and rows.identifier[0] == r"bus/caf\udce9.m4a"
    (tmp_path / name / "bus" / f"{name}.wav").write_bytes(wave.read_bytes())
    with pytest.raises(InputError, match=f"bus/{name}.wav: its name is not UTF-8; rename it"):
        own.build(tmp_path / name)


@pytest.mark.parametrize("kind", ["cut", "text", "pipe"])
def test_a_damaged_recording_is_named_and_nothing_is_left(mine, kind):
    file = mine / "park" / "place1" / "r3.wav"
    data = file.read_bytes()
    file.unlink()
    os.mkfifo(file) if kind == "pipe" else file.write_bytes(data[:-99] if kind == "cut" else b"text")
    with pytest.raises(InputError, match=f"{file}: is ") as caught:
        cut(mine, 0.3)
    assert str(caught.value).isprintable() and made() == []
    file.unlink()
    file.write_bytes(data)
    assert len(table(cut(mine, 0.3))) == 72


def test_built_once_and_anew_when_a_recording_or_the_length_changes(mine, monkeypatch):
    first = own.build(mine)
    times = {file: file.stat().st_mtime_ns for file in first.rglob("*")}
    monkeypatch.chdir(mine.parent)
    for again in (mine, "mine"):
        assert own.build(again) == first and {file: file.stat().st_mtime_ns for file in first.rglob("*")} == times
    record(mine / "bus" / "place0" / "r0.wav", 2, 99)
    second, third = own.build(mine), cut(mine, 1)
    record(mine / "bus" / "place0" / "new.wav", 2, 100)
    assert len({first, second, third, own.build(mine)}) == 4 == len(made())


def test_killed_build_leaves_nothing_that_is_taken_for_whole(mine):
    """A process that dies at its first clip, without any clean-up."""
    code = (
        "import os, signal, soundfile; from asc_kit.data import own; real = soundfile.write\n"
        "def write(*a, **k): real(*a, **k); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"soundfile.write = write; own.build({str(mine)!r})"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL).returncode
        == -9
    )
    assert len(made()) == 1 and made()[0].endswith(".part")
    folder = own.build(mine)
    assert len(table(folder)) == 12 and check.check(mine).whole and made() == [folder.name]


def test_full_disk_is_one_line_and_leaves_nothing(mine):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limit[1]))  # bytes; a clip has 48,044
    try:
        with pytest.raises(InputError, match="ASC_CACHE: .*/own/mine-.* cannot be written .*; is its disk full?"):
            own.build(mine)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert made() == []


def test_from_recordings_to_a_split_by_place_and_a_store(mine):
    """Under the name of the recordings themselves, wherever a data set's folder is asked for."""
    corpus = corpora.read(mine)
    training, evaluation = corpus.split(1, 3)
    assert not set(training.identifier) & set(evaluation.identifier) and len(training) + len(evaluation) == 12
    assert set(training.scene_label) == set(evaluation.scene_label) == {"bus", "park"}
    opened = store.open_store(corpus, RATE)
    for row in table(corpus.root).itertuples():
        samples = soundfile.read(row.recording, dtype="int16")[0]
        assert np.array_equal(opened.samples[opened.rows([row.filename])[0]], samples)
    report = check.check(mine)
    assert report.whole and report.name == "data set in the DCASE layout" and report.clips == 12


def test_a_long_recording_takes_the_memory_of_a_clip(tmp_path, monkeypatch):
    record(tmp_path / "mine" / "bus" / "long.wav", 95)
    asked, read = [], soundfile.SoundFile.read

    def recorded(self, frames=-1, *arguments, **options):
        asked.append(frames)
        return read(self, frames, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", recorded)
    assert len(table(own.build(tmp_path / "mine"))) == 9
    assert set(asked) == {10 * RATE} and len(asked) == 10


# What others call columns and folders


@pytest.mark.parametrize(
    ("head", "said"),
    [("file,Class,Onset,Offset,Location,Device", "file Class Onset Offset Location Device"),
     (" FILENAME ;Scene Label;Start Time;end-time;session;recorder", "start_time end_time session recorder"),
     ("wav_path,label,Start time (s),End Time [s],room,device", "wav_path label start_time_s end_time_s room device"),
     ("path\tLabel\tstart\tend\tPlace ID\tmic", "path label place_id mic")],
)  # fmt: skip
def test_columns_of_other_names_are_read_and_said(tmp_path, capsys, head, said):
    """Segments get the sound between their times and no other, and places stay on one side."""
    sign = next(sign for sign in "\t;," if sign in head)
    record(tmp_path / "a.wav", 6, 1)
    rows = [["a.wav", "bus", "0.5", "2.5", "yard", "zoom"], ["a.wav", "park", "3", "", "yard", "zoom"],
            ["a.wav", "bus", "", "1.5", "hall", "phone"]]  # fmt: skip
    (tmp_path / "list.csv").write_text("\n".join([head, *map(sign.join, rows)]))
    found = table(cut(tmp_path / "list.csv", 1))
    wave = soundfile.read(tmp_path / "a.wav")[0]
    expected = [("bus", "yard", 0.5), ("bus", "yard", 1.5), ("park", "yard", 3), ("park", "yard", 4), ("park", "yard", 5),
                ("bus", "hall", 0)]  # fmt: skip
    assert list(zip(found.scene_label, found.identifier, found.start.astype(float))) == expected
    assert found.source_label.tolist() == ["zoom"] * 5 + ["phone"]
    for row in found.itertuples():
        at = round(float(row.start) * RATE)
        piece = soundfile.read(config.cache() / "own" / made()[0] / row.filename)[0]
        assert np.array_equal(piece, wave[at : at + RATE])
    lines = capsys.readouterr().err
    assert all(f"its column '{name.lower()}' is read as " in lines for name in said.split())
    assert "not used" not in lines and "yard: a place's name in two classes is one place" in lines


def test_columns_that_are_not_used_are_named(tmp_path, capsys):
    record(tmp_path / "a.wav")
    (tmp_path / "list.csv").write_text("filename,scene_label,file,Fold,my remark\na.wav,bus,b.wav,1,loud\n")
    assert table(own.build(tmp_path / "list.csv")).recording.tolist() == [str(tmp_path / "a.wav")]
    assert "list.csv: columns that are not used: 'file', 'fold', 'my_remark'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "head", ["start_ms,end_ms", "start,duration", "Onset (samples),Offset (samples)", "start,end_frame"]
)
def test_segments_that_are_told_otherwise_are_refused(tmp_path, head):
    """Else labels reach sound that is not theirs."""
    record(tmp_path / "a.wav")
    (tmp_path / "list.csv").write_text(f"filename,scene_label,{head}\na.wav,bus,0,1\n")
    with pytest.raises(
        InputError, match="list.csv: has segments in a column '.*'; give start and end, both in seconds"
    ):
        own.build(tmp_path / "list.csv")
    assert made() == []


SIDES = ["train", "Training", "TEST", "test_set", "valid", "Validation", "val", "dev", "Development", "eval", "Evaluation",
         "fold1", "Fold 2", "train-data", "testset"]  # fmt: skip


@given(sides=st.lists(st.sampled_from(SIDES), min_size=1, max_size=4, unique=True), depth=st.integers(0, 2),
       more=st.booleans())  # fmt: skip
@settings(max_examples=60)
def test_folders_of_a_split_are_no_classes_and_no_places(tmp_path_factory, sides, depth, more):
    """Above the classes, below them, or below the places; beside other folders where two sides are there."""
    source = tmp_path_factory.mktemp("split")
    for number, side in enumerate(sides):
        for scene in ("bus", "park"):
            parts = [scene, f"place{number}"][: 2 if depth else 1]
            parts.insert(depth, side)
            record(source / Path(*parts) / "a.wav", 0.1, number)
    if more and {side[:2].lower() for side in sides} >= {"tr", "te"}:
        record(source / "more" / "b.wav", 0.1)
    with pytest.raises(InputError, match=r"its folders .* are sides of a split, no classes or places; put") as caught:
        corpora.read(source)
    assert str(caught.value).isprintable() and str(source) in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("holder", ["audio", "Audio", "wavs"])
def test_a_folder_that_holds_the_classes_is_no_class(tmp_path, holder):
    record(tmp_path / "mine" / holder / "bus" / "a.wav")
    for look in (corpora.read, check.check):
        with pytest.raises(
            InputError, match=f"its folder {holder} is no class; give the folder that holds the classes"
        ):
            look(tmp_path / "mine")
    assert check.check(tmp_path / "mine" / holder).whole


def test_a_class_may_be_called_train(tmp_path):
    """TUT 2017 has it: travelling by train."""
    for number, scene in enumerate(("train", "tram", "Test street")):
        record(tmp_path / "mine" / scene / "a.wav", 1, number)
    assert corpora.read(tmp_path / "mine").classes == ("Test street", "train", "tram")
