"""A data set of several devices, SIMULATED from one recorder's clips in the way that TAU made its own simulated ones.

Each device is the measured impulse response of a real microphone and then a dynamic range compressor with a setting of
its own (Heittola et al. (2020), "Acoustic scene classification in DCASE 2020 challenge"). The devices that evaluation
alone has are of other makers than those of training.
"""

import hashlib
import re
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from asc_kit.beyond import compress
from asc_kit.common import InputError, in_threads, say, write_sound
from asc_kit.data import audio, corpus, responses

SEEN, UNSEEN = ("s1", "s2", "s3"), ("s4", "s5", "s6")
RATIOS = (1.4, 1.7, 2.0, 1.5, 2.0, 2.6)  # of the six's compressors
SHARE = 750 / 10215  # of the training clips is heard by each of s1 to s3, too: TAU 2020's clips of s1 and of a
FULL = 32767 / 32768  # the highest 16-bit sample
README = """SIMULATED devices: real recordings, those of {data}, through measured responses of microphones ({folder}).
Made by asc_kit simulate, seed {seed}. No clip of s1 to s6 was recorded by such a device.

Device {recorder} is the recorder, its clips as they are (16 bit, mono). s1 to s6 are its clips convolved with a
measured response of unit energy and compressed: levels of 20 ms are brought nearer to the clip's, a difference in dB
divided by the ratio. A clip that would pass full scale is made softer as a whole, so that none clips.

{devices}
Training: {training} clips of {recorder}, {few} of them by each of s1, s2 and s3, too. Evaluation: {evaluation} clips of
{recorder}, each through all six, too. Split by location: {split}. s4 to s6, and other microphones of their
makers, are not in training; responses/ holds those of all other makers, which training may hear.

The licences of the recordings and of the responses hold; credit MicIRP and xaudia.com for MicIRP's.
"""


def maker(file: str | Path) -> str:
    """A microphone's maker, by the beginning of its file's name.

    >>> maker("Shure315_flat.wav"), maker("IR_OktavaMK18_Overload.wav"), maker("EMI_ribbon.wav")
    ('Shure', 'Oktava', 'EMI')
    """
    stem = Path(file).stem.removeprefix("IR_")
    return (re.match(r"[A-Z]{2,}|[A-Z]?[a-z]+", stem) or [stem])[0]


def choose(files: tuple[Path, ...], seed: int) -> pd.DataFrame:
    """Six microphones of six makers, drawn by seed.

    Returns
    -------
    device, response (a file's name), md5, maker, ratio

    Raises
    ------
    InputError : the files are of fewer than six makers.
    """
    makers = sorted(set(map(maker, files)))
    if len(makers) < len(RATIOS):
        raise InputError(f"responses: {files[0].parent} has {len(files)} responses of {len(makers)} makers "
                         f"({', '.join(makers)}); give six or more, as the files' names begin")  # fmt: skip
    random, rows = np.random.default_rng(seed), []
    for device, name, ratio in zip(SEEN + UNSEEN, random.permutation(makers), RATIOS):
        file = random.choice([file for file in files if maker(file) == name])
        rows.append((device, file.name, hashlib.md5(file.read_bytes()).hexdigest(), str(name), ratio))
    return pd.DataFrame(rows, columns=["device", "response", "md5", "maker", "ratio"])


def through(wave: np.ndarray, response: np.ndarray, ratio: float, rate: int) -> np.ndarray:
    """A clip, (samples,), as such a device makes it: convolved with its response, (taps,), then compressed.

    Parameters
    ----------
    ratio : of the compressor, in dB to a dB; see `asc_kit.beyond.compress`
    rate : Hz
    """
    from scipy.signal import oaconvolve  # here: its import takes a while

    heard = torch.from_numpy(oaconvolve(wave, response)[: len(wave)]).float()
    return compress(heard[None], torch.tensor([[ratio]]), rate)[0].numpy()


def simulate(data: Path, folder: Path, out: Path, seed: int = 0) -> Path:
    """Write the data set, whole or not at all; of equal inputs and seed, equal bytes.

    Parameters
    ----------
    data : labelled recordings of one recorder; where there are several, the one of most training clips is taken
    folder : measured responses, of six makers or more
    out : a folder that is not there yet
    seed : of the microphones, the split where ``data`` brings none, and the clips of s1 to s3 in training

    Raises
    ------
    InputError : ``out`` is there, ``data`` has no labels or one of the devices already, or a clip or response is
        missing, silent or cannot be read.
    """
    if out.exists():
        raise InputError(f"{out}: is there already, and nothing is written over; name another folder")
    found = corpus.read(data)
    if not found.labelled:
        raise InputError(f"{found.root}: its clips have no scene_label; there is nothing to train on or to score")
    if taken := sorted(set(found.table.source_label) & set(SEEN + UNSEEN)):
        raise InputError(f"{found.root}: has clips of {', '.join(taken)} already; give recordings of one real device")
    files = responses.files(folder)
    devices = choose(files, seed)
    train, evaluate = _sides(found, seed)
    frames, rate = audio.frames(found.root / train.filename.iloc[0])
    _say_long(files, frames / rate)
    measured = dict(zip([file.name for file in files], responses.read(folder, rate).numpy()))
    settings = {row.device: (measured[row.response], row.ratio) for row in devices.itertuples()}
    by, few = _assigned(train, len(evaluate), seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as place:
        part = Path(place) / "made"  # with the usual permissions
        for name in ("audio", "evaluation_setup", "responses"):
            (part / name).mkdir(parents=True)
        record = partial(_record, root=found.root, part=part, rate=rate, settings=settings)
        made = in_threads(record, [*zip(pd.concat([train, evaluate]).itertuples(), by)], "simulating devices")
        _say_notes(found.root, made)
        _write_lists(part, made, len(train))
        _write_devices(part, devices, files)
        text = README.format(
            data=found.root.resolve().name, folder=folder.resolve().name, seed=seed, few=few, training=len(train),
            recorder=train.source_label.iloc[0], evaluation=len(evaluate),
            split="as its lists give it" if found.lists else "drawn, one fold of five",
            devices="".join("- {}: {} (md5 {}, {}), ratio {}\n".format(*row) for row in devices.values))  # fmt: skip
        (part / "README.md").write_text(text)
        part.rename(out)
    return out


def _sides(found: corpus.Corpus, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and evaluation rows of one recorder, which is a where the data set does not name it."""
    sides = found.split(min(found.lists, default=1), 5, seed)
    train, evaluate = (side.assign(source_label=side.source_label.replace("", "a")) for side in sides)
    recorder = train.source_label.mode()[0]
    train, evaluate = (side[side.source_label == recorder] for side in (train, evaluate))
    if evaluate.empty:
        raise InputError(f"{found.root}: its evaluation list has no clip of {recorder}, most of training's recorder")
    return train, evaluate


def _say_notes(root: Path, made: list) -> None:
    """Raise the first fault; say what had to be done to clips."""
    for fault in (one for one in made if isinstance(one, InputError)):
        raise fault
    for note, count in sorted(Counter(note for _, notes in made for note in notes).items()):
        say(f"{root}: {count} clips: {note}")


def _say_long(files: tuple[Path, ...], seconds: float) -> None:
    for file in files:
        count, rate = audio.frames(file)
        if count / rate > seconds:
            say(f"responses: {file.name} lasts {count / rate:.2f} s, longer than a clip of {seconds:.2f} s; cut to "
                f"{min(responses.SECONDS, seconds):g} s")  # fmt: skip


def _assigned(train: pd.DataFrame, evaluate: int, seed: int) -> tuple[list[tuple[str, ...]], int]:
    """The devices of every clip, training's before evaluation's; and how many each of s1 to s3 has in training."""
    order = train.sample(frac=1, random_state=seed)
    order = order.iloc[order.groupby("scene_label").cumcount().argsort(kind="stable")]  # one of each class, and again
    few, recorder = max(1, round(SHARE * len(train))), train.source_label.iloc[0]
    heard = {name: (device,) for i, device in enumerate(SEEN) for name in order.filename[i : 3 * few : 3]}
    return [(recorder, *heard.get(name, ())) for name in train.filename] + [(recorder, *SEEN, *UNSEEN)] * evaluate, few


def _record(item: tuple, root: Path, part: Path, rate: int, settings: dict) -> tuple[list[tuple], list[str]]:
    """Write a clip as each of its devices makes it; their rows of meta.csv, and notes."""
    row, devices = item
    wave, notes = audio.decode(root / row.filename, rate)
    suffix = ".flac" if row.filename.lower().endswith(".flac") else ".wav"
    stem = str(Path(row.filename).with_suffix("")).removeprefix("audio/").removesuffix(f"-{row.source_label}")
    rows = []
    for device in devices:
        heard = through(wave, *settings[device], rate) if device in settings else wave
        peak = np.abs(heard).max(initial=0)
        name = f"audio/{stem.strip('/').replace('/', '-')}-{device}{suffix}"
        write_sound(part / name, audio.to_int16(heard * min(1, FULL / max(peak, FULL))), rate, "PCM_16")
        rows.append((name, row.scene_label, row.identifier, device))
    return rows, [note for note in notes if "full scale" not in note]


def _write_lists(part: Path, made: list[tuple], training: int) -> None:
    """meta.csv and the fold's two lists; the first ``training`` clips are training's."""
    tables = [pd.DataFrame([row for rows, _ in side for row in rows], columns=corpus.COLUMNS)
              for side in (made[:training], made[training:])]  # fmt: skip
    pd.concat(tables).to_csv(part / "meta.csv", sep="\t", index=False)
    for name, table in zip(("train", "evaluate"), tables):
        table[corpus.COLUMNS[:2]].to_csv(part / "evaluation_setup" / f"fold1_{name}.csv", sep="\t", index=False)


def _write_devices(part: Path, devices: pd.DataFrame, files: tuple[Path, ...]) -> None:
    """devices.csv, and the responses of all makers that training may hear."""
    devices.to_csv(part / "devices.csv", sep="\t", index=False)
    unheard = set(devices.maker[devices.device.isin(UNSEEN)])
    for file in files:
        if maker(file) not in unheard:
            shutil.copyfile(file, part / "responses" / file.name)
