"""What VGG19 sees in pictures up to its fifth convolution, and the difference of pictures in it. Imports torch.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1, column
E; parameters are called as in the usual files of ImageNet weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

SHARES = (1 / 32, 1 / 16, 1 / 8)
"""Weights of the three depths."""

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of the pictures of ImageNet, 0 to 1, that the weights were trained on."""

_ENDS = (2, 7, 12)
"""Where the layers end that make each of the three."""


class VGGFeatures(NamedTuple):
    """What the first convolution of each of three blocks gives for pictures (N, 3, H, W), never negative.

    Parameters
    ----------
    first : (N, 64, H, W)
    second : (N, 128, H // 2, W // 2)
    third : (N, 256, H // 4, W // 4)
    """

    first: torch.Tensor
    second: torch.Tensor
    third: torch.Tensor


class VGG(nn.Module):
    """The first five convolutions of VGG19, which are not trained; random until weights are loaded."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        taken = 3
        for given in (64, 64, 0, 128, 128, 0, 256):
            layers += [nn.Conv2d(taken, given, 3, padding=1), nn.ReLU()] if given else [nn.MaxPool2d(2)]
            taken = given or taken
        self.features = nn.Sequential(*layers)
        self.requires_grad_(False)

    def forward(self, pictures: torch.Tensor) -> VGGFeatures:
        """Return the features of pictures (N, 3, H, W) of at least 4 x 4 pixels."""
        made: list[torch.Tensor] = []
        for start, end in zip((0, *_ENDS), _ENDS, strict=False):
            pictures = self.features[start:end](pictures)
            made.append(pictures)
        return VGGFeatures(*made)


class PerceptualLoss(nn.Module):
    """Mean absolute differences of what VGG19 sees in two pictures, at three depths, weighed 1/32, 1/16 and 1/8.

    Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016, section 3.2.

    Parameters
    ----------
    network : VGG
    normalise : bool
        Bring pictures to the mean and deviation that the weights were trained with. The code that goes around for
        relighting does not.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, network: VGG, *, normalise: bool = False) -> None:
        super().__init__()
        self.network = network
        self.normalise = normalise
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of pictures (N, 3, H, W), 0 to 1: a scalar, without gradient to the target."""
        seen = self._see(output)
        with torch.no_grad():
            wanted = self._see(target)
        terms = [
            share * functional.l1_loss(mine, theirs) for share, mine, theirs in zip(SHARES, seen, wanted, strict=True)
        ]
        return torch.stack(terms).sum()

    def _see(self, pictures: torch.Tensor) -> VGGFeatures:
        return self.network((pictures - self.mean) / self.deviation if self.normalise else pictures)
