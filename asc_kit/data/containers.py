"""What the containers of sound files say of their length, where libsndfile is content with less.

WAV headers that were written to a pipe, MP3 frames, the digest of FLAC, the chunks of CAF and the last page of Ogg.
"""

import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from asc_kit.common import InputError

FLAC_SAMPLES = {"PCM_S8": (7, "i1", 1), "PCM_16": (15, "<i2", 2), "PCM_24": (23, "<i4", 3)}  # bits, type, bytes
UNFILLED = 0x7FFFF000  # bytes; from here on a size in a WAV header is what writers to a pipe put there
KBITS = {True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # a second of MPEG 1, layer III
         False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}  # and of MPEG 2 and 2.5  # fmt: skip
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


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


def count_frames(file: Path, data: mmap.mmap) -> str | None:
    """Count the frames of an MP3 file, where its tag has none or fewer: two files joined, or another encoder's tag.

    A note, "" where there is nothing to say, or None where the tag is right; `data` is corrected in memory alone.
    Without a tag the file may be cut, and nobody knows; where its rate or channels change, libsndfile plays a part.
    """
    frames = list(_mpeg_frames(data))
    first, size, kind = frames[0] if frames else (0, 0, None)
    head, count = data[first : first + size], len(frames) - 1
    at = max(head.find(name) for name in (b"Xing", b"Info", b"VBRI"))
    if at < 0:
        raise Damaged(file, "unreadable", "does not tell its length, so it may be cut; convert it to wav")
    if {other for _, _, other in frames} != {kind}:
        raise Damaged(file, "unreadable", "changes its rate or channels within; convert it to wav")
    vbri = head[at : at + 4] == b"VBRI"
    flags = 3 if vbri else head[at + 7] & 3  # 1: it tells the frames; 2: the bytes, behind them
    fields = {1: at + 14, 2: at + 10} if vbri else {1: at + 8, 2: at + 8 + 4 * (flags & 1)}
    told, length = (flags & bit and int.from_bytes(head[place : place + 4], "big") for bit, place in fields.items())
    if told >= count > 0 and not vbri:
        return None
    if not told and first + length > len(data) or not told and not length:
        raise Damaged(file, "truncated", "is truncated or tells no length; fetch it again or convert it to wav")
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[kind[0] == 3, kind[2]]
    tag = bytes(side) + b"Xing" + (1).to_bytes(4, "big") + max(told, count).to_bytes(4, "big")
    data[first + 4 : first + size] = tag.ljust(size - 4, b"\0")
    return "" if told >= count else f"its tag counts {told} of {count} frames; all are read"


def _mpeg_frames(data: mmap.mmap) -> Iterator[tuple[int, int, tuple[int, int, bool]]]:
    """Place, size and kind of every frame of MPEG layer III; what stands between them is left out."""
    place = 0
    while place >= 0:
        frame = _mpeg_frame(data, place)
        if frame and place + frame[0] <= len(data):
            yield place, *frame
            place += frame[0]
        else:
            place = data.find(b"\xff", place + 1)
            while place >= 0 and not _goes_on(data, place):
                place = data.find(b"\xff", place + 1)


def _mpeg_frame(data: mmap.mmap, place: int) -> tuple[int, tuple[int, int, bool]] | None:
    """Bytes and kind (version, rate, mono) of the frame at a place; None where there is none."""
    head = int.from_bytes(data[place : place + 4], "big")
    version, layer, rate, bits = head >> 19 & 3, head >> 17 & 3, head >> 10 & 3, head >> 12 & 15
    if head >> 21 != 2**11 - 1 or version == 1 or layer != 1 or rate == 3 or bits in (0, 15):
        return None
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    size = (144000 if version == 3 else 72000) * KBITS[version == 3][bits - 1] // hertz + (head >> 9 & 1)
    return size, (version, rate, head >> 6 & 3 == 3)


def _goes_on(data: mmap.mmap, place: int) -> bool:
    """Whether three frames follow each other: two bytes alike are no frame yet."""
    for _ in range(3):
        frame = _mpeg_frame(data, place)
        if frame is None:
            return False
        place += frame[0]
    return True


def cut(log: str) -> bool:
    """Whether libsndfile's log says that a header promises more than the file holds, or was never finished."""
    if re.search(r"Data Size\s*: -1|reports a hole|Corrupted bitstream", log):  # AU, Ogg
        return True
    lines = re.findall(r"^\s*(?!RIFF|FORM|Bytes/sec)(.*?)\s*: (\d+|0x[\da-fA-F]+) \(should be (\d+)\)", log, re.M)
    return any(name == "data" or int(promised, 16 if "x" in promised else 10) > int(actual)
               for name, promised, actual in lines)  # fmt: skip


def flac_digest(file: Path) -> bytes | None:
    """The digest of all samples that a FLAC file brings (RFC 9639, section 8.2); it may bring none."""
    with file.open("rb") as handle:
        head = handle.read(42)
    return head[26:] if head[:4] == b"fLaC" and any(head[26:]) else None


def flac_bytes(wave: np.ndarray, width: str) -> bytes:
    """The samples as FLAC's digest takes them: whole numbers, interleaved, little-endian."""
    bits, kind, used = FLAC_SAMPLES[width]
    return (wave * 2**bits).astype(kind).view("u1").reshape(wave.size, -1)[:, :used].tobytes()


def check_caf(file: Path) -> None:
    """A CAF file's chunks: all of a known length, and none goes on behind the file's end."""
    place, end = 8, file.stat().st_size
    with file.open("rb") as handle:
        while place + 12 <= end:  # a padding byte may follow the last
            handle.seek(place)
            size = int.from_bytes(handle.read(12)[4:], "big", signed=True)
            place += 12 + size
            if size < 0 or place > end:
                raise Damaged(file, "truncated", f"is truncated at byte {end}, or was never finished; fetch it again")


def check_ogg(file: Path) -> None:
    """An Ogg file's last page: that it is whole and ends the stream of the first (RFC 3533); libsndfile reads less."""
    data = file.read_bytes()
    page = data[data.rfind(b"OggS") :]
    size = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 0
    if len(page) != size or ogg_checksum(page) != int.from_bytes(page[22:26], "little"):
        raise Damaged(file, "truncated", "is damaged or truncated in its last page; fetch it again")
    if page[14:18] != data[14:18]:
        raise Damaged(file, "unreadable", "holds more than one stream, and one would be read; convert it to wav")
    if not page[5] & 4:
        raise Damaged(file, "truncated", "is truncated, its last page does not end the stream; fetch it again")


def ogg_checksum(page: bytes) -> int:
    """CRC-32 of the unreflected kind, from zlib's by reversing bits; the page's own field counts as zero."""
    plain = (page[:22] + bytes(4) + page[26:]).translate(REVERSED)
    return int(f"{zlib.crc32(plain, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)
