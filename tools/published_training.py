"""A training step of MuLUT in the form in which it was published, to measure lutkit's against.

Written from the description of ddlee-cn/MuLUT: patches are unfolded, every patch is an image of its own for a 2 x 2,
dilated or 1 x 4 convolution, and 1 x 1 convolutions on 1 x 1 images follow; float32 and torch's own Adam. Imports
torch and nothing of lutkit, whose memory settings must not help it.

Run as a script it takes one step for every line on stdin and prints the seconds that it took.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

WIDTH, SCALE = 64, 4
BATCH, CROP = 8, 48
WINDOW = {"s": 2, "d": 3, "y": 3}
"""Side of the square that a pattern's samples lie in."""


class DenseConvolutions(nn.Module):
    """The network of a pattern on patches (M, 1, k, k); returns (M, outputs, 1, 1) in [-1, 1]."""

    def __init__(self, first: nn.Conv2d, outputs: int) -> None:
        super().__init__()
        self.first = first
        self.hidden = nn.ModuleList(nn.Conv2d(WIDTH * depth, WIDTH, 1) for depth in range(1, 5))
        self.last = nn.Conv2d(WIDTH * 5, outputs, 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Run the layers, each on the concatenation of all before."""
        features = torch.relu(self.first(patches))
        for layer in self.hidden:
            features = torch.cat((features, torch.relu(layer(features))), dim=1)
        return torch.tanh(self.last(features))


class PatternUnit(nn.Module):
    """One pattern under one turn: pad, unfold, run the network on every patch, fold."""

    def __init__(self, pattern: str, scale: int) -> None:
        super().__init__()
        self.pattern, self.scale = pattern, scale
        first = {
            "s": lambda: nn.Conv2d(1, WIDTH, 2),
            "d": lambda: nn.Conv2d(1, WIDTH, 2, dilation=2),
            "y": lambda: nn.Conv2d(1, WIDTH, (1, 4)),
        }[pattern]()
        self.network = DenseConvolutions(first, scale * scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 1, H, W) to (N, 1, H * scale, W * scale) in [-1, 1]."""
        count, _, height, width = images.shape
        side = WINDOW[self.pattern]
        padded = functional.pad(images, (0, side - 1, 0, side - 1), mode="replicate")
        patches = functional.unfold(padded, side).transpose(1, 2).reshape(-1, 1, side, side)
        if self.pattern == "y":
            corners = [patches[:, :, row, column] for row, column in ((0, 0), (1, 1), (1, 2), (2, 1))]
            patches = torch.stack(corners, dim=-1).reshape(-1, 1, 1, 4)
        blocks = functional.pixel_shuffle(self.network(patches), self.scale)
        columns = blocks.reshape(count, height * width, -1).transpose(1, 2)
        return functional.fold(columns, (height * self.scale, width * self.scale), self.scale, stride=self.scale)


class RoundStraight(torch.autograd.Function):
    """Round; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        """Round."""
        return values.round()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Pass on."""
        return gradients[0]


class PublishedMulut(nn.Module):
    """Two stages of the patterns s, d and y under four turns, every turn rounded by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.ModuleList(PatternUnit(name, scale) for name in WINDOW) for scale in (1, SCALE))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 1, H, W) in [0, 1] to (N, 1, H * 4, W * 4); the last stage is not clamped."""
        inner, last = self.stages
        codes = RoundStraight.apply((self._sum_turns(inner, images) / 12 + 127).clamp(0, 255)) / 255
        return RoundStraight.apply(self._sum_turns(last, codes) / 3) / 255

    def _sum_turns(self, units: nn.Module, images: torch.Tensor) -> torch.Tensor:
        total: Any = 0
        for unit in units.children():
            for turns in range(4):
                result = unit(torch.rot90(images, turns, (2, 3)))
                total = total + RoundStraight.apply(torch.rot90(result, -turns, (2, 3)) * 127)
        return total


def serve() -> None:
    """Answer every line on stdin with the seconds of one training step."""
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    model = PublishedMulut()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = torch.randint(0, 256, (BATCH, 1, CROP, CROP)).float() / 255
    targets = torch.rand(BATCH, 1, CROP * SCALE, CROP * SCALE)
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = functional.mse_loss(model(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    serve()
