"""Low-complexity acoustic scene classification (DCASE 2021 Task 1A), reproduced.

    from asc_kit import Features, LogMel, Network, load_model, score_recording

    model = load_model("results/tut2017_full/submission_4/seed_0/model.safetensors")
    scored = score_recording(model, "recording.wav")  # any format, rate and length
    print(model.classes[scored.probabilities.argmax()], scored.probabilities.max())

    log_mel = LogMel(Features(n_mels=160))  # (batch, samples) to (batch, 1, time, mel)
    logits = Network(160, n_classes=10)(log_mel(waveforms))  # (batch, classes)

The report's parts: `features` (Section 2.1), `augmentations` (2.2), `blocks` and `network` (2.3), `trainer` (3.1),
`metrics` (3.2). Numbers in brackets, such as [5], stand in docs/references.md.
"""

from importlib import import_module
from typing import Any

_NAMES = {"Features": "config", "Augmentation": "config", "Training": "config", "LogMel": "features", "Mixup":
          "augmentations", "SpecAugment": "augmentations", "TemporalCrop": "augmentations", "FusedMBConv4": "blocks",
          "MBConv4": "blocks", "Network": "network", "Trainer": "trainer"}  # fmt: skip
_RENAMED = {"load_model": ("deploy.compact", "load"), "score_recording": ("deploy.recordings", "score"),
            "Stream": ("deploy.stream", "Stream")}  # fmt: skip
__all__ = [*_NAMES, *_RENAMED]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a recipe is read without torch."""
    module, own = _RENAMED.get(name, (_NAMES.get(name), name))
    if module is None:
        raise AttributeError(f"module 'asc_kit' has no attribute {name!r}")
    return getattr(import_module(f"asc_kit.{module}"), own)
