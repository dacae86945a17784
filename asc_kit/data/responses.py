"""Measured responses of microphones: a folder of sound files, each an impulse response."""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asc_kit import config
from asc_kit.common import InputError, say
from asc_kit.data import audio

if TYPE_CHECKING:
    import torch

SILENT = 1e-6  # of full scale
SECONDS = 0.25  # of a response that are used; what comes later is the room's
LEAD = 32  # samples kept before the highest, which a filter of linear phase has
FOLDERS: dict[str, Path] = {}  # identity -> where this process has been given it


def files(folder: Path) -> tuple[Path, ...]:
    """The sound files of a folder, in order of their names; `InputError` where there is none."""
    if not folder.is_dir():
        raise InputError(f"responses: {folder}: no such folder; give one of impulse responses, a sound file each")
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in audio.SUFFIXES)
    if not found:
        raise InputError(f"responses: {folder} holds no sound file; give a folder of impulse responses")
    return tuple(found)


def identity(folder: str | Path) -> str:
    """A digest of what a folder's files hold, whatever they and it are called and wherever it lies.

    An identity gives itself: it may be named where the folder is not at hand.

    Raises
    ------
    InputError : there is no such folder, or no sound file in it.
    """
    if re.fullmatch(r"[^/]+-[0-9a-f]{12}", str(folder)):
        return str(folder)
    place = config.path(folder)
    contents = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files(place))
    name = f"mic_responses-{config.digest(*contents)}"
    FOLDERS[name] = place
    return name


def of(identity: str, sample_rate: int) -> "torch.Tensor":
    """The responses of that identity, as `read` gives them; `InputError` where its folder was not given."""
    if identity not in FOLDERS:
        raise InputError(f"responses: {identity} is not at hand; give its folder (make reproduce RESPONSES=DIR, or "
                         "changes: {responses: DIR} of 05_train)")  # fmt: skip
    return read(FOLDERS[identity], sample_rate)


def read(folder: Path, sample_rate: int) -> "torch.Tensor":
    """The responses of a folder at ``sample_rate``, (microphones, taps), each of unit energy and from its onset on.

    Raises
    ------
    InputError : there is none, or one is silent or cannot be read.
    """
    import torch  # here: a recipe is read without it

    taps, told, found = round(SECONDS * sample_rate), set(), []
    for file in files(folder):
        wave, notes = audio.decode(file, sample_rate)
        told |= {note for note in notes if "silent" not in note}  # an impulse's rest is
        peak = int(np.abs(wave).argmax())
        if abs(wave[peak]) < SILENT:
            raise InputError(f"responses: {file} is silent; remove it from the folder")
        wave = wave[max(0, peak - LEAD) :][:taps]
        found.append(np.pad(wave / np.sqrt(np.square(wave).sum()), (0, taps - len(wave))))
    for note in sorted(told):
        say(f"responses: {folder.name}: {note}")
    return torch.from_numpy(np.stack(found)).float()
