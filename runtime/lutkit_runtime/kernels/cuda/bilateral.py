# pyright: basic
"""Bilateral slices on the GPU: prepares what the kernel needs. Imports the definition, memory and the kernel.

The reference is `BoundSlice`. Pictures lie where four samples can be read at once: see `four_samples.fit_four`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import Float32, GuideTables, Place, place_axis
from lutkit_runtime.kernels.cuda.bilateral_cells import CHANNELS, MOST_CELLS
from lutkit_runtime.kernels.cuda.bilateral_guide import tabulate_steps
from lutkit_runtime.kernels.cuda.bilateral_lines import MARGIN, make_slice
from lutkit_runtime.kernels.cuda.colour import find_depth, make_like
from lutkit_runtime.kernels.cuda.colour_places import Depth
from lutkit_runtime.kernels.cuda.compiling import BLOCK, SIMULATED_BLOCK
from lutkit_runtime.kernels.cuda.device import is_simulated
from lutkit_runtime.kernels.cuda.memory import Picture, Session, upload
from lutkit_runtime.kernels.cuda.picture_walk import Layout

LONGEST_RUN = 1024
"""Columns of the picture; a block takes a run, and there must be blocks enough."""

MOST_ROWS = 8
"""Of a task."""

QUAD_WORK = 8
"""That of four pixels, in units of joining a cell for one channel."""

MOST_BLOCKS = 2 if is_simulated() else 1 << 20
"""Of a launch; every one takes task after task."""

KEPT_PLACES = 16
"""Pieces of pictures whose places on the grid stay on the GPU: those of the last size of pictures."""


class GuideOnDevice:
    """The tables of a guide on the GPU, and where pixels lie on grids; may be used from several threads.

    Parameters
    ----------
    tables : GuideTables
    """

    def __init__(self, tables: GuideTables) -> None:
        count, entries = tables.mix.shape[1], len(tables.curves)
        curves, result = upload(tabulate_steps(tables.curves)), upload(tabulate_steps(tables.result))
        self.arguments = upload(tables.mix.T), curves, count, entries, result, len(tables.result)
        self.find_places = functools.lru_cache(maxsize=KEPT_PLACES)(_PlacesOnDevice)


class _PlacesOnDevice:
    """Where the pixels of a piece of a picture lie on a grid, on the GPU.

    Parameters
    ----------
    rows, columns : int
        Of the grid.
    place : Place
    height, width : int
        Of the piece.
    """

    def __init__(self, rows: int, columns: int, place: Place, height: int, width: int) -> None:
        row_cells, row_fractions = place_axis(rows, place.height, place.top, height)
        column_cells, fractions = place_axis(columns, place.width, place.left, width)
        runs = cut_runs(column_cells)
        self.rows = upload(row_cells), upload(row_fractions)
        self.runs = upload(runs), len(runs)
        self.fractions = upload(np.pad(fractions, MARGIN))


class SlicerOnDevice:
    """A bilateral slice with its tables and the grid of one picture on the GPU; may be used from several threads.

    Parameters
    ----------
    guide : GuideOnDevice
    grid : float32, (rows, columns, depth, 12)
    """

    def __init__(self, guide: GuideOnDevice, grid: Float32) -> None:
        self._guide = guide
        self._shape: tuple[int, int, int] = grid.shape[:3]
        self._grid = upload(grid)

    def finish(
        self, session: Session, picture: Picture, place: Place, out: Picture, amount: float | None = None
    ) -> None:
        """Write the colours at the depth of a piece of the picture, and its alpha.

        With an amount the result is that of `Blend.mix`, starting from the picture.
        """
        self._run(session, picture, place, out, amount, finishes=True)

    def slice(self, session: Session, picture: Picture, place: Place) -> Picture:
        """Return the colours of a piece of the picture in float32; alpha keeps its number."""
        out = make_like(session, picture)
        self._run(session, picture, place, out, None, finishes=find_depth(picture) is Depth.FLOAT32)
        return out

    def _run(
        self, session: Session, picture: Picture, place: Place, out: Picture, amount: float | None, *, finishes: bool
    ) -> None:
        rows, columns, depth = self._shape
        height, width = picture.height, picture.width
        places = self._guide.find_places(rows, columns, place, height, width)
        _, run_count = places.runs
        rows_at_once = choose_rows(max(depth - 1, 1), -(-width // (4 * run_count)))
        blocks = min(-(-height // rows_at_once) * run_count, MOST_BLOCKS)
        make_slice(find_depth(picture), Layout(picture.channels), finishes).launch(
            blocks * (SIMULATED_BLOCK if is_simulated() else BLOCK),
            session.stream,
            picture.flat,
            height,
            width,
            self._grid,
            *self._shape,
            *places.rows,
            *places.runs,
            places.fractions,
            rows_at_once,
            *self._guide.arguments,
            np.float32(amount or 0),
            int(amount is not None),
            out.flat,
        )


def cut_runs(cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the runs of equal cells: (count, 3), the cell, the first column and the one after the last.

    Those that would be longer than `LONGEST_RUN` are several.
    """
    ends = np.flatnonzero(np.diff(cells, append=-1)) + 1
    starts: Any = np.concatenate([[0], ends[:-1]])
    runs = [
        (cells[start], at, min(at + LONGEST_RUN, end))
        for start, end in zip(starts, ends, strict=True)
        for at in range(start, end, LONGEST_RUN)
    ]
    return np.array(runs, np.int32)


def choose_rows(levels: int, quads: int) -> int:
    """Return how many rows of a run a block should do, so that few of its threads have nothing to do.

    Parameters
    ----------
    levels : int
        Cells of a row.
    quads : int
        How often a row of the run has four pixels.
    """

    def measure_work(rows: int) -> float:
        return (-(-rows * levels * CHANNELS // BLOCK) + QUAD_WORK * -(-rows * quads // BLOCK)) / rows

    return min(range(1, min(MOST_ROWS, MOST_CELLS // levels) + 1), key=measure_work)
