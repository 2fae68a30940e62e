"""The network of relighting: two pictures and their depths to the first picture in the light of the second. Imports torch.

Yang et al., "S3Net: A Single Stream Structure for Depth Guided Image Relighting", CVPR workshops 2021 (NTIRE), section 3;
layer by layer as the released code has it, which differs from the paper's figure.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lutkit.relighting.res2net import DEPTHS, Res2Net

MULTIPLE = 32
"""Sides of pictures must be multiples of this: the largest window that the last features are averaged over."""

WINDOWS = (32, 16, 8, 4)
"""Sides of the windows that features are averaged over before the last convolution, in pixels."""

WIDTH = 64
CHANNELS = 8
"""Image, guide, depth and depth of the guide: 3 + 3 + 1 + 1."""

WIDTH_STEP = 16
"""Widths are multiples of this: the features are spread over four times as many pixels four times."""

_REDUCTION = 8


class ChannelAttention(nn.Module):
    """Weighs the channels of features by what they are on average; 0 to 1.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.weights = nn.Sequential(
            nn.Conv2d(channels, channels // _REDUCTION, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // _REDUCTION, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (N, C, H, W), weighed."""
        return features * self.weights(self.pool(features))


class PixelAttention(nn.Module):
    """Weighs the pixels of features by what they hold; 0 to 1.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.Conv2d(channels, channels // _REDUCTION, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // _REDUCTION, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (N, C, H, W), weighed."""
        return features * self.weights(features)


class DecoderBlock(nn.Module):
    """Two convolutions with a shortcut each, and attention to channels and to pixels: (N, C, H, W) to the same.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.channels = ChannelAttention(channels)
        self.pixels = PixelAttention(channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        turned = self.second(functional.relu(self.first(features)) + features)
        return self.pixels(self.channels(turned)) + features


class Enhancer(nn.Module):
    """Joins features with their averages over windows of four sizes: (N, C, H, W) to the same, -1 to 1.

    Parameters
    ----------
    channels : int
        Published: 28.
    inner : int
        Between the convolutions; published: 20.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, inner, 3, padding=1)
        self.second = nn.Conv2d(inner, inner, 3, padding=1)
        self.averages = nn.ModuleList(nn.Conv2d(inner, 1, 1) for _ in WINDOWS)
        self.last = nn.Conv2d(inner + len(WINDOWS), channels, 3, padding=1)
        # the published network has this layer, and never runs it
        self.unused = nn.InstanceNorm2d(5 * inner, affine=True).requires_grad_(False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape; sides must be multiples of 32."""
        inner = functional.leaky_relu(self.first(features), 0.2)
        inner = functional.leaky_relu(self.second(inner), 0.2)
        joined: list[torch.Tensor] = []
        for window, convolution in zip(WINDOWS, self.averages, strict=True):
            average = functional.leaky_relu(convolution(functional.avg_pool2d(inner, window)), 0.2)
            joined.append(functional.interpolate(average, scale_factor=float(window), mode="nearest"))
        return torch.tanh(self.last(torch.cat((*joined, inner), dim=1)))


class RelightingNetwork(nn.Module):
    """S3Net: (N, 8, H, W) of 0 to 1 to pictures (N, 3, H, W) of -1 to 1; 49 353 370 parameters as published.

    The channels are the image's, those of the guide (a picture in the light that is wanted), the image's depth and the
    guide's. What is below 0 in the result counts as black.

    Parameters
    ----------
    depths : sequence of three int
        Blocks of the encoder's stages; published: 3, 4, 23.
    width : int
        A multiple of 16; published: 64. All channels between input and output are in proportion to it.
    channels : int
        Of the input; published: 8.

    Raises
    ------
    ValueError
        Where the width is no multiple of 16.
    """

    def __init__(self, depths: Sequence[int] = DEPTHS, width: int = WIDTH, channels: int = CHANNELS) -> None:
        super().__init__()
        if width < WIDTH_STEP or width % WIDTH_STEP:
            raise ValueError(f"a width of {width} is no multiple of {WIDTH_STEP}; the published one is {WIDTH}")
        self.encoder = Res2Net(depths, width, channels)
        self.decoder_sixteenth = DecoderBlock(16 * width)
        self.decoder_eighth = DecoderBlock(4 * width)
        self.decoder_quarter = DecoderBlock(3 * width)
        self.spread = nn.PixelShuffle(2)
        full = 7 * width // 16
        self.enhancer = Enhancer(full, inner=5 * width // 16)
        self.tail = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(full, 3, 7), nn.Tanh())

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return (N, 3, H, W), -1 to 1, for (N, channels, H, W), 0 to 1.

        Raises ValueError where a side is no multiple of 32; `relight` takes any size.
        """
        height, width = pictures.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(f"pictures of {width}x{height} pixels: sides must be multiples of {MULTIPLE}")
        quarter, eighth, sixteenth = self.encoder(pictures)
        features = self.decoder_eighth(self.spread(self.decoder_sixteenth(sixteenth)))
        features = self.decoder_quarter(self.spread(torch.cat((features, eighth), dim=1)))
        features = self.spread(self.spread(torch.cat((features, quarter), dim=1)))
        return self.tail(self.enhancer(features))

    def relight(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return what `forward` makes of pictures of any size, extended by their last row and column, and cropped."""
        height, width = pictures.shape[-2:]
        return crop_to_size(self(pad_to_multiple(pictures)), height, width)


def pad_to_multiple(pictures: torch.Tensor, multiple: int = MULTIPLE) -> torch.Tensor:
    """Return pictures (N, C, H, W) extended by their last row and column to sides that are multiples of a number."""
    height, width = pictures.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return pictures
    return functional.pad(pictures, (0, right, 0, below), mode="replicate")


def crop_to_size(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the first rows and columns of pictures (N, C, H, W); a view."""
    return pictures[..., :height, :width]
