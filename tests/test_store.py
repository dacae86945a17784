"""The store: the same samples as the files, built once, and one line for every damaged file."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr
import torch
from conftest import ROOT, real, write_corpus

from asc_kit import config, kernels
from asc_kit.common import InputError
from asc_kit.data import audio, corpus, demo, own, store
from asc_kit.features import LogMel


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASC_CACHE", str(tmp_path / "cache"))


def left_behind():
    stores = config.cache() / "stores"
    return [p.name for p in stores.iterdir() if not p.name.endswith(".lock")] if stores.exists() else []


def test_samples_are_the_files_bit_for_bit(tiny):
    read = corpus.read(tiny)
    opened = store.open_store(read, 44100)
    for name in read.table.filename:
        expected, _ = soundfile.read(tiny / name, dtype="int16")
        assert np.array_equal(opened.samples[opened.rows([name])[0]], expected)
    crops = opened.read([3, 5], [10, 40000], 100)
    assert crops.shape == (2, 100) and crops.dtype == torch.float32
    assert np.array_equal(crops[1].numpy() * 32768, opened.samples[5, 40000:40100])
    assert opened.read([0]).shape == (1, 44100)


def test_sections_that_are_read_ahead_are_those_that_are_read(tiny, monkeypatch):
    """As for a GPU, from the file or from its memory; a fault of the reading thread ends the reading here."""
    opened, device = store.open_store(corpus.read(tiny), 44100), torch.device("cpu")
    places = [([row, 11 - row], [row, 5 * row], 400) for row in range(12)]
    expected = [opened.read(*place) for place in places]
    monkeypatch.setattr(kernels, "BATCHED", True)
    for each in (opened, opened.copied(device)):
        assert all(torch.equal(*pair) for pair in zip(each.waves(places, device), expected, strict=True))
        assert torch.equal(each.read([3]), opened.read([3]))
    reading = opened.waves([*places[:2], ([12], [0], 400)], device)
    assert torch.equal(next(reading), expected[0]) and torch.equal(next(reading), expected[1])
    with pytest.raises(IndexError):
        next(reading)
    assert opened.on(device) is opened


def test_reused_while_nothing_changes_and_rebuilt_when_a_file_does(tiny):
    first = store.open_store(corpus.read(tiny), 44100)
    made = (first.folder / "samples.i16").stat().st_mtime_ns
    again = store.open_store(corpus.read(tiny), 44100)
    assert again.folder == first.folder and (again.folder / "samples.i16").stat().st_mtime_ns == made
    clip = tiny / corpus.read(tiny).table.filename[0]
    soundfile.write(clip, np.zeros(44100), 44100, subtype="PCM_16")
    changed = store.open_store(corpus.read(tiny), 44100)
    assert changed.folder != first.folder and changed.fingerprint != first.fingerprint
    assert not changed.samples[0].any() and first.samples[0].any()


def test_fingerprint_is_of_the_samples_not_of_the_place(tiny, tmp_path):
    import shutil

    shutil.copytree(tiny, tmp_path / "copy")
    assert (
        store.open_store(corpus.read(tmp_path / "copy"), 44100).fingerprint
        == store.open_store(corpus.read(tiny), 44100).fingerprint
    )


def test_other_rates_and_channels_are_converted_and_said(tiny, capsys):
    names = corpus.read(tiny).table.filename
    random = np.random.default_rng(5)
    wave = 0.1 * random.standard_normal((48000, 2))
    soundfile.write(tiny / names[0], wave, 48000, subtype="PCM_24")
    opened = store.open_store(corpus.read(tiny), 44100)
    decoded, _ = soundfile.read(tiny / names[0], dtype="float32")
    expected = audio.to_int16(soxr.resample(decoded.mean(1), 48000, 44100))
    assert np.array_equal(opened.samples[0], expected)
    assert opened.about["notes"] == [
        f"1 of 12 clips: 2 channels mixed down ({names[0]})",
        f"1 of 12 clips: 48000 Hz resampled to 44100 Hz ({names[0]})",
    ]
    assert "48000 Hz resampled" in capsys.readouterr().err


def test_a_little_longer_or_shorter_is_cut_or_padded_counted_and_said(tiny):
    names = corpus.read(tiny).table.filename
    soundfile.write(tiny / names[0], np.full(46000, 0.5), 44100, subtype="PCM_16")
    soundfile.write(tiny / names[1], np.full(42000, 0.5), 44100, subtype="PCM_16")
    opened = store.open_store(corpus.read(tiny), 44100)
    assert opened.samples[0].all() and opened.samples[1, :42000].all() and not opened.samples[1, 42000:].any()
    assert opened.about["notes"] == [
        f"1 of 12 clips: cut ({names[0]})",
        f"1 of 12 clips: padded with silence ({names[1]})",
        f"2 of 12 clips: silent ({names[0]} …)",  # constant, which no microphone gives
    ]


def test_full_scale_float_is_clipped_not_wrapped():
    assert audio.to_int16(np.array([2.0, 1.0, -1.0, -2.0, 0.5 / 32768, 0.4 / 32768])).tolist() == [
        32767,
        32767,
        -32768,
        -32768,
        0,
        0,
    ]


def damage(file, kind):
    wave = 0.1 * np.random.default_rng(1).standard_normal(44100)
    if kind == "missing":
        file.unlink()
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("this is not audio\n" * 100)
    elif kind == "header only":
        file.write_bytes(file.read_bytes()[:20])
    elif kind == "no samples":
        soundfile.write(file, np.zeros(0), 44100)
    elif kind == "truncated":
        file.write_bytes(file.read_bytes()[:-5000])
    elif kind == "half":
        soundfile.write(file, wave[:22050], 44100, subtype="PCM_16")
    elif kind == "NaN":
        soundfile.write(file, np.where(np.arange(44100) == 7, np.nan, wave), 44100, subtype="FLOAT")


@pytest.mark.parametrize(
    ("kind", "what"),
    [("missing", "no such file"), ("empty", "is empty"), ("text", "not audio"), ("header only", "not audio"),
     ("no samples", "no samples"), ("truncated", "truncated"), ("half", "0.50 s long"), ("NaN", "NaN")],
)  # fmt: skip
def test_damaged_file_is_named_in_one_line_and_nothing_is_left(tiny, kind, what):
    name = corpus.read(tiny).table.filename[4]
    damage(tiny / name, kind)
    with pytest.raises(InputError, match=what) as caught:
        store.open_store(corpus.read(tiny), 44100)
    assert str(tiny / name) in str(caught.value) and "\n" not in str(caught.value)
    assert left_behind() == []


def test_truncated_flac_is_found(tmp_path):
    folder = write_corpus(tmp_path / "flac", [(f"audio/{i}.flac", "bus", f"p{i}", "") for i in range(3)])
    file = folder / "audio" / "1.flac"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match="1.flac"):
        store.open_store(corpus.read(folder), 44100)


def test_all_faults_are_counted(tiny):
    for name in corpus.read(tiny).table.filename[:3]:
        damage(tiny / name, "empty")
    with pytest.raises(InputError, match=r"\(3 files are at fault\)"):
        store.open_store(corpus.read(tiny), 44100)


def test_full_disk_is_one_line_and_leaves_nothing(tiny, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(
        InputError, match=r"ASC_CACHE: .* cannot be written \(No space left on device\); is its disk full\? make room"
    ):
        store.open_store(corpus.read(tiny), 44100)
    assert left_behind() == []


def test_a_cache_that_cannot_be_written_is_named(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    cache = tmp_path / "file" / "cache"
    monkeypatch.setenv("ASC_CACHE", str(cache))
    (tiny / "meta.csv").rename(tmp_path / "meta.csv")
    (tiny / "audio").rename(tiny / "bus")
    with pytest.raises(
        InputError, match=f"ASC_CACHE: {cache}/own cannot be written, .*Not a directory.; give a folder"
    ):
        own.build(tiny)
    (tmp_path / "meta.csv").rename(tiny / "meta.csv")
    (tiny / "bus").rename(tiny / "audio")
    with pytest.raises(
        InputError, match=f"ASC_CACHE: {cache}/stores cannot be written, .*Not a directory.; give a folder"
    ):
        store.open_store(corpus.read(tiny), 44100)
    with pytest.raises(InputError, match=f"ASC_CACHE: {cache} cannot be written, .*Not a directory.; give a folder"):
        demo.build(cache / "demo", demo.Demo())


@pytest.mark.parametrize("error", [37, 95, 38])  # no locks, not supported, not implemented
def test_a_file_system_without_locks_is_named(tiny, monkeypatch, error):
    def none(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("fcntl.flock", none)
    said = rf"ASC_CACHE: {config.cache()}/stores .* has no locks \({os.strerror(error)}\); give a folder"
    with pytest.raises(InputError, match=said):
        store.open_store(corpus.read(tiny), 44100)


def test_killed_build_leaves_nothing_that_is_taken_for_whole(tiny):
    """A process that dies at its first clip, without any clean-up."""
    code = (
        "import os, signal; from asc_kit.data import corpus, store; real = os.pwrite\n"
        "def pwrite(*a): real(*a); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"os.pwrite = pwrite; store.open_store(corpus.read({str(tiny)!r}), 44100)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ)
    assert done.returncode == -9
    assert [n for n in left_behind() if not n.endswith(".part")] == []
    assert len(store.open_store(corpus.read(tiny), 44100).index) == 12
    assert not [n for n in left_behind() if n.endswith(".part")]


def test_two_processes_build_one_store(tiny):
    code = f"from asc_kit.data import corpus, store; print(store.open_store(corpus.read({str(tiny)!r}), 44100).fingerprint)"
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    prints = {p.communicate()[0] for p in both}
    assert len(prints) == 1 and all(p.returncode == 0 for p in both)


def test_opening_maps_and_does_not_load(tiny):
    opened = store.open_store(corpus.read(tiny), 44100)
    assert not opened.samples.flags.owndata and not opened.samples.flags.writeable


def test_what_16_bits_lose_of_real_24_bit_recordings():
    """The numbers that the README states: measured on 120 clips of TAU 2022 Mobile."""
    features, noise, change = LogMel(config.Features()), [], []
    for file in sorted((real("tau2022_clips") / "audio").iterdir()):
        wave, _ = audio.decode(file, 44100)
        kept = audio.to_int16(wave).astype(np.float32) / 32768
        error = ((kept - wave).astype(np.float64) ** 2).mean()
        if error:  # some sources hold no more than 16 bits
            noise.append(10 * np.log10((wave.astype(np.float64) ** 2).mean() / error))
        levels = features(torch.from_numpy(np.stack([wave, kept])))
        change.append((levels[0] - levels[1]).abs().mean().item())
    assert np.median(noise) > 70 and min(noise) > 55  # dB
    assert np.mean(change) < 0.01 and max(change) < 0.1  # dB
