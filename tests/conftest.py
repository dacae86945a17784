"""Fixtures: everything the tests derive goes to a temporary folder, and notebooks run their recipe's smoke part."""

import io
import os
import shutil
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from asc_kit.__main__ import run_app

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
# The notebooks build on each other's runs in this order; one worker runs them.
CHAIN = ("05_train", "06_evaluate", "07_mel_bins", "08_submissions", "12_report")

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("fixed")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["ASC_SMOKE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    if not hasattr(config, "workerinput"):  # once, not in every worker
        os.environ["ASC_CACHE"] = tempfile.mkdtemp(prefix="asc-kit-tests-")
        shutil.rmtree(ROOT / "results" / "demo-smoke", ignore_errors=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["ASC_CACHE"], ignore_errors=True)


class ByModule(LoadScopeScheduling):
    """Cells of a notebook, and tests of a module, stay together on one worker.

    xdist's own groups rename test items, which pytest 9.2 ignores.
    """

    def _split_scope(self, nodeid: str) -> str:
        stem = Path(nodeid.split("::")[0]).stem
        return "runs" if stem in CHAIN else stem


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByModule:
    return ByModule(config, log)


def write_corpus(root: Path, clips: list[tuple[str, str, str, str]], seconds: float = 1.0, rate: int = 44100) -> Path:
    """A tiny data set: (filename, scene_label, identifier, source_label), a noise of its own in every clip."""
    (root / "audio").mkdir(parents=True)
    lines = ["\t".join(("filename", "scene_label", "identifier", "source_label"))]
    for number, row in enumerate(clips):
        random = np.random.default_rng(number)
        soundfile.write(root / row[0], 0.1 * random.standard_normal(round(seconds * rate)), rate, subtype="PCM_16")
        lines.append("\t".join(row))
    (root / "meta.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two classes, six locations, two clips in each, devices a and b, no split."""
    rows = []
    for place in range(6):
        scene = ("bus", "park")[place % 2]
        rows += [(f"audio/{scene}-oslo-{place}-{s}-{'ab'[s]}.wav", scene, f"oslo-{place}", "ab"[s]) for s in range(2)]
    return write_corpus(tmp_path / "tiny", rows)


def real(name: str) -> Path:
    """A folder of real recordings; the test is skipped where they are absent."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"real recordings not here: {name} is not beside the repository (shared/data/{name})")
    return folder


def cli(*arguments: object) -> CompletedProcess[str]:
    """The command line, from the repository's root, in this process: torch need not be imported anew."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    status: int | str | None = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["asc-kit", *map(str, arguments)])
        patch.chdir(ROOT)
        try:
            run_app()
        except SystemExit as end:
            status = end.code
    if isinstance(status, str):  # which Python prints as it ends
        print(status, file=err)
        status = 1
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return CompletedProcess(sys.argv, status or 0, *texts)
