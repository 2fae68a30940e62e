"""How the planes and tables of a fused stage lie in memory for its kernels. Floor 4: imports stage_claim and ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.stage_bands import count_rows, lay_out_band, spread_table
from lutkit_runtime.kernels.stage_claim import Stage
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import MAX_SAMPLES

WALK, ALL_NODES, DIAGONAL = range(3)
"""How a lookup addresses its table: along the simplex of its cell, at the one node that every code has, or along the
simplex in one of two lattices."""

STRIDE_BITS = 22
"""A sort key is fraction << 22 | stride; both fit 31 bits on every lattice that `Lattice.validate` accepts.

The fraction may be of a larger unit than the lattice's step, and is multiplied: a shift by a number of bits that is not
known beforehand would be one of 64 bits.
"""

LANES = 16
"""Kernels may read so many entries at once, and so a little past the last row of the tables."""

Maps = Sequence[NDArray[np.uint8]]
"""Codes that a stage's convolutions make of planes (N, H, W): one array (4 turns, N, H, W) for each."""


@dataclass(frozen=True)
class Layout:
    """The lookups of a stage as its kernels see them, in the order of their arguments.

    Parameters
    ----------
    bases : int64, (lookups,)
        First entry of each lookup's table in the joined ones.
    strides, masks : int32, (lookups, 4)
        Of the axes; 0 for an axis that does not exist.
    offsets : int64, (lookups, 4 turns, 4)
        Of the samples in the flat padded sources, from the pixel of the first source.
    arithmetic : int32, (lookups, 3)
        Interval, what a fraction is multiplied by in its sort key, and the method: `WALK`, `ALL_NODES` or `DIAGONAL`.
        Of a diagonal-first table, these and the strides and masks are those of the coarse lattice.
    bands : int32, (lookups, 8), or None where no table is diagonal-first
        Of a table that is: strides of the fine indices; where the node of indices 0 lies and where the first
        coarse one, in rows; the largest difference of samples in the band; how many bits finer its steps are.
    scale : (unit, 1 for SR-LUT's branch or 0)
    """

    bases: NDArray[np.int64]
    strides: NDArray[np.int32]
    masks: NDArray[np.int32]
    offsets: NDArray[np.int64]
    arithmetic: NDArray[np.int32]
    bands: NDArray[np.int32] | None
    scale: tuple[int, int]


def join_tables(stage: Stage, tables: Mapping[str, NDArray[np.int8]]) -> NDArray[np.int8]:
    """Return the tables of a stage's lookups one after the other, as the kernels want them; int8, one-dimensional."""
    return join_entries(stage, [tables[lookup.slot] for lookup in stage.lookups])


def join_entries(stage: Stage, tables: Sequence[NDArray[np.int8]]) -> NDArray[np.int8]:
    """Return one table per lookup as `join_tables` does."""
    # the kernel reads whole lanes, and so a little past the last row
    spread = (spread_table(*given).reshape(-1) for given in zip(stage.lookups, tables, strict=True))
    return np.concatenate([*spread, np.zeros(LANES, np.int8)])


def pad_sources(stage: Stage, planes: NDArray[np.uint8], maps: Maps) -> NDArray[np.uint8]:
    """Return all planes that the lookups read, with a stage's reach of more pixels on every side.

    Parameters
    ----------
    stage : Stage
    planes : uint8, (N, H, W)
    maps : sequence of uint8 (4, N, H, W)
        One per convolution.

    Returns
    -------
    uint8, (sources, N, H + 2 reach, W + 2 reach), C-contiguous
    """
    count, height, width = planes.shape
    reach = stage.reach
    padded = np.empty((stage.sources, count, height + 2 * reach, width + 2 * reach), np.uint8)
    if stage.reads_input:
        pad_planes(planes, stage.padding, padded[0])
    for place, map_of_turns in enumerate(maps):
        first = int(stage.reads_input) + TURNS * place
        pad_planes(map_of_turns, stage.padding, padded[first : first + TURNS])
    return padded


def pad_planes(planes: NDArray[np.uint8], padding: Padding, padded: NDArray[np.uint8]) -> None:
    """Write planes (..., H, W) into the middle of larger ones, as far from every side, and fill the rest."""
    height, width = planes.shape[-2:]
    reach = (padded.shape[-1] - width) // 2
    inside = slice(reach, reach + height)
    padded[..., inside, reach : reach + width] = planes
    columns = padding.index(width, reach, reach) + reach
    rows = padding.index(height, reach, reach) + reach
    # columns first, within the rows that hold pixels; then whole rows, corners included
    padded[..., inside, :reach] = padded[..., inside, columns[:reach]]
    padded[..., inside, reach + width :] = padded[..., inside, columns[reach + width :]]
    padded[..., :reach, :] = padded[..., rows[:reach], :]
    padded[..., reach + height :, :] = padded[..., rows[reach + height :], :]


def fold_sources(stage: Stage, padded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twin of the transpose of `pad_sources`: add what padding pixels received to the pixels they stand for."""
    reach = stage.reach
    height, width = (length - 2 * reach for length in padded.shape[-2:])
    rows = stage.padding.index(height, reach, reach)
    columns = stage.padding.index(width, reach, reach)
    half = padded[..., reach : reach + height, :].copy()
    for source in (*range(reach), *range(reach + height, height + 2 * reach)):
        half[..., rows[source], :] += padded[..., source, :]
    whole = half[..., reach : reach + width].copy()
    for source in (*range(reach), *range(reach + width, width + 2 * reach)):
        whole[..., columns[source]] += half[..., source]
    return whole


def lay_out(stage: Stage, sources: tuple[int, ...]) -> Layout:
    """Return the layout of a stage's lookups for padded sources of a shape (sources, N, H, W)."""
    count = len(stage.lookups)
    _, planes, rows, row_stride = sources
    bases = np.zeros(count, np.int64)
    strides = np.zeros((count, MAX_SAMPLES), np.int32)
    masks = np.zeros((count, MAX_SAMPLES), np.int32)
    offsets = np.zeros((count, TURNS, MAX_SAMPLES), np.int64)
    arithmetic = np.zeros((count, 3), np.int32)
    bands = np.zeros((count, 8), np.int32)
    for place, (lookup, factor) in enumerate(zip(stage.lookups, stage.factors, strict=True)):
        lattice, diagonal = lookup.lattice, lookup.diagonal
        method = WALK if lattice.interval else ALL_NODES
        if diagonal is not None:
            band, finer = lay_out_band(diagonal, lattice), diagonal.coarse - lattice.interval
            bands[place, : lattice.axes] = band.strides
            bands[place, MAX_SAMPLES:] = band.origin, len(band.rows), diagonal.width * lattice.step, finer
            lattice, method = diagonal.coarse_lattice(lattice), DIAGONAL
        if place + 1 < count:
            bases[place + 1] = bases[place] + count_rows(lookup) * stage.block**2
        strides[place, : lattice.axes] = lattice.strides
        masks[place, : lattice.axes] = lattice.step - 1
        arithmetic[place] = lattice.interval, factor << STRIDE_BITS, method
        for turns in range(TURNS):
            source = stage.source(lookup, turns) * planes * rows * row_stride
            samples = [source + row * row_stride + column for row, column in lookup.pattern.rotated(turns).offsets]
            # an axis that does not exist reads the first sample, which differs from itself by nothing
            offsets[place, turns] = samples[0]
            offsets[place, turns, : lattice.axes] = samples
    scale = stage.unit, int(stage.interpolation is Interpolation.SRLUT)
    return Layout(bases, strides, masks, offsets, arithmetic, bands if bands.any() else None, scale)
