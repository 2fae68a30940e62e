"""Colour lookup on the CPU: a bound lookup prepared for the kernels. Floor 4: imports the ops and its kernels."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.cube import (
    PACKED_WEIGHT,
    Arithmetic,
    CubeInterpolation,
    Float32,
    interpolate_curves,
    locate,
    pack_nodes,
    scale_to_depth,
)
from lutkit_runtime.kernels.cpu import colour_curves, colour_float, colour_packed
from lutkit_runtime.kernels.cpu.colour_lines import fit_lines
from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.kernels.cpu.compiling import limit_threads, pass_as_writable
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.float_lanes import LANES
from lutkit_runtime.ops.colour_lookup import BoundLookup, Domain

Image = NDArray[Any]

Prepared = TypeVar("Prepared")

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
        if op.curves and samples.dtype == np.uint16 and pixels < FEW_PIXELS:
            out[..., :3] = scale_to_depth(self._bound.look_up(samples[..., :3]), out.dtype)
            if out.shape[2] == 4:
                out[..., 3] = samples[..., 3]
            return
        flat = pass_as_writable(np.ascontiguousarray(samples).reshape(-1))
        source, target = (0,) * samples.shape[2], (0,) * out.shape[2]
        with limit_threads(threads) as allowed:
            workers = min(allowed, -(-pixels // CHUNK))
            if op.cube is None:
                self._run_curves(flat, source, workers, out.reshape(-1), target)
            elif finishing and op.arithmetic is Arithmetic.PACKED and samples.dtype == np.uint8:
                self._run_packed(flat, workers, out.reshape(-1), target)
            else:
                self._run_float(flat, source, workers, out.reshape(-1), target)

    def _run_packed(self, flat: Image, workers: int, out: Image, channels: tuple[int, ...]) -> None:
        cube = self._bound.op.cube
        assert cube is not None
        lines, codes = self._prepare("packed positions", self._place_packed)
        colour_packed.sum_colours(
            flat,
            channels,
            lines or (np.int32(0),) * 7,
            codes,
            np.int32((cube.size - 1) * PACKED_WEIGHT),
            self._prepare("packed nodes", self._pack_nodes),
            _list_strides(1, cube.size),
            np.empty(workers * CHUNK * 4, np.uint8),
            np.empty(workers * CHUNK * 3, np.int32),
            np.empty(workers * CHUNK * 3, np.int32),
            np.empty(workers * CHUNK * 2, np.int32),
            np.empty(workers * LANES, np.uint8),
            workers,
            new_counter(),
            out,
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
                codes = self._prepare(f"positions of {flat.dtype}", lambda: self._place_codes(flat.dtype))
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
            _list_strides(LANES, op.cube.size),
            np.empty(workers * CHUNK * 4, flat.dtype),
            np.empty(workers * CHUNK * 3, np.float32),
            np.empty(workers * CHUNK * 3, np.int32),
            np.empty(workers * CHUNK * 4, np.float32) if tetrahedral else None,
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
                np.empty(workers * CHUNK * 4, np.float32),
                np.empty(workers * CHUNK * 3, np.float32),
                workers,
                new_counter(),
                out,
                target,
            )
            return
        table = self._prepare(
            f"{out.dtype} of {flat.dtype}",
            lambda: _join_columns(scale_to_depth(self._bound.look_up(_list_codes(flat.dtype)), out.dtype)),
        )
        colour_curves.replace_codes(flat, source, table, workers, new_counter(), out, target)

    def _prepare(self, name: str, build: Callable[[], Prepared]) -> Prepared:
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
        """Return the nodes as four 16-bit integers each, and what is read beyond the last one with weight 0."""
        cube = self._bound.op.cube
        assert cube is not None and self._bound.cube is not None
        words = pack_nodes(self._bound.cube)
        lane, mask = np.uint64(21), np.uint64((1 << 21) - 1)
        nodes = words & mask | (words >> lane & mask) << np.uint64(16) | (words >> lane >> lane) << np.uint64(32)
        return np.concatenate([nodes, np.zeros(1 + cube.size + cube.size**2, np.uint64)])

    def _place_packed(self) -> tuple[tuple[np.int32, ...] | None, NDArray[np.int32] | None]:
        """Return lines that give the position of every 8-bit code, or a table where there are none."""
        cube = self._bound.op.cube
        assert cube is not None
        cells, fractions = self._bound.split_codes()
        last = (cube.size - 1) * PACKED_WEIGHT
        # curves that are not numbers somewhere must not lead out of the cube
        positions = (cells * PACKED_WEIGHT + fractions).clip(0, last)
        lines = fit_lines(positions, last)
        return lines, _join_columns(positions.astype(np.int32)) if lines is None else None

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


def _list_strides(node: int, size: int) -> tuple[np.int32, np.int32, np.int32]:
    """Return the distances of neighbours along red, green and blue where a node takes `node` entries."""
    return np.int32(node), np.int32(node * size), np.int32(node * size**2)


def _join_axes(domain: Domain, cells: int, stretch: float, peak: float) -> tuple[np.float32, ...]:
    """Return scale, shift and last position, red, green, blue each."""
    return tuple(np.float32(number) for row in domain.place(cells, stretch, peak) for number in row)
