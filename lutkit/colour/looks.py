"""Looks that lutkit brings along, made by formulas: free of anyone's data. Imports `defects` for its S-curve.

Each look is a mix of the channels, then one smooth curve per channel. All factors of a mix are positive and sum to 1,
and all curves rise, so a look neither clips nor folds colours nor turns gradients around; `lutkit lint` finds nothing in
it but the tint that is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.defects import bend_contrast
from lutkit.colour.lut import ColourLut, Cube, Triple, grid
from lutkit_runtime.errors import DataError

Float64 = NDArray[np.float64]

SIZE = 33
"""Nodes per axis."""


@dataclass(frozen=True)
class Look:
    """A look as a formula.

    Attributes
    ----------
    summary : str
        What it looks like, in a few words.
    mix : three triples of float
        Rows: how much red, green and blue make the new red, green and blue; not negative, each row sums to 1.
    slope : float
        Of the S-curve at middle gray.
    bend : three floats
        Exponent of each channel's curve: below 1 brightens its middle, above 1 darkens it.
    black, white : three floats
        Colours of black and white, 0 to 1.
    """

    summary: str
    mix: tuple[Triple, Triple, Triple]
    slope: float
    bend: Triple
    black: Triple
    white: Triple

    def validate(self) -> None:
        """Raise ValueError where a number would clip, fold or reverse colours."""
        mix = np.array(self.mix)
        if (mix < 0).any() or not np.allclose(mix.sum(axis=1), 1, atol=1e-12):
            raise ValueError(f"mix is {self.mix}; rows of numbers that are not negative and sum to 1 are needed")
        if not self.slope > 0 or min(self.bend) <= 0:
            raise ValueError(f"slope {self.slope} and bend {self.bend} must be positive")
        for black, white in zip(self.black, self.white, strict=True):
            if not 0 <= black < white <= 1:
                raise ValueError(f"black {self.black} and white {self.white} must ascend within 0 to 1")

    def evaluate(self, colours: Float64) -> Float64:
        """Return sRGB colours (..., 3) of 0 to 1 in this look, 0 to 1."""
        mixed = (colours @ np.array(self.mix).T).clip(0, 1)  # rounding may leave the range
        curved = bend_contrast(mixed, self.slope) ** np.array(self.bend)
        black, white = np.array(self.black), np.array(self.white)
        return black + (white - black) * curved


LOOKS: Mapping[str, Look] = {
    "warm-film": Look(
        summary="colour negative: soft contrast, amber lights, teal shadows, slightly faded",
        mix=((0.92, 0.08, 0.0), (0.04, 0.92, 0.04), (0.0, 0.14, 0.86)),
        slope=1.28,
        bend=(0.96, 1.0, 1.04),
        black=(0.020, 0.042, 0.055),
        white=(0.990, 0.962, 0.888),
    ),
    "cool-matte": Look(
        summary="matte print: lifted blue blacks, muted colours, cool light",
        mix=((0.76, 0.17, 0.07), (0.09, 0.82, 0.09), (0.05, 0.17, 0.78)),
        slope=1.06,
        bend=(1.07, 0.99, 0.95),
        black=(0.070, 0.088, 0.118),
        white=(0.935, 0.955, 0.965),
    ),
    "mono-silver": Look(
        summary="black and white through a yellow filter, with the curve of film",
        mix=((0.42, 0.47, 0.11), (0.42, 0.47, 0.11), (0.42, 0.47, 0.11)),
        slope=1.42,
        bend=(1.0, 1.0, 1.0),
        black=(0.018, 0.018, 0.018),
        white=(0.985, 0.985, 0.985),
    ),
}
"""The looks by name."""


def make_look(name: str) -> ColourLut:
    """Return a look as a cube of 33 nodes per axis over 0 to 1; raises DataError where there is none of this name."""
    if name not in LOOKS:
        raise DataError(f"there is no look '{name}': the looks are {', '.join(LOOKS)}")
    look = LOOKS[name]
    look.validate()
    return ColourLut(cube=Cube(look.evaluate(grid(SIZE)).astype(np.float32)), title=name)
