# pyright: basic
"""An axis lookup whose tables are trained on the GPU: forward and backward. Imports axis_lookup and fixed_point.

The reference of the backward pass is automatic differentiation of the op with one rule: the gradient to a sample is half
the difference of its neighbours in the table, at an end the difference to the only one. Sums are exact: see `fixed_point`.
Arrays are given as `TrainableStage` is given them; values lie as `Layout.expand` returns them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda import fixed_point
from lutkit_runtime.kernels.cuda.axis_lookup import TapsOnDevice
from lutkit_runtime.kernels.cuda.compiling import cuda, kernel
from lutkit_runtime.kernels.cuda.fixed_point import find_bits, find_scale, quantise
from lutkit_runtime.kernels.cuda.memory import Planes, Session, upload
from lutkit_runtime.kernels.cuda.padding import pad
from lutkit_runtime.kernels.cuda.plane_lines import EACH
from lutkit_runtime.kernels.cuda.stage_gradient import clear, find_largest_in, fold
from lutkit_runtime.ops import AxisLookup
from lutkit_runtime.ops.axis_lookup import LARGEST_ENTRY

_I, _L = np.int32, np.int64


@kernel("float32[::1], int32, int32, int32[::1], int32, int32[::1]")
def quantise_pixels(count, gradient, outputs, samples, largest, bits, out):
    """Turn gradients (N, outputs, samples) into integers (N, samples, outputs)."""
    i = _I(cuda.grid(1))
    if i < count:
        output, pixel = _I(i % outputs), _I(i // outputs)
        plane, place = _I(pixel // samples), _I(pixel % samples)
        value = gradient[_I(_I(_I(_I(plane * outputs) + output) * samples) + place)]
        out[i] = quantise(value, find_scale(largest[0], bits))


@kernel(
    *(
        f"{given}, int32[::1], int32, int32, int32, int32, int32, int32, int32[::1], int32[::1], int32[::1], int32, "
        "int64[::1]"
        for given in EACH
    )
)
def accumulate_values(
    count, padded, slopes, channels, height, width, reach, outputs, low, starts, taps, tables, stride, sums
):
    """Add the gradient of every sum to the values that its taps have read; a thread does a sample of the result.

    Parameters
    ----------
    slopes : (N * H * W * outputs,)
        Gradients as integers, pixel by pixel.
    starts, taps, tables, stride
        As for `sum_taps`.
    """
    i = _I(cuda.grid(1))
    if i < count and slopes[i] != 0:
        slope = _L(slopes[i])
        output, pixel = _I(i % outputs), _I(i // outputs)
        samples = _I(width * height)
        colour, place = _I(pixel // samples), _I(pixel % samples)
        columns, rows = _I(width + _I(2 * reach)), _I(height + _I(2 * reach))
        row, column = _I(_I(place // width) + reach), _I(_I(place % width) + reach)
        here = _I(_I(_I(_I(_I(colour * channels) * rows) + row) * columns) + column)
        for tap in range(starts[output], starts[output + 1]):
            above = _I(_I(taps[3 * tap] * rows) + taps[3 * tap + 1])
            sample = _I(padded[_I(_I(here + _I(above * columns)) + taps[3 * tap + 2])])
            cuda.atomic.add(sums, _I(tables[tap] + _I(_I(sample - low) * stride)), slope)


@kernel(
    *(
        f"{given}, int32[::1], int32, int32, int32, int32, int32, int32, int32, int32, int32[::1], int16[::1], int64[::1]"
        for given in EACH
    )
)
def accumulate_taps(
    count, padded, slopes, channels, height, width, reach, outputs, per_tap, low, size, taps, values, sums
):
    """Add to every padded sample what twice the slopes of its tables make of the gradients; a thread does a tap of a pixel.

    Parameters
    ----------
    slopes
        As for `accumulate_values`.
    per_tap
        How many outputs a tap adds to: all, or that of its channel.
    taps : (taps, 3)
    values : (taps, size, per_tap)
    sums : like padded
    """
    i = _I(cuda.grid(1))
    if i < count:
        number = _I(taps.size // 3)
        samples = _I(width * height)
        pixels = _I(count // number)
        tap, pixel = _I(i // pixels), _I(i % pixels)
        colour, place = _I(pixel // samples), _I(pixel % samples)
        columns, rows = _I(width + _I(2 * reach)), _I(height + _I(2 * reach))
        row, column = _I(_I(place // width) + reach), _I(_I(place % width) + reach)
        channel = taps[3 * tap]
        line = _I(_I(_I(_I(colour * channels) + channel) * rows) + _I(row + taps[3 * tap + 1]))
        at = _I(_I(_I(line * columns) + column) + taps[3 * tap + 2])
        value = _I(_I(padded[at]) - low)
        above, below = min(_I(value + 1), _I(size - 1)), max(_I(value - 1), _I(0))
        twice = _L(2) if _I(above - below) == 1 else _L(1)
        start = _I(tap * size)
        upper, lower = _I(_I(start + above) * per_tap), _I(_I(start + below) * per_tap)
        first = _I(pixel * outputs)
        if per_tap == 1 and outputs > 1:
            first = _I(first + channel)
        total = _L(0)
        for output in range(per_tap):
            rise = _I(_I(values[_I(upper + output)]) - _I(values[_I(lower + output)]))
            total += _L(slopes[_I(first + output)]) * _L(rise)
        if total != 0:
            cuda.atomic.add(sums, at, total * twice)


class TrainableAxisLookup:
    """An axis lookup that is given its values at every call.

    Parameters
    ----------
    op : AxisLookup
    """

    def __init__(self, op: AxisLookup) -> None:
        self.op = op
        self._taps = TapsOnDevice(op, by_output=False)
        self._places = upload(np.array([(tap.channel, tap.row, tap.column) for tap in op.taps], np.int32))

    def run(self, session: Session, values: Any, planes: Planes, out: Any) -> None:
        """Write the sums.

        Parameters
        ----------
        session : Session
        values : int16, (taps * size * outputs of a tap,)
            Interpolated, times the denominator.
        planes : Planes of uint8 or int32
        out : int32, (N * outputs * H * W,)
        """
        padded = pad(session, planes, self.op.padding, self.op.halo)
        result = Planes(out, planes.colours, self.op.outputs, planes.height, planes.width)
        self._taps.sum(session, padded, values, result)

    def differentiate(
        self, session: Session, values: Any, planes: Planes, gradient: Any, to_values: Any, to_planes: Any | None
    ) -> None:
        """Write the gradients to the values and to the planes.

        Parameters
        ----------
        session, values, planes
            As for `run`.
        gradient : float32, (N * outputs * H * W,)
            Gradient to the sums.
        to_values : float32, like values
        to_planes : float32, (N * channels * H * W,), or None where it is not wanted
        """
        op, stream, factor = self.op, session.stream, np.float32(1)
        pixels = planes.colours * planes.height * planes.width
        bits = find_axis_bits(op, pixels)
        largest = find_largest_in(session, gradient)
        slopes = session.empty(gradient.size, np.int32)
        quantise_pixels.launch(
            gradient.size, stream, gradient, op.outputs, planes.height * planes.width, largest, bits, slopes
        )
        padded = pad(session, planes, op.padding, op.halo)
        extent = (planes.channels, planes.height, planes.width, op.halo, op.outputs)
        sums = clear(session, to_values.size)
        taps = self._taps
        accumulate_values.launch(
            pixels * op.outputs,
            stream,
            padded.flat,
            slopes,
            *extent,
            op.tables.low,
            taps.starts,
            taps.taps,
            taps.tables,
            taps.stride,
            sums,
        )
        fixed_point.settle.launch(to_values.size, stream, sums, 0, taps.starts, 0, 1, largest, bits, factor, to_values)
        if to_planes is None:
            return
        padded_sums = clear(session, padded.size)
        accumulate_taps.launch(
            pixels * len(op.taps),
            stream,
            padded.flat,
            slopes,
            *extent,
            op.outputs_per_tap,
            op.tables.low,
            op.tables.size,
            self._places,
            values,
            padded_sums,
        )
        folded = fold(session, op.padding, op.halo, planes, padded, padded_sums)
        fixed_point.settle.launch(
            planes.size, stream, folded, 0, taps.starts, 0, 1, largest, bits, np.float32(0.5), to_planes
        )


def find_axis_bits(op: AxisLookup, pixels: int) -> int:
    """Return how many bits gradients to the sums of a lookup may have.

    An entry receives every pixel at most. A sample is read by one pixel for each tap, as often as padding repeats it, and
    goes into the outputs of a tap; twice the slope of a table is at most twice the difference of its extremes.
    """
    steepest = 4 * LARGEST_ENTRY * op.tables.denominator
    repeated = (2 * op.halo + 1) ** 2
    return find_bits(pixels, len(op.taps) * op.outputs_per_tap * steepest * repeated)
