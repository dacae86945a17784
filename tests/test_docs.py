"""What the README and docs/ say of results is what the committed tables have."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
from conftest import ROOT

from asc_kit.deploy import compact
from asc_kit.report import ablation, evaluation, words
from asc_kit.report.predictions import read_truth, together
from asc_kit.run import recipes
from benchmarks import correction, microphones
from tools import results as page


def test_its_results_are_those_of_the_committed_tables():
    text = page.PAGE.read_text()
    assert text.count(page.MARKS[0]) == text.count(page.MARKS[1]) == 1
    between = text.partition(page.MARKS[0])[2].partition(page.MARKS[1])[0]
    assert between == f"\n{page.results(ROOT / 'results')}\n", "run: python -m tools.results"


def test_its_numbers_are_the_tables_own():
    """Read by other means: a cell of the text against a cell of the file."""
    lines = page.results(ROOT / "results").splitlines()
    titles = [title.strip() for title in lines[0].split("|")[1:-1]]
    rows = {cells[1].strip(): cells for cells in (line.split("|") for line in lines[::-1] if line.startswith("| "))}
    for name, title in page.EXPERIMENTS.items():
        table = pd.read_csv(ROOT / "results" / name / "tables" / "table_7.csv").set_index("submission")
        place = 1 + next(i for i, head in enumerate(titles) if head.startswith(f"[{title},"))
        number = re.match(r" (\d+\.\d)% \[.*?; (\d+\.\d{3}) ", rows["2 (64 mel bins)"][place])
        assert number.groups() == (f"{100 * table.accuracy['2']:.1f}", f"{table.log_loss['2']:.3f}")
        floors = pd.read_csv(ROOT / "results" / name / "tables" / "floors.csv", dtype=str).astype(
            {"accuracy_difference": float}
        )
        over = floors[(floors.submission == "2") & (floors.against == "logistic")].accuracy_difference.iloc[0]
        assert f"{100 * over:+.1f} [" in rows["2 (64 mel bins) − logistic"][place - 1]


def test_only_the_part_between_the_marks_is_written(tmp_path):
    file = tmp_path / "results.md"
    file.write_text(f"before\n{page.MARKS[0]}\nold\n{page.MARKS[1]}\nafter\n")
    page.write(file)
    assert file.read_text() == f"before\n{page.MARKS[0]}\n{page.results(ROOT / 'results')}\n{page.MARKS[1]}\nafter\n"


def test_what_it_says_of_the_demo_is_in_the_record():
    record = pd.read_csv(ROOT / "results/performance/repeats.csv")
    text = " ".join((page.PAGE.read_text() + (ROOT / "docs" / "speed.md").read_text()).split())
    one, two, other, here, there = record.itertuples()
    assert (one.threads, two.threads, other.seed, here.submission, there.submission) == (1, 2, 1, 4, 4)
    said = [f"{100 * row.accuracy:.1f} % and {row.log_loss:.3f} with" for row in (one, two, other)]
    said += [
        f"{100 * row.accuracy:.1f} % [{100 * row.accuracy_low:.1f}, {100 * row.accuracy_high:.1f}] on"
        for row in (here, there)
    ]
    assert all(part in text for part in said), said


def test_what_it_says_of_the_control_is_what_the_words_say():
    """Each built-in effect's differences and intervals; the third is not shown, though every seed has its sign."""
    results = evaluation.open_results("config/control.yaml")
    section = page.PAGE.read_text().partition("is a positive control")[2].partition("## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| ")][-3:]
    for row, said in zip(rows, words.built_in(results).split(words.BREAK), strict=True):
        numbers = re.findall(r"[-+]\d+\.\d+", said)
        assert numbers and re.findall(r"[-+]\d+\.\d+", row) == numbers, said
        assert ("**not shown**" in row) == ("these clips cannot tell" in said)
    variants = ablation.scores(results.home, results.recipe)
    with_it, without = (
        [rows.correct.mean() for rows in variants[name].seeds.values()] for name in ("the recipe", "standard_mixup")
    )
    assert len(with_it) == 3 and all(one > two for one, two in zip(with_it, without, strict=True))


def test_what_it_says_of_mixup_is_in_the_ablation():
    text = " ".join(page.PAGE.read_text().split())
    tables = ROOT / "results/tut2017_full/tables"
    rows = pd.read_csv(tables / "ablation.csv").set_index("variant")
    without, standard = rows.loc["all_but_mixup"], rows.loc["standard_mixup"]
    ends = ("", "_low", "_high")
    shown = [without[f"log_loss_difference{end}"] for end in ends]
    assert "log loss higher by {:.3f} [{:.3f}, {:.3f}]; its accuracy is not shown".format(*shown) in text
    assert without.accuracy_difference < 0 < without.accuracy_difference_high
    points = [100 * standard[f"accuracy_difference{end}"] for end in ends]
    losses = [standard[f"log_loss_difference{end}"] for end in ends]
    assert "({:+.1f} points [{:+.1f}, {:+.1f}], log loss {:+.3f} [{:+.3f}, {:+.3f}])".format(*points, *losses) in text
    pairs = pd.read_csv(tables / "ablation_pairs.csv").set_index(["variant", "against"])
    alone = pairs.loc[("only_modified_mixup", "only_standard_mixup")]
    assert points[1] < 0 < points[0] and losses[0] < 0 < losses[2] and standard.seeds == 3
    assert alone.accuracy_difference < 0 < alone.accuracy_difference_high
    assert alone.log_loss_difference_low < 0 < alone.log_loss_difference


def test_what_it_says_of_more_epochs_is_in_the_tables():
    """If another run changes the signs, the sentence is no longer true."""
    tables = ROOT / "results/tut2017/tables"
    text = " ".join(page.PAGE.read_text().split())
    longer = pd.read_csv(tables / "ablation.csv").set_index("variant").loc["epochs_200"]
    assert longer.accuracy_difference < 0 < longer.log_loss_difference
    assert longer.accuracy_difference_high > 0 > longer.log_loss_difference_low
    assert "200 epochs" in text and "both numbers are on the side of 120" in text


def test_what_it_says_of_the_robust_system_is_in_its_predictions():
    """Paired by clip, of all clips and of the devices that training never heard."""
    text = " ".join(page.PAGE.read_text().split())
    scored = evaluation.load(ROOT / "results/tau2022", recipes.load("config/tau2022.yaml")).scored
    unseen = ("source_label", "s4", "s5", "s6")
    assert set(scored["robust"].seeds) == set(scored["2"].seeds) == {0, 1, 2}
    for seeds, ends in (((0, 1, 2), " on"), ((0,), "")):
        pair = [replace(scored[name], seeds={k: scored[name].seeds[k] for k in seeds}) for name in ("robust", "2")]
        for one, two in (pair, [side.where(*unseen) for side in pair]):
            found = evaluation.difference(one, two)
            numbers = [found[f"log_loss_difference{part}"] for part in ("", "_low", "_high")]
            assert "{:+.3f} [{:+.3f}, {:+.3f}]".format(*numbers) + ends in text
            assert (numbers[2] > 0) == (len(seeds) == 3)
            assert found["accuracy_difference_low"] < 0 < found["accuracy_difference_high"]


def test_both_together_are_better_than_either_over_all_clips_of_both_data_sets():
    """Four differences in a row, bold where an interval leaves out 0; by other means, of a clip at hand."""
    tut, folds, split = page._together(ROOT / "results").splitlines()[2:]
    assert tut.count("**") == folds.count("**") == 8 and split.count("**") == 4
    assert (
        "as one model, has a lower log loss than either** in the five folds of both sets"
        in (ROOT / "README.md").read_text()
    )
    home = ROOT / "results/tut2017"
    parts = [pd.read_csv(home / f"submission_{name}/seed_0/predictions.tsv", sep="\t") for name in ("2", "logistic")]
    assert all(parts[0].filename == parts[1].filename)
    truth = pd.read_csv(home / "truth.tsv", sep="\t").set_index("filename").scene_label
    scored, losses = evaluation.load(home, recipes.load("config/tut2017.yaml")).scored["2"].clips, []
    for one, two in zip(*(part.set_index("filename").drop(columns="scene_label").iterrows() for part in parts)):
        product = (one[1] * two[1]) ** 0.5
        losses.append(-math.log(product[truth[one[0]]] / product.sum()))
    assert sum(losses) / len(losses) < scored.loc[parts[0].filename].loss.mean()  # of the first fold


def test_both_together_have_the_lower_log_loss_without_the_clips_that_chose_the_settings():
    assert "Without the clips that chose the settings its log loss is lower than either's, too" in page.PAGE.read_text()
    for name, chosen, n in (("tut2017", "tut2017", 298), ("tau2022_folds", "tau2022", 625)):
        left_out = pd.read_csv(ROOT / "results" / chosen / "chosen_on.tsv", sep="\t").filename
        results = evaluation.load(ROOT / "results" / name, recipes.load(f"config/{name}.yaml"))
        both, scored = evaluation.combined(results.home, ("2", "logistic"), together), results.scored
        sides = [replace(one, seeds={seed: rows.drop(left_out, errors="ignore") for seed, rows in one.seeds.items()})
                 for one in (both, scored["2"], scored["logistic"])]  # fmt: skip
        for other in sides[1:]:
            found = evaluation.difference(sides[0], other)
            assert len(sides[0].clips) == n and found["log_loss_difference_high"] < 0


def test_the_four_ways_to_put_systems_together_rank_as_is_said():
    """Means of probabilities or of their logarithms, without or with the SVM; by numpy alone."""
    least = {}
    for name in ("tut2017", "tau2022_folds"):
        home = ROOT / "results" / name
        truth = pd.read_csv(home / "truth.tsv", sep="\t").set_index("filename").scene_label
        found = {}
        for system in ("2", "logistic", "svm"):
            files = sorted((home / f"submission_{system}").glob("seed_0*/predictions.tsv"))
            found[system] = pd.concat([pd.read_csv(file, sep="\t", index_col=0).iloc[:, 1:] for file in files])
        columns = sorted(found["2"])
        true = [columns.index(label) for label in truth[found["2"].index]]
        losses = {}
        for used in (("2", "logistic"), ("2", "logistic", "svm")):
            p = np.stack([found[system].loc[found["2"].index, columns].to_numpy() for system in used])
            for way, mean in (("probabilities", p.mean(0)), ("logarithms", np.exp(np.log(p.clip(1e-15)).mean(0)))):
                share = mean[range(len(true)), true] / mean.sum(1)
                losses[way, len(used)] = -np.log(share.clip(1e-15)).mean()
        least[name] = min(losses, key=losses.get)
        assert losses["logarithms", 2] < losses["probabilities", 2]
    assert least == {"tut2017": ("logarithms", 2), "tau2022_folds": ("logarithms", 3)}


def test_what_is_said_of_unheard_microphones_is_in_the_tables():
    """In the results, the model's card, the pages of models, of recordings and of claims, and the README."""
    names = ("docs/results.md", "results/small/MODEL_CARD.md", "docs/models.md", "docs/your_data.md", "docs/claims.md")
    results, card, models, yours, claims, readme = (
        " ".join((ROOT / name).read_text().split()) for name in (*names, "README.md")
    )
    table = pd.read_csv(ROOT / "results/small_folds/tables/microphones.csv").set_index(["through", "system"])
    clean, unheard = table.loc["the recorder itself"], table.loc["unheard microphones"]
    assert all(table.seeds == [len(microphones.seeds(system)) for _, system in table.index])

    def cell(row, interval=False):
        ends = f" [{100 * row.accuracy_low:.1f}, {100 * row.accuracy_high:.1f}]" if interval else ""
        return f"{100 * row.accuracy:.1f} %{ends}"

    own, cost, gain = cell(clean.loc["both"]), _points(clean.loc["both"]), _points(unheard.loc["both"])
    assert f"*both* has {cell(unheard.loc['both'], True)} on clips through 30 microphones" in results
    worst = f"{100 * unheard.least_accuracy['both']:.0f} %"
    assert f"{worst} through the worst of them" in results and f"the difference is {gain}" in results
    assert f"has {cell(unheard.loc['plain_both'])}: the difference" in results
    truth = read_truth(microphones.TRUTH)
    rows = microphones.clips(truth, pd.read_csv(microphones.HOME / "microphones.tsv", sep="\t", dtype=str), "both")
    fold = pd.read_csv(microphones._folder("robust_network", 1) / "predictions.tsv", sep="\t").filename
    rows = rows[rows.filename.isin(fold)]
    first = [part.groupby("microphone").apply(microphones._macro).mean()
             for part in (rows[rows.microphone == microphones.CLEAN], rows[rows.microphone != microphones.CLEAN])]  # fmt: skip
    assert "of which it has {:.1f} and {:.1f} %;".format(*(100 * x for x in first)) in results
    first, alone = own.removesuffix(" %"), _points(clean.loc["robust_network"])
    assert (
        f"it has {first} against {cell(clean.loc['plain_both'])}; that this costs accuracy is not shown ({cost}), but its log loss is"
        in results
    )
    loss = [clean.loc["both", f"log_loss_difference{end}"] for end in ("", "_low", "_high")]
    assert "higher, by {:.3f} [{:.3f}, {:.3f}]".format(*loss) in results and loss[1] > 0
    assert f"the network alone has less accuracy ({alone})" in results and cost.replace(" points", "") in card
    assert clean.accuracy_difference_low["both"] < 0 < clean.accuracy_difference_high["both"]
    assert f"cost the network accuracy: {alone};" in card and clean.accuracy_difference_high["robust_network"] < 0
    rows = {"**both, as this model is**": "both", "its network alone": "robust_network",
            "its logistic regression alone": "robust_logistic", "trained on unfiltered clips (`config/tut2017.yaml`)": "plain_both",
            "trained on unfiltered clips (`results/tut2017`)": "plain", "a logistic regression, fitted to unfiltered clips": "logistic"}  # fmt: skip
    for name, row in rows.items():
        full = row in ("both", "plain_both")
        cells = [f"{cell(part.loc[row], full)}, {part.log_loss[row]:.2f}" for part in (clean, unheard)]
        least = f"{100 * unheard.least_accuracy[row]:.0f} %"
        assert f"{name} | {clean.seeds[row]} | {cells[0]} | {cells[1]} | {least} |" in card, name
    scenes = pd.read_csv(ROOT / "results/small_folds/tables/by_scene.csv").set_index("scene_label")
    for name, row in scenes.iterrows():
        right = " | ".join(f"{100 * row[f'{by}_accuracy']:.0f} %" for by in ("recorder", "microphones"))
        assert f"| {name} | {row.clips:.0f}, {row.places:.0f} | {right} |" in card
    assert f"(392 clips, {scenes.places.sum()} places)" in card
    each = pd.read_csv(ROOT / "results/small_folds/tables/by_microphone.csv").iloc[0]
    assert f"one of 30, {each.microphone.removesuffix('.wav').replace('_', ' ')}, scored on {each.n} clips" in card
    likely = pd.concat(microphones._probabilities(truth, "both", fold) for fold in range(1, 6))
    true = truth.scene_label[likely.index].to_numpy()
    for degree, said in ((1, "{} % are *unsure* (no scene has one half), and of the others {} % are right"),
                          (json.loads((ROOT / "results/small/temperature.json").read_text())["temperature"],
                           "fitted on these very scores: {} %, and {} % right")):  # fmt: skip
        p = likely.to_numpy() ** (1 / degree)
        sure = p.max(1) / p.sum(1) >= 0.5
        right = likely.columns.to_numpy()[p.argmax(1)] == true
        assert said.format(round(100 * (1 - sure.mean())), round(100 * right[sure].mean())) in card
    apart = {part: 100 * 2**0.5 * rows.accuracy_std["both"] for part, rows in (("own", clean), ("other", unheard))}
    alone = 100 * 2**0.5 * clean.accuracy_std["robust_network"]
    assert f"differ by {apart['own']:.1f} points by the recorder (the network alone by {alone:.1f})" in card
    assert f"and by {apart['other']:.1f} through microphones" in card
    model = compact.load(ROOT / "results/small/model.safetensors")
    assert (model.config.submission, model.config.split) == ("both", "all")
    assert f"{model.parameters:,} parameters" in card
    assert f"{2 * model.parameters:,} bytes" in card and f"by {2 * model.parameters - 2**17} above 131,072" in card
    here, there, plain, without, apart = (
        f"{100 * value:.0f} %" for value in (clean.accuracy["both"], unheard.accuracy["both"], unheard.accuracy["plain"],
                                            clean.accuracy["plain_both"], unheard.accuracy["plain_both"])
    )  # fmt: skip
    assert f"has {here} through the original recorder, and {there} on average and {worst} at worst" in models
    assert f"trained on unfiltered clips {without.removesuffix(' %')} and {apart} (" in models
    assert f"the network with 64 mel bins has {100 * clean.accuracy['plain']:.0f} %; on clips filtered" in readme
    assert (
        f"(30, divided by maker) {plain}. With a logistic regression, as one model: {without[:2]} and {apart}" in readme
    )
    assert f"trained through other microphones {here[:2]} and {there}" in readme
    assert f"its recipe had {here} at new places, {there} filtered as above, 45 % if 12 dB softer; a guess" in readme
    assert (
        f"then has {there} on clips filtered by microphones that it never heard, where trained on unfiltered" in yours
    )
    assert f"it has {apart} ([results](results.md))" in yours
    assert f"on the recorder itself it has {here}, trained on unfiltered clips {without}." in yours
    assert (
        f"{there} with `config/small.yaml`, {apart} trained on unfiltered clips (its network alone {plain})" in claims
    )


def test_what_it_says_of_models_set_to_a_microphone_is_in_the_tables():
    names = ("docs/models.md", "docs/results.md", "docs/your_data.md", "results/small/MODEL_CARD.md", "README.md")
    models, results, yours, card, readme = (" ".join((ROOT / name).read_text().split()) for name in names)
    home = ROOT / "results/correction/tables"
    table = pd.read_csv(home / "microphones.csv").set_index(["system", "recordings", "through"])

    kinds = (microphones.CLEAN, correction.SOFTER, correction.KINDS[-1])

    def cells(system, which):
        rows = [table.loc[(system, which, kind)] for kind in kinds]
        return " | ".join(f"{100 * row.accuracy:.1f} %, {row.log_loss:.2f}" for row in rows)

    for system, name in (
        ("plain_both", "on the recorder alone"),
        ("both", "through other microphones, as `results/small`"),
    ):
        rows = ["nothing | " + cells(system, "none"), "5 | " + cells(system, "5"),
                "all of three scenes, some 12 | " + cells(system, "of 3 classes"), "20 | " + cells(system, "20"),
                "the scored ones, some 78 | " + cells(system, "themselves")]  # fmt: skip
        assert f"| {name} | {' | | | '.join(rows)} |" in models
    one = {kind: {(system, which): f"{100 * table.accuracy[(system, which, kind)]:.1f}"
                  for system in ("both", "plain_both") for which in ("none", "20")} for kind in correction.KINDS}  # fmt: skip
    own, softer, unheard = (one[kind] for kind in kinds)
    losses = {key: f"{table.log_loss[(*key, kinds[2])]:.2f}" for key in unheard}
    less, more = (one[kind] for kind in correction.KINDS[2:4])
    plain, again, heard, set_ = ("plain_both", "none"), ("plain_both", "20"), ("both", "none"), ("both", "20")
    for found in (
        f"has {unheard[again]} % and {losses[again]} there, in place of {unheard[plain]} % and {losses[plain]}",
        f"({unheard[heard]} % and {losses[heard]}; set in the same way {unheard[set_]} % and {losses[set_]})",
        f"*both* has {softer[heard]} % and *plain_both* {softer[plain]} %; set by 20 recordings {softer[set_]} and {softer[again]} %",
    ):
        assert found in results
    assert f"falls from {own[heard]} to {softer[heard]} %, 6 dB softer or louder to {float(less[heard]):.0f} %" in card
    assert round(float(softer[heard])) == 45 and round(float(less[heard])) == round(float(more[heard]))
    assert f"(`--microphone`) it has {softer[set_]} % at 12 dB softer" in card
    assert f"has {less[heard]} and {more[heard]} %; set by 20 recordings {less[set_]} and {more[set_]} %" in models
    alike = table.loc[("plain_both", "themselves", kinds[2])]
    assert f"*plain_both* has {100 * alike.accuracy:.1f} % and {alike.log_loss:.2f}" in results
    assert f"{float(unheard[plain]):.0f} % then become {float(unheard[again]):.0f} on clips filtered by" in yours
    assert f"by its own recorder {float(own[plain]):.0f} become {float(own[again]):.0f} (" in yours
    assert (
        f"adjusted by 20 recordings through the microphone, without labels, {float(unheard[again]):.0f} %**" in readme
    )

    def change(system, which, kind, score, sign):
        row = table.loc[(system, which, kind)]
        values = [sign * row[f"{score}_difference{end}"] for end in ("", "_low", "_high")]
        return values[:1] + sorted(values[1:])

    points = "{:.1f} points [{:.1f}, {:.1f}]"
    cost = change("plain_both", "20", kinds[0], "accuracy", -100)
    assert f"20 recordings cost {points}".format(*cost) in models and cost[1] > 0
    lower = change("both", "20", kinds[2], "log_loss", -1)
    assert "lower log loss by {:.3f} [{:.3f}, {:.3f}], and accuracy is not shown to rise".format(*lower) in models
    higher = change("both", "20", kinds[2], "accuracy", 100)
    assert lower[1] > 0 and higher[1] < 0 < higher[2]
    gains = [change("plain_both", which, kinds[2], "accuracy", 100)[0] for which in correction.RECORDINGS]
    assert f"a model gains {min(gains):.0f} to {max(gains):.0f} points through unheard microphones" in models
    alone = change("robust_network", "20", kinds[2], "accuracy", 100)
    assert f"(of its network alone it is: by {points})".format(*alone) in models and alone[1] > 0
    assert change("both", "of 3 classes", kinds[0], "log_loss", 1)[1] > 0, "is not shown to lose"
    raised = change("both", "themselves", kinds[2], "accuracy", 100)
    assert "all scored ones raise it by {:.1f} points [{:.1f}, {:.1f}]".format(*raised) in models and raised[1] > 0
    assert (
        change("both", "5", kinds[2], "accuracy", 100)[1] < 0 and change("both", "5", kinds[2], "log_loss", -1)[1] < 0
    )
    rows, found = read_truth(microphones.TRUTH), correction.rows_of("tut2017")
    other = set(found.microphone) - set(correction.KINDS)
    for kind in correction.KINDS:
        some = found[found.microphone.isin(other if kind == kinds[2] else [kind])]
        for which in ("20", "themselves"):
            pair = (correction._drawn(some, which, rows, system) for system in ("plain_both", "both"))
            apart = evaluation.difference(*pair)
            assert apart["accuracy_difference_high"] > 0 and apart["log_loss_difference_low"] < 0
            if which == "themselves" and kind != kinds[2]:  # four levels
                assert apart["log_loss_difference_high"] < 0
            if which == "themselves" and kind == microphones.CLEAN:
                ends = [-apart[f"log_loss_difference{end}"] for end in ("", "_high", "_low")]
                assert "the lower log loss by the recorder ({:.3f} [{:.3f}, {:.3f}])".format(*ends) in models
        five, three = (
            evaluation.difference(*(correction._drawn(some, which, rows, system) for system in ("plain_both", "both")))
            for which in ("5", "of 3 classes")
        )
        assert (five["log_loss_difference_low"] > 0) == (kind == kinds[2])
        assert three["log_loss_difference_low"] < 0
    devices = pd.read_csv(home / "devices.csv")
    every = devices[devices.devices == "all"].set_index("system")
    networks, logistic = every.drop(index="logistic"), every.loc["logistic"]
    assert len(networks) == 5 and (networks.log_loss_difference_high < 0).all()
    found = "{:.2f} to {:.2f}".format(*sorted(-networks.log_loss_difference)[:: len(networks) - 1])
    assert f"*robust* is lower by {found}, and all five intervals leave out 0" in models
    assert f"it lowers the log loss of all five networks, by {found} (first seed)" in results
    shown = devices[devices.log_loss_difference_high < 0].groupby("devices").size()
    assert (
        f"On the real b and c alone, {shown['b, c']} of five do; on the unheard s4 to s6, {shown['s4 to s6']}."
        in models
    )
    assert ((every.accuracy_difference_low < 0) & (every.accuracy_difference_high > 0)).all()
    assert logistic.log_loss_difference_low < 0 < logistic.log_loss_difference_high


def _points(row):
    """A difference in accuracy with its interval, in points."""
    value, low, high = (100 * row[f"accuracy_difference{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def test_what_it_says_of_simulated_devices_is_in_the_predictions():
    text = " ".join(page.PAGE.read_text().split())
    results = evaluation.load(ROOT / "results/tut2017_devices", recipes.load("config/tut2017_devices.yaml"))
    scored = results.scored
    groups = pd.read_csv(ROOT / "results/tut2017_devices/tables/device_groups.csv").set_index("submission").loc["2"]
    shown = [100 * groups[f"accuracy_difference{end}"] for end in ("", "_low", "_high")]
    assert "than on those ({:+.1f} points [{:+.1f}, {:+.1f}]), as the report found".format(*shown) in text
    apart = {name: evaluation.difference(*(scored[who].where("source_label", *devices) for who in ("robust_network", "2")))
             for name, devices in (("unheard", ("s4", "s5", "s6")), ("recorder", ("a",)))}  # fmt: skip
    shown = [100 * apart["unheard"][f"accuracy_difference{end}"] for end in ("", "_low", "_high")]
    assert "s4 to s6 ({:+.1f} points [{:+.1f}, {:+.1f}]), and is".format(*shown) in text and shown[1] < 0 < shown[2]
    both = [
        evaluation.combined(results.home, pair, together)
        for pair in (("robust_network", "robust_logistic"), ("2", "logistic"))
    ]
    parts = [[one.where("source_label", *devices) for one in both] for devices in (("a",), ("s4", "s5", "s6"))]
    worse, apart_there = (evaluation.difference(*pair) for pair in parts)
    assert f"neither difference is shown ({_points(worse)} and {_points(apart_there)})" in text
    assert all(row["accuracy_difference_low"] < 0 < row["accuracy_difference_high"] for row in (worse, apart_there))
    ends = [worse[f"log_loss_difference{end}"] for end in ("", "_low", "_high")]
    assert "on the recorder log loss is higher by {:.3f} [{:.3f}, {:.3f}]".format(*ends) in text and ends[1] > 0
    numbers = ["{:.1f}".format(100 * pair[of].row()["accuracy"]) for of in (1, 0) for pair in parts]
    here, there, robust, apart_robust = numbers
    assert f"2 has {here} % on the recorder and {there} % on s4 to s6; *robust_network* with" in text
    assert f"with *robust_logistic* has {robust} and {apart_robust}:" in text
    lost = [-100 * apart["recorder"][f"accuracy_difference{end}"] for end in ("", "_high")]
    assert f"and is {lost[0]:.0f} points worse on the recorder" in text and lost[1] > 0


def test_what_it_says_of_all_745_clips_is_in_their_tables():
    text = " ".join(page.PAGE.read_text().split())
    home = ROOT / "results/tau2022_folds"
    results = evaluation.load(home, recipes.load("config/tau2022_folds.yaml"))
    scored, rows = results.scored, {name: one.row() for name, one in results.scored.items()}
    assert {row["n"] for row in rows.values()} == {745}
    found = evaluation.difference(scored["robust"], scored["2"])
    numbers = [found[f"log_loss_difference{end}"] for end in ("", "_low", "_high")]
    assert "{:.3f} against {:.3f} without".format(rows["robust"]["log_loss"], rows["2"]["log_loss"]) in text
    assert "higher by {:.3f} [{:.3f}, {:.3f}]".format(*numbers) in text and numbers[1] > 0
    for name in ("2", "logistic", "svm"):
        assert f"({100 * rows[name]['accuracy']:.1f} %, {rows[name]['log_loss']:.3f})" in text
    for floor in ("logistic", "svm"):
        found = evaluation.difference(scored["2"], scored[floor])
        assert found["log_loss_difference_low"] < 0 < found["log_loss_difference_high"]
        assert found["accuracy_difference_low"] < 0 < found["accuracy_difference_high"]
    groups = pd.read_csv(home / "tables/device_groups.csv", dtype={"submission": str}).query("submission == '2'")
    off = groups[groups.against == "a"].iloc[0]
    numbers = [off[f"log_loss_difference{end}"] for end in ("", "_low", "_high")]
    assert "{:.3f} [{:.3f}, {:.3f}] higher than on a".format(*numbers) in text


def test_what_it_says_of_mel_bins_is_in_the_predictions():
    text = page.PAGE.read_text()
    for name in ("tut2017_full", "tau2022"):
        scored = evaluation.load(ROOT / "results" / name, recipes.load(f"config/{name}.yaml")).scored
        found = evaluation.difference(scored["4"], scored["1"])
        more, low, high = (100 * found[f"accuracy_difference{end}"] for end in ("", "_low", "_high"))
        assert re.search(rf"{re.escape(f'{more:+.1f}')}( points)? {re.escape(f'[{low:+.1f}, {high:+.1f}]')}", text)
        assert low < 0 < high


def test_what_it_says_of_other_networks_is_in_the_league():
    table = pd.read_csv(ROOT / "results/league/tables/league.csv").set_index("submission")
    assert table.log_loss_difference_high["sp4asc"] < 0 and table.accuracy_difference_high["bcresnet"] < 0
    assert (table.loc[["cpmobile", "sp4asc"]].accuracy_difference_low < 0).all()
    assert (table.loc[["cpmobile", "bcresnet"]].log_loss_difference_high > 0).all()


def test_what_it_says_of_devices_and_floors_is_in_the_tables():
    """Of the report's four networks on TAU 2022, and of the baseline against the logistic regression."""
    text, tables = " ".join(page.PAGE.read_text().split()), ROOT / "results/tau2022/tables"
    groups = pd.read_csv(tables / "device_groups.csv", dtype={"submission": str}).query(
        "submission in ['1', '2', '3', '4']"
    )
    others, unseen = groups[groups.against == "a"], groups[groups.against != "a"]
    assert len(others) == len(unseen) == 4 and "All four have a higher (worse) log loss on the other devices" in text
    assert (others.log_loss_difference_low > 0).all()
    assert (unseen.accuracy_difference_high > 0).all() and (unseen.log_loss_difference_low < 0).all()
    floors = pd.read_csv(tables / "floors.csv", dtype={"submission": str}).query("against == 'logistic'")
    floors = floors.set_index("submission")
    assert (floors.accuracy_difference_low < 0).all() and (floors.log_loss_difference_high > 0).all()
    assert (floors.loc[["baseline", "1", "2", "3", "4", "robust"]].log_loss_difference_low > 0).all()
    assert set(floors.index[floors.accuracy_difference_high < 0]) == {"3", "robust"}


def test_what_it_says_of_floors_holds_without_the_clips_that_chose_the_settings():
    assert "what is said here of networks and floors holds there, too" in " ".join(page.PAGE.read_text().split())
    found = {name: pd.read_csv(ROOT / "results" / name / "tables/floors_unseen.csv", dtype={"submission": str})
             for name in ("tau2022", "tau2022_folds", "tut2017")}  # fmt: skip
    split = found["tau2022"].query("against == 'logistic'").set_index("submission")
    assert (split.accuracy_difference_low < 0).all() and (split.log_loss_difference_low > 0).all()
    assert set(split.index[split.accuracy_difference_high < 0]) == {"3", "robust"} and set(split.n) == {270}
    folds = found["tau2022_folds"].query("submission == '2' and against != 'even guess'")
    assert (folds.accuracy_difference_low < 0).all() and (folds.accuracy_difference_high > 0).all()
    assert (folds.log_loss_difference_low < 0).all() and (folds.log_loss_difference_high > 0).all()
    tut = found["tut2017"].query("submission == '2' and against == 'logistic'").iloc[0]
    assert tut.accuracy_difference_low > 0 > tut.log_loss_difference_high


def test_what_it_says_of_the_baseline_is_in_the_predictions():
    found = {}
    for name in ("tut2017_full", "tau2022"):
        scored = evaluation.load(ROOT / "results" / name, recipes.load(f"config/{name}.yaml")).scored
        found[name] = pd.DataFrame({n: evaluation.difference(scored[n], scored["baseline"]) for n in "1234"}).T
        assert (found[name].log_loss_difference_high < 0).all()
    points = 100 * found["tut2017_full"].accuracy_difference[1:]
    assert f"by {points.min():.0f} to {points.max():.0f} points" in (ROOT / "README.md").read_text()
    assert (found["tut2017_full"].accuracy_difference_low > 0).tolist() == [False, True, True, True]
    assert (found["tau2022"].accuracy_difference_high < 0).tolist() == [False, False, True, False]


def test_the_readme_is_short_and_what_it_says_is_in_the_tables():
    text = " ".join((ROOT / "README.md").read_text().split())
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120 and len(text.split()) <= 1300
    home = ROOT / "results"
    none = pd.read_csv(home / "tut2017_full/tables/ablation.csv").set_index("variant").loc["none"]
    points = [-100 * none[f"accuracy_difference{end}"] for end in ("", "_high", "_low")]
    assert "accuracy is {:.1f} points lower [{:.1f}, {:.1f}]".format(*points) in text
    without = pd.read_csv(home / "tut2017_full/tables/ablation.csv").set_index("variant").loc["all_but_mixup"]
    assert f"log loss is {without.log_loss_difference:.2f} higher" in text and without.log_loss_difference_low > 0
    table = pd.read_csv(home / "tau2022/tables/table_7.csv").set_index("submission")
    four = table.loc[["1", "2", "3", "4"]]
    assert f"({four.log_loss.min():.2f} to {four.log_loss.max():.2f} against {table.log_loss['baseline']:.2f}, " in text
    assert table.log_loss_low["baseline"] > math.log(10)  # worse than guessing
    assert four.log_loss_high.max() < table.log_loss_low["baseline"]
    low, high, base = (f"{100 * x:.0f}" for x in (four.accuracy.min(), four.accuracy.max(), table.accuracy["baseline"]))
    assert f"{low} to {high} % against {base} %" in text and table.n["4"] == 275
    groups = pd.read_csv(home / "tau2022/tables/device_groups.csv", dtype={"submission": str})
    off = groups[(groups.against == "a") & groups.submission.isin(list("1234"))]
    assert (
        f"{off.log_loss_difference.min():.2f} to {off.log_loss_difference.max():.2f} higher** on other devices than a"
        in text
    )
    off = off.set_index("submission")
    assert (off.log_loss_difference_low > 0).all() and set(off.index[off.accuracy_difference_high < 0]) == {"4"}
    assert "accuracy is shown to be lower for one of four networks alone, barely." in text
    for name, worse in (("tau2022", True), ("tut2017", False)):
        floors = pd.read_csv(home / name / "tables/floors.csv", dtype={"submission": str}).query(
            "against == 'logistic'"
        )
        ours = floors[floors.submission.isin(list("1234"))]
        assert len(ours) == (4 if worse else 1)
        assert (ours.log_loss_difference_low > 0).all() if worse else (ours.log_loss_difference_high < 0).all()


def test_every_link_of_the_readme_and_docs_leads_somewhere():
    found = 0
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for address in re.findall(r"\]\(([^)#]+)\)", file.read_text()):
            if not address.startswith("https:"):
                found += 1
                assert (file.parent / address).exists(), f"{file.name}: {address}"
    assert found > 30


def test_the_streams_are_those_of_the_benchmark():
    text, bins = (ROOT / "docs/models.md").read_text(), {1: 32, 2: 64, 3: 128, 4: 160}
    table = pd.read_csv(ROOT / "results/performance/streams.csv")
    for submission, rows in table.groupby("submission"):
        cells = [
            " / ".join(f"{one.set_index('engine').streams[engine]:.0f}" for engine in ("PyTorch", "ONNX Runtime"))
            for _, one in rows.groupby("seconds_between_labels")
        ]
        assert f"| {bins[submission]} | {cells[0]} | {cells[1]} |" in text
    assert table.submission.nunique() == 4


def test_the_rehearsal_is_the_reports_experiment_at_its_size():
    table = pd.read_csv(ROOT / "results/performance/rehearsal.csv").set_index("step")
    trained = table[table.index.str.startswith("train_")]
    assert table.clips["store"] == 13962 + 2968 and table.clips["package"] == 4 * 7920 and len(trained) == 5
    hours = [f"{trained.hours[f'train_{name}_seed_0']:.0f}" for name in ("baseline", "1", "2", "3", "4")]
    data = " ".join((ROOT / "docs/data.md").read_text().split())
    assert f"(baseline {hours[0]}, submissions 1 to 4: {', '.join(hours[1:])})" in data
    assert (
        f"(20.8 clips/s: one training, bfloat16), submission 4 would take {500 * 11868 / 20.8 / 3600:.0f} hours" in data
    )
    assert "| 20.8 clips/s (" in (ROOT / "docs/speed.md").read_text()
    for name in ("README.md", "docs/data.md", "docs/claims.md"):
        assert f"some {round(trained.hours.sum(), -1):.0f} hours of a core" in (ROOT / name).read_text()
    assert f"up to {trained.peak_memory_mb.max() / 1000:.1f} GB" in " ".join(
        (ROOT / "docs/data.md").read_text().split()
    )


def test_what_trainings_of_ones_own_take_is_in_the_record():
    table = pd.read_csv(ROOT / "results/performance/own_time.csv").set_index(["clips", "seconds"])
    said = "for clips of 1 s: {:.0f} minutes for 100, {:.0f} for 400, {:.0f} for 2,000; for 100 clips of 10 s {:.0f} minutes".format(
        *table.minutes[[(100, 1.0), (400, 1.0), (2000, 1.0), (100, 10.0)]]
    )
    assert said in " ".join((ROOT / "docs/your_data.md").read_text().split())
    assert ((table.minutes_said - 0.5) / table.minutes < 1.5).all()  # within a factor, but for the whole minutes said
    assert ((table.minutes_said + 0.5) / table.minutes > 1 / 1.5).all()
