"""Networks of a few samples that fill the slots of spatial-LUT programs. Imports torch only."""

from __future__ import annotations

import torch
from torch import nn


class DenseBlock(nn.Module):
    """Densely connected linear layers with a final tanh (Li et al., ECCV 2022, section 4.1).

    Every hidden layer sees the concatenation of all earlier features: inputs of width, 2 width, 3 width, 4 width.

    Parameters
    ----------
    samples, outputs : int
        Inputs (codes / 255) and outputs (in [-1, 1]).
    width : int
        Features that each layer adds; 64 as published.
    """

    def __init__(self, samples: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.enter = nn.Linear(samples, width)
        self.hidden = nn.ModuleList(nn.Linear(width * depth, width) for depth in range(1, 5))
        self.leave = nn.Linear(width * 5, outputs)
        initialise(self)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Map samples (M, samples) in [0, 1] to outputs (M, outputs) in [-1, 1]."""
        features = torch.relu(self.enter(samples))
        for layer in self.hidden:
            features = torch.cat((features, torch.relu(layer(features))), dim=1)
        return torch.tanh(self.leave(features))


class PlainBlock(nn.Module):
    """A stack of linear layers without a final activation (Jo and Kim, CVPR 2021, section 3.1)."""

    def __init__(self, samples: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.enter = nn.Linear(samples, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.leave = nn.Linear(width, outputs)
        initialise(self)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Map samples (M, samples) in [0, 1] to outputs (M, outputs), clamped to [-1, 1] by the quantiser."""
        features = torch.relu(self.enter(samples))
        for layer in self.hidden:
            features = torch.relu(layer(features))
        return self.leave(features)


def initialise(module: nn.Module) -> None:
    """Draw every linear weight from Kaiming's normal distribution and set biases to zero, as both papers' code does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
