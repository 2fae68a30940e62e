"""Padding: which pixel stands for one outside the plane. Floor 1: imports nothing of this package."""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray


class Padding(enum.Enum):
    """What a pattern sees outside the plane it reads."""

    EDGE = "edge"
    """The nearest pixel of the plane (ddlee-cn/MuLUT)."""

    REFLECT = "reflect"
    """The plane mirrored at its outermost pixels, which are not repeated (yhjo09/SR-LUT)."""

    def index(self, length: int, before: int, after: int) -> NDArray[np.intp]:
        """Return the position inside 0 to length - 1 that stands for each of -before to length + after - 1."""
        positions = np.arange(-before, length + after)
        if self is Padding.EDGE or length == 1:
            return np.clip(positions, 0, length - 1)
        period = 2 * (length - 1)
        positions = np.abs(positions) % period
        return np.minimum(positions, period - positions)
