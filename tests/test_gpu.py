"""benchmarks/gpu.py, at a tiny size on the CPU in a GPU's ways; nothing here says how fast a GPU is."""

import pandas as pd
import pytest
import torch

from asc_kit import kernels
from benchmarks import gpu


def test_it_runs_to_its_end_and_writes_its_table(tmp_path, capsys):
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path / "gpu.csv")]) == 0, capsys.readouterr().err
    found = pd.read_csv(tmp_path / "gpu.csv", keep_default_na=False, na_values={"value": "", "limit": ""})
    assert list(found) == gpu.COLUMNS
    compared = found[found.limit.notna()]
    assert set(compared.what) == set(gpu.LIMITS) and (compared.value <= compared.limit).all()
    for system in gpu.QUICK.systems:
        rates = found[(found.system == system) & (found.unit == "clips/s")]
        assert set(rates.way) == set(gpu.WAYS) and (rates.value > 0).all()
        spent = found[(found.system == system) & found.what.str.startswith("step: ") & (found.way == "recipe")]
        assert spent.value.max() > 0 and "step: convolutions" in set(spent.what)
    whole = found[found.what == "full training"].pivot(index="system", columns="way", values="value")
    assert set(whole.index) == {"all", *gpu.QUICK.systems} and (whole > 0).all(axis=None)
    assert whole.loc["all", "recipe"] == pytest.approx(whole.drop("all")["recipe"].sum(), rel=1e-2)
    assert not kernels.BATCHED  # only meanwhile


def test_a_difference_beyond_its_limit_is_a_fault(monkeypatch, capsys):
    row = ("1", "", "log-mel, worst", 0.2, "dB", 0.1)
    monkeypatch.setattr(gpu, "table", lambda size, device: pd.DataFrame([row], columns=gpu.COLUMNS))
    assert gpu.main(["--device", "cpu", "--quick"]) == 1
    assert capsys.readouterr().err == "gpu: system 1: log-mel, worst differs by 0.2, limit 0.1 dB\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_line(capsys):
    assert gpu.main([]) == 1
    assert capsys.readouterr() == ("", "gpu: device: cuda was asked for, but torch finds none; use auto or cpu\n")
