"""The inverse of a cube at the nodes of another: tetrahedra located, the rest sent to the surface. NumPy and values.

Tetrahedral interpolation cuts every cell into six tetrahedra along its diagonal, one for each order of the axes, and
maps each of them linearly. So a node of the inverse lies in the image of a tetrahedron, where its inverse is exact, or
outside all images, where the nearest point of their common surface stands in for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.lut import CHANNELS, Cube, Float64, grid
from lutkit.colour.surface import Surface
from lutkit_runtime.errors import FormatError

FOLD = 1e-4
"""Share of the mean volume of tetrahedra up to which one that is turned inside out counts as flat: files round."""

_ORDERS = tuple(permutations(range(3)))
_EDGE = 1e-9  # fractions this far outside belong to a tetrahedron: its neighbours must leave no gap
_CANDIDATES = 1 << 20  # pairs of node and tetrahedron that are tested at a time


@dataclass(frozen=True, eq=False)
class _Tetrahedra:
    """The tetrahedra of one order of the axes in all cells.

    Attributes
    ----------
    order : three ints
        Axes in the order in which the walk from the near to the far corner takes them.
    vertices : int, (cells, 4)
        Flat indices of nodes.
    volume : float64, (cells,)
        Determinant of the map, red, green, blue to red, green, blue, in cells.
    """

    order: tuple[int, ...]
    vertices: NDArray[np.int64]
    volume: Float64


def invert_nodes(cube: Cube, size: int) -> tuple[Float64, float]:
    """Return the inputs of a cube for results on a grid, and the share of them that it never gives.

    Parameters
    ----------
    cube : Cube
    size : int
        Nodes per axis of the grid, which spans the results of the cube channel by channel.

    Returns
    -------
    inputs : float64, (size, size, size, 3)
    outside : float

    Raises
    ------
    FormatError
        Where the cube folds or is level; the sentence says where.
    """
    values = cube.values.reshape(-1, 3).astype(np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    flat = np.flatnonzero(high - low <= 1e-7 * np.maximum(1, np.abs(low)))
    if len(flat):
        name = CHANNELS[flat[0]]
        raise FormatError(f"{name} is {low[flat[0]]:g} whatever the input: there is nothing to invert")
    inputs = grid(cube.size, cube.low, cube.high).reshape(-1, 3)
    places = (values - low) / (high - low) * (size - 1)  # in units of the new nodes
    groups = [_cut(places, cube.size, order) for order in _ORDERS]
    limit = _check_folds(cube, groups)
    found = np.full((size**3, 3), np.nan)
    for group in groups:
        _fill(found, group, places, inputs, size, limit)
    missing = np.flatnonzero(np.isnan(found[:, 0]))
    if len(missing):
        targets = (grid(size) * (size - 1)).reshape(-1, 3)[missing]
        # Distances in the units of the colours, not of nodes, whose steps differ between channels.
        scale = (high - low) / (size - 1)
        surface = Surface(places * scale, _find_surface(groups, cube.size, limit))
        corners, weights = surface.project(targets * scale)
        found[missing] = np.einsum("nc,nck->nk", weights, inputs[corners])
    return found.reshape(size, size, size, 3), len(missing) / size**3


def _cut(places: Float64, size: int, order: tuple[int, ...]) -> _Tetrahedra:
    """Return the tetrahedra of one order of axes, with their volumes after the map."""
    strides = np.array([1, size, size * size])
    steps = np.concatenate([[0], np.cumsum(strides[list(order)])])
    axis = np.arange(size - 1)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    first = (np.stack([red, green, blue], axis=-1).reshape(-1, 3) * strides).sum(axis=1)
    vertices = first[:, None] + steps
    corners = [places[column] for column in vertices.T]
    one, two, three = (corners[each + 1] - corners[each] for each in range(3))
    parity = np.linalg.det(np.eye(3)[list(order)])
    return _Tetrahedra(order, vertices, (one * np.cross(two, three)).sum(axis=1) * round(parity))


def _check_folds(cube: Cube, groups: list[_Tetrahedra]) -> float:
    """Return the volume up to which tetrahedra are flat; raise FormatError where some are turned against the rest."""
    volumes = np.stack([group.volume for group in groups])
    mean = float(np.abs(volumes).mean())
    limit = mean * FOLD
    up, down = volumes > limit, volumes < -limit
    if not up.any() and not down.any():
        raise FormatError("the cube maps all colours to a surface, such as gray: it has no inverse")
    if up.any() and down.any():
        wrong = down if up.sum() >= down.sum() else up
        cell = int(np.flatnonzero(wrong.any(axis=0))[0])
        cells = cube.size - 1
        place = np.array([cell % cells, cell // cells % cells, cell // cells**2]) + 0.5
        low, high = np.array(cube.low), np.array(cube.high)
        red, green, blue = low + place / cells * (high - low)
        raise FormatError(
            f"the cube folds colours over near red {red:.3g}, green {green:.3g}, blue {blue:.3g}, in {int(wrong.sum())} "
            f"of {wrong.size} tetrahedra: it has no inverse"
        )
    return limit


def _fill(found: Float64, group: _Tetrahedra, places: Float64, inputs: Float64, size: int, limit: float) -> None:
    """Write the inputs of all nodes within the images of tetrahedra that are not flat."""
    solid = np.flatnonzero(np.abs(group.volume) > limit)
    corners = places[group.vertices[solid]]
    lowest, highest = corners[:, 0], corners[:, 0]
    for each in range(1, 4):
        lowest, highest = np.minimum(lowest, corners[:, each]), np.maximum(highest, corners[:, each])
    first = np.ceil(lowest - _EDGE).astype(np.int64).clip(0)
    last = np.floor(highest + _EDGE).astype(np.int64).clip(None, size - 1)
    spans = (last - first + 1).clip(0)
    counts = spans.prod(axis=1)
    busy = np.flatnonzero(counts)
    ends = np.cumsum(counts[busy])
    start = 0
    while start < len(busy):
        base = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, base + _CANDIDATES, side="right")), start + 1)
        part = busy[start:stop]
        owner = np.repeat(part, counts[part])
        rank = np.arange(len(owner)) - np.repeat(ends[start:stop] - counts[part] - base, counts[part])
        width, depth = spans[owner, 0], spans[owner, 1]
        offset = np.stack([rank % width, rank // width % depth, rank // (width * depth)], axis=-1)
        node = first[owner] + offset
        edges = np.diff(corners[part], axis=1).transpose(0, 2, 1)  # columns are edges
        backwards = np.repeat(np.linalg.inv(edges), counts[part], axis=0)
        fractions = np.einsum("nij,nj->ni", backwards, node - corners[owner, 0])
        bounded = np.concatenate([np.ones((len(fractions), 1)), fractions, np.zeros((len(fractions), 1))], axis=1)
        inside = (np.diff(bounded, axis=1) <= _EDGE).all(axis=1)
        row = (node[inside] * [1, size, size * size]).sum(axis=1)
        path = inputs[group.vertices[solid[owner[inside]]]]
        weights = -np.diff(bounded[inside], axis=1)
        found[row] = np.einsum("nc,nck->nk", weights, path)
        start = stop


def _find_surface(groups: list[_Tetrahedra], size: int, limit: float) -> NDArray[np.int64]:
    """Return the triangles (n, 3) of nodes that bound the tetrahedra that are not flat."""
    cells = size - 1
    solid = [np.abs(group.volume) > limit for group in groups]
    # Most cells are within, among others that are not flat either: their faces need not be looked at.
    near = np.ones((cells,) * 3, bool)
    near[1:-1, 1:-1, 1:-1] = False
    near = (near | _grow(~np.all(solid, axis=0).reshape(near.shape))).ravel()
    looked_at = _grow(near.reshape((cells,) * 3)).ravel()
    keys: list[NDArray[np.uint64]] = []
    owned: list[NDArray[np.bool_]] = []
    count = np.uint64(size**3)  # three nodes of 129**3 take all 64 bits
    for group, full in zip(groups, solid, strict=True):
        chosen = full & looked_at
        for corners in ([0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]):
            first, second, third = group.vertices[chosen][:, corners].astype(np.uint64).T  # they ascend
            keys.append((first * count + second) * count + third)
            owned.append(near[chosen])
    unique, place, counts = np.unique(np.concatenate(keys), return_index=True, return_counts=True)
    outer = unique[(counts == 1) & np.concatenate(owned)[place]]
    triangles = np.stack([outer // count // count, outer // count % count, outer % count], axis=-1)
    return triangles.astype(np.int64)


def _grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask of cells with all their neighbours, diagonal ones too."""
    for axis in range(3):
        padded = np.pad(mask, [(1, 1) if each == axis else (0, 0) for each in range(3)])
        mask = np.any([np.roll(padded, shift, axis) for shift in (-1, 0, 1)], axis=0)
        mask = np.take(mask, range(1, mask.shape[axis] - 1), axis)
    return mask
