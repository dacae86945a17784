"""Parameters: a text arrives as it was typed, by every way that a user has."""

import base64
import json
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from asc_kit.common import InputError
from asc_kit.run import batch, parameters
from asc_kit.run.parameters import as_text, check_parameters, declared, items, read, resolve, typed

CELL = """name: str = None  # a text
seed: int = 0
rate: float = 0.5
resume: bool = True
devices: list = []
changes: dict = {}
plain = "x"
"""
KINDS = declared(CELL)
TEXTS = ["/d/set #1", "no", "12:30", "010", "2021-06-11", "1e5", "~", "true", "None", "null", "", " x ", "[1]", "{a: 1}", "0x1F", "1_000",
         "a: b", "- a", "'q'", "é", "off", "1.0", ".inf", "!!int 3", "&a", "2021-13-45", "@x", "a=b", "\\n", "\n"]  # fmt: skip


@given(st.text() | st.sampled_from(TEXTS) | st.integers().map(str) | st.floats().map(str) | st.dates().map(str))
def test_a_text_arrives_as_typed(text):
    assert resolve(KINDS, typed([f"name={text}", f"plain={text}"])) == {"name": text, "plain": text}
    if text != "off":  # turns it off
        assert resolve(KINDS, {"training_devices": text}) == {"changes": {"training_devices": text}}


@given(st.integers(-(10**20), 10**20), st.integers(0, 4))
def test_integers_are_decimal_with_zeros_in_front(number, zeros):
    text = f"{'-' * (number < 0)}{'0' * zeros}{abs(number)}"
    assert resolve(KINDS, {"seed": text}) == {"seed": number}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_themselves(number):
    assert resolve(KINDS, {"rate": repr(number)}) == {"rate": number}
    assert type(resolve(KINDS, {"rate": "3"})["rate"]) is float


@given(st.text())
def test_whatever_is_typed_is_a_value_of_the_type_or_one_line(text):
    for kind in (int, float, bool, list, dict, int | None):
        try:
            value = read("x", text, kind)
        except InputError as error:
            assert str(error).startswith("x: ") and "give" in str(error)
        else:
            assert type(value) is kind or (kind == int | None and (value == "off" or type(value) is int))


@pytest.mark.parametrize("text", ["true", "True", "yes", "on", "FALSE", "no", "off"])
def test_truth(text):
    assert resolve(KINDS, {"resume": text}) == {"resume": text.lower() in ("true", "yes", "on")}


@pytest.mark.parametrize(
    ("name", "text", "give"),
    [("seed", "0x1", "give a whole number"), ("seed", "1.5", "give a whole number"), ("seed", "None", "give a whole number"), ("seed", "1_0", "whole"),
     ("seed", "", "whole"), ("seed", "9" * 5000, "whole"), ("seed", "off", "whole"), ("rate", "nan", "give a number"), ("rate", "1e999", "give a number"),
     ("resume", "1", "give True or False"), ("resume", "0", "give True or False"), ("devices", "a", "give a list"), ("devices", "[", "give a list"),
     ("changes", "[1]", "give names and values"), ("mixup_alpha", "off", "give a number"), ("mixup", "mod", "give 'modified' or 'standard' or off"),
     ("patience", "x", "give a whole number or off"), ("power", "3", "give 1 or 2"), ("changes", "{epohcs: 3}", "unknown parameter 'epohcs'"),
     ("changes", "{mixup_alpha: null}", "mixup_alpha: 'null' is not possible"), ("mixup_alhpa", "1", "unknown parameter 'mixup_alhpa'")],
)  # fmt: skip
def test_what_is_refused_says_what_to_give(name, text, give):
    with pytest.raises(InputError, match=re.escape(give)) as caught:
        resolve(KINDS, {name: text})
    assert "\n" not in str(caught.value)


def test_a_setting_that_is_no_parameter_goes_into_changes():
    texts = dict(mixup_alpha="0.3", patience="off", power="1", changes="{training_devices: 010, roll: no, amin: 1e-3, options: {a: 010}}",
                 n_mels="64")  # fmt: skip
    assert resolve(KINDS, texts) == {"changes": {
        "mixup_alpha": 0.3, "patience": "off", "power": 1, "training_devices": "010", "roll": False, "amin": 1e-3,
        "options": {"a": 8}, "n_mels": 64}}  # fmt: skip
    with pytest.raises(InputError, match="unknown parameter 'mixup_alpha'; known are name$"):
        resolve({"name": str}, {"mixup_alpha": "0.3"})


def test_lists_and_mappings_are_yaml():
    assert resolve(KINDS, {"devices": "[a, s1]"}) == {"devices": ["a", "s1"]}
    assert items("[010, x]") == ["010", "x"] and items("010") == ["010"] and items("[x") == ["[x"]


@pytest.mark.parametrize("value", [1.0, True, None, 1e5, ["a"]])
def test_a_text_that_was_read_as_something_else_is_refused(value):
    with pytest.raises(InputError, match=r"name: is a text, and was read as .*type papermill -r name TEXT"):
        as_text("name", value, {})
    assert as_text("name", 4, {}) == "4" and as_text("name", "x", {"name": "x"}) == "x"
    with pytest.raises(InputError, match="was read as 10 "):
        as_text("name", 10, {"name": "010"})


@pytest.mark.parametrize(
    ("line", "what"),
    [("nmae = 'x'", "unknown nmae; known are changes, devices, name"), ("name = 1.5", "name: is a text"), ("name = True", "name: is a text"),
     ("seed = 1.5", "seed: 1.5 is not possible; give a whole number"), ("resume = 'false'", "resume: 'false' is not possible; give True"),
     ("rate = float('nan')", "rate: nan is not possible"), ("changes = 'x'", "changes: 'x' is not possible; give names and values")],
)  # fmt: skip
def test_what_papermill_injects_is_checked(line, what):
    check_parameters(
        ["", CELL, "# Parameters\nname = 'x'\nseed = -3\nrate = 2\nchanges = {'a': 1}\ndevices = None\n", "import x"]
    )
    check_parameters(["", CELL, "import x"])
    with pytest.raises(InputError, match=re.escape(what)):
        check_parameters(["", CELL, f"# Parameters\n{line}\n"])


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A notebook that writes down what it was given, saved with a kernel that is not here."""
    file = tmp_path_factory.mktemp("echo") / "echo.ipynb"
    cell = nbformat.v4.new_code_cell(CELL)
    cell.metadata["tags"] = ["parameters"]
    show = "import json\nfrom pathlib import Path\nfrom asc_kit.run.parameters import check_parameters\ncheck_parameters(In)"
    show = nbformat.v4.new_code_cell(show)
    write = nbformat.v4.new_code_cell(
        f"Path({str(file.with_suffix('.json'))!r}).write_text(json.dumps([name, seed, changes]))"
    )
    kernel = {"kernelspec": {"name": "dcase-env", "display_name": "x", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell, show, write], metadata=kernel), file)
    return file


def test_the_command_line_and_a_kernel_of_another_name(echo, tmp_path):
    values = ["-p", "name=/d/set #1", "-p", "seed=010", "-p", "patience=off"]
    done = subprocess.run([sys.executable, "-m", "asc_kit", "run", str(echo), str(tmp_path / "out.ipynb"), *values],
                          capture_output=True, text=True, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(echo.with_suffix(".json").read_text()) == ["/d/set #1", 10, {"patience": "off"}]
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).metadata.kernelspec.name == "python3"


def papermill(echo, out, *options):
    command = ["papermill", echo, out, "--kernel", "python3", "--no-progress-bar", *options]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    line = [text for text in done.stderr.splitlines() if text.startswith("InputError")]
    return json.loads(echo.with_suffix(".json").read_text()) if done.returncode == 0 else line[0]


def test_plain_papermill(echo, tmp_path):
    out = tmp_path / "out.ipynb"
    assert papermill(echo, out, "-p", "name", 4, "-y", "changes: {mixup_alpha: 0.3}") == ["4", 0, {"mixup_alpha": 0.3}]
    assert "name: is a text, and was read as 10 " in papermill(echo, out, "-p", "name", "010")
    assert papermill(echo, out, "-r", "name", "010")[0] == "010"
    assert "parameters: unknown epoch" in papermill(echo, out, "-p", "epoch", 1)


@pytest.mark.long
@pytest.mark.parametrize(("text", "read"), [("name: 010", "8"), ("name: '010'", None), ("{seed: 1, name: 0x10}", "16"),
                                            ("name: 1_000", "1000"), ("name: 12", None), ("seed: 010", "8")])  # fmt: skip
@pytest.mark.parametrize("option", ["-f", "-b", "--parameters_yaml"])
def test_a_text_that_papermill_reads_from_yaml(echo, tmp_path, option, text, read):
    """In a file, in base 64 and on the command line."""
    (tmp_path / "p.yaml").write_text(text)
    value = {"-f": tmp_path / "p.yaml", "-b": base64.b64encode(text.encode()).decode()}.get(option, text)
    found = papermill(echo, tmp_path / "out.ipynb", option, value)
    if read:
        assert f"was read as {read} on its way here" in found
    else:
        assert found[0] == re.search(r"[\d]+", text)[0]


@pytest.mark.long
def test_plain_papermill_at_length(echo, tmp_path):
    out = tmp_path / "out.ipynb"
    assert "was read as 8 " in papermill(echo, out, "-y", "name: 010")
    assert "was read as 100000.0 " in papermill(echo, out, "-p", "name", "1e5")
    assert "was read as True " in papermill(echo, out, "-p", "name", "True")
    assert papermill(echo, out, "-p", "name", "2021-06-11")[0] == "2021-06-11"


def test_an_environment_without_a_kernel_says_so(echo, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "KERNEL", batch.KERNEL | {"name": "no-such-kernel"})
    with pytest.raises(InputError, match="no-such-kernel: this environment has no such Jupyter kernel") as caught:
        batch.execute(echo, tmp_path / "out.ipynb", {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["010", "2021_06_11", "1e3", "no", "x #1", "a: b"])
def test_snakemake_keeps_a_name_as_typed(tmp_path, name):
    done = subprocess.run(["snakemake", "-n", "--cores", "1", "--configfile", "config/demo.yaml", "--config", f"name={name}",
                           f"results_dir={tmp_path}"], capture_output=True, text=True, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/{name}/" in done.stdout + done.stderr


def test_every_setting_has_a_type():
    assert set(parameters.setting_hints()) == set(parameters.config.SETTINGS)
