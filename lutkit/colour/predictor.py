"""Networks that look at a thumbnail: the weight predictors of image-adaptive 3D LUTs, and their discriminator.

Imports torch. Zeng et al., "Learning Image-Adaptive 3D Lookup Tables for High Performance Photo Enhancement in
Real-Time", TPAMI 2020, section 3.2; layer by layer as released in HuiZeng/Image-Adaptive-3DLUT.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lutkit.onnx_export import export_network

THUMBNAIL_SIDE = 256
WIDTHS = (16, 32, 64, 128, 128)
"""Channels after each of the five convolutions of stride 2."""

_LAST_KERNEL = THUMBNAIL_SIDE // 2 ** len(WIDTHS)


class BatchDropout(nn.Dropout):
    """Dropout that draws for a whole batch where it is given a part of one, so that parts are dropped as the whole is.

    Attributes
    ----------
    batch : int
        Samples of the whole batch; 0 where what is given is all there is.
    part : slice
        Which of them are given.
    """

    batch = 0
    part = slice(None)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop some values of (N, ...) and scale the others up, while training."""
        if not self.training or not self.batch:
            return super().forward(input)
        return input * super().forward(input.new_ones(self.batch, *input.shape[1:]))[self.part]


def divide_dropout(network: nn.Module, batch: int, part: slice) -> None:
    """Tell every dropout of a network which part of a batch of how many samples it will be given."""
    for layer in network.modules():
        if isinstance(layer, BatchDropout):
            layer.batch, layer.part = batch, part


class ThumbnailNetwork(nn.Module):
    """Five convolutions of stride 2 with LeakyReLU, then one that covers what is left: (N, 3, 256, 256) to (N, outputs).

    Parameters
    ----------
    outputs : int
    normalised : sequence of int
        After which of the five convolutions an affine instance normalisation follows.
    dropout : float
        Before the last convolution, while training.
    pooled : bool
        Average what is left over the picture before the last convolution, instead of giving every place its own weight.
    """

    def __init__(self, outputs: int, normalised: Sequence[int], dropout: float = 0.0, *, pooled: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for number, width in enumerate(WIDTHS):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
            if number in normalised:
                layers.append(nn.InstanceNorm2d(width, affine=True))
            channels = width
        if pooled:
            layers.append(nn.AdaptiveAvgPool2d(1))
        if dropout:
            layers.append(BatchDropout(dropout))
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels, outputs, 1 if pooled else _LAST_KERNEL)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier-normal convolutions; normalisation weights around 1; the released code's choice."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_normal_(layer.weight)
            elif isinstance(layer, nn.InstanceNorm2d):
                nn.init.normal_(layer.weight, 1.0, 0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, thumbnails: torch.Tensor) -> torch.Tensor:
        """Return (N, outputs) for thumbnails (N, 3, 256, 256) float32, 0 to 1."""
        return self.last(self.layers(thumbnails)).flatten(1)


def make_predictor(outputs: int, *, paired: bool, dropout: float = 0.5, spread: float = 1.0) -> ThumbnailNetwork:
    """Return a weight predictor.

    Parameters
    ----------
    outputs : int
        Number of basis tables.
    paired : bool
        Which of the two published networks; dropout belongs to the one for pairs.
    dropout : float
        Published: 0.5.
    spread : float
        Scale of the last layer's first weights. With the published 1 the weights of different pictures differ by more
        than 1 in the beginning; near 0 every weight starts at 1, which is the identity.
    """
    network = ThumbnailNetwork(outputs, (0, 1, 2, 3) if paired else (0,), dropout=dropout if paired else 0.0)
    network.last.bias = nn.Parameter(torch.ones(outputs))
    network.last.weight.data.mul_(spread)
    return network


def make_pooled_predictor(outputs: int, *, dropout: float = 0.0, spread: float = 1.0) -> ThumbnailNetwork:
    """Return a predictor of our own: no normalisation, which hides how bright a picture is, and an average at the end.

    It has half the parameters of the published ones and stands learning rates ten times as high: their last layer sums
    8192 values, so that one step of Adam moves every weight of a picture far.
    """
    network = ThumbnailNetwork(outputs, (), dropout=dropout, pooled=True)
    network.last.bias = nn.Parameter(torch.ones(outputs))
    network.last.weight.data.mul_(spread)
    return network


def make_discriminator() -> ThumbnailNetwork:
    """Return the critic of unpaired training: the unpaired predictor with one output."""
    return ThumbnailNetwork(1, (0,))


def shrink(pictures: torch.Tensor, side: int = THUMBNAIL_SIDE) -> torch.Tensor:
    """Return pictures (N, 3, H, W) sampled to (N, 3, side, side): bilinear, half-pixel positions, no filter."""
    return nn.functional.interpolate(pictures, size=(side, side), mode="bilinear", align_corners=False)


def export_onnx(network: nn.Module, side: int = THUMBNAIL_SIDE) -> NDArray[np.uint8]:
    """Return a network of (1, 3, side, side) thumbnails as the bytes of an ONNX file, (bytes, 1) uint8.

    The file holds nothing but what `lutkit apply` understands.

    Raises
    ------
    DataError
        Where the packages that write ONNX files are missing.
    ArtefactError
        Where the network has layers that the runtime does not know.
    """
    return export_network(network, (1, 3, side, side), "thumbnail", "values")
