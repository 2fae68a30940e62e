"""Quantisers: how a real network output becomes an integer table entry and back. Floor 1: imports only errors."""

from __future__ import annotations

from typing import Any

import msgspec

from lutkit_runtime.errors import ProgramError


class Quantiser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Symmetric quantiser of outputs in [-1, 1] to entries in [-levels, levels], rounded half to even.

    Published tables use 127 levels, so that -128 never occurs (Li et al., ECCV 2022, section 3.3).
    """

    levels: int = 127

    def validate(self) -> None:
        """Raise ProgramError unless the entries fit a signed byte."""
        if not 1 <= self.levels <= 127:
            raise ProgramError(f"quantiser has {self.levels} levels; a signed byte holds 1 to 127")

    def quantise(self, values: Any) -> Any:
        """Quantise real outputs; a floating NumPy array or torch tensor in, the same kind with integer values out."""
        return (values.clip(-1.0, 1.0) * self.levels).round()

    def dequantise(self, entries: Any) -> Any:
        """Turn entries back into real values in [-1, 1]; floating arrays or tensors."""
        return entries / self.levels
