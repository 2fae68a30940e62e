"""The nearest point of a surface of triangles, by descent from vertex to vertex. Imports NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

CELLS = 32
"""Along each axis, boxes of points whose descents begin at one vertex."""
MAX_STEPS = 500
"""Steps from vertex to vertex; a surface of 129 nodes a side needs fewer."""

_ROWS = 1 << 14  # points that are treated at a time


class Surface:
    """Triangles with common vertices.

    Parameters
    ----------
    points : float64, (vertices, 3)
    triangles : int, (triangles, 3)
        Indices of points.
    """

    def __init__(self, points: Float64, triangles: NDArray[np.int64]) -> None:
        self._points = points
        self._triangles = triangles
        self._used = np.unique(triangles)
        self._around = _gather(triangles, len(points))

    def project(self, targets: Float64) -> tuple[NDArray[np.int64], Float64]:
        """Return for every target (n, 3) the triangle nearest to it and where on it the nearest point is.

        The descent ends where no triangle around is nearer, which on a surface with hollows may not be the nearest of
        all.

        Returns
        -------
        corners : int, (n, 3)
            Indices of points.
        weights : float64, (n, 3)
            Of the corners; they are at least 0 and sum to 1.
        """
        starts = self._start(targets)
        blocks = [slice(start, start + _ROWS) for start in range(0, len(targets), _ROWS)]
        parts = [self._project(targets[block], self._descend(targets[block], starts[block])) for block in blocks]
        corners, weights = zip(*parts, strict=True)
        return np.concatenate(corners), np.concatenate(weights)

    def _project(self, targets: Float64, vertex: NDArray[np.int64]) -> tuple[NDArray[np.int64], Float64]:
        """Return triangles and weights, going on from the triangles around vertices to those around better ones."""
        count = len(targets)
        best = np.full(count, np.inf)
        triangle = np.zeros(count, np.int64)
        weights = np.zeros((count, 3))
        active = np.arange(count)
        ring = vertex[:, None]
        for _ in range(MAX_STEPS):
            nearby = self._around[ring].reshape(len(active), -1)
            distance, place, chosen = self._nearest_of(targets[active], nearby)
            better = distance < best[active] * (1 - 1e-12)
            active, chosen, place = active[better], chosen[better], place[better]
            best[active], weights[active], triangle[active] = distance[better], place, chosen
            edge = (place == 0).any(axis=1)  # within a triangle no neighbour is nearer
            active, ring = active[edge], self._triangles[chosen[edge]]
            if not len(active):
                break
        return self._triangles[triangle], weights

    def _start(self, targets: Float64) -> NDArray[np.int64]:
        """Return for every target the vertex that is nearest to the first one in its box."""
        points = self._points[self._used].astype(np.float32)  # which of two equally near ones wins does not matter
        half = np.square(points).sum(axis=1) / 2
        low, span = targets.min(axis=0), np.ptp(targets, axis=0).max()
        boxes = ((targets - low) / max(span, 1e-30) * CELLS).astype(np.int64)
        _, first, box = np.unique(boxes @ [1, 64, 64 * 64], return_index=True, return_inverse=True)
        blocks = np.array_split(targets[first].astype(np.float32), max(1, len(first) * len(points) // (1 << 23)))
        nearest = np.concatenate([(half - block @ points.T).argmin(axis=1) for block in blocks])
        return self._used[nearest[box.ravel()]]

    def _descend(self, targets: Float64, vertex: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the vertices reached by going on to the nearest neighbour while that is nearer."""
        vertex = vertex.copy()
        active = np.arange(len(targets))
        for _ in range(MAX_STEPS):
            around = self._around[vertex[active]]
            neighbours = self._triangles[np.maximum(around, 0)].reshape(len(active), -1)
            neighbours = np.where(np.repeat(around < 0, 3, axis=1), vertex[active, None], neighbours)
            distance = np.square(self._points[neighbours] - targets[active, None]).sum(axis=2)
            nearest = distance.argmin(axis=1)
            rows = np.arange(len(active))
            here = np.square(self._points[vertex[active]] - targets[active]).sum(axis=1)
            moved = distance[rows, nearest] < here
            active = active[moved]
            if not len(active):
                break
            vertex[active] = neighbours[rows[moved], nearest[moved]]
        return vertex

    def _nearest_of(
        self, targets: Float64, candidates: NDArray[np.int64]
    ) -> tuple[Float64, Float64, NDArray[np.int64]]:
        """Return squared distance, weights and index of the nearest of some triangles (n, k), -1 being none."""
        corners = self._points[self._triangles[np.maximum(candidates, 0)]]
        weights = weigh_nearest(targets[:, None], corners)
        distance = np.square(np.einsum("nkc,nkcd->nkd", weights, corners) - targets[:, None]).sum(axis=2)
        distance = np.where(candidates < 0, np.inf, distance)
        best = distance.argmin(axis=1)
        rows = np.arange(len(targets))
        return distance[rows, best], weights[rows, best], candidates[rows, best]


def weigh_nearest(targets: Float64, corners: Float64) -> Float64:
    """Return the weights (..., 3) of the corners at the points of triangles (..., 3, 3) nearest to targets (..., 3).

    The foot of the perpendicular where it lies within, else the nearest of the nearest points of the three edges. A
    triangle without area is its edges.
    """
    first = corners[..., 0, :]
    one, other, away = corners[..., 1, :] - first, corners[..., 2, :] - first, targets - first
    a, b, c = (one * one).sum(-1), (one * other).sum(-1), (other * other).sum(-1)
    d, e = (one * away).sum(-1), (other * away).sum(-1)
    area = a * c - b * b
    solid = area > 1e-14 * a * c
    safe = np.where(solid, area, 1)
    second, third = (c * d - b * e) / safe, (a * e - b * d) / safe
    foot = np.stack([1 - second - third, second, third], axis=-1)
    within = solid & (foot >= 0).all(axis=-1)
    best = np.full(within.shape, np.inf)
    weights = np.zeros_like(foot)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        edge = corners[..., end, :] - corners[..., start, :]
        length = (edge * edge).sum(-1)
        along = ((targets - corners[..., start, :]) * edge).sum(-1) / np.where(length > 0, length, 1)
        along = along.clip(0, 1)
        distance = np.square(corners[..., start, :] + along[..., None] * edge - targets).sum(-1)
        nearer = distance < best
        best = np.where(nearer, distance, best)
        place = np.zeros_like(foot)
        place[..., start], place[..., end] = 1 - along, along
        weights = np.where(nearer[..., None], place, weights)
    return np.where(within[..., None], foot, weights)


def _gather(triangles: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the triangles around each of so many vertices, (count, most), filled up with -1."""
    vertex = triangles.ravel()
    order = np.argsort(vertex, kind="stable")
    sizes = np.bincount(vertex, minlength=count)
    table = np.full((count, int(sizes.max())), -1, np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.arange(len(vertex)) - np.repeat(starts, sizes)
    table[vertex[order], rank] = order // 3
    return table
