"""What the report leaves open, as one table: the choice, the report's words, the kit's default and what else it may be.

Every choice is a field of `config.Features`, `Augmentation` or `Training`; the tests turn each, see that what it claims
to change does change, and train a step with it.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

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
    other: tuple[Any, ...]
    changes: str
    why: str

    @property
    def default(self) -> Any:
        """The configuration's."""
        return getattr(PARTS[self.part](), self.name)


ASSUMPTIONS = (
    Assumption("features", "axis_order", "strides 2 x 1, kernel 5 x 3; features 640 x M", ("frequency_time",), "logits",
               "640 x M is written time first; parameters and MACs are the same"),
    Assumption("features", "n_fft", "a window size of 2760 samples", (4096,), "features", "no padding is mentioned"),
    Assumption("features", "power", "log-mel energies", (1,), "features", "energies are powers"),
    Assumption("features", "mel_scale", "mel bins", ("htk",), "features",
               "librosa's default, as PANNs"),
    Assumption("features", "mel_norm", "mel bins", (None,), "features",
               "only shifts a bin, which the first batch norm absorbs"),
    Assumption("features", "amin", "log-mel", (1e-8, 1e-5), "features", "PANNs; lies below 16-bit noise"),
    Assumption("features", "top_db", "log-mel", (80.0,), "features", "PANNs: none"),
    Assumption("features", "last_frame", "640 x M", (False,), "features", "639 without it"),
    Assumption("augmentation", "mixup_domain", "two audio signals that are mixed", ("log_mel",), "inputs",
               "audio signals are waveforms; the authors' ERANN mixes them too"),
    Assumption("augmentation", "mixup_alpha", "we adopt alpha = 0.6", (1.0,), "inputs",
               "r ~ Beta(0.6, 0.6), as in standard mixup; [5] draws r ~ U(0, 1), which is alpha = 1"),
    Assumption("augmentation", "mixup_partner", "modified mixup [5]", ("other_class",), "targets",
               "mixup pairs any clips; [5] takes other classes"),
    Assumption("augmentation", "time_masks", "SpecAugment [11]", (1,), "inputs", "PANNs: two of below 64 frames"),
    Assumption("augmentation", "mel_masks", "SpecAugment [11]", (1,), "inputs", "PANNs: two of below M / 8 bins"),
    Assumption("augmentation", "mask_fraction", "SpecAugment [11]", (0.25,), "inputs", "64 of 512 frames, M / 8 bins"),
    Assumption("augmentation", "mask_fill", "SpecAugment [11]", ("zero",), "inputs",
               "PANNs: 0 after the first batch norm"),
    Assumption("training", "schedule_epochs", "one-cycle; about 400 epochs, max 500", (400,), "rate",
               "the cycle ends with the longest training"),
    Assumption("training", "cycle_momentum", "AdamW with standard parameters", (True,), "momentum",
               "AdamW's own beta1 is constant; PyTorch's OneCycleLR cycles it unless told not to"),
    Assumption("training", "selection", "early stopping", ("test", "none"), "rows",
               "a part held out by location; choosing on the test fold would be optimistic"),
    Assumption("training", "validation_fraction", "early stopping", (0.25,), "rows",
               "no part is mentioned; as much as a fold"),
    Assumption("training", "watch", "early stopping", ("accuracy",), "epochs",
               "the report ranks its models by log loss"),
    Assumption("training", "patience", "early stopping, max epochs of 500", (1, None), "epochs",
               '"about 400" of 500'),
    Assumption("training", "ema_warmup", "moving average, decay rate of 0.999", (False,), "average",
               "without it short runs report the random start"),
    Assumption("training", "ema_buffers", "moving average of models parameters", (False,), "average",
               "averaged weights go with averaged statistics"),
    Assumption("training", "float16", "weights are converted to float16 format", ("arithmetic",), "probabilities",
               "converted weights; what they are computed in is not told"),
)  # fmt: skip


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
