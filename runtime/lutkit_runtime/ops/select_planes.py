"""Select planes: three of a network's planes become a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.cube import Float32
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import Kind, OpBase, Value


class SelectPlanes(OpBase, frozen=True, tag="select_planes"):
    """Result = a picture whose channels are planes of these numbers; one plane may serve several times.

    Parameters
    ----------
    input : str
        Planes.
    planes : three int
        From 0.
    """

    input: str
    planes: tuple[int, int, int]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The planes."""
        return (self.input,)

    def validate(self) -> None:
        """Raise ProgramError where a number is impossible."""
        if min(self.planes) < 0:
            raise ProgramError(f"op '{self.output}' selects the planes {self.planes}; they count from 0")

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a picture; raises ProgramError where there are no such planes."""
        values[self.input].expect(Kind.PLANES, self.output, self.input)
        if max(self.planes) >= values[self.input].size:
            raise ProgramError(
                f"op '{self.output}' selects the planes {self.planes}, but '{self.input}' has {values[self.input].size}"
            )
        return Value(Kind.PICTURE)

    def select(self, planes: Float32) -> Float32:
        """Return the picture (h, w, 3) float32 of planes (h, w, n)."""
        return np.ascontiguousarray(planes[..., list(self.planes)])

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the picture (H, W, 3) float32."""
        return self.select(planes[self.input])
