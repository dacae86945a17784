"""Every kind of damaged sound file is refused in one line that names it; what is used after a change says so.

What no test can ask: wav, aiff, au, caf, w64 and mp3 hold no checksum, so other samples in a whole file are unknown
to everybody but `asc_kit fetch`, which compares archives with their published MD5.
"""

import io
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import ROOT, write_corpus
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asc_kit import config
from asc_kit.common import InputError
from asc_kit.data import audio, check, corpus, store

RATE = 44100
WAVE = 0.1 * np.random.default_rng(11).standard_normal(RATE // 2)
LONG = 0.1 * np.random.default_rng(12).standard_normal(3 * RATE)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def in_time():
    """A pipe that is opened waits for ever."""

    def late(*_):
        raise AssertionError("waits for ever")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("audio")


def encoded(kind: str, subtype: str | None = None, wave: np.ndarray = WAVE, rate: int = RATE) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, wave, rate, subtype=subtype, format=kind)
    return target.getvalue()


def by_ffmpeg(folder: Path, name: str, *options: str) -> Path:
    """A file by an encoder that libsndfile lacks."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    (folder / "in.wav").write_bytes(WAV)
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", "in.wav", *options, name], cwd=folder)
    return folder / name if done.returncode == 0 else pytest.skip(f"this ffmpeg cannot write {name}")


def put(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def flipped(data: bytes, place: int, mask: int = 0x10) -> bytes:
    return put(data, place, bytes([data[place] ^ mask]))


def pages(data: bytes) -> list[bytes]:
    return [b"OggS" + page for page in data.split(b"OggS")[1:]]


def link(target: str) -> Callable[[Path], None]:
    return lambda file: (file.unlink(), file.symlink_to(target or file.name))


def forbid(file: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file; test_forbidden_file asks as somebody else")
    file.chmod(0)


WAV = encoded("WAV")  # 44 bytes of header: channels at 22, rate at 24, the data's size at 40
FLAC, OGG, MP3 = (encoded(kind) for kind in ("FLAC", "OGG", "MP3"))
OGG_LONG = encoded("OGG", wave=LONG)
# name -> file's suffix; its bytes, or what is done to a whole file; the kind of damage
DAMAGED: dict[str, tuple[str, bytes | Callable, str]] = {
    "missing": (".wav", Path.unlink, "missing"),
    "dangling link": (".wav", link("nowhere"), "missing"),
    "link to itself": (".wav", link(""), "missing"),
    "folder": (".wav", lambda file: (file.unlink(), file.mkdir()), "unreadable"),
    "pipe": (".wav", lambda file: (file.unlink(), os.mkfifo(file)), "unreadable"),
    "forbidden": (".wav", forbid, "unreadable"),
    "empty": (".wav", b"", "empty"),
    "text": (".wav", b"this is not audio\n" * 100, "unreadable"),
    "web page": (".wav", b"<!DOCTYPE html>\n<html><title>403 Forbidden</title></html>\n" * 50, "unreadable"),
    "random bytes": (".wav", np.random.default_rng(3).bytes(len(WAV)), "unreadable"),
    "zero bytes": (".wav", bytes(len(WAV)), "unreadable"),
    "zero bytes as mp3": (".mp3", bytes(len(WAV)), "unreadable"),
    "no header, .raw": (".raw", WAV[44:], "unreadable"),
    "no header, .vox": (".vox", WAV[44:], "unreadable"),
    "half a header": (".wav", WAV[:20], "unreadable"),
    "header alone": (".wav", WAV[:44], "empty"),
    "no samples": (".wav", encoded("WAV", wave=WAVE[:0]), "empty"),
    "wav cut": (".wav", WAV[:-5000], "truncated"),
    "wav cut by a byte": (".wav", WAV[:-1], "truncated"),
    "24-bit wav cut": (".wav", encoded("WAV", "PCM_24")[:-1000], "truncated"),
    "float wav cut": (".wav", encoded("WAV", "FLOAT")[:-1000], "truncated"),
    "unfinished wav, size 0": (".wav", put(WAV, 40, bytes(4)), "empty"),
    "unfinished wav, largest size": (".wav", put(WAV, 40, b"\xff" * 4), "truncated"),
    "unfinished au": (".au", put(encoded("AU", "PCM_16"), 8, b"\xff" * 4), "truncated"),
    "0 Hz": (".wav", put(WAV, 24, struct.pack("<I", 0)), "unreadable"),
    "1 Hz": (".wav", put(WAV, 24, struct.pack("<I", 1)), "damaged"),
    "2 GHz": (".wav", put(WAV, 24, struct.pack("<I", 2 * 10**9)), "damaged"),
    "0 channels": (".wav", put(WAV, 22, bytes(2)), "unreadable"),
    "65535 channels": (".wav", put(WAV, 22, b"\xff\xff"), "unreadable"),
    "aiff cut": (".aiff", encoded("AIFF", "PCM_16")[:-3], "truncated"),
    "caf cut": (".caf", encoded("CAF", "PCM_16")[:-300], "truncated"),
    "flac cut": (".flac", FLAC[: len(FLAC) // 2], "damaged"),
    "flac flipped": (".flac", flipped(FLAC, len(FLAC) // 2), "damaged"),
    "flac, its second half zero": (".flac", FLAC[: len(FLAC) // 2] + bytes(len(FLAC) // 2), "damaged"),
    "flac of 2^35 samples": (".flac", flipped(FLAC, 21, 8), "damaged"),
    "flac of unknown length": (".flac", put(FLAC, 21, bytes([FLAC[21] & 0xF0, 0, 0, 0, 0])), "unreadable"),
    "vorbis cut": (".ogg", OGG[:-100], "truncated"),
    "vorbis cut between pages": (".ogg", b"".join(pages(OGG)[:-1]), "truncated"),
    "vorbis flipped": (".ogg", flipped(OGG, len(OGG) // 2), "truncated"),
    "vorbis with a page missing": (".ogg", b"".join([*pages(OGG_LONG)[:3], pages(OGG_LONG)[-1]]), "truncated"),
    "vorbis and another after it": (".ogg", OGG + OGG_LONG, "truncated"),
    "opus cut": (".opus", encoded("OGG", "OPUS", rate=48000)[:-100], "unreadable"),
    "mp3 cut": (".mp3", MP3[:-700], "truncated"),
    "mp3, its second half zero": (".mp3", MP3[: len(MP3) // 2] + bytes(len(MP3) // 2), "damaged"),
    "mp3 of unknown length": (".mp3", MP3.replace(b"Xing", bytes(4)).replace(b"Info", bytes(4)), "unreadable"),
    "NaN": (".wav", encoded("WAV", "FLOAT", np.where(np.arange(len(WAVE)) == 7, np.nan, WAVE)), "NaN"),
    "infinite": (".wav", encoded("WAV", "DOUBLE", np.where(np.arange(len(WAVE)) == 7, -np.inf, WAVE)), "NaN"),
}  # fmt: skip

# name -> its bytes, the note of the store (None: refused), the fault that check finds
USED = {
    "stereo": (encoded("WAV", None, np.stack([WAVE, -0.5 * WAVE], 1)), "2 channels mixed down", "other format"),
    "other rate": (encoded("WAV", rate=48000, wave=LONG[:24000]), "48000 Hz resampled to 44100 Hz", "other format"),
    "other width": (encoded("WAV", "PCM_24"), "", "other format"),  # nothing of it is lost
    "beyond full scale": (encoded("WAV", "FLOAT", 20 * WAVE), "beyond full scale, clipped", "other format"),
    "zeros": (encoded("WAV", wave=0 * WAVE), "silent", "silent"),
    "constant": (encoded("WAV", wave=0 * WAVE + 0.3), "silent", "silent"),
    "second half zero": (WAV[: len(WAV) // 2] + bytes(len(WAV) // 2), "silent in its last quarter", "silent"),
    "a little shorter": (encoded("WAV", wave=WAVE[:-99]), "padded with silence", "other format"),
    "a little longer": (encoded("WAV", wave=LONG[: len(WAVE) + 99]), "cut", "other format"),
    "half as long": (encoded("WAV", wave=WAVE[: len(WAVE) // 2]), None, "other format"),
}


def data_set(folder: Path, suffix: str, make: bytes | Callable) -> tuple[Path, Path]:
    """Three clips, of which one is as said."""
    write_corpus(folder, [(f"audio/{number}.wav", "bus", f"p{number}", "") for number in range(3)], 0.5)
    meta, file = folder / "meta.csv", folder / f"audio/1{suffix}"
    meta.write_text(meta.read_text().replace("audio/1.wav", f"audio/1{suffix}"))
    (folder / "audio/1.wav").rename(file)
    file.write_bytes(make) if isinstance(make, bytes) else make(file)
    return folder, file


def refused(folder: Path, file: Path, kind: str) -> str:
    """By every way to the file, in a line that names it and says what to do; nothing stays in the cache."""
    with pytest.raises(audio.Damaged, match=r"; (fetch|put|check|convert|export|install|remove)") as caught:
        audio.read(file)
    said = str(caught.value)
    assert caught.value.kind == kind
    for use in (lambda: audio.read(file), lambda: audio.decode(file, RATE), lambda: list(audio.pieces(file, 0.1)),
                lambda: store.open_store(corpus.read(folder), RATE)):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(str(file))) as caught:
            use()
        assert str(caught.value).isprintable()  # one line
    assert not [stays for stays in config.cache().glob("stores/*") if stays.suffix != ".lock"]
    report = check.check(folder)
    assert {kind: list(found) for kind, found in report.faults.items()} == {kind: [f"audio/{file.name}"]}
    return said


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused_by_name(tmp_path, name):
    suffix, make, kind = DAMAGED[name]
    refused(*data_set(tmp_path / "set", suffix, make), kind)


def test_at_least_twenty_kinds():
    assert len(DAMAGED) >= 20


@pytest.mark.parametrize("name", USED)
def test_used_and_said(tmp_path, name):
    data, note, kind = USED[name]
    folder, file = data_set(tmp_path / "set", ".wav", data)
    assert list(check.check(folder).faults[kind]) == ["audio/1.wav"]
    if note is None:
        with pytest.raises(InputError, match=re.escape(f"{file}: is 0.25 s long where the others are 0.5 s")):
            store.open_store(corpus.read(folder), RATE)
    else:
        expected = [f"1 of 3 clips: {note} (audio/1.wav)"] if note else []
        assert store.open_store(corpus.read(folder), RATE).about["notes"] == expected


def test_same_samples_twice_are_said(tmp_path):
    folder, file = data_set(tmp_path / "set", ".flac", lambda file: file.write_bytes(FLAC))
    soundfile.write(folder / "audio/0.wav", soundfile.read(file)[0], RATE, subtype="PCM_16")
    assert check.check(folder).faults["duplicate"] == {"audio/1.flac": "same samples as audio/0.wav"}


def test_forbidden_file_and_impossible_name():
    with tempfile.TemporaryDirectory() as folder:
        file, root = Path(folder) / "in" / "a.wav", os.geteuid() == 0
        file.parent.mkdir()
        file.write_bytes(WAV)
        Path(folder).chmod(0o755)
        for what in (file, file.parent):
            what.chmod(0)
            os.seteuid(65534) if root else None
            try:
                with pytest.raises(audio.Damaged, match="a.wav: cannot be read .Permission denied.; check its perm"):
                    audio.read(file)
            finally:
                os.seteuid(0) if root else None
                what.chmod(0o755)
        with pytest.raises(audio.Damaged, match="File name too long"):
            audio.read(Path(folder) / ("a" * 300))


def test_m4a_needs_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said = refused(*data_set(tmp_path / "set", ".m4a", WAV), "unreadable")
    assert said.endswith("1.m4a: .m4a needs ffmpeg, which is not installed; install it or convert it to wav")


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.m4a", []), ("b.m4a", ["-movflags", "+faststart"]), ("c.m4a", ["-movflags", "frag_keyframe+empty_moov"]),
     ("a.aac", []), ("a.webm", ["-c:a", "libopus"])],
)  # fmt: skip
def test_by_ffmpeg_whole_is_used_and_cut_is_refused(tmp_path, name, options):
    """ADTS (.aac) and AMR hold neither length nor checksum: a cut between two frames stays unknown."""
    file = by_ffmpeg(tmp_path, name, *options)
    sound = audio.read(file)
    assert 0 <= len(sound.wave) / sound.rate - 0.5 < 0.06 and sound.wave.std() > 0.05
    cut = file.read_bytes()[: file.stat().st_size * 2 // 3]
    assert "ffmpeg cannot decode it" in refused(*data_set(tmp_path / "set", file.suffix, cut), "unreadable")


def outcome(file: Path, data: bytes) -> audio.Sound | None:
    """What is read of the bytes; None where they are refused. Anything but a refusal in one line is raised."""
    file.write_bytes(data)
    try:
        return audio.read(file)
    except audio.Damaged as fault:
        assert str(fault).isprintable() and str(file) in str(fault)


KINDS = """.wav WAV PCM_16, .wav WAV PCM_24, .wav WAVEX FLOAT, .wav RF64 PCM_16, .w64 W64 PCM_16, .au AU PCM_16,
.aiff AIFF PCM_24, .caf CAF PCM_16, .flac FLAC PCM_16, .flac FLAC PCM_24, .ogg OGG VORBIS, .opus OGG OPUS,
.mp3 MP3 MPEG_LAYER_III"""
SHORT = {}  # container and coding -> suffix, a whole file of 3,000 samples
for words in KINDS.split(","):
    suffix, *names = words.split()
    SHORT[" ".join(names)] = suffix, encoded(*names, LONG[:3000], 48000 if "OPUS" in names else RATE)


@pytest.mark.parametrize("kind", SHORT)
@given(cut=st.integers(0, 10**6))
@example(cut=0)
@example(cut=-1)
@example(cut=-2)
@example(cut=-6)
def test_cut_anywhere_is_refused(place, kind, cut):
    """libsndfile forgives a CAF file three samples."""
    suffix, data = SHORT[kind]
    assert outcome(place / f"cut{suffix}", data) is not None
    assert outcome(place / f"cut{suffix}", data[: cut % (len(data) - 6 * ("CAF" in kind))]) is None


@pytest.mark.parametrize("kind", ["FLAC PCM_16", "FLAC PCM_24", "OGG VORBIS", "OGG OPUS"])
@given(where=st.integers(0, 10**6), mask=st.integers(1, 255))
@settings(max_examples=150)
def test_flipped_anywhere_is_refused_or_heard_alike(place, kind, where, mask):
    """A flip in a comment or padding changes nothing. The first 42 bytes of FLAC have no checksum."""
    suffix, data = SHORT[kind]
    if "FLAC" in kind:
        where = 42 + where % (len(data) - 42)
    whole = outcome(place / f"flip{suffix}", data)
    sound = outcome(place / f"flip{suffix}", flipped(data, where % len(data), mask))
    if sound is not None:
        assert np.array_equal(sound.wave, whole.wave)
        notes = audio.decode(place / f"flip{suffix}", whole.rate)[1]
        assert notes == ([] if sound.rate == whole.rate else [f"{sound.rate} Hz resampled to {whole.rate} Hz"])


@pytest.mark.parametrize("kind", ["WAV PCM_16", "MP3 MPEG_LAYER_III"])
def test_limit_flips_where_a_format_has_no_checksum_are_used(place, kind):
    suffix, data = SHORT[kind]
    sound = outcome(place / f"limit{suffix}", flipped(data, len(data) * 2 // 3))
    assert sound is not None and not np.array_equal(sound.wave, outcome(place / f"limit{suffix}", data).wave)


@given(
    start=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"ID3\x04", b"\xff\xfb\x90"]),
    rest=st.binary(max_size=3000),
    suffix=st.sampled_from([".wav", ".flac", ".ogg", ".mp3", ".au", ".raw", ".vox", ".gsm", ".txt", ""]),
)
@settings(max_examples=300)
def test_arbitrary_bytes_are_refused(place, start, rest, suffix):
    assert outcome(place / f"any{suffix}", start + rest) is None


@given(kind=st.sampled_from(sorted(SHORT)), where=st.integers(0, 99), new=st.binary(min_size=1, max_size=8))
@settings(max_examples=300)
def test_no_header_crashes_or_fills_the_memory(place, kind, where, new):
    suffix, data = SHORT[kind]
    sound = outcome(place / f"header{suffix}", put(data, where, new))
    assert sound is None or sound.wave.size < 100 * len(data) and np.isfinite(sound.wave).all()


@pytest.mark.parametrize("kind", SHORT)
@pytest.mark.parametrize("seconds", [0.01, 0.03])
def test_pieces_are_the_whole(place, kind, seconds):
    """To the bit but for MP3's 24th. libsndfile plays the last packet of Opus, 20 ms, wrongly to who starts in it."""
    suffix, data = SHORT[kind]
    (place / f"whole{suffix}").write_bytes(data)
    whole = audio.read(place / f"whole{suffix}")
    found = list(audio.pieces(place / f"whole{suffix}", seconds))
    joined = np.concatenate([piece.wave for piece in found])
    differs = np.abs(joined - whole.wave)[: 2568 if "OPUS" in kind else None].max()
    assert differs <= (1e-7 if "MP3" in kind else 0)
    assert {len(piece.wave) for piece in found[:-1]} == {round(seconds * whole.rate)} and len(joined) == 3000
    assert audio.frames(place / f"whole{suffix}") == (len(whole.wave), whole.rate) == (3000, whole.rate)


@pytest.mark.parametrize(("bits", "subtype"), [(15, "PCM_16"), (23, "PCM_24")])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF"])
def test_samples_are_the_file_s_own(place, kind, bits, subtype):
    """Frozen: whole numbers over 2^bits; channels averaged; then soxr's HQ, as by hand."""
    numbers = np.random.default_rng(4).integers(-(2**bits) // 9, 2**bits // 9, (4800, 2))
    (place / "exact").write_bytes(encoded(kind, subtype, numbers / 2.0**bits, 48000))
    assert np.array_equal(audio.read(place / "exact").wave * 2.0**bits, numbers)
    mono = (numbers / 2.0**bits).astype(np.float32).mean(1)
    assert np.array_equal(audio.decode(place / "exact", 48000)[0], mono)
    wave, notes = audio.decode(place / "exact", RATE)
    assert np.array_equal(wave, soxr.resample(mono, 48000, RATE)) and len(wave) == 4410
    assert notes == ["2 channels mixed down", "48000 Hz resampled to 44100 Hz"]


# Whole files whose headers say something else


def wav(data: bytes = WAV[44:], riff: int | None = None, size: int | None = None, before: bytes = b"") -> bytes:
    """A WAV file of 16 bits, mono, with sizes of one's own choice and chunks before its data."""
    size = len(data) if size is None else size
    body = b"WAVE" + WAV[12:36] + before + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


PLAIN = np.frombuffer(WAV[44:], "<i2").astype(np.float32)[:, None] / 32768
ENDLESS = "its header tells no length; read to the end of the file"
CHUNK = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"


@given(riff=st.integers(0, 2**32 - 1), before=st.sampled_from([b"", CHUNK, 3 * CHUNK]))
@example(riff=44 + len(WAV) - 44, before=b"")  # 36 + data and 8 more: browsers and microcontrollers
@example(riff=len(WAV) - 16, before=b"")
@example(riff=0, before=CHUNK)
@example(riff=2**32 - 1, before=b"")
def test_wav_is_judged_by_its_data_chunk(place, riff, before):
    sound = outcome(place / "riff.wav", wav(riff=riff, before=before))
    assert np.array_equal(sound.wave, PLAIN) and sound.notes == ()
    assert outcome(place / "riff.wav", wav(riff=riff, before=before)[:-1]) is None


@given(
    sizes=st.sampled_from([(0, 0), (2**32 - 1, 2**32 - 1), (0x7FFFF024, 0x7FFFF000), (0, 2**32 - 1), (2**32 - 1, 0),
                           (0x80000024, 0x80000000), (2**32 - 1, 2**32 - 37)]),
    before=st.sampled_from([b"", CHUNK]),
    samples=st.integers(1, len(PLAIN)),
)  # fmt: skip
def test_wav_that_was_written_to_a_pipe_is_read_to_its_end_and_said(place, sizes, before, samples):
    sound = outcome(place / "pipe.wav", wav(WAV[44 : 44 + 2 * samples], *sizes, before))
    assert np.array_equal(sound.wave, PLAIN[:samples]) and sound.notes == (ENDLESS,)
    assert audio.frames(place / "pipe.wav") == (samples, RATE)


@pytest.mark.filterwarnings("error")  # of a callback in which libsndfile looks behind the end
@pytest.mark.parametrize("tail", [b"", b"\1", CHUNK])
def test_wav_to_a_pipe_that_ends_within_a_sample(place, tail):
    sound = outcome(place / "pipe.wav", wav(WAV[44:] + tail, 2**32 - 1, 2**32 - 1))
    assert np.array_equal(sound.wave[: len(PLAIN)], PLAIN) and sound.notes == (ENDLESS,)
    assert len(sound.wave) == len(PLAIN) + len(tail) // 2


def test_rf64_without_its_sizes(place):
    """As written to a pipe; a right one is told by the sizes of its first chunk."""
    for count, notes in ((0, (ENDLESS,)), (len(WAV) - 44, ())):
        sizes = b"ds64" + struct.pack("<IQQQI", 28, count and count + 72, count, count // 2, 0)
        body = b"WAVE" + sizes + WAV[12:36] + b"data" + struct.pack("<I", 2**32 - 1) + WAV[44:]
        sound = outcome(place / "rf.wav", b"RF64" + struct.pack("<I", 2**32 - 1) + body)
        assert np.array_equal(sound.wave, PLAIN) and sound.notes == notes
        if count:
            assert outcome(place / "rf.wav", b"RF64" + struct.pack("<I", 2**32 - 1) + body[:-2]) is None


@pytest.mark.parametrize("more", [2, 44, 10**6])
def test_wav_that_promises_more_than_it_has_is_cut(place, more):
    assert outcome(place / "more.wav", wav(size=len(WAV) - 44 + more, riff=len(WAV) - 8 + more)) is None


def mp3(rate: int, channels: int) -> bytes:
    return encoded("MP3", None, np.stack([LONG[: 2 * rate]] * channels, 1), rate)


def retagged(data: bytes, kind: str) -> bytes:
    """An MP3 file whose first frame tells less, or otherwise, how many there are."""
    at = next(data.find(name) for name in (b"Xing", b"Info") if name in data[:300])
    first = data.find(b"\xff", at + 120)  # behind the tag's own fields
    while data[first : first + 2] != data[:2]:
        first = data.find(b"\xff", first + 1)
    if kind == "VBRI":
        tag = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 0, 75, len(data), frames_of(data), 1, 1, 2, 1)
        return (data[:4] + bytes(32) + tag).ljust(first, b"\0") + data[first:]
    if kind == "no flag":
        fields = data[at + 12 : first] + bytes(4)  # the number's place is the next field's
        return data[: at + 7] + bytes([data[at + 7] & 0xFE]) + fields + data[first:]
    if kind == "half":
        return put(data, at + 8, struct.pack(">I", frames_of(data) // 2))
    return put(data, at + 8, bytes(4))


def frames_of(data: bytes) -> int:
    at = next(data.find(name) for name in (b"Xing", b"Info") if name in data[:300])
    return struct.unpack(">I", data[at + 8 : at + 12])[0]


ID3 = b"ID3\x03\0\0\0\0\x0f\x50" + bytes(2000)  # 15 * 128 + 80 bytes


@pytest.mark.parametrize("start", [b"", ID3, 2 * ID3], ids=["plain", "ID3", "two ID3"])
@pytest.mark.parametrize("kind", ["zero", "no flag", "VBRI", "half"])
@pytest.mark.parametrize(("rate", "channels"), [(44100, 1), (48000, 2), (22050, 1), (16000, 2), (8000, 1)])
def test_mp3_whose_tag_counts_too_few_frames_is_refused(place, rate, channels, kind, start):
    data = mp3(rate, channels)
    whole = outcome(place / "whole.mp3", start + data + b"TAG" + bytes(125))
    assert len(whole.wave) == 2 * rate and whole.notes == ()
    assert outcome(place / "tag.mp3", start + retagged(data, kind)) is None


@pytest.mark.parametrize("between", [b"", ID3, b"TAG" + bytes(125)])
def test_mp3_files_joined_are_refused(place, between):
    data = mp3(44100, 1)
    for second in (data, mp3(48000, 1), mp3(44100, 2)):
        assert outcome(place / "joined.mp3", data + between + second) is None


# Samples that mislead


@pytest.mark.parametrize("off", [1, 0.999, 0.99, 0.9, 0.8])
@pytest.mark.parametrize("kind", [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("OGG", "VORBIS")])
def test_channels_that_cancel_are_not_mixed(tmp_path, kind, off):
    low = soxr.resample(LONG, 4000, RATE)[:RATE]  # what Vorbis keeps the phase of
    folder, file = data_set(tmp_path / "set", ".wav", encoded(*kind, np.stack([low, -off * low], 1)))
    wave, notes = audio.decode(file, RATE)
    assert notes == ["2 channels cancel each other; the loudest is taken"]
    assert np.array_equal(wave, audio.read(file).wave[:, 0])
    assert list(check.check(folder).faults["cancelling channels"]) == ["audio/1.wav"]


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8))
def test_channels_that_agree_or_have_nothing_in_common_are_mixed(gains):
    """Of one live channel of eight, too."""
    noises = np.random.default_rng(5).standard_normal((4000, len(gains))).astype(np.float32)
    for wave in (noises * np.array(gains, np.float32), noises[:, :1] * np.abs(np.array(gains, np.float32))):
        mono, notes = audio.mix(wave)
        assert np.array_equal(mono, wave.mean(axis=1)) and notes == [f"{len(gains)} channels mixed down"]


NEARLY = {
    "one bit": np.random.default_rng(1).integers(-1, 2, RATE) / 32768,
    "-80 dB": 1e-4 * np.random.default_rng(1).standard_normal(RATE),
    "a tone of -80 dB on an offset": 0.1 + 1e-4 * np.sin(np.arange(RATE)),
    "clicks": np.where(np.arange(RATE) % 20000 == 5, 0.5, 0) + np.arange(RATE) % 2 / 32768,
}


@pytest.mark.parametrize("name", NEARLY)
def test_near_silence_is_named(tmp_path, name):
    folder, file = data_set(tmp_path / "set", ".wav", encoded("WAV", "PCM_16", NEARLY[name]))
    assert audio.decode(file, RATE)[1] == ["nearly silent"]
    assert check.check(folder).faults["silent"] == {"audio/1.wav": "nearly silent"}
    assert audio.silence(10 * NEARLY["-80 dB"], RATE) is None  # TUT 2017 has recordings of -72 dB


@pytest.mark.parametrize("scale", [32767, 2**23 - 1, 2.0**31])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_whole_numbers_written_as_float_are_refused(tmp_path, scale, subtype):
    said = refused(*data_set(tmp_path / "set", ".wav", encoded("WAV", subtype, scale * WAVE)), "beyond full scale")
    assert "where full scale is 1" in said


def test_float_samples_beyond_full_scale_are_a_fault_of_a_set(tmp_path):
    folder, _ = data_set(tmp_path / "set", ".wav", encoded("WAV", "FLOAT", 4 * WAVE))
    words = f"holds samples up to {4 * np.abs(WAVE).max():.3g} where full scale is 1; training clips them"
    assert check.check(folder).faults["beyond full scale"] == {"audio/1.wav": words}


# Names


@pytest.mark.parametrize("name", ["audio\\1.wav", "1.wav"])
def test_a_name_that_is_written_otherwise_is_the_fault(tmp_path, name):
    folder, file = data_set(tmp_path / "set", ".wav", WAV)
    meta = folder / "meta.csv"
    meta.write_text(meta.read_text().replace("audio/1.wav", name))
    advice = (
        "write / in the list where it has a backslash" if "\\" in name else "put audio/ before its name in the list"
    )
    said = f"no such file, but 1.wav is there; {advice}"
    assert check.check(folder).faults["missing"] == {name: said}
    with pytest.raises(InputError, match=re.escape(f"{folder / name}: {said}")):
        store.open_store(corpus.read(folder), RATE)


@pytest.mark.parametrize("listed", [True, False])
def test_a_name_in_a_locale_that_is_not_utf_8(tmp_path, listed):
    """The name is right; where it cannot be read, the locale is named."""
    folder, file = data_set(tmp_path / "set", ".wav", WAV)
    name = "caf\u00e9.wav"
    file.rename(file.with_name(name))
    (folder / "meta.csv").write_text((folder / "meta.csv").read_text().replace("1.wav", name), encoding="utf-8")
    code = ("import sys; from pathlib import Path; from asc_kit.data import audio, check\n"
            f"files = [f for f in Path({str(folder / 'audio')!r}).iterdir() if not f.name.isascii()]\n"
            f"try: print(check.check({str(folder)!r}).faults['missing']) if {listed} else audio.read(files[0])\n"
            "except audio.Damaged as fault: print(fault.what)")  # fmt: skip
    env = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "put PYTHONUTF8=1 before the command" in done.stdout and "rename" not in done.stdout
