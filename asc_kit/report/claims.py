"""What the report says in words, held against its own numbers; and which of its differences are larger than chance."""

import json
import math
from pathlib import Path

import pandas as pd
import yaml
from scipy import stats

from asc_kit.data.check import DEVICES, TRAINING_A, WITHDRAWN
from asc_kit.report import places, tables
from asc_kit.report.audit import RELEASES, fold, inversions, macs, sizes

LOCATIONS = 146  # of the evaluation fold, counted in the re-release's list


def bounds(first: float, second: float, clips: int = RELEASES["re-release"]) -> tuple[int, float, float]:
    """What two printed accuracies on the same clips can tell without the predictions (McNemar's exact test).

    Only the clips that one system has right and the other wrong count; printed numbers leave open how many there are.

    Parameters
    ----------
    first, second : per cent

    Returns
    -------
    the difference in clips, and the p-value if the systems disagree on as few clips as possible, and on as many
    """
    a, b = sorted(round(x * clips / 100) for x in (first, second))
    most = min(a + b, 2 * clips - a - b)
    most -= (most - (b - a)) % 2
    return (b - a, *(float(stats.binomtest((n + b - a) // 2, n).pvalue) if n else 1.0 for n in (b - a, most)))


def significance() -> pd.DataFrame:
    """Differences of Tables 2, 4 and 7 against chance.

    Same clips: p between the fewest and the most disagreements; other clips: Fisher's exact test. ``sd`` is the
    deviation of the clips' differences in log loss below which the printed difference is larger than chance (1.96
    standard errors). Both take clips as independent, though 146 locations hold them, and so err towards certainty.
    """
    seven = tables.published(7).pivot(index="row", columns="column", values="value").astype(float)
    rows = []
    for a, b in (("4", "3"), ("4", "2"), ("3", "2"), ("2", "1"), ("1", "baseline")):
        clips, few, many = bounds(seven.accuracy[a], seven.accuracy[b])
        loss = seven.log_loss[b] - seven.log_loss[a]
        sd = abs(loss) / 1.96 * math.sqrt(RELEASES["re-release"])
        name = f"submission {a} against {b.replace('baseline', 'the baseline')}"
        points = seven.accuracy[a] - seven.accuracy[b]
        rows.append((name, points, clips, few, many, loss, sd, _verdict(few, many)))
    counts = inversions(4).set_index("row")
    right = counts["re-release: correct"].map(lambda found: found[0])
    total = counts["re-release: clips"]
    for name, one, two in (("S1-S3 against S4-S6", DEVICES[3:6], DEVICES[6:]), ("A against S6", ["a"], ["s6"]),
                           ("A to C against S1-S6", DEVICES[:3], DEVICES[3:]),
                           ("B and C against S1-S3", DEVICES[1:3], DEVICES[3:6])):  # fmt: skip
        one, two = list(one), list(two)
        pairs = [[right[side].sum(), total[side].sum() - right[side].sum()] for side in (one, two)]
        p = float(stats.fisher_exact(pairs).pvalue)
        points = 100 * (right[one].sum() / total[one].sum() - right[two].sum() / total[two].sum())
        rows.append((name, points, None, p, p, None, None, _verdict(p, p)))
    columns = ["difference", "points", "clips", "p, fewest", "p, most", "log loss", "sd", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _verdict(few: float, many: float) -> str:
    if many < 0.05:
        return "larger than chance"
    return "not larger than chance" if few >= 0.05 else "cannot be told from the printed numbers"


def interval(accuracy: float, units: int) -> float:
    """Half the 95 % interval of an accuracy in per cent, of so many independent units."""
    return 196 * math.sqrt(accuracy / 100 * (1 - accuracy / 100) / units)


def claims(speed: pd.DataFrame, home: Path) -> pd.DataFrame:
    """What the report says in words, and what its own numbers and this kit say to it.

    Parameters
    ----------
    speed : mel_bins, features_milliseconds, milliseconds (both together): of 11_performance, for one clip of 10 s
    home : an experiment whose networks' non-zero parameters were counted
    """
    test, counted, numbers = significance().set_index("difference"), macs(), sizes().groupby("count").bytes
    time = speed.set_index("mel_bins").milliseconds
    alone = time - speed.set_index("mel_bins").features_milliseconds
    runs = [json.loads(file.read_text()) for file in sorted(home.glob("submission_[1-4]/*/run.json"))]
    clips = fold("re-release").sum(axis=1)
    gone = [Path(clip).name.split("-")[0] for clip, side in WITHDRAWN.items() if side == "training"]
    training = [count + 5 * 75 - gone.count(name) for name, count in TRAINING_A.items()]
    half = math.hypot(*(interval(mean, 990) for mean in (68.4, 67.0)))  # of 3 x 330 clips each, taken as independent
    two, unseen = test.loc["submission 4 against 2"], test.loc["S1-S3 against S4-S6"]
    values = {
        "macs": counted[160] / counted[64], "alone": alone[160] / alone[64], "time": time[160] / time[64],
        "two": two, "three": test.loc["submission 4 against 3"], "alike": two.sd * math.sqrt(LOCATIONS / clips.sum()),
        "first": test.loc["submission 1 against the baseline"], "extremes": test.loc["A against S6"],
        "simulated": test.loc["A to C against S1-S6"], "unseen": unseen, "half": half, "most": unseen.points + half,
        "span": {name: f"{part.min():,} to {part.max():,} bytes" for name, part in numbers},
        "full": sum(run["nonzero"] == run["parameters"] for run in runs), "runs": len(runs), "home": home.name,
        "clips": (clips.min(), clips.max()), "training": (min(training), max(training)),
        "independent": interval(70.5, RELEASES["re-release"]), "places": interval(70.5, LOCATIONS),
        "ratio": places.published().accuracy_ratio[0],
    }  # fmt: skip
    found = pd.DataFrame(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text()))
    return found.assign(evidence=[text.format_map(values) for text in found.evidence])
