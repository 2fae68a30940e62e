"""Add: the sum of planes of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import OpBase


class Add(OpBase, frozen=True, tag="add"):
    """Sum planes, such as the lookups of parallel patterns.

    Parameters
    ----------
    terms : tuple of str
        Names of the planes to sum; all of one size.
    """

    terms: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The terms."""
        return self.terms

    def validate(self) -> None:
        """Raise ProgramError when there is nothing to sum."""
        if not self.terms:
            raise ProgramError(f"op '{self.output}' adds no terms; name at least one plane")

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the sum of the terms, int64: terms may be planes of bytes, whose sum would wrap around."""
        total = planes[self.terms[0]].astype(np.int64)
        for term in self.terms[1:]:
            total += planes[term]
        return total
