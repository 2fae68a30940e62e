"""Bilateral slices on the CPU: prepares what the kernel needs. Imports the definition, the op and the kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import Float32, Place, place_axis
from lutkit_runtime.kernels.cpu.bilateral_lines import slice_colours
from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.kernels.cpu.compiling import limit_threads, pass_as_writable
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.float_lanes import LANES
from lutkit_runtime.kernels.cpu.map_lanes import CELL_LANES, MAP_LANES
from lutkit_runtime.ops.bilateral_slice import BoundSlice
from lutkit_runtime.ops.blend import LARGEST_BASE

Image = NDArray[Any]


class CompiledSlicer:
    """A bilateral slice in a compiled kernel; bit-identical with the definition; may be used from several threads.

    Parameters
    ----------
    bound : BoundSlice
    """

    def __init__(self, bound: BoundSlice) -> None:
        self._shape: tuple[int, int, int] = bound.grid.shape[:3]
        self._grid = widen_grid(bound.grid).reshape(-1)
        # copies: what may not be written is another type to a compiled kernel
        self._mix, self._curves, self._result = (
            np.array(table.T, order="C").reshape(-1)
            for table in (bound.guide.mix, bound.guide.curves, bound.guide.result)
        )

    def finish(self, samples: Image, place: Place, out: Image, threads: int | None = None) -> None:
        """Write the colours at the depth of the samples, and the samples' alpha, into `out` of shape and type alike.

        Parameters
        ----------
        samples : uint8, uint16 or float32 (h, w, 3 or 4)
            A piece of the picture.
        place : Place
        out
            May be `samples` itself.
        threads : int, optional
            How many threads may work; the default is Numba's own setting.
        """
        if out.flags.c_contiguous and not np.may_share_memory(samples, out):
            self._fill(samples, place, out, threads)
        else:
            fresh = np.empty(out.shape, out.dtype)
            self._fill(samples, place, fresh, threads)
            out[...] = fresh

    def slice(self, samples: Image, place: Place, threads: int | None = None) -> Float32:
        """Return the float32 colours (h, w, 3) of a piece (h, w, 3 or 4) uint8, uint16 or float32 of the picture."""
        out = np.empty((*samples.shape[:2], 3), np.float32)
        self._fill(samples, place, out, threads)
        return out

    def _fill(self, samples: Image, place: Place, out: Image, threads: int | None) -> None:
        """Run the kernel for these types; `out` is C-contiguous and does not overlap the samples."""
        height, width = samples.shape[:2]
        if not height * width:
            return
        rows, columns, depth = self._shape
        integers = samples.dtype.kind != "f"
        cells = max(columns - 1, 1) * max(depth - 1, 1) * CELL_LANES
        with limit_threads(threads) as allowed:
            workers = min(allowed, height)
            slice_colours(
                pass_as_writable(np.ascontiguousarray(samples).reshape(-1)),
                (0,) * samples.shape[2],
                np.float32(np.iinfo(samples.dtype).max) if integers else None,
                LARGEST_BASE,
                self._mix,
                self._curves,
                self._result,
                self._grid,
                self._shape,
                *place_axis(rows, place.height, place.top, height),
                *place_axis(columns, place.width, place.left, width),
                np.empty(workers * columns * depth * MAP_LANES, np.float32),
                np.empty(workers * cells, np.float32),
                np.empty(workers * CHUNK * 3, np.float32),
                np.empty(workers * CHUNK, np.float32),
                np.empty(workers * CHUNK, np.float32),
                np.empty(workers * CHUNK, np.int32),
                np.empty(workers * CHUNK, samples.dtype),
                np.empty(workers * LANES, out.dtype),
                workers,
                new_counter(),
                out.reshape(-1),
                (0,) * out.shape[2],
            )


def widen_grid(grid: Float32) -> Float32:
    """Return maps (..., 12) as (..., MAP_LANES): what red, green, blue and one add to red, green, blue and nothing."""
    maps = np.zeros((*grid.shape[:-1], 4, LANES), np.float32)
    maps[..., :3] = grid.reshape(*grid.shape[:-1], 3, 4).swapaxes(-1, -2)
    return maps.reshape(*grid.shape[:-1], MAP_LANES)
