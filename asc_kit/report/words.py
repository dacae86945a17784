"""What a reader cannot see in a table: paired differences of two systems, and which of many are more than chance."""

from functools import partial
from pathlib import Path

import pandas as pd

from asc_kit.common import InputError
from asc_kit.config import SYSTEMS, Config
from asc_kit.data import corpus as corpora
from asc_kit.report import ablation as ablations
from asc_kit.report.evaluation import NETWORKS, Results, difference, paired
from asc_kit.report.tables import PUBLISHED, device_groups
from asc_kit.run.experiment import open_corpus
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import flat

BREAK = "  \n"  # a line in Markdown
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


def compared(results: Results, one: str, two: str, what: str) -> str:
    """The paired differences of two systems, called ``what``, and whether these clips show them."""
    return _told(f"{what}, paired by clip", difference(results.scored[one], results.scored[two]))


def _told(what: str, found: dict[str, float]) -> str:
    parts = []
    for name, sign, scale, style in (("accuracy", 1, 100, "{:+.1f} points [{:+.1f}, {:+.1f}]"),
                                     ("log_loss", -1, 1, "{:+.3f} [{:+.3f}, {:+.3f}]")):  # fmt: skip
        value, low, high = (scale * found[f"{name}_difference{end}"] for end in ("", "_low", "_high"))
        if pd.isna(low):
            return f"{what}: no clip in common, or clips of one place alone, so there is no interval."
        verdict = "these clips cannot tell" if low <= 0 <= high else "better" if sign * value > 0 else "worse"
        parts.append(f"{name.replace('_', ' ')} {style.format(value, low, high)}, {verdict}")
    return f"{what}: {'; '.join(parts)}."


def mel_bins(results: Results) -> str:
    """Of the report's networks that ran: the most mel bins against the fewest."""
    ran = [name for name in NETWORKS if name in results.scored]
    if len(ran) < 2:
        return ""
    most, fewest = (SYSTEMS[name]["n_mels"] for name in (ran[-1], ran[0]))
    return compared(results, ran[-1], ran[0], f"{most} mel bins against {fewest}")


def submissions(results: Results) -> str:
    """Which networks differ from the baseline, where it ran; the floors have a table of their own."""
    return _against("**baseline**", paired(results, [(name, "baseline") for name in results.ran("network")]))


def built_in(results: Results) -> str:
    """What the synthetic clips were made to show, and what these runs show of it; of recordings nothing."""
    if not results.synthetic:
        return ""
    parts = []
    if {"1", "3"} <= results.scored.keys():
        parts.append("**A ripple of the spectrum that 128 mel bins (3) resolve and 32 (1) do not.** Measured: "
                     f"{compared(results, '3', '1', '3 against 1')}")  # fmt: skip
    if rows := device_groups(results).query("submission == @results.best").to_dict("records"):
        what = f"{results.best} on {rows[0]['devices']} against {rows[0]['against']}"
        parts.append("**Devices s4 to s6, in no training clip, differ from a by more than s1 to s3 do.** Measured: "
                     f"{_told(what, rows[0])}")  # fmt: skip
    mixups = ablations.scores(results.home, results.recipe) if "standard_mixup" in results.recipe.ablation else {}
    if len(mixups) > 1:
        found = difference(mixups[ablations.AS_IT_STANDS], mixups["standard_mixup"])
        parts.append("**Clips differ in level, which the report's mixup takes into account.** Measured: "
                     f"{_told('that mixup against the standard one, paired by clip', found)}")  # fmt: skip
    return BREAK.join(parts)


def floors(table: pd.DataFrame) -> str:
    """`tables.floors`: which systems beat logistic regression, SVM and an even guess, and which do not."""
    parts = [_against(f"**{floor}**", rows) for floor, rows in table.groupby("against", sort=False)]
    return BREAK.join(parts) or "Nothing has run."


def beyond(table: pd.DataFrame) -> str:
    """Which of `beyond.ways` differ from the networks alone."""
    said = _against("the network alone", table)
    return f"{said} {CONVEX}" if table.way.str.contains("seeds' probabilities").any() else said


def _against(what: str, table: pd.DataFrame) -> str:
    """Which rows are above and below what they are paired with, by whether their intervals hold 0."""
    rows, scores = table[table.accuracy_difference.notna()], [f"Against {what}."]
    if rows.empty:
        return ""
    for score, up, down in (("accuracy", "higher (better)", "lower"), ("log_loss", "higher", "lower (better)")):
        low, high = (pd.to_numeric(rows[f"{score}_difference_{end}"]) for end in ("low", "high"))
        verdicts = {up: low > 0, down: high < 0, "these clips cannot tell": ~(low > 0) & ~(high < 0)}
        parts = [f"{verdict} for {_names(rows[mask])}" for verdict, mask in verdicts.items() if mask.any()]
        scores.append(f"{score.replace('_', ' ').capitalize()}: {'; '.join(parts)}.")
    return " ".join(scores)


league = partial(_against, "the report's network")  # of `tables.league`
ablation = partial(_against, "the recipe")  # of an ablation's table


def _names(rows: pd.DataFrame) -> str:
    if "way" in rows:
        ways = rows.submission.groupby(rows.way, sort=False).agg(", ".join)
        return ", ".join(f"{way} ({systems})" for way, systems in ways.items())
    return ", ".join(rows.get("variant", rows.get("submission")))


def of_tables(results: Results) -> dict[int, str]:
    """The sentences of Tables 2 and 7, by number."""
    return {2: mel_bins(results), 7: submissions(results)}
