# pyright: basic
"""CUDA twin of the axis lookup: sums of one-dimensional tables. Imports compiling, memory and padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import cuda, kernel
from lutkit_runtime.kernels.cuda.memory import Planes, Session, upload
from lutkit_runtime.kernels.cuda.padding import pad
from lutkit_runtime.kernels.cuda.plane_lines import EACH
from lutkit_runtime.ops import AxisLookup

_I = np.int32


@kernel(
    *(
        f"{given}, int32, int32, int32, int32, int32, int32, int32[::1], int32[::1], int32[::1], int32, int16[::1], "
        "int32[::1]"
        for given in EACH
    )
)
def sum_taps(count, padded, channels, height, width, reach, outputs, low, starts, taps, tables, stride, values, out):
    """Twin of `AxisLookup.reference`; a thread does a sample of the result.

    Parameters
    ----------
    starts : (outputs + 1,)
        Where the taps of each output begin.
    taps : (all taps, 3)
        Channel, row and column.
    tables : (all taps,)
        Where the values of each begin.
    stride
        How far they are apart.
    values : int16
    """
    i = _I(cuda.grid(1))
    if i < count:
        samples = _I(width * height)
        plane, place = _I(i // samples), _I(i % samples)
        colour, output = _I(plane // outputs), _I(plane % outputs)
        columns = _I(width + _I(2 * reach))
        rows = _I(height + _I(2 * reach))
        row, column = _I(_I(place // width) + reach), _I(_I(place % width) + reach)
        here = _I(_I(_I(_I(_I(colour * channels) * rows) + row) * columns) + column)
        total = _I(0)
        for tap in range(starts[output], starts[output + 1]):
            above = _I(_I(taps[3 * tap] * rows) + taps[3 * tap + 1])
            sample = _I(padded[_I(_I(here + _I(above * columns)) + taps[3 * tap + 2])])
            total = _I(total + _I(values[_I(tables[tap] + _I(_I(sample - low) * stride))]))
        out[i] = total


class TapsOnDevice:
    """Where an axis lookup reads, on the GPU.

    Parameters
    ----------
    op : AxisLookup
    by_output : bool
        The values of a tap lie output by output, each with one for every sample, not sample by sample.
    """

    def __init__(self, op: AxisLookup, *, by_output: bool) -> None:
        self.op = op
        numbers = np.arange(len(op.taps))
        if op.depthwise:
            chosen = [[tap for tap in numbers if op.taps[tap].channel == output] for output in range(op.outputs)]
        else:
            chosen = [list(numbers)] * op.outputs
        size, per_tap = op.tables.size, op.outputs_per_tap
        apart = size if by_output else 1
        tables = [
            tap * per_tap * size + (0 if op.depthwise else output) * apart
            for output, each in enumerate(chosen)
            for tap in each
        ]
        places = [(op.taps[tap].channel, op.taps[tap].row, op.taps[tap].column) for each in chosen for tap in each]
        self.starts = upload(np.cumsum([0, *map(len, chosen)]).astype(np.int32))
        self.taps = upload(np.array(places, np.int32).reshape(-1, 3))
        self.tables = upload(np.array(tables, np.int32))
        self.stride = 1 if by_output else per_tap

    def sum(self, session: Session, padded: Planes, values: Any, out: Planes) -> None:
        """Write the sums, int32, that values, int16, give for padded planes."""
        op = self.op
        sum_taps.launch(
            out.size,
            session.stream,
            padded.flat,
            padded.channels,
            out.height,
            out.width,
            op.halo,
            op.outputs,
            op.tables.low,
            self.starts,
            self.taps,
            self.tables,
            self.stride,
            values,
            out.flat,
        )


class AxisLookupOnDevice:
    """An axis lookup with its tables on the GPU.

    Parameters
    ----------
    op : AxisLookup
    fill : mapping of slot name to table
    """

    def __init__(self, op: AxisLookup, fill: Mapping[str, Any]) -> None:
        self.op = op
        expanded = op.tables.lay_out().expand(fill[op.slot])  # (taps, size, outputs of a tap)
        # an entry is an int8 and steps are at most 64, so that values fit 16 bits
        self._values = upload(np.moveaxis(expanded, 1, 2).astype(np.int16))
        self._taps = TapsOnDevice(op, by_output=True)

    def run(self, session: Session, planes: Planes) -> Planes:
        """Return the sums, int32."""
        op = self.op
        padded = pad(session, planes, op.padding, op.halo)
        out = session.empty_planes(planes.colours, op.outputs, planes.height, planes.width, np.int32)
        self._taps.sum(session, padded, self._values, out)
        return out
