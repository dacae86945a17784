"""The audit: every printed number has a fate, the proofs hold, and a wrong number would be seen."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, real

from asc_kit.data import corpus
from asc_kit.report import audit, claims, evaluation, tables
from asc_kit.run.recipes import Recipe


@pytest.fixture(scope="module")
def numbers():
    return audit.numbers()


def test_every_published_number_is_accounted_for(numbers):
    for name in (1, 2, 3, 4, 5, 6, 7, "text"):
        published = tables.published(name)
        mine = numbers[numbers.table == str(name)]
        assert mine[["row", "column"]].values.tolist() == published[["row", "column"]].values.tolist()
        assert mine.printed.tolist() == published.value.tolist()
    assert set(numbers.status) <= set(audit.STATUSES)
    assert set(numbers[numbers.status == "erratum"].row) == {"clips", "test_clips", "equation_2", "equation_3"}
    # scores of single classes, devices and mel bins need TAU 2020; what follows from the network does not
    assert (numbers[numbers.table.isin(["1", "5", "6"])].status == "derived").all()
    scores = numbers[
        numbers.column.isin(["accuracy", "log_loss"]) & ~numbers.row.isin(["average", "160", "4", "baseline"])
    ]
    assert (scores.status == "not run").all() and len(scores) == 6 + 20 + 18 + 6
    means = numbers[numbers.printed.isin(["70.5", "0.848"])]  # of scores that are not run
    assert (means.status == "consistent").all() and len(means) == 16
    counts = numbers.status.value_counts()
    said = f"of the report's {len(numbers)} numbers and formulas {counts['derived']} are recomputed and equal, "
    assert said + f"{counts['not run']} not run" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("number", "row", "column", "wrong"),
    [(1, "4", "channels", "20"), (3, "average", "accuracy", "70.6"), (4, "average", "log_loss", "0.850"),
     (5, "1", "mbconv4", "5·I²"), (6, "6", "parameters", "2656"), (6, "20", "size_kb", "121.9"),
     (7, "2", "model_size_kb", "121.5"), (7, "baseline", "log_loss", "1.474"), (7, "1", "mel_bins", "40"),
     ("text", "parameters", "abstract", "62347"), ("text", "hop", "2.1", "691"), ("text", "faster", "3.3", "2.6"),
     ("text", "street_pedestrian", "3.4", "32.4"), ("text", "frames", "2.1", "641"), ("text", "limit_float32", "1", "32000")],
)  # fmt: skip
def test_a_number_that_were_printed_otherwise_would_be_an_erratum(monkeypatch, number, row, column, wrong):
    read = tables.published

    def changed(name):
        table = read(name)
        if str(name) == str(number):
            table.loc[(table.row == row) & (table.column == column), "value"] = wrong
        return table

    monkeypatch.setattr(tables, "published", changed)
    found = audit.numbers()
    assert found[(found.table == str(number)) & (found.row == row) & (found.column == column)].status.tolist() == [
        "erratum"
    ]


def test_inversions_are_those_of_the_facts():
    by_class, by_device = audit.inversions(3), audit.inversions(4)
    assert [k for (k,) in by_class["re-release: correct"]] == [182, 269, 213, 218, 256, 153, 212, 96, 260, 233]
    assert [k for (k,) in by_device["re-release: correct"]] == [259, 238, 255, 226, 221, 230, 226, 223, 214]
    # no number of 297 rounds to 61.5 or 78.7 %, none of 330 to 72.3 or 77.5 %
    empty = {
        row for table in (by_class, by_device) for row, k in zip(table.row, table["first release: correct"]) if not k
    }
    assert empty == {"airport", "tram", "b", "c"} and audit.scored_release() == "re-release"


def test_official_fold_is_the_lists(tmp_path):
    """The clips by class and device that the proofs use, against TAU 2020's own lists."""
    for release, version in (("first release", "v1"), ("re-release", "v2")):
        _, evaluation = corpus.read(real(f"tau2020_splits/{version}")).split(1, 1)
        counted = pd.crosstab(evaluation.scene_label, evaluation.source_label)
        assert (audit.fold(release).loc[counted.index, counted.columns] == counted).all(axis=None)
        assert len(evaluation) == audit.RELEASES[release]
        assert evaluation.identifier.nunique() == claims.LOCATIONS


def test_equations_differ_from_table_5_by_2_o_less_2_i():
    found = audit.equations()
    assert found.built.all() and set(found["sum - equation"]) == {"+2·O -2·I"}


def test_another_difference_would_be_another_finding(monkeypatch):
    """With equations (2) and (3) as they should read, and with one that is off by a product."""
    read = tables.published

    def corrected(name):
        table = read(name)
        if name == "text":
            table.loc[table.row == "equation_2", "value"] = "4·I·(I + O + 2·[0.25·I] + 14) + 2·O + [0.25·I] + H(I, O)"
            table.loc[table.row == "equation_3", "value"] = "4·I·(9·I + 2·[0.25·I] + 3) + 2·I + [0.25·I] + H(I, O)"
        return table

    monkeypatch.setattr(tables, "published", corrected)
    right, off = audit.equations()["sum - equation"]
    assert right == "+0·O +0·I" and off.startswith("[")  # no sum of I and O: all the differences


def test_every_source_is_a_value_of_the_kit():
    """A name that were misspelt in the published tables would leave its number unchecked."""
    sources = {source for name in (*range(1, 8), "text") for source in tables.published(name).source} - {""}
    assert sources <= set(dict(audit._values()))


def test_sizes_are_those_of_the_facts():
    found = audit.sizes().pivot(index="submission", columns="count", values="numbers")
    assert found.parameters.tolist() == [62090, 62154, 62282, 62346]
    assert found.with_statistics[["1", "4"]].tolist() == [65618, 66130]
    assert found.folded[["1", "4"]].tolist() == [60252, 60508]
    assert audit.macs().div(1e6).round().tolist() == [79, 159, 317, 397]


def test_bounds_enclose_every_table_of_agreement():
    """Against McNemar's exact test, written out, for every possible number of disagreements of a small set."""
    clips, a, b = 40, 20, 26  # correct of each
    difference, few, many = claims.bounds(100 * a / clips, 100 * b / clips, clips)
    every = []
    for both in range(a + 1):
        lost, won = a - both, b - both  # right with one system alone
        if both + lost + won <= clips:
            n, k = lost + won, max(lost, won)
            tail = sum(math.comb(n, i) for i in range(k, n + 1)) / 2**n
            every.append(min(1.0, 2 * tail))
    assert difference == 6
    assert few == pytest.approx(min(every)) and many == pytest.approx(max(every))


def test_significance_says_what_the_numbers_support():
    verdicts = claims.significance().set_index("difference").verdict
    assert (
        verdicts["submission 4 against 3"]
        == verdicts["submission 4 against 2"]
        == "cannot be told from the printed numbers"
    )
    assert verdicts["submission 1 against the baseline"] == verdicts["A against S6"] == "larger than chance"
    assert verdicts["S1-S3 against S4-S6"] == "not larger than chance"


def test_claims_quote_their_evidence(tmp_path):
    for seed, nonzero in enumerate((62346, 62345)):
        folder = tmp_path / "submission_4" / f"seed_{seed}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(f'{{"parameters": 62346, "nonzero": {nonzero}}}')
    speed = pd.DataFrame({"mel_bins": [64, 160], "features_milliseconds": [5.0, 6.0], "milliseconds": [10.0, 18.0]})
    found = claims.claims(speed, tmp_path).set_index("claim")
    assert (
        "2.50 times as many; measured on one core, in one run, 2.40 times as long, with the features 1.80"
        in found.evidence.iloc[0]
    )
    assert found.evidence.str.contains("so in 1 of 2 networks").any()
    assert {"hard to square with Table 4", "unclear", "holds", "untestable"} <= set(found.verdict)


def test_paired_differences_equal_their_definition(tmp_path):
    """Two systems of which one is right on three clips more, over four places."""
    truth = pd.DataFrame([(f"{p}{i}.wav", "ab"[i % 2], f"p{p}", "") for p, i in itertools.product(range(4), range(6))],
                         columns=["filename", "scene_label", "identifier", "source_label"])  # fmt: skip
    truth.to_csv(tmp_path / "truth.tsv", sep="\t", index=False)
    for name, wrong in (("4", 2), ("2", 5)):
        folder = tmp_path / f"submission_{name}" / "seed_0"
        folder.mkdir(parents=True)
        right = np.where(np.arange(len(truth)) < wrong, 0.2, 0.8)
        a = np.where(truth.scene_label == "a", right, 1 - right)
        table = pd.DataFrame(
            {"filename": truth.filename, "scene_label": np.where(a > 0.5, "a", "b"), "a": a, "b": 1 - a}
        )
        table.to_csv(folder / "predictions.tsv", sep="\t", index=False)
    results = evaluation.load(tmp_path, Recipe("mine"))
    row = evaluation.paired(results, (("4", "2"), ("4", "1"))).iloc[0]
    assert row[["submission", "against", "n", "disagree"]].tolist() == ["4", "2", 24, 3]
    assert row.accuracy_difference == pytest.approx(3 / 24)  # classes are of equal size
    assert row.log_loss_difference == pytest.approx(3 / 24 * math.log(0.2 / 0.8))
    assert (
        row.accuracy_difference_low == 0 < row.accuracy_difference < row.accuracy_difference_high
    )  # all three lie in one place, which a draw may miss
