"""Files that are whole or not there, and locks that die with their holder."""

import errno
import fcntl
import lzma
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asc_kit.common.errors import InputError

# What zipfile raises at damaged or unusual archives.
ARCHIVE_FAULTS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError,
                  OverflowError)  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary name beside ``target`` that takes its place when the block ends well, and goes when it does not.

    Raises
    ------
    InputError : the disk is full, or the place cannot be written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.chmod(0o644)  # safetensors writes files that only their owner reads
        os.replace(part, target)
    except OSError as error:
        if error.errno not in FULL and error.filename != str(part):  # of another file, which the block reads
            raise
        raise InputError(f"{target}: cannot be written ({error.strerror}); make room or name another place, and start "
                         "again") from error  # fmt: skip
    finally:
        part.unlink(missing_ok=True)


def write_file(target: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, as `replacing`; its folder is made if need be, text is UTF-8."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:  # a folder's name may be no UTF-8
        part.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def check_writable(target: Path, *inputs: Path) -> None:
    """Raise `InputError` before long work whose result could not be written, or would take the place of an input."""
    if target.exists() and not target.is_file():
        raise InputError(f"{target}: is {'a folder' if target.is_dir() else 'no ordinary file'}; name a file")
    if target.exists() and os.path.realpath(target) in map(os.path.realpath, inputs):
        raise InputError(f"{target}: is read here, and would be written over; name another file")
    probe = target.with_name(f".{target.name}.{os.getpid()}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); name another") from None


def write_tensors(tensors: dict[str, Any], target: Path, about: str) -> None:
    """Write safetensors whose metadata is one text, under the key ``asc_kit``.

    Several keys would be written in random order, and equal runs would not be equal bytes.
    """
    from safetensors import SafetensorError  # here: they import torch
    from safetensors.torch import save_file

    with replacing(target) as part:
        try:
            save_file(tensors, part, {"asc_kit": about})
        except SafetensorError as error:  # what a full disk looks like from there
            raise InputError(f"{target}: cannot be written ({' '.join(str(error).split())})") from None


def write_sound(target: Path, wave: Any, rate: int, subtype: str) -> None:
    """Write a sound file with soundfile; `OSError` where that fails."""
    import soundfile  # here: it loads a library

    try:
        soundfile.write(target, wave, rate, subtype)
    except soundfile.LibsndfileError as error:  # how a full disk looks from there
        raise OSError(error.error_string) from None


@contextmanager
def locked(file: Path, busy: str | None = None, setting: str = "ASC_CACHE") -> Iterator[None]:
    """Hold a file's lock, which the system frees when its holder dies.

    Parameters
    ----------
    file : made if need be
    busy : the `InputError` raised where another process holds it; None waits
    setting : what names the folder, and is named where it has no locks or cannot be written
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("w")
        fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError:
        raise InputError(busy) from None
    except OSError as error:
        raise InputError(f"{setting}: {file.parent} cannot be written, or its disk has no locks ({error.strerror}); "
                         "give a folder on a local disk") from None  # fmt: skip
    with handle:
        yield


@contextmanager
def cached(folder: Path) -> Iterator[Path]:
    """A folder beside one of the cache that takes its place when the block ends well, and goes when it does not.

    Raises
    ------
    InputError : it cannot be written.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    try:
        part.mkdir(parents=True)
        yield part
        os.replace(part, folder)
    except OSError as error:
        raise InputError(f"ASC_CACHE: {folder} cannot be written ({error.strerror or error}); is its disk full? make "
                         "room or give another folder") from None  # fmt: skip
    finally:
        shutil.rmtree(part, ignore_errors=True)


def amount(count: float) -> str:
    """Bytes for people: 1.86 GB."""
    unit = next((power for power in (3, 2, 1) if count >= 1000**power), 0)
    return f"{count / 1000**unit:.{2 if unit == 3 else 0}f} {('bytes', 'kB', 'MB', 'GB')[unit]}"
