"""The report's own experiment, rehearsed at its full size on SYNTHETIC clips: seconds, memory and disk of every step.

The names are those of TAU Urban Acoustic Scenes 2020 Mobile, development, and of an evaluation set of 7,920 clips.
Their audio is the kit's own, of the true length, rate and width: some hundred different clips, to which all other names
are hard links. On it runs ``config/rehearsal.yaml``, the report's recipe with one epoch a system, through the same
Snakefile, and then the package of a submission.

What is made lies below a work folder; started again, all goes on where it was broken off. ``measured.json`` there has
what every step took so far, all its starts together.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import psutil
import soundfile
import typer

from asc_kit.common import InputError, amount, cached, locked, progress, say, write_file
from asc_kit.config import ROOT, path
from asc_kit.data import corpus as corpora
from asc_kit.data import demo, fetch
from asc_kit.data.check import DEVICES, TRAINING_A
from asc_kit.data.corpus import COLUMNS
from asc_kit.data.sounds import CITIES, RATE, Segment, synthesise
from asc_kit.run import recipes

RESULT = "results/performance/rehearsal.csv"
DEVELOPMENT, EVALUATION = (f"SYNTHETIC-TAU-{name}" for name in ("2020-mobile-development", "2021-mobile-evaluation"))
SCENES = {"training": (0, 1, 2), "in no list": (0, 1, 2), "evaluation": (3,)}  # side -> different scenes a class
EVALUATED = 7920  # clips of the evaluation set
STORED = 13962 + 2968 + EVALUATED  # clips decoded at a share of 1
SOURCE_A = 1440  # clips of device a in each class, listed or not: 40 hours
TICK, KEPT = 1.0, 10.0  # seconds between looks at the processes, and between writes of what was seen
LABEL = "Nobody_SYNTHETIC_task1a"


# The data set


def names(lists: Path, share: float) -> dict[str, pd.DataFrame]:
    """The clips of each side, with the columns of ``meta.csv``.

    Parameters
    ----------
    lists : folder of TAU's lists; without a ``meta.csv`` the clips in no list get names that it could have
    share : of each side, class and device, at least one clip of each
    """
    corpus = corpora.read(lists)
    training, evaluation = corpus.split(1, 1)
    rest = corpus.table[~corpus.table.filename.isin(corpus.used())]
    sides = {"training": training, "evaluation": evaluation, "in no list": rest}
    if rest.empty:
        sides["in no list"] = _unlisted(training, evaluation)
    return {side: _part(rows[COLUMNS], share) for side, rows in sides.items()}


def _part(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """A share of every class and device, evenly spaced, so that many locations are in it."""
    groups = rows.groupby(["scene_label", "source_label"]).filename
    number, size = groups.cumcount(), groups.transform("size")
    wanted = (share * size).round().clip(lower=1)
    return rows[number * wanted % size < wanted].reset_index(drop=True)


def _unlisted(training: pd.DataFrame, evaluation: pd.DataFrame) -> pd.DataFrame:
    """What TAU lists beside its fold: s4 to s6 where s1 was trained on, and device a's other clips."""
    rows = []
    for row in training[training.source_label == "s1"].itertuples():
        rows += [(row.filename.replace("-s1.", f"-{device}."), row.scene_label, row.identifier, device)
                 for device in DEVICES[6:]]  # fmt: skip
    of_a = pd.concat([training, evaluation]).query("source_label == 'a'").groupby("scene_label").size()
    for scene, places in evaluation.groupby("scene_label").identifier.unique().items():
        for number in range(SOURCE_A - of_a[scene]):
            place = places[number % len(places)]
            rows.append((f"audio/{scene}-{place}-{100000 + number}-a.wav", scene, place, "a"))
    return pd.DataFrame(rows, columns=COLUMNS)


def sources(sides: dict[str, pd.DataFrame]) -> dict[str, tuple[str, int, str]]:
    """File name -> (class, scene, device) of the different clip that it is a link to."""
    found = {}
    for side, rows in sides.items():
        scenes = SCENES[side]
        for row in rows.itertuples():  # a location is one scene
            scene = scenes[zlib.crc32(row.identifier.encode()) % len(scenes)]
            found[row.filename] = row.scene_label, scene, row.source_label
    return found


def evaluated(share: float) -> dict[str, tuple[str, int, str]]:
    """The evaluation set's file names, numbers as DCASE's are, as `sources` has them."""
    count, scene = round(share * EVALUATED), SCENES["evaluation"][0]
    kinds = [(label, scene, device) for device in DEVICES for label in TRAINING_A]
    return {f"audio/{number}.wav": kinds[number % len(kinds)] for number in range(count)}


def build(folder: Path, lists: Path, share: float = 1.0, seconds: float = 10.0) -> Path:
    """Write both data sets, whole or not at all; those that are there with the same settings are left as they are.

    Raises
    ------
    InputError : ``folder`` has other settings, the lists cannot be read, or the disk is too small.
    """
    settings = f"share {share:g} of each side, class and device; clips of {seconds:g} s"
    text = (f"SYNTHETIC audio, made by asc_kit (benchmarks/rehearsal.py) under the file names of TAU Urban Acoustic "
            f"Scenes Mobile: no recording of any place. Names are links to a few clips. {settings}.\n")  # fmt: skip
    readme = folder / DEVELOPMENT / "README.md"
    if readme.is_file():
        if readme.read_text() != text:
            raise InputError(f"{folder}: has other settings than {settings}; remove it, or name another --work")
        return folder
    with cached(folder) as part:
        _write(part, names(lists, share), evaluated(share), seconds, text)
    return folder


def _write(folder: Path, sides: dict[str, pd.DataFrame], others: dict[str, tuple], seconds: float, text: str) -> None:
    links = {DEVELOPMENT: sources(sides), EVALUATION: others}
    _record({source for found in links.values() for source in found.values()}, folder / "sources", seconds)
    for name, found in links.items():
        (folder / name / "audio").mkdir(parents=True)
        (folder / name / "evaluation_setup").mkdir()
        (folder / name / "README.md").write_text(text)
        for file, source in progress(found.items(), f"names of {name}"):
            os.link(_file(folder / "sources", *source), folder / name / file)
    setup = folder / DEVELOPMENT / "evaluation_setup"
    _list(folder / DEVELOPMENT / "meta.csv", pd.concat(sides.values()))
    _list(setup / "fold1_train.csv", sides["training"][COLUMNS[:2]])
    _list(setup / "fold1_evaluate.csv", sides["evaluation"][COLUMNS[:2]])
    _list(setup / "fold1_test.csv", sides["evaluation"][COLUMNS[:1]])
    _list(folder / EVALUATION / "evaluation_setup" / "fold1_test.csv", pd.DataFrame({"filename": list(others)}))


def _list(file: Path, table: pd.DataFrame) -> None:
    table.to_csv(file, sep="\t", index=False)


def _file(folder: Path, label: str, scene: int, device: str) -> Path:
    return folder / f"{label}-{scene}-{device}.wav"


def _record(wanted: set[tuple[str, int, str]], folder: Path, seconds: float) -> None:
    """Make the different clips, 24 bits wide as TAU's are."""
    folder.mkdir(parents=True)
    devices: dict[tuple[str, int], list[str]] = {}
    for label, scene, device in sorted(wanted):
        devices.setdefault((label, scene), []).append(device)

    def scene_by_devices(item: tuple[tuple[str, int], list[str]]) -> None:
        (label, scene), by = item
        location = 10 * list(TRAINING_A).index(label) + scene
        city, evaluation = CITIES[location % len(CITIES)], scene in SCENES["evaluation"]
        sound = synthesise(Segment(label, city, location, 0, tuple(by), evaluation), 0, seconds)
        for device in by:
            clip = demo.apply_device(sound, device, seed=location)
            soundfile.write(_file(folder, label, scene, device), clip, RATE, subtype="PCM_24")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(progress(pool.map(scene_by_devices, devices.items()), "synthetic scenes", total=len(devices)))


# What is measured


class Meter:
    """Seconds and memory of steps, looked at from outside while their processes run.

    Parameters
    ----------
    file : where it is kept; what stands there counts on
    home : the experiment's folder, whose files tell when a training is in its epochs
    """

    def __init__(self, file: Path, home: Path):
        self.file, self.home = file, home
        self.steps: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
        self.seen: set[tuple[str, psutil.Process]] = set()

    def run(self, command: list[str], step: str | None = None, cache: Path | None = None) -> None:
        """Run a command to its end; a ``step`` that is done is left out.

        Parameters
        ----------
        step : what the command is; None: a Snakemake, of whose jobs each is a step

        Raises
        ------
        InputError : it fails.
        """
        if step and self.steps.get(step, {}).get("done"):
            return
        say(f"rehearsal: {step or 'snakemake'}")
        environment = os.environ | ({"ASC_CACHE": str(cache)} if cache else {})
        process = psutil.Popen(command, cwd=ROOT, env=environment)
        last = kept = time.monotonic()
        while process.poll() is None:
            time.sleep(TICK)
            now = time.monotonic()
            self._look(process, step, now - last)
            last = now
            if now - kept > KEPT:
                kept = now
                self.keep()
        self.steps.setdefault(step or "all", _nothing())["done"] = process.returncode == 0
        self.keep()
        if process.returncode:
            raise InputError(f"{step or 'snakemake'}: failed, the lines above say why; the same command goes on there")

    def keep(self) -> None:
        """Write what was seen so far."""
        write_file(self.file, json.dumps(self.steps, indent=1) + "\n")

    def end_left_over(self) -> None:
        """End what an earlier start, killed itself, left running."""
        for pid, created in self.steps.get("all", {}).get("children", []):
            if psutil.pid_exists(pid) and (left := psutil.Process(pid)).create_time() == created:
                say(f"rehearsal: ends process {pid}, which an earlier start left running")
                for process in _tree(left):
                    process.kill()
        self.steps.get("all", {})["children"] = []

    def _look(self, process: psutil.Process, step: str | None, seconds: float) -> None:
        for name, root in {"all": process, **({step: process} if step else dict(_jobs(process)))}.items():
            seen = self.steps.setdefault(name, _nothing())
            if (name, root) not in self.seen:
                self.seen.add((name, root))
                seen["starts"] += 1
                self.steps["all"].setdefault("children", []).append([root.pid, root.create_time()])
                self.keep()
            seen["seconds"] += seconds
            seen["peak_mb"] = max(seen["peak_mb"], sum(map(own_memory, _tree(root))))
            seen["epoch_seconds"] += seconds * self._in_epochs(name, root)

    def _in_epochs(self, step: str, process: psutil.Process) -> bool:
        """Whether a training has its data open, and no model yet."""
        folder = run_of(self.home, step)
        if folder is None or not (begun := folder / "checkpoint" / "lock").exists():
            return False
        model, began = folder / "model.safetensors", begun.stat().st_mtime
        return began >= process.create_time() and not (model.exists() and model.stat().st_mtime >= began)


def _nothing() -> dict[str, Any]:
    return {"seconds": 0.0, "peak_mb": 0.0, "epoch_seconds": 0.0, "starts": 0}


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _jobs(process: psutil.Process) -> Iterator[tuple[str, psutil.Process]]:
    """The jobs that a Snakemake runs, each a Snakemake of its own: rule and wildcards, process."""
    for one in _tree(process)[1:]:
        try:
            command = one.cmdline()
        except psutil.Error:  # it has ended
            continue
        if "--target-jobs" in command:
            yield command[command.index("--target-jobs") + 1].rstrip(":").replace(":name=", " "), one


def own_memory(process: psutil.Process) -> float:
    """MB of a process's own memory; the files that it maps, as the store, are the system's, which takes them back."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000


def run_of(home: Path, step: str) -> Path | None:
    """The folder of a training's step, train_<submission>_seed_<k>."""
    kind, _, rest = step.partition("_")
    submission, _, seed = rest.rpartition("_seed_")
    return home / f"submission_{submission}" / f"seed_{seed}" if kind in ("train", "evaluate") and seed else None


def table(meter: Meter, folder: Path, recipe: recipes.Recipe, whole: recipes.Recipe) -> pd.DataFrame:
    """A row a step, in the order of their first start.

    Parameters
    ----------
    folder : of the data sets
    recipe, whole : what was run, and the recipe at its whole length

    Returns
    -------
    step; clips (file names) that it went through, of a training those of an epoch; seconds, of all starts;
    clips_a_second; peak_memory_mb, own memory of its processes; disk_mb that it left; starts; of a training also
    epoch_seconds (with its validation), and epochs and hours that the whole recipe takes on a core beside another
    """
    rows = []
    counts, places = _clips(meter.home, folder), _places(meter, folder)
    for step, seen in meter.steps.items():
        clips, seconds = counts.get(step.split("_")[0].split()[0], ""), round(seen["seconds"], 1)
        row = {"step": step, "clips": clips, "seconds": seconds, "peak_memory_mb": round(seen["peak_mb"]),
               "disk_mb": round(disk(places.get(step, ())) / 1e6, 1), "starts": seen["starts"]}  # fmt: skip
        if step.startswith("train_"):
            row |= _whole(meter.home, step, seen, whole)
        row["clips_a_second"] = round(row["clips"] / seconds, 2) if row["clips"] and seconds else ""
        rows.append(row)
    names = ["step", "clips", "seconds", "clips_a_second", "peak_memory_mb", "disk_mb", "starts", "epoch_seconds",
             "epochs", "hours"]  # fmt: skip
    return pd.DataFrame(rows, columns=names).astype({"epochs": "Int64"})


def _whole(home: Path, step: str, seen: dict[str, Any], whole: recipes.Recipe) -> dict[str, Any]:
    """An epoch of a training, and what all epochs of the whole recipe would take: at most, since it may stop early."""
    about = json.loads((run_of(home, step) / "run.json").read_text())
    epochs = whole.config(about["config"]["submission"]).training.epochs
    epoch = seen["epoch_seconds"] / about["epochs"]
    hours = (seen["seconds"] + (epochs - about["epochs"]) * epoch) / 3600
    return {"clips": about["data"]["training"], "epoch_seconds": round(epoch, 1), "epochs": epochs,
            "hours": round(hours, 1)}  # fmt: skip


def _clips(home: Path, folder: Path) -> dict[str, int]:
    """Clips by the first word of a step."""
    corpus = corpora.read(folder / DEVELOPMENT)
    scored = len(corpus.split(1, 1)[1])
    others = len(list((folder / EVALUATION / "audio").iterdir()))
    packed = others * len(list(home.glob("submission_[1-4]/seed_0/run.json")))
    return {"tree": len(corpus.table) + others, "store": len(corpus.used()), "loudness": len(corpus.used()),
            "corpus": len(corpus.table), "evaluate": scored, "tables": scored, "report": scored,
            "package": packed}  # fmt: skip


def _places(meter: Meter, folder: Path) -> dict[str, list[Path]]:
    """What each step left on the disk."""
    stores = meter.file.parent / "cache" / "stores"
    development, evaluation = (list(stores.glob(f"{name}-*")) for name in (DEVELOPMENT, EVALUATION))
    energies = [file for store in development for file in store.glob("energies-*.npy")]
    runs = {step: [run] for step in meter.steps if step.startswith("train_") and (run := run_of(meter.home, step))}
    return runs | {
        "tree": [folder], "store": [file for store in development for file in store.glob("samples.i16")],
        "loudness": energies, "report": [meter.home / name for name in ("index.html", "tables", "figures")],
        "package": [*evaluation, meter.file.parent / "package.zip"], "all": [meter.file.parent],
    }  # fmt: skip


def disk(places: Iterable[Path]) -> int:
    """Bytes of files and of what lies in folders; a file of several names counts once."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]
    return sum({(status := file.stat()).st_ino: status.st_blocks * 512 for file in files}.values())


# The steps


def decode(root: str) -> None:
    """Build the store of a data set."""
    from asc_kit.data.store import open_store  # here: what measures a training must not hold torch's memory beside it

    open_store(corpora.read(root), RATE)


def measure_loudness(root: str) -> None:
    """Compute the loudness of every clip, which modified mixup takes."""
    from asc_kit.data.gains import Gains
    from asc_kit.data.store import open_store

    Gains(open_store(corpora.read(root), RATE))


def rehearse(
    lists: Annotated[Path | None, typer.Option(help="folder of TAU 2020's lists; else they are fetched")] = None,
    work: Annotated[Path, typer.Option(help="folder for all that is made, 24 GB")] = Path("build/rehearsal"),
    share: Annotated[float, typer.Option(min=0.001, max=1, help="of the clips of each class and device")] = 1.0,
    seconds: Annotated[float, typer.Option(min=0.5, help="length of a clip")] = 10.0,
    cores: Annotated[int, typer.Option(min=1, help="trainings at a time")] = os.cpu_count() or 1,
    recipe: Annotated[Path, typer.Option(help="what is run")] = Path("config/rehearsal.yaml"),
) -> None:
    """Rehearse the report's experiment on SYNTHETIC clips; started again, it goes on."""
    work, loaded = path(work).resolve(), recipes.load(recipe)
    home, data, cache = work / "results" / loaded.name, work / "data", work / "cache"
    with locked(work / ".lock", f"--work: another rehearsal is at work in {work}; wait for it", "--work"):
        meter = Meter(work / "measured.json", home)
        meter.end_left_over()
        meter.run(_call("make", lists and str(path(lists)), str(work), share, seconds), "tree")
        _check_space(work, share * seconds)
        meter.run(_call("decode", str(data / DEVELOPMENT)), "store", cache)
        meter.run(_call("measure_loudness", str(data / DEVELOPMENT)), "loudness", cache)
        meter.run([*_snakemake(recipe, cores), f"dataset_root={data / DEVELOPMENT}", f"name={loaded.name}",
                   f"results_dir={work / 'results'}"], cache=cache)  # fmt: skip
        package, kit = work / "package.zip", [sys.executable, "-m", "asc_kit", "package"]
        meter.run([*kit, str(home), "--label", LABEL, "--data", str(data / EVALUATION), "--out", str(package)],
                  "package", cache)  # fmt: skip
        meter.run([*kit, "--check", str(package), "--data", str(data / EVALUATION)], "package check", cache)
        made = table(meter, data, loaded, recipes.load("config/report.yaml"))
    official = share == 1 and seconds == 10 and loaded.name == "rehearsal"
    file = path(RESULT) if official else work / "rehearsal.csv"
    write_file(file, made.to_csv(index=False))
    print(f"SYNTHETIC clips: scores mean nothing.\n{made.to_string(index=False, na_rep='')}\n{file}")


def make(lists: str | None, work: str, share: float, seconds: float) -> None:
    """Write the data sets, from lists that are fetched where none are given."""
    fetched = Path(work) / "meta"
    folder = Path(lists) if lists else fetch.fetch("tau2020_development", fetched, meta_only=True)[-1]
    build(Path(work) / "data", folder, share, seconds)


def _check_space(work: Path, size: float) -> None:
    """Refuse a disk that cannot hold both stores; those that are there count as free."""
    needed = size * STORED * RATE * 2 + 1e9 - disk([work / "cache"])
    if needed > (free := shutil.disk_usage(work).free):
        raise InputError(f"--work: {amount(needed)} are needed in {work}, where {amount(free)} are free; name another")


def _call(function: str, *values: Any) -> list[str]:
    return [sys.executable, "-c", f"from benchmarks import rehearsal; rehearsal.{function}(*{values!r})"]


def _snakemake(recipe: Path, cores: int) -> list[str]:
    """As ``make reproduce`` starts it: no two trainings at once that the memory cannot hold."""
    memory = psutil.virtual_memory().total * 9 // 10 // 10**6
    return [sys.executable, "-m", "snakemake", "--cores", str(cores), "--resources", f"mem_mb={memory}", "--configfile",
            str(recipe), "--config"]  # fmt: skip


if __name__ == "__main__":
    try:
        typer.run(rehearse)
    except InputError as error:
        sys.exit(f"error: {error}")
    except subprocess.SubprocessError as error:
        sys.exit(f"error: {error}")
