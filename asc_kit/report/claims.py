"""What the report says in words, held against its own numbers; and which of its differences are larger than chance."""

import json
import math
from pathlib import Path

import pandas as pd
from scipy import stats

from asc_kit.data.check import DEVICES, TRAINING_A, WITHDRAWN
from asc_kit.report import tables
from asc_kit.report.audit import CLASSES, RELEASES, fold, inversions, macs, sizes

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
    return pd.DataFrame(
        rows, columns=["difference", "points", "clips", "p, fewest", "p, most", "log loss", "sd", "verdict"]
    )


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
    counted, test = macs(), significance().set_index("difference")
    table = sizes().groupby("count")[["bytes"]].agg(["min", "max"]).bytes
    time = speed.set_index("mel_bins").milliseconds
    alone = time - speed.set_index("mel_bins").features_milliseconds
    abouts = [json.loads(file.read_text()) for file in sorted(home.glob("submission_[1-4]/*/run.json"))]
    full = sum(about["nonzero"] == about["parameters"] for about in abouts)
    clips = fold("re-release").sum(axis=1)
    gone = [Path(clip).name.split("-")[0] for clip, side in WITHDRAWN.items() if side == "training"]
    training = [count + 5 * 75 - gone.count(name) for name, count in TRAINING_A.items()]
    points, p, differ = test.points, test["p, most"], test.clips
    span = {name: f"{low:,} to {high:,} bytes" for name, low, high in table.itertuples()}
    half = interval(70.5, RELEASES["re-release"]), interval(70.5, LOCATIONS)
    unseen = math.hypot(*(interval(mean, 990) for mean in (68.4, 67.0)))  # of 3 x 330 clips each, taken as independent
    three, two, worst = "submission 4 against 3", "submission 4 against 2", "submission 1 against the baseline"
    loss, groups = (test["log loss"][two], test.sd[two]), "S1-S3 against S4-S6"
    rows = [
        ("3.3", "the model with 64 mel bins is about 2.5x faster", "holds in operations",
         f"multiply-accumulates {counted[160] / counted[64]:.2f} times as many; measured on one core, in one run, "
         f"{alone[160] / alone[64]:.2f} times as long, with the features {time[160] / time[64]:.2f}"),
        ("3.3", "the model with 64 mel bins has almost the same performance as with 160", "unclear",
         f"{points[two]:.1f} points are {differ[two]:.0f} clips: chance or not, by how many clips the two disagree on. "
         f"The log loss differs by {loss[0]:.3f}: beyond chance if the standard deviation of the clips' differences is "
         f"below {loss[1]:.1f} and clips are independent, below {loss[1] * math.sqrt(LOCATIONS / clips.sum()):.1f} if "
         "those of a location are all alike: not to be tested without predictions"),
        ("3.3", "our best model (by a value of log loss) is the one with 160 mel bins", "unclear",
         f"{test['log loss'][three]:.3f} better than 128 mel bins and {differ[three]:.0f} clips worse: one run "
         "of each, and the deviation over seeds is not told"),
        ("3.4", "almost the same accuracy for unseen S4 to S6 as for S1 to S3", "consistent, not shown",
         f"{points[groups]:.1f} points +- {unseen:.1f}, p = {p[groups]:.2f}: no difference is shown, and one of "
         f"{points[groups] + unseen:.1f} points not excluded"),
        ("3.4", "quite robust to various devices", "a judgement", "the report names no measure for it"),
        ("3.4", "a slight difference in the device-wise performance", "hard to square with Table 4",
         f"A against S6, its extremes: {points['A against S6']:.1f} points, p = {p['A against S6']:.0e}; real against "
         f"simulated devices {points['A to C against S1-S6']:.1f} points, p = {p['A to C against S1-S6']:.0e}"),
        ("3.5", "the model is consistent with the competition requirements (128 KB)", "holds by its own count",
         f"{span['parameters']}; with running statistics, as the "
         f"challenge's Keras counter has it, {span['with_statistics']}: "
         f"over 131,072; folded into the convolutions {span['folded']}"),
        ("3.5", "the number of non-zero parameters is equal to the number of parameters", "plausible",
         f"so in {full} of {len(abouts)} networks that were trained here on other data ({home.name})"),
        ("3.6", "significantly higher performance than the baseline system", "holds",
         f"submission 1 already, by {differ[worst]:.0f} clips, p at most {p[worst]:.1e} however the two disagree; "
         "of street_pedestrian the baseline has more right than submission 4 (38.7 against 32.3 %)"),
        ("3.2", "the dataset is balanced by classes", "holds, nearly",
         f"evaluation {clips.min()} or {clips.max()} clips a class; training {min(training):,} to {max(training):,}"),
        ("3.2", "log loss is the average of the class-wise log loss", "makes no difference",
         "the official score is the mean over clips; in Tables 3 and 4 the two differ by less than the rows are "
         "rounded by"),
        ("3.1", "about 400 epochs, early stopping, max epochs of 500", "untestable",
         "what early stopping watched is not told; if it was the test set, its scores are optimistic"),
        ("3.3", "accuracy 70.5 %", "uncertain by its size",
         f"+- {half[0]:.1f} points if clips were independent, +- {half[1]:.1f} if those of a location were all alike"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["section", "claim", "verdict", "evidence"])


def baseline() -> pd.DataFrame:
    """The baseline's class-wise and device-wise numbers [18] beside the report's; accuracies in per cent."""
    theirs = pd.read_csv(tables.PUBLISHED / "baseline.csv").query("part in ('class', 'device')").set_index("name")
    rows = []
    for number in (3, 4):
        wide = tables.published(number).pivot(index="row", columns="column", values="value").drop("average")
        for name in (*CLASSES, *DEVICES):
            if name in wide.index:
                rows.append((number, name, theirs.accuracy[name], float(wide.accuracy[name]),
                             theirs.log_loss[name], float(wide.log_loss[name])))  # fmt: skip
    return pd.DataFrame(rows, columns=["table", "row", "baseline_accuracy", "report_accuracy", "baseline_log_loss",
                                       "report_log_loss"])  # fmt: skip
