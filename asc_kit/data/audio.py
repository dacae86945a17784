"""Sound files, read whole or refused in one line that names the file.

libsndfile plays what is left of a cut file and seldom says so; what it does not check is checked here.
"""

import mmap
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asc_kit.data import containers
from asc_kit.data.containers import Damaged

RATES = (4000, 768000)  # Hz; beyond them a header is damaged, and resampling would fill the memory
SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".caf", ".opus", ".w64"}  # libsndfile's
BY_FFMPEG = {".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".3gp"}
UNKNOWN = 2**63 - 1  # libsndfile's number of frames where a header tells none
FAR = 8  # times full scale; float samples beyond it are whole numbers of 16 bits or more, written as they are
FLOATS = {"FLOAT", "DOUBLE"}
CANCELLED = 0.1  # a mix of less than this share of what channels that have nothing in common would leave
QUIET = -78  # dB of full scale; the quietest recordings of TUT 2017 lie at -72


@dataclass(frozen=True)
class Sound:
    """A decoded file."""

    wave: np.ndarray  # frames, channels; float32
    rate: int  # Hz
    width: str  # libsndfile's name of the sample format, such as PCM_24
    notes: tuple[str, ...] = ()  # what had to be mended in the header


def read(file: Path) -> Sound:
    """Decode a whole file at its own rate.

    Raises
    ------
    InputError : missing, empty, not audio, truncated, damaged, of an impossible rate, with NaN or infinite samples, or
        with samples far beyond full scale.
    """
    return next(pieces(file))


def pieces(file: Path, seconds: float | None = None, start: float = 0.0, end: float = float("inf")) -> Iterator[Sound]:
    """Decode a file piece by piece, in the memory of one piece; the last may be shorter.

    Parameters
    ----------
    seconds : length of a piece; None: the whole at once
    start, end : seconds between which samples are read

    Raises
    ------
    InputError : as `read`, for a truncated file after its last whole piece.
    """
    with _opened(file) as (sound, notes):
        rate, width = sound.samplerate, sound.subtype
        promised = round(min(sound.frames, end * rate))
        size, first = promised if seconds is None else round(seconds * rate), round(start * rate)
        count = first
        while count < promised:
            try:
                if count == first > 0:
                    sound.seek(first)
                wave = sound.read(size, dtype="float32", always_2d=True)[: promised - count]  # frames, channels
            except soundfile.LibsndfileError as error:
                reason = error.error_string.strip(" .")
                raise Damaged(file, "damaged", f"is damaged or truncated ({reason}); fetch it again") from None
            except MemoryError:
                raise Damaged(file, "damaged", f"is damaged, or holds {promised:,} samples; fetch it again") from None
            count += len(wave)
            if len(wave) < size and count < promised or not notes and containers.cut(sound.extra_info):
                raise Damaged(file, "truncated", f"is truncated after {count / rate:.2f} s; fetch it again")
            _check_samples(file, wave, width)
            yield Sound(wave, rate, width, notes)


def _check_samples(file: Path, wave: np.ndarray, width: str) -> None:
    if not np.isfinite(wave).all():
        raise Damaged(file, "NaN", "holds NaN or infinite samples; fetch or export it again")
    if width in FLOATS and (peak := np.abs(wave).max(initial=0)) > FAR:
        raise Damaged(file, "beyond full scale", f"holds samples up to {peak:,.0f} where full scale is 1, as of whole "
                      "numbers written as float; export it again, divided by 32768 for 16 bits")  # fmt: skip


def decode(file: Path, sample_rate: int) -> tuple[np.ndarray, list[str]]:
    """Read a file as mono at ``sample_rate``.

    Returns
    -------
    (samples,) float32, and notes of what had to be done to it

    Raises
    ------
    InputError : as `read`.
    """
    sound = read(file)
    wave, note = mix(sound.wave)
    notes = [*sound.notes, *note]
    if sound.rate != sample_rate:
        notes.append(f"{sound.rate} Hz resampled to {sample_rate} Hz")
        wave = soxr.resample(wave, sound.rate, sample_rate, quality="HQ")
    if np.abs(wave).max(initial=0) > 1:
        notes.append("beyond full scale, clipped")
    silent = silence(wave, sample_rate)
    if silent is not None:
        notes.append(silent)
    return wave, notes


def mix(wave: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Mono of (frames, channels): their mean or, where they cancel in it, the loudest; and a note of it."""
    channels = wave.shape[1]
    if channels == 1:
        return wave[:, 0], []
    mono, power = wave.mean(axis=1), wave.var(axis=0)
    if mono.var() < CANCELLED * power.sum() / channels**2:
        return wave[:, power.argmax()], [f"{channels} channels cancel each other; the loudest is taken"]
    return mono, [f"{channels} channels mixed down"]


def frames(file: Path) -> tuple[int, int]:
    """Frames and sampling rate (Hz) by the header.

    Raises
    ------
    InputError : as `read`, so far as the header tells.
    """
    with _opened(file) as (sound, _):
        return sound.frames, sound.samplerate


def silence(wave: np.ndarray, rate: int) -> str | None:
    """Says that a waveform, (samples,), is constant altogether or through its last quarter, or nearly silent."""
    differs = np.flatnonzero(wave != wave[-1])
    last = differs[-1] + 1 if len(differs) else 0
    if last == 0:
        return "silent"
    if last < 0.75 * len(wave):
        return "silent in its last quarter"
    return "nearly silent" if quiet(wave, rate) > 0.5 else None


def beyond(sound: Sound) -> str:
    """Says how far float samples go beyond full scale; "" where they do not. Lossy codecs overshoot a little."""
    peak = np.abs(sound.wave).max(initial=0) if sound.width in FLOATS else 0
    return f"holds samples up to {peak:.3g} where full scale is 1; training clips them" if peak > 1 else ""


def quiet(wave: np.ndarray, rate: int) -> float:
    """Share of a waveform, (samples,), whose level in steps of 0.1 s is below -78 dB of full scale."""
    size = min(max(1, rate // 10), len(wave))
    levels = wave[: len(wave) // size * size].reshape(-1, size).std(axis=1)
    return float((levels < 10 ** (QUIET / 20)).mean())


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Nearest 16-bit sample; beyond full scale is clipped."""
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[soundfile.SoundFile, tuple[str, ...]]]:
    _check_readable(file)
    with ExitStack() as stack:
        wave = stack.enter_context(_converted(file))
        sound, notes = stack.enter_context(_decoder(file, wave)), ()
        if sound.format in ("WAV", "WAVEX", "RF64", "MP3"):
            handle = stack.enter_context(wave.open("rb"))
            data = stack.enter_context(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY))
            if sound.format == "MP3":
                containers.check_mp3(file, data)
            elif note := containers.fill_in_sizes(data):
                sound, notes = stack.enter_context(_decoder(file, data)), (note,)
        if sound.format == "OGG" and containers.cut(sound.extra_info):
            raise Damaged(file, "truncated", "is truncated or more than one stream; fetch it again or convert it")
        if sound.format == "RAW":  # libsndfile takes anything named .vox or .gsm for sound
            raise Damaged(file, "unreadable", f"{file.suffix} has no header to check it by; convert it to wav")
        if sound.frames == UNKNOWN:
            raise Damaged(file, "unreadable", "does not tell its length, so it may be cut; convert it to wav")
        if sound.frames <= 0:
            raise Damaged(file, "empty", "holds no samples; fetch it again")
        if not RATES[0] <= sound.samplerate <= RATES[1]:
            raise Damaged(file, "damaged", f"is damaged, its header says {sound.samplerate} Hz; fetch it again")
        yield sound, notes


def _check_readable(file: Path) -> None:
    try:
        if not file.exists():
            raise Damaged(file, "missing", absent(file))
        if not file.is_file():
            raise Damaged(file, "unreadable", "is not a regular file; put a sound file in its place")
        with file.open("rb") as handle:
            first = handle.read(1)
    except OSError as error:
        raise Damaged(file, "unreadable", f"cannot be read ({error.strerror}); check its permissions") from None
    if not first:
        raise Damaged(file, "empty", "is empty; fetch it again")


def absent(file: Path) -> str:
    """Why there is no such file, where its name is at fault, and what to do."""
    for other, fault in ((Path(str(file).replace("\\", "/")), "write / in the list where it has a backslash"),
                         (file.parent / "audio" / file.name, "put audio/ before its name in the list")):  # fmt: skip
        if other != file and other.is_file():
            return f"no such file, but {other.name} is there; {fault}"
    if sys.getfilesystemencoding() != "utf-8" and not str(file).isascii():
        return f"no such file by a name in {sys.getfilesystemencoding()}; put PYTHONUTF8=1 before the command"
    return "no such file; fetch it again, or remove its line from the list"


@contextmanager
def _decoder(file: Path, source: Path | mmap.mmap) -> Iterator[soundfile.SoundFile]:
    try:
        sound = soundfile.SoundFile(source)
    except UnicodeError:  # soundfile encodes names strictly
        utf8 = sys.getfilesystemencoding() == "utf-8"
        advice = "its name is not UTF-8; rename it" if utf8 else "its name is not read as UTF-8; put PYTHONUTF8=1 " \
            "before the command"  # fmt: skip
        raise Damaged(file, "unreadable", advice) from None
    except (soundfile.LibsndfileError, TypeError) as error:  # soundfile wants more arguments for a name in .raw
        reason = getattr(error, "error_string", "no header").rstrip(".")
        raise Damaged(file, "unreadable", f"is not audio that can be read ({reason}); fetch it again") from None
    with sound:
        yield sound


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
        options = "-vn -c:a pcm_f32le -rf64 auto".split()
        command = [program, *"-v error -xerror -i".split(), str(file.resolve()), *options, str(wave)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        if done.returncode or done.stderr.strip() or not wave.exists():
            reason = " ".join(done.stderr.split())[-120:] or "no sound in it"
            raise Damaged(
                file, "unreadable", f"ffmpeg cannot decode it ({reason}); fetch it again or convert it to wav"
            )
        yield wave
