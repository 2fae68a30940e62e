# pyright: basic
"""Which table entries a stage reads for given planes. Imports the stage kernel.

Training a network through its table needs the network only at these nodes: a batch of photos touches a small part of a
four-dimensional lattice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.stage_addresses import CHUNK, VERTICES, address_lookup
from lutkit_runtime.kernels.stage_bands import count_rows, gather_touched
from lutkit_runtime.kernels.stage_claim import Stage
from lutkit_runtime.kernels.stage_layout import Maps, lay_out, pad_sources

_I = np.int32
_U = np.uint64


def touched_entries(stage: Stage, planes: NDArray[np.uint8], maps: Maps = ()) -> list[NDArray[np.int64]]:
    """Return, per lookup, the ascending table rows that any pixel under any turn reads.

    Rows are included whose weight is 0, since gradients to samples depend on them.

    Parameters
    ----------
    stage : Stage
    planes : uint8, (N, H, W)
    maps : sequence of uint8, (4 turns, N, H, W)
        What the stage's convolutions make of the planes, one per convolution.
    """
    count, height, width = planes.shape
    found: list[NDArray[np.int64]] = []
    padded = pad_sources(stage, planes, maps)
    layout = lay_out(stage, padded.shape)
    for number, lookup in enumerate(stage.lookups):
        seen = np.zeros(count_rows(lookup), np.uint8)
        _mark(
            padded.reshape(-1),
            (count, height, width, stage.reach),
            number,
            layout.strides,
            layout.masks,
            layout.offsets,
            layout.arithmetic,
            layout.bands,
            layout.scale,
            np.empty(CHUNK * VERTICES, np.int32),
            np.empty(CHUNK * VERTICES, np.int32),
            seen,
        )
        found.append(gather_touched(lookup, seen))
    return found


@compile_kernel()
def _mark(padded, extent, lookup, strides, masks, offsets, arithmetic, bands, scale, rows, weights, seen):
    """Twin of `Lookup.walk` on every pixel: set `seen` at each vertex."""
    planes, height, width, reach = extent
    row_stride = width + 2 * reach
    for line in range(planes * height):
        plane = line // height
        anchor = (plane * (height + 2 * reach) + line - plane * height + reach) * row_stride + reach
        for start in range(0, width, CHUNK):
            count = min(CHUNK, width - start)
            here = anchor + start
            for turn in range(4):
                places = (
                    _U(here + offsets[lookup, turn, 0]),
                    _U(here + offsets[lookup, turn, 1]),
                    _U(here + offsets[lookup, turn, 2]),
                    _U(here + offsets[lookup, turn, 3]),
                )
                address_lookup(
                    padded,
                    places,
                    strides,
                    masks,
                    arithmetic,
                    bands,
                    lookup,
                    scale,
                    _I(1),
                    rows,
                    weights,
                    _U(0),
                    _U(count),
                )
                for vertex in range(5):
                    for x in range(count):
                        seen[rows[vertex * CHUNK + x]] = 1
