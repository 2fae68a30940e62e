# pyright: basic, reportAttributeAccessIssue=false
"""Four float32 numbers in one vector register, for kernels that fetch a colour at once. Imports Numba, and
`scale_to_depth`.

LLVM turns a loop over pixels that looks colours up into gathers of single numbers, a dozen per pixel; four loads of whole
rows and arithmetic on them are several times faster, on every processor. Numba has no such type, so here is one. All
operations are plain ones of IEEE 754 on each lane, in the order they are called; nothing is contracted.

Where the JIT is off, lanes are NumPy arrays of four.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray

from lutkit_runtime.cube import scale_to_depth

LANES = 4


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="FourFloats")


FOUR_FLOATS = _Lanes()
"""Numba's type of them."""
_FLOATS = ir.VectorType(ir.FloatType(), LANES)


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


def find_address(context: Any, builder: Any, kind: Any, value: Any, index: Any, lanes: Any) -> Any:
    """Return the address of an entry of an array, as that of a vector."""
    array = context.make_array(kind)(context, builder, value)
    return builder.bitcast(builder.gep(array.data, [index]), lanes.as_pointer())


def _splat(builder: Any, value: Any, lanes: ir.VectorType) -> Any:
    whole = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(whole, ir.Constant(lanes, ir.Undefined), zeros)


def _constant(value: float) -> Any:
    return ir.Constant(_FLOATS, [value] * LANES)


@intrinsic
def _load(typing_context: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(
            find_address(context, builder, signature.args[0], arguments[0], arguments[1], _FLOATS), align=4
        )

    return FOUR_FLOATS(array, types.uint64), generate


def _load_plainly(array: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    return array[index : index + LANES].copy()


@intrinsic
def _weigh(typing_context: Any, weight: Any, lanes: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(_splat(builder, arguments[0], _FLOATS), arguments[1])

    return FOUR_FLOATS(types.float32, FOUR_FLOATS), generate


def _weigh_plainly(weight: np.float32, lanes: NDArray[np.float32]) -> NDArray[np.float32]:
    return weight * lanes


@intrinsic
def _add(typing_context: Any, left: Any, right: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments)

    return FOUR_FLOATS(FOUR_FLOATS, FOUR_FLOATS), generate


def _add_plainly(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    return left + right


@intrinsic
def _mix(typing_context: Any, fraction: Any, below: Any, above: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        fraction, below, above = arguments
        step = builder.fmul(_splat(builder, fraction, _FLOATS), builder.fsub(above, below))
        return builder.fadd(below, step)

    return FOUR_FLOATS(types.float32, FOUR_FLOATS, FOUR_FLOATS), generate


def _mix_plainly(fraction: np.float32, below: NDArray[np.float32], above: NDArray[np.float32]) -> NDArray[Any]:
    return below + fraction * (above - below)


def _convert(builder: Any, lanes: Any, kind: Any) -> Any:
    """Twin of `scale_to_depth`: turn lanes into entries of an array."""
    if kind.dtype == types.float32:
        return lanes
    peak, zero = _constant(2.0**kind.dtype.bitwidth - 1), _constant(0.0)
    scaled = builder.fadd(builder.fmul(lanes, peak), _constant(0.5))
    above = builder.select(builder.fcmp_ordered(">", scaled, zero), scaled, zero)
    inside = builder.select(builder.fcmp_ordered("<", above, peak), above, peak)
    wide = builder.fptosi(inside, ir.VectorType(ir.IntType(32), LANES))
    return builder.trunc(wide, ir.VectorType(ir.IntType(kind.dtype.bitwidth), LANES))


@intrinsic
def _store(typing_context: Any, lanes: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, array, index = arguments
        kind = signature.args[1]
        entries = _convert(builder, lanes, kind)
        place = find_address(context, builder, kind, array, index, entries.type)
        builder.store(entries, place, align=kind.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(FOUR_FLOATS, array, types.uint64), generate


def _store_plainly(lanes: NDArray[np.float32], array: NDArray[Any], index: int) -> None:
    array[index : index + LANES] = scale_to_depth(lanes, array.dtype)


@intrinsic
def _store_and(typing_context: Any, lanes: Any, fourth: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, fourth, array, index = arguments
        kind = signature.args[2]
        entries = builder.insert_element(_convert(builder, lanes, kind), fourth, ir.Constant(ir.IntType(32), LANES - 1))
        place = find_address(context, builder, kind, array, index, entries.type)
        builder.store(entries, place, align=kind.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(FOUR_FLOATS, array.dtype, array, types.uint64), generate


def _store_and_plainly(lanes: NDArray[np.float32], fourth: Any, array: NDArray[Any], index: int) -> None:
    _store_plainly(lanes, array, index)
    array[index + LANES - 1] = fourth


_PLAIN = bool(config.DISABLE_JIT)

load_lanes: Any = _load_plainly if _PLAIN else _load
"""``load_lanes(array, index)``: four neighbouring entries of a float32 array."""
weigh_lanes: Any = _weigh_plainly if _PLAIN else _weigh
"""``weigh_lanes(weight, lanes)``: every lane times a float32."""
add_lanes: Any = _add_plainly if _PLAIN else _add
"""``add_lanes(left, right)``."""
mix_lanes: Any = _mix_plainly if _PLAIN else _mix
"""``mix_lanes(fraction, below, above)``: below + fraction (above - below)."""
store_lanes: Any = _store_plainly if _PLAIN else _store
"""``store_lanes(lanes, array, index)``: to four neighbouring entries of a uint8, uint16 or float32 array, as
`scale_to_depth` converts."""
store_lanes_and: Any = _store_and_plainly if _PLAIN else _store_and
"""``store_lanes_and(lanes, fourth, array, index)``: likewise three lanes, and an entry of the array's own type."""
