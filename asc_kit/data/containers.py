"""What the containers of sound files say of their length, where libsndfile is content with less.

WAV headers that were written to a pipe, MP3 tags, and what libsndfile only logs.
"""

import mmap
import re
from pathlib import Path

from asc_kit.common import InputError

UNFILLED = 0x7FFFF000  # bytes; from here on a size in a WAV header is what writers to a pipe put there
KBITS = {True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # a second of MPEG 1, layer III
         False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}  # and of MPEG 2 and 2.5  # fmt: skip


class Damaged(InputError):
    """A file that cannot be used; ``kind`` is one word of what is wrong, such as truncated, or "beyond full scale"."""

    def __init__(self, file: Path, kind: str, what: str):
        super().__init__(f"{file}: {what}")
        self.kind, self.what = kind, what


def fill_in_sizes(data: mmap.mmap) -> str | None:
    """Put the sizes into a WAV header that was written to a pipe: neither was known, and all behind it is sound.

    A note, or None where the header is right; `data` is corrected in memory alone.
    """
    place, end = 12, len(data)
    if data[:4] == b"RF64":
        if any(data[28:36]):  # the size of the data
            return None
        data[:4], data[12:16] = b"RIFF", b"JUNK"  # whose sizes are filled in below
    while data[place : place + 4] not in (b"data", b""):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    riff, size = (int.from_bytes(data[at + 4 : at + 8], "little") for at in (0, place))
    rest = (end - place - 8) // 2 * 2  # behind an odd number libsndfile looks for one byte more
    unfilled = size == 0 or size > rest and size >= UNFILLED
    if not unfilled or riff + 8 == end or not 0 < rest < UNFILLED:
        return None
    data[4:8], data[place + 4 : place + 8] = (end - 8).to_bytes(4, "little"), rest.to_bytes(4, "little")
    return "its header tells no length; read to the end of the file"


def check_mp3(file: Path, data: mmap.mmap) -> None:
    """That an MP3 file's tag (Xing, Info) counts all its frames: libsndfile plays as many as that tells.

    Raises
    ------
    Damaged : no tag, one that counts none or fewer, as of two files joined, or a rate that changes within.
    """
    place, frames = 0, []
    while size := _tag_size(data, place):
        place += size
    place = max(place, data.find(b"\xff", place))  # zeros may stand between
    tag = data[place : place + 200]
    while frame := _mpeg_frame(data, place):
        place += frame[0]
        frames.append(frame)
        while size := _tag_size(data, place):
            place += size
    at = max(tag.find(b"Xing"), tag.find(b"Info"))
    counted = int.from_bytes(tag[at + 8 : at + 12], "big") if at >= 0 and tag[at + 7] & 1 else 0
    if not counted or counted < len(frames) - 1 or len({kind for _, kind in frames}) > 1:
        raise Damaged(file, "unreadable", "does not tell its length, so a part of it may be lost; convert it to wav")


def _tag_size(data: mmap.mmap, place: int) -> int:
    """Bytes of the ID3 tag at a place, of version 2 or 1; 0 where there is none."""
    if data[place : place + 3] == b"ID3":
        parts = data[place + 6 : place + 10]  # of seven bits
        return 10 + sum(part << 7 * power for power, part in enumerate(reversed(parts)))
    return 128 * (data[place : place + 3] == b"TAG")


def _mpeg_frame(data: mmap.mmap, place: int) -> tuple[int, tuple[int, int, bool]] | None:
    """Bytes and kind (version, rate, mono) of the frame at a place; None where there is none."""
    head = int.from_bytes(data[place : place + 4], "big")
    version, layer, rate, bits = head >> 19 & 3, head >> 17 & 3, head >> 10 & 3, head >> 12 & 15
    if head >> 21 != 2**11 - 1 or version == 1 or layer != 1 or rate == 3 or bits in (0, 15):
        return None
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    size = (144000 if version == 3 else 72000) * KBITS[version == 3][bits - 1] // hertz + (head >> 9 & 1)
    return size, (version, rate, head >> 6 & 3 == 3)


def cut(log: str) -> bool:
    """Whether libsndfile's log says that a header promises more than the file holds, or was never finished."""
    if re.search(r"Data Size\s*: -1|reports a hole|Corrupted bitstream|Junk after the last|end-of-stream bit", log):
        return True  # AU, Ogg
    lines = re.findall(r"^\s*(?!RIFF|FORM|Bytes/sec)(.*?)\s*: (\d+|0x[\da-fA-F]+) \(should be (\d+)\)", log, re.M)
    return any(name == "data" or int(promised, 16 if "x" in promised else 10) > int(actual)
               for name, promised, actual in lines)  # fmt: skip
