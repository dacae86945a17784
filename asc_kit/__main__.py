"""Command line: ``asc-kit COMMAND``, or ``python -m asc_kit COMMAND``.

Results go to standard output, messages to standard error; exit status 0 done, 1 the input is at fault, 2 usage.
"""

import gc
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from asc_kit.common import InputError, say


def _look_here(allowed: bool) -> bool:
    """A class that may be imported is looked for in the current folder, too."""
    if allowed:
        from asc_kit import network

        network.PLACES.append(Path.cwd())
    return allowed


AllowCode = Annotated[
    bool, typer.Option("--allow-code", callback=_look_here, help="import, and so run, the class that the file names")
]
ModelFile = Annotated[Path, typer.Argument(help="model.safetensors or compact.safetensors")]
Parameters = Annotated[
    list[str], typer.Option("-p", help="NAME=VALUE of asc_kit/config.py, or of a notebook's parameters; repeatable")
]
Microphone = Annotated[
    Path | None,
    typer.Option(
        help="folder of recordings by another microphone, without labels, to which the model is set: 20 or more"
    ),
]
Temperature = Annotated[
    str, typer.Option(help="of the probabilities: a number, or fitted, that of the model's temperature.json")
]
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="asc_kit")


def _say_version(wanted: bool) -> None:
    if wanted:
        print(version("asc_kit"))
        raise typer.Exit


@app.callback()
def main(version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True)] = False) -> None:
    """Low-complexity acoustic scene classification (DCASE 2021 Task 1A), reproduced."""


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(help="a notebook of notebooks/")],
    output: Annotated[Path, typer.Argument(help="where the executed copy goes")],
    parameter: Parameters = [],
) -> None:
    """Execute a notebook with papermill; a value is read by its parameter's type, and settings are changed by name."""
    from asc_kit.run import batch, parameters

    values = parameters.resolve(batch.declared(notebook), parameters.typed(parameter))
    batch.execute(notebook, output, values)


@app.command()
def plan(recipe: Annotated[Path, typer.Argument(help="such as config/report.yaml")]) -> None:
    """Tell steps, disk, time and memory of an experiment before its data is there."""
    from asc_kit.run import plan as planning
    from asc_kit.run import recipes

    print(planning.text(recipes.load(recipe)))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="a data set, or the folder it was fetched into")],
    json: Annotated[bool, typer.Option("--json", help="for machines, with every name")] = False,
) -> None:
    """Tell which data set and release a folder holds, and whether it is whole; exit status 0 only then."""
    from asc_kit.data import check as checking

    report = checking.check(folder)
    print(report.json() if json else report.text())
    raise typer.Exit(0 if report.whole else 1)


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="TAB or comma separated, in the DCASE output format")],
    truth: Annotated[Path, typer.Option(help="filename, scene_label and, where known, identifier and source_label")],
    out: Annotated[Path, typer.Option(help="folder for table_3.csv, table_4.csv, overall.json, confusion_matrix.csv")],
    against: Annotated[Path | None, typer.Option(help="another system's predictions: paired differences")] = None,
    classes: Annotated[str | None, typer.Option(help="all classes, as bus,park: where the truth has not all")] = None,
) -> None:
    """Score any system's predictions: overall, by class and by device, with intervals."""
    from asc_kit.report import score as scoring

    named = tuple(classes.split(",")) if classes else ()
    for name, value in scoring.score(predictions, truth, out, against, named).items():
        print(f"{name}\t{value}")


@app.command()
def fetch(
    dataset: Annotated[str, typer.Argument(help="tau2020_development or another data set of the registry")],
    root: Annotated[Path, typer.Option(help="folder for the archives, which are kept, and what they hold")],
    registry: Annotated[Path | None, typer.Option(help="TAB separated: dataset, filename, url, bytes, md5")] = None,
    meta_only: Annotated[bool, typer.Option("--meta-only", help="leave out the audio")] = False,
) -> None:
    """Download a data set, check and unpack it; started again, it goes on where it stopped."""
    from asc_kit.data import fetch as fetching

    for folder in fetching.fetch(dataset, root, registry, meta_only):
        print(folder)


@app.command()
def simulate(
    data: Annotated[Path, typer.Argument(help="labelled recordings of one recorder, in the DCASE layout or your own")],
    responses: Annotated[Path, typer.Option(help="folder of microphones' impulse responses, six makers or more")],
    out: Annotated[Path, typer.Option(help="folder to make")],
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="of the microphones, the split and the clips")] = 0,
) -> None:
    """Make a data set of several devices: the recordings through measured microphones and a compressor, as TAU did."""
    from asc_kit.data import simulate as simulation

    print(simulation.simulate(data, responses, out, seed))


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="CLASS/PLACE/recording or CLASS/recording; a CSV file; a data set")],
    out: Annotated[
        Path | None, typer.Option(help="where all is written; else FOLDER-model in the current folder")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="longest time; else as long as the clips want")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="trainings at once; else one for each core")] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="leave out what cannot be read")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="trainings of each fold; the scores are their means")] = 1,
    plan: Annotated[bool, typer.Option("--plan", help="write recipe.yaml and split.csv, and train nothing")] = False,
    parameter: Parameters = [],
) -> None:
    """Train on recordings of your own, score it at places it never heard, and write models to take away."""
    from asc_kit.report import verdict
    from asc_kit.run import own, parameters
    from asc_kit.run.workers import train_plan

    changes = parameters.resolve({"changes": dict}, parameters.typed(parameter)).get("changes", {})
    out = out or Path(f"{folder.resolve().name}-model")
    made = own.plan(folder, out, minutes, workers, skip_broken, seeds, **changes)
    if not plan:
        train_plan(made)
        print(verdict.write(made)[1])


@app.command()
def size(model: ModelFile, allow_code: AllowCode = False) -> None:
    """Count a model's numbers, bytes, multiply-accumulates and memory, and say which year's DCASE limits it meets."""
    from asc_kit.deploy import size as sizing

    print(sizing.table(sizing.measure(model, allow_code)))


@app.command()
def export(
    model: ModelFile,
    out: Annotated[Path, typer.Option(help="the ONNX file: waveform (batch, samples) in, probabilities out")],
    temperature: Temperature = "1",
    microphone: Microphone = None,
    allow_code: AllowCode = False,
) -> None:
    """Write a model as one ONNX file that classifies waveforms, with its features inside."""
    from asc_kit.deploy import microphone as microphones
    from asc_kit.deploy import onnx as exporting
    from asc_kit.deploy import ready

    heard = microphones.files_of(microphone)
    exporting.export(ready.load(model, allow_code, microphone, temperature), out, model, *heard)
    print(out)


@app.command()
def web(
    model: ModelFile,
    out: Annotated[Path, typer.Option(help="folder to make, or to make anew")],
    runtime: Annotated[Path | None, typer.Option(help="onnxruntime-web's archive, where npm cannot fetch it")] = None,
    temperature: Temperature = "1",
    microphone: Microphone = None,
    allow_code: AllowCode = False,
) -> None:
    """Write a page that classifies a phone's microphone, or a file, in the browser itself; nothing leaves it."""
    from asc_kit.deploy import web as pages

    pages.write(model, out, runtime, allow_code=allow_code, folder=microphone, temperature=temperature)
    print(out)
    say(f"browsers do not run it as a file: start python -m http.server --bind 127.0.0.1 --directory {out} and open "
        "http://localhost:8000; for a phone, put it at an https address; opened once, it works offline")  # fmt: skip


@app.command()
def predict(
    model: ModelFile,
    files: Annotated[list[Path] | None, typer.Argument(help="recordings, and folders of them")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="classes shown of each recording")] = None,
    json: Annotated[bool, typer.Option("--json", help="a list of file, label, probabilities")] = False,
    segments: Annotated[float | None, typer.Option(help="windows of 1 to 60 s in place of 10, with labels")] = None,
    temperature: Temperature = "1",
    manifest: Annotated[Path | None, typer.Option(help="a list of recordings, one a line, in place of files")] = None,
    root: Annotated[Path | None, typer.Option(help="folder that a manifest's names count from; else its own")] = None,
    out: Annotated[Path | None, typer.Option(help="with --manifest: its rows, in the DCASE output format")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="recordings at once; else one for each core")] = None,
    microphone: Microphone = None,
    allow_code: AllowCode = False,
) -> None:
    """Classify recordings of any format, rate and length; one that fails is named, and the exit status is 1."""
    ignored = root if files else json or top
    if bool(files) == bool(manifest) or bool(out) != bool(manifest) or ignored:
        raise typer.BadParameter("give files, or --manifest and --out; --json and --top go with files, "
                                 "--root with the others")  # fmt: skip
    gc.disable()  # a search for garbage while modules load is a fifth of a cold start
    from asc_kit.deploy import manifest as lists
    from asc_kit.deploy import recordings, show

    gc.freeze()
    gc.enable()

    names = lists.read(manifest) if manifest else []
    given = {"allow_code": allow_code, "folder": microphone, "temperature": temperature}
    session = show.Session(model, top, segments, workers, **given)
    if out:
        session.write(manifest, names, root or manifest.parent, out)
    else:
        (session.show_json if json else session.show)(recordings.find(files))
    raise typer.Exit(1 if session.failed else 0)


@app.command()
def listen(
    model: ModelFile,
    device: Annotated[str | None, typer.Option(help="microphone, by name or number; else the system's own")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="a pipe: signed 16 bits, little endian, mono")] = False,
    rate: Annotated[float | None, typer.Option(help="of the pipe's samples, Hz")] = None,
    every: Annotated[
        float, typer.Option(help="seconds from label to label, each of the last ten seconds; 0.1 to 10")
    ] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="an object a line for every label")] = False,
    temperature: Temperature = "1",
    microphone: Microphone = None,
    allow_code: AllowCode = False,
) -> None:
    """Label a microphone's sound, or a pipe's, while it comes; a line where the label changes. Ctrl+C ends it."""
    if stdin != (rate is not None) or stdin and device:
        raise typer.BadParameter("give --stdin and --rate, or neither; --device goes without them")
    with suppress(KeyboardInterrupt):
        from asc_kit.deploy import listen as listening

        given = {"allow_code": allow_code, "folder": microphone, "temperature": temperature}
        listening.listen(model, device, rate, every, json, **given)


@app.command()
def package(
    experiment: Annotated[Path | None, typer.Argument(help="folder of an experiment, with its runs")] = None,
    label: Annotated[str | None, typer.Option(help="Surname_Institute_task1a")] = None,
    data: Annotated[Path | None, typer.Option(help="data set to predict, labelled or not")] = None,
    seed: Annotated[int, typer.Option(help="of the runs")] = 0,
    out: Annotated[Path | None, typer.Option(help="zip file to write")] = None,
    check: Annotated[Path | None, typer.Option(help="zip file to check, against data if given")] = None,
) -> None:
    """Write a DCASE 2021 Task 1A submission of an experiment's networks, or name every fault of one."""
    if bool(check) == bool(out) or out and not (experiment and label and data) or check and (experiment or label):
        raise typer.BadParameter("give EXPERIMENT --label --data --out, or --check and, if known, --data")
    from asc_kit.report import package as submission

    if check:
        found = submission.faults(check, data)
        print("\n".join(found) if found else f"{check}: no fault")
        raise typer.Exit(1 if found else 0)
    for name in submission.package(experiment, label, data, out, seed):
        print(name)


def run_app() -> None:
    """What ``asc-kit`` starts."""
    if sys.stdout:  # not where it is closed
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no UTF-8
    try:
        app()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'disk'}: {error.strerror or error}")
    except ModuleNotFoundError as error:
        extra = "onnx" if error.name.startswith("onnx") else "train"
        sys.exit(f"error: {error.name}: is not installed; pip install '.[{extra}]' in asc_kit's repository")


if __name__ == "__main__":
    run_app()
