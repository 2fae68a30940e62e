# pyright: basic
"""CUDA twin of the reconstructed convolution. Imports compiling, memory and padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.memory import Planes, Session, upload
from lutkit_runtime.kernels.cuda.padding import pad
from lutkit_runtime.ops import ReconstructedConvolution
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.ops.reconstructed_convolution import VALUES
from lutkit_runtime.padding import Padding

_I = np.int32


@device_function
def add_positions(padded, here, columns, offsets, table):
    """Return the sum over the window of a pixel of padded planes."""
    total = _I(0)
    for position in range(_I(offsets.size // 2)):
        at = _I(_I(here + _I(offsets[2 * position] * columns)) + offsets[2 * position + 1])
        total = _I(total + _I(table[_I(_I(position * VALUES) + _I(padded[at]))]))
    return total


@device_function
def find_code(thresholds, total):
    """Return how many of the thresholds a sum has reached."""
    low, high = _I(0), _I(thresholds.size)
    while low < high:
        middle = _I(_I(low + high) >> 1)
        if thresholds[middle] <= total:
            low = _I(middle + 1)
        else:
            high = middle
    return np.uint8(low)


@kernel(
    *(
        f"uint8[::1], int32, int32, int32, int32[::1], {table}, int32[::1], uint8[::1]"
        for table in ("int16[::1]", "int8[::1]")
    )
)
def sum_window(count, padded, height, width, reach, offsets, table, thresholds, out):
    """Twin of `ReconstructedConvolution.reference`; a thread does a pixel of a plane.

    Parameters
    ----------
    offsets : (positions, 2)
        Rows and columns, turned.
    """
    i = _I(cuda.grid(1))
    if i < count:
        samples = _I(width * height)
        plane, place = _I(i // samples), _I(i % samples)
        columns = _I(width + _I(2 * reach))
        rows = _I(height + _I(2 * reach))
        row, column = _I(_I(place // width) + reach), _I(_I(place % width) + reach)
        here = _I(_I(_I(_I(plane * rows) + row) * columns) + column)
        out[i] = find_code(thresholds, add_positions(padded, here, columns, offsets, table))


class WindowOnDevice:
    """A reconstructed convolution with its tables on the GPU.

    Parameters
    ----------
    op : ReconstructedConvolution
    fill : mapping of slot name to table
    """

    def __init__(self, op: ReconstructedConvolution, fill: Mapping[str, Any]) -> None:
        self.op = op
        self._table = upload(fill[op.slot])
        self._thresholds = upload(fill[op.post])
        self._offsets = [upload(offsets) for offsets in turn_offsets(op)]

    def run(self, session: Session, planes: Planes, turns: int = 1) -> list[Planes]:
        """Return the codes of planes in the first turns: for turn r what the op makes of ``rot90(planes, r)``, turned back."""
        reach = self.op.halo
        padded = pad(session, planes, Padding.EDGE, reach)
        maps: list[Planes] = []
        for offsets in self._offsets[:turns]:
            made = session.empty_planes(planes.colours, planes.channels, planes.height, planes.width, np.uint8)
            sum_window.launch(
                planes.size,
                session.stream,
                padded.flat,
                planes.height,
                planes.width,
                reach,
                offsets,
                self._table,
                self._thresholds,
                made.flat,
            )
            maps.append(made)
        return maps


def turn_offsets(op: ReconstructedConvolution) -> list[Any]:
    """Return the offsets of the window's positions under each turn: see `IndexPattern.rotated`."""
    offsets = np.array(op.offsets, np.int32)
    turned = [offsets]
    for _ in range(TURNS - 1):
        offsets = np.stack([offsets[:, 1], -offsets[:, 0]], axis=1)
        turned.append(offsets)
    return turned
