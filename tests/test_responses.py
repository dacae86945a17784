"""Measured microphones: a folder of responses, and clips heard through them."""

import numpy as np
import pytest
import soundfile
import torch
from conftest import real

from asc_kit.beyond import Recorder, compress
from asc_kit.common import InputError
from asc_kit.config import Augmentation, generator
from asc_kit.data import responses
from asc_kit.run import recipes

RATE = 16000


@pytest.fixture
def folder(tmp_path):
    """Two microphones: one that halves and delays, one that lets a difference pass."""
    made = tmp_path / "mics"
    made.mkdir()
    delayed, difference = np.zeros(400), np.zeros(400)
    delayed[100], difference[0], difference[1] = 0.5, 0.4, -0.4
    soundfile.write(made / "delayed.wav", delayed, RATE, "PCM_24")
    soundfile.write(made / "difference.wav", difference, RATE, "PCM_24")
    return made


def heard(waves, folder, seed=0, **values):
    found = responses.read(folder, RATE) if folder else None
    settings = Augmentation(device_response=1.0, response_db=values.pop("response_db", 0), **values)
    return Recorder(settings, RATE, found).train()(waves, generator(seed, "r"))


def noise(count, samples):
    return torch.randn(count, samples, generator=torch.Generator().manual_seed(0))


def test_responses_have_unit_energy_and_begin_at_their_onset(folder):
    found = responses.read(folder, RATE)
    assert found.shape == (2, 4000)
    assert found.square().sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert found[0].argmax() == responses.LEAD
    assert found[1, :2].tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)], abs=1e-4)


def test_a_clip_is_convolved_with_one_of_them_and_does_not_wrap_around(folder):
    waves = noise(20, 3000)
    out = heard(waves, folder)
    delayed = torch.nn.functional.pad(waves, (responses.LEAD, 0))[:, :3000]
    difference = (waves - torch.nn.functional.pad(waves, (1, 0))[:, :3000]) * 0.5**0.5
    near = [torch.isclose(out, one, atol=1e-3).all(1) for one in (delayed, difference)]
    assert (near[0] ^ near[1]).all() and near[0].any() and near[1].any()


def test_made_up_curves_stand_on_top_of_a_measured_response(folder):
    waves = noise(4, 3000)
    assert not torch.allclose(heard(waves, folder, response_db=6.0), heard(waves, folder), atol=0.1)


def test_limits_cut_the_band_hiss_and_compress():
    """In some clips of many, each; without them nothing but level would change."""
    waves = noise(64, RATE) * torch.linspace(0.01, 0.2, RATE)  # growing louder
    plain, out = heard(waves, None), heard(waves, None, device_limits=True)
    torch.testing.assert_close(plain, waves, atol=1e-5, rtol=0)
    spectrum = torch.fft.rfft(out).abs().square() / torch.fft.rfft(waves).abs().square()
    low, high, middle = (spectrum[:, a:b].median(1).values for a, b in ((1, 10), (7800, 8000), (1000, 3000)))
    assert 16 < (low < 0.02 * middle).sum() < 48 and 5 < (high < 0.5 * middle).sum() < 48
    ends = out[:, -2000:].square().mean(1) / out[:, :2000].square().mean(1)
    usual = waves[:, -2000:].square().mean(1) / waves[:, :2000].square().mean(1)
    assert 16 < (ends < 0.8 * usual).sum() < 60


def test_compression_divides_differences_of_level():
    wave = torch.cat([torch.full((1, 8000), 0.01), torch.full((1, 8000), 0.1)], 1)  # 20 dB
    levels = compress(wave, torch.tensor([[2.0]]), RATE)[0, [4000, 12000]]
    assert 20 * (levels[1] / levels[0]).log10().item() == pytest.approx(10, abs=0.01)


def test_identity_is_of_the_contents_not_of_the_place(folder, tmp_path):
    before, moved = responses.identity(folder), tmp_path / "elsewhere" / "by another name"
    moved.parent.mkdir()
    folder.rename(moved)
    (moved / "delayed.wav").rename(moved / "other.wav")
    name = responses.identity(moved)
    assert name == before
    recipe = recipes.Recipe("x", responses=str(moved))
    settings = recipe.config("2", device_response=0.5)
    assert settings.augmentation.responses == name == responses.identity(name)
    assert settings.hash == recipes.Recipe("x", responses=name).config("2", device_response=0.5).hash
    (moved / "other.wav").unlink()
    assert responses.identity(moved) != name


def test_faults_are_one_line(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for place, message in ((tmp_path / "none", "no such folder"), (empty, "holds no sound file")):
        with pytest.raises(InputError, match=f"responses: {place}.*{message}"):
            responses.identity(place)
    with pytest.raises(InputError, match="responses: mics-0123456789ab is not at hand; give its folder"):
        responses.of("mics-0123456789ab", RATE)
    soundfile.write(empty / "silent.wav", np.zeros(500), RATE)
    with pytest.raises(InputError, match="silent.wav is silent; remove it"):
        responses.read(empty, RATE)


def test_stereo_and_another_rate_are_mixed_resampled_and_said(tmp_path, capsys):
    made = tmp_path / "mics"
    made.mkdir()
    pulse = np.zeros((960, 2))
    pulse[480] = 0.5
    soundfile.write(made / "one.wav", pulse, 48000)
    assert responses.read(made, RATE).shape == (1, 4000)
    assert "responses: mics: 48000 Hz resampled to 16000 Hz" in capsys.readouterr().err


def test_the_recipes_name_the_responses_at_hand():
    """Those that the committed runs heard."""
    name = responses.identity(real("mic_responses"))
    for recipe in ("tau2022", "tau2022_folds"):
        assert recipes.load(f"config/{recipe}.yaml").config("robust").augmentation.responses == name


def test_a_batch_in_which_no_clip_is_chosen_is_left_as_it_is(folder):
    waves = noise(2, 3000)
    rare = Recorder(Augmentation(device_response=1e-6), RATE, responses.read(folder, RATE)).train()
    assert torch.equal(rare(waves, generator(0, "r")), waves)
