# pyright: basic, reportAttributeAccessIssue=false
"""Sums of four weighted nodes in integers, three channels at once. Imports Numba, and the shift of the packed arithmetic.

The definition adds 64-bit words of three lanes. Here a node is four numbers of 16 bits, of which the last is not used:
the same integers, and the form that processors multiply and add in pairs. Where the JIT is off, NumPy does it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic
from numpy.typing import NDArray

from lutkit_runtime.cube import PACKED_SHIFT

LANES = 4

_INT = ir.IntType(32)
_NODE = ir.VectorType(ir.IntType(16), LANES)
_PAIRS = ir.VectorType(ir.IntType(16), 2 * LANES)
_PRODUCTS = ir.VectorType(_INT, 2 * LANES)
_SUMS = ir.VectorType(_INT, LANES)
_CODES = ir.VectorType(ir.IntType(8), LANES)


def _pick(builder: Any, one: Any, other: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INT, len(lanes)), lanes))


def _weigh_pair(builder: Any, nodes: Any, one: Any, other: Any, weights: Any) -> Any:
    """Return node `one` times the lower half of `weights` plus node `other` times the upper half."""

    def load(row: Any) -> Any:
        return builder.load(builder.bitcast(builder.gep(nodes.data, [row]), _NODE.as_pointer()), align=8)

    nothing = ir.Constant(_SUMS, ir.Undefined)
    spread = builder.insert_element(nothing, weights, ir.Constant(_INT, 0))
    spread = builder.bitcast(_pick(builder, spread, nothing, [0] * LANES), _PAIRS)
    mixed = _pick(builder, load(one), load(other), [0, 4, 1, 5, 2, 6, 3, 7])
    products = builder.mul(builder.sext(mixed, _PRODUCTS), builder.sext(spread, _PRODUCTS))
    # LLVM knows this sum of neighbours as one instruction
    even, odd = (_pick(builder, products, products, [first, first + 2, first + 4, first + 6]) for first in (0, 1))
    return builder.add(even, odd)


@intrinsic
def _store_sum(
    typing_context: Any,
    nodes: Any,
    first: Any,
    second: Any,
    third: Any,
    fourth: Any,
    near: Any,
    far: Any,
    alpha: Any,
    out: Any,
    at: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nodes, first, second, third, fourth, near, far, alpha, out, at = arguments
        nodes = context.make_array(signature.args[0])(context, builder, nodes)
        target = context.make_array(signature.args[8])(context, builder, out)
        total = builder.add(
            _weigh_pair(builder, nodes, first, second, near), _weigh_pair(builder, nodes, third, fourth, far)
        )
        total = builder.add(total, ir.Constant(_SUMS, [1 << (PACKED_SHIFT - 1)] * LANES))
        codes = builder.trunc(builder.lshr(total, ir.Constant(_SUMS, [PACKED_SHIFT] * LANES)), _CODES)
        codes = builder.insert_element(codes, alpha, ir.Constant(_INT, LANES - 1))
        builder.store(codes, builder.bitcast(builder.gep(target.data, [at]), _CODES.as_pointer()), align=1)
        return context.get_dummy_value()

    row = types.uint64
    return types.void(nodes, row, row, row, row, types.int32, types.int32, types.uint8, out, row), generate


def _store_sum_plainly(
    nodes: NDArray[np.uint64],
    first: int,
    second: int,
    third: int,
    fourth: int,
    near: int,
    far: int,
    alpha: int,
    out: NDArray[np.uint8],
    at: int,
) -> None:
    lanes = nodes.view(np.uint16).reshape(-1, LANES)
    total = np.full(LANES, 1 << (PACKED_SHIFT - 1))
    rows = (int(first), int(second), int(third), int(fourth))
    weights = (int(near) & 0xFFFF, int(near) >> 16, int(far) & 0xFFFF, int(far) >> 16)
    for row, weight in zip(rows, weights, strict=True):
        total += weight * lanes[row].astype(np.int64)
    out[at : at + 3] = total[:3] >> PACKED_SHIFT
    out[at + 3] = alpha


store_sum: Any = _store_sum_plainly if config.DISABLE_JIT else _store_sum
"""``store_sum(nodes, first, second, third, fourth, near, far, alpha, out, at)``: write a colour and its alpha, 8 bits.

``nodes`` holds a node in every uint64, the rest are rows; ``near`` and ``far`` are int32 with the weights of first and
second, and of third and fourth, in their lower and upper halves. Twin of `interpolate_packed`.
"""
