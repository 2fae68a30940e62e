# pyright: basic
"""CUDA twin of the table fusion: its result is that of the definition to the bit. Imports rounding and memory.

The definition sums in float64 and rounds to float32 once; GPUs have next to no float64. Here every product and sum of
float32 is carried with its rounding error (Dekker, Numer. Math. 18, 1971; Knuth, TAOCP 4.2.2). With n terms, whose
magnitudes add up to S, the sum is known to within 8 n**3 2**-72 S, and the float64 sum is at most (n - 1) 2**-53 S from
the exact one; n is at most 64, so that 1.5 (n - 1) 2**-53 S bounds both. Where every number so near rounds to one
float32, that is the result; where any entry of a table is in doubt, or larger than a node may be, the definition decides,
on the CPU: about one table of 33**3 nodes in twenty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cuda.compiling import cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.four_samples import FOUR
from lutkit_runtime.kernels.cuda.memory import upload
from lutkit_runtime.kernels.cuda.rounding import add, multiply, subtract
from lutkit_runtime.ops import TableFusion
from lutkit_runtime.table_coding import LARGEST_VALUE

_I, _F = np.int32, np.float32
_0 = _F(0)
_SPLITTER = _F(2**12 + 1)
_SMALLEST = _F(2**-80)
"""Of a product whose rounding error is a float32."""
_LARGEST = _F(0.9 * LARGEST_VALUE)
_NEARLY = _F(2**-22)


@device_function
def _split(value):
    """Return a float32 as the sum of two of 12 bits."""
    scaled = multiply(_SPLITTER, value)
    high = subtract(scaled, subtract(scaled, value))
    return high, subtract(value, high)


@device_function
def _multiply_exactly(one, other):
    """Return the product and its rounding error."""
    product = multiply(one, other)
    one_high, one_low = _split(one)
    other_high, other_low = _split(other)
    rest = subtract(product, multiply(one_high, other_high))
    rest = subtract(subtract(rest, multiply(one_low, other_high)), multiply(one_high, other_low))
    return product, subtract(multiply(one_low, other_low), rest)


@device_function
def _add_exactly(one, other):
    """Return the sum and its rounding error."""
    total = add(one, other)
    back = subtract(total, one)
    return total, add(subtract(one, subtract(total, back)), subtract(other, back))


@kernel("int32, float32[::1], float32[::1], float32, float32[::1], int32[::1]")
def fuse_tables(count, terms, weights, tables, bound, out, doubts):
    """Twin of `TableFusion.fuse`; a thread does an entry.

    Parameters
    ----------
    tables : (terms * count,)
    bound
        How far the definition may be from the exact sum, in units of the sum of magnitudes.
    doubts : (1,)
        Is set to 1 where an entry may differ from that of the definition.
    """
    i = _I(cuda.grid(1))
    if i < count:
        high = low = tail = magnitude = _0
        is_known = True
        for term in range(terms):
            weight, value = weights[term], tables[_I(_I(term * count) + i)]
            product, error = _multiply_exactly(weight, value)
            if abs(product) < _SMALLEST and weight != _0 and value != _0:
                is_known = False
            high, first = _add_exactly(high, product)
            low, second = _add_exactly(low, first)
            low, third = _add_exactly(low, error)
            tail = add(tail, add(second, third))
            magnitude = add(magnitude, abs(product))
        high, low = _add_exactly(high, low)
        low, tail = _add_exactly(low, tail)
        high, low = _add_exactly(high, low)
        # twice the distance, and what rounding the next sums may hide
        reach = add(abs(tail), multiply(magnitude, bound))
        reach = add(add(reach, reach), multiply(abs(low), _NEARLY))
        is_known = is_known and add(high, add(low, reach)) == high and add(high, subtract(low, reach)) == high
        # comparisons with what is no number are false
        if not (is_known and abs(high) < _LARGEST):
            doubts[0] = _I(1)
        out[i] = high


class FusionOnDevice:
    """A table fusion with its basis tables on the GPU.

    Parameters
    ----------
    op : TableFusion
    fill : mapping of slot name to table
    """

    def __init__(self, op: TableFusion, fill: Mapping[str, Any]) -> None:
        self.op = op
        self._tables = [basis.coding.decode(fill[basis.slot]) for basis in op.bases]
        self._uploaded = upload(np.stack([widen_rows(table) for table in self._tables]))
        self._bound = np.float32(1.5 * (len(op.bases) - 1) * 2**-53)

    def fuse(self, weights: NDArray[np.float32]) -> Any:
        """Return the fused nodes on the GPU, rows of four, when they are there.

        Raises ArtefactError where weights are so large that the table has no finite values.
        """
        entries = FOUR * self.op.size**3
        out = cuda.device_array(entries, np.float32)
        doubts = upload(np.zeros(1, np.int32))
        fuse_tables.launch(entries, 0, len(weights), upload(weights), self._uploaded, self._bound, out, doubts)
        if doubts.copy_to_host()[0]:
            return upload(widen_rows(self.op.fuse(weights, self._tables)))
        return out


def widen_rows(nodes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return nodes (count, 3) as rows of four, flat; the kernels fetch a row at once."""
    rows = np.zeros((len(nodes), FOUR), np.float32)
    rows[:, :3] = nodes
    return rows.reshape(-1)
