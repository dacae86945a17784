"""The package without the repository: installed into an environment of its own, started in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

RUN = ROOT / "results" / "tut2017_full" / "submission_4" / "seed_0"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {"scikit-learn": "sklearn"}  # distribution -> module


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Starts the installed ``asc-kit`` in an empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # a copy: a build leaves files behind
    shutil.copytree(ROOT / "asc_kit", source / "asc_kit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    environment, pip = folder / "environment", [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "--python", environment / "bin" / "python", "install", "--no-deps", "--no-index", wheel], check=True
    )
    (site,) = environment.glob("lib/python*/site-packages")
    hidden = {line.split("==")[0] for line in PROJECT["optional-dependencies"]["train"]}  # that others need not have
    hidden = {MODULES.get(name, name) for name in hidden}
    for file in Path(sysconfig.get_path("purelib")).iterdir():
        if file.name not in hidden and file.suffix != ".pth" and not (site / file.name).exists():
            (site / file.name).symlink_to(file)
    home = folder / "home"
    home.mkdir()
    shutil.rmtree(source)
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ASC_CACHE")}
    variables |= {"XDG_CACHE_HOME": str(folder / "cache")}

    def start(*arguments, path=os.environ["PATH"]):
        command = [str(part) for part in (environment / "bin" / "asc-kit", *arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=home, env=variables | {"PATH": path})

    start.home, start.site, start.variables, start.python = home, site, variables, environment / "bin" / "python"
    return start


def test_it_is_the_wheels_and_says_its_version(installed):
    assert installed("--version").stdout == PROJECT["version"] + "\n"
    code = "import asc_kit, asc_kit.config as c; print(asc_kit.__file__, c.path('x'), c.cache(), sep='\\n')"
    done = subprocess.run(
        [installed.python, "-c", code], capture_output=True, text=True, cwd=installed.home, env=installed.variables
    )
    package, path, cache = map(Path, done.stdout.split("\n")[:3])
    assert package == installed.site / "asc_kit" / "__init__.py" and path == installed.home / "x"
    assert cache == installed.home.parent / "cache" / "asc_kit"


def test_predict_and_size_in_an_empty_folder(installed):
    shutil.copy(RUN / "model.safetensors", installed.home)
    soundfile.write(installed.home / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(88200), 44100)
    done = installed("predict", "model.safetensors", "a.wav", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)[0]["probabilities"]) == 15
    done = installed("size", "model.safetensors")
    assert done.returncode == 0 and "DCASE 2021" in done.stdout, done.stderr


def test_the_page_that_listens_is_in_it(installed):
    here, there = (root / "asc_kit" / "deploy" / "web" for root in (ROOT, installed.site))
    assert {file.name for file in here.glob("*.*")} == {file.name for file in there.glob("*.*")}
    done = installed("web", RUN / "model.safetensors", "--out", "page", path="")
    assert done.returncode == 1 and done.stderr.startswith("error: npm: is not installed"), done.stderr


@pytest.mark.long
def test_export_score_check_and_fetch_in_an_empty_folder(installed):
    shutil.copy(RUN / "model.safetensors", installed.home)
    done = installed("export", "model.safetensors", "--out", "scene.onnx")
    assert done.returncode == 0 and (installed.home / "scene.onnx").stat().st_size > 100_000, done.stderr
    truth = RUN.parents[1] / "truth.tsv"
    done = installed("score", RUN / "predictions.tsv", "--truth", truth, "--out", "scores")
    assert done.returncode == 0 and (installed.home / "scores" / "overall.json").exists(), done.stderr
    (installed.home / "set" / "audio").mkdir(parents=True)
    soundfile.write(installed.home / "set" / "audio" / "a.wav", np.zeros(44100), 44100)
    (installed.home / "set" / "meta.csv").write_text("filename\tscene_label\tidentifier\naudio/a.wav\tbus\toslo-1\n")
    done = installed("check", "set")
    assert "Traceback" not in done.stderr and done.stdout
    done = installed("fetch", "nothing", "--root", "data")
    assert done.returncode == 1 and "error: " in done.stderr and "tau2020_development" in done.stderr


def test_what_needs_the_repository_or_an_extra_says_so_in_one_line(installed):
    for command, words in (
        (("plan", "config/report.yaml"), "no such recipe; config/ of the repository holds the kit's"),
        (
            ("run", "notebooks/05_train.ipynb", "out.ipynb"),
            "is not installed; pip install '.[train]' in asc_kit's repository",
        ),
    ):
        done = installed(*command)
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
