"""Table fusion: basis tables summed with predicted weights into the one cube that a picture is looked up in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError, ProgramError
from lutkit_runtime.ops.base import Kind, OpBase, Slot, Value
from lutkit_runtime.ops.colour_lookup import MAX_CUBE_SIZE
from lutkit_runtime.table_coding import LARGEST_VALUE, TableCoding

MAX_BASES = 64


class BasisTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One term of the sum.

    Parameters
    ----------
    slot : str
        Table of the nodes, (size**3, 3), red fastest.
    coding : TableCoding
    """

    slot: str
    coding: TableCoding = TableCoding()


class TableFusion(OpBase, frozen=True, tag="table_fusion"):
    """Cube = sum of weight times basis table (Zeng et al., TPAMI 2020, eq. 5): one lookup in place of many.

    The sum is taken in float64, in the order of the tables, and rounded to float32 once.

    Parameters
    ----------
    weights : str
        A vector with one weight per table.
    bases : tuple of BasisTable
    size : int
        Nodes per axis of all of them, 2 to 129.
    """

    weights: str
    bases: tuple[BasisTable, ...]
    size: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """The vector of weights."""
        return (self.weights,)

    @property
    def slots(self) -> dict[str, Slot]:
        """The basis tables."""
        return {basis.slot: Slot((self.size,) * 3, 3, basis.coding.storage.value) for basis in self.bases}

    @property
    def is_global(self) -> bool:
        """True: it runs once for a picture."""
        return True

    def validate(self) -> None:
        """Raise ProgramError where the size or the number of tables is impossible."""
        if not 2 <= self.size <= MAX_CUBE_SIZE:
            raise ProgramError(f"op '{self.output}' fuses tables of size {self.size}; 2 to {MAX_CUBE_SIZE} is possible")
        if not 1 <= len(self.bases) <= MAX_BASES:
            raise ProgramError(f"op '{self.output}' fuses {len(self.bases)} tables; 1 to {MAX_BASES} are possible")
        if len(self.slots) != len(self.bases):
            raise ProgramError(f"op '{self.output}' names a basis table twice; give each its own slot")
        for basis in self.bases:
            basis.coding.validate(f"op '{self.output}'")

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a table; raises ProgramError where there is not one weight per table."""
        values[self.weights].expect(Kind.VECTOR, self.output, self.weights)
        if values[self.weights].size != len(self.bases):
            raise ProgramError(
                f"op '{self.output}' fuses {len(self.bases)} tables with {values[self.weights].size} weights; the "
                "numbers must be equal"
            )
        return Value(Kind.TABLE, self.size)

    def fuse(self, weights: NDArray[Any], tables: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the fused table, float32 of the shape of each of `tables`.

        Raises ArtefactError where weights are so large that it has no finite values.
        """
        total = np.zeros(tables[0].shape, np.float64)
        for weight, table in zip(weights, tables, strict=True):
            total += float(weight) * table.astype(np.float64)
        with np.errstate(over="ignore"):  # what is too large is refused below
            fused = total.astype(np.float32)
        if not np.abs(fused).max() <= LARGEST_VALUE:
            raise ArtefactError(
                f"op '{self.output}' fuses tables to values beyond {LARGEST_VALUE:g}, because the network gives weights "
                f"up to {np.abs(weights).max():g}: make the model anew"
            )
        return fused

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the cube (size**3, 3) float32."""
        return self.fuse(planes[self.weights], [basis.coding.decode(fill[basis.slot]) for basis in self.bases])
