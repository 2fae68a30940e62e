"""Blend: a changed picture mixed with the one it came from, by a parameter such as the strength of a look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.cube import Float32
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import Kind, OpBase, Value


def to_unit(samples: NDArray[Any]) -> Float32:
    """Return samples as float32: integers as v / 255 or v / 65535, floats as they are."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    return samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)


LARGEST_BASE = np.float32(1e30)
"""Floats of larger magnitude count as this where they are mixed: infinity minus infinity would be no number."""


def bound_base(base: NDArray[Any]) -> Float32:
    """Return the samples that a blend starts from: 0 to 1 for integers, floats within 1e30, not a number as 0."""
    unit = to_unit(base)
    if base.dtype.kind != "f":
        return unit
    return np.where(np.isnan(unit), np.float32(0), unit).clip(-LARGEST_BASE, LARGEST_BASE)


class Blend(OpBase, frozen=True, tag="blend"):
    """Result = base + amount (changed - base), in float32; exactly 0 gives `base` itself, exactly 1 `changed`.

    Where they are mixed, base samples that are no numbers count as 0, and infinite ones as 1e30.

    Parameters
    ----------
    base, changed : str
        Pictures of one size.
    amount : str
        A parameter of the program.
    """

    base: str
    changed: str
    amount: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Both pictures and the parameter."""
        return (self.base, self.changed, self.amount)

    def validate(self) -> None:
        """Raise ProgramError where nothing would be blended."""
        if self.base == self.changed:
            raise ProgramError(f"op '{self.output}' blends '{self.base}' with itself; name two pictures")

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a picture; raises ProgramError where the inputs are something else."""
        values[self.base].expect(Kind.PICTURE, self.output, self.base)
        values[self.changed].expect(Kind.PICTURE, self.output, self.changed)
        values[self.amount].expect(Kind.SCALAR, self.output, self.amount)
        return Value(Kind.PICTURE)

    def mix(self, base: NDArray[Any], changed: NDArray[Any], amount: float) -> Float32:
        """Return base + amount (changed - base), float32 (..., 3)."""
        if amount in (0, 1):
            return to_unit(changed if amount else base)
        start: Any = bound_base(base)
        return start + np.float32(amount) * (to_unit(changed) - start)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the float32 picture (H, W, 3)."""
        return self.mix(planes[self.base], planes[self.changed], planes[self.amount])
