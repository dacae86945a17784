# Any number of recordings, scored in shards, each a job, here or on a cluster, and joined into one table.
#
#   snakemake -s predict.smk --cores N --config model=MODEL manifest=LIST out=TABLE.tsv [shard=1000] [temperature=1] [microphone=DIR] [root=DIR]
#
# A recording that cannot be scored stands in <out>.failed.tsv, and every other has its row in <out> all the same. Started
# again, only shards that are not whole are scored. A shard's rows lie in <out>.shards/<model>/ and are no outputs of its job, which
# Snakemake would delete when one of its recordings fails; they are called by what they hold, so that a longer manifest
# or another model never takes a row of something else. A recording replaced under its old name keeps the row it has.
import hashlib
import os
import sys
from pathlib import Path

from asc_kit import config as kit
from asc_kit.deploy import manifest as lists
from asc_kit.common import InputError, check_writable, locked, replacing
from asc_kit.data.own import sound_files
from asc_kit.run import parameters

os.environ["OMP_NUM_THREADS"] = "1"  # a shard's threads take a recording each
CODE = ("features", "blocks", "kernels", "network", "metrics", "data/audio", "deploy/compact", "deploy/folding",
        "deploy/quick", "deploy/calibration", "deploy/recordings", "deploy/manifest", "deploy/microphone", "deploy/ready")  # what a row depends on
KNOWN = ("model", "manifest", "out", "shard", "temperature", "microphone", "root")

try:
    if unknown := sorted(config.keys() - set(KNOWN)):
        raise InputError(f"--config: unknown {unknown[0]!r}; it takes {', '.join(KNOWN)}")
    if missing := [name for name in KNOWN[:3] if name not in config]:
        raise InputError(f"--config: needs {missing[0]}; give model=FILE manifest=FILE out=FILE")
    texts = {name: str(value) for name, value in config.items()}
    texts |= parameters.typed(workflow.config_settings.config_args)  # Snakemake itself reads 010 as a number
    MODEL, MANIFEST, OUT = (Path(texts[name]).resolve() for name in KNOWN[:3])
    ROOT = Path(texts.get("root", MANIFEST.parent)).resolve()
    SHARD, TEMPERATURE = config.get("shard", 1000), texts.get("temperature", "1")
    if type(SHARD) is not int or SHARD < 1:
        raise InputError(f"shard: {SHARD!r} is not possible; give a whole number from 1")
    if not MODEL.is_file():
        raise InputError(f"{MODEL}: no such model")
    SHARDS = lists.shards(lists.read(MANIFEST), SHARD)
    FOLDER = Path(texts["microphone"]).resolve() if "microphone" in texts else None
    WAYS = ["--temperature", TEMPERATURE, *(["--microphone", str(FOLDER)] if FOLDER else [])]
    HEARD = [] if FOLDER is None else sound_files(FOLDER)[0] if FOLDER.is_dir() else [FOLDER]
    if FOLDER and not all(file.is_file() for file in HEARD or [FOLDER]):
        raise InputError(f"microphone: {FOLDER} holds no recordings; give a folder of some by that microphone")
    FITTED = [MODEL.with_name("temperature.json")] if FOLDER or TEMPERATURE == "fitted" else []
    FITTED += HEARD
    BYTES = [hashlib.sha256(file.read_bytes()).hexdigest() for file in [MODEL, *FITTED]]
    HOME = OUT.with_name(f"{OUT.name}.shards") / kit.digest(*BYTES, TEMPERATURE, str(ROOT), kit.code_digest(*CODE))
    TABLES = [HOME / f"{shard}.tsv" for shard in SHARDS]
    if workflow.is_main_process:
        inputs = (MODEL, MANIFEST, *FITTED, *(ROOT / name for names in SHARDS.values() for name in names))
        check_writable(OUT, *inputs)
        check_writable(lists.failures_of(OUT), *inputs)
        HOME.mkdir(parents=True, exist_ok=True)
        guard = locked(HOME / "lock", f"{OUT}: another snakemake is working on it; wait for it")
        guard.__enter__()  # held until this process ends
        for shard, names in SHARDS.items():
            if not (HOME / f"{shard}.txt").exists():
                with replacing(HOME / f"{shard}.txt") as part:
                    part.write_text("\n".join(names) + "\n", encoding="utf-8")
except InputError as error:
    sys.exit(f"error: {error}")
except OSError as error:
    sys.exit(f"error: {error.filename or 'disk'}: {error.strerror}")


def joined() -> None:
    """Join what is there, and say so."""
    scored, failed = lists.join(TABLES, OUT)
    total = sum(map(len, SHARDS.values()))
    told = f", {failed} failed ({lists.failures_of(OUT)})" if failed else ""
    print(f"{OUT}: {scored} of {total} recordings scored{told}", file=sys.stderr)


onsuccess:
    joined()


onerror:
    joined()


rule all:
    input:
        [HOME / f"{shard}.done" for shard in SHARDS],


rule score:
    input:
        HOME / "{shard}.txt",
    output:
        touch(HOME / "{shard}.done"),
    log:
        HOME / "{shard}.log",
    threads: 1
    resources:
        mem_mb=2000,
    params:
        command=f"{sys.executable} -m asc_kit predict",
    shell:
        "{params.command} {MODEL:q} --manifest {input:q} --root {ROOT:q} --out {HOME:q}/{wildcards.shard}.tsv "
        "{WAYS:q} --workers {threads} 2> {log:q}"
