"""A guide for training: forward, and backward to its tables. Imports the definition and the kernels.

Floor 4. The guides are those of `GuideTables.evaluate`, bit for bit. The gradient to a node is its interpolation weight times
the gradient to the value, summed over the pixels. The gradient through a curve is the true derivative: where it jumps, that
of the cell in which the value is taken (the upper cell); 0 beyond the curve's ends, which still have the slope inside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import Float32, GuideTables
from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.guide_gradient_lines import differentiate_guides, find_picture_guides

PARTS = 16
"""The pixels of a batch are summed in at most so many parts: as many threads can work on the way back."""


def evaluate_pictures(pictures: Float32, tables: GuideTables, threads: int | None = None) -> Float32:
    """Return the guides (N, H, W) float32 of pictures.

    Parameters
    ----------
    pictures : float32, (N, 3, H, W)
        Samples below 0 or above 1 count as 0 or 1, not a number as 0.
    tables : GuideTables
    threads : int, optional
    """
    guides = np.empty((len(pictures), *pictures.shape[2:]), np.float32)
    with limit_threads(threads) as workers:
        find_picture_guides(
            _flatten(pictures),
            (len(pictures), guides[0].size),
            *_flatten_tables(tables),
            np.empty(workers * CHUNK * 3, np.float32),
            np.empty(workers * CHUNK, np.float32),
            np.empty(workers * CHUNK, np.float32),
            workers,
            new_counter(),
            guides.reshape(-1),
        )
    return guides


def guide_gradient(
    pictures: Float32, tables: GuideTables, gradient: Float32, threads: int | None = None
) -> GuideTables:
    """Return the gradients to the tables, as tables; the number of threads changes nothing in them.

    Parameters
    ----------
    pictures, tables
        As in `evaluate_pictures`.
    gradient : float32, (N, H, W)
        Gradient to the guides.
    threads : int, optional
    """
    count: int = tables.mix.shape[1]
    cells, last = len(tables.curves) - 1, len(tables.result) - 1
    numbers = count * 4 + (count * cells + last) * 2
    parts = _count_parts(gradient.size, numbers)
    sums = np.empty((parts, 2, numbers), np.float64)
    with limit_threads(threads) as allowed:
        workers = min(allowed, parts)
        differentiate_guides(
            _flatten(pictures),
            (len(pictures), gradient[0].size),
            *_flatten_tables(tables),
            _flatten(gradient),
            parts,
            np.empty(workers * CHUNK * 3, np.float32),
            np.empty(workers * CHUNK * (count + 1), np.float32),
            np.empty(workers * CHUNK, np.float32),
            np.empty(workers * CHUNK, np.float32),
            np.empty(workers * CHUNK, np.float32),
            np.empty(workers * CHUNK, np.int32),
            workers,
            new_counter(),
            sums.reshape(-1),
        )
    total = sums.sum(axis=(0, 1))
    of_curves, of_result = total[count * 4 : -last * 2], total[-last * 2 :]
    return GuideTables(
        total[: count * 4].reshape(count, 4).T.astype(np.float32),
        _gather_nodes(of_curves.reshape(count, cells, 2)),
        _gather_nodes(of_result.reshape(1, last, 2)),
    )


def _flatten(array: Float32) -> Float32:
    return np.ascontiguousarray(array, np.float32).reshape(-1)


def _flatten_tables(tables: GuideTables) -> tuple[Float32, Float32, Float32]:
    return _flatten(tables.mix.T), _flatten(tables.curves.T), _flatten(tables.result)


def _gather_nodes(sums: NDArray[np.float64]) -> Float32:
    """Return the gradient to nodes (entries, curves) from the two sums of every cell (curves, cells, 2)."""
    nodes = np.zeros((len(sums), sums.shape[1] + 1))
    nodes[:, :-1] = sums[..., 0] - sums[..., 1]
    nodes[:, 1:] += sums[..., 1]
    return nodes.T.astype(np.float32)


def _count_parts(pixels: int, numbers: int) -> int:
    """Return into how many parts the pixels are divided: a matter of shapes alone, so that a run repeats.

    A part should have more pixels than there are sums, because these are cleared and added up at the end.
    """
    return max(1, min(PARTS, pixels // numbers, pixels // CHUNK))
