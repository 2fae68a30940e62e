"""How near a student comes to its teacher: figures of 8-bit results, by picture and by set. Imports NumPy and the metrics.

Both are given the photo in 8 bits; what the teacher computes in 16 bits, and what the student gives, count as rounded to 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour_metrics import to_lab
from lutkit.evaluate import PERFECT_PSNR

Image8 = NDArray[np.uint8]

PROTOCOL = (
    "Photos, reduced to a longest side of {side} pixels, are given to teacher and student in 8 bits, and both results are "
    "rounded to 8 bits sRGB. PSNR: over all samples of a picture, peak 255; means are over pictures, one without any error "
    "counts as 100 dB. dE: CIE 1976, D65, mean and largest over the pixels of a picture. Largest error: of any sample, in "
    "levels of 255. 'All pixels': PSNR of the mean squared error over all pixels of all pictures together."
)

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class PictureFigures:
    """What a student makes of one photo, compared with the teacher's answer.

    Parameters
    ----------
    name : str
    pixels : int
    squared_error : float
        Mean over all samples, in squared levels.
    delta_e, largest_delta_e : float
        CIE 1976, mean and largest over pixels.
    largest_error : int
        Of a sample, in levels.
    """

    name: str
    pixels: int
    squared_error: float
    delta_e: float
    largest_delta_e: float
    largest_error: int

    @property
    def psnr(self) -> float:
        """In dB; infinite where nothing differs."""
        return _to_psnr(self.squared_error)

    def describe(self) -> dict[str, Any]:
        """Return the figures as JSON has them: a PSNR without end is null."""
        return {
            "name": self.name,
            "psnr": round(self.psnr, 4) if math.isfinite(self.psnr) else None,
            "delta_e": round(self.delta_e, 5),
            "largest_delta_e": round(self.largest_delta_e, 4),
            "largest_error": self.largest_error,
        }


@dataclass(frozen=True)
class Figures:
    """What a student is worth on a set of photos.

    Parameters
    ----------
    pictures : tuple of PictureFigures
        At least one.
    """

    pictures: tuple[PictureFigures, ...]

    @property
    def psnr(self) -> float:
        """Mean over pictures, in dB; a perfect one counts 100 dB."""
        return float(np.mean([min(each.psnr, PERFECT_PSNR) for each in self.pictures]))

    @property
    def psnr_of_all(self) -> float:
        """PSNR over all pixels of all pictures together, in dB; infinite where nothing differs."""
        weights = [each.pixels for each in self.pictures]
        return _to_psnr(float(np.average([each.squared_error for each in self.pictures], weights=weights)))

    @property
    def delta_e(self) -> float:
        """Mean over pictures of their means."""
        return float(np.mean([each.delta_e for each in self.pictures]))

    @property
    def largest_delta_e(self) -> float:
        """Over all pixels."""
        return max(each.largest_delta_e for each in self.pictures)

    @property
    def largest_error(self) -> int:
        """Over all samples, in levels."""
        return max(each.largest_error for each in self.pictures)

    def describe(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return {
            "psnr": round(self.psnr, 4),
            "psnr_of_all_pixels": round(self.psnr_of_all, 4) if math.isfinite(self.psnr_of_all) else None,
            "delta_e": round(self.delta_e, 5),
            "largest_delta_e": round(self.largest_delta_e, 4),
            "largest_error": self.largest_error,
            "images": [each.describe() for each in self.pictures],
        }


def compare(name: str, result: Image8, answer: Image8) -> PictureFigures:
    """Compare a student's result with the teacher's answer, both uint8 (H, W, 3); raises ValueError if shapes differ."""
    if result.shape != answer.shape or result.dtype != np.uint8 or answer.dtype != np.uint8:
        raise ValueError(
            f"{name} came out as {result.dtype} {result.shape}, the answer is {answer.dtype} {answer.shape}"
        )
    error = result.astype(np.int16) - answer
    total, largest = 0.0, 0.0
    for top in range(0, len(result), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        distance = np.sqrt(np.square(to_lab(result[rows] / 255) - to_lab(answer[rows] / 255)).sum(axis=2))
        total += float(distance.sum())
        largest = max(largest, float(distance.max()))
    pixels = result.shape[0] * result.shape[1]
    return PictureFigures(
        name,
        pixels,
        float(np.square(error, dtype=np.float64).mean()),
        total / pixels,
        largest,
        int(np.abs(error).max()),
    )


def measure(restore: Callable[[Image8], Image8], pairs: Iterable[tuple[str, Image8, Image8]]) -> Figures:
    """Return what a student is worth on photos with their answers, given as (name, photo, answer)."""
    return Figures(tuple(compare(name, restore(photo), answer) for name, photo, answer in pairs))


def _to_psnr(squared_error: float) -> float:
    return 10 * math.log10(255**2 / squared_error) if squared_error > 0 else math.inf
