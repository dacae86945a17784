"""`check`: which release a folder holds, and every kind of fault under its own name."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import cli, real, write_corpus

from asc_kit.common import InputError
from asc_kit.data import check

# TAU 2020 Mobile, development: the published lists of the first release, counted; training clips of device a by class.
TRAINING_A = {"airport": 1019, "bus": 1025, "metro": 1007, "metro_station": 1005, "park": 1054, "public_square": 1053,
              "shopping_mall": 999, "street_pedestrian": 1011, "street_traffic": 1038, "tram": 1004}  # fmt: skip
GONE = {  # clips that the re-release lacks, in training and evaluation
    "train": ["airport-barcelona-1-87-c", "public_square-barcelona-108-3109-b", "shopping_mall-london-131-3930-c"],
    "evaluate": ["airport-barcelona-203-6132-b", "tram-barcelona-275-8394-c"],
}
NUMBERS = "other number of clips than the official lists"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_audio(monkeypatch):
    """As if every clip were there and whole."""
    monkeypatch.setattr(check, "_measured", lambda corpus, report: {})


def listed(folder: Path, rows: list[tuple[str, ...]], **sides: list[str]) -> Path:
    """A data set's lists alone; ``sides`` are its fold's."""
    (folder / "evaluation_setup").mkdir(parents=True, exist_ok=True)
    heads = ("filename", "scene_label", "identifier", "source_label")[: len(rows[0])]
    (folder / "meta.csv").write_text("".join("\t".join(row) + "\n" for row in [heads, *rows]))
    for side, names in sides.items():
        (folder / "evaluation_setup" / f"fold1_{side}.csv").write_text("filename\n" + "\n".join(names) + "\n")
    return folder


def release(folder: Path, gone: set[str], drop: str = "", seconds: bool = False) -> Path:
    """TAU's lists without the clips in ``gone``; ``drop`` leaves the training list alone."""
    sides: dict[str, list[str]] = {"train": [], "evaluate": [], "rest": []}
    for scene, count in TRAINING_A.items():
        for device in ("a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6"):
            counts = {"train": count if device == "a" else 75 if device < "s4" else 0, "evaluate": 33, "rest": 0}
            counts["rest"] = 610 + (scene == "bus") * 5 if device == "s6" else 0  # 6,105 clips are in no list
            for side, wanted in counts.items():
                own = [n for n in GONE.get(side, []) if n.startswith(f"{scene}-") and n.endswith(f"-{device}")]
                made = [f"{scene}-{side}-{i % 20}-{i}-{device}" for i in range(wanted - len(own))]
                sides[side] += made + [name for name in own if name not in gone]
    times = [f"-{second}" for second in range(10)] if seconds else [""]
    for side, names in sides.items():
        sides[side] = [
            f"audio/{begin}{t}-{end}.wav" for name in names for begin, _, end in [name.rpartition("-")] for t in times
        ]
    rows = [(name, name[len("audio/") :].partition("-")[0]) for names in sides.values() for name in names]
    train = [name for name in sides["train"] if name != drop]
    return listed(folder, rows, train=train, evaluate=sides["evaluate"], test=sides["evaluate"])


FIRST = ("first release", 23040, 13965, 2970)
AGAIN = ("re-release", 23035, 13962, 2968)


def compare(report: check.Report, expected: tuple) -> None:
    name, _, training, evaluation = expected
    assert (report.name, report.release) == ("TAU Urban Acoustic Scenes 2020 Mobile, development", name)
    assert (report.sides["training"], report.sides["evaluation"]) == (training, evaluation)
    five = [note for note in report.notes if "five clips" in note]
    assert len(five) == 1 and all(f"audio/{clip}.wav" in five[0] for clip in sum(GONE.values(), []))
    assert f"{5 if name == 'first release' else 0} are listed here" in five[0]


@pytest.mark.parametrize(("folder", "expected"), [("v1", FIRST), ("v2", AGAIN)])
def test_real_lists_are_told_apart(tmp_path, no_audio, folder, expected):
    (tmp_path / "evaluation_setup").symlink_to(real(f"tau2020_splits/{folder}"))
    report = check.check(tmp_path)
    compare(report, expected)
    assert report.clips == expected[2] + expected[3] and list(report.faults) == ["missing"]
    assert report.faults["missing"] == {"meta.csv": "the list of all clips; fetch it again"}


@pytest.mark.parametrize(("gone", "expected"), [(set(), FIRST), (set(sum(GONE.values(), [])), AGAIN)])
def test_built_lists_are_told_apart(tmp_path, no_audio, gone, expected):
    report = check.check(release(tmp_path, gone))
    compare(report, expected)
    assert report.whole and report.clips == expected[1] and "not whole" not in report.text()
    assert report.sides["in no list"] == 6105


def test_a_clip_that_a_list_lacks_is_counted(tmp_path, no_audio):
    report = check.check(release(tmp_path, set(sum(GONE.values(), [])), drop="audio/bus-train-3-3-s2.wav"))
    assert report.faults == {NUMBERS: {"training": "13,961, not 13,962"}}
    assert "\ntraining: 13,961 clips\nevaluation: 2,968 clips\nin no list: 6,106 clips\n" in report.text()


def test_a_mixture_of_releases_is_neither(tmp_path, no_audio):
    report = check.check(release(tmp_path, {GONE["train"][0], GONE["evaluate"][1]}))
    assert not report.whole and set(report.faults) == {NUMBERS, "not listed"}
    assert report.faults[NUMBERS] == {"training": "13,964, not 13,965", "evaluation": "2,969, not 2,970"}
    assert set(report.faults["not listed"]) == {"meta.csv"}


def test_tau_2022_is_the_re_release_in_seconds(tmp_path, no_audio):
    report = check.check(release(tmp_path, set(sum(GONE.values(), [])), "audio/tram-train-0-0-7-b.wav", seconds=True))
    assert (report.name, report.release) == ("TAU Urban Acoustic Scenes 2022 Mobile, development", "")
    assert report.clips == 230350 and report.sides["evaluation"] == 29680
    assert report.faults == {NUMBERS: {"training": "139,619, not 139,620"}}


def test_absent_audio_of_a_release_is_missing_clip_by_clip(tmp_path):
    folder = release(tmp_path, set())
    (folder / "audio").mkdir()
    clip = folder / "audio" / f"{GONE['train'][0]}.wav"
    soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(441000), 44100, subtype="PCM_16")
    report = check.check(folder)
    assert len(report.faults["missing"]) == 23039 and f"audio/{clip.name}" not in report.faults["missing"]
    assert report.faults["other format"] == {
        f"audio/{clip.name}": "10 s, 44100 Hz, mono, PCM_16; the others: 10 s, 44100 Hz, mono, PCM_24"
    }
    assert "and 23,019 more; --json names all" in report.text() and report.json().count("no such file") == 23039


def write(file: Path, wave: np.ndarray, rate: int = 44100, subtype: str = "PCM_16") -> None:
    soundfile.write(file, wave, rate, subtype=subtype)


def meta(folder: Path, old: str, new: str) -> None:
    (folder / "meta.csv").write_text((folder / "meta.csv").read_text().replace(old, new))


def fold(folder: Path, train: list[int], evaluate: list[int]) -> None:
    rows = [tuple(line.split("\t")) for line in (folder / "meta.csv").read_text().splitlines()[1:]]
    listed(folder, rows, train=[rows[i][0] for i in train], evaluate=[rows[i][0] for i in evaluate])


NOISE = 0.1 * np.random.default_rng(20).standard_normal(44100)
CLIP = "audio/bus-oslo-2-0-a.wav"  # the fifth of `tiny`
BOTH = "in training and evaluation of fold 1"
USUAL = "1 s, 44100 Hz, mono, PCM_16"
FAULTS = {  # kind -> what is done to the folder, the name and the words of the fault
    "missing": (lambda d: (d / CLIP).unlink(), CLIP, "no such file; .*"),
    "empty": (lambda d: (d / CLIP).write_bytes(b""), CLIP, "is empty; .*"),
    "extra": (lambda d: write(d / "audio" / "new.wav", NOISE), "audio/new.wav", "is in no list"),
    "truncated": (lambda d: (d / CLIP).write_bytes((d / CLIP).read_bytes()[:-9]), CLIP, "is truncated after 1.00 s;.*"),
    "unreadable": (lambda d: (d / CLIP).write_text("<html>"), CLIP, "is not audio that can be read .*"),
    "NaN": (lambda d: write(d / CLIP, NOISE * np.nan, 44100, "FLOAT"), CLIP, "holds NaN or infinite samples; .*"),
    "silent": (lambda d: write(d / CLIP, 0 * NOISE), CLIP, "silent"),
    "silent, end": (lambda d: write(d / CLIP, NOISE * (np.arange(44100) < 30000)), CLIP, "silent in its last quarter"),
    "duplicate": (lambda d: (d / CLIP).write_bytes((d / "audio/park-oslo-1-1-b.wav").read_bytes()), CLIP,
                  "same samples as audio/park-oslo-1-1-b.wav"),
    "other format, rate": (lambda d: write(d / CLIP, NOISE[:32000], 32000), CLIP, f"1 s, 32000 Hz, .*: {USUAL}"),
    "other format, width": (lambda d: write(d / CLIP, NOISE, 44100, "PCM_24"), CLIP, f".*PCM_24; the others: {USUAL}"),
    "other format, length": (lambda d: write(d / CLIP, NOISE[:-1]), CLIP, f"0.9999773 s, .*; the others: {USUAL}"),
    "other format, channels": (lambda d: write(d / CLIP, np.stack([NOISE, NOISE / 2], 1)), CLIP, ".* stereo.*"),
    "location on both sides": (lambda d: fold(d, [0, 2, 4], [5, 6, 8]), "oslo-2", BOTH),
    "clip on both sides": (lambda d: fold(d, [0, 2, 4], [4, 6, 8]), CLIP, BOTH),
    "scene_label other than in the name": (lambda d: meta(d, f"{CLIP}\tbus", f"{CLIP}\tpark"), CLIP, "park"),
    "source_label other than in the name": (lambda d: meta(d, f"{CLIP}\tbus\toslo-2\ta", f"{CLIP}\tbus\toslo-2\ts1"),
                                            CLIP, "s1"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_its_name(tiny, name):
    """In the report, in the text and, the same, in the JSON."""
    damage, clip, words = FAULTS[name]
    damage(tiny)
    report, kind = check.check(tiny), name.partition(",")[0]
    others = {"location on both sides"} if kind == "clip on both sides" else set()
    assert set(report.faults) == {kind} | others and list(report.faults[kind]) == [clip]
    text, parsed = report.text(), json.loads(report.json())
    assert f"\n{kind}: 1\n  {clip}: {report.faults[kind][clip]}\n" in text and f"{tiny}: not whole" in text
    assert parsed["faults"] == report.faults and parsed["whole"] is False and parsed["clips"] == report.clips
    assert re.fullmatch(words, report.faults[kind][clip])


def test_two_silent_clips_are_no_twins(tiny):
    for clip in (CLIP, "audio/park-oslo-1-1-b.wav"):
        write(tiny / clip, 0 * NOISE)
    assert {kind: len(found) for kind, found in check.check(tiny).faults.items()} == {"silent": 2}


def checked(*arguments: object) -> tuple[int, str, str]:
    done = cli("check", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_command_line_tells_whole_by_its_exit_status(tiny):
    """File names as TAU's make no TAU of a small data set, and nothing is missing from it."""
    fold(tiny, list(range(8)), list(range(8, 12)))
    status, text, errors = checked(tiny)
    assert (status, errors) == (0, "") and text.endswith(f"\n{tiny}: whole\n")
    assert text.startswith("data set with file names of TAU Urban Acoustic Scenes 2020 Mobile, development: 12 clips")
    assert f"  12 files: {USUAL}\n" in text and "training: 8 clips\n" in text and "evaluation: 4 clips\n" in text
    (tiny / CLIP).unlink()
    status, text, errors = checked("--json", tiny)
    found = json.loads(text)
    assert (status, errors, found["whole"]) == (1, "", False) and list(found["faults"]["missing"]) == [CLIP]
    assert found["formats"] == {USUAL: 11} and sum(found["sides"].values()) == 12
    (tiny / "meta.csv").write_text("name,label\n")
    status, text, errors = checked(tiny)
    assert (status, text) == (1, "") and errors.startswith(
        f"error: {tiny / 'meta.csv'}: its first line names no column 'filename'"
    )
    assert errors.count("\n") == 1


@pytest.mark.parametrize("form", ["fold1_test.csv", "meta.csv"])
def test_a_set_without_labels(tmp_path, form):
    folder = write_corpus(tmp_path / "set", [(f"audio/{i}.wav", "bus", "", "") for i in range(3)], 0.2)
    lines = "filename\n" + "".join(f"audio/{i}.wav\n" for i in range(3))
    (folder / "meta.csv").unlink()
    (folder / "evaluation_setup").mkdir()
    (folder / form if form == "meta.csv" else folder / "evaluation_setup" / form).write_text(lines)
    report = check.check(folder)
    assert report.name == "evaluation set without scene labels (set)" and report.whole and report.clips == 3
    assert "all: 3 clips" in report.text()
    (folder / "audio" / "1.wav").unlink()
    assert set(check.check(folder).faults) == {"missing"}


def test_other_names_and_the_kit_s_own(tmp_path):
    rows = [(f"{'audio/' * (i > 0)}{i}.wav", "bus", f"p{i}", "") for i in range(3)]
    folder = write_corpus(tmp_path / "set", rows, 0.2)  # a file beside meta.csv is as good as one in audio/
    assert check.check(folder).name == "data set in the DCASE layout" and check.check(folder).whole
    (folder / "audio" / ".hidden.wav").write_bytes(b"")
    (folder / "README.md").write_text("SYNTHETIC corpus\n")
    assert check.check(folder).name == "SYNTHETIC corpus of this kit" and check.check(folder).whole
    away = tmp_path / "elsewhere" / "x.wav"  # a name from the root of the disk
    away.parent.mkdir()
    (folder / "0.wav").rename(away)
    meta(folder, "\n0.wav", f"\n{away}")
    assert check.check(folder).whole


def test_a_folder_of_one_data_set_and_of_two(tmp_path, capsys):
    rows = [(f"audio/{i}.wav", "bus", f"p{i}", "") for i in range(2)]
    write_corpus(tmp_path / "in" / "one", rows, 0.2)
    report = check.check(tmp_path / "in")
    assert report.root == tmp_path / "in" / "one" and report.whole
    write_corpus(tmp_path / "in" / "two", rows, 0.2)
    with pytest.raises(InputError, match=f"holds 2 data sets; give one: {tmp_path}/in/one, {tmp_path}/in/two"):
        check.check(tmp_path / "in")


@pytest.mark.parametrize(
    ("name", "clips", "what"),
    [("tau2022_clips", 120, "file names of TAU Urban Acoustic Scenes 2022"), ("tut2017", 392, "in the DCASE layout")],
)
def test_real_recordings_are_whole(name, clips, what):
    report = check.check(real(name))
    assert report.whole and report.clips == clips == sum(report.formats.values()) and what in report.name
