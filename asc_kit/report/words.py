"""Sentences computed from an experiment's tables: what they show, what they cannot, and what the report has there.

Systems are compared clip by clip; classes and devices, whose clips are others, by whether their intervals overlap.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from asc_kit.common.errors import InputError
from asc_kit.config import MEL_BINS, Augmentation, Config
from asc_kit.data import corpus as corpora
from asc_kit.data.check import TRAINING_A
from asc_kit.data.corpus import Corpus
from asc_kit.report.evaluation import DEVICES, NETWORKS, Results, difference
from asc_kit.run.experiment import open_corpus
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run

REAL, SIMULATED, UNSEEN = DEVICES[:3], DEVICES[3:6], DEVICES[6:]  # in TAU 2020
WHOLE = ("average", "all")  # last rows
GROUPS = {"A to C": REAL, "S1 to S3": SIMULATED, "S4 to S6": UNSEEN}
BREAK = "  \n"  # a line in Markdown
ALIKE = 0.5  # rank correlation from which an order is called like the report's
ENOUGH = 8  # classes or devices, below which an order is not compared


def at_hand(recipe: Recipe, dataset_root: str | Path | None) -> Corpus | None:
    """The data set, or None where it is not here."""
    try:
        return open_corpus(recipe, dataset_root)
    except InputError:
        return None


def training_clips(run: Run) -> pd.Series | None:
    """Clips of the run's training fold by device; None where the data set is not at hand or devices are not known."""
    corpus = at_hand(run.recipe, run.dataset_root)
    if corpus is None:
        return None
    rows, _ = corpus.split(run.config.fold, run.config.folds, run.config.split_seed)
    if run.config.training.training_devices is not None:
        rows = corpora.of_devices(rows, run.config.training.training_devices, corpus.root)
    counts = rows.source_label[rows.source_label != ""].value_counts()
    return counts if len(counts) else None


def mark(shown: pd.DataFrame, training: pd.Series | None) -> pd.DataFrame:
    """Table 4 for people, with what each device is in TAU, and how many clips of it the training fold has."""
    kind = {name: "real" if name in REAL else "simulated" for name in DEVICES}
    out = shown.copy()
    if set(out.device) & set(kind):
        out.insert(1, "in TAU", out.device.map(kind).fillna(""))
    if training is not None:
        heard = [_heard(name, training) for name in out.device]
        out.insert(out.columns.get_loc("accuracy"), "training clips", heard)
    return out


def _heard(name: str, training: pd.Series) -> str:
    if name in WHOLE:
        return f"{training.sum():,}"
    return f"{training[name]:,}" if name in training else "0 (unseen)"


def whose(results: Results) -> str:
    """Whose numbers stand beside the report's in Tables 3 and 4."""
    theirs = f"The report's columns are its {MEL_BINS['4']}-bin network, submission 4"
    if results.best in (None, "4"):
        return f"{theirs}, which is this run's too."
    bins = f" ({MEL_BINS[results.best]} mel bins)" if results.best in MEL_BINS else ""
    what = f"submission {results.best}" if results.best in MEL_BINS else f"variant {results.best} of an ablation"
    return f"{theirs}; this run is {what}{bins}. For the report's own network set `submission` to 4."


def _ran(table: pd.DataFrame, key: str | None = None) -> pd.DataFrame:
    """Rows with scores, as numbers, the averages left out; the report's accuracy is NaN where it has none."""
    rows = table[table.n > 0]
    rows = rows[~rows[key].isin(WHOLE)] if key else rows
    numbers = [name for name in rows if name.startswith(("accuracy", "log_loss", "report_"))]
    return rows.assign(**rows[numbers].apply(pd.to_numeric, errors="coerce"))


def _compared(results: Results, one: str, two: str, scores: tuple[pd.Series, pd.Series]) -> str:
    """Whether two submissions are told apart: paired by clip where both are there, else by their intervals."""
    if not {one, two} <= results.scored.keys():
        return _told(*scores)
    found = difference(results.scored[one], results.scored[two])
    low, high = (100 * found[f"accuracy_difference_{end}"] for end in ("low", "high"))
    if pd.isna(low):
        return _told(*scores)
    if low <= 0 <= high:
        said = "which includes 0: these clips cannot tell"
    else:
        said = "which excludes 0: more than the choice of locations explains"
        said += "" if _seeds(results, one, two) else "; one seed, so another training may turn it round"
    return f"paired by clip the 95 % interval of the difference is [{low:+.1f}, {high:+.1f}] points, {said}"


def _seeds(results: Results, *names: str) -> bool:
    """Whether all of the submissions were trained more than once."""
    return all(len(results.scored[name].seeds) > 1 for name in names)


def _told(one: pd.Series, two: pd.Series) -> str:
    """Whether two accuracies' intervals are apart."""
    if pd.isna([one.accuracy_low, two.accuracy_low]).any():
        return "without intervals, so whether that is chance is open"
    if one.accuracy_low > two.accuracy_high or two.accuracy_low > one.accuracy_high:
        return "their intervals do not overlap"
    return "their intervals overlap: not decided by this comparison of the extremes"


def _data(results: Results) -> str:
    return " The data here is synthetic: it says nothing about real scenes." if results.synthetic else ""


def _ends(rows: pd.DataFrame, column: str = "accuracy") -> tuple[pd.Series, pd.Series]:
    """The rows of the lowest and the highest accuracy."""
    order = rows.sort_values(column, kind="stable")
    return order.iloc[0], order.iloc[-1]


def _order(rows: pd.DataFrame) -> str:
    """Is the order of the accuracies the report's?"""
    both = rows.dropna(subset=["accuracy", "report_accuracy"])
    rank = both.accuracy.corr(both.report_accuracy, "spearman") if len(both) >= ENOUGH else float("nan")
    if pd.isna(rank):
        return ""
    said = "like" if rank >= ALIKE else "**not like**"
    return f" The order here is {said} the report's: rank correlation {rank:.2f} (1 the same order, -1 the opposite)."


def classes(results: Results, table: pd.DataFrame) -> str:
    """Table 3 in words: the hardest and the easiest class, here and in the report."""
    rows = _ran(table, "scene_label")
    if rows.empty:
        return ""
    text = _hardest(rows, "scene_label")
    known = rows.dropna(subset="report_accuracy")
    if len(known):
        low, high = _ends(known, "report_accuracy")
        of = "" if len(known) == len(rows) else f", of the {len(known)} classes that it has, too"
        text += (f" In the report{of}: {low.scene_label} ({low.report_accuracy:.1%}) and {high.scene_label} "
                 f"({high.report_accuracy:.1%}).")  # fmt: skip
    return text + _order(rows) + _data(results)


def devices(results: Results, table: pd.DataFrame, training: pd.Series | None = None) -> str:
    """Table 4 in words: the hardest device, what training heard of it, and what the report's numbers say."""
    rows = _ran(table, "device")
    if len(rows) < 2:
        return "These clips name no devices." if (table.device == "all").any() else ""
    text = _hardest(rows, "device")
    for source, column in (("here", "accuracy"), ("in the report", "report_accuracy")):
        means = {name: rows[column][rows.device.isin(part)].mean() for name, part in GROUPS.items()}
        means = {name: 100 * value for name, value in means.items() if pd.notna(value)}
        said = ", ".join(f"{name} {value:.1f}%" for name, value in means.items())
        text += f"{BREAK}Means {source}: {said}{_steps(*means.values()) if len(means) == 3 else ''}." if means else ""
    return text + _training(training, rows.device.to_list()) + BREAK + (_order(rows) + _data(results)).strip()


def _hardest(rows: pd.DataFrame, key: str) -> str:
    """The lowest and the highest accuracy and all that have them, and whether the clips tell them apart."""
    ends = _ends(rows)
    names = [", ".join(rows[key][rows.accuracy == end.accuracy]) for end in ends]
    (low, high), (worst, best) = ends, names
    return f"Hardest here: **{worst}** ({low.accuracy:.1%}); easiest: {best} ({high.accuracy:.1%}); {_told(low, high)}."


def _steps(first: float, heard: float, unheard: float) -> str:
    """The means' two steps, in points."""
    return f" (a step of {heard - first:+.1f} points, then of {unheard - heard:+.1f})"


def _training(training: pd.Series | None, names: list[str]) -> str:
    """How much of each device training had."""
    if training is None:
        return ""
    order = [name for name in DEVICES if name in training] + [name for name in training.index if name not in DEVICES]
    heard = ", ".join(f"{name} {training[name]:,}" for name in order)
    none = [name for name in names if name not in training]
    return f"{BREAK}Training clips: {heard}" + (f"; none of {', '.join(none)}." if none else ".")


def why(table: pd.DataFrame) -> str:
    """Why the devices of Table 4 differ: two reasons, and which of them the report's own numbers speak for."""
    if len(table) < 2:
        return ""
    from asc_kit.report import claims  # here, for the others' sake: it takes the seconds of sympy's import

    test, a, each = claims.significance().set_index("difference"), sum(TRAINING_A.values()), 75 * len(TRAINING_A)
    unseen, real = (test.loc[name] for name in ("S1-S3 against S4-S6", "B and C against S1-S3"))
    steps = all(table.device.isin(part).any() for part in GROUPS.values())
    here = (" Which it is here, the two steps of the means suggest: in the first the devices change, in the second "
            "whether training had them. The same order does not show the same cause.")  # fmt: skip
    return (
        "**Why?** Two reasons offer themselves. Training hears mostly A: in TAU's lists (the report does not say) its "
        f"training fold has {a:,} clips of A, about {each} of each of B, C and S1 to S3, none of S4 to S6. And each "
        "device colours and compresses the sound in its own way (*Explore* in 01_corpus). The report's numbers "
        f"(09_audit): B and C stand {real.points:.1f} points above S1 to S3, with as many training clips, "
        f"{real.verdict} for these clips, though two devices against three cannot say that it is *real against "
        f"simulated*. S4 to S6, unseen in training, stand {unseen.points:.1f} points below S1 to S3, {unseen.verdict}: "
        "no effect of *seen against unseen* is shown." + (here if steps else "")
    )


def mel_bins(results: Results, table: pd.DataFrame) -> str:
    """Table 2 in words: does accuracy rise with the mel bins, can the clips tell, and in the report?"""
    rows = _ran(table)
    if len(rows) < 2:
        return "Too few of the four networks have run for a comparison."
    few, many = rows.iloc[0], rows.iloc[-1]
    here, there = (100 * (many[column] - few[column]) for column in ("accuracy", "report_accuracy"))
    steps = rows.accuracy.astype(float).diff().dropna()
    names = {bins: name for name, bins in MEL_BINS.items() if name in NETWORKS}
    told = _compared(results, names[int(many.mel_bins)], names[int(few.mel_bins)], (many, few))
    how = "at every step" if (steps > 0).all() or (steps < 0).all() else "though not at every step"
    text = (f"From {few.mel_bins} to {many.mel_bins} mel bins accuracy {_moves(here)} here by {abs(here):.1f} points, "
            f"{how}; {told}. In the report it {_moves(there)} by {abs(there):.1f} points")  # fmt: skip
    text += ": **the opposite direction**." if here * there < 0 else "."
    return text + _data(results)


def _moves(points: float) -> str:
    return "rises" if points > 0 else "falls" if points < 0 else "stays"


def submissions(results: Results, table: pd.DataFrame) -> str:
    """Table 7 in words: the best network against the baseline, here and in the report."""
    rows = _ran(table).set_index("submission")
    nets = rows[rows.index.isin(NETWORKS)]
    if nets.empty or "baseline" not in rows.index:
        return "The baseline, or every network, is missing: nothing to compare."
    base, best = rows.loc["baseline"], nets.loc[nets.accuracy.idxmax()]
    points = 100 * (best.accuracy - base.accuracy)
    report = 100 * (table.set_index("submission").report_accuracy["4"] - base.report_accuracy)
    told = _compared(results, str(best.name), "baseline", (best, base))
    return (f"The most accurate network here is submission {best.name}, {points:+.1f} points from the baseline; {told}."
            f" In the report submission 4 is {report:+.1f} points from it.{_data(results)}")  # fmt: skip


def floors(table: pd.DataFrame) -> str:
    """`tables.floors` in words: which networks beat logistic regression, SVM and an even guess, and which do not."""
    parts = [f"Against **{floor}**. {_verdicts(rows, rows.submission)}" for floor, rows in
             table.groupby("against", sort=False)]  # fmt: skip
    return BREAK.join(parts) or "Nothing has run."


def ablation(table: pd.DataFrame) -> str:
    """An ablation's table in words: which variants differ from the recipe."""
    rows = table[table.accuracy_difference.notna() & (table.n > 0)]
    return f"Against the recipe. {_verdicts(rows, rows.variant)}" if len(rows) else ""


CONVEX = (
    "The log loss of a mean of probabilities is never above the mean of its networks' log losses, on any clip: that "
    "the seeds' interval leaves out 0 is arithmetic, and only how far is measured."
)


def beyond(table: pd.DataFrame) -> str:
    """`beyond.ways` in words: which other ways of scoring differ from the networks alone."""
    rows = table[pd.to_numeric(table.accuracy_difference).notna()]

    def grouped(ways: pd.Series) -> str:
        of = rows.submission.astype(str)[ways.index]
        return ", ".join(f"{way} ({', '.join(of[ways == way])})" for way in ways.unique())

    if not len(rows):
        return ""
    said = f"Against the network alone. {_verdicts(rows, rows.way, grouped)}"
    seeds = rows.way.str.contains("seeds' probabilities").any()
    return f"{said} {CONVEX}" if seeds else said


def _verdicts(rows: pd.DataFrame, names: pd.Series, listed: Callable[[pd.Series], str] = ", ".join) -> str:
    """Which are above and below what they are paired with, by whether their intervals hold 0."""
    said = []
    for score, up, down in (("accuracy", "higher (better)", "lower"), ("log_loss", "higher", "lower (better)")):
        low, high = (pd.to_numeric(rows[f"{score}_difference_{end}"]) for end in ("low", "high"))
        told = {up: low > 0, down: high < 0, "these clips cannot tell": ~(low > 0) & ~(high < 0)}
        parts = [f"{how} for {listed(names[mask])}" for how, mask in told.items() if mask.any()]
        said.append(f"{score.replace('_', ' ').capitalize()}: {'; '.join(parts)}.")
    return " ".join(said)


def of_tables(results: Results, made: dict[int, pd.DataFrame]) -> dict[int, str]:
    """The sentences of Tables 2, 3, 4 and 7, by number."""
    said = {2: mel_bins, 3: classes, 4: devices, 7: submissions}
    return {number: say(results, made[number]) for number, say in said.items() if number in made}


def setup(config: Config) -> pd.DataFrame:
    """Section 3.1 and what a run's configuration has in its place."""
    t, crop = config.training, config.augmentation.crop_seconds
    rate = f"one cycle up to {t.max_lr:g}" if t.schedule == "one_cycle" else f"constant, {t.max_lr:g}"
    part = {"validation": f"{t.validation_fraction:.0%} of the training fold", "test": "the evaluation clips"}
    watched = part.get(t.selection)
    patience = "all epochs are run" if t.patience is None else f"stops after {t.patience} epochs without a better one"
    stop = f"{t.watch.replace('_', ' ')} of {watched}; {patience}" if watched else "none: the last epoch is taken"
    rows = [("optimiser", "AdamW, standard parameters", f"{t.optimizer}, weight decay {t.weight_decay:g}"),
            ("clips in a batch", "64", str(t.batch_size)),
            ("learning rate", "one cycle up to 0.01", rate),
            ("epochs", "about 400, at most 500", f"at most {t.epochs}"),
            ("moving average of weights", "decay 0.999", f"decay {t.ema_decay:g}" if t.ema_decay else "none"),
            ("early stopping", "yes; on what is not said", stop),
            ("section of a clip", "8 s", f"{crop:g} s" if crop else "the whole clip"),
            ("mixup", "modified, alpha 0.6", _mixup(config.augmentation))]  # fmt: skip
    return pd.DataFrame(rows, columns=["", "report", "this run"]).set_index("")


def _mixup(settings: Augmentation) -> str:
    return f"{settings.mixup}, alpha {settings.mixup_alpha:g}" if settings.mixup else "none"
