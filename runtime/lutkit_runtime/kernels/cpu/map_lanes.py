# pyright: basic, reportAttributeAccessIssue=false
"""A pixel's affine map out of a bilateral grid, and the colour that it makes, in vector registers. Imports Numba, and
`float_lanes`.

A map is sixteen numbers: four for each of red, green, blue and one, the fourth of each unused. Two vectors of eight hold
it; where a processor has registers of four, LLVM uses two of these for each. All operations are plain ones of IEEE 754 on
each lane, in the order of `lutkit_runtime.bilateral`; nothing is contracted.

Where the JIT is off, lanes are NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.float_lanes import FOUR_FLOATS, LANES, find_address

MAP_LANES = 16
"""Numbers of a map."""

CELL_LANES = 4 * MAP_LANES
"""Numbers of a cell of columns and levels: its near map, the steps along columns, along levels, and along both."""

_HALF = MAP_LANES // 2
_EIGHT = ir.VectorType(ir.FloatType(), _HALF)
_WORD = ir.IntType(32)


def _spread(builder: Any, *values: Any) -> Any:
    """Return eight lanes, of which each of two values fills four."""
    pair = ir.Constant(ir.VectorType(ir.FloatType(), 2), ir.Undefined)
    for number, value in enumerate(values):
        pair = builder.insert_element(pair, value, ir.Constant(_WORD, number))
    places = [lane // LANES % len(values) for lane in range(_HALF)]
    return builder.shuffle_vector(pair, pair, ir.Constant(ir.VectorType(_WORD, _HALF), places))


def _mix_half(builder: Any, parts: list[Any], x: Any, z: Any) -> Any:
    near, across, deeper, both = parts
    here = builder.fadd(near, builder.fmul(x, across))
    step = builder.fadd(deeper, builder.fmul(x, both))
    return builder.fadd(here, builder.fmul(z, step))


@intrinsic
def _map(typing_context: Any, cells: Any, index: Any, x: Any, z: Any, red: Any, green: Any, blue: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cells, index, x, z, red, green, blue = arguments

        def load(part: int) -> Any:
            at = builder.add(index, ir.Constant(index.type, part * _HALF))
            return builder.load(find_address(context, builder, signature.args[0], cells, at, _EIGHT), align=4)

        x, z = _spread(builder, x), _spread(builder, z)
        low, high = (_mix_half(builder, [load(2 * part + half) for part in range(4)], x, z) for half in range(2))
        one = ir.Constant(ir.FloatType(), 1.0)
        products = builder.fadd(
            builder.fmul(low, _spread(builder, red, green)), builder.fmul(high, _spread(builder, blue, one))
        )
        halves = [
            builder.shuffle_vector(
                products, products, ir.Constant(ir.VectorType(_WORD, LANES), list(range(first, first + LANES)))
            )
            for first in (0, LANES)
        ]
        return builder.fadd(*halves)

    return FOUR_FLOATS(cells, types.uint64, *[types.float32] * 5), generate


def _map_plainly(
    cells: NDArray[np.float32],
    index: int,
    x: np.float32,
    z: np.float32,
    red: np.float32,
    green: np.float32,
    blue: np.float32,
) -> NDArray[np.float32]:
    near, across, deeper, both = cells[index : index + CELL_LANES].reshape(4, 4, LANES)
    maps = (near + x * across) + z * (deeper + x * both)
    return (maps[0] * red + maps[2] * blue) + (maps[1] * green + maps[3])


map_colour: Any = _map_plainly if config.DISABLE_JIT else _map
"""``map_colour(cells, index, x, z, red, green, blue)``: red, green, blue, and a number without meaning, of the colour that
the map at fractions `x` and `z` of the cell at an index of a float32 array makes of a colour."""
