"""Colour matrix: three channels mixed linearly, plus an offset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.cube import Float32
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import Kind, OpBase, Value
from lutkit_runtime.ops.blend import to_unit

Triple = tuple[float, float, float]

MAX_COEFFICIENT = 1e6
"""More than any colour space needs; several matrices in a row stay finite in float32."""


class ColourMatrix(OpBase, frozen=True, tag="colour_matrix"):
    """Result = matrix times colour plus offset, in float32, unclipped.

    Parameters
    ----------
    input : str
        A picture; integer samples count as 0 to 1.
    matrix : three rows of three floats
    offset : three floats
    """

    input: str
    matrix: tuple[Triple, Triple, Triple]
    offset: Triple = (0.0, 0.0, 0.0)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one picture."""
        return (self.input,)

    def validate(self) -> None:
        """Raise ProgramError where a coefficient is no number or absurdly large."""
        for number in (*self.offset, *(number for row in self.matrix for number in row)):
            if not abs(number) <= MAX_COEFFICIENT:
                raise ProgramError(
                    f"op '{self.output}' has the coefficient {number}; at most {MAX_COEFFICIENT:g} is possible"
                )

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a picture; raises ProgramError where the input is something else."""
        values[self.input].expect(Kind.PICTURE, self.output, self.input)
        return Value(Kind.PICTURE)

    def transform(self, samples: Any) -> Float32:
        """Return the mixed colours (..., 3) float32 of samples (..., 3); terms are added red, green, blue, offset."""
        colours: Any = to_unit(samples)
        rows: Any = np.array(self.matrix, np.float32)
        total = colours[..., 0, None] * rows[:, 0] + colours[..., 1, None] * rows[:, 1]
        return total + colours[..., 2, None] * rows[:, 2] + np.array(self.offset, np.float32)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the float32 picture (H, W, 3)."""
        return self.transform(planes[self.input])
