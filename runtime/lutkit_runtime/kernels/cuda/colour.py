# pyright: basic
"""A colour lookup prepared for the GPU. Imports memory, the ops and the kernels.

The reference is `BoundLookup`. Pictures lie where four samples can be read at once: see `four_samples.fit_four`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.cube import Arithmetic, Float32, locate
from lutkit_runtime.kernels.cuda.colour_float import make_lookup
from lutkit_runtime.kernels.cuda.colour_packed import join_words, make_packed_lookup, tabulate_codes
from lutkit_runtime.kernels.cuda.colour_places import CODES, Depth
from lutkit_runtime.kernels.cuda.compiling import cuda
from lutkit_runtime.kernels.cuda.device import is_simulated
from lutkit_runtime.kernels.cuda.memory import Picture, Session, find_gpu, upload
from lutkit_runtime.kernels.cuda.picture_walk import Layout
from lutkit_runtime.kernels.cuda.table_fusion import widen_rows
from lutkit_runtime.ops.colour_lookup import BoundLookup, ColourLookup, Domain

RESIDENT = 2048
"""Threads that a multiprocessor holds at most."""

SIMULATED_THREADS = 6

_NO_AXES = (np.float32(0),) * 9


@functools.cache
def _find_width(gpu: int) -> int:
    """Return how many threads fill the current GPU, which has this number."""
    return SIMULATED_THREADS if is_simulated() else cuda.get_current_device().MULTIPROCESSOR_COUNT * RESIDENT


def count_threads(picture: Picture) -> int:
    """Return how many threads walk over a picture: each does a pixel or four at a time, and one after another."""
    pieces = picture.pixels if picture.channels == Layout.RGBA.value else -(-picture.pixels // 4)
    return min(pieces, _find_width(find_gpu()))


def find_depth(picture: Picture) -> Depth:
    """Return the type of the samples of a picture."""
    return Depth(np.dtype(picture.flat.dtype).name)


def make_like(session: Session, picture: Picture, dtype: Any = np.float32) -> Picture:
    """Return a picture of the same size and channels, whatever it holds."""
    flat = session.empty(picture.pixels * picture.channels, dtype)
    return Picture(flat, picture.height, picture.width, picture.channels)


class LookupOnDevice:
    """A colour lookup with its tables on the GPU; may be used from several threads.

    Parameters
    ----------
    bound : BoundLookup
        Without its cube where that is fused for every picture; then `nodes` is handed in: rows of four, on the GPU.
    """

    def __init__(self, bound: BoundLookup) -> None:
        self.op = bound.op
        nothing = upload(np.zeros(4, np.float32))
        curves, cube = self.op.curves, self.op.cube
        self._curves = nothing if bound.curves is None else upload(bound.curves.T)
        self._entries = curves.entries if curves else 0
        self._nodes = nothing if bound.cube is None else upload(widen_rows(bound.cube))
        self._positions = upload(_tabulate_positions(self.op, bound.curves))
        self._axes = {depth: _find_axes(self.op, depth) for depth in Depth}
        self._size = cube.size if cube else 0
        self._packed = None
        if self.op.arithmetic is Arithmetic.PACKED:
            self._packed = upload(tabulate_codes(bound)), upload(join_words(bound))

    def finish(
        self, session: Session, picture: Picture, out: Picture, nodes: Any = None, amount: float | None = None
    ) -> None:
        """Write the colours at the depth of the picture, and its alpha.

        With an amount the result is that of `Blend.mix`, starting from the picture, and the arithmetic is float32.
        """
        depth = find_depth(picture)
        if self._packed and depth is Depth.UINT8 and amount is None:
            run = make_packed_lookup(Layout(picture.channels))
            run.launch(
                count_threads(picture),
                session.stream,
                picture.pixels,
                picture.flat,
                *self._packed,
                self._size,
                out.flat,
            )
        else:
            self._run(session, picture, out, nodes, amount, finishes=True)

    def look_up(self, session: Session, picture: Picture, nodes: Any = None) -> Picture:
        """Return the colours in float32; alpha keeps its number."""
        out = make_like(session, picture)
        self._run(session, picture, out, nodes, None, finishes=find_depth(picture) is Depth.FLOAT32)
        return out

    def _run(
        self, session: Session, picture: Picture, out: Picture, nodes: Any, amount: float | None, *, finishes: bool
    ) -> None:
        depth, cube = find_depth(picture), self.op.cube
        run = make_lookup(depth, cube.interpolation if cube else None, Layout(picture.channels), finishes)
        run.launch(
            count_threads(picture),
            session.stream,
            picture.pixels,
            picture.flat,
            self._positions,
            self._curves,
            self._entries,
            *self._axes[depth],
            self._nodes if nodes is None else nodes,
            self._size,
            np.float32(amount or 0),
            int(amount is not None),
            out.flat,
        )


def _tabulate_positions(op: ColourLookup, curves: Float32 | None) -> NDArray[np.float32]:
    """Return for 8 bits where every code of red, of green and of blue lies on the cube's axes, or its value without one."""
    codes = np.repeat(np.arange(CODES, dtype=np.uint8)[:, None], 3, axis=1)
    values: Any = BoundLookup(op, curves, None).look_up(codes)
    if op.cube:
        cells = op.cube.size - 1
        peak = 1.0 if op.curves else float(CODES - 1)
        cell, fraction = locate(values, *op.cube.domain.place(cells, op.cube.stretch, peak), cells)
        # exact: the fraction is what was left of the position when the cell was taken away
        values = cell.astype(np.float32) + fraction
    return np.ascontiguousarray(values.T)


def _find_axes(op: ColourLookup, depth: Depth) -> tuple[tuple[np.float32, ...], tuple[np.float32, ...]]:
    """Return scale, shift and last position of the curves and of the cube, red, green, blue each."""
    dtype = np.dtype(depth.value)
    peak = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    curve_axes = axes = _NO_AXES
    if op.curves:
        curve_axes, peak = _join_axes(op.curves.domain, op.curves.entries - 1, 1.0, peak), 1.0
    if op.cube:
        axes = _join_axes(op.cube.domain, op.cube.size - 1, op.cube.stretch, peak)
    return curve_axes, axes


def _join_axes(domain: Domain, cells: int, stretch: float, peak: float) -> tuple[np.float32, ...]:
    return tuple(np.float32(number) for row in domain.place(cells, stretch, peak) for number in row)
