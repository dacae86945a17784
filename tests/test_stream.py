"""Sound that goes on: windows equal `Model.probabilities`, memory stays, many streams at once, and what `listen` says."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import soxr
import torch
import typer
from conftest import ROOT
from test_folding import CLASSES, trained
from torch import nn

from asc_kit.__main__ import app
from asc_kit.common import InputError
from asc_kit.deploy import calibration, compact, listen
from asc_kit.deploy.quick import quickened
from asc_kit.deploy.stream import BATCH, FAULTY, SILENT, Stream
from asc_kit.features import LogMel
from asc_kit.lab import recording as lab
from asc_kit.run.recipes import Recipe
from benchmarks.streams import Streams

RATE = 44100


class Edges(nn.Module):
    """Logits that a frame at either end moves as much as all the others together."""

    def forward(self, x):
        x = 0.1 * x[:, 0]  # batch, time, mel
        return torch.cat([x[:, :4].mean(2), x.mean((1, 2))[:, None], x.std((1, 2))[:, None], x[:, -4:].mean(2)], 1)


def made(submission="1", net=None, **features):
    settings = Recipe("test").config(submission)
    settings = dataclasses.replace(settings, features=dataclasses.replace(settings.features, **features))
    return compact.Model(net or trained(submission)[0], LogMel(settings.features), settings, CLASSES, 0, 0)


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.fixture(scope="module")
def quick(model):
    return quickened(model)


def noise(seconds, rate=RATE, seed=0):
    """Noise that grows, falls and changes its colour, so that no two windows are alike."""
    time = np.arange(round(seconds * rate)) / rate
    white = np.random.default_rng(seed).standard_normal(len(time))
    return (white * (0.02 + 0.1 * np.sin(time / 3) ** 2) + 0.2 * np.sin(1e3 * time**1.5)).astype(np.float32)


def blocks(wave, sizes):
    """Cut into blocks of sizes that are drawn from some."""
    draw, place = np.random.default_rng(1), 0
    while place < len(wave):
        size = draw.choice(sizes)
        yield wave[place : place + size]
        place += size


def heard_in(stream, wave, sizes):
    return [heard for block in blocks(wave, sizes) for heard in stream.feed(block)] + stream.finish()


def off(model, wave, found):
    """The largest difference of windows' probabilities from the model's own, of the same samples."""
    spans = [wave[round(heard.start * RATE) : round(heard.end * RATE)] for heard in found]
    return max(np.abs(model.probabilities(torch.from_numpy(span)[None])[0] - heard.probabilities).max()
               for span, heard in zip(spans, found))  # fmt: skip


def test_a_label_a_second_is_that_of_the_windows_samples(model, quick):
    wave = noise(23.4)
    found = heard_in(Stream(quick), wave, (1, 689, 2761, 44101))
    assert [heard.end for heard in found] == pytest.approx([*range(1, 24), 23.4])
    starts = np.array([heard.start * RATE for heard in found])
    assert (starts[:10] == 0).all() and starts % 690 == pytest.approx(0, abs=1e-6)
    lengths = [heard.end - heard.start for heard in found[10:]]
    assert 639 * 690 / RATE - 1e-6 < min(lengths) and max(lengths) < 10 + 690 / RATE
    assert off(model, wave, found) < 1e-5
    p = np.array([heard.probabilities for heard in found])
    assert p.std(0).max() > 0.02 and np.diff(p, axis=0).any(1).all()  # another result in every window
    assert [heard.label for heard in found] == [CLASSES[row.argmax()] for row in p]
    kept = np.exp(-1 / 3)
    assert np.allclose(found[0].smoothed, p[0], atol=1e-15)
    assert np.allclose(found[1].smoothed, kept * p[0] + (1 - kept) * p[1])
    kept = np.exp(-0.4 / 3)
    assert np.allclose(found[-1].smoothed, kept * found[-2].smoothed + (1 - kept) * p[-1])


SETTINGS = {"report": {}, "ln": dict(log="ln", amin=1e-8), "top_db": dict(top_db=30.0), "n_fft": dict(n_fft=4096), "longer than every": dict(n_fft=16384),
            "uncentred end": dict(last_frame=False), "odd": dict(window=1025, hop=441), "gaps": dict(window=1024, hop=1500),
            "gaps, uncentred end": dict(window=1024, hop=1500, last_frame=False)}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_other_features_too(name):
    model, wave = made(net=Edges(), **SETTINGS[name]), noise(12.9)
    found = heard_in(Stream(model, 0.3), wave, (10, 5000, 30000))
    assert len(found) == 43 and off(model, wave, [*found[:4], *found[30:44:4]]) < 1e-5


@pytest.mark.parametrize("submission", ["4", "baseline"])
def test_other_networks_too(submission):
    model, wave = made(submission), noise(12)
    found = heard_in(Stream(quickened(model), 6), wave, (1000, 7001))
    assert len(found) == 2 and off(model, wave, found) < 1e-5


def test_whatever_the_blocks_the_result_is_the_same(quick):
    wave = noise(14.2)
    whole = [*(stream := Stream(quick, 2)).feed(wave), *stream.finish()]
    for sizes in ([44100], [13, 100_000]):
        found = heard_in(Stream(quick, 2), wave, sizes)
        assert [heard.end for heard in found] == [heard.end for heard in whole]
        assert max(np.abs(a.probabilities - b.probabilities).max() for a, b in zip(found, whole)) < 1e-6
        assert [a.level for a in found] == [b.level for b in whole]


def held(stream):
    """Bytes of what a stream holds, and where; the model is shared."""
    tails = (stream.samples.memory, stream.frames.memory)
    rest = {
        name: value for name, value in vars(stream).items() if name not in ("model", "samples", "frames", "resampler")
    }
    return sum(tail.nbytes for tail in tails), [tail.ctypes.data for tail in tails], len(repr(rest))


def test_memory_is_constant_and_three_megabytes():
    stream, sizes = Stream(made("4", Edges()), 10), []  # 160 mel bins
    for number in range(7):
        stream.feed(noise(10, seed=number))
        sizes.append(held(stream))
    assert all(size[:2] == sizes[0][:2] and size[2] < sizes[0][2] + 20 for size in sizes) and sizes[0][0] < 3e6


@pytest.mark.long
def test_an_hour_of_stream_is_flat_in_memory_and_equal(model, quick):
    stream, wave = Stream(quick, rate=RATE), noise(60)
    peaks, found = [], []
    for _ in range(60):
        found += [heard for block in blocks(wave, (441, 44100, 100_000)) for heard in stream.feed(block)]
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # kB
    assert len(found) == 3600 and peaks[-1] - peaks[4] < 10_000
    hour = np.tile(wave, 60)
    assert off(model, hour, found[3::97] + found[-1:]) < 1e-5


def test_ten_streams_of_different_rates_at_once():
    model = made(net=Edges())
    rates = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 192000)
    waves = {rate: noise(12.3, rate, seed=rate) for rate in rates}
    streams, found = Streams(model, every=3), []
    for rate in rates:
        streams.add(rate, rate)
    for number in range(13):
        found += streams.feed({rate: wave[number * rate : (number + 1) * rate] for rate, wave in waves.items()})
    found += streams.finish(*rates)
    assert not streams.by_name
    for rate, wave in waves.items():
        own = [heard for heard in found if heard.name == rate]
        assert [heard.end for heard in own] == pytest.approx([3, 6, 9, 12, 12.3], abs=1e-4)
        whole = wave if rate == RATE else soxr.resample(wave, rate, RATE, quality="HQ")
        assert off(model, whole, own[2:]) < 1e-5
        assert (f"at {rate} Hz it holds nothing above {rate / 2:g} Hz, where the network hears up to 16000"
                in own[0].doubts) == (rate < 32000)  # fmt: skip


class Counted(nn.Module):
    """Logits of no network; remembers the batches."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return torch.zeros(len(x), len(CLASSES))


def test_what_is_due_together_is_scored_together(model):
    net = Counted()
    streams = Streams(dataclasses.replace(model, network=net))
    for name in range(11):
        streams.add(name)
    assert streams.feed({name: noise(0.9) for name in range(11)}) == [] == net.batches
    found = streams.feed({name: noise(0.2 if name < 10 else 0.05) for name in range(11)})
    assert [heard.name for heard in found] == list(range(10)) and net.batches == [BATCH, 2]
    streams.add(3)  # anew
    assert streams.feed({3: noise(0.2)}) == []
    net.batches.clear()
    (Stream(dataclasses.replace(model, network=net))).feed(noise(30))  # faster than real time
    assert sum(net.batches) == 30 and max(net.batches) == BATCH


@pytest.mark.parametrize(("settings", "words"), [
    (dict(every=0.05), "every: 0.05 s is out of range; give 0.1 to 10"), (dict(every=float("nan")), "every: nan"), (dict(every=11), "every: 11 s"),
    (dict(rate=0), "rate: 0 Hz cannot be; give 4000 to 768000"), (dict(rate=1e9), "rate: 1e"), (dict(rate=float("nan")), "rate: nan Hz cannot be"),
])  # fmt: skip
def test_impossible_settings_are_one_line(model, settings, words):
    with pytest.raises(InputError, match=words):
        Stream(model, **settings)


@pytest.mark.parametrize(("samples", "words"), [
    (np.zeros(9, np.int16), "samples: int16 of shape .9,.; give floats in .-1, 1. of one channel"), (np.zeros((9, 2)), "float64 of shape .9, 2."),
    (np.full(9, 3e4), "up to 30,000 where full scale is 1; divide those of 16 bits by 32768"),
])  # fmt: skip
def test_samples_that_are_none_are_refused_and_the_stream_goes_on(model, samples, words):
    stream = Stream(model)
    with pytest.raises(InputError, match=words):
        stream.feed(samples)
    assert stream.samples.end == 0 and len(stream.feed(noise(1))) == 1


@pytest.mark.parametrize("rate", [RATE, 48000])
def test_nan_is_taken_as_zero_and_a_doubt_while_it_is_in_the_window(quick, rate):
    wave = noise(14, rate)
    wave[round(2.5 * rate)], wave[round(2.6 * rate)] = np.nan, -np.inf
    stream, clean = Stream(quick, rate=rate), Stream(quick, rate=rate)
    found = [heard for second in np.split(wave, 14) for heard in stream.feed(second)]
    want = clean.feed(np.nan_to_num(wave, nan=0, neginf=0))
    assert max(np.abs(a.probabilities - b.probabilities).max() for a, b in zip(found, want, strict=True)) < 1e-6
    assert [FAULTY in heard.doubts for heard in found] == [3 <= round(heard.end) <= 12 for heard in found]


def test_silence_is_a_doubt_once_the_whole_window_is_silent(quick):
    stream = Stream(quick)
    found = stream.feed(np.concatenate([noise(2), np.full(14 * RATE, 0.01, np.float32), noise(2)]))
    assert [SILENT in heard.doubts for heard in found] == [13 <= round(heard.end) <= 16 for heard in found]
    assert found[5].level == -120 and -30 < found[1].level < -10
    assert all(np.isfinite(heard.probabilities).all() for heard in found)


def test_too_little_for_a_window_is_none(quick):
    stream = Stream(quick)
    assert stream.feed(noise(0.05)) == stream.finish() == []
    (last,) = [*stream.feed(noise(0.1)), *stream.finish()]
    assert last.end == pytest.approx(0.15, abs=1e-4) and stream.finish() == []


def test_a_network_that_gives_nan_is_said(model):
    broken = nn.Sequential(Counted(), nn.Threshold(1, float("nan")))
    with pytest.raises(InputError, match="the network gives NaN; is the model whole?"):
        Stream(dataclasses.replace(model, network=broken)).feed(noise(1))


# The command


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Its training clips were white noise."""
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    compact.save(*trained("1"), CLASSES, file)
    model, draw = compact.load(file), np.random.default_rng(0)
    waves = [torch.tensor(draw.standard_normal((1, RATE)) * draw.uniform(0.04, 0.06)).float() for _ in range(60)]
    known = np.concatenate([calibration.statistics(model.features(wave)) for wave in waves])
    effect = {"temperature": 2.5, "log_loss_before": 1.25, "log_loss_after": 1.125, "clips": 60}
    profile = calibration.profile(known, "ab" * 30, known)
    calibration.write(file.with_name(calibration.NAME), model.config, effect, profile, {})
    return file


def pcm(wave):
    return np.rint(np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()


@pytest.fixture
def listened(model_file, tmp_path, monkeypatch, capsys):
    """What the command prints of bytes on standard input: lines of results, and of messages."""

    def run(data, *options, rate=RATE):
        (tmp_path / "pcm").write_bytes(data)
        with open(tmp_path / "pcm", "rb") as pipe:
            monkeypatch.setattr(sys, "stdin", pipe)
            app(["listen", str(model_file), "--stdin", "--rate", str(rate), *options], standalone_mode=False)
        done = capsys.readouterr()
        return done.out.splitlines(), done.err.splitlines()

    return run


@pytest.mark.parametrize(
    ("seconds", "rate", "ends"), [(12.5, RATE, [*range(1, 13), 12.5]), (3, 16000, [1, 2, 3]), (0.4, RATE, [0.4])]
)
def test_json_lines_and_one_for_what_is_left(listened, model_file, seconds, rate, ends):
    data = pcm(noise(seconds, rate))
    lines, said = listened(data + b"x", "--json", rate=rate)
    entries = [json.loads(line) for line in lines]
    assert [entry["time"] for entry in entries] == pytest.approx(ends, abs=1e-4)
    stream = Stream(compact.load(model_file), rate=rate)
    want = [*stream.feed(np.frombuffer(data, "<i2") / 32768), *stream.finish()]
    for entry, heard in zip(entries, want, strict=True):
        assert list(entry) == ["time", "label", "probabilities", "smoothed"] and entry["label"] == heard.label
        for name in ("probabilities", "smoothed"):
            assert tuple(entry[name]) == CLASSES
            assert np.abs(np.array(list(entry[name].values())) - getattr(heard, name)).max() < 1e-5
    assert any("at 16000 Hz it holds nothing above 8000 Hz" in line for line in said) == (rate == 16000)


def test_other_intervals(listened):
    lines, _ = listened(pcm(noise(1.3)), "--json", "--every", "0.25")
    assert [json.loads(line)["time"] for line in lines] == pytest.approx([0.25, 0.5, 0.75, 1, 1.25, 1.3], abs=1e-4)


@pytest.mark.parametrize(("data", "options", "words"), [
    (b"", (), "too little sound for a label: 0.000 s"), (pcm(noise(0.03)), (), "too little sound for a label: 0.030 s"),
    (pcm(noise(1)), ("--rate", "100"), "rate: 100 Hz cannot be"), (pcm(noise(1)), ("--every", "0"), "every: 0 s is out of range"),
])  # fmt: skip
def test_faults_are_one_line(listened, data, options, words):
    with pytest.raises(InputError, match=words) as caught:
        listened(data, *options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [("--stdin",), ("--rate", "44100"), ("--stdin", "--rate", "44100", "--device", "x")]
)
def test_options_that_do_not_go_together_are_a_usage_error(model_file, options):
    with pytest.raises(typer.BadParameter, match="give --stdin and --rate, or neither"):
        app(["listen", str(model_file), *options], standalone_mode=False)


def test_people_get_a_line_a_change_silence_and_strangers_named(listened):
    white = (0.05 * np.random.default_rng(5).standard_normal(3 * RATE)).astype(np.float32)
    tone = 0.5 * np.sin(np.arange(12 * RATE) * 0.1)
    lines, said = listened(pcm(np.concatenate([np.zeros(2 * RATE), white, tone])))
    clocks, verdicts = [line[:7] for line in lines], [line[9:30].strip() for line in lines]
    assert clocks[0] == "0:00:01" and verdicts[0] == "silent" and lines[0].endswith("-120 dB")
    assert all(a != b for a, b in zip(verdicts, verdicts[1:])) and verdicts[-1] == "unlike anything heard"
    assert lines[-1].endswith(" dB") and len({len(line) for line in lines}) == 1
    assert said[0] == "warning: at 1 s: is silent: doubtful" and sum("silent" in line for line in said) == 1


def test_what_comes_faster_than_real_time_is_said_once(monkeypatch, capsys):
    clock = iter([0.0, 0.1, 9.0, 9.1, 9.2])
    monkeypatch.setattr(listen, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    source = listen.patient(iter([np.zeros(9 * RATE)] * 4), RATE)
    assert len(list(islice(source, 2))) == 2 and capsys.readouterr().err == ""  # in time: 18 s after 9
    assert len(list(source)) == 2
    assert capsys.readouterr().err == "note: it comes faster than real time; every window is scored all the same\n"


def test_a_pipe_that_stops_is_said_once_and_heard_again(monkeypatch, capsys):
    monkeypatch.setattr(listen, "PATIENCE", 0.05)
    ours, theirs = os.pipe()
    with open(ours, "rb") as pipe, open(theirs, "wb", 0) as sender:
        monkeypatch.setattr(sys, "stdin", pipe)
        source = listen.patient(listen.piped(), RATE)
        sender.write(b"\1\0\2")
        assert next(source).tolist() == [1 / 32768]
        threading.Timer(0.4, lambda: (sender.write(b"\0"), sender.close())).start()
        assert next(source).tolist() == [2 / 32768] and list(source) == []
    assert capsys.readouterr().err == "warning: nothing came for 0.05 s; still listening\n"


@pytest.fixture
def started(model_file):
    """The command in a process, which has said one line of four seconds and waits for more sound."""
    command = [sys.executable, "-m", "asc_kit", "listen", str(model_file), "--stdin", "--rate", "44100", "--json"]
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        signal.signal(signal.SIGINT, usual)
        process.stdin.write(pcm(noise(1.5)))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["time"] == 1
        yield process
        process.kill()


def test_ctrl_c_ends_it_cleanly(started):
    started.send_signal(signal.SIGINT)
    assert started.communicate() == (b"", b"") and started.returncode == 0


def test_a_reader_that_goes_ends_it_cleanly(started):
    started.stdout.close()
    started.stdin.write(pcm(noise(1)))
    started.stdin.flush()
    assert started.wait(60) == 0 and started.stderr.read() == b""


# A microphone that the tests make up


class PortAudioError(Exception):
    pass


class FakeMicrophones:
    """What `listen` uses of sounddevice: a loudspeaker, a microphone of 44.1 kHz or more, and one of 48 kHz alone."""

    PortAudioError = PortAudioError
    devices = [{"name": "Speaker", "index": 0, "max_input_channels": 0, "default_samplerate": 44100.0},
               {"name": "Built-in", "index": 1, "max_input_channels": 2, "default_samplerate": 44100.0},
               {"name": "USB mic", "index": 2, "max_input_channels": 1, "default_samplerate": 48000.0}]  # fmt: skip

    def __init__(self, seconds=2.2, status="", busy=False):
        self.seconds, self.status, self.busy, self.opened = seconds, status, busy, None

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return self.devices
        if device is None and not self.devices:
            raise PortAudioError("Error querying device -1")
        found = [one for one in self.devices if device in (None, one["index"]) or str(device) in one["name"]]
        found = [one for one in found if one["max_input_channels"]]
        if not found:
            raise ValueError(f"No input device matching {device!r}")
        return found[0]

    def check_input_settings(self, device, channels, dtype, extra_settings, samplerate):
        assert (channels, dtype) == (1, "float32")
        if device == 2 and samplerate != 48000:
            raise PortAudioError("Invalid sample rate")

    def InputStream(self, samplerate, blocksize, device, channels, dtype, callback):  # noqa: N802
        if self.busy:
            raise PortAudioError("Device unavailable")
        self.opened, self.callback = (samplerate, device), callback
        return self

    def __enter__(self):
        for number, block in enumerate(blocks(noise(self.seconds, self.opened[0]), [4096])):
            self.callback(block[:, None], len(block), None, self.status if number == 3 else "")
        return SimpleNamespace(active=False)  # it is unplugged

    def __exit__(self, *_):
        pass


@pytest.fixture
def plugged(monkeypatch):
    def plug(fake):
        monkeypatch.setattr(listen, "PATIENCE", 0.01)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        return fake

    return plug


def hear(model_file, *options):
    app(["listen", str(model_file), "--json", *options], standalone_mode=False)


@pytest.mark.parametrize(
    ("options", "opened"), [((), (44100, 1)), (("--device", "USB"), (48000, 2)), (("--device", "1"), (44100, 1))]
)
def test_a_microphone_is_heard_until_it_is_unplugged(plugged, model_file, capsys, options, opened):
    fake = plugged(FakeMicrophones(status="input overflow"))
    with pytest.raises(InputError, match="stopped; is it still plugged in?"):
        hear(model_file, *options)
    done = capsys.readouterr()
    assert [json.loads(line)["time"] for line in done.out.splitlines()] == [1, 2] and fake.opened == opened
    name = fake.devices[opened[1]]["name"]
    assert done.err.splitlines()[0] == f"listening to {name} at {opened[0]} Hz; Ctrl+C ends it"
    assert f"warning: {name}: samples were lost: input overflow" in done.err


def test_more_than_can_be_kept_is_lost_and_said(plugged, model_file, capsys, monkeypatch):
    monkeypatch.setattr(listen, "WAITING", 12)
    plugged(FakeMicrophones(seconds=3))
    with pytest.raises(InputError, match="stopped"):
        hear(model_file)
    done = capsys.readouterr()
    assert len(done.out.splitlines()) == 1 and "samples were lost: this machine is too slow" in done.err


@pytest.mark.parametrize(("fake", "options", "words"), [
    (FakeMicrophones(), ("--device", "nope"), "--device: no microphone nope; there are: 1 Built-in, 2 USB mic"),
    (FakeMicrophones(), ("--device", "0"), "--device: no microphone 0; there are: 1 Built-in"),
    (FakeMicrophones(busy=True), (), "Built-in: cannot be heard .Device unavailable.; is another program using it?"),
    (None, (), "sounddevice: is not installed; pip install '..listen.'"),
])  # fmt: skip
def test_a_microphone_that_cannot_be_had(plugged, model_file, fake, options, words):
    plugged(fake)
    with pytest.raises(InputError, match=words) as caught:
        hear(model_file, *options)
    assert "\n" not in str(caught.value)


def test_no_microphone_at_all_and_no_library(plugged, model_file, monkeypatch):
    fake = plugged(FakeMicrophones())
    monkeypatch.setattr(fake, "devices", [])
    with pytest.raises(InputError, match="no microphone by default; none is there; plug one in, or give --stdin"):
        hear(model_file)

    class Missing:
        def find_spec(self, name, *_):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(
        InputError, match="PortAudio library not found; install it .Debian: apt-get install libportaudio2"
    ):
        hear(model_file)


def test_a_notebook_hears_some_seconds(plugged, model_file):
    plugged(FakeMicrophones(seconds=7))
    listener = lab.Listener(model_file)
    found = list(listener.hear(6))
    assert [heard.end for heard in found] == [1, 2, 3, 4, 5, 6]
    told = [heard.unlike is not None for heard in found]
    assert told == [False, False, False, False, True, True]  # its clips have 10 s: of five it can be told
    plugged(None)
    with pytest.raises(InputError, match="is not installed"):
        next(listener.hear(3))
