"""Is a data set whole, and which release is it? Every file is decoded and every list compared."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from asc_kit.common import in_threads
from asc_kit.data import audio
from asc_kit.data import corpus as corpora
from asc_kit.data.corpus import Corpus

DEVICES = ("a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6")
# TAU Urban Acoustic Scenes 2020 Mobile, development, by its lists. First release: training clips of device a by class;
# of b, c and s1 to s3 75 a class; evaluation clips 33 a class and device. The re-release lacks five clips; TAU 2022 is
# cut of it, ten clips of each.
TRAINING_A = {"airport": 1019, "bus": 1025, "metro": 1007, "metro_station": 1005, "park": 1054, "public_square": 1053,
              "shopping_mall": 999, "street_pedestrian": 1011, "street_traffic": 1038, "tram": 1004}  # fmt: skip
WITHDRAWN = {
    "audio/airport-barcelona-1-87-c.wav": "training",
    "audio/public_square-barcelona-108-3109-b.wav": "training",
    "audio/shopping_mall-london-131-3930-c.wav": "training",
    "audio/airport-barcelona-203-6132-b.wav": "evaluation",
    "audio/tram-barcelona-275-8394-c.wav": "evaluation",
}
CLIPS = {"first release": 23040, "re-release": 23035}
OFFICIAL = {"first release": {"training": 13965, "evaluation": 2970},
            "re-release": {"training": 13962, "evaluation": 2968}}  # fmt: skip
SHOWN = 20  # file names of each kind of fault in the text


@dataclass
class Report:
    """What `check` found.

    Attributes
    ----------
    root, name, release : the data set; release "" where the kit knows none
    clips : how many are listed
    formats : what the files are, and how many of each
    faults : kind -> file, class or location -> what is wrong; whole is where there are none
    notes : worth knowing, no fault
    sides : training, evaluation and so on -> clips
    """

    root: Path
    name: str
    release: str
    clips: int
    formats: dict[str, int] = field(default_factory=dict)
    faults: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    notes: list[str] = field(default_factory=list)
    sides: dict[str, int] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Nothing is missing, extra or at fault."""
        return not any(self.faults.values())

    def json(self) -> str:
        """For machines; every name in it."""
        return json.dumps({"root": str(self.root), "dataset": self.name, "release": self.release, "whole": self.whole,
                           "clips": self.clips, "formats": self.formats, "faults": self.faults, "notes": self.notes,
                           "sides": self.sides}, indent=1)  # fmt: skip

    def text(self) -> str:
        """For people; at most 20 names of a kind."""
        lines = [f"{self.name}{', ' * bool(self.release)}{self.release}: {self.clips:,} clips listed"]
        lines += [f"  {count:,} files: {what}" for what, count in self.formats.items()] + self.notes
        lines += [f"{side}: {count:,} clips" for side, count in self.sides.items()]
        for kind, found in self.faults.items():
            lines += ["", f"{kind}: {len(found):,}"]
            lines += [f"  {name}: {what}" for name, what in list(found.items())[:SHOWN]]
            lines += [f"  and {len(found) - SHOWN:,} more; --json names all"] * (len(found) > SHOWN)
        summary = ", ".join(f"{len(found):,} {kind}" for kind, found in self.faults.items())
        return "\n".join([*lines, "", f"{self.root}: whole" if self.whole else f"{self.root}: not whole: {summary}"])


def check(root: str | Path) -> Report:
    """Compare a data set's lists with its files and with the official numbers, and decode every file.

    Raises
    ------
    InputError : the lists themselves cannot be read.
    """
    corpus = corpora.read(root)
    report = Report(corpus.root, *_identity(corpus), len(corpus.table))
    _check_lists(corpus, report)
    _check_files(corpus, report)
    report.faults = {kind: dict(sorted(found.items())) for kind, found in report.faults.items()}
    return report


def _identity(corpus: Corpus) -> tuple[str, str]:
    """Name and release of a data set."""
    if corpus.synthetic:
        return "SYNTHETIC corpus of this kit", ""
    if not corpus.labelled:
        return f"evaluation set without scene labels ({corpus.root.name})", ""
    if (corpus.table.segment == "").any():
        return "data set in the DCASE layout", ""
    times = _clips_a_segment(corpus)
    name = f"TAU Urban Acoustic Scenes {2020 if times == 1 else 2022} Mobile, development"
    if len(corpus.table) < 0.7 * times * CLIPS["re-release"]:  # the lists alone name 16,930 and 16,935
        return f"data set with file names of {name}", ""
    if times > 1:
        return name, ""
    return name, "first release" if set(WITHDRAWN) & set(corpus.table.filename) else "re-release"


def _clips_a_segment(corpus: Corpus) -> int:
    """1, or 10 of TAU 2022, the re-release cut into seconds: a second stands before the device in its names."""
    return 10 if Path(corpus.table.filename.iloc[0]).stem.count("-") == 5 else 1


def _check_lists(corpus: Corpus, report: Report) -> None:
    sides = {}
    for fold in corpus.lists:
        prefix = f"fold {fold} " if len(corpus.lists) > 1 else ""
        training, evaluation = corpus.split(fold, 0)
        sides |= {f"{prefix}training": training, f"{prefix}evaluation": evaluation}
        for kind, column in (("location", "identifier"), ("clip", "filename")):
            for name in sorted(set(training[column]) & set(evaluation[column])):
                report.faults[f"{kind} on both sides"][name] = f"in training and evaluation of fold {fold}"
    rest = corpus.table[~corpus.table.filename.isin(corpus.used())]
    sides |= {"in no list": rest} if sides else {"all": corpus.table}
    report.sides = {side: len(rows) for side, rows in sides.items() if len(rows)}
    parts = corpus.table.filename.map(lambda name: Path(name).stem).str.extract(corpora.TAU_NAME)
    for column, part in (("scene_label", "scene"), ("source_label", "device")) if corpus.labelled else ():
        other = corpus.table[parts[part].notna() & (parts[part] != corpus.table[column]) & (corpus.table[column] != "")]
        for row in other.itertuples():
            report.faults[f"{column} other than in the name"][row.filename] = getattr(row, column)
    if not report.name.startswith("TAU"):
        return
    times, release = _clips_a_segment(corpus), report.release or "re-release"
    for side, count in OFFICIAL[release].items():
        if report.sides.get(side) != times * count:
            words = f"{report.sides.get(side, 0):,}, not {times * count:,}"
            report.faults["other number of clips than the official lists"][side] = words
    expected = times * CLIPS[release]
    if (corpus.root / "meta.csv").exists() and report.clips != expected:
        report.faults["not listed"]["meta.csv"] = f"lists {report.clips:,} clips, the release has {expected:,}"
    there = set(WITHDRAWN) & set(corpus.table.filename)
    report.notes.append(
        "five clips of TAU 2020's first release (13,965 training, 2,970 evaluation clips) are not in the re-release "
        "(13,962, 2,968), which the report scored, and of which TAU 2022 is cut; "
        f"of them {len(there)} are listed here: {', '.join(WITHDRAWN)}"
    )


def _check_files(corpus: Corpus, report: Report) -> None:
    if corpora.meta_file(corpus.root) is None and corpus.labelled:
        report.faults["missing"]["meta.csv"] = "the list of all clips; fetch it again"
    listed = set(corpus.table.filename)
    for file in (corpus.root / "audio").rglob("*"):
        name = file.relative_to(corpus.root).as_posix()
        if name not in listed and not file.is_dir() and not file.name.startswith("."):
            report.faults["extra"][name] = "is in no list"
    found = _measured(corpus, report)
    formats = Counter(what for what, _ in found.values())
    report.formats = dict(formats.most_common())
    usual = ("10 s" if report.release else "1 s") + ", 44100 Hz, mono, PCM_24"
    if not report.name.startswith("TAU") and formats:
        usual = formats.most_common(1)[0][0]
    same = defaultdict(list)
    for name, (what, digest) in found.items():
        if what != usual:
            report.faults["other format"][name] = f"{what}; the others: {usual}"
        same[digest].append(name)
    links = 0
    for names in same.values():
        for name in names[1:]:
            if corpus.synthetic and (corpus.root / name).samefile(corpus.root / names[0]):
                links += 1  # benchmarks/rehearsal.py's
            else:
                report.faults["duplicate"][name] = f"same samples as {names[0]}"
    if links:
        report.notes.append(f"{links:,} SYNTHETIC clips are links to another of them")


def _measured(corpus: Corpus, report: Report) -> dict[str, tuple[str, str]]:
    """Name -> format in words and digest of the samples of every sound file; faults go to the report."""
    files, measured = [corpus.root / name for name in corpus.table.filename], {}
    for name, result in zip(corpus.table.filename, in_threads(_measure, files, "checking audio")):
        if isinstance(result, audio.Damaged):
            report.faults[result.kind][name] = result.what
            continue
        what, digest, found = result
        for kind, words in found.items():
            report.faults[kind][name] = words
        measured[name] = what, f"{digest} {name}" if "silent" in found else digest  # silent clips are no twins
    return measured


def _measure(file: Path) -> tuple[str, str, dict[str, str]]:
    """A file's format in words, a digest of its samples, and kind -> words of what is wrong with a readable file."""
    sound = audio.read(file)
    count = sound.wave.shape[1]
    channels = {1: "mono", 2: "stereo"}.get(count, f"{count} channels")
    what = f"{len(sound.wave) / sound.rate:.7g} s, {sound.rate} Hz, {channels}, {sound.width}"
    mono, note = audio.mix(sound.wave)
    found = {"header": "; ".join(sound.notes), "silent": audio.silence(mono, sound.rate),
             "cancelling channels": note[0] if note and "cancel" in note[0] else "",
             "beyond full scale": audio.beyond(sound)}  # fmt: skip
    digest = hashlib.sha256(sound.wave.tobytes()).hexdigest()[:16]
    return what, digest, {kind: words for kind, words in found.items() if words}
