# pyright: basic, reportAttributeAccessIssue=false, reportOptionalCall=false
"""Four float32 numbers as one value inside compiled kernels: a node of a colour cube, padded. Imports Numba only.

LLVM turns neighbouring scalars into such vectors by itself at times, and at times not; here it is said. Without the
compiler (NUMBA_DISABLE_JIT) the same names work on NumPy arrays of four, one rounding per operation in both cases
except in `add_product`.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

_VECTOR = ir.VectorType(ir.FloatType(), 4)
_PLACE = ir.IntType(32)


class _FourFloats(types.Type):
    def __init__(self) -> None:
        super().__init__(name="FourFloats")


_FOUR = _FourFloats()


@register_model(_FourFloats)
class _FourFloatsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _declare(function: Any, operation: str) -> None:
    @infer_global(function)
    class _Signature(ConcreteTemplate):
        cases = [signature(_FOUR, _FOUR, _FOUR)]  # noqa: RUF012 (Numba wants a list here)

    @lower_builtin(function, _FOUR, _FOUR)
    def _lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return getattr(builder, operation)(*arguments)


_declare(operator.add, "fadd")
_declare(operator.sub, "fsub")
_declare(operator.mul, "fmul")


def _point(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


@intrinsic
def _load(typing_context: Any, array: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.load(_point(context, builder, sig.args[0], *arguments), align=4)

    return _FOUR(array, types.uint64), generate


@intrinsic
def _store(typing_context: Any, array: Any, at: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _point(context, builder, sig.args[0], *arguments[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.uint64, _FOUR), generate


@intrinsic
def _spread(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), arguments[0], _PLACE(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_PLACE, 4), [0, 0, 0, 0]))

    return _FOUR(types.float32), generate


@intrinsic
def _add_product(typing_context: Any, total: Any, first: Any, second: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        multiply = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.v4f32")
        return builder.call(multiply, [arguments[1], arguments[2], arguments[0]])

    return _FOUR(_FOUR, _FOUR, _FOUR), generate


@intrinsic
def _transpose(typing_context: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        def mix(one: Any, other: Any, *order: int) -> Any:
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_PLACE, 4), list(order)))

        a, b, c, d = arguments
        low, high = mix(a, b, 0, 4, 1, 5), mix(a, b, 2, 6, 3, 7)
        low_too, high_too = mix(c, d, 0, 4, 1, 5), mix(c, d, 2, 6, 3, 7)
        columns = [
            mix(low, low_too, 0, 1, 4, 5),
            mix(low, low_too, 2, 3, 6, 7),
            mix(high, high_too, 0, 1, 4, 5),
            mix(high, high_too, 2, 3, 6, 7),
        ]
        return context.make_tuple(builder, sig.return_type, columns)

    return types.UniTuple(_FOUR, 4)(_FOUR, _FOUR, _FOUR, _FOUR), generate


def _load_plainly(array: Any, at: Any) -> Any:
    return array[int(at) : int(at) + 4].copy()


def _store_plainly(array: Any, at: Any, value: Any) -> None:
    array[int(at) : int(at) + 4] = value


def _spread_plainly(value: Any) -> Any:
    return np.full(4, value, np.float32)


def _add_product_plainly(total: Any, first: Any, second: Any) -> Any:
    return total + first * second


def _transpose_plainly(first: Any, second: Any, third: Any, fourth: Any) -> Any:
    return tuple(np.stack([first, second, third, fourth], axis=1))


load: Any = _load_plainly if config.DISABLE_JIT else _load
"""``load(array, at)``: the four numbers of a flat float32 array from index `at` (uint64) on."""
store: Any = _store_plainly if config.DISABLE_JIT else _store
"""``store(array, at, four)``: write them."""
spread: Any = _spread_plainly if config.DISABLE_JIT else _spread
"""``spread(number)``: the same float32 four times."""
add_product: Any = _add_product_plainly if config.DISABLE_JIT else _add_product
"""``add_product(total, a, b)``: total + a * b, rounded once where the machine can do that."""
transpose: Any = _transpose_plainly if config.DISABLE_JIT else _transpose
"""``transpose(a, b, c, d)``: the four vectors of first, second, third and fourth numbers."""
