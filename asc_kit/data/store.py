"""All audio of a data set, decoded once into one memory-mapped int16 file.

Crops are read straight from the map, so that a step touches the samples it uses and no other. The store's name is
the hash of the files' names, sizes and times: when one changes, another store is built. 16 bits lose nothing of
16-bit sources; of 24-bit ones they lose what lies below -96 dB of full scale.
"""

import hashlib
import json
import mmap
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from asc_kit import config, kernels
from asc_kit.common import InputError, ahead, cached, in_threads, locked, progress, say
from asc_kit.data import audio
from asc_kit.data.corpus import Corpus

FORMAT = 2  # of the store's files; a change builds anew
COPIED = 256  # clips at a time
TOLERANCE = 0.1  # a clip may differ this much from the usual length; it is cut or padded with silence


@dataclass(frozen=True)
class Store:
    """Decoded clips.

    Attributes
    ----------
    folder : holds ``samples.i16``, ``index.tsv`` and ``store.json``
    index : filename, digest of the decoded samples, note; a row a clip
    about : sample_rate, length (samples of every clip), fingerprint, notes
    held : (clips, samples) int16 in a GPU's memory, where that holds them all
    """

    folder: Path
    index: pd.DataFrame
    about: dict[str, Any]
    held: torch.Tensor | None = None

    @cached_property
    def samples(self) -> np.memmap:
        """(clips, samples) int16, memory-mapped."""
        return np.memmap(self.folder / "samples.i16", np.int16, "r", shape=(len(self.index), self.length))

    @property
    def length(self) -> int:
        """Samples of every clip."""
        return self.about["length"]

    @property
    def fingerprint(self) -> str:
        """Hash of every clip's name and samples."""
        return self.about["fingerprint"]

    @cached_property
    def _row(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.index.filename)}

    def rows(self, filenames: Sequence[str]) -> np.ndarray:
        """Row numbers of clips."""
        return np.array([self._row[name] for name in filenames], dtype=np.int64)

    def read(self, rows: Sequence[int], starts: Sequence[int] | None = None, length: int | None = None) -> torch.Tensor:
        """Sections of clips, (len(rows), length) float32 in [-1, 1); whole clips by default."""
        return self.sections(rows, starts, length).float().div_(32768)

    def waves(self, places: Iterable[tuple], device: torch.device) -> Iterator[torch.Tensor]:
        """`read` of places (rows, starts, length), one after the other, on a device; a GPU's next is read ahead."""
        parts = (self.sections(*place, pinned=device.type == "cuda") for place in places)
        if kernels.batched(device) and self.held is None:
            parts = ahead(parts)
        for part in parts:
            yield part.to(device, non_blocking=True).float().div_(32768)

    def sections(
        self, rows: Sequence[int], starts: Sequence[int] | None = None, length: int | None = None, pinned: bool = False
    ) -> torch.Tensor:
        """As `read`, in int16, where the samples lie; ``pinned``: in memory that a GPU reads by itself."""
        length = self.length if length is None else length
        starts = [0] * len(rows) if starts is None else starts
        if self.held is not None:
            places = (kernels.send(torch.as_tensor(each), self.held.device) for each in (rows, starts))
            return self.held.unfold(1, length, 1)[tuple(places)]
        for row, start in zip(rows, starts):  # the disk fetches all sections at once: four times as fast when cold
            first = (int(row) * self.length + int(start)) * 2
            page = first % mmap.PAGESIZE
            self.samples.base.madvise(mmap.MADV_WILLNEED, first - page, length * 2 + page)
        out = torch.empty(len(rows), length, dtype=torch.int16, pin_memory=pinned)
        for section, row, start in zip(out.numpy(), rows, starts):
            section[:] = self.samples[row, start : start + length]
        return out

    def on(self, device: torch.device) -> "Store":
        """As a device reads it best: copied to a GPU where it takes at most half of the memory that is free there."""
        fits = device.type == "cuda" and 2 * self.samples.nbytes <= torch.cuda.mem_get_info(device)[0]
        return self.copied(device) if fits else self

    def copied(self, device: torch.device) -> "Store":
        """With all samples in a device's memory."""
        held = torch.empty(self.samples.shape, dtype=torch.int16, device=device)
        for first in progress(range(0, len(held), COPIED), "copying the clips to the GPU"):
            held[first : first + COPIED] = torch.from_numpy(np.array(self.samples[first : first + COPIED]))
        return replace(self, held=held)


def open_store(corpus: Corpus, sample_rate: int) -> Store:
    """Open the store of a corpus; decode its audio first where that has not been done.

    Raises
    ------
    InputError : an audio file is missing, empty, truncated, not audio, of quite another length or holds NaN, or the
        disk is full. Nothing is left behind.
    """
    names = corpus.used()
    home = config.cache() / "stores"
    folder = home / f"{corpus.root.resolve().name}-{_key(corpus.root, names, sample_rate)}"
    if not folder.is_dir():
        with locked(folder.with_suffix(".lock")):
            if not folder.is_dir():  # another process may have built it meanwhile
                _build(corpus.root, names, sample_rate, folder)
    index = pd.read_csv(folder / "index.tsv", sep="\t", dtype=str, keep_default_na=False)
    return Store(folder, index, json.loads((folder / "store.json").read_text()))


def _key(root: Path, names: list[str], sample_rate: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {sample_rate} {root.resolve()}".encode())
    for name in names:
        try:
            status = (root / name).stat()
        except (OSError, ValueError):  # a name that the system's encoding does not have
            raise InputError(f"{root / name}: {audio.absent(root / name)}") from None
        digest.update(f"\n{name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]


def _build(root: Path, names: list[str], sample_rate: int, folder: Path) -> None:
    files = [root / name for name in names]
    lengths = _whole(in_threads(lambda file: _length(file, sample_rate), files, "reading headers"))
    length = Counter(lengths).most_common(1)[0][0]
    size = len(files) * length * 2
    with cached(folder) as part:
        with (part / "samples.i16").open("wb") as target:
            os.posix_fallocate(target.fileno(), 0, size)  # a full disk shows here, at once
            write = lambda item: _write(target.fileno(), *item, sample_rate, length)  # noqa: E731
            written = _whole(in_threads(write, list(enumerate(files)), "decoding audio"))
        _finish(part, names, sample_rate, length, written)


def _whole(results: list) -> list:
    """The results, or the first fault with the count of all."""
    faults = [result for result in results if isinstance(result, InputError)]
    if faults:
        more = f" ({len(faults)} files are at fault)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}{more}")
    return results


def _length(file: Path, sample_rate: int) -> int:
    """Samples after resampling."""
    count, rate = audio.frames(file)
    return round(count * sample_rate / rate)


def _write(target: int, row: int, file: Path, sample_rate: int, length: int) -> tuple[str, str]:
    wave, notes = audio.decode(file, sample_rate)
    if abs(len(wave) - length) > TOLERANCE * length:
        usual = f"{length / sample_rate:g} s"
        raise InputError(f"{file}: is {len(wave) / sample_rate:.2f} s long where the others are {usual}; "
                         "is it whole? cut or pad it, or remove its line from meta.csv")  # fmt: skip
    if len(wave) != length:
        notes.append("cut" if len(wave) > length else "padded with silence")
        wave = np.pad(wave[:length], (0, max(0, length - len(wave))))
    samples = audio.to_int16(wave)
    data, place = memoryview(samples).cast("B"), row * length * 2
    while data:
        count = os.pwrite(target, data, place)
        data, place = data[count:], place + count
    return hashlib.sha256(samples).hexdigest()[:16], "; ".join(notes)


def _finish(part: Path, names: list[str], sample_rate: int, length: int, written: list[tuple[str, str]]) -> None:
    index = pd.DataFrame(written, columns=["digest", "note"])
    index.insert(0, "filename", names)
    index.to_csv(part / "index.tsv", sep="\t", index=False)
    notes, each = [], index.assign(note=index.note.str.split("; ")).explode("note")
    for note, clips in each[each.note != ""].groupby("note").filename:
        notes.append(f"{len(clips)} of {len(names)} clips: {note} ({clips.iloc[0]}{' …' * (len(clips) > 1)})")
    for note in notes:
        say(f"warning: {note}")
    text = f"{sample_rate} {length}\n" + "\n".join(sorted(index.filename + " " + index.digest))
    about = {"sample_rate": sample_rate, "length": length, "clips": len(names), "notes": notes,
             "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16]}  # fmt: skip
    (part / "store.json").write_text(json.dumps(about, indent=1) + "\n")
