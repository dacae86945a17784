"""Files that are whole or not there."""

import errno

import pytest

from asc_kit.common import InputError, check_writable, replacing


def test_a_file_takes_its_place_whole(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("old")
    with replacing(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, number):
    file = tmp_path / "a.csv"
    file.write_text("old")
    with pytest.raises(InputError, match="a.csv: cannot be written .*; make room") as caught, replacing(file) as part:
        part.write_text("half")
        raise OSError(number, "No space left on device")
    assert "\n" not in str(caught.value) and file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_place_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"absent/a.csv: cannot be written \(No such file"):
        with replacing(tmp_path / "absent" / "a.csv") as part:
            part.write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: cannot be written \(Is a directory"):
        with replacing(tmp_path / "folder") as part:
            part.write_text("x")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_another_files_fault_stays_its_own(tmp_path):
    with pytest.raises(FileNotFoundError, match="input.wav"):
        with replacing(tmp_path / "a.csv") as part:
            part.write_text((tmp_path / "input.wav").read_text())
    assert not list(tmp_path.iterdir())


def test_writable_is_asked_without_a_trace(tmp_path):
    check_writable(tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"absent/a.csv: cannot be written \(No such file or directory\)"):
        check_writable(tmp_path / "absent" / "a.csv")
