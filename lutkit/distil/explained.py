"""How much of what a teacher does any colour map could explain: the share of its variance that lies in colours.

Imports NumPy only.

The best of all colour maps gives every input colour the mean of the teacher's answers to it, E[T | RGB]; what it misses is
the variance of the answers within a colour. Colours are told apart as exactly as 8 bits do. A colour of which only one pixel is
known says nothing about the spread of its answers: such pixels are left out, and the share of those that count is given. Summed
squares within colours are divided by pixels minus colours, which is the unbiased estimate of a variance that all colours
share, however few pixels each has (one-way analysis of variance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_COLOURS = 1 << 24
_PEAK = 65535


@dataclass(frozen=True)
class Explained:
    """What colour maps can explain of a teacher's answers.

    Parameters
    ----------
    share : float or None
        1 - variance within colours / variance of all answers, summed over channels; at most 1, and about 0 or a little
        below for answers that have nothing to do with the colours. None where no colour has two pixels.
    ceiling : float or None
        PSNR over all pixels that count, in dB, which no colour map exceeds but by chance; infinite where the teacher is one.
    counted : float
        Part of the pixels whose colour occurs more than once.
    colours : int
        Different colours among them.
    """

    share: float | None
    ceiling: float | None
    counted: float
    colours: int


class ColourStatistics:
    """Collects answers by colour, picture by picture; memory grows with the colours that occur, up to 600 MB."""

    def __init__(self) -> None:
        # pages of zeros that nothing is written to cost nothing
        self._counts = np.zeros(_COLOURS, np.int64)
        self._sums = np.zeros((3, _COLOURS))
        self._squares = np.zeros(3)
        self._pixels = 0

    def add(self, picture: NDArray[np.uint8], answer: NDArray[np.uint16]) -> Explained:
        """Take a picture (H, W, 3) and the answer to it in; returns what one colour map of its own could explain of it."""
        codes, inverse, counts = np.unique(_code(picture), return_inverse=True, return_counts=True)
        values = answer.reshape(-1, 3).astype(np.float64) / _PEAK
        sums = np.stack([np.bincount(inverse, values[:, channel], len(codes)) for channel in range(3)]).astype(
            np.float64
        )
        squares = np.square(values).sum(axis=0)
        self._counts[codes] += counts
        self._sums[:, codes] += sums
        self._squares += squares
        self._pixels += len(values)
        return _explain(counts, sums, squares, len(values))

    def explain(self) -> Explained:
        """Return what one colour map for all pictures together could explain."""
        met = np.flatnonzero(self._counts)
        return _explain(self._counts[met], self._sums[:, met], self._squares, self._pixels)


def _explain(
    counts: NDArray[np.int64], sums: NDArray[np.float64], squares: NDArray[np.float64], pixels: int
) -> Explained:
    """Return the shares for colours with so many pixels, sums of answers (3, colours), and summed squares of all pixels."""
    several = counts > 1
    number, colours = int(counts[several].sum()), int(several.sum())
    counted = number / pixels if pixels else 0.0
    if not colours:
        return Explained(None, None, counted, 0)
    # A pixel that is alone in its colour has its own square as its sum's: it drops out.
    squares = squares - np.square(sums[:, ~several]).sum(axis=1)
    inner, total = sums[:, several], sums[:, several].sum(axis=1)
    within = float((squares - (np.square(inner) / counts[several]).sum(axis=1)).sum())
    overall = float((squares - np.square(total) / number).sum())
    residual = max(within, 0.0) / max(number - colours, 1)
    if residual < 1e-12 * max(1.0, float(squares.sum()) / number):  # what rounding leaves of nothing
        return Explained(1.0, math.inf, counted, colours)
    spread = overall / (number - 1)
    share = 1 - residual / spread if spread > 0 else 0.0
    return Explained(share, -10 * math.log10(residual / 3), counted, colours)


def _code(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    flat = picture.reshape(-1, 3).astype(np.int64)
    return (flat[:, 0] << 16) | (flat[:, 1] << 8) | flat[:, 2]
