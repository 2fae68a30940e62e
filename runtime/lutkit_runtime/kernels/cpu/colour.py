"""Colour lookup on the CPU: a bound lookup prepared for the kernels. Floor 4: imports the ops and its kernels."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.cube import (
    Arithmetic,
    CubeInterpolation,
    Float32,
    interpolate_curves,
    locate,
    pack_nodes,
    scale_to_depth,
)
from lutkit_runtime.kernels.cpu import colour_curves, colour_float, colour_packed
from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.float_lanes import LANES
from lutkit_runtime.ops.colour_lookup import BoundLookup, Domain

Image = NDArray[Any]

FEW_PIXELS = 1 << 13
"""Pictures of fewer pixels are left to the reference where a table of 65 536 codes would have to be made for them."""


class CompiledLooker:
    """A colour lookup in compiled kernels; bit-identical with the definition; may be used from several threads.

    What a kernel needs of the tables is prepared when the first picture of a depth wants it.

    Parameters
    ----------
    bound : BoundLookup
    """

    def __init__(self, bound: BoundLookup) -> None:
        self._bound = bound
        self._prepared: dict[str, Any] = {}
        self._preparing = threading.Lock()

    def finish(self, samples: Image, out: Image, threads: int | None = None) -> None:
        """Write the colours at the depth of the samples, and the samples' alpha, into `out` of shape and type alike.

        Parameters
        ----------
        samples : uint8, uint16 or float32 (H, W, 3 or 4)
        out
            May be `samples` itself.
        threads : int, optional
            How many threads may work; the default is Numba's own setting.
        """
        if out.flags.c_contiguous and not np.may_share_memory(samples, out):
            self._fill(samples, out, threads)
        else:
            fresh = np.empty(out.shape, out.dtype)
            self._fill(samples, fresh, threads)
            out[...] = fresh

    def look_up(self, samples: Image, threads: int | None = None) -> Float32:
        """Return the colours (H, W, 3) in float32 of samples (H, W, 3 or 4) uint8, uint16 or float32.

        They may lie outside 0 to 1.
        """
        out = np.empty((*samples.shape[:2], 3), np.float32)
        self._fill(samples, out, threads, finishing=False)
        return out

    def _fill(self, samples: Image, out: Image, threads: int | None, finishing: bool = True) -> None:
        """Run the kernel for these types; `out` is C-contiguous and does not overlap the samples."""
        op = self._bound.op
        pixels = out.shape[0] * out.shape[1]
        if not pixels:
            return
        needs_codes = op.curves is not None and samples.dtype == np.uint16
        if needs_codes and pixels < FEW_PIXELS and f"{samples.dtype} {out.dtype}" not in self._prepared:
            values = self._bound.look_up(samples[..., :3])
            out[..., :3] = scale_to_depth(values, out.dtype)
            if out.shape[2] == 4:
                out[..., 3] = samples[..., 3]
            return
        flat = np.ascontiguousarray(samples).reshape(-1)
        source, target = (0,) * samples.shape[2], (0,) * out.shape[2]
        with limit_threads(threads) as allowed:
            workers = min(allowed, -(-pixels // colour_float.CHUNK))
            if op.cube is None:
                self._run_curves(flat, source, workers, out.reshape(-1), target)
            elif finishing and op.arithmetic is Arithmetic.PACKED and samples.dtype == np.uint8:
                self._run_packed(flat, workers, out.reshape(-1), target)
            else:
                self._run_float(flat, source, workers, out.reshape(-1), target)

    def _run_packed(self, flat: Image, workers: int, out: Image, target: tuple[int, ...]) -> None:
        cube = self._bound.op.cube
        assert cube is not None
        colour_packed.sum_tetrahedra(
            flat,
            self._prepare("packed codes", self._pack_codes),
            self._prepare("words", self._pack_nodes),
            tuple(np.int32(cube.size**axis) for axis in range(3)),
            np.empty(workers * colour_packed.CHUNK * 4, np.int32),
            np.empty(workers * colour_packed.CHUNK * 4, np.int32),
            np.empty(workers * colour_packed.CHUNK, np.uint64),
            workers,
            new_counter(),
            out,
            target,
        )

    def _run_float(
        self, flat: Image, source: tuple[int, ...], workers: int, out: Image, target: tuple[int, ...]
    ) -> None:
        op = self._bound.op
        assert op.cube is not None
        codes = curves = None
        curve_axes: tuple[np.float32, ...] = (np.float32(0),) * 9
        peak = _peak(flat)
        if op.curves:
            if flat.dtype.kind == "f":
                curves = self._prepare("curves", self._join_curves)
                curve_axes = _join_axes(op.curves.domain, op.curves.entries - 1, 1.0, peak)
            else:
                codes = self._prepare(f"{flat.dtype} {out.dtype}", lambda: self._place_codes(flat.dtype))
            peak = 1.0
        cells = op.cube.size - 1
        tetrahedral = op.cube.interpolation is CubeInterpolation.TETRAHEDRAL
        colour_float.mix_colours(
            flat,
            source,
            codes,
            curves,
            curve_axes,
            _join_axes(op.cube.domain, cells, op.cube.stretch, peak),
            cells,
            self._prepare("nodes", self._widen_nodes),
            tuple(np.int32(LANES * op.cube.size**axis) for axis in range(3)),
            np.empty(workers * colour_float.CHUNK * 3, np.float32),
            np.empty(workers * colour_float.CHUNK * 3, np.int32),
            np.empty(workers * colour_float.CHUNK * 4, np.float32) if tetrahedral else None,
            np.empty(workers * LANES, out.dtype),
            workers,
            new_counter(),
            out,
            target,
        )

    def _run_curves(
        self, flat: Image, source: tuple[int, ...], workers: int, out: Image, target: tuple[int, ...]
    ) -> None:
        curves = self._bound.op.curves
        assert curves is not None
        if flat.dtype.kind == "f":
            colour_curves.bend_colours(
                flat,
                source,
                self._prepare("curves", self._join_curves),
                _join_axes(curves.domain, curves.entries - 1, 1.0, 1.0),
                np.empty(workers * colour_curves.CHUNK * 3, np.float32),
                workers,
                new_counter(),
                out,
                target,
            )
            return
        table = self._prepare(
            f"{flat.dtype} {out.dtype}",
            lambda: _join_columns(scale_to_depth(self._bound.look_up(_list_codes(flat.dtype)), out.dtype)),
        )
        colour_curves.replace_codes(flat, source, table, workers, new_counter(), out, target)

    def _prepare(self, name: str, build: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return what `build` makes, which is made once."""
        with self._preparing:
            if name not in self._prepared:
                self._prepared[name] = build()
            return self._prepared[name]

    def _widen_nodes(self) -> Float32:
        """Return the nodes as rows of four, flat: the kernels fetch a row at once."""
        nodes = self._bound.cube
        assert nodes is not None
        rows = np.zeros((len(nodes), LANES), np.float32)
        rows[:, :3] = nodes
        return rows.reshape(-1)

    def _pack_nodes(self) -> NDArray[np.uint64]:
        assert self._bound.cube is not None
        return pack_nodes(self._bound.cube)

    def _pack_codes(self) -> NDArray[np.uint32]:
        """Return fraction and row of every code's cell in one integer, red, green, blue; (768,)."""
        cube = self._bound.op.cube
        assert cube is not None
        cells, fractions = self._bound.split_codes()
        # curves that are not numbers somewhere must not lead out of the table
        rows = cells.clip(0, cube.size - 2) * cube.size ** np.arange(3)
        return _join_columns((fractions.clip(0, 512) << colour_packed.OFFSET_BITS | rows).astype(np.uint32))

    def _join_curves(self) -> Float32:
        assert self._bound.curves is not None
        return _join_columns(self._bound.curves)

    def _place_codes(self, dtype: np.dtype[Any]) -> Float32:
        """Return the position on each axis of the cube of what the curves make of every code; flat, float32."""
        curves, cube = self._bound.op.curves, self._bound.op.cube
        assert curves is not None and cube is not None and self._bound.curves is not None
        codes = _list_codes(dtype)
        axes = curves.domain.place(curves.entries - 1, 1.0, float(np.iinfo(dtype).max))
        values = interpolate_curves(*locate(codes, *axes, curves.entries - 1), self._bound.curves)
        cell, fraction = locate(values, *cube.domain.place(cube.size - 1, cube.stretch, 1.0), cube.size - 1)
        # exact: the fraction is what was left of the position when the cell was taken away
        return _join_columns(cell.astype(np.float32) + fraction)


def _peak(samples: Image) -> float:
    return 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)


def _list_codes(dtype: np.dtype[Any]) -> Image:
    """Return every code of a depth in three columns."""
    return np.repeat(np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[:, None], 3, axis=1)


def _join_columns(table: Image) -> Image:
    """Return the columns of a table, one after the other."""
    return np.ascontiguousarray(table.T).reshape(-1)


def _join_axes(domain: Domain, cells: int, stretch: float, peak: float) -> tuple[np.float32, ...]:
    """Return scale, shift and last position, red, green, blue each."""
    return tuple(np.concatenate(domain.place(cells, stretch, peak)))
