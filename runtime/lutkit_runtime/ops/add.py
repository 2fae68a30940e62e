"""Add: the sum of planes of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import OpBase, Plane

LARGEST_WEIGHT = 256
MAX_TERMS = 64


class Add(OpBase, frozen=True, tag="add"):
    """Sum planes, such as the lookups of parallel patterns.

    Parameters
    ----------
    terms : tuple of str
        Names of the planes to sum; all of one size and number of channels.
    weights : tuple of int
        Factor of each term, 1 to 256, such as brings lookups of different steps to one unit; empty: all are 1.
    """

    terms: tuple[str, ...]
    weights: tuple[int, ...] = ()

    @property
    def factors(self) -> tuple[int, ...]:
        """Factor of each term."""
        return self.weights or (1,) * len(self.terms)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The terms."""
        return self.terms

    def validate(self) -> None:
        """Raise ProgramError when there is nothing to sum."""
        if not self.terms:
            raise ProgramError(f"op '{self.output}' adds no terms; name at least one plane")
        if len(self.terms) > MAX_TERMS:
            raise ProgramError(f"op '{self.output}' adds {len(self.terms)} terms; at most {MAX_TERMS} are possible")
        if self.weights and len(self.weights) != len(self.terms):
            raise ProgramError(f"op '{self.output}' has {len(self.weights)} weights for {len(self.terms)} terms")
        if not all(1 <= weight <= LARGEST_WEIGHT for weight in self.weights):
            raise ProgramError(f"op '{self.output}' has weights {self.weights}; 1 to {LARGEST_WEIGHT} are possible")

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return the sum of the bounds; raises ProgramError where the terms differ in channels."""
        terms = [planes[name] for name in self.terms]
        if len({term.channels for term in terms}) != 1:
            raise ProgramError(f"op '{self.output}' adds {sorted({term.channels for term in terms})} channels")
        low = sum(weight * term.low for weight, term in zip(self.factors, terms, strict=True))
        high = sum(weight * term.high for weight, term in zip(self.factors, terms, strict=True))
        return Plane(codes=False, low=low, high=high, channels=terms[0].channels)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the sum of the terms, int64: terms may be planes of bytes, whose sum would wrap around."""
        total: Any = 0
        for weight, term in zip(self.factors, self.terms, strict=True):
            total = total + weight * planes[term].astype(np.int64)
        return total
