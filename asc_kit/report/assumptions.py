"""What the report leaves open, as one table: the choice, the report's words, the kit's default and what else it may be.

Every choice is a field of `config.Features`, `Augmentation` or `Training`; the tests turn each, see that what it claims
to change does change, and train a step with it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from asc_kit.config import PARTS


@dataclass(frozen=True)
class Assumption:
    """An open choice.

    Attributes
    ----------
    part, name : of the field in a configuration
    words : the report's
    other : values that the report's words allow as well
    changes : features, logits, inputs, targets, rate, momentum, average, rows, epochs or probabilities
    why : the default's reason
    """

    part: str
    name: str
    words: str
    other: list[Any]
    changes: str
    why: str

    @property
    def default(self) -> Any:
        """The configuration's."""
        return getattr(PARTS[self.part](), self.name)


ASSUMPTIONS = [Assumption(**row) for row in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())]


def table() -> pd.DataFrame:
    """choice, the report's words, default, alternatives, what it changes, why; size counting is shown, not switched."""
    rows = [
        (f"{a.part}.{a.name}", a.words, str(a.default), ", ".join(map(str, a.other)), a.changes, a.why)
        for a in ASSUMPTIONS
    ]
    rows += [("size counting", "non-zero parameters x 2 bytes / 1024", "parameters", "with_statistics, folded",
              "Table 7", "the report's; all three are shown"),
             ("loudness in mixup", "the maximum A-weighted sound pressure levels",
              "over the clip's own windows that lie in the crop", "over windows counted from the crop's begin",
              "targets", "0.5 dB apart on average; no switch"),
             ("shape of the one cycle", "one-cycle", "30 % rising, cosine, from 1/25 and to 1/250,000 of its height",
              "another share or shape", "rate", "PyTorch's OneCycleLR as it comes; no switch")]  # fmt: skip
    return pd.DataFrame(rows, columns=["choice", "report", "default", "alternatives", "changes", "why"])
