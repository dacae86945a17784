"""What the report leaves open, as one table: the choice, the report's words, the kit's default and what else it may be.

Every choice is a field of `config.Features`, `Augmentation` or `Training`; the tests turn each, see that what it claims
to change does change, and train a step with it.
"""

from pathlib import Path

import pandas as pd
import yaml

from asc_kit.config import PARTS

# A row a choice: part and name of its field in a configuration; the report's words; other values that these allow as
# well; what it changes (features, logits, inputs, targets, rate, momentum, average, rows, epochs or probabilities);
# the reason of the default. Those whose default stands in the file are shown, and not switched.
CHOICES = pd.DataFrame(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text()))


def table() -> pd.DataFrame:
    """choice, the report's words, default, alternatives, what it changes, why."""
    names = CHOICES.name.where(CHOICES.default.notna(), CHOICES.part + "." + CHOICES.name)
    defaults = [default if part not in PARTS else str(getattr(PARTS[part](), name))
                for part, name, default in zip(CHOICES.part, CHOICES.name, CHOICES.default)]  # fmt: skip
    return pd.DataFrame({
        "choice": names, "report": CHOICES.words, "default": defaults,
        "alternatives": [", ".join(map(str, other)) for other in CHOICES.other],
        "changes": CHOICES.changes, "why": CHOICES.why,
    })  # fmt: skip
