"""Requantise: a wide integer sum back to a narrow range, such as byte codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import LARGEST_CODE, OpBase, Plane

LARGEST_BOUND = 1 << 15


class Requantise(OpBase, frozen=True, tag="requantise"):
    """Values = clamp(round half even((sum + bias) / divisor) + residual, low, high), in exact integer arithmetic.

    The bias is added before rounding: added afterwards it would turn ties the other way where it is odd.

    Parameters
    ----------
    input : str
        Plane of integers.
    bias, divisor : int
        In units of the sum; the divisor is positive.
    residual : str, optional
        Plane that is added after rounding: of as many channels, or of one, which all receive.
    low, high : int
        Bounds of the result, within a signed 16-bit range; 0 to 255 makes codes.
    """

    input: str
    bias: int
    divisor: int
    residual: str | None = None
    low: int = 0
    high: int = LARGEST_CODE

    @property
    def inputs(self) -> tuple[str, ...]:
        """The plane that is rounded, and the one that is added."""
        return (self.input,) if self.residual is None else (self.input, self.residual)

    @property
    def makes_codes(self) -> bool:
        """Whether the result is codes."""
        return self.low >= 0 and self.high <= LARGEST_CODE

    def validate(self) -> None:
        """Raise ProgramError unless the divisor is 1 to 2**24, the bias within 2**30 and the bounds are in order."""
        if not 1 <= self.divisor <= 1 << 24:
            raise ProgramError(f"op '{self.output}' divides by {self.divisor}; 1 to {1 << 24} are possible")
        if abs(self.bias) > 1 << 30:
            raise ProgramError(f"op '{self.output}' has bias {self.bias}; at most {1 << 30} either way is possible")
        if not -LARGEST_BOUND <= self.low < self.high < LARGEST_BOUND:
            raise ProgramError(
                f"op '{self.output}' clamps to {self.low} to {self.high}; these must be in order, within 16 bits"
            )

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return the bounds; raises ProgramError where the biased sum overflows 32 bits or the channels do not fit."""
        total = planes[self.input]
        if total.largest + abs(self.bias) >= 2**31:
            raise ProgramError(
                f"op '{self.output}' can reach {total.largest + abs(self.bias)}; sums must stay below {2**31}"
            )
        if self.residual is not None and planes[self.residual].largest >= 2**30:
            raise ProgramError(
                f"op '{self.output}' adds '{self.residual}', which can reach {planes[self.residual].largest}; less than "
                f"{2**30} is possible"
            )
        if self.residual is not None and planes[self.residual].channels not in (1, total.channels):
            raise ProgramError(
                f"op '{self.output}' adds {planes[self.residual].channels} channels to {total.channels}; "
                "they must be equal, or one be added to all"
            )
        return Plane(self.makes_codes, self.low, self.high, total.channels)

    def codes(self, total: Any, residual: Any = 0) -> Any:
        """Turn integer sums (any shape, a type of at least 32 bits) into values low to high of the same type."""
        shifted = total + self.bias
        quotient = shifted // self.divisor
        twice = 2 * (shifted - quotient * self.divisor)
        up = (twice > self.divisor) | ((twice == self.divisor) & (quotient % 2 == 1))
        return (quotient + up + residual).clip(self.low, self.high)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the codes as bytes, other values as int64."""
        residual: Any = 0 if self.residual is None else planes[self.residual].astype(np.int64)
        values = self.codes(planes[self.input].astype(np.int64), residual)
        return values.astype(np.uint8) if self.makes_codes else values
