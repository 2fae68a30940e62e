"""Grid fusion: the bilateral grid of a picture, summed from stored columns with weights that a network predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import COEFFICIENTS
from lutkit_runtime.errors import ArtefactError, ProgramError
from lutkit_runtime.ops.base import Kind, OpBase, Slot, Value
from lutkit_runtime.table_coding import LARGEST_VALUE, TableCoding

MAX_GRID_SIDE = 256
MAX_GRID_DEPTH = 64
MAX_MAPS = 1 << 17
"""Of a grid: what it takes in memory while it is summed stays near 40 MB."""
MAX_TERMS = 512


class GridFusion(OpBase, frozen=True, tag="grid_fusion"):
    """Grid = constant column + sum of weight times stored column, at every place (Gharbi et al., 2017, section 3.1).

    A column is the stack of affine maps of one place, from dark to bright. This is the last, linear layer of a network
    that predicts bilateral grids, kept as a table. The sum is taken in float64, in the order of the rows, and rounded to
    float32 once.

    Parameters
    ----------
    weights : str
        A vector of terms * rows * columns numbers, those of one term together, row by row.
    slot : str
        Table (terms + 1, depth * 12): the constant column, then that of each term; entry 12 z + 4 o + i is what input i
        (red, green, blue, one) adds to output o at level z.
    terms : int
        1 to 512.
    rows, columns, depth : int
        Of the grid: up to 256, 256 and 64, and no more than 131 072 maps in all.
    coding : TableCoding
    """

    weights: str
    slot: str
    terms: int
    rows: int
    columns: int
    depth: int
    coding: TableCoding = TableCoding()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The vector of weights."""
        return (self.weights,)

    @property
    def slots(self) -> dict[str, Slot]:
        """The stored columns."""
        return {self.slot: Slot((self.terms + 1,), self.depth * COEFFICIENTS, self.coding.storage.value)}

    @property
    def is_global(self) -> bool:
        """True: it runs once for a picture."""
        return True

    def validate(self) -> None:
        """Raise ProgramError where a size is impossible."""
        for name, value, most in (
            ("terms", self.terms, MAX_TERMS),
            ("rows", self.rows, MAX_GRID_SIDE),
            ("columns", self.columns, MAX_GRID_SIDE),
            ("depth", self.depth, MAX_GRID_DEPTH),
        ):
            if not 1 <= value <= most:
                raise ProgramError(f"op '{self.output}' has {name} = {value}; 1 to {most} is possible")
        maps = self.rows * self.columns * self.depth
        if maps > MAX_MAPS:
            raise ProgramError(
                f"op '{self.output}' has {self.rows} x {self.columns} places of {self.depth} levels, {maps} maps; at most "
                f"{MAX_MAPS} are possible"
            )
        self.coding.validate(f"op '{self.output}'")

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a grid; raises ProgramError where there is not one weight per term and place."""
        values[self.weights].expect(Kind.VECTOR, self.output, self.weights)
        needed = self.terms * self.rows * self.columns
        if values[self.weights].size != needed:
            raise ProgramError(
                f"op '{self.output}' needs {needed} weights for {self.terms} terms at {self.rows} x {self.columns} places, "
                f"but '{self.weights}' has {values[self.weights].size}; the numbers must be equal"
            )
        return Value(Kind.GRID)

    def fuse(self, weights: NDArray[Any], table: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the grid, (rows, columns, depth, 12) float32.

        Parameters
        ----------
        weights : float32, (terms * rows * columns,)
        table : float32, (terms + 1, depth * 12)
            Decoded.

        Raises ArtefactError where weights are so large that it has no finite values.
        """
        constant, *columns = table.astype(np.float64)
        total = np.tile(constant, (self.rows * self.columns, 1))
        for weight, column in zip(weights.reshape(self.terms, -1).astype(np.float64), columns, strict=True):
            total += weight[:, None] * column
        with np.errstate(over="ignore"):  # what is too large is refused below
            grid = total.astype(np.float32)
        if not np.abs(grid).max() <= LARGEST_VALUE:
            raise ArtefactError(
                f"op '{self.output}' makes a grid of values beyond {LARGEST_VALUE:g}, because the network gives weights up "
                f"to {np.abs(weights).max():g}: make the model anew"
            )
        return grid.reshape(self.rows, self.columns, self.depth, COEFFICIENTS)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the grid (rows, columns, depth, 12) float32."""
        return self.fuse(planes[self.weights], self.coding.decode(fill[self.slot]))
