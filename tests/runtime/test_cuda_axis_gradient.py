"""Axis lookups trained on a GPU, in Numba's simulator: sums of the reference, gradients of the definition."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install numba-cuda")

from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.kernels.cuda.axis_gradient import TrainableAxisLookup
from lutkit_runtime.kernels.cuda.memory import Planes, Pool, upload
from lutkit_runtime.ops import AxisLookup, Tap
from lutkit_runtime.padding import Padding


def make_op(taps, *, low, size, outputs, depthwise=False, padding=Padding.EDGE, steps=(1, 4)):
    per_tap = 1 if depthwise else outputs
    spacing = tuple(tuple(steps[(tap + output) % len(steps)] for output in range(per_tap)) for tap in range(len(taps)))
    op = AxisLookup(
        output="sums",
        input="image",
        slot="table",
        taps=tuple(Tap(*tap) for tap in taps),
        tables=AxisTables(low=low, size=size, steps=spacing),
        outputs=outputs,
        depthwise=depthwise,
        padding=padding,
    )
    op.validate()
    return op


OPS = {  # with the number of channels and the type of the planes
    "dense, aside": (make_op([(0, 0, 0), (1, -1, 2), (1, 1, 0)], low=-16, size=32, outputs=3), 2, np.int32),
    "pointwise, reflected": (
        make_op([(0, 0, 0), (0, 0, 1)], low=0, size=256, outputs=1, padding=Padding.REFLECT, steps=(16,)),
        1,
        np.uint8,
    ),
    "depthwise": (
        make_op(
            [(0, 0, 0), (0, 0, 1), (2, -1, -1)], low=0, size=16, outputs=3, depthwise=True, padding=Padding.REFLECT
        ),
        3,
        np.int32,
    ),
}


def differentiate(op, values, planes, gradient):
    """Return the gradients to values and planes in float64, as the definition has them."""
    count, _, height, width = planes.shape
    rows, columns = (op.padding.index(length, op.halo, op.halo) for length in (height, width))
    to_values, to_planes = np.zeros(values.shape), np.zeros(planes.shape)
    ends = np.arange(op.tables.size)
    above, below = np.minimum(ends + 1, ends[-1]), np.maximum(ends - 1, 0)
    slopes = (values[:, above] - values[:, below]) / (above - below)[:, None]
    for plane, row, column in np.ndindex(count, height, width):
        for number, tap in enumerate(op.taps):
            at = plane, tap.channel, rows[op.halo + row + tap.row], columns[op.halo + column + tap.column]
            outputs = [tap.channel] if op.depthwise else range(op.outputs)
            received = gradient[plane, outputs, row, column].astype(np.float64)
            value = planes[at] - op.tables.low
            to_values[number, value] += received
            to_planes[at] += received @ slopes[number, value]
    return to_values, to_planes


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("size", [(2, 3, 4), (1, 1, 1)])
def test_lookup_equals_its_definition_forward_and_backward(name, size):
    op, channels, dtype = OPS[name]
    rng = np.random.default_rng(4)
    entries = rng.integers(-128, 128, (op.tables.entries, 1)).astype(np.int8)
    values = op.tables.lay_out().expand(entries)
    shape = (size[0], channels, *size[1:])
    planes = rng.integers(op.tables.low, op.tables.low + op.tables.size, shape).astype(dtype)
    planes[0] = rng.choice([op.tables.low, op.tables.low + op.tables.size - 1], shape[1:])
    gradient = (rng.normal(size=(size[0], op.outputs, *size[1:])) * 1e-4).astype(np.float32)
    expected = op.reference({"image": planes.astype(np.int64)}, {"table": entries})
    expected_values, expected_planes = differentiate(op, values, planes.astype(np.int64), gradient)

    trainable = TrainableAxisLookup(op)
    on_device = Planes(upload(planes), *shape)
    narrow, out = upload(values.astype(np.int16)), upload(np.zeros(gradient.shape, np.int32))
    to_values, to_planes = upload(np.ones(values.shape, np.float32)), upload(np.ones(shape, np.float32))
    with Pool().session(0) as session:
        trainable.run(session, narrow, on_device, out)
        trainable.differentiate(session, narrow, on_device, upload(gradient), to_values, to_planes)
    np.testing.assert_array_equal(out.copy_to_host().reshape(gradient.shape), expected)
    for found, like in ((to_values, expected_values), (to_planes, expected_planes)):
        scale = np.abs(like).max()
        assert scale > 0
        np.testing.assert_allclose(found.copy_to_host().reshape(like.shape) / scale, like / scale, rtol=0, atol=1e-7)
