"""Requantise: a wide integer sum back to byte codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import OpBase


class Requantise(OpBase, frozen=True, tag="requantise"):
    """Codes = clamp(round half even((sum + bias) / divisor), 0, 255), in exact integer arithmetic.

    The bias is added before rounding: added afterwards it would turn ties the other way where it is odd.

    Parameters
    ----------
    input : str
        Plane of integers.
    bias, divisor : int
        In units of the sum; the divisor is positive.
    """

    input: str
    bias: int
    divisor: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one plane that is rounded."""
        return (self.input,)

    def validate(self) -> None:
        """Raise ProgramError unless the divisor is 1 to 2**24 and the bias within 2**30."""
        if not 1 <= self.divisor <= 1 << 24:
            raise ProgramError(f"op '{self.output}' divides by {self.divisor}; 1 to {1 << 24} are possible")
        if abs(self.bias) > 1 << 30:
            raise ProgramError(f"op '{self.output}' has bias {self.bias}; at most {1 << 30} either way is possible")

    def codes(self, total: Any) -> Any:
        """Turn integer sums (any shape, a type of at least 32 bits) into codes 0 to 255 of the same type."""
        shifted = total + self.bias
        quotient = shifted // self.divisor
        twice = 2 * (shifted - quotient * self.divisor)
        up = (twice > self.divisor) | ((twice == self.divisor) & (quotient % 2 == 1))
        return (quotient + up).clip(0, 255)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the codes as bytes."""
        return self.codes(planes[self.input].astype(np.int64)).astype(np.uint8)
