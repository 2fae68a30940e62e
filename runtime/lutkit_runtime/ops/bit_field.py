"""Bit field: some bits of a code as a number of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import OpBase, Plane


class BitField(OpBase, frozen=True, tag="bit_field"):
    """Values = (code >> shift) mod 2**bits + offset: the high or the low bits of a code.

    Jonas-KD/TinyLUT (Li et al., NeurIPS 2024, section 3.3) splits a byte less 128 into floor(x / 4), -32 to 31, which
    is shift 2, 6 bits, offset -32, and x mod 4, which is shift 0, 2 bits.

    Parameters
    ----------
    input : str
        Plane of codes 0 to 255.
    shift, bits : int
        Lowest bit and number of bits; together at most 8.
    offset : int
        Added afterwards, -256 to 256.
    """

    input: str
    shift: int
    bits: int
    offset: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one plane of codes."""
        return (self.input,)

    def validate(self) -> None:
        """Raise ProgramError unless the bits are those of a byte and the offset is within 256."""
        if self.shift < 0 or self.bits < 1 or self.shift + self.bits > 8:
            raise ProgramError(f"op '{self.output}' takes {self.bits} bits from bit {self.shift} on; a code has 8")
        if abs(self.offset) > 256:
            raise ProgramError(f"op '{self.output}' has offset {self.offset}; at most 256 either way is possible")

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return the bounds of the number; raises ProgramError where the plane holds no codes."""
        plane = planes[self.input]
        if not plane.codes:
            raise ProgramError(f"op '{self.output}' takes bits of '{self.input}', which holds no codes")
        return Plane(codes=False, low=self.offset, high=self.offset + (1 << self.bits) - 1, channels=plane.channels)

    def split(self, codes: Any) -> Any:
        """Return the number for integer codes (any array of a signed type)."""
        return ((codes >> self.shift) & ((1 << self.bits) - 1)) + self.offset

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the numbers, int64."""
        return self.split(planes[self.input].astype(np.int64))
