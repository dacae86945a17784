"""Fetched, then checked: whatever befell the archives, `check` says what of the data set is there."""

import io
import shutil
import zipfile
from pathlib import Path

import pytest
from conftest import cli, write_corpus
from test_fetch import root, shop  # noqa: F401  fixtures

from asc_kit.common import InputError
from asc_kit.data import check, corpus
from asc_kit.data.fetch import fetch

TOP = "TAU-toy"
ROWS = [(f"audio/{scene}-oslo-{place}-{s}-{'ab'[s]}.wav", scene, f"oslo-{place}", "ab"[s])
        for place, scene in enumerate(["bus", "park"] * 3) for s in range(2)]  # fmt: skip


@pytest.fixture
def archives(shop, tmp_path):  # noqa: F811
    """Twelve clips in TAU's form: lists in one archive, audio in two."""
    folder = write_corpus(tmp_path / TOP, ROWS, seconds=0.2)
    (folder / "evaluation_setup").mkdir()
    for side, rows in (("train", ROWS[:8]), ("evaluate", ROWS[8:])):
        lines = "".join(f"{row[0]}\t{row[1]}\n" for row in rows)
        (folder / "evaluation_setup" / f"fold1_{side}.csv").write_text("filename\tscene_label\n" + lines)
    clips = sorted((folder / "audio").iterdir())
    parts = {
        "meta": [folder / "meta.csv", *(folder / "evaluation_setup").iterdir()],
        "audio.1": clips[:6],
        "audio.2": clips[6:],
    }
    for name, files in parts.items():
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, f"{TOP}/{file.relative_to(folder)}")
        shop.add(f"{TOP}.{name}.zip", data.getvalue())
    return {f"audio/{file.name}" for file in clips[6:]}  # those of audio.2


def said(root: Path) -> tuple[int, str]:  # noqa: F811
    done = cli("check", root)
    return done.returncode, done.stdout


def test_a_good_fetch_is_whole_and_can_be_trained_on(shop, archives, root):  # noqa: F811
    assert fetch("toy", root, shop.registry) == [root / TOP]
    status, text = said(root)  # the folder it was fetched into
    assert status == 0 and text.endswith(f"{root / TOP}: whole\n")
    training, evaluation = corpus.read(root).split(1, 5)
    assert (len(training), len(evaluation)) == (8, 4)
    shop.forget()
    fetch("toy", root, shop.registry)
    assert not shop.asked and said(root)[0] == 0


@pytest.mark.parametrize("fault", ["wrong md5", "404", "cut", "evil", "damaged zip"])
def test_what_did_not_come_is_missing_until_it_comes(shop, archives, root, fault):  # noqa: F811
    name = f"{TOP}.audio.2.zip"
    good, lines = shop.files[name], list(shop.lines)
    if fault == "wrong md5":
        shop.files[name] = good[:-1] + bytes([good[-1] ^ 1])
    elif fault == "404":
        shop.faults[name] = [("status", (404, {}))]
    elif fault == "cut":
        shop.faults[name] = [("cut", 100), *[("status", (503, {}))] * 5]
    else:
        data = io.BytesIO(good if fault == "evil" else good[:-30])
        if fault == "evil":
            with zipfile.ZipFile(data, "a") as archive:
                archive.writestr("../evil", "x")
        shop.lines.pop()
        shop.add(name, data.getvalue())
    with pytest.raises(InputError, match=f"1 of 3 archives failed: {name}"):
        fetch("toy", root, shop.registry)
    report = check.check(root)
    assert not report.whole and set(report.faults) == {"missing"} and set(report.faults["missing"]) == archives
    assert said(root)[0] == 1 and not list(root.parent.glob("evil"))
    shop.files[name], shop.lines = good, lines
    shop.faults.clear()
    shop.registry.write_text("dataset\tfilename\turl\tbytes\tmd5\n" + "\n".join(lines) + "\n")
    fetch("toy", root, shop.registry)
    assert check.check(root).whole


def test_lists_alone_are_a_known_data_set_without_audio(shop, archives, root):  # noqa: F811
    fetch("toy", root, shop.registry, meta_only=True)
    report = check.check(root)
    assert report.clips == 12 and len(report.faults["missing"]) == 12 and not report.whole
    assert sum(report.sides.values()) == 12


def test_what_was_damaged_after_the_fetch_is_found_and_mended_by_another(shop, archives, root):  # noqa: F811
    fetch("toy", root, shop.registry)
    gone, cut = sorted(archives)[:2]
    (root / TOP / gone).unlink()
    clip = root / TOP / cut
    clip.write_bytes(clip.read_bytes()[:-500])
    report = check.check(root)
    assert set(report.faults) == {"missing", "truncated"} and set(report.faults["truncated"]) == {cut}
    shop.forget()
    fetch("toy", root, shop.registry)
    assert check.check(root).whole and not shop.asked  # from the archives that are there


def test_two_data_sets_in_one_folder_are_told_apart(shop, archives, root):  # noqa: F811
    fetch("toy", root, shop.registry)
    shutil.copytree(root / TOP, root / "other")
    status, text = said(root)
    assert status == 1 and text == ""
    assert said(root / "other")[0] == 0
