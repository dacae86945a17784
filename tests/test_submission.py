"""A DCASE 2021 Task 1A package: written, read back, and every fault of a damaged one found by name."""

import datetime
import io
import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import write_corpus

from asc_kit import network
from asc_kit.__main__ import app
from asc_kit.common import InputError
from asc_kit.data import check
from asc_kit.data import corpus as corpora
from asc_kit.data.store import open_store
from asc_kit.deploy import compact
from asc_kit.deploy.predict import as_text
from asc_kit.report import package as submission
from asc_kit.run.recipes import Recipe

CLASSES, DEVICES = submission.CLASSES, ("a", "b", "c", "s1", "s2", "s3")
LABEL = "Kit_ASC_task1a"
ONE, TWO = (f"submission/task1a/{LABEL}_{n}/{LABEL}_{n}" for n in (1, 2))


def write_run(home, number, seed=0, classes=CLASSES, systems=None):
    """A random network, and random predictions of the truth."""
    folder, random = home / f"submission_{number}" / f"seed_{seed}", np.random.default_rng(int(number))
    folder.mkdir(parents=True)
    settings = Recipe("test", systems=systems or {}).config(number, seed)
    torch.manual_seed(int(number))
    compact.save(network.build(settings, len(classes)), settings, classes, folder / "model.safetensors")
    truth = pd.read_csv(home / "truth.tsv", sep="\t")
    (folder / "predictions.tsv").write_text(as_text(truth, random.dirichlet(np.ones(10), len(truth)), CLASSES))
    data = {"name": "some", "synthetic": True, "fingerprint": "x"}
    (folder / "run.json").write_text(json.dumps({"config": settings.as_dict(), "hash": settings.hash, "data": data}))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An experiment of submissions 1 and 2: 60 clips, ten classes, six devices."""
    home = tmp_path_factory.mktemp("experiment")
    rows = [(f"audio/{i}.wav", CLASSES[i % 10], f"place{i % 7}", DEVICES[i % 6]) for i in range(60)]
    pd.DataFrame(rows, columns=corpora.COLUMNS).to_csv(home / "truth.tsv", sep="\t", index=False)
    for number in ("1", "2"):
        write_run(home, number)
    return home


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """An evaluation set: twelve clips, no labels."""
    folder = write_corpus(tmp_path_factory.mktemp("set") / "eval", [(f"audio/{i}.wav", "", "", "") for i in range(12)])
    (folder / "meta.csv").write_text("filename\n" + "".join(f"audio/{i}.wav\n" for i in range(12)))
    return folder


@pytest.fixture(scope="module")
def sent(home, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("sent") / "package.zip"
    assert submission.package(home, LABEL, data, out) == [f"{LABEL}_1", f"{LABEL}_2"]
    return out


def parts(file):
    with zipfile.ZipFile(file) as package:
        return {name: package.read(name).decode() for name in package.namelist()}


def pack(file, texts):
    with zipfile.ZipFile(file, "w") as package:
        for name, text in texts.items():
            package.writestr(name, text)
    return file


def test_a_package_is_without_fault_by_itself_and_against_what_it_was_made_from(sent, home, data):
    names = [f"{one}{ending}" for one in (ONE, TWO) for ending in (".output.csv", ".meta.yaml")]
    assert list(parts(sent)) == names
    assert submission.faults(sent) == submission.faults(sent, data) == []


def test_the_output_is_what_the_model_says(sent, home, data):
    table = pd.read_csv(io.StringIO(parts(sent)[f"{TWO}.output.csv"]), sep="\t")
    assert list(table) == ["filename", "scene_label", *CLASSES]
    assert table.filename.tolist() == [f"{i}.wav" for i in range(12)]
    model = compact.load(home / "submission_2" / "seed_0" / "model.safetensors")
    store = open_store(corpora.read(data), 44100)
    p = model.probabilities(store.read(range(12)))
    assert np.abs(p - table[list(CLASSES)].to_numpy()).max() < 1e-6
    assert table.scene_label.tolist() == [CLASSES[i] for i in p.argmax(axis=1)]


def test_the_metadata_are_the_systems_and_its_results(sent, home):
    about = yaml.safe_load(parts(sent)[f"{ONE}.meta.yaml"])
    assert about["submission"]["label"] == f"{LABEL}_1" and about["submission"]["authors"][0]["lastname"] == "Kit"
    assert about["system"]["complexity"]["total_parameters"] == 62090
    size = about["system"]["complexity"]["total_parameters_non_zero"] * 2 / 1024
    assert about["system"]["complexity"]["model_size"] == pytest.approx(size, abs=1e-4) and size < 128
    results, truth = about["results"]["development_dataset"], pd.read_csv(home / "truth.tsv", sep="\t")
    p = pd.read_csv(home / "submission_1" / "seed_0" / "predictions.tsv", sep="\t")
    right = p.scene_label == truth.scene_label
    loss = -np.log(p[list(CLASSES)].to_numpy()[np.arange(60), truth.scene_label.map(CLASSES.index)])
    assert results["overall"]["logloss"] == pytest.approx(loss.mean(), abs=1e-5)
    assert results["overall"]["accuracy"] == pytest.approx(
        100 * right.groupby(truth.scene_label).mean().mean(), abs=1e-3
    )
    for name in CLASSES:
        mine = truth.scene_label == name
        assert results["class_wise"][name]["accuracy"] == pytest.approx(100 * right[mine].mean(), abs=1e-3)
        assert results["class_wise"][name]["logloss"] == pytest.approx(loss[mine].mean(), abs=1e-5)
    assert results["device_wise"]["s2"]["logloss"] == pytest.approx(loss[truth.source_label == "s2"].mean(), abs=1e-5)
    assert results["device_wise"]["s6"] == {"accuracy": None, "logloss": None}  # not measured


def test_the_metadata_name_the_network_that_was_trained(tmp_path, home):
    shutil.copy(home / "truth.tsv", tmp_path)
    write_run(tmp_path, "3", systems={"3": {"network": "baseline"}})
    about = submission.metadata(tmp_path / "submission_3" / "seed_0", f"{LABEL}_3")
    assert about["submission"]["name"] == "Baseline, 128 mel bins" and about["submission"]["abbreviation"] == "NN_128_3"
    assert about["system"]["description"]["machine_learning_method"] == "CNN"
    assert about["system"]["description"]["complexity_management"] == "weight quantization"


def test_equal_packages_are_equal_bytes(sent, home, data, tmp_path):
    submission.package(home, LABEL, data, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == sent.read_bytes()


METADATA = """\
submission:
  label: Kit_ASC_task1a_1
  name: Inverted bottlenecks, 32 mel bins
  abbreviation: MB_32_1
  authors:
  - lastname: Kit
    firstname: null
    email: null
    corresponding: true
    affiliation:
      abbreviation: ASC
      institute: null
      location: null
system:
  description:
    input_sampling_rate: 44.1kHz
    acoustic_features: log-mel energies
    embeddings: null
    data_augmentation: temporal crop, modified mixup, SpecAugment
    machine_learning_method: CNN
    ensemble_method_subsystem_count: null
    decision_making: null
    external_data_usage: null
    complexity_management: weight quantization, inverted bottlenecks
  complexity:
    total_parameters: 62090
    total_parameters_non_zero: 60326
    model_size: 117.8242
  external_datasets: []
  source_code: ''
results:
  development_dataset:
    overall:
      accuracy: 5.0
      logloss: 2.945322
    class_wise:
      airport:
        accuracy: 0.0
        logloss: 2.616474
"""


def test_the_form_is_the_one_that_the_organisers_validator_accepted(sent, home):
    """To the byte: the metadata's text, the files' order, day, rights and compression."""
    text = parts(sent)[f"{ONE}.meta.yaml"]
    run = json.loads((home / "submission_1" / "seed_0" / "run.json").read_text())
    assert text.startswith(METADATA)
    assert text.endswith(f"remark: configuration {run['hash']}, trained on some, SYNTHETIC data\n")
    with zipfile.ZipFile(sent) as package:
        about = {(e.date_time, e.external_attr >> 16, e.compress_type) for e in package.infolist()}
    assert about == {((2021, 6, 15, 0, 0, 0), 0o644, zipfile.ZIP_DEFLATED)}


def line(number, column, value):
    """Change a cell of the first output."""

    def change(texts):
        rows = [row.split("\t") for row in texts[f"{ONE}.output.csv"].splitlines()]
        rows[number][column] = value if isinstance(value, str) else value(rows[number][column])
        texts[f"{ONE}.output.csv"] = "\n".join(map("\t".join, rows)) + "\n"

    return change


def rows(edit):
    """Change the first output's lines."""

    def change(texts):
        texts[f"{ONE}.output.csv"] = "\n".join(edit(texts[f"{ONE}.output.csv"].splitlines())) + "\n"

    return change


def field(path, value=None):
    """Change a field of the first metadata; None takes it out."""

    def change(texts):
        about = yaml.safe_load(texts[f"{ONE}.meta.yaml"])
        *folders, name = path.split(".")
        block = about
        for folder in folders:
            block = block[int(folder) if folder.isdigit() else folder]
        block.pop(name) if value is None else block.update({name: value})
        texts[f"{ONE}.meta.yaml"] = yaml.safe_dump(about)

    return change


def move(old, new):
    def change(texts):
        texts[new] = texts.pop(old)

    return change


def other_label(texts):
    row = texts[f"{ONE}.output.csv"].splitlines()[1].split("\t")
    label = next(name for name in CLASSES if name != row[1])
    line(1, 1, label)(texts)


MUTATIONS = {
    "a row less": (rows(lambda r: r[:3] + r[4:]), f"{ONE}.output.csv: lacks 1 clips of DATA: 2.wav"),
    "a strange clip": (line(3, 0, "77.wav"), f"{ONE}.output.csv: has 1 clips that DATA has not: 77.wav"),
    "a row twice": (rows(lambda r: [*r, r[5]]), f"{ONE}.output.csv: line 14: names a file that is there twice"),
    "a column less": (rows(lambda r: [x.rsplit("\t", 1)[0] for x in r]), f"{ONE}.output.csv: missing columns: tram;"),
    "a column's name": (line(0, 4, "subway"), f"{ONE}.output.csv: missing columns: metro; it has filename, scene_label, airport, bus, subway"),
    "two columns": (rows(lambda r: [r[0].replace("airport\tbus", "bus\tairport"), *r[1:]]), "missing columns: none; it has filename, scene_label, bus, airport,"),
    "commas": (rows(lambda r: [x.replace("\t", ",") for x in r]), f"{ONE}.output.csv: missing columns: filename, scene_label"),
    "a cell more": (line(2, 5, lambda x: f"{x}\t0"), f"{ONE}.output.csv: is no TAB separated text (Error tokenizing data. C error: Expected 12 fields in line 3, saw 13)"),
    "no rows": (rows(lambda r: r[:1]), f"{ONE}.output.csv: has no row"),
    "no text": (lambda t: t.update({f"{ONE}.output.csv": ""}), f"{ONE}.output.csv: is no TAB separated text (No columns"),
    "another label": (other_label, f"{ONE}.output.csv: line 2: its scene_label is not the most probable class (1 such rows)"),
    "a label": (line(1, 1, "harbour"), f"{ONE}.output.csv: line 2: its scene_label is none of the ten"),
    "a word": (line(4, 6, "much"), f"{ONE}.output.csv: line 5: a class has no probability from 0 to 1"),
    "NaN": (line(4, 6, "nan"), f"{ONE}.output.csv: line 5: a class has no probability from 0 to 1"),
    "negative": (line(4, 6, "-0.1"), f"{ONE}.output.csv: line 5: a class has no probability from 0 to 1"),
    "above one": (line(4, 6, "1.01"), f"{ONE}.output.csv: line 5: a class has no probability from 0 to 1"),
    "sum": (line(4, 6, lambda x: str(float(x) / 2)), f"{ONE}.output.csv: line 5: its probabilities do not sum to 1"),
    "no name": (line(4, 0, ""), f"{ONE}.output.csv: line 5: names no file"),
    "no metadata": (lambda t: t.pop(f"{ONE}.meta.yaml"), f"{LABEL}_1: needs one output.csv and one meta.yaml, has output.csv"),
    "no output": (lambda t: t.pop(f"{ONE}.output.csv"), f"{LABEL}_1: needs one output.csv and one meta.yaml, has meta.yaml"),
    "another file": (lambda t: t.update({"a/.DS_Store": ""}), "a/.DS_Store: is no <label>/<label>.output.csv or .meta.yaml"),
    "folder": (move(f"{ONE}.output.csv", f"x/{LABEL}_1.output.csv"), f"x/{LABEL}_1.output.csv: is no <label>/<label>.output.csv"),
    "number": (move(f"{ONE}.output.csv", f"{LABEL}_5/{LABEL}_5.output.csv"), f"{LABEL}_5.output.csv: is no <label>/<label>.output.csv or .meta.yaml, a label Surname"),
    "sender": (move(f"{ONE}.output.csv", "I_B_task1a_1/I_B_task1a_1.output.csv"), f"needs systems of one sender, has {LABEL}_1, {LABEL}_2, I_B_task1a_1"),
    "nothing": (lambda t: t.clear(), "needs systems of one sender, has none"),
    "YAML": (lambda t: t.update({f"{ONE}.meta.yaml": "a: [b"}), f"{ONE}.meta.yaml: is no YAML"),
    "no date": (lambda t: t.update({f"{ONE}.meta.yaml": "a: 2021-99-99"}), f"{ONE}.meta.yaml: is no YAML"),
    "no truth value": (lambda t: t.update({f"{ONE}.meta.yaml": "!!bool x"}), f"{ONE}.meta.yaml: is no YAML"),
    "depth": (lambda t: t.update({f"{ONE}.meta.yaml": "[" * 2000}), f"{ONE}.meta.yaml: is no YAML"),
    "a list": (lambda t: t.update({f"{ONE}.meta.yaml": "[1]"}), f"{ONE}.meta.yaml: the file is [1]; give a block"),
    "block": (field("system"), f"{ONE}.meta.yaml: the file has no system"),
    "description": (field("system.description.decision_making"), "system.description has no decision_making"),
    "label inside": (field("submission.label", "Kit_ASC_task1a_2"), "submission.label is 'Kit_ASC_task1a_2', the file"),
    "abbreviation": (field("submission.abbreviation", "far too long"), "abbreviation is 'far too long'; give at most 10 characters"),
    "authors": (field("submission.authors", []), "submission.authors is []; give a list of authors"),
    "email": (field("submission.authors.0.email"), f"{ONE}.meta.yaml: submission.authors.0 has no email"),
    "corresponding": (field("submission.authors.0.corresponding", False), "; give a list of authors, one of them corresponding"),
    "parameters": (field("system.complexity.total_parameters", "62k"), "total_parameters is '62k'; give a whole number"),
    "large": (field("system.complexity.model_size", 129.0), "model_size is 129.0; give a number of KB, above 0 and at most 128"),
    "size": (field("system.complexity.model_size", "small"), "model_size is 'small'; give a number of KB"),
    "400 digits": (field("system.complexity.model_size", 10**400), "model_size is 1000"),
    "of parameters": (field("system.complexity.total_parameters_non_zero", 10**400), "total_parameters_non_zero is 1000"),
    "of per cent": (field("results.development_dataset.overall.accuracy", 10**400), "overall.accuracy is 1000"),
    "class": (field("results.development_dataset.class_wise.park"), "class_wise has no park"),
    "device": (field("results.development_dataset.device_wise.s6"), "device_wise has no s6"),
    "percent": (field("results.development_dataset.overall.accuracy", 140), "results.development_dataset.overall.accuracy is 140; give per cent, 0 to 100, or nothing"),
    "list": (field("results.development_dataset.class_wise", [1]), "results.development_dataset.class_wise is [1]; give a block"),
    "loss": (field("results.development_dataset.class_wise.bus.logloss", -1), "class_wise.bus.logloss is -1; give a number, 0 or more, or nothing"),
}  # fmt: skip


def found(file, data):
    return "\n".join(submission.faults(file, data)).replace(str(data), "DATA")


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_fault_is_found_and_named(tmp_path, sent, data, home, name):
    change, what = MUTATIONS[name]
    texts = parts(sent)
    change(texts)
    assert what in found(pack(tmp_path / "p.zip", texts), data)


def test_many_faults_are_all_named(tmp_path, sent, data, home):
    names = ["a row twice", "a strange clip", "NaN", "another label", "abbreviation", "email", "large", "class", "loss"]
    texts = parts(sent)
    for name in names:
        MUTATIONS[name][0](texts)
    lines = found(pack(tmp_path / "p.zip", texts), data)
    assert all(MUTATIONS[name][1] in lines for name in names)
    assert f"{TWO}" not in lines  # the other system has none


def test_without_data_systems_are_compared_with_each_other(tmp_path, sent):
    texts = parts(sent)
    MUTATIONS["a row less"][0](texts)
    assert submission.faults(pack(tmp_path / "p.zip", texts)) == [
        f"{ONE}.output.csv: lacks 1 clips of another system: 2.wav"
    ]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but no more", b"text"])
def test_what_is_no_zip_file_is_one_fault(tmp_path, content):
    (tmp_path / "p.zip").write_bytes(content)
    (fault,) = submission.faults(tmp_path / "p.zip")
    assert "is no zip file" in fault


@pytest.mark.parametrize(
    ("place", "bits"), [(300, 255), (29, 255), (30 + len(f"{ONE}.output.csv"), 2)], ids=["sum", "end", "compression"]
)
def test_a_damaged_zip_file_is_a_fault(tmp_path, sent, place, bits):
    content = bytearray(sent.read_bytes())
    content[place] ^= bits
    (tmp_path / "p.zip").write_bytes(content)
    assert len(submission.faults(tmp_path / "p.zip")) == 1


def test_a_report_and_names_with_their_folder_are_no_faults(tmp_path, sent, data):
    texts = parts(sent)
    for name in (f"{ONE}.output.csv", f"{TWO}.output.csv"):
        texts[name] = "\n".join(f"audio/{row}" if row[0].isdigit() else row for row in texts[name].splitlines())
    texts |= {f"submission/task1a/{LABEL}.technical_report.pdf": "%PDF"}
    assert submission.faults(pack(tmp_path / "p.zip", texts), data) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [(dict(label="Kit"), "label: 'Kit' does not read Surname_Institute_task1a"),
     (dict(seed=3), "no whole run of submissions 1 to 4 with seed 3"),
     (dict(home="/nowhere"), "holds no whole run"), (dict(data="/nowhere"), "no such folder"),
     (dict(out="/proc/none/p.zip"), "cannot be written"), (dict(data="strange"), "has the class 'harbour'"),
     (dict(home="fewer"), "not the ten of DCASE 2021")],
)  # fmt: skip
def test_faults_of_the_input_are_one_line_and_nothing_is_written(tmp_path, home, data, change, what):
    values = dict(home=home, label=LABEL, data=data, out=tmp_path / "p.zip") | change
    if values["data"] == "strange":
        values["data"] = write_corpus(tmp_path / "strange", [("audio/a.wav", "harbour", "x", "a")])
    if values["home"] == "fewer":
        values["home"] = tmp_path / values["home"]
        values["home"].mkdir()
        (values["home"] / "truth.tsv").write_text((home / "truth.tsv").read_text())
        write_run(values["home"], "1", classes=CLASSES[:5])
    with pytest.raises(InputError, match=what) as caught:
        submission.package(**{k: type(home)(v) if k in ("home", "data", "out") else v for k, v in values.items()})
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.zip*"))


@pytest.mark.parametrize("name", ["truth.tsv", "predictions.tsv"])
def test_a_run_that_cannot_be_scored_is_one_line(tmp_path, home, data, sent, name):
    shutil.copytree(home, tmp_path / "home")
    for file in list((tmp_path / "home").rglob(name)):
        file.unlink()
    with pytest.raises(InputError, match=name):
        submission.package(tmp_path / "home", LABEL, data, tmp_path / "p.zip")


def test_a_labelled_set_is_predicted_as_well(tmp_path, home):
    labelled = write_corpus(tmp_path / "set", [(f"audio/{i}.wav", CLASSES[i], f"p{i}", "a") for i in range(4)])
    submission.package(home, LABEL, labelled, tmp_path / "p.zip")
    assert submission.faults(tmp_path / "p.zip", labelled) == []


def test_commands(tmp_path, home, data, sent, capsys):
    out, flags = tmp_path / "p.zip", ["--label", LABEL, "--data", str(data)]
    app(["package", str(home), *flags, "--out", str(out)], standalone_mode=False)
    assert capsys.readouterr().out.split() == [f"{LABEL}_1", f"{LABEL}_2"] and out.read_bytes() == sent.read_bytes()
    assert not app(["package", "--check", str(out), "--data", str(data)], standalone_mode=False)
    assert "no fault" in capsys.readouterr().out
    texts = parts(out)
    MUTATIONS["NaN"][0](texts)
    assert app(["package", "--check", str(pack(out, texts))], standalone_mode=False) == 1
    assert MUTATIONS["NaN"][1] in capsys.readouterr().out


def test_the_schema_names_the_classes_and_devices_of_the_lists():
    results = submission.SCHEMA.schema["properties"]["results"]["properties"]["development_dataset"]["properties"]
    assert tuple(results["class_wise"]["required"]) == CLASSES
    assert tuple(results["device_wise"]["required"]) == check.DEVICES


def broken(path, value):
    """Metadata with a field of another value, which a YAML file can hold."""
    return field(path, value), path


@pytest.mark.parametrize(
    ("change", "where"),
    [broken("submission.label", {"a": 1}), broken("system.complexity.model_size", float("nan")),
     broken("results.development_dataset.overall.logloss", float("inf")),
     broken("results.development_dataset.class_wise", {None: 3, 1: []}),
     broken("system.complexity.total_parameters", True), broken("submission.authors", [1]),
     broken("submission.authors", {"a": [datetime.date(2021, 6, 15)]})],
)  # fmt: skip
def test_whatever_a_field_holds_is_one_line_that_names_it(tmp_path, sent, data, home, change, where):
    texts = parts(sent)
    change(texts)
    found = submission.faults(pack(tmp_path / "p.zip", texts), data)
    assert found and all(line.startswith(f"{ONE}.meta.yaml: {where}") and "\n" not in line for line in found)


def test_metadata_that_hold_themselves_are_no_yaml(tmp_path, sent):
    texts = parts(sent) | {f"{ONE}.meta.yaml": "&a {submission: *a}"}
    assert "meta.yaml: is no YAML" in "\n".join(submission.faults(pack(tmp_path / "p.zip", texts)))


def test_quotes_around_cells_and_dates_are_no_faults(tmp_path, sent, data, home):
    texts = parts(sent)
    rows = texts[f"{ONE}.output.csv"].splitlines()
    texts[f"{ONE}.output.csv"] = "\n".join("\t".join(f'"{cell}"' for cell in row.split("\t")) for row in rows)
    texts[f"{ONE}.meta.yaml"] += "sent: 2021-06-15\n"
    assert submission.faults(pack(tmp_path / "p.zip", texts), data) == []
