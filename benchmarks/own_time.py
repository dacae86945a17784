"""How long `asc-kit train` takes, everything included, against what it says before it starts.

    python -m benchmarks.own_time 100 400 2000 [--seconds 1]   # writes results/performance/own_time.csv

SYNTHETIC recordings: noise, in four classes at ten places. A row that is there for so many clips of a length is made
anew; nothing else should run beside it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from asc_kit.config import ROOT
from asc_kit.run import experiment

FILE = ROOT / "results" / "performance" / "own_time.csv"
RATE, CLASSES, PLACES = 16000, 4, 10


def recordings(folder: Path, clips: int, seconds: float) -> None:
    """So many files of noise; a class is louder than the one before."""
    for number in range(clips):
        kind, place = number % CLASSES, number // CLASSES % PLACES
        file = folder / f"class {kind}" / f"place {place}" / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).standard_normal(round(seconds * RATE))
        soundfile.write(file, 0.02 * 1.5**kind * noise, RATE, subtype="PCM_16")


def timed(clips: int, seconds: float) -> dict:
    """Minutes that the command said, and took."""
    with tempfile.TemporaryDirectory(prefix="asc-kit-time-") as place:
        recordings(Path(place, "noise"), clips, seconds)
        command = [sys.executable, "-m", "asc_kit", "train", f"{place}/noise", "--out", f"{place}/out"]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        minutes = (time.perf_counter() - started) / 60
    said, steps = re.search(r"takes about (\d+) min", done.stderr)[1], re.search(r"in (\d+) steps", done.stderr)[1]
    return {"clips": clips, "seconds": seconds, "steps": int(steps), "minutes_said": int(said),
            "minutes": round(minutes, 2), "cores": os.cpu_count(),
            "processor": experiment.processor()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a clip")
    given = parser.parse_args()
    for clips in given.clips:
        rows = pd.read_csv(FILE) if FILE.exists() else pd.DataFrame(columns=["clips", "seconds"])
        others = rows[(rows.clips != clips) | (rows.seconds != given.seconds)]
        rows = pd.concat([others, pd.DataFrame([timed(clips, given.seconds)])])
        rows.convert_dtypes().sort_values(["seconds", "clips"]).to_csv(FILE, index=False)
        print(rows.to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
