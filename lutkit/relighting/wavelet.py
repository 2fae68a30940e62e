"""Similarity of pictures and of their wavelet bands: the loss that relighting weighs most. Imports torch.

Yang et al., "Y-net: Multi-Scale Feature Aggregation Network with Wavelet Structure Similarity Loss Function for Single
Image Dehazing", ICASSP 2020, section 2.2; constants as in dectrfov/Y-net (Apache-2.0).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

LEVELS = 2
RATIO = 0.7
"""Share of each side of the spectrum that the low band counts with, at each level."""

BEST = -2.0
"""The loss of equal pictures with two levels."""

_WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


class Bands(NamedTuple):
    """One level of a Haar transform of pictures (N, C, H, W).

    Parameters
    ----------
    low : (N, C, H / 2, W / 2)
        Twice the averages of 2 x 2 pixels.
    middle : (N, 2 C, H / 2, W / 2)
        What changes along one axis.
    high : (N, C, H / 2, W / 2)
        What changes along both.
    """

    low: torch.Tensor
    middle: torch.Tensor
    high: torch.Tensor


def split_bands(pictures: torch.Tensor) -> Bands:
    """Return one level of the orthonormal Haar transform of pictures (N, C, H, W) with even sides."""
    upper, lower = pictures[..., 0::2, :], pictures[..., 1::2, :]
    sums, differences = (upper + lower) / 2, (upper - lower) / 2
    low, across = sums[..., 0::2] + sums[..., 1::2], sums[..., 0::2] - sums[..., 1::2]
    down, high = differences[..., 0::2] + differences[..., 1::2], differences[..., 0::2] - differences[..., 1::2]
    return Bands(low, torch.cat((across, down), dim=1), high)


def measure_similarity(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the mean structural similarity of pictures (N, C, H, W), -1 to 1: a scalar.

    Gaussian window of 11 x 11 pixels with sigma 1.5 over pictures extended by zeros, constants of a range of 1 (Wang et
    al., IEEE TIP 13(4), 2004, section III), whatever the range.
    """
    planes = torch.stack((first, second, first * first, second * second, first * second))
    mean_first, mean_second, first_squared, second_squared, product = _average_windows(planes)
    squares = mean_first * mean_first + mean_second * mean_second
    luminance = (2 * mean_first * mean_second + _C1) / (squares + _C1)
    covariance = product - mean_first * mean_second
    structure = (2 * covariance + _C2) / (first_squared + second_squared - squares + _C2)
    return (luminance * structure).mean()


def _average_windows(planes: torch.Tensor) -> torch.Tensor:
    """Average planes (..., H, W) under the Gaussian window, one axis after the other; zeros lie around them."""
    places = torch.arange(_WINDOW, dtype=planes.dtype, device=planes.device) - _WINDOW // 2
    window = torch.softmax(-places * places / (2 * _SIGMA * _SIGMA), dim=0)
    one_by_one = planes.reshape(-1, 1, *planes.shape[-2:])
    rows = functional.conv2d(one_by_one, window.view(1, 1, 1, -1), padding=(0, _WINDOW // 2))
    return functional.conv2d(rows, window.view(1, 1, -1, 1), padding=(_WINDOW // 2, 0)).view(planes.shape)


def wavelet_loss(
    output: torch.Tensor, target: torch.Tensor, levels: int = LEVELS, ratio: float = RATIO
) -> torch.Tensor:
    """Return minus the similarity of pictures and, weighed, of their wavelet bands; -2 for equal pictures: a scalar.

    The shares of the bands follow the spectrum that they cover: from what the low band of a level before has, it keeps
    ratio squared, each of both middle bands gets ratio (1 - ratio), and the high band (1 - ratio) squared.

    Parameters
    ----------
    output, target : (N, C, H, W), 0 to 1
    levels : int
        Published: 2.
    ratio : float
        Published: 0.7.

    Raises
    ------
    ValueError
        Where the shapes differ or the sides are no multiples of 2 to the power of `levels`.
    """
    step = 2**levels
    if output.shape != target.shape or output.ndim != 4 or output.shape[-2] % step or output.shape[-1] % step:
        raise ValueError(
            f"pictures {tuple(output.shape)} and {tuple(target.shape)} are not (N, C, H, W) of one shape with sides that "
            f"are multiples of {step}"
        )
    loss = -measure_similarity(output, target)
    kept = 1.0
    for _ in range(levels):
        mine, theirs = split_bands(output), split_bands(target)
        loss = loss - 2 * kept * ratio * (1 - ratio) * measure_similarity(mine.middle, theirs.middle)
        loss = loss - kept * (1 - ratio) ** 2 * measure_similarity(mine.high, theirs.high)
        output, target = mine.low, theirs.low
        kept *= ratio * ratio
    return loss - kept * measure_similarity(output, target)
