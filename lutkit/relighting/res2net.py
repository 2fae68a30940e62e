"""The encoder of relighting: Res2Net-101 v1b without its last stage and its classifier. Imports torch.

Gao et al., "Res2Net: A New Multi-Scale Backbone Architecture", TPAMI 2021, section 3; parameters are called as in the
files of ImageNet weights of that network (26 channels times 4 scales).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

SCALES = 4
"""Groups that the channels of a block are split into."""

EXPANSION = 4
"""Channels that a block gives, in units of its planes."""

DEPTHS = (3, 4, 23)
"""Blocks of each stage, as published."""


class Stages(NamedTuple):
    """What the three stages make of pictures (N, channels, H, W); channels at the published width.

    Parameters
    ----------
    quarter : (N, 256, H / 4, W / 4)
    eighth : (N, 512, H / 8, W / 8)
    sixteenth : (N, 1024, H / 16, W / 16)
    """

    quarter: torch.Tensor
    eighth: torch.Tensor
    sixteenth: torch.Tensor


class Res2NetBlock(nn.Module):
    """A residual block whose middle convolution is one for each of four groups of channels, the last of which passes.

    Parameters
    ----------
    taken : int
        Channels that it reads; it gives four times `planes`.
    planes : int
    stride : int
    begins : bool
        Whether it is the first of a stage: then the groups do not feed each other, the last one is averaged over 3 x 3,
        and the shortcut is a convolution of the averages over `stride` pixels.
    """

    def __init__(self, taken: int, planes: int, stride: int = 1, *, begins: bool) -> None:
        super().__init__()
        width = planes * 26 // 64
        given = planes * EXPANSION
        self.conv1 = nn.Conv2d(taken, width * SCALES, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * SCALES)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False) for _ in range(SCALES - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(SCALES - 1))
        self.conv3 = nn.Conv2d(width * SCALES, given, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(given)
        self.relu = nn.ReLU(inplace=True)
        self.width = width
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1) if begins else None
        self.downsample = _make_shortcut(taken, given, stride) if begins else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N, 4 planes, H / stride, W / stride) for (N, taken, H, W)."""
        groups = torch.split(self.relu(self.bn1(self.conv1(features))), self.width, dim=1)
        made: list[torch.Tensor] = []
        for convolution, norm, group in zip(self.convs, self.bns, groups, strict=False):
            summed = made[-1] + group if made and self.pool is None else group
            made.append(self.relu(norm(convolution(summed))))
        made.append(groups[-1] if self.pool is None else self.pool(groups[-1]))
        kept = features if self.downsample is None else self.downsample(features)
        return self.relu(self.bn3(self.conv3(torch.cat(made, dim=1))) + kept)


def _make_shortcut(taken: int, given: int, stride: int) -> nn.Sequential:
    # sides are even wherever the stride is 2, so no average is taken over a part of its window
    pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, nn.Conv2d(taken, given, 1, bias=False), nn.BatchNorm2d(given))


class Res2Net(nn.Module):
    """Stem and three stages: (N, channels, H, W) to features of a quarter, an eighth and a sixteenth of the sides.

    28 180 056 parameters at the published size with 8 channels.

    Parameters
    ----------
    depths : sequence of three int
        Blocks of each stage.
    width : int
        Channels after the stem, a multiple of 16; published: 64. All other channels are in proportion to it.
    channels : int
        Of what it reads.
    """

    def __init__(self, depths: Sequence[int] = DEPTHS, width: int = 64, channels: int = 8) -> None:
        super().__init__()
        self.channels = channels
        half = width // 2
        self.conv1 = nn.Sequential(
            nn.Conv2d(channels, half, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, width, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        first, second, third = depths
        self.layer1 = _make_stage(width, width, first, stride=1)
        self.layer2 = _make_stage(EXPANSION * width, 2 * width, second, stride=2)
        self.layer3 = _make_stage(2 * EXPANSION * width, 4 * width, third, stride=2)
        self._initialise()

    def _initialise(self) -> None:
        """He et al.'s normal distribution by what a convolution gives, as the published network was begun."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pictures: torch.Tensor) -> Stages:
        """Return the features of three stages; sides must be multiples of 16."""
        quarter = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(pictures)))))
        eighth = self.layer2(quarter)
        return Stages(quarter, eighth, self.layer3(eighth))


def _make_stage(taken: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = Res2NetBlock(taken, planes, stride, begins=True)
    others = (Res2NetBlock(EXPANSION * planes, planes, begins=False) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)
