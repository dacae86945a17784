"""Devices simulated from measured responses: who hears what, how it sounds, and every fault in a line."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import cli, write_corpus

from asc_kit.common import InputError
from asc_kit.data import corpus, responses, simulate
from asc_kit.report.evaluation import DEVICES
from asc_kit.run import recipes

RATE = 16000
SIX = ("s1", "s2", "s3", "s4", "s5", "s6")
# Eight responses of seven makers, as such files are named; each lets another tilt pass
NAMES = ("Altec_639", "IR_AltecOther", "BBCmarconi_B", "Coles_4038", "EMI_ribbon", "IR_OktavaMK18", "Shure315_flat",
         "Sony_C37Fet")  # fmt: skip


@pytest.fixture
def microphones(tmp_path):
    made = tmp_path / "mics"
    made.mkdir()
    for number, name in enumerate(NAMES):
        response = np.zeros(300)
        response[40:43] = 0.5, 0.1 * (number - 4), 0.05 * number
        soundfile.write(made / f"{name}.wav", response, RATE, "PCM_24")
    return made


@pytest.fixture
def data(tmp_path):
    """Two classes, ten places, three clips in each, no devices and no split."""
    rows = [(f"audio/{'bus' if p % 2 else 'park'}_{p}_{i}.wav", "bus" if p % 2 else "park", f"p{p}", "")
            for p in range(10) for i in range(3)]  # fmt: skip
    return write_corpus(tmp_path / "data", rows, rate=RATE)


@pytest.fixture
def made(data, microphones, tmp_path):
    return simulate.simulate(data, microphones, tmp_path / "out")


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_makers_of_the_names_that_there_are():
    names = (*NAMES, "GEC_2373", "IR_Meazzi", "FilmIndustries_M8", "7")
    makers = " ".join(simulate.maker(f"{name}.wav") for name in names)
    assert makers == "Altec Altec BBC Coles EMI Oktava Shure Sony GEC Meazzi Film 7"


def test_who_hears_what(made, data):
    """Training by the recorder and a few by s1 to s3, evaluation seven times, no place and no maker on both sides."""
    found = corpus.read(made)
    train, evaluate = found.split(1, 5)
    source = corpus.read(data).split(1, 5, 0)
    few = max(1, round(simulate.SHARE * len(source[0])))
    assert train.source_label.value_counts().to_dict() == {"a": len(source[0])} | dict.fromkeys(SIX[:3], few)
    assert evaluate.source_label.value_counts().to_dict() == dict.fromkeys(("a", *SIX), len(source[1]))
    assert not set(train.identifier) & set(evaluate.identifier) and set(found.table.source_label) <= set(DEVICES)
    devices = pd.read_csv(made / "devices.csv", sep="\t").set_index("device")
    assert list(devices.index) == list(SIX) and devices.maker.is_unique
    assert all(simulate.maker(row.response) == row.maker for row in devices.itertuples())
    heard = {simulate.maker(file) for file in (made / "responses").iterdir()}
    assert heard == set(map(simulate.maker, NAMES)) - set(devices.maker[list(SIX[3:])])
    readme = (made / "README.md").read_text()
    assert readme.startswith("SIMULATED") and not found.synthetic  # real scenes
    assert all(f"{row.Index}: {row.response} (md5 {row.md5}, {row.maker})" in readme for row in devices.itertuples())
    for file in (made / "responses").iterdir():
        if file.name in set(devices.response):
            assert hashlib.md5(file.read_bytes()).hexdigest() in set(devices.md5)


def test_same_bytes_twice_and_others_of_another_seed(made, data, microphones, tmp_path):
    before = contents(data)
    again = simulate.simulate(data, microphones, tmp_path / "again")
    assert contents(again) == contents(made) and contents(data) == before
    other = simulate.simulate(data, microphones, tmp_path / "other", seed=1)
    assert (other / "devices.csv").read_bytes() != (made / "devices.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "data", "mics", "other", "out"]  # nothing else


def bands(wave):
    """Levels in dB of 40 bands of 200 Hz."""
    power = np.square(np.abs(np.fft.rfft(wave, 2 * RATE)))
    return 10 * np.log10(power[1:].reshape(40, -1).mean(1))


def test_devices_sound_as_their_response_says(made, data, microphones):
    """Noise of one level is not compressed: what differs is the response's spectrum."""
    devices = pd.read_csv(made / "devices.csv", sep="\t").set_index("device")
    measured = dict(zip(sorted(NAMES), responses.read(microphones, RATE).numpy()))
    _, evaluate = corpus.read(made).split(1, 5)
    for name in evaluate.filename[evaluate.source_label == "a"]:
        clip, rate = soundfile.read(made / name)
        source, _ = soundfile.read(data / name.replace("-a", ""), dtype="int16")
        assert rate == RATE and (clip * 32768 == source).all()
        for device in SIX:
            heard, _ = soundfile.read(made / name.replace("-a", f"-{device}"))
            response = measured[devices.response[device].removesuffix(".wav")]
            np.testing.assert_allclose(bands(heard) - bands(clip), bands(response), atol=1)


def test_compressor_divides_differences_of_level_by_its_ratio():
    wave = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    wave[:RATE] *= 0.1  # 20 dB below
    heard = simulate.through(wave, np.eye(1, 100)[0], 2.0, RATE)
    levels = [20 * np.log10(np.std(part)) for part in (heard[: RATE - 2000], heard[RATE + 2000 :])]
    assert levels[1] - levels[0] == pytest.approx(10, abs=0.5)


def test_nothing_clips(data, microphones, tmp_path):
    loud = np.random.default_rng(0).uniform(-0.999, 0.999, RATE)
    for file in (data / "audio").iterdir():
        soundfile.write(file, loud, RATE, "PCM_16")
    out = simulate.simulate(data, microphones, tmp_path / "out")
    clips = [soundfile.read(file, dtype="int16")[0].astype(int) for file in (out / "audio").iterdir()]
    assert max((np.abs(clip) >= 32767).sum() for clip in clips) == 1  # a clip's peak, where it was made softer
    assert "so that none clips: 0 here" not in (out / "README.md").read_text()


def test_given_lists_recorders_and_formats_are_kept(tmp_path, microphones):
    """As TAU names its clips, in FLAC of 24 bits: two recorders, of which the one with more training clips is taken."""
    rows = [(f"audio/bus-oslo-{p}-{i}-{d}.flac", "bus", f"oslo-{p}", d) for p in range(4) for i, d in enumerate("aab")]
    data = write_corpus(tmp_path / "data", rows, rate=RATE)
    (data / "evaluation_setup").mkdir()
    for side, places in (("train", "012"), ("evaluate", "3")):
        lines = [f"{name}\tbus\n" for name, *_ in rows if name.split("-")[2] in places]
        (data / "evaluation_setup" / f"fold1_{side}.csv").write_text("filename\tscene_label\n" + "".join(lines))
    found = corpus.read(simulate.simulate(data, microphones, tmp_path / "out"))
    train, evaluate = found.split(1, 5)
    assert set(evaluate.identifier) == {"oslo-3"} and len(evaluate) == 14 and "b" not in set(found.table.source_label)
    assert "audio/bus-oslo-3-0-s4.flac" in set(evaluate.filename) and found.table.city.eq("oslo").all()
    assert soundfile.info(found.root / evaluate.filename[0]).subtype == "PCM_16"


def test_responses_that_need_something_done_are_used_and_it_is_said(data, microphones, tmp_path, capsys):
    wave = np.zeros((3 * 48000, 2))
    wave[1000] = 0.5
    soundfile.write(microphones / "Toshiba_stereo.wav", wave, 48000)
    simulate.simulate(data, microphones, tmp_path / "out")
    told = capsys.readouterr().err.splitlines()
    assert "responses: Toshiba_stereo.wav lasts 3.00 s, longer than a clip of 1.00 s; cut to 0.25 s" in told
    assert {"responses: mics: 48000 Hz resampled to 16000 Hz", "responses: mics: 2 channels mixed down"} <= set(told)


def faulty(name, data, microphones, out):
    """What makes the fault of this name."""
    if name == "silent":
        soundfile.write(microphones / "Toshiba_off.wav", np.zeros(500), RATE)
    elif name == "few":
        for maker in ("Coles", "EMI"):
            next(microphones.glob(f"{maker}*")).unlink()
    elif name == "none":
        for file in microphones.iterdir():
            file.unlink()
    elif name == "there":
        out.mkdir()
    elif name == "taken":
        meta = (data / "meta.csv").read_text().splitlines()
        (data / "meta.csv").write_text("\n".join([*meta[:-2], meta[-2] + "s5", meta[-1] + "s2"]))
    elif name == "unlabelled":
        table = pd.read_csv(data / "meta.csv", sep="\t")
        table.drop(columns="scene_label").to_csv(data / "meta.csv", sep="\t", index=False)
    elif name == "cut":
        file = data / "audio" / "bus_1_1.wav"
        file.write_bytes(file.read_bytes()[:9000])


@pytest.mark.parametrize(
    ("name", "message"),
    [("silent", "Toshiba_off.wav is silent; remove it"), ("few", "6 responses of 5 makers .Altec, BBC, Oktava, Shure, Sony.; give six or more"),
     ("none", "holds no sound file"), ("there", "is there already, and nothing is written over"),
     ("taken", "has clips of s2, s5 already"), ("unlabelled", "have no scene_label"), ("cut", "bus_1_1.wav: is truncated")],
)  # fmt: skip
def test_faults_are_one_line_and_leave_nothing(name, message, data, microphones, tmp_path):
    out = tmp_path / "made" / "out"
    out.parent.mkdir()
    faulty(name, data, microphones, out)
    with pytest.raises(InputError, match=message):
        simulate.simulate(data, microphones, out)
    assert [*out.parent.iterdir()] == ([out] if name == "there" else [])


def test_command_prints_the_folder_and_refuses_in_a_line(data, microphones, tmp_path):
    done, again = (cli("simulate", data, "--responses", microphones, "--out", tmp_path / "out") for _ in "12")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'out'}\n")
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "is there already" in again.stderr


def test_the_recipe_trains_the_report_s_network_as_tut2017_full_does_and_that_of_small():
    ours, full, small = (recipes.load(f"config/{name}.yaml") for name in ("tut2017_devices", "tut2017_full", "small"))
    assert ours.config("2").hash == full.config("2").hash
    one, other = ours.config("robust_network", responses="off").as_dict(), small.config("2", responses="off").as_dict()
    assert one | {"submission": "2"} == other
    parts = [recipe.config("robust_logistic", responses="off").as_dict() for recipe in (ours, small)]
    assert parts[0] == parts[1]
