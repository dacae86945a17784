"""The folder of a page that listens: what lies in it, where its runtime comes from, and every fault in a line."""

import hashlib
import io
import json
import re
import tarfile

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT, cli
from test_onnx import CLASSES, RATE, model, noise

from asc_kit.common import InputError
from asc_kit.deploy import onnx, recordings, web
from asc_kit.features import LogMel


def archive(file, **contents):
    """An archive as npm's; the runtime's files have their own names for contents."""
    with tarfile.open(file, "w:gz") as opened:
        for name in web.FILES:
            content = contents.get(name, name).encode()
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return file


@pytest.fixture
def made(tmp_path, monkeypatch):
    """An archive that the kit takes for the runtime's, and a cache of the test's own."""
    monkeypatch.setenv("ASC_CACHE", str(tmp_path / "cache"))
    file = archive(tmp_path / "made.tgz")
    monkeypatch.setattr(web, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Puts a script in npm's place, and nothing else of its name; gives the calls."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(script):
        (folder / "npm").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{script}\n')
        (folder / "npm").chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    put.calls = lambda: (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    return put


@pytest.fixture
def quick(monkeypatch):
    """Without torch's exporter, which takes ten seconds."""

    class Graph:
        SerializeToString = staticmethod(lambda: b"graph")

    monkeypatch.setattr(web.onnx, "build", lambda model, shown: Graph)


def test_the_folder_is_a_whole_page(made, tmp_path):
    wanted, out = model(tmp_path, "1"), tmp_path / "deep" / "page"
    web.write(tmp_path / "m", out, made)
    files = {file.name: file.read_bytes() for file in out.iterdir()}
    own = {file.name for file in web.PAGE.iterdir() if file.suffix in (".html", ".js", ".css", ".svg", ".webmanifest")}
    assert files.keys() == own | {*web.FILES, "model.json", "model.onnx"}
    assert all(files[name] == (web.PAGE / name).read_bytes() for name in own)
    assert all(files[name] == name.encode() for name in web.FILES)
    kept = re.search(r"FILES = (\[.*?\])", files["sw.js"].decode(), re.S)[1]
    assert {*json.loads(kept)} == files.keys() - {"index.html", "sw.js"} | {"./"}  # all that it needs without a network

    run = onnxruntime.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])
    for seconds in (1, 3.0001):
        waves = noise(seconds)
        probabilities, features = run.run(["probabilities", "features"], {"waveform": waves})
        assert np.abs(probabilities - wanted.probabilities(torch.from_numpy(waves))).max() < 1e-5
        want = LogMel(wanted.config.features)(torch.from_numpy(waves))[:, 0].numpy()
        assert features.shape == want.shape and np.abs(features - want).max() < 2e-3  # dB

    about = json.loads(files["model.json"])
    assert about["classes"] == list(CLASSES) and (about["rate"], about["mels"]) == (RATE, 32)
    assert (about["window"], about["shortest"], about["unsure"]) == (10, 1, recordings.UNSURE)
    assert about["parameters"] == wanted.parameters and "not for commerce" in about["licence"]
    assert not any(str(ROOT).encode() in content or str(tmp_path).encode() in content for content in files.values())


def test_the_pages_rules_let_nothing_out():
    page = (web.PAGE / "index.html").read_text()
    (rules,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.split(" ", 1) for rule in rules.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert {source for rule in rules.values() for source in rule.split()} == {
        "'none'",
        "'self'",
        "'wasm-unsafe-eval'",
        "blob:",
    }
    addresses = {address for file in web.PAGE.glob("*.*") for address in re.findall(r"\w+://[\w.:]+", file.read_text())}
    assert addresses == {"http://localhost:8000", "http://localhost", "http://www.w3.org"}  # said, said, and SVG's name
    assert "<script>" not in page and " style=" not in page and not re.search(r" on\w+=", page)  # which they would stop


def test_npm_brings_the_runtime_once(made, npm, tmp_path, monkeypatch):
    npm(f'while [ "$1" != --pack-destination ]; do shift; done; cp {made} "$2/{web.RUNTIME}.tgz"')
    for _ in range(2):
        assert web.runtime() == {name: name.encode() for name in web.FILES}
    (call,) = npm.calls()
    assert call.startswith("pack onnxruntime-web@1.30.0 ")
    kept = tmp_path / "cache" / f"{web.RUNTIME}.tgz"
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(
        InputError, match=f"{kept}: the archive has another digest than {web.RUNTIME}; remove it and start"
    ):
        web.runtime()


def test_another_archive_is_refused_and_not_kept(made, npm, tmp_path):
    other = archive(tmp_path / "other.tgz", **{web.FILES[0]: "changed"})
    with pytest.raises(InputError, match=f"{other}: the archive has another digest .*; give npm's .*tgz by --runtime"):
        web.runtime(other)
    npm(f'while [ "$1" != --pack-destination ]; do shift; done; cp {other} "$2/{web.RUNTIME}.tgz"')
    with pytest.raises(InputError, match="npm: the archive has another digest"):
        web.runtime()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("script", "said"), [
    (None, "npm: is not installed, and the page needs one package of it; install it, or fetch"),
    ("echo 'npm error code ENOTFOUND\nnpm error syscall' >&2; exit 1", r"npm: cannot fetch \S+ \(ENOTFOUND\); see to the network, or"),
    ("echo 'a broken\nnpm' >&2; exit 3", r"npm: cannot fetch \S+ \(a broken npm\); "),
    ("exit 0", r"npm: cannot fetch \S+ \(no reason told\); "),
])  # fmt: skip
def test_where_npm_cannot_fetch_a_line_says_what_to_do(made, npm, tmp_path, monkeypatch, script, said):
    if script:
        npm(script)
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    model(tmp_path, "1")
    with pytest.raises(InputError, match=f"^{said}") as caught:
        web.write(tmp_path / "m", tmp_path / "page")
    assert "\n" not in str(caught.value) and str(caught.value).endswith(
        f"{web.RUNTIME}.tgz of npm elsewhere and give it by --runtime"
    )
    assert not (tmp_path / "page").exists()


def test_a_page_is_made_anew_whole_or_stays(made, quick, tmp_path, monkeypatch):
    model(tmp_path, "1")
    out = tmp_path / "page"
    out.mkdir()
    web.write(tmp_path / "m", out, made)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    (out / "mine.txt").write_text("mine")
    web.write(tmp_path / "m", out, made)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before | {"mine.txt": b"mine"}

    def fails(model, shown):
        raise InputError("export: no")

    monkeypatch.setattr(onnx, "build", fails)
    with pytest.raises(InputError, match="export: no"):
        web.write(tmp_path / "m", out, made)
    with pytest.raises(InputError, match="export: no"):
        web.write(tmp_path / "m", tmp_path / "new", made)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before | {"mine.txt": b"mine"}
    assert not (tmp_path / "new").exists()


def test_what_is_no_page_is_not_written_into(made, quick, tmp_path):
    model(tmp_path, "1")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("another")
    (tmp_path / "file").touch()
    for name in ("site", "file"):
        with pytest.raises(
            InputError, match=f"--out: {tmp_path / name} is there and is no page of this command; name another"
        ):
            web.write(tmp_path / "m", tmp_path / name, made)
    assert [file.name for file in (tmp_path / "site").iterdir()] == ["index.html"]


def test_command_line(tmp_path):
    done = cli("web", "--help")
    assert done.returncode == 0 and "--out" in done.stdout and "--runtime" in done.stdout
    assert cli("web", "m").returncode == 2  # no folder
    model(tmp_path, "1")
    for words, said in (
        ((tmp_path / "m", "--out", tmp_path / "page", "--runtime", tmp_path / "no.tgz"), "no.tgz: No such file"),
        (
            (tmp_path / "m", "--out", tmp_path / "page", "--runtime", tmp_path / "m"),
            "has another digest than onnxruntime-web",
        ),
    ):
        done = cli("web", *words)
        assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1 and said in done.stderr
    assert not (tmp_path / "page").exists()
