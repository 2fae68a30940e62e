"""A bilateral slice for training: forward, and backward to the grids, the guides and the pictures.

Floor 4: imports the definition and the kernels. The colours are those of `slice_grid` and `apply_affine`, bit for bit.
The gradient to a grid is the plain adjoint of the interpolation. The gradient to a guide is the true derivative: where it
jumps, that of the cell in which the value is taken (the upper cell); 0 where the level lies beyond the end levels, whose
own places still have the slope inside. Coefficients are never spread over a picture, neither way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import COEFFICIENTS, Float32, place_axis
from lutkit_runtime.kernels.cpu.bilateral import widen_grid
from lutkit_runtime.kernels.cpu.bilateral_gradient_lines import differentiate_slices, slice_pictures
from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.float_lanes import LANES
from lutkit_runtime.kernels.cpu.map_lanes import CELL_LANES, MAP_LANES

STRETCH = 32
"""Rows of a picture whose gradients are summed at once, at most: as many threads can work as there are stretches."""


def slice_and_apply_pictures(pictures: Float32, guides: Float32, grids: Float32, threads: int | None = None) -> Float32:
    """Return the colours (N, 3, H, W) float32 that the maps of bilateral grids make of whole pictures.

    Parameters
    ----------
    pictures : float32, (N, 3, H, W)
    guides : float32, (N, H, W)
        0 to 1.
    grids : float32, (N, rows, columns, depth, 12) or (1, rows, columns, depth, 12)
        One per picture, or one for all.
    threads : int, optional
    """
    result = np.empty(pictures.shape, np.float32)
    shape: tuple[int, int, int] = grids.shape[1:4]
    _, columns, depth = shape
    cells = max(columns - 1, 1) * max(depth - 1, 1) * CELL_LANES
    with limit_threads(threads) as allowed:
        workers = min(allowed, len(pictures) * pictures.shape[2])
        slice_pictures(
            _flatten(pictures),
            _flatten(guides),
            _flatten(widen_grid(grids)),
            (len(pictures), pictures[0, 0].size, len(grids)),
            shape,
            *_place(shape, pictures),
            np.empty(workers * columns * depth * MAP_LANES, np.float32),
            np.empty(workers * cells, np.float32),
            np.empty(workers * CHUNK, np.float32),
            np.empty(workers * CHUNK, np.int32),
            np.empty(workers * CHUNK * LANES, np.float32),
            workers,
            new_counter(),
            result.reshape(-1),
        )
    return result


def slice_gradient(
    pictures: Float32,
    guides: Float32,
    grids: Float32,
    gradient: Float32,
    *,
    threads: int | None = None,
    with_grids: bool = True,
    with_guides: bool = True,
    with_pictures: bool = True,
) -> tuple[Float32, Float32, Float32]:
    """Return the gradients to grids, guides and pictures; the number of threads changes nothing in them.

    Parameters
    ----------
    pictures, guides, grids
        As in `slice_and_apply_pictures`.
    gradient : float32, (N, 3, H, W)
        Gradient to the colours.
    threads : int, optional
    with_grids, with_guides, with_pictures : bool
        What is wanted; otherwise it is an empty array.

    Returns
    -------
    grids : float32, (N or 1, rows, columns, depth, 12)
    guides : float32, (N, H, W)
    pictures : float32, (N, 3, H, W)
    """
    shape: tuple[int, int, int] = grids.shape[1:4]
    _, columns, depth = shape
    places = _place(shape, pictures)
    stretches = _find_stretches(places[0])
    line = columns * depth * MAP_LANES
    sums = np.empty((len(pictures) if with_grids else 0, len(stretches), 2, line), np.float32)
    to_guides = np.empty(guides.shape if with_guides else (0, *guides.shape[1:]), np.float32)
    to_pictures = np.empty(pictures.shape if with_pictures else (0, *pictures.shape[1:]), np.float32)
    with limit_threads(threads) as allowed:
        workers = min(allowed, len(pictures) * len(stretches))
        differentiate_slices(
            _flatten(pictures),
            _flatten(guides),
            _flatten(widen_grid(grids)),
            _flatten(gradient),
            (len(pictures), pictures[0, 0].size, len(grids)),
            shape,
            stretches.reshape(-1),
            *places,
            (with_grids, with_guides, with_pictures),
            np.empty(workers * line, np.float32),
            np.empty(workers * line, np.float32),
            np.empty(workers * CHUNK, np.float32),
            np.empty(workers * CHUNK, np.int32),
            np.empty(workers * CHUNK * LANES, np.float32),
            np.empty(workers * CHUNK * LANES, np.float32),
            workers,
            new_counter(),
            sums.reshape(-1),
            to_guides.reshape(-1),
            to_pictures.reshape(-1),
        )
    to_grids = (
        _gather(sums, grids.shape, places[0][stretches[:, 0]])
        if with_grids
        else np.empty((0, *grids.shape[1:]), np.float32)
    )
    return to_grids, to_guides, to_pictures


def _flatten(array: Float32) -> Float32:
    return np.ascontiguousarray(array, np.float32).reshape(-1)


def _place(shape: tuple[int, int, int], pictures: Float32) -> tuple[Any, Any, Any, Any]:
    """Return cells and fractions of the rows and of the columns of whole pictures."""
    height, width = pictures.shape[2:]
    return *place_axis(shape[0], height, 0, height), *place_axis(shape[1], width, 0, width)


def _find_stretches(row_cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return first row and row after the last of stretches in one cell: a matter of shapes alone, so that a run repeats."""
    height = len(row_cells)
    borders = np.flatnonzero(np.diff(row_cells)) + 1
    starts = np.union1d(borders, np.arange(0, height, STRETCH))
    return np.stack([starts, np.append(starts[1:], height)], axis=1).astype(np.int32)


def _gather(sums: Float32, shape: tuple[int, ...], cells: NDArray[np.int32]) -> Float32:
    """Return the gradient to grids of a shape from what each stretch of a cell gives, added up in order."""
    count, rows, columns, depth = shape[:4]
    total = np.zeros((count, rows, columns * depth * MAP_LANES), np.float32)
    for picture, given in enumerate(sums):
        grid = total[min(picture, count - 1)]
        for cell, (upper, lower) in zip(cells, given, strict=True):
            grid[cell] += upper
            grid[min(cell + 1, rows - 1)] += lower
    maps = total.reshape(count, rows, columns, depth, 4, LANES)[..., :3]
    return np.ascontiguousarray(maps.swapaxes(-1, -2)).reshape(*shape[:4], COEFFICIENTS)
