# pyright: basic, reportAttributeAccessIssue=false
"""Four neighbouring samples, or two, in one memory access. Imports numba-cuda and NumPy.

Four are the widest that a GPU has.

A pixel of four samples is one access, and so is a node of a cube with a fourth entry for nothing; four pixels of three
samples are three. The samples must lie where the machine wants them: `fit_four` says whether they do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.device import is_simulated

FOUR = 4

_I = np.int32


def fit_four(flat: Any) -> bool:
    """Whether the first sample of a device array lies at a multiple of four samples, as buffers of their own always do."""
    return is_simulated() or flat.device_ctypes_pointer.value % (FOUR * flat.dtype.itemsize) == 0


def load_four(array, at):
    """Return the samples from `at` on, which is a multiple of four, int32."""
    return array[at], array[at + _I(1)], array[at + _I(2)], array[at + _I(3)]


def load_constant_four(array, at):
    """Return the samples from `at` on, as `load_four`, of an array that nobody writes at the same time."""
    return load_four(array, at)


def load_constant_two(array, at):
    """Return the samples from `at` on, which is even, int32, of an array that nobody writes at the same time."""
    return array[at], array[at + _I(1)]


def store_four(array, at, one, two, three, four):
    """Write samples from `at` on, which is a multiple of four, int32."""
    array[at] = one
    array[at + _I(1)] = two
    array[at + _I(2)] = three
    array[at + _I(3)] = four


def _declare_accesses() -> None:
    """Tell the compiler to turn each of the functions into one instruction; the simulator runs them as they stand.

    They stay plain functions: keys of the cache of compiled kernels hold what kernels use, and intrinsics have another
    name in every process.
    """
    from llvmlite import ir
    from numba import types
    from numba.cuda import cgutils
    from numba.cuda.extending import intrinsic, overload

    def point(context, builder, signature, arguments, count=FOUR):
        """Return a pointer to so many samples, and how they must be aligned."""
        array_type = signature.args[0]
        array = context.make_array(array_type)(context, builder, arguments[0])
        sample = context.get_data_type(array_type.dtype)
        place = builder.sext(arguments[1], ir.IntType(64))
        pointer = builder.gep(array.data, [place])
        vector = ir.VectorType(sample, count).as_pointer()
        return builder.bitcast(pointer, vector), count * array_type.dtype.bitwidth // 8

    def declare_load(is_constant, count=FOUR):
        def load(typing_context, array, at):
            def generate(context, builder, signature, arguments):
                pointer, alignment = point(context, builder, signature, arguments, count)
                vector = builder.load(pointer, align=alignment)
                if is_constant:
                    vector.set_metadata("invariant.load", builder.module.add_metadata([]))
                lanes = [builder.extract_element(vector, ir.IntType(32)(lane)) for lane in range(count)]
                return cgutils.pack_array(builder, lanes)

            return types.UniTuple(array.dtype, count)(array, types.int32), generate

        return intrinsic(load)

    def declare_store(typing_context, array, at, one, two, three, four):
        def generate(context, builder, signature, arguments):
            pointer, alignment = point(context, builder, signature, arguments)
            vector = ir.Constant(pointer.type.pointee, ir.Undefined)
            for lane, value in enumerate(arguments[2:]):
                vector = builder.insert_element(vector, value, ir.IntType(32)(lane))
            builder.store(vector, pointer, align=alignment)
            return context.get_dummy_value()

        return types.void(array, types.int32, *(array.dtype,) * FOUR), generate

    load: Any = declare_load(is_constant=False)
    load_constant: Any = declare_load(is_constant=True)
    load_two: Any = declare_load(is_constant=True, count=2)
    store: Any = intrinsic(declare_store)

    @overload(load_four, target="cuda")
    def choose_load(array, at):
        return lambda array, at: load(array, at)

    @overload(load_constant_four, target="cuda")
    def choose_constant_load(array, at):
        return lambda array, at: load_constant(array, at)

    @overload(load_constant_two, target="cuda")
    def choose_load_of_two(array, at):
        return lambda array, at: load_two(array, at)

    @overload(store_four, target="cuda")
    def choose_store(array, at, one, two, three, four):
        return lambda array, at, one, two, three, four: store(array, at, one, two, three, four)


if not is_simulated():
    _declare_accesses()
