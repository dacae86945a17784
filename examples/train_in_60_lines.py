"""From waves to a score with the library's pieces alone: waves -> features -> network -> training -> score.

    python examples/train_in_60_lines.py        # a minute; on the SYNTHETIC corpus of the demo

Nothing here knows of recipes, runs or notebooks. `asc_kit.run.experiment` adds what long trainings need: decoded audio
on disk, checkpoints, validation.
"""

from collections.abc import Iterator

import soundfile
import torch

from asc_kit import config, metrics
from asc_kit.augmentations import Mixup, SpecAugment, TemporalCrop
from asc_kit.config import Augmentation, Features, Training, generator
from asc_kit.data import corpus, demo
from asc_kit.features import LogMel
from asc_kit.network import Network
from asc_kit.trainer import Trainer

CLIPS = demo.Demo(seconds=1.0, locations=2, segments=2, evaluation_locations=2)
features = Features(n_mels=32)
augmentation = Augmentation(crop_seconds=0.8)
training = Training(epochs=12, batch_size=16, ema_decay=0.9)

# waves: a data set in the DCASE layout, and its first fold
data = corpus.read(demo.build(config.cache() / "example", CLIPS))
(waves, labels), (test_waves, test_labels) = [
    (torch.stack([torch.from_numpy(soundfile.read(data.root / name, dtype="float32")[0]) for name in rows.filename]),
     torch.tensor([data.classes.index(label) for label in rows.scene_label]))
    for rows in data.split(1, 5)
]  # (clips, samples), (clips,)  # fmt: skip

log_mel = LogMel(features)
crop = TemporalCrop(round(augmentation.crop_seconds * features.sample_rate))
mixup, masks = Mixup(augmentation, features.sample_rate), SpecAugment(augmentation)
one_hot = torch.eye(len(data.classes))[labels]


def batches(epoch: int, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """An epoch's (batch, 1, time, mel) features and (batch, classes) soft labels (Section 2.2)."""
    draw = generator(0, epoch)
    for chosen in torch.randperm(len(waves), generator=draw).split(training.batch_size)[first:]:
        mixed, soft = mixup(crop(waves[chosen], draw), one_hot[chosen], draw)
        yield masks(log_mel(mixed), draw), soft


torch.manual_seed(0)
network = Network(features.n_mels, len(data.classes))
trainer = Trainer(network, training, seed=0, steps=-(-len(waves) // training.batch_size))
trained = trainer.fit(batches)

with torch.inference_mode():
    probabilities = metrics.softmax(trained(log_mel(test_waves)).numpy())
print(f"SYNTHETIC clips, {len(waves)} to train on, {len(test_waves)} scored, {len(data.classes)} classes")
print(f"loss of the last epoch {trainer.state.history[-1]['loss']:.3f}")
print(f"accuracy {metrics.accuracy(probabilities, test_labels.numpy()):.3f}, "
      f"log loss {metrics.log_loss(probabilities, test_labels.numpy()):.3f}")  # fmt: skip
