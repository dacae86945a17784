"""Tables 2, 3, 4 and 7 from predictions and truth alone."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from asc_kit import complexity
from asc_kit.common import InputError
from asc_kit.data import corpus
from asc_kit.report import ablation, beyond, evaluation, figures, page, tables
from asc_kit.run.recipes import Recipe, load

CLASSES = ["airport", "bus", "metro", "metro_station", "park", "public_square", "shopping_mall", "street_pedestrian",
           "street_traffic", "tram"]  # fmt: skip
DEVICES = ["a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6"]
RECIPE = Recipe("toy", submissions=("1", "4"))
COMMITTED = [file.parent for file in sorted((ROOT / "results").glob("*/truth.tsv")) if "demo" not in file.parent.name]


def experiment(home, runs, devices=DEVICES, classes=CLASSES):
    """A truth of 2 places x classes x devices, and predictions right with a probability that falls by device."""
    truth = pd.DataFrame([(f"audio/{c}-{p}-{d}.wav", c, f"{c}-{p}", d) for c in classes for p in range(2) for d in devices],
                         columns=["filename", "scene_label", "identifier", "source_label"])  # fmt: skip
    home.mkdir(exist_ok=True)
    truth.to_csv(home / "truth.tsv", sep="\t", index=False)
    for (submission, folder), seed in runs.items():
        random = np.random.default_rng(seed)
        p = random.dirichlet(np.ones(len(classes)), len(truth))
        p[np.arange(len(truth)), truth.scene_label.map(list(classes).index)] += random.random(len(truth)) * 1.5
        p /= p.sum(1, keepdims=True)
        table = pd.DataFrame(p, columns=classes)
        table.insert(0, "filename", truth.filename)
        table.insert(1, "scene_label", np.array(classes)[p.argmax(1)])
        target = home / f"submission_{submission}" / folder
        target.mkdir(parents=True, exist_ok=True)
        table.sample(frac=1, random_state=0).to_csv(target / "predictions.tsv", sep="\t", index=False)
    return truth


def by_hand(home, truth, submission, seed=0):
    p = pd.read_csv(home / f"submission_{submission}" / f"seed_{seed}" / "predictions.tsv", sep="\t").set_index(
        "filename"
    )
    p = p.loc[truth.filename]
    right = p.scene_label.to_numpy() == truth.scene_label.to_numpy()
    loss = -np.log([row[c] for (_, row), c in zip(p.iterrows(), truth.scene_label)])
    return right, loss


def test_scores_of_every_table_equal_those_by_hand(tmp_path):
    truth = experiment(tmp_path, {("1", "seed_0"): 1, ("4", "seed_0"): 4})
    made = tables.write(evaluation.load(tmp_path, RECIPE))
    right, loss = by_hand(tmp_path, truth, 4)
    table = made[3].set_index("scene_label")
    assert table.submission.eq("4").all() and list(table.index) == [*CLASSES, "average"]
    for name in CLASSES:
        mine = (truth.scene_label == name).to_numpy()
        assert table.accuracy[name] == pytest.approx(right[mine].mean(), abs=1e-12)
        assert table.log_loss[name] == pytest.approx(loss[mine].mean(), abs=1e-8)
    assert table.log_loss["average"] == pytest.approx(table.log_loss[CLASSES].mean(), abs=1e-8)
    table = made[4].set_index("device")
    assert list(table.index) == [*DEVICES, "average"]
    for name in DEVICES:
        mine = (truth.source_label == name).to_numpy()
        assert table.accuracy[name] == pytest.approx(right[mine].mean(), abs=1e-12)  # balanced classes
        assert table.log_loss[name] == pytest.approx(loss[mine].mean(), abs=1e-8)
    assert table.n.tolist() == [20] * 9 + [180]
    table = made[7].set_index("submission")
    assert table.accuracy["4"] == pytest.approx(right.mean(), abs=1e-12)
    assert table.accuracy_low["4"] < table.accuracy["4"] < table.accuracy_high["4"]
    assert made[2].set_index("mel_bins").accuracy[160] == table.accuracy["4"]


def test_a_missing_run_is_an_empty_row_that_says_so(tmp_path):
    experiment(tmp_path, {("1", "seed_0"): 1})
    made = tables.write(evaluation.load(tmp_path, RECIPE))
    row = pd.read_csv(tmp_path / "tables" / "table_7.csv").set_index("submission").loc["4"]
    assert row[evaluation.SCORES].isna().all() and row.n == 0 and "missing or failed" in row.note
    assert row.report_accuracy == 0.705 and row.model_size_kb == pytest.approx(121.77, abs=0.01)
    assert made[7].set_index("submission").note["2"] == "not part of this experiment"
    assert made[3].submission.eq("1").all()  # the largest that ran


def test_a_seed_without_a_class_or_device_leaves_the_tables_to_the_others(tmp_path):
    truth = experiment(tmp_path, {("4", "seed_0"): 4, ("4", "seed_1"): 5})
    file = tmp_path / "submission_4" / "seed_1" / "predictions.tsv"
    table = pd.read_csv(file, sep="\t").merge(truth[["filename", "source_label"]]).query("source_label != 's6'")
    table = table[~table.filename.str.contains("tram")].drop(columns="source_label")
    table.to_csv(file, sep="\t", index=False)  # as where the fold with the trams and the device failed
    made = tables.write(evaluation.load(tmp_path, RECIPE))
    seeds = made[3].set_index("scene_label").seeds
    assert seeds["tram"] == 1 and seeds["bus"] == 2 and made[4].set_index("device").seeds["s6"] == 1
    assert made[3].set_index("scene_label").accuracy_std["tram"] == ""


def test_a_truth_without_locations_is_named(tmp_path):
    truth = experiment(tmp_path, {("4", "seed_0"): 4})
    truth[["filename", "scene_label"]].to_csv(tmp_path / "truth.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="truth.tsv: has no column 'identifier'; it needs filename, scene_label"):
        evaluation.load(tmp_path, RECIPE)


def test_a_table_that_has_no_rows_any_more_goes(tmp_path):
    experiment(tmp_path, {("1", "seed_0"): 1, ("logistic", "seed_0"): 2})
    tables.write(evaluation.load(tmp_path, RECIPE), (7,))
    floors = pd.read_csv(tmp_path / "tables" / "floors.csv", dtype=str)
    assert (floors.submission + " " + floors.against).tolist() == ["1 logistic", "logistic even guess", "1 even guess"]
    for submission in ("1", "logistic"):
        shutil.rmtree(tmp_path / f"submission_{submission}")
    tables.write(evaluation.load(tmp_path, RECIPE), (7,))
    assert not list((tmp_path / "tables").glob("floors.*"))


def test_an_even_guess_is_right_once_in_as_many_times_as_there_are_classes(tmp_path):
    truth = experiment(tmp_path, {("1", "seed_0"): 1})
    row = tables.floors(evaluation.load(tmp_path, RECIPE)).iloc[0]
    right, loss = by_hand(tmp_path, truth, 1)
    assert row.accuracy_difference == pytest.approx(right.mean() - 0.1)
    assert row.log_loss_difference == pytest.approx(loss.mean() - np.log(10)) and row.n == len(truth)


def test_clips_that_chose_the_recipe_are_left_out_of_a_second_table(tmp_path):
    truth = experiment(tmp_path, {("1", "seed_0"): 1, ("logistic", "seed_0"): 2})
    results = evaluation.load(tmp_path, replace(RECIPE, chosen_on=str(tmp_path / "chosen.tsv")))
    with pytest.raises(InputError, match="chosen.tsv: cannot be read"):
        tables.write(results, (7,))
    truth[:50].to_csv(tmp_path / "chosen.tsv", sep="\t", index=False)
    tables.write(results, (7,))
    rows = pd.read_csv(tmp_path / "tables" / "floors_unseen.csv")
    (one, _), (two, _) = (by_hand(tmp_path, truth, name) for name in ("1", "logistic"))
    left = truth.index >= 50
    classes = [
        np.mean((one.astype(float) - two)[left & (truth.scene_label == c)]) for c in truth.scene_label[left].unique()
    ]
    assert rows.n.eq(130).all() and rows.accuracy_difference[0] == pytest.approx(np.mean(classes))  # macro average
    tables.write(replace(results, recipe=RECIPE), (7,))
    assert not list((tmp_path / "tables").glob("floors_unseen.*"))


def test_a_network_and_a_logistic_regression_as_one_model_equal_those_by_hand(tmp_path):
    """Of the seed that both have; by devices, since all nine are there; and only where their features are the same."""
    runs = {("2", "seed_0"): 1, ("2", "seed_1"): 2, ("logistic", "seed_0"): 3, ("1", "seed_0"): 4}
    truth = experiment(tmp_path, runs)
    rows = tables.together(evaluation.load(tmp_path, RECIPE))
    assert list(rows.devices) == sum(([name] * 2 for name in ("all", "a", "s1, s2, s3", "s4, s5, s6")), [])
    assert set(rows.submission) == {"2"} and set(rows["and"]) == {"logistic"} and rows.seeds.eq(1).all()
    p, q = (pd.read_csv(tmp_path / f"submission_{name}/seed_0/predictions.tsv", sep="\t", index_col=0).iloc[:, 1:]
            for name in ("2", "logistic"))  # fmt: skip
    product = np.sqrt(p * q.loc[p.index])
    true = truth.set_index("filename").loc[p.index]
    right = product.idxmax(axis=1) == true.scene_label
    loss = [-np.log(row[label] / row.sum()) for (_, row), label in zip(product.iterrows(), true.scene_label)]
    assert (rows.accuracy[0], rows.log_loss[0]) == pytest.approx((right.mean(), np.mean(loss)))
    assert rows.accuracy[2] == pytest.approx(right[true.source_label == "a"].mean()) and rows.n[2] == 20
    alone = by_hand(tmp_path, truth, "logistic")[0].mean()
    assert rows.against[1] == "logistic" and rows.accuracy_difference[1] == pytest.approx(right.mean() - alone)


def test_parts_that_share_no_seed_are_no_model(tmp_path):
    experiment(tmp_path, {("2", "seed_1"): 1, ("logistic", "seed_0"): 2})
    assert tables.together(evaluation.load(tmp_path, RECIPE)).empty


def test_the_clips_that_chose_are_those_that_the_split_holds_out():
    """Of the first training fold, as the validation part of a run with ``validation_fraction: 0.3``."""

    def read(file):
        return pd.read_csv(ROOT / "results" / file, sep="\t", dtype=str, keep_default_na=False)

    every, evaluated, chosen = map(read, ("tut2017/truth.tsv", "tut2017_full/truth.tsv", "tut2017/chosen_on.tsv"))
    training = every[~every.filename.isin(evaluated.filename)].reset_index(drop=True)
    held = corpus.hold_out(training, 0.3, 0)[1]
    assert len(chosen) == 94 and set(chosen.filename) == set(held.filename)


def test_runs_that_scored_other_clips_have_no_difference(tmp_path):
    """Fold 1 of one and fold 2 of the other: a table each, and nothing to pair."""
    experiment(tmp_path, {("1", "seed_0"): 1, ("4", "seed_0_fold_2"): 4})
    for place, name in enumerate(("submission_1/seed_0", "submission_4/seed_0_fold_2")):
        file = tmp_path / name / "predictions.tsv"
        pd.read_csv(file, sep="\t").iloc[place::2].to_csv(file, sep="\t", index=False)
    results = evaluation.load(tmp_path, RECIPE)
    assert evaluation.paired(results, [("1", "4")]).empty
    assert np.isnan(list(evaluation.difference(results.scored["1"], results.scored["4"]).values())).all()


def test_a_folder_that_is_no_runs_is_named(tmp_path):
    experiment(tmp_path, {("1", "seed_0"): 1, ("1", "seed_0_old"): 1})
    with pytest.raises(InputError, match="seed_0_old: is not named seed_<k> .*; move it elsewhere"):
        evaluation.load(tmp_path, RECIPE)


def test_nothing_ran(tmp_path):
    made = tables.write(evaluation.load(tmp_path, RECIPE))
    assert all((tmp_path / "tables" / f"table_{n}.{e}").exists() for n in range(1, 8) for e in ("csv", "md"))
    assert made[4].device.tolist() == [*DEVICES, "average"] and made[7].accuracy.eq("").all()


def test_columns_are_those_promised(tmp_path):
    experiment(tmp_path, {("4", "seed_0"): 4})
    made = tables.write(evaluation.load(tmp_path, RECIPE))
    keys = {2: ["mel_bins"], 3: ["scene_label"], 4: ["device"], 7: ["submission", "mel_bins"]}
    assert list(made[1]) == ["block", "stride", "kernel", "channels"]
    assert list(made[5]) == ["layer", "mbconv4", "fused_mbconv4"]
    assert list(made[6]) == ["block", "parameters", "size_bytes", "report_parameters", "report_size_bytes"]
    for number, names in keys.items():
        assert set(names + ["accuracy", "log_loss", "n", "report_accuracy", "report_log_loss"]) <= set(made[number])
        assert set(evaluation.SCORES) <= set(made[number])


def test_the_reports_own_numbers_stand_beside(tmp_path):
    made = tables.write(evaluation.load(tmp_path, RECIPE))
    assert made[7].set_index("submission").report_accuracy.to_dict() == {
        "baseline": 0.477, "1": 0.644, "2": 0.688, "3": 0.709, "4": 0.705}  # fmt: skip
    sizes = made[7].set_index("submission")[["model_size_kb", "report_model_size_kb"]].astype(float).round(1)
    assert sizes.model_size_kb.tolist() == sizes.report_model_size_kb.tolist() == [90.3, 121.3, 121.4, 121.6, 121.8]
    assert made[6].parameters.tolist() == made[6].report_parameters.tolist()


def test_several_seeds_give_mean_and_spread(tmp_path):
    truth = experiment(tmp_path, {("4", f"seed_{k}"): k for k in range(3)})
    row = tables.table_7(evaluation.load(tmp_path, RECIPE)).set_index("submission").loc["4"]
    each = [by_hand(tmp_path, truth, 4, k)[0].mean() for k in range(3)]
    assert row.seeds == 3 and row.n == 180
    assert row.accuracy == pytest.approx(np.mean(each)) and row.accuracy_std == pytest.approx(np.std(each, ddof=1))


def test_folds_are_put_together(tmp_path):
    truth = experiment(tmp_path, {("4", "seed_0"): 0})
    file = tmp_path / "submission_4" / "seed_0" / "predictions.tsv"
    whole = pd.read_csv(file, sep="\t")
    first = whole.filename.isin(truth.filename[:100])
    whole[first].to_csv(file, sep="\t", index=False)
    (tmp_path / "submission_4" / "seed_0_fold_2").mkdir()
    whole[~first].to_csv(tmp_path / "submission_4" / "seed_0_fold_2" / "predictions.tsv", sep="\t", index=False)
    scored = evaluation.load(tmp_path, RECIPE).scored["4"]
    assert len(scored.clips) == 180 and list(scored.seeds) == [0]
    whole.to_csv(file, sep="\t", index=False)
    with pytest.raises(InputError, match="in two folds"):
        evaluation.load(tmp_path, RECIPE)


def test_without_devices_table_4_is_one_row(tmp_path):
    experiment(tmp_path, {("4", "seed_0"): 0}, devices=[""], classes=["cafe/restaurant", "park"])
    table = tables.table_4(evaluation.load(tmp_path, RECIPE))
    assert table.device.tolist() == ["all"] and table.n.tolist() == [4]


def break_(file, kind):
    table = pd.read_csv(file, sep="\t")
    if kind == "unknown":
        table.loc[0, "filename"] = "audio/nobody.wav"
    elif kind == "twice":
        table = pd.concat([table, table[:1]])
    elif kind == "class":
        table = table.drop(columns="bus")
    elif kind == "NaN":
        table.loc[3, "bus"] = np.nan
    elif kind == "words":
        table["bus"] = "much"
    elif kind == "other table":
        table = table.rename(columns={"filename": "name"})
    table.to_csv(file, sep="\t", index=False)


@pytest.mark.parametrize(("kind", "what"), [("unknown", "nobody.wav is not in the truth"), ("twice", "there twice"),
                                            ("class", "no column for the class 'bus'"), ("NaN", "predictions.tsv: .*row 3 holds NaN"),
                                            ("words", "column 'bus' holds 'much' at audio/.*; scores must be numbers"), ("other table", "is no predictions.tsv")])  # fmt: skip
def test_predictions_that_do_not_fit_are_refused(tmp_path, kind, what):
    experiment(tmp_path, {("4", "seed_0"): 0})
    break_(tmp_path / "submission_4" / "seed_0" / "predictions.tsv", kind)
    with pytest.raises(InputError, match=what):
        evaluation.load(tmp_path, RECIPE)


def test_equal_runs_equal_bytes(tmp_path):
    homes = [tmp_path / name / "toy" for name in ("a", "b")]  # figures name the experiment's folder
    for home in homes:
        home.parent.mkdir()
        experiment(home, {("1", "seed_0"): 1, ("4", "seed_0"): 4})
        results = evaluation.load(home, RECIPE)
        figures.write(results, tables.write(results))
    files = [p.relative_to(homes[0]) for p in homes[0].rglob("*") if p.is_file()]
    assert len(files) >= 14 + 12
    for file in files:
        assert (homes[0] / file).read_bytes() == (homes[1] / file).read_bytes(), file


def test_figures_of_runs_that_are_gone_go_and_the_ablation_stays(tmp_path):
    experiment(tmp_path, {("4", "seed_0"): 4})
    (tmp_path / "figures").mkdir()
    for name in ("learning_curves.svg", "ablation.svg", "talk.png"):
        (tmp_path / "figures" / name).touch()
    results = evaluation.load(tmp_path, RECIPE)
    figures.write(results, tables.write(results))
    made = {file.stem for file in (tmp_path / "figures").iterdir()}
    assert made == {"ablation", "talk", "mel_bins", "confusion_matrix", "by_class", "by_device"}


def test_page_is_whole_and_needs_no_network(tmp_path):
    experiment(tmp_path, {("1", "seed_0"): 1, ("4", "seed_0"): 4})
    about = {
        "run": "submission_4/seed_0", "config": RECIPE.config(4).as_dict(), "seconds": 1.0, "hash": "h", "code": "c",
        "commit": "", "machine": {"processor": "p"}, "versions": {"torch": "t"},
        "data": {"name": "toy", "synthetic": True, "fingerprint": "f" * 16, "clips": 180, "length": 441000,
                 "sample_rate": 44100, "notes": [], "training": 1, "evaluation": 180},
    }  # fmt: skip
    (tmp_path / "submission_4" / "seed_0" / "run.json").write_text(json.dumps(about))
    results = evaluation.load(tmp_path, RECIPE)
    made = tables.write(results)
    figures.write(results, made)
    text = page.write(results, made).read_text()
    assert all(f'id="table-{n}"' in text for n in range(1, 8))
    beyond.write(tmp_path, RECIPE), ablation.write(tmp_path, replace(RECIPE, ablation_submission="4"))
    said = {
        file.stem for file in (tmp_path / "tables").glob("*.md") if "Measured on synthetic data." in file.read_text()
    }
    measured = {"table_2", "table_3", "table_4", "table_7", "floors", "device_groups", "beyond"}
    assert said == measured | {"ablation"}
    assert set(made[3].note) == {"synthetic data"}
    assert (
        "Synthetic data: a positive control." in text
        and text.count("<svg") == 4
        and text.count('<svg role="img" aria-label') == 4
    )
    assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", "").replace("https://matplotlib.org", "")  # fmt: skip
    assert "62,346" in text or "62346" in text
    assert (
        '<td class="number">62346</td>' in text and '<th scope="col" class="number"><button type="button">acc' in text
    )
    assert re.search(r'<td class="number">[\d.]+% \[[\d.]+,\u00a0[\d.]+\]</td>', text), "an interval that may break"
    assert 'href="submission_4/seed_0/run.json"' in text and 'href="submission_1/seed_0/predictions.tsv"' in text
    assert 'href="submission_1/seed_0/run.json"' not in text  # there is none


def test_every_link_of_a_committed_page_leads_somewhere():
    for home in COMMITTED:
        links = re.findall(r'href="([^"#][^"]*)"', (home / "index.html").read_text())
        paths = [link for link in links if not link.startswith("data:")]
        assert len(paths) > 50 and all((home / link).exists() for link in paths), home.name
        assert not [link for link in paths if re.match(r"(?!\.\./).*\.ipynb", link)], (
            "executed copies are not committed"
        )


def test_the_page_says_what_its_tables_show(tmp_path):
    experiment(tmp_path, {("4", "seed_0"): 4, ("logistic", "seed_0"): 1})
    results = evaluation.load(tmp_path, RECIPE)
    made = tables.write(results)
    text = page.render(results, made)
    assert re.search(r"<p>Against <b>logistic</b>\. Accuracy: .*\bfor 4\.", text) and "**" not in text
    assert page._html("a **b** < c  \nd") == "a <b>b</b> &lt; c<br>d"


def without_links(text):
    """A page where notebooks were executed links to them, and to the kit's own where not."""
    return re.sub(r"<details>.*?</details>|<a .*?</a>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("home", COMMITTED, ids=lambda home: home.name)
def test_committed_pages_are_the_templates(home):
    results = evaluation.load(home, load(f"config/{home.name}.yaml"))
    made = {number: make(results) for number, (_, make) in tables.TABLES.items()}
    assert without_links(page.render(results, made)) == without_links((home / "index.html").read_text())


def test_every_row_of_an_ablation_leads_to_its_predictions():
    text = (ROOT / "results" / "tut2017_full" / "index.html").read_text()
    rows = re.findall(
        r"<tr>.*?</tr>", text[text.index('<h2 id="ablation">') : text.index('<h2 id="ablation_pairs">')], re.DOTALL
    )
    made = {
        re.search("<td>(.*?)</td>", row)[1]: re.findall(r'href="([^"]*?)/seed_2/predictions.tsv"', row)
        for row in rows[1:]
    }
    assert len(made) == 12 and made.pop("the recipe") == ["submission_2"]
    assert all(links == [f"ablation_{name}"] for name, links in made.items())


def test_a_run_that_is_not_the_recipes_is_said_so(tmp_path):
    experiment(tmp_path, {("4", "seed_0"): 0})
    seeds = Recipe("toy", submissions=("4",), seeds=(0, 1))
    about = {"config": seeds.config(4, epochs=3, selection="test").as_dict(), "data": {"synthetic": False}}
    (tmp_path / "submission_4" / "seed_0" / "run.json").write_text(json.dumps(about))
    note = tables.table_7(evaluation.load(tmp_path, seeds)).set_index("submission").note["4"]
    assert "not as the recipe has it" in note and "1 of 2 runs are missing" in note and "optimistic" in note


def about(home, config, fingerprint="f", features_code="c"):
    data = {"synthetic": False, "fingerprint": fingerprint}
    text = json.dumps({"config": config.as_dict(), "data": data, "features_code": features_code})
    (home / f"submission_{config.submission}" / f"seed_{config.seed}" / "run.json").write_text(text)


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"epochs": 3}, r"training.epochs \(500, 3\)"), ({"mixup": "standard"}, "augmentation.mixup"),
     ({"fingerprint": "g"}, "data"), ({"features_code": "d"}, "features' code")],
)  # fmt: skip
def test_runs_that_differ_in_more_than_they_may_share_no_table(tmp_path, changes, what):
    experiment(tmp_path, {("2", "seed_0"): 0, ("4", "seed_0"): 1, ("4", "seed_1"): 2, ("baseline", "seed_0"): 3})
    for submission, seed in (("2", 0), ("4", 0), ("4", 1), ("baseline", 0)):
        about(tmp_path, RECIPE.config(submission, seed))
    assert evaluation.load(tmp_path, RECIPE).scored  # mel bins, seeds and the baseline's own recipe may differ
    known = {k: changes[k] for k in ("fingerprint", "features_code") if k in changes}
    values = {k: v for k, v in changes.items() if k not in known}
    about(tmp_path, RECIPE.config("4", 1, **values), **known)
    with pytest.raises(InputError, match=f"runs of system 4 differ in {what}"):
        evaluation.load(tmp_path, RECIPE)


def test_table_sizes_follow_the_number_of_classes(tmp_path):
    experiment(tmp_path, {("4", "seed_0"): 0}, classes=["x", "y", "z"])
    results = evaluation.load(tmp_path, RECIPE)
    assert tables.table_6(results).parameters.iloc[-1] == 62346 - 7 * 101
    assert tables.table_7(results).set_index("submission").model_size_kb["4"] == (62346 - 7 * 101) * 2 / 1024
    assert complexity.BYTES == 2


@pytest.mark.parametrize("home", COMMITTED, ids=lambda home: home.name)
def test_committed_tables_follow_from_the_committed_predictions(tmp_path, home):
    """To the last digit, in a clone without audio."""
    copy = tmp_path / home.name
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("tables", "*.safetensors", "figures"))
    recipe = load(f"config/{home.name}.yaml")
    tables.write(evaluation.load(copy, recipe))
    for name, module in {"ablation": ablation, "beyond": beyond}.items():
        if (home / "tables" / f"{name}.csv").exists():
            module.write(copy, recipe)
    assert {file.name for file in (copy / "tables").iterdir()} == {file.name for file in (home / "tables").iterdir()}
    for file in sorted((home / "tables").iterdir()):
        assert (copy / "tables" / file.name).read_bytes() == file.read_bytes(), file.name


def test_results_are_committed():
    assert COMMITTED  # or the test above looks green with nothing to test


OWN = {"small": {"n_mels": 48}, "bare": {"n_mels": 64, "squeeze_excite": False}, "line": {"network": "logistic"}}
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, n_mels, n_classes, width=8):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.body, self.out = torch.nn.Linear(n_mels, width), torch.nn.Linear(width, n_classes)

    def forward(self, x):
        return self.out(self.body(x.mean((1, 2))))
"""


def test_predictions_of_any_system_have_their_tables(tmp_path):
    """Of a system that no recipe knows: truth.tsv and predictions.tsv are enough."""
    truth = experiment(tmp_path, {("resnet", "seed_0"): 1, ("logistic", "seed_0"): 2})
    results = evaluation.load(tmp_path, RECIPE)
    made = tables.write(results)
    row = made[7].set_index("submission").loc["resnet"]
    assert row.accuracy == pytest.approx(by_hand(tmp_path, truth, "resnet")[0].mean())
    assert (row.mel_bins, row.model_size_kb, row.note) == ("", "", "") and pd.isna(row.report_accuracy)
    assert made[7].submission.tolist() == ["logistic", "baseline", "1", "2", "3", "4", "resnet"]
    assert made[3].submission.eq("resnet").all() and made[4].n.tolist() == [20] * 9 + [180]
    assert made[2].mel_bins.tolist() == [32, 64, 128, 160] and made[2].n.eq(0).all()
    floors = pd.read_csv(tmp_path / "tables" / "floors.csv").submission.tolist()
    assert floors == ["resnet", "logistic", "resnet"]
    figures.write(results, made)
    text = page.write(results, made).read_text()
    assert 'href="submission_resnet/seed_0/predictions.tsv"' in text
    assert "Against <b>logistic</b>" in text and "nothing to compare" not in text
    beyond.write(tmp_path, RECIPE)
    assert pd.read_csv(tmp_path / "tables" / "beyond.csv").submission.tolist() == ["resnet"]


def test_a_network_that_is_not_here_has_what_its_run_says(tmp_path):
    experiment(tmp_path, {("resnet", "seed_0"): 1})
    recipe = Recipe("toy", systems={"resnet": {"network": "nowhere:Net", "n_mels": 48, "options": {"width": 9}}})
    about(tmp_path, recipe.config("resnet"))
    file = tmp_path / "submission_resnet" / "seed_0" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"parameters": 1000}))
    for known in (RECIPE, recipe):
        row = tables.table_7(evaluation.load(tmp_path, known)).set_index("submission").loc["resnet"]
        assert (row.mel_bins, row.model_size_kb) == (48, 1000 * 2 / 1024)


def test_a_recipes_own_systems_are_listed_by_what_they_are(tmp_path):
    """A fifth number of mel bins, a network without squeeze-and-excitation, a floor, and someone's own class."""
    (tmp_path / "mine_for_tables.py").write_text(NET)
    systems = OWN | {"mine": {"network": "mine_for_tables:Net", "n_mels": 20, "crop_seconds": 1.0}}
    text = {"systems": systems, "submissions": ["2", *systems]}
    (tmp_path / "toy.yaml").write_text(json.dumps(text))
    recipe = load(tmp_path / "toy.yaml")
    home = tmp_path / "home"
    experiment(home, {(name, "seed_0"): seed for seed, name in enumerate(text["submissions"])})
    for name in text["submissions"]:
        about(home, recipe.config(name))
    results = evaluation.load(home, recipe)
    made = tables.write(results)
    assert made[2].mel_bins.tolist() == [32, 48, 64, 128, 160] and (made[2].n > 0).tolist() == [0, 1, 1, 0, 0]
    assert made[2].report_accuracy.isna().tolist() == [False, True, False, False, False]
    seven = made[7].set_index("submission")
    assert list(seven.index) == ["line", "baseline", "1", "2", "3", "4", "small", "bare", "mine"]
    assert seven.mel_bins[["small", "bare", "mine"]].tolist() == [48, 64, 20] and seven.model_size_kb["line"] == ""
    assert results.best == "2" and seven.report_accuracy.dropna().index.tolist() == ["baseline", "1", "2", "3", "4"]
    assert set(pd.read_csv(home / "tables" / "floors.csv").against) == {"line", evaluation.EVEN}
    parameters = seven.model_size_kb[["small", "bare", "mine"]] * 1024 / 2
    assert parameters["small"] == 62154 - 2 * 16 > parameters["bare"]
    assert parameters["mine"] == (20 * 8 + 8) + (8 * 10 + 10) + 3  # body, out, scale


def test_own_systems_differ_in_what_the_recipe_says_of_them(tmp_path):
    recipe = Recipe("toy", systems={"bare": OWN["bare"] | {"epochs": 3}}, submissions=("2", "bare"))
    experiment(tmp_path, {("2", "seed_0"): 0, ("bare", "seed_0"): 1})
    for name in recipe.submissions:
        about(tmp_path, recipe.config(name))
    assert evaluation.load(tmp_path, recipe).note("bare") == ""
    about(tmp_path, recipe.config("bare", batch_size=7))
    assert "not as the recipe has it" in evaluation.load(tmp_path, recipe).note("bare")


def test_an_extra_column_of_predictions_is_no_class(tmp_path, capsys):
    truth = experiment(tmp_path, {("resnet", "seed_0"): 1})
    file = tmp_path / "submission_resnet" / "seed_0" / "predictions.tsv"
    run = {"classes": CLASSES, "config": RECIPE.config("1").as_dict(), "data": {"synthetic": False}}
    file.with_name("run.json").write_text(json.dumps(run))
    before = tables.table_7(evaluation.load(tmp_path, RECIPE))
    pd.read_csv(file, sep="\t").assign(fold=1).to_csv(file, sep="\t", index=False)
    pd.testing.assert_frame_equal(tables.table_7(evaluation.load(tmp_path, RECIPE)), before)
    assert "column 'fold' is no class and is left out" in capsys.readouterr().err and len(truth) == 180


def test_a_run_from_before_a_switch_has_its_default(tmp_path):
    """What a later kit can turn on was off: such runs stay the recipe's, and stand beside new ones in a table."""
    runs = {("4", "seed_0"): 0, ("4", "seed_1"): 1}
    experiment(tmp_path, runs)
    recipe = Recipe("toy", submissions=("4",), seeds=(0, 1))
    for seed in (0, 1):
        about(tmp_path, recipe.config(4, seed))
    file = tmp_path / "submission_4" / "seed_0" / "run.json"
    old = json.loads(file.read_text())
    del old["config"]["augmentation"]["roll"], old["config"]["training"]["training_devices"]
    file.write_text(json.dumps(old))
    assert tables.table_7(evaluation.load(tmp_path, recipe)).set_index("submission").note["4"] == ""
    changed = replace(recipe, augmentation={"roll": True})
    assert "a run is not as the recipe has it" in evaluation.load(tmp_path, changed).note("4")
