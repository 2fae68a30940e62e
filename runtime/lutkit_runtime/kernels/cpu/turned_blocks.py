# pyright: basic, reportAttributeAccessIssue=false
"""Adding a block of values, turned, to another one: one load, one shuffle and one addition. Imports Numba only.

Left to itself LLVM moves the values of a block one by one, as every one lands elsewhere: sixteen loads, additions and
stores for each of three turns, a fifth of a kernel's time. Where the JIT is off, plain Python does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

_INT = ir.IntType(32)


def list_places(turns: int, side: int) -> list[int]:
    """Return which value of a block that was made under some turns belongs at each place, row by row."""
    last, end = side * side - 1, side - 1
    quarter = [(end - column) * side + row for row in range(side) for column in range(side)]
    return [quarter, list(range(last, -1, -1)), [last - place for place in quarter]][turns - 1]


def _make(turns: int) -> Callable[..., Any]:
    def add(typing_context: Any, target: Any, to: Any, source: Any, at: Any, side: Any) -> Any:
        places = list_places(turns, len(side))

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            target, to, source, at, _ = arguments
            target = context.make_array(signature.args[0])(context, builder, target)
            source = context.make_array(signature.args[2])(context, builder, source)
            kind = ir.VectorType(ir.IntType(signature.args[0].dtype.bitwidth), len(places))
            size = signature.args[0].dtype.bitwidth // 8
            place = builder.bitcast(builder.gep(target.data, [to]), kind.as_pointer())
            block = builder.load(builder.bitcast(builder.gep(source.data, [at]), kind.as_pointer()), align=size)
            order = ir.Constant(ir.VectorType(_INT, len(places)), places)
            turned = builder.shuffle_vector(block, ir.Constant(kind, ir.Undefined), order)
            builder.store(builder.add(builder.load(place, align=size), turned), place, align=size)
            return context.get_dummy_value()

        if target.dtype.bitwidth != source.dtype.bitwidth:
            raise TypeError("blocks of integers of different sizes")
        return types.void(target, types.uint64, source, types.uint64, side), generate

    def add_plainly(target: Any, to: Any, source: Any, at: Any, side: Any) -> None:
        for place, value in enumerate(list_places(turns, len(side))):
            target[int(to) + place] += source[int(at) + value]

    return add_plainly if config.DISABLE_JIT else intrinsic(add)


add_turned_once: Any = _make(1)
"""``add_turned_once(target, to, source, at, side)``: add the block at ``source[at:]``, made under one turn, turned back,
to that at ``target[to:]``; both hold integers of one size, and blocks as many rows and columns as `side` is long."""
add_turned_twice: Any = _make(2)
add_turned_thrice: Any = _make(3)
