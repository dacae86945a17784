"""A crop's gain from the clip's windows: exact on their grid, of whole windows alone, computed once."""

import numpy as np
import pytest
import torch
from conftest import write_corpus

from asc_kit.augmentations import HOP, WINDOW, Loudness, Mixup
from asc_kit.config import Augmentation, generator
from asc_kit.data import corpus, gains
from asc_kit.data.store import open_store

LENGTH = 44100


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ASC_CACHE", str(tmp_path / "cache"))
    rows = [(f"audio/{i}.wav", "park", f"place{i}", "a") for i in range(5)]
    return open_store(corpus.read(write_corpus(tmp_path / "data", rows)), LENGTH)


def test_on_the_grid_it_is_the_gain_of_the_crop(store):
    rows, starts, length = [0, 3, 3, 4], [0, HOP, 5 * HOP, 7 * HOP], WINDOW + 4 * HOP
    exact = Loudness(44100)(store.read(rows, starts, length))
    assert gains.Gains(store).of(rows, starts, length).numpy() == pytest.approx(exact.numpy(), abs=1e-4)
    whole = gains.Gains(store).of([2], [0], LENGTH)
    assert whole.item() == pytest.approx(Loudness(44100)(store.read([2])).item(), abs=1e-4)


def test_only_windows_that_lie_whole_in_the_crop_count(store):
    mine = gains.Gains(store)
    mine.energies = np.zeros((5, 20), dtype=np.float32)
    mine.energies[0] = 10.0 ** np.arange(20)
    for start in (0, 1, 100, HOP - 1, HOP, HOP + 1, 9000):
        for length in (WINDOW + 3 * HOP, 20000, 30000):
            inside = [w for w in range(20) if start <= w * HOP and w * HOP + WINDOW <= start + length]
            assert mine.of([0], [start], length).item() == pytest.approx(10 * max(inside), abs=1e-3)


def test_a_crop_shorter_than_a_window_takes_the_next_one(store):
    mine = gains.Gains(store)
    for start in (0, 5, 3000, LENGTH - 500):
        found = mine.of([1], [start], 500).item()
        levels = Loudness.level(torch.tensor(mine.energies[1]))
        assert found == levels[min(-(-start // HOP), len(levels) - 1)]


def test_computed_once(store, monkeypatch):
    first = gains.Gains(store).energies
    monkeypatch.setattr(gains, "_energies", lambda store: pytest.fail("computed again"))
    assert np.array_equal(gains.Gains(store).energies, first) and first.shape == (5, (LENGTH - WINDOW) // HOP + 1)


def test_mixup_takes_known_gains_in_place_of_its_own(store):
    mixup, waves, labels = Mixup(Augmentation(), 44100), store.read(range(5)), torch.eye(5)
    known = gains.Gains(store).of(range(5), [0] * 5, LENGTH)
    computed = mixup(waves, labels, generator(0, "m"))
    given = mixup(waves, labels, generator(0, "m"), gains=known)
    torch.testing.assert_close(given[0], computed[0])
    other = mixup(waves, labels, generator(0, "m"), gains=known + torch.arange(5) * 6)
    assert (other[0] - computed[0]).abs().max() > 0.01 and torch.equal(other[1], computed[1])
