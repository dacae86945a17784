"""A network of one's own, from fifteen lines to a table, a size, an ONNX file and a label.

    python examples/own_network.py results        # a minute; on SYNTHETIC clips

own_network.yaml, beside this file, names the class; everything takes the system by its name, `small`.
"""

import sys
from pathlib import Path

import torch
from torch import nn


class Small(nn.Module):
    """(batch, 1, time, mel) log-mel to (batch, classes) logits; all normalisation is inside."""

    def __init__(self, n_mels: int, n_classes: int, width: int = 16):
        super().__init__()
        self.scale = nn.LayerNorm(n_mels)
        self.first = nn.Conv2d(1, width, 5, stride=2, padding=2)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.calm = nn.GroupNorm(4, width)
        self.out = nn.Linear(width, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.first(self.scale(x)))  # batch, width, time / 2, mel / 2
        x = x + nn.functional.relu(self.calm(self.second(x)))
        return self.out(x.mean((2, 3)))


def main(results_dir: str) -> None:
    """Train both systems of the recipe, write Table 7, and take the small one away."""
    from asc_kit.deploy import compact, onnx, recordings, size
    from asc_kit.report import evaluation, tables
    from asc_kit.run.experiment import open_corpus, train
    from asc_kit.run.runs import Run

    recipe = str(Path(__file__).with_suffix(".yaml").resolve())
    for system in ("1", "small"):
        run = train(Run.of(recipe, system, results_dir=results_dir))
    table = tables.write(evaluation.open_results(recipe, results_dir=results_dir))[7]
    print(tables.pretty(table).to_string(index=False), "\n")

    file = run.folder / "compact.safetensors"  # of the last: small
    print(size.table(size.measure(file)), "\n")
    model = compact.load(file)
    onnx.export(model, run.folder / "small.onnx")
    clip = next(iter(sorted((open_corpus(run.recipe).root / "audio").iterdir())))
    scored = recordings.score(model, clip)
    print(f"{clip.name} (SYNTHETIC): {model.classes[scored.probabilities.argmax()]}, {scored.probabilities.max():.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "results")
