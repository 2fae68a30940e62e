# pyright: basic, reportAttributeAccessIssue=false
"""Four neighbouring samples in one memory access: the widest that a GPU has. Imports numba-cuda and NumPy.

A pixel of four samples is one access, and so is a node of a cube with a fourth entry for nothing; four pixels of three
samples are three. The samples must lie where the machine wants them: `fit_four` says whether they do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import cuda
from lutkit_runtime.kernels.cuda.device import is_simulated

FOUR = 4


def fit_four(flat: Any) -> bool:
    """Whether the first sample of a device array lies at a multiple of four samples, as buffers of their own always do."""
    return is_simulated() or flat.device_ctypes_pointer.value % (FOUR * flat.dtype.itemsize) == 0


@cuda.jit(device=True)
def _load_simulated(array, at):
    return array[at], array[at + np.int32(1)], array[at + np.int32(2)], array[at + np.int32(3)]


@cuda.jit(device=True)
def _store_simulated(array, at, one, two, three, four):
    array[at] = one
    array[at + np.int32(1)] = two
    array[at + np.int32(2)] = three
    array[at + np.int32(3)] = four


def _make_accesses() -> tuple[Any, Any, Any]:
    """Return the functions of the GPU, which the compiler turns into one instruction each."""
    from llvmlite import ir
    from numba import types
    from numba.cuda import cgutils
    from numba.cuda.extending import intrinsic

    def point(context, builder, signature, arguments):
        """Return a pointer to four samples, and how they must be aligned."""
        array_type = signature.args[0]
        array = context.make_array(array_type)(context, builder, arguments[0])
        sample = context.get_data_type(array_type.dtype)
        place = builder.sext(arguments[1], ir.IntType(64))
        pointer = builder.gep(array.data, [place])
        return builder.bitcast(pointer, ir.VectorType(sample, FOUR).as_pointer()), FOUR * array_type.dtype.bitwidth // 8

    def declare_load(is_constant):
        def load(typing_context, array, at):
            def generate(context, builder, signature, arguments):
                pointer, alignment = point(context, builder, signature, arguments)
                vector = builder.load(pointer, align=alignment)
                if is_constant:
                    vector.set_metadata("invariant.load", builder.module.add_metadata([]))
                lanes = [builder.extract_element(vector, ir.IntType(32)(lane)) for lane in range(FOUR)]
                return cgutils.pack_array(builder, lanes)

            return types.UniTuple(array.dtype, FOUR)(array, types.int32), generate

        return intrinsic(load)

    def store(typing_context, array, at, one, two, three, four):
        def generate(context, builder, signature, arguments):
            pointer, alignment = point(context, builder, signature, arguments)
            vector = ir.Constant(pointer.type.pointee, ir.Undefined)
            for lane, value in enumerate(arguments[2:]):
                vector = builder.insert_element(vector, value, ir.IntType(32)(lane))
            builder.store(vector, pointer, align=alignment)
            return context.get_dummy_value()

        return types.void(array, types.int32, *(array.dtype,) * FOUR), generate

    return declare_load(is_constant=False), declare_load(is_constant=True), intrinsic(store)


load_four, load_constant_four, store_four = (
    (_load_simulated, _load_simulated, _store_simulated) if is_simulated() else _make_accesses()
)
"""``load_four(array, at)`` returns the samples from `at` on; `load_constant_four` those of an array that no kernel writes
at the same time; ``store_four(array, at, one, two, three, four)`` writes them. `at` is a multiple of four, int32."""
