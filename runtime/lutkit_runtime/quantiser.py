"""Quantisers: how a real network output becomes an integer table entry. Floor 1: imports only errors."""

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
        """Raise ProgramError unless the entries fit 16 bits."""
        if not 1 <= self.levels <= 32767:
            raise ProgramError(f"quantiser has {self.levels} levels; 16 bits hold 1 to 32767")

    def spread(self, outputs: Any) -> Any:
        """Clip real outputs to [-1, 1] and spread them over the levels, not yet rounded; floating array or tensor."""
        return outputs.clip(-1.0, 1.0) * self.levels

    def confine(self, entries: Any) -> Any:
        """Clip real values in units of entries to what the type holds, one more below than above; array or tensor.

        Networks never give the lowest entry, but tables of others may hold it, and training starts from them as they are.
        """
        return entries.clip(-self.levels - 1, self.levels)
