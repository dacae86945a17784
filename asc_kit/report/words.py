"""What a reader cannot see in a table: paired differences, the order beside the report's, and what training had."""

from pathlib import Path

import pandas as pd

from asc_kit.common.errors import InputError
from asc_kit.config import Config
from asc_kit.data import corpus as corpora
from asc_kit.data.check import DEVICES
from asc_kit.report.evaluation import NETWORKS, Results, difference
from asc_kit.report.tables import PUBLISHED
from asc_kit.run.experiment import open_corpus
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import Run, flat

BREAK = "  \n"  # a line in Markdown
ENOUGH = 8  # classes or devices, below which an order is not compared
CONVEX = (
    "The log loss of a mean of probabilities is never above the mean of its networks' log losses, on any clip: that "
    "the seeds' interval leaves out 0 is arithmetic, and only how far is measured."
)


def setup(config: Config) -> pd.DataFrame:
    """Section 3.1 by the kit's settings, and what a run's configuration has in its place."""
    values = flat(config.as_dict())
    table = pd.read_csv(PUBLISHED / "setup.csv", index_col="setting", keep_default_na=False)
    return table.assign(**{"this run": [str(values[name]) for name in table.index]})


def at_hand(recipe: Recipe, dataset_root: str | Path | None) -> corpora.Corpus | None:
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
    out = shown.copy()
    if set(DEVICES) & set(out.device):
        kind = {name: "simulated" if name.startswith("s") else "real" for name in DEVICES}
        out.insert(1, "in TAU", out.device.map(kind).fillna(""))
    if training is not None:
        counts = out.device.map(training.to_dict() | dict.fromkeys(("average", "all"), training.sum())).fillna(0)
        clips = counts.map("{:,.0f}".format).replace("0", "0 (unseen)")
        out.insert(out.columns.get_loc("accuracy"), "training clips", clips)
    return out


def order(table: pd.DataFrame) -> str:
    """The rank correlation of Table 3's or 4's accuracies with the report's, where both have enough."""
    rows = table[(table.n > 0) & ~table.iloc[:, 0].isin(("average", "all"))]
    both = rows[["accuracy", "report_accuracy"]].astype(float).dropna()
    if len(both) < ENOUGH or both.nunique().min() == 1:
        return ""
    rank = both.corr("spearman").iloc[0, 1]
    return f"Rank correlation of the accuracies with the report's: {rank:.2f} (1 the same order, -1 the opposite)."


def compared(results: Results, one: str, two: str) -> str:
    """The paired difference of two systems' accuracies, and whether its interval leaves out 0."""
    found = difference(results.scored[one], results.scored[two])
    value, low, high = (100 * found[f"accuracy_difference{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return f"{one} and {two} have no clip in common."
    text = f"{one} against {two}, paired by clip: accuracy {value:+.1f} points"
    if pd.isna(low):
        return f"{text}; all clips are of one place, so there is no interval."
    verdict = "leaves out 0: more than the choice of locations explains"
    if low <= 0 <= high:
        verdict = "includes 0: these clips cannot tell"
    return f"{text} [{low:+.1f}, {high:+.1f}], which {verdict}."


def mel_bins(results: Results) -> str:
    """Of the report's networks that ran: the most mel bins against the fewest."""
    ran = [name for name in NETWORKS if name in results.scored]
    return compared(results, ran[-1], ran[0]) if len(ran) > 1 else ""


def submissions(results: Results) -> str:
    """The best network against the baseline or, without it, against the best floor."""
    accuracy = {name: scored.row()["accuracy"] for name, scored in results.scored.items()}
    best = [max(ran, key=accuracy.get) for kind in ("network", "baseline", "floor") if (ran := results.ran(kind))]
    return compared(results, *best[:2]) if len(best) > 1 else ""


def floors(table: pd.DataFrame) -> str:
    """`tables.floors`: which systems beat logistic regression, SVM and an even guess, and which do not."""
    parts = [f"Against **{floor}**. {_verdicts(rows)}" for floor, rows in table.groupby("against", sort=False)]
    return BREAK.join(parts) or "Nothing has run."


def ablation(table: pd.DataFrame) -> str:
    """Which variants of an ablation differ from the recipe."""
    rows = table[table.accuracy_difference.notna() & (table.n > 0)]
    return f"Against the recipe. {_verdicts(rows)}" if len(rows) else ""


def beyond(table: pd.DataFrame) -> str:
    """Which of `beyond.ways` differ from the networks alone."""
    rows = table[table.accuracy_difference.notna()]
    said = f"Against the network alone. {_verdicts(rows)}" if len(rows) else ""
    return f"{said} {CONVEX}" if rows.way.str.contains("seeds' probabilities").any() else said


def _verdicts(rows: pd.DataFrame) -> str:
    """Which are above and below what they are paired with, by whether their intervals hold 0."""
    scores = []
    for score, up, down in (("accuracy", "higher (better)", "lower"), ("log_loss", "higher", "lower (better)")):
        low, high = (pd.to_numeric(rows[f"{score}_difference_{end}"]) for end in ("low", "high"))
        verdicts = {up: low > 0, down: high < 0, "these clips cannot tell": ~(low > 0) & ~(high < 0)}
        parts = [f"{verdict} for {_names(rows[mask])}" for verdict, mask in verdicts.items() if mask.any()]
        scores.append(f"{score.replace('_', ' ').capitalize()}: {'; '.join(parts)}.")
    return " ".join(scores)


def _names(rows: pd.DataFrame) -> str:
    if "way" in rows:
        ways = rows.submission.groupby(rows.way, sort=False).agg(", ".join)
        return ", ".join(f"{way} ({systems})" for way, systems in ways.items())
    return ", ".join(rows.get("variant", rows.get("submission")))


def of_tables(results: Results, made: dict[int, pd.DataFrame]) -> dict[int, str]:
    """The sentences of Tables 2, 3, 4 and 7, by number."""
    return {2: mel_bins(results), 3: order(made[3]), 4: order(made[4]), 7: submissions(results)}
