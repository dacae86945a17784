"""Sound files, read whole or refused in one line that names the file.

libsndfile plays what is left of a cut file and seldom says so; what it does not check is checked here.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asc_kit.common.errors import InputError

RATES = (4000, 768000)  # Hz; beyond them a header is damaged, and resampling would fill the memory
SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".caf", ".opus", ".w64"}  # libsndfile's
BY_FFMPEG = {".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".3gp"}
UNKNOWN = 2**63 - 1  # libsndfile's number of frames where a header tells none
FLAC_SAMPLES = {"PCM_S8": (7, "i1", 1), "PCM_16": (15, "<i2", 2), "PCM_24": (23, "<i4", 3)}  # bits, type, bytes
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Damaged(InputError):
    """A file that cannot be used; ``kind`` is one of missing, empty, unreadable, truncated, damaged, NaN."""

    def __init__(self, file: Path, kind: str, what: str):
        super().__init__(f"{file}: {what}")
        self.kind, self.what = kind, what


@dataclass(frozen=True)
class Sound:
    """A decoded file."""

    wave: np.ndarray  # frames, channels; float32
    rate: int  # Hz
    width: str  # libsndfile's name of the sample format, such as PCM_24


def read(file: Path) -> Sound:
    """Decode a whole file at its own rate.

    Raises
    ------
    InputError : missing, empty, not audio, truncated, damaged, of an impossible rate, or with NaN or infinite samples.
    """
    return next(pieces(file))


def pieces(file: Path, seconds: float | None = None) -> Iterator[Sound]:
    """Decode a file piece by piece, in the memory of one piece; the last may be shorter. None: the whole at once.

    Raises
    ------
    InputError : as `read`, for a truncated file after its last whole piece.
    """
    with _opened(file) as sound:
        rate, promised, width = sound.samplerate, sound.frames, sound.subtype
        size, count = promised if seconds is None else round(seconds * rate), 0
        official, digest = _flac_digest(file), hashlib.md5(usedforsecurity=False)
        while count < promised:
            try:
                wave = sound.read(size, dtype="float32", always_2d=True)  # frames, channels
            except soundfile.LibsndfileError as error:
                reason = error.error_string.strip(" .")
                raise Damaged(file, "damaged", f"is damaged or truncated ({reason}); fetch it again") from None
            except MemoryError:
                raise Damaged(file, "damaged", f"is damaged, or holds {promised:,} samples; fetch it again") from None
            count += len(wave)
            if len(wave) < size and count < promised or _cut(sound.extra_info):
                raise Damaged(file, "truncated", f"is truncated after {count / rate:.2f} s; fetch it again")
            if official and width in FLAC_SAMPLES:
                digest.update(_flac_bytes(wave, width))
                if count == promised and digest.digest() != official:
                    raise Damaged(file, "damaged", "is damaged, its digest is of other samples; fetch it again")
            if not np.isfinite(wave).all():
                raise Damaged(file, "NaN", "holds NaN or infinite samples; fetch or export it again")
            yield Sound(wave, rate, width)


def decode(file: Path, sample_rate: int) -> tuple[np.ndarray, list[str]]:
    """Read a file as mono at ``sample_rate``.

    Returns
    -------
    (samples,) float32, and notes of what had to be done to it

    Raises
    ------
    InputError : as `read`.
    """
    sound, notes = read(file), []
    channels = sound.wave.shape[1]
    if channels > 1:
        notes.append(f"{channels} channels mixed down")
    wave = sound.wave.mean(axis=1)  # frames
    if sound.rate != sample_rate:
        notes.append(f"{sound.rate} Hz resampled to {sample_rate} Hz")
        wave = soxr.resample(wave, sound.rate, sample_rate, quality="HQ")
    if np.abs(wave).max(initial=0) > 1:
        notes.append("beyond full scale, clipped")
    silent = silence(wave)
    if silent is not None:
        notes.append(silent)
    return wave, notes


def frames(file: Path) -> tuple[int, int]:
    """Frames and sampling rate (Hz) by the header.

    Raises
    ------
    InputError : as `read`, so far as the header tells.
    """
    with _opened(file) as sound:
        return sound.frames, sound.samplerate


def silence(wave: np.ndarray) -> str | None:
    """Says that a waveform, (samples,), is constant altogether or through its last quarter; None where it is not."""
    differs = np.flatnonzero(wave != wave[-1])
    last = differs[-1] + 1 if len(differs) else 0
    if last == 0:
        return "silent"
    return "silent in its last quarter" if last < 0.75 * len(wave) else None


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Nearest 16-bit sample; beyond full scale is clipped."""
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


@contextmanager
def _opened(file: Path) -> Iterator[soundfile.SoundFile]:
    try:
        if not file.exists():
            raise Damaged(file, "missing", "no such file; fetch it again, or remove its line from the list")
        if not file.is_file():
            raise Damaged(file, "unreadable", "is not a regular file; put a sound file in its place")
        with file.open("rb") as handle:
            head = handle.read(4)
    except OSError as error:
        raise Damaged(file, "unreadable", f"cannot be read ({error.strerror}); check its permissions") from None
    if not head:
        raise Damaged(file, "empty", "is empty; fetch it again")
    if head == b"OggS":
        _check_ogg(file)
    elif head == b"caff":
        _check_caf(file)
    with _converted(file) as wave:
        try:
            sound = soundfile.SoundFile(wave)
        except (soundfile.LibsndfileError, TypeError) as error:  # soundfile wants more arguments for a name in .raw
            reason = getattr(error, "error_string", "no header").rstrip(".")
            raise Damaged(file, "unreadable", f"is not audio that can be read ({reason}); fetch it again") from None
        with sound:
            if sound.format == "RAW":  # libsndfile takes anything named .vox or .gsm for sound
                raise Damaged(file, "unreadable", f"{file.suffix} has no header to check it by; convert it to wav")
            if sound.frames == UNKNOWN or sound.format == "MP3" and not _tells_length(file):
                raise Damaged(file, "unreadable", "does not tell its length, so it may be cut; convert it to wav")
            if sound.frames <= 0:
                raise Damaged(file, "empty", "holds no samples; fetch it again")
            if not RATES[0] <= sound.samplerate <= RATES[1]:
                raise Damaged(file, "damaged", f"is damaged, its header says {sound.samplerate} Hz; fetch it again")
            yield sound


def _cut(log: str) -> bool:
    """Whether libsndfile's log says that a header promises more than the file holds, or was never finished."""
    if re.search(r"Data Size\s*: -1", log):  # AU
        return True
    lines = re.findall(r"^\s*(.*?)\s*: (\d+|0x[\da-fA-F]+) \(should be (\d+)\)", log, re.M)
    return any(name == "data" or int(promised, 16 if "x" in promised else 10) > int(actual)
               for name, promised, actual in lines)  # fmt: skip


def _flac_digest(file: Path) -> bytes | None:
    """The digest of all samples that a FLAC file brings (RFC 9639, section 8.2); it may bring none."""
    with file.open("rb") as handle:
        head = handle.read(42)
    return head[26:] if head[:4] == b"fLaC" and any(head[26:]) else None


def _flac_bytes(wave: np.ndarray, width: str) -> bytes:
    """The samples as FLAC's digest takes them: whole numbers, interleaved, little-endian."""
    bits, kind, used = FLAC_SAMPLES[width]
    return (wave * 2**bits).astype(kind).view("u1").reshape(wave.size, -1)[:, :used].tobytes()


def _tells_length(file: Path) -> bool:
    """Whether an MP3 file's first frame counts the others; where it does not, libsndfile guesses, and stops early."""
    with file.open("rb") as handle:
        head = handle.read(10)
        size = sum((byte & 127) << 7 * place for place, byte in enumerate(head[:5:-1])) if head[:3] == b"ID3" else -10
        handle.seek(10 + size)
        first = handle.read(4096)
    return any(name in first for name in (b"Xing", b"Info", b"VBRI"))


def _check_caf(file: Path) -> None:
    """A CAF file's chunks: all of a known length, and none goes on behind the file's end."""
    place, end = 8, file.stat().st_size
    with file.open("rb") as handle:
        while place + 12 <= end:  # a padding byte may follow the last
            handle.seek(place)
            size = int.from_bytes(handle.read(12)[4:], "big", signed=True)
            place += 12 + size
            if size < 0 or place > end:
                raise Damaged(file, "truncated", f"is truncated at byte {end}, or was never finished; fetch it again")


def _check_ogg(file: Path) -> None:
    """An Ogg file's pages: checksum and order of each, and that the last one ends the one stream (RFC 3533)."""
    data, place, expected, flags = file.read_bytes(), 0, {}, 0
    while place < len(data):
        head = data[place : place + 27]
        table = data[place + 27 : place + 27 + head[26]] if len(head) == 27 else b""
        size = 27 + len(table) + sum(table)
        page = data[place : place + size]
        if head[:4] != b"OggS" or len(page) < size or _ogg_checksum(page) != int.from_bytes(head[22:26], "little"):
            raise Damaged(file, "truncated", f"is damaged or truncated at byte {place} of {len(data)}; fetch it again")
        flags, stream, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
        if number != expected.get(stream, number):
            raise Damaged(file, "damaged", f"is damaged, pages are missing at byte {place}; fetch it again")
        expected[stream] = number + 1
        if len(expected) > 1:
            raise Damaged(file, "unreadable", "holds more than one stream, and one would be read; convert it to wav")
        place += size
    if not flags & 4:
        raise Damaged(file, "truncated", "is truncated, its last page does not end the stream; fetch it again")


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 of the unreflected kind, from zlib's by reversing bits; the page's own field counts as zero."""
    plain = (page[:22] + bytes(4) + page[26:]).translate(REVERSED)
    return int(f"{zlib.crc32(plain, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)


@contextmanager
def _converted(file: Path) -> Iterator[Path]:
    """The file itself, or, where libsndfile cannot read its format, a wav file that ffmpeg makes of it."""
    if file.suffix.lower() not in BY_FFMPEG:
        yield file
        return
    program = shutil.which("ffmpeg")
    if program is None:
        raise Damaged(
            file, "unreadable", f"{file.suffix} needs ffmpeg, which is not installed; install it or convert it to wav"
        )
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "decoded.wav"
        command = [
            program,
            "-v",
            "error",
            "-xerror",
            "-i",
            str(file.resolve()),
            "-vn",
            "-c:a",
            "pcm_f32le",
            "-rf64",
            "auto",
            str(wave),
        ]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode or done.stderr.strip() or not wave.exists():
            reason = " ".join(done.stderr.split())[-120:] or "no sound in it"
            raise Damaged(
                file, "unreadable", f"ffmpeg cannot decode it ({reason}); fetch it again or convert it to wav"
            )
        yield wave
