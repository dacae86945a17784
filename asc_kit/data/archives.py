"""Zip archives of a data set: what they hold, found safe, and unpacked file by file."""

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from asc_kit.common.errors import InputError
from asc_kit.common.files import ARCHIVE_FAULTS, amount, replacing
from asc_kit.common.progress import progress, say

BLOCK = 4096  # a file takes whole blocks of the disk
CHUNK = 2**16  # bytes; a broken connection loses less than one


def unpack(archive: Path, root: Path) -> set[Path]:
    """Extract the members that are not there yet, or not as they are in it.

    Parameters
    ----------
    archive, root : a zip file, and the folder that its names count from

    Returns
    -------
    set of Path : the archive's folders in ``root``

    Raises
    ------
    InputError : the archive is damaged or not safe, and then nothing is unpacked; or the disk is too small.
    """
    folders, missing = members_of(archive, root)
    need, free = space(missing.values()), shutil.disk_usage(root).free
    if need > free:
        raise InputError(f"needs {amount(need)} more in {root} to be unpacked, where {amount(free)} are free; make "
                         "room, and the same command goes on where it stopped")  # fmt: skip
    for left in (file for folder in {target.parent for target in missing} for file in folder.glob(".*.part")):
        found = re.fullmatch(r"\.(.+)\.\d+\.part", left.name)  # `replacing`'s, of an unpacking that was killed
        if found and left.with_name(found[1]) in missing:
            left.unlink()
    with zipfile.ZipFile(archive) as opened:
        for target, member in progress(missing.items(), f"unpacking {archive.name}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                say(f"{target}: is not as the archive has it; replaced")
            try:
                with opened.open(member) as source, replacing(target) as part, part.open("xb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
            except InputError:  # of the disk; it is a ValueError, too
                raise
            except ARCHIVE_FAULTS as error:
                raise InputError(f"member {member.filename} cannot be unpacked ({cause(error)})") from None
    return folders


def members_of(archive: Path, root: Path, whole: bool = True) -> tuple[set[Path], dict[Path, zipfile.ZipInfo]]:
    """An archive's folders in ``root``, and those of its members that are not there yet, once all are found safe.

    ``whole`` reads those that are there, and compares more than their sizes. `InputError` as `unpack`.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except ARCHIVE_FAULTS as error:
        raise InputError(f"is not a zip archive, or a damaged one ({cause(error)})") from None
    files: dict[Path, zipfile.ZipInfo] = {}
    parents: set[Path] = set()
    for member in members:
        target = root / member.filename
        if fault := _fault(member) or ("is there twice" if target in files else None):
            raise InputError(f"member {member.filename!r} {fault}; nothing of the archive is unpacked")
        parents.update(root / parent for parent in Path(member.filename).parents)
        if not member.is_dir():
            files[target] = member
    for path in (parents | set(files)) - {root}:
        wrong = not path.is_dir() if path in parents else not path.is_file()
        if path.is_symlink() or (path.exists() and wrong) or (path in parents and path in files):
            raise InputError(f"{path} is a link, or not the file or folder it is in the archive; move it away")
    folders = {root / Path(member.filename).parts[0] if "/" in member.filename else root for member in members}
    if not whole:
        return folders, {target: member for target, member in files.items() if size_of(target) != member.file_size}
    there = progress(files.items(), f"comparing {archive.name}")
    return folders, {target: member for target, member in there if not _is_member(target, member)}


def _is_member(file: Path, member: zipfile.ZipInfo) -> bool:
    """Whether a file has a member's size and checksum: a loss of power leaves whole lengths of zeros."""
    if size_of(file) != member.file_size:
        return False
    checksum = 0
    with file.open("rb") as handle:
        while block := handle.read(CHUNK):
            checksum = zlib.crc32(block, checksum)
    return checksum == member.CRC


def _fault(member: zipfile.ZipInfo) -> str | None:
    if member.flag_bits & 1:
        return "is encrypted"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    for name in (member.filename, member.orig_filename):  # zipfile may cut or replace the name that is written
        parts = name.removesuffix("/").split("/")
        if {"", ".", ".."} & set(parts) or "\\" in name or re.match("[A-Za-z]:", name) or not name.isprintable():
            return "does not name a place inside the folder"
    return None


def size_of(file: Path) -> int:
    """Bytes of a file; -1 without one."""
    return file.stat().st_size if file.is_file() else -1


def space(members: Iterable[zipfile.ZipInfo]) -> int:
    """Bytes of the disk that members will take."""
    return sum(-(-info.file_size // BLOCK) * BLOCK for info in members)


def cause(error: BaseException) -> str:
    """One line: what lies at the bottom of nested errors, without addresses and object names."""
    while error.__context__:
        error = error.__context__
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
