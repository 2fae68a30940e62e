"""How much two colour LUTs differ. Imports NumPy, the values and the colour difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lutkit.colour.lut import CHANNELS, ColourLut, Triple, grid, make_triple
from lutkit.colour_metrics import to_lab
from lutkit_runtime.cube import CubeInterpolation

GRID = 67
"""Inputs per axis: a prime number of steps apart, so that they are not the nodes of usual sizes."""


@dataclass(frozen=True)
class Difference:
    """How the results of two LUTs differ over a dense grid of inputs.

    Attributes
    ----------
    largest, mean : float
        Of the absolute difference of a channel.
    channel : str
        Where the largest one is: ``red``, ``green`` or ``blue``.
    place, first, second : three floats
        The input there and both results.
    psnr : float or None
        In decibels, for a peak of 1; None where nothing differs.
    delta_e_mean, delta_e_largest : float
        CIE 1976 colour difference, results taken as sRGB and clipped to 0..1.
    inputs : int
        Number of inputs.
    """

    largest: float
    mean: float
    channel: str
    place: Triple
    first: Triple
    second: Triple
    psnr: float | None
    delta_e_mean: float
    delta_e_largest: float
    inputs: int


def diff(
    first: ColourLut,
    second: ColourLut,
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL,
    second_interpolation: CubeInterpolation | None = None,
) -> Difference:
    """Compare two LUTs over the smallest domain that holds both of theirs.

    Parameters
    ----------
    first, second : ColourLut
    interpolation, second_interpolation : CubeInterpolation
        Of the first and the second LUT's cube; the second like the first where it is not given.
    """
    (low, high), (other_low, other_high) = first.domain, second.domain
    low, high = np.minimum(low, other_low), np.maximum(high, other_high)
    colours = grid(GRID, make_triple(low), make_triple(high))
    # A slice of blue at a time keeps memory small.
    pairs = ((first, interpolation), (second, second_interpolation or interpolation))
    results = [[lut.evaluate(each, way) for each in colours] for lut, way in pairs]
    one, other = np.array(results[0]), np.array(results[1])
    distance = np.abs(one - other)
    place = np.unravel_index(int(distance.argmax()), distance.shape)
    square = float(np.square(distance).mean())
    lab = np.sqrt(np.square(to_lab(one.clip(0, 1)) - to_lab(other.clip(0, 1))).sum(axis=-1))
    return Difference(
        largest=float(distance.max()),
        mean=float(distance.mean()),
        channel=CHANNELS[int(place[3])],
        place=make_triple(colours[place[:3]]),
        first=make_triple(one[place[:3]]),
        second=make_triple(other[place[:3]]),
        psnr=10 * math.log10(1 / square) if square else None,
        delta_e_mean=float(lab.mean()),
        delta_e_largest=float(lab.max()),
        inputs=GRID**3,
    )
