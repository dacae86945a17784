"""An experiment's truth.tsv, and what keeps other recordings out of it."""

import json

import pandas as pd
import pytest

from asc_kit.common import InputError
from asc_kit.data.corpus import Corpus
from asc_kit.run import truth

FOLD = {"fold": 1, "folds": 2, "split_seed": 0}


def corpus(tmp_path, places=4, lists=None):
    """Two classes, recorded at each place once; two folds."""
    rows = [(f"{c}-{p}.wav", c, f"{c}-{p}", "", "", "") for c in ("bus", "park") for p in range(places)]
    columns = ["filename", "scene_label", "identifier", "source_label", "city", "segment"]
    return Corpus(tmp_path / "data", pd.DataFrame(rows, columns=columns), lists or {})


@pytest.fixture
def home(tmp_path):
    """Holds truth.tsv and a run of fold 1 of `corpus`, but for its network."""
    data, home = corpus(tmp_path), tmp_path / "mine"
    training, evaluation = data.split(1, 2, 0)
    truth.write(home, data, evaluation)
    (home / "submission_2" / "seed_0").mkdir(parents=True)
    about = {"config": FOLD | {"training": {"training_devices": None}}}
    about["data"] = {"training": len(training) - 1, "validation": 1}
    (home / "submission_2/seed_0/run.json").write_text(json.dumps(about))
    evaluation.to_csv(home / "submission_2/seed_0/predictions.tsv", sep="\t", index=False)
    return home


def refused(home, data, why):
    """By both ways in, in one line, with nothing written."""
    before = (home / "truth.tsv").read_bytes()
    for ask in (lambda: truth.refuse_other(home, data), lambda: truth.write(home, data, data.table)):
        with pytest.raises(
            InputError, match=f"mine: holds runs of other recordings .*{why}.*NAME=mine.*delete"
        ) as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert (home / "truth.tsv").read_bytes() == before


def test_the_same_recordings_go_on_and_another_folds_clips_come_in(home, tmp_path):
    data = corpus(tmp_path)
    truth.refuse_other(home, data)
    truth.write(home, data, data.split(2, 2, 0)[1])
    assert set(pd.read_csv(home / "truth.tsv", sep="\t").filename) == set(data.table.filename)
    truth.refuse_other(home, data)


def test_other_labels_are_refused(home, tmp_path):
    data = corpus(tmp_path)
    data.table["scene_label"] = data.table.scene_label.replace("bus", "tram")
    refused(home, data, "bus-[0-3].wav is not among these, or with another label")


def test_a_larger_data_set_that_holds_these_clips_is_refused(home, tmp_path):
    refused(home, corpus(tmp_path, places=40), "seed_0 was trained on 4 clips, where these have 40")
    few = corpus(tmp_path, places=5)
    training, evaluation = corpus(tmp_path).split(1, 2, 0)
    more = [*evaluation.filename, "bus-4.wav"]
    same = Corpus(few.root, few.table, {1: (tuple(training.filename), tuple(more))})
    refused(home, same, "seed_0 was scored on others than the 5 clips")


def test_without_a_run_an_attempt_with_other_data_leaves_nothing(tmp_path):
    wrong, right, home = corpus(tmp_path), corpus(tmp_path, places=6), tmp_path / "mine"
    wrong.table["filename"] = "elsewhere/" + wrong.table.filename
    truth.write(home, wrong, wrong.table)
    right.table["identifier"] = "x" + right.table.identifier
    truth.refuse_other(home, right)
    truth.write(home, right, right.table[:3])
    truth.write(home, right, right.table[3:])  # another fold's, of a run that begins meanwhile
    there = pd.read_csv(home / "truth.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert list(there) == ["filename", "scene_label", "identifier", "source_label"]
    assert there.filename.tolist() == right.table.filename.tolist()
    assert there.identifier.tolist() == right.table.identifier.tolist()
