# pyright: basic, reportAttributeAccessIssue=false
"""The way back through a pixel's affine map, in vector registers: to the maps around it, its level and its colour.

Imports Numba, and `float_lanes`. A map is sixteen numbers as in `map_lanes`; here the maps of a row of cells lie one after
the other, as in a grid, and a pixel lies between four of them: `near` is the index of the first, `right` and `deep` are the
steps to the next column and to the next level (0 where there is only one). Gradients need not be the same bits on every
machine, so products and sums may be contracted.

Where the JIT is off, lanes are NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.float_lanes import FOUR_FLOATS, LANES, find_address
from lutkit_runtime.kernels.cpu.map_lanes import MAP_LANES

_FLOAT, _WORD = ir.FloatType(), ir.IntType(32)
_MAP = ir.VectorType(_FLOAT, MAP_LANES)
_ONE = ir.Constant(_FLOAT, 1.0)
_PLACE = (types.uint64, types.uint64, types.uint64)


def _shuffle(builder: Any, lanes: Any, order: list[int], other: Any = None) -> Any:
    kind = ir.VectorType(_WORD, len(order))
    return builder.shuffle_vector(lanes, lanes if other is None else other, ir.Constant(kind, order))


def _repeat(builder: Any, four: Any) -> Any:
    """Return four lanes, four times."""
    return _shuffle(builder, four, [lane % LANES for lane in range(MAP_LANES)])


def _spread(builder: Any, *values: Any) -> Any:
    """Return lanes of which each of the values fills an equal run."""
    lanes = ir.Constant(ir.VectorType(_FLOAT, LANES), ir.Undefined)
    for number, value in enumerate(values):
        lanes = builder.insert_element(lanes, value, _WORD(number))
    return _shuffle(builder, lanes, [lane * len(values) // MAP_LANES for lane in range(MAP_LANES)])


def _add_product(builder: Any, total: Any, first: Any, second: Any) -> Any:
    kind = ir.FunctionType(_MAP, [_MAP] * 3)
    multiply = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{MAP_LANES}f32")
    return builder.call(multiply, [first, second, total])


def _find_corners(context: Any, builder: Any, kind: Any, maps: Any, near: Any, right: Any, deep: Any) -> list[Any]:
    """Return the addresses of the near, the right, the deep and the far map."""
    beside = builder.add(near, right)
    places = [near, beside, builder.add(near, deep), builder.add(beside, deep)]
    return [find_address(context, builder, kind, maps, place, _MAP) for place in places]


def _weigh_entries(builder: Any, red: Any, green: Any, blue: Any, slope: Any) -> Any:
    """Return the gradient to the entries of the pixel's own map: what each is multiplied with, times the slope."""
    return builder.fmul(_spread(builder, red, green, blue, _ONE), _repeat(builder, slope))


@intrinsic
def _share(
    typing_context: Any,
    sums: Any,
    near: Any,
    right: Any,
    deep: Any,
    x: Any,
    z: Any,
    red: Any,
    green: Any,
    blue: Any,
    slope: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, near, right, deep, x, z, red, green, blue, slope = arguments
        entries = _weigh_entries(builder, red, green, blue, slope)
        before, above = builder.fsub(_ONE, x), builder.fsub(_ONE, z)
        weights = [builder.fmul(*pair) for pair in ((before, above), (x, above), (before, z), (x, z))]
        corners = _find_corners(context, builder, signature.args[0], sums, near, right, deep)
        # one after the other: where there is one column or one level, corners are the same
        for weight, corner in zip(weights, corners, strict=True):
            total = _add_product(builder, builder.load(corner, align=4), _spread(builder, weight), entries)
            builder.store(total, corner, align=4)
        return context.get_dummy_value()

    return types.void(sums, *_PLACE, *[types.float32] * 5, FOUR_FLOATS), generate


def _share_plainly(
    sums: NDArray[np.float32],
    near: int,
    right: int,
    deep: int,
    x: np.float32,
    z: np.float32,
    red: np.float32,
    green: np.float32,
    blue: np.float32,
    slope: NDArray[np.float32],
) -> None:
    entries = np.outer(np.array([red, green, blue, 1], np.float32), slope).reshape(-1)
    weights = ((1 - x) * (1 - z), x * (1 - z), (1 - x) * z, x * z)
    for weight, corner in zip(weights, (near, near + right, near + deep, near + right + deep), strict=True):
        sums[int(corner) : int(corner) + MAP_LANES] += weight * entries


@intrinsic
def _differ(
    typing_context: Any,
    maps: Any,
    near: Any,
    right: Any,
    deep: Any,
    x: Any,
    red: Any,
    green: Any,
    blue: Any,
    slope: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        maps, near, right, deep, x, red, green, blue, slope = arguments
        places = _find_corners(context, builder, signature.args[0], maps, near, right, deep)
        corners = [builder.load(place, align=4) for place in places]
        step = builder.fsub(corners[2], corners[0])
        bend = builder.fsub(builder.fsub(corners[3], corners[1]), step)
        step = _add_product(builder, step, _spread(builder, x), bend)
        products = builder.fmul(step, _weigh_entries(builder, red, green, blue, slope))
        half = MAP_LANES // 2
        low, high = (_shuffle(builder, products, list(range(first, first + half))) for first in (0, half))
        halves = builder.fadd(low, high)
        low, high = (_shuffle(builder, halves, list(range(first, first + LANES))) for first in (0, LANES))
        return builder.fadd(low, high)

    return FOUR_FLOATS(maps, *_PLACE, *[types.float32] * 4, FOUR_FLOATS), generate


def _load_corners(maps: NDArray[np.float32], near: int, right: int, deep: int) -> list[NDArray[np.float32]]:
    places = (near, near + right, near + deep, near + right + deep)
    return [maps[int(place) : int(place) + MAP_LANES].reshape(4, LANES) for place in places]


def _differ_plainly(
    maps: NDArray[np.float32],
    near: int,
    right: int,
    deep: int,
    x: np.float32,
    red: np.float32,
    green: np.float32,
    blue: np.float32,
    slope: NDArray[np.float32],
) -> NDArray[np.float32]:
    corners = _load_corners(maps, near, right, deep)
    step = corners[2] - corners[0]
    step = step + x * ((corners[3] - corners[1]) - step)
    return (step * slope * np.array([red, green, blue, 1], np.float32)[:, None]).sum(0)


@intrinsic
def _turn(typing_context: Any, maps: Any, near: Any, right: Any, deep: Any, x: Any, z: Any, slope: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        maps, near, right, deep, x, z, slope = arguments
        places = _find_corners(context, builder, signature.args[0], maps, near, right, deep)
        corners = [builder.load(place, align=4) for place in places]
        x, z = _spread(builder, x), _spread(builder, z)
        above = _add_product(builder, corners[0], x, builder.fsub(corners[1], corners[0]))
        below = _add_product(builder, corners[2], x, builder.fsub(corners[3], corners[2]))
        own = _add_product(builder, above, z, builder.fsub(below, above))
        products = builder.fmul(own, _repeat(builder, slope))
        pairs = builder.fadd(
            _shuffle(builder, products, list(range(0, MAP_LANES, 2))),
            _shuffle(builder, products, list(range(1, MAP_LANES, 2))),
        )
        return builder.fadd(_shuffle(builder, pairs, [0, 2, 4, 6]), _shuffle(builder, pairs, [1, 3, 5, 7]))

    return FOUR_FLOATS(maps, *_PLACE, types.float32, types.float32, FOUR_FLOATS), generate


def _turn_plainly(
    maps: NDArray[np.float32],
    near: int,
    right: int,
    deep: int,
    x: np.float32,
    z: np.float32,
    slope: NDArray[np.float32],
) -> NDArray[np.float32]:
    corners = _load_corners(maps, near, right, deep)
    above, below = (first + x * (second - first) for first, second in (corners[:2], corners[2:]))
    return ((above + z * (below - above)) * slope).sum(1)


_PLAIN = bool(config.DISABLE_JIT)

share_map: Any = _share_plainly if _PLAIN else _share
"""``share_map(sums, near, right, deep, x, z, red, green, blue, slope)``: add what a pixel gives to the four maps around it,
from its colour and the gradient to what its map makes of that."""
differ_map: Any = _differ_plainly if _PLAIN else _differ
"""``differ_map(maps, near, right, deep, x, red, green, blue, slope)``: four numbers whose sum is the derivative along the
levels, times the gradient."""
turn_slope: Any = _turn_plainly if _PLAIN else _turn
"""``turn_slope(maps, near, right, deep, x, z, slope)``: the gradient to red, green and blue of the colour itself, and a number
without meaning."""
