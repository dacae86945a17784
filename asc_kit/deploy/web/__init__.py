"""A model as a page that listens: a folder of static files for a browser, which runs the network itself.

The page's own files lie beside this one. The network runs by onnxruntime-web, of npm: its file is pinned by version and
digest, fetched once by the ``npm`` command, from whatever registry that is set to, and kept in the cache.
"""

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from asc_kit import config
from asc_kit.common import InputError, say, write_file
from asc_kit.deploy import compact, onnx, ready, recordings

PAGE = Path(__file__).parent
RUNTIME = "onnxruntime-web-1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")  # of it; with SIMD, threads where they are allowed
PATIENCE = "--fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=60000".split()


def write(model_file: Path, out: Path, archive: Path | None = None, **ways: Any) -> None:
    """Write the folder, or write it anew.

    Parameters
    ----------
    archive : of `RUNTIME`, where npm cannot fetch it
    ways : as `ready.load`

    Raises
    ------
    InputError : ``out`` holds something else, or as `runtime`, `ready.load` and `onnx.build`; nothing is written
    """
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / "model.json").exists())):
        raise InputError(f"--out: {out} is there and is no page of this command; name another folder")
    model = ready.load(model_file, **ways)
    files = runtime(archive) | {file.name: file.read_bytes() for file in PAGE.glob("*.*") if file.suffix != ".py"}
    files["model.onnx"] = onnx.build(model, shown=True).SerializeToString()
    files["model.json"] = json.dumps(about(model), indent=1).encode()
    for name, content in files.items():
        write_file(out / name, content)


def about(model: compact.Model) -> dict[str, Any]:
    """What the page tells of a model, and what it needs to feed it."""
    features = model.config.features
    return {"name": f"asc_kit {model.config.submission}", "classes": model.classes, "parameters": model.parameters,
            "rate": features.sample_rate, "mels": features.n_mels, "low": features.f_min, "high": features.f_max,
            "window": recordings.WINDOW, "shortest": onnx.SECONDS, "unsure": recordings.UNSURE, "origin": model.origin,
            "licence": model.origin.get("licence", compact.LICENCE[False]), "runtime": RUNTIME}  # fmt: skip


def runtime(archive: Path | None = None) -> dict[str, bytes]:
    """onnxruntime-web's `FILES`, of ``archive``, of the cache, or, the first time, of npm.

    Raises
    ------
    InputError : npm is not here or cannot fetch it, or the archive is another.
    """
    kept = config.cache() / f"{RUNTIME}.tgz"
    source = archive or (kept if kept.exists() else None)
    content = source.read_bytes() if source else fetched()
    if hashlib.sha256(content).hexdigest() != SHA256:
        advice = "remove it and start again" if source == kept else f"give npm's {RUNTIME}.tgz by --runtime"
        raise InputError(f"{source or 'npm'}: the archive has another digest than {RUNTIME}; {advice}")
    if source is None:
        write_file(kept, content)
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        return {name: opened.extractfile(f"package/dist/{name}").read() for name in FILES}


def fetched() -> bytes:
    """The archive as npm gives it; `InputError` where it does not."""
    otherwise = f"or fetch {RUNTIME}.tgz of npm elsewhere and give it by --runtime"
    if (npm := shutil.which("npm")) is None:
        raise InputError(f"npm: is not installed, and the page needs one package of it; install it, {otherwise}")
    say(f"fetching {RUNTIME} by npm, once (33 MB)")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", RUNTIME.replace("web-", "web@"), "--loglevel=error", "--pack-destination", folder]
        done = subprocess.run([*command, *PATIENCE], capture_output=True, text=True, cwd=folder)
        file = Path(folder) / f"{RUNTIME}.tgz"
        if done.returncode or not file.exists():
            code = re.search(r"code (\w+)", done.stderr)
            reason = code[1] if code else " ".join(done.stderr.split())[-120:] or "no reason told"
            raise InputError(f"npm: cannot fetch {RUNTIME} ({reason}); see to the network, {otherwise}")
        return file.read_bytes()
