# pyright: basic
"""A reconstructed convolution whose tables are trained on the GPU: forward and backward. Imports window and fixed_point.

References are `code_maps_and_sums` and `code_maps_gradient` of the CPU. Arrays are given as `TrainableStage` is given them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda import fixed_point
from lutkit_runtime.kernels.cuda.compiling import cuda, kernel
from lutkit_runtime.kernels.cuda.fixed_point import find_bits, find_step
from lutkit_runtime.kernels.cuda.memory import Planes, Session, upload
from lutkit_runtime.kernels.cuda.padding import pad
from lutkit_runtime.kernels.cuda.rounding import multiply
from lutkit_runtime.kernels.cuda.stage_gradient import clear, find_largest_in
from lutkit_runtime.kernels.cuda.window import add_positions, find_code, turn_offsets
from lutkit_runtime.ops import ReconstructedConvolution
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.ops.reconstructed_convolution import VALUES, find_thresholds
from lutkit_runtime.padding import Padding

_I, _L, _F = np.int32, np.int64, np.float32
_TABLES = ("int16[::1]", "int8[::1]")
_LAST = VALUES - 1


@kernel(
    *(
        f"uint8[::1], int32, int32, int32, int32[::1], {table}, int32[::1], int32, uint8[::1], int32[::1]"
        for table in _TABLES
    )
)
def keep_sums(count, padded, height, width, reach, offsets, table, thresholds, first, codes, sums):
    """As `sum_window`, but keep the sums, too; `first` is where the results belong."""
    i = _I(cuda.grid(1))
    if i < count:
        samples = _I(width * height)
        plane, place = _I(i // samples), _I(i % samples)
        columns = _I(width + _I(2 * reach))
        rows = _I(height + _I(2 * reach))
        row, column = _I(_I(place // width) + reach), _I(_I(place % width) + reach)
        here = _I(_I(_I(_I(plane * rows) + row) * columns) + column)
        total = add_positions(padded, here, columns, offsets, table)
        codes[_I(first + i)] = find_code(thresholds, total)
        sums[_I(first + i)] = total


@kernel(
    *(
        f"uint8[::1], int32[::1], int32, int32, int32[::1], int32, {table}, int32[::1], int32, int64[::1], int32, "
        "float32[::1]"
        for table in _TABLES
    )
)
def accumulate_window(
    count, planes, slopes, height, width, offsets, positions, table, largest, bits, sums, with_planes, to_planes
):
    """Twin of `scatter_lines`; a thread does a pixel of a plane.

    Parameters
    ----------
    slopes : (4 * planes * H * W,)
        Gradient to the sums, as integers.
    offsets : (4 * N * N * 2,)
        Row and column of every position in every turn.
    sums : (N * N * 256,)
    to_planes : (planes * H * W,), or anything where `with_planes` is 0
    """
    i = _I(cuda.grid(1))
    if i < count:
        column, row, plane = _I(i % width), _I(_I(i // width) % height), _I(i // _I(width * height))
        code = _I(planes[i])
        above, below = min(_I(code + 1), _I(_LAST)), max(_I(code - 1), _I(0))
        # slopes of tables are halves: twice the last step at an end, else the difference of both neighbours
        twice = _L(2) if _I(above - below) == 1 else _L(1)
        total = _L(0)
        for position in range(positions):
            gathered = _L(0)
            for turn in range(4):
                at = _I(_I(_I(turn * positions) + position) * 2)
                # rows and columns that read this pixel; at the border also those that would read beyond it
                near_row, near_column = _I(row - offsets[at]), _I(column - offsets[at + 1])
                top = _I(0) if row == 0 else max(_I(0), near_row)
                bottom = _I(height - 1) if row == height - 1 else min(_I(height - 1), near_row)
                left = _I(0) if column == 0 else max(_I(0), near_column)
                right = _I(width - 1) if column == width - 1 else min(_I(width - 1), near_column)
                start = _I(_I(turn * count) + _I(_I(plane * height) * width))
                for reader in range(top, bottom + 1):
                    line = _I(start + _I(reader * width))
                    for beside in range(left, right + 1):
                        gathered += _L(slopes[_I(line + beside)])
            if gathered != 0:
                entry = _I(position * VALUES)
                cuda.atomic.add(sums, _I(entry + code), gathered)
                rise = _I(_I(table[_I(entry + above)]) - _I(table[_I(entry + below)]))
                total += gathered * (_L(rise) * twice)
        if with_planes:
            to_planes[i] = multiply(multiply(_F(total), find_step(largest[0], bits)), _F(0.5))


class TrainableWindow:
    """A reconstructed convolution that is given its tables at every call; its thresholds follow from its unit.

    Parameters
    ----------
    op : ReconstructedConvolution
    """

    def __init__(self, op: ReconstructedConvolution) -> None:
        self.op = op
        turned = turn_offsets(op)
        self._thresholds = upload(find_thresholds(op.unit))
        self._offsets = [upload(offsets) for offsets in turned]
        self._all_offsets = upload(np.stack(turned))

    def run(self, session: Session, table: Any, planes: Planes, codes: Any, sums: Any) -> None:
        """Write the codes of planes in each of the four turns, and the sums that they stand for.

        Parameters
        ----------
        session : Session
        table : int16 or int8 as the op says, (N**2 * 256,)
        planes : Planes of uint8
            One channel.
        codes : uint8, (4 turns * N * H * W,)
        sums : int32, like codes
        """
        reach = self.op.halo
        padded = pad(session, planes, Padding.EDGE, reach)
        for turn, offsets in enumerate(self._offsets):
            keep_sums.launch(
                planes.size,
                session.stream,
                padded.flat,
                planes.height,
                planes.width,
                reach,
                offsets,
                table,
                self._thresholds,
                turn * planes.size,
                codes,
                sums,
            )

    def differentiate(
        self, session: Session, table: Any, planes: Planes, slopes: Any, to_table: Any, to_planes: Any | None
    ) -> None:
        """Write the gradients to the tables and to the planes.

        Parameters
        ----------
        session, table, planes
            As for `run`.
        slopes : float32, (4 turns * N * H * W,)
            Gradient to the sums: that to the codes times how steep the codes are there.
        to_table : float32, (N**2 * 256,)
        to_planes : float32, (N * H * W,), or None where it is not wanted
        """
        op = self.op
        bits = find_window_bits(op, planes)
        largest = find_largest_in(session, slopes)
        integers = session.empty(slopes.size, np.int32)
        fixed_point.quantise_all.launch(slopes.size, session.stream, slopes, largest, bits, integers)
        sums = clear(session, op.positions * VALUES)
        accumulate_window.launch(
            planes.size,
            session.stream,
            planes.flat,
            integers,
            planes.height,
            planes.width,
            self._all_offsets,
            op.positions,
            table,
            largest,
            bits,
            sums,
            int(to_planes is not None),
            to_table if to_planes is None else to_planes,
        )
        entries = op.positions * VALUES
        fixed_point.settle.launch(
            entries, session.stream, sums, 0, self._thresholds, 0, 1, largest, bits, np.float32(1), to_table
        )


def find_window_bits(op: ReconstructedConvolution, planes: Planes) -> int:
    """Return how many bits gradients of a convolution may have.

    An entry receives every pixel at most, in every turn. A pixel is read in every turn and at every position, as often as
    the border repeats it, and two entries differ by less than 2**16; differences are doubled.
    """
    repeated = (2 * op.halo + 1) ** 2
    return find_bits(planes.size * TURNS, TURNS * op.positions * repeated << 17)
