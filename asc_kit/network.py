"""Table 1 as a list of rows, the network built from it, and the 2021 baseline [18]."""

from dataclasses import dataclass

import torch
from torch import nn

from asc_kit.blocks import FusedMBConv4, MBConv4
from asc_kit.config import Features

BLOCKS = {"Fused-MBConv4": FusedMBConv4, "MBConv4": MBConv4}


@dataclass(frozen=True)
class Row:
    """A row of Table 1; the stride is that of the first of ``repeats`` blocks, time x frequency."""

    block: str
    repeats: int
    stride: tuple[int, int]
    kernel: tuple[int, int]
    channels: int


TABLE_1 = (
    Row("Conv2d", 1, (1, 1), (5, 3), 6),
    Row("Fused-MBConv4", 2, (2, 2), (3, 3), 12),
    Row("MBConv4", 3, (2, 1), (3, 3), 18),
    Row("MBConv4", 3, (2, 2), (3, 3), 24),
    Row("MBConv4", 2, (2, 2), (3, 3), 30),
    Row("Conv2d", 1, (1, 1), (1, 1), 100),
)


class Network(nn.Module):
    """Section 2.3: batch norm per mel bin, stem, inverted bottleneck blocks, head, max + mean pooling, classifier.

    Parameters
    ----------
    n_mels : mel bins M; the only part of the network that depends on it is the first batch norm
    n_classes : outputs
    rows : Table 1; its first row is the stem, its last the head
    axis_order : "frequency_time" reads kernels and strides the other way round
    """

    def __init__(
        self, n_mels: int, n_classes: int, rows: tuple[Row, ...] = TABLE_1, axis_order: str = "time_frequency"
    ):
        super().__init__()
        self.axis_order = axis_order
        stem, *middle, head = rows
        self.norm = nn.BatchNorm1d(n_mels)
        padding = (stem.kernel[0] // 2, stem.kernel[1] // 2)
        self.stem = nn.Conv2d(1, stem.channels, stem.kernel, stem.stride, padding)
        self.stem_norm = nn.BatchNorm2d(stem.channels)
        channels, blocks = stem.channels, []
        for row in middle:
            for i in range(row.repeats):
                stride = row.stride if i == 0 else (1, 1)
                blocks.append(BLOCKS[row.block](channels, row.channels, stride, row.kernel))
                channels = row.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(channels, head.channels, head.kernel, head.stride)
        self.head_norm = nn.BatchNorm2d(head.channels)
        self.classifier = nn.Linear(head.channels, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel features to logits, for any number of frames.

        Parameters
        ----------
        x : (batch, 1, time, mel)

        Returns
        -------
        (batch, classes)
        """
        x = self.norm(x.squeeze(1).transpose(1, 2))  # batch, mel, time
        x = x[:, None] if self.axis_order == "frequency_time" else x.transpose(1, 2)[:, None]  # batch, 1, time, mel
        x = nn.functional.silu(self.stem_norm(self.stem(x)))  # batch, 6, time, mel
        x = self.blocks(x)  # batch, 30, time / 16, mel / 8
        x = nn.functional.silu(self.head_norm(self.head(x)))  # batch, 100, time / 16, mel / 8
        x = x.amax((2, 3)) + x.mean((2, 3))  # batch, 100
        return self.classifier(x)


class Baseline(nn.Module):
    """The DCASE 2021 Task 1A baseline [18]: three 7x7 convolutions, 46,246 numbers with the running statistics.

    Its features are z-normalised with the training fold's statistics, held in ``mean`` and ``deviation``. Its last
    pooling, (4, 100) for 500 frames, takes what time is left.
    """

    def __init__(self, n_mels: int, n_classes: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("deviation", torch.ones(n_mels))
        keras = {"eps": 1e-3, "momentum": 0.01}  # Keras' defaults; its momentum of 0.99 is torch's 0.01
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 7, padding=3), nn.BatchNorm2d(16, **keras)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 7, padding=3), nn.BatchNorm2d(16, **keras)
        self.conv3, self.norm3 = nn.Conv2d(16, 32, 7, padding=3), nn.BatchNorm2d(32, **keras)
        self.dropout = nn.Dropout(0.3)
        self.dense = nn.Linear(32 * (n_mels // 5 // 4), 100)
        self.classifier = nn.Linear(100, n_classes)
        for layer in (self.conv1, self.conv2, self.conv3):  # Keras' glorot_uniform
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.dense, self.classifier):  # Keras' uniform
            nn.init.uniform_(layer.weight, -0.05, 0.05)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, mel) to (batch, classes)."""
        x = ((x - self.mean) / self.deviation).transpose(2, 3)  # batch, 1, mel, time
        x = nn.functional.relu(self.norm1(self.conv1(x)))  # batch, 16, mel, time
        x = nn.functional.relu(self.norm2(self.conv2(x)))
        x = self.dropout(nn.functional.max_pool2d(x, 5, ceil_mode=x.shape[3] < 5))  # batch, 16, mel / 5, time / 5
        x = nn.functional.relu(self.norm3(self.conv3(x)))  # batch, 32, mel / 5, time / 5
        x = nn.functional.max_pool2d(x, (4, x.shape[3]))  # batch, 32, mel / 20, 1
        x = self.dropout(x).flatten(1)
        return self.classifier(self.dropout(nn.functional.relu(self.dense(x))))


def build(submission: str, features: Features, n_classes: int) -> nn.Module:
    """The network of a submission, randomly initialised from torch's global generator."""
    if submission == "baseline":
        return Baseline(features.n_mels, n_classes)
    return Network(features.n_mels, n_classes, axis_order=features.axis_order)
