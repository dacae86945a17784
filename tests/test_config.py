"""Configuration, recipes, and that the environment's files say the same."""

import re
import tomllib
from pathlib import Path

import platformdirs
import pytest
import yaml
from conftest import ROOT

from asc_kit import config
from asc_kit.common import InputError
from asc_kit.run import recipes

EXPECTED = {"dataset": "tau2020_development", **dict.fromkeys(recipes.EXPECTED[1:], 3)}


def recipe(tmp_path, text):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    return recipes.load(file)


def test_defaults_are_the_reports_values():
    settings = recipes.Recipe("report").config(4)
    f, a, t = settings.features, settings.augmentation, settings.training
    assert (f.window, f.hop, f.sample_rate, f.n_mels, f.f_min, f.f_max) == (2760, 690, 44100, 160, 10, 16000)
    assert (a.crop_seconds, a.mixup, a.mixup_alpha) == (8, "modified", 0.6)
    assert (t.epochs, t.batch_size, t.optimizer, t.max_lr, t.ema_decay) == (500, 64, "adamw", 0.01, 0.999)
    assert recipes.load("config/report.yaml").configs()[-1] == settings


def test_submissions_are_the_four_mel_sizes_and_the_baseline():
    r = recipes.Recipe("x")
    assert [r.config(s).features.n_mels for s in (1, 2, 3, 4, "baseline")] == [32, 64, 128, 160, 40]
    b = r.config("baseline")
    assert (b.training.optimizer, b.training.max_lr, b.training.batch_size, b.training.epochs) == (
        "adam",
        1e-3,
        16,
        200,
    )
    assert b.augmentation.mixup is None and b.augmentation.crop_seconds is None


def test_hash_follows_every_value_and_nothing_else():
    r = recipes.Recipe("x")
    base = r.config(2, 0, 1)
    assert base.hash == recipes.Recipe("other name").config("2").hash
    others = [r.config(2, 1), r.config(2, 0, 2), r.config(3), r.config(2, epochs=3), r.config(2, mixup_alpha=0.5)]
    assert len({c.hash for c in [base, *others]}) == 6
    later = [r.config(2, dropout=0.3), r.config(2, device_limits=True), recipes.Recipe("x", split="drawn").config(2)]
    assert len({c.hash for c in [base, *others, *later]}) == 9
    assert config.Config.from_dict(base.as_dict()) == base


def test_none_keeps_the_recipes_value(tmp_path):
    r = recipe(tmp_path, "training: {epochs: 7}\n")
    assert r.config(1, epochs=None).training.epochs == 7
    assert r.config(1, epochs=9).training.epochs == 9


def test_a_variant_without_microphones_has_no_responses():
    heard = {"responses": "mic-0123456789ab", "device_response": 0.5}
    recipe = recipes.Recipe(
        "x", systems={"2": heard}, ablation={"plain": {"device_response": None}}, ablation_submission="2"
    )
    assert recipe.config("2").augmentation.responses == heard["responses"]
    assert recipe.config("2", variant="plain").augmentation.responses is None


@pytest.mark.parametrize(
    ("text", "what"),
    [("epochs: 3\n", "unknown parameter 'epochs'"), ("training: {epoch: 3}\n", "unknown parameter 'epoch'"),
     ("training: {epochs: 0}\n", "epochs: 0 is out of range; give 1 or more"), ("training: {epochs: many}\n", "epochs: 'many'"),
     ("training: {selection: best}\n", "selection: 'best'"), ("submissions: [5]\n", "submission: '5' is unknown"),
     ("training: [1\n", "not YAML"), ("- 1\n", "give names and values"), ("augmentation: {mixup_alpha: 0}\n", "mixup_alpha"),
     ("augmentation: {crop_seconds: -1}\n", "crop_seconds"), ("systems: {baseline: {epoch: 3}}\n", "unknown parameter 'epoch'"),
     ("training: {ema_decay: 1.0}\n", "ema_decay"), ("training: {max_lr: .nan}\n", "max_lr"),
     ("training: {patience: 0}\n", "patience"), ("augmentation: {mask_fraction: 3}\n", "mask_fraction"),
     ("training: 5\n", "training: 5 is not possible; give names and values"), ("folds: x\n", "folds: 'x' is not possible; give a whole number"),
     ("folds: 1\n", "folds: 1 is out of range; give 2 or more"), ("expected: {dataset: tau2020_development}\n", "expected: {'dataset': 'tau2020_development'}; give"),
     (f"expected: {EXPECTED | {'clips': 'many'}}\n", "; give dataset, clips"), (f"expected: {EXPECTED | {'seconds': 0}}\n", "; give dataset, clips"), 
     ("submissions: []\n", "submissions: []; give one or more"), ("synthetic: {sconds: 1}\n", "unknown parameter 'sconds'"),
     ("seeds: [0, 0]\n", "seeds: [0, 0]; give one or more, and none twice"), ("submissions: [1, '1']\n", "and none twice"),
     ("features: {n_mels: 80}\n", "features: unknown parameter 'n_mels'"), ("title: 2021-13-45\n", "not YAML"),
     ("systems: {../x: {n_mels: 32}}\n", "systems: '../x' names a folder"), ("beyond: [zz]\n", "beyond: unknown parameter 'zz'; known are a, b"),
     ("systems: {baseline: 5}\n", "systems: baseline: holds 5; give names and values"),
     ("augmentation: {crop_seconds: .inf}\n", "crop_seconds: inf is not possible"), ("features: {power: true}\n", "power: True is not"),
     ("ablation: {off: {mixup: off}}\n", "ablation: False names a folder; give letters"),
     ("submissions: [2]\nsystems: {'2': {responses: mic-0123456789ab}}\n", "responses: without device_response no clip is heard"),
     ("split_seed: 5000000000\n", "split_seed: 5000000000 is out of range; give 0 to")],
)  # fmt: skip
def test_wrong_recipe_is_one_line(tmp_path, text, what):
    with pytest.raises(InputError, match=re.escape(what)) as caught:
        recipe(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_off_and_scientific_numbers_are_read(tmp_path):
    r = recipe(tmp_path, "training: {max_lr: 1e-3, patience: off}\naugmentation:\n")
    assert r.config(1).training.max_lr == 0.001
    off = r.config(1, mixup="off", patience="off", crop_seconds="off")
    assert off.augmentation.mixup is None and off.training.patience is None and off.augmentation.crop_seconds is None


def test_headings_with_nothing_under_them_are_not_there(tmp_path):
    r = recipe(tmp_path, "title:\nname:\nseeds:\nbeyond:\nfeatures:\nsystems:\n  baseline:\nablation:\n  as_it_is:\n")
    assert r == recipes.Recipe("recipe", ablation={"as_it_is": {}}, systems={"baseline": {}})


def test_what_is_given_beside_a_recipe_is_checked_like_it(tmp_path):
    recipe(tmp_path, "seeds: [1, 2]\n")
    runs = recipes.load(tmp_path / "recipe.yaml", submissions=[1, "logistic"], seeds=7).configs()
    assert [(run.submission, run.seed) for run in runs] == [("1", 7), ("logistic", 7)]
    with pytest.raises(InputError, match=r"seeds: \[3, 3\]; give one or more"):
        recipes.load(tmp_path / "recipe.yaml", seeds=[3, 3])


@pytest.mark.parametrize(
    ("name", "what"), [("config/nowhere.yaml", "no such recipe"), ("results/tau2022/figures/by_device.png", "not YAML")]
)
def test_what_is_no_recipe(name, what):
    with pytest.raises(InputError, match=f"{name}: {what}"):
        recipes.load(name)


def test_an_empty_cache_setting_is_none(monkeypatch):
    monkeypatch.setenv("ASC_CACHE", "")
    assert config.cache() == ROOT / ".cache"


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_recipe_of_the_kit_loads(file):
    assert recipes.load(file).configs()


def test_wrong_seed_or_fold():
    for seed, fold in ((-1, 1), (0, 0), ("0", 1)):
        with pytest.raises(InputError, match="seed, fold"):
            recipes.Recipe("x").config(1, seed, fold)


def test_code_digest_ignores_words_and_sees_code(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "__file__", str(tmp_path / "config.py"))
    module = tmp_path / "m.py"
    module.write_text('"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1  # why\n')
    first = config.code_digest("m")
    module.write_text('"""Other."""\n\n\ndef f(x):\n    return (x + 1)\n')
    assert config.code_digest("m") == first
    module.write_text("def f(x):\n    return x + 2\n")
    assert config.code_digest("m") != first


def test_environment_yml_pins_what_pyproject_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *sum(extras.values(), [])}
    text = (ROOT / "environment.yml").read_text()
    parts = yaml.safe_load(text)["dependencies"]
    pip = next(part["pip"] for part in parts if isinstance(part, dict))
    assert {line for line in pip if not line.startswith("-e")} == wanted
    assert all("==" in line for line in wanted)
    reasons = [line for line in text.splitlines() if "==" in line]
    assert all("#" in line and len(line.split("#")[1].strip()) > 3 for line in reasons)


def test_lock_holds_every_pin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = {line.split(" ;")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines()}
    for line in [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]:
        assert line in lock, line


def test_installed_paths_count_from_the_current_folder(tmp_path, monkeypatch):
    assert config.path("a/b") == ROOT / "a/b"
    monkeypatch.setattr(config, "CHECKOUT", False)
    monkeypatch.chdir(tmp_path)
    assert config.path("a/b") == tmp_path / "a/b" and config.path("/a") == Path("/a")
    monkeypatch.setenv("ASC_CACHE", "mine")
    assert config.cache() == tmp_path / "mine"
    monkeypatch.delenv("ASC_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, appauthor: tmp_path / "user" / name)
    assert config.cache() == tmp_path / "user" / "asc_kit"


def test_an_option_of_someone_else_s_network_is_their_own():
    """Of both, it says what its logistic regression hears."""
    assert config.Network("nets:Mine", {"logistic": {"device_response": 0.5}}).logistic == {}
    assert config.Network("both", {"logistic": {"device_response": 0.5}}).logistic == {"device_response": 0.5}
