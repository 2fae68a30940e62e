"""Fit a colour cube to pairs of colours in closed form: least squares of tetrahedral weights. Imports NumPy and SciPy.

What is minimised over the nodes c of each channel, with d = c - A(node) for the affine map A that fits all colours best:

    mean over pixels of (sum of weights times c - target)^2  +  smoothness / n^3 * |second differences of d along the axes|^2
                                                             +  anchor / n^3 * |d|^2

The first term says nothing where no colour went. There the second one continues what is around smoothly, and the third,
weaker one draws towards the affine map. An affine map leaves all three at nothing, so that it is found exactly. Weights:
Kasson et al., "Performing color space conversions with three-dimensional linear interpolation", 1995.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from lutkit.colour.lut import Cube, grid

Float64 = NDArray[np.float64]

SMOOTHNESS = 1e-3
"""A node that is hit as often as the average one weighs 1."""
ANCHOR = 1e-6
TOLERANCE = 1e-6
"""Of the solution, relative; far below what 16 bits can tell."""
STEPS = 4000
PIXELS_AT_ONCE = 1 << 18

_CORNERS = 8
"""Nodes of a walk through a tetrahedron differ by 0 or 1 along each axis: as many kinds of neighbours, itself included."""


class CubeFit:
    """Normal equations of a cube's nodes, collected picture by picture.

    Parameters
    ----------
    size : int
        Nodes per axis, 2 to 129.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        count = size**3
        self._products = np.zeros((_CORNERS, count))  # of the weights of a node and of its neighbour above
        self._targets = np.zeros((count, 3))
        self._moments = np.zeros((4, 4))  # of (1, red, green, blue)
        self._answers = np.zeros((4, 3))
        self.pixels = 0

    def add(self, colours: NDArray[np.floating], targets: NDArray[np.floating]) -> None:
        """Take pairs of colours in, each (..., 3) of 0 to 1."""
        flat, aims = (np.asarray(each, np.float64).reshape(-1, 3) for each in (colours, targets))
        for start in range(0, len(flat), PIXELS_AT_ONCE):
            self._add(flat[start : start + PIXELS_AT_ONCE], aims[start : start + PIXELS_AT_ONCE])

    def _add(self, colours: Float64, targets: Float64) -> None:
        count = self.size**3
        walk = list(_walk(colours, self.size))
        for place, (node, corner, weight) in enumerate(walk):
            for channel in range(3):
                self._targets[:, channel] += np.bincount(node, weight * targets[:, channel], count)
            for _, later, other in walk[place:]:
                # both lie on one walk upwards: the second is the first plus the axes that were taken in between
                kind = later ^ corner
                together = np.bincount(kind * count + node, weight * other, _CORNERS * count)
                self._products += together.reshape(_CORNERS, count)
        columns = np.concatenate([np.ones((len(colours), 1)), colours], axis=1)
        self._moments += columns.T @ columns
        self._answers += columns.T @ targets
        self.pixels += len(colours)

    def find_affine(self) -> Float64:
        """Return the affine map that fits all colours best, (4, 3): what (1, red, green, blue) is multiplied with.

        A direction in which the colours do not vary, such as that from gray in gray pictures, changes nothing.
        """
        rest = self._answers - self._moments @ np.eye(4, 3, -1)
        return np.eye(4, 3, -1) + np.linalg.pinv(self._moments, rcond=1e-12, hermitian=True) @ rest

    def solve(self) -> Cube:
        """Return the cube, its values within 0 and 1; raises ValueError where no colour was taken in."""
        if not self.pixels:
            raise ValueError("no colours were taken in; add some first")
        size, count = self.size, self.size**3
        nodes = grid(size).reshape(-1, 3)
        affine = np.concatenate([np.ones((count, 1)), nodes], axis=1) @ self.find_affine()
        scale = count / self.pixels
        data = self._assemble() * scale
        matrix = (data + SMOOTHNESS * _second_differences(size) + ANCHOR * sparse.eye_array(count)).tocsr()
        wanted = self._targets * scale - data @ affine
        diagonal = matrix.diagonal()
        shrink = LinearOperator(matrix.shape, matvec=lambda vector: vector.ravel() / diagonal)  # type: ignore[call-arg]
        bends = np.stack(
            [cg(matrix, wanted[:, channel], rtol=TOLERANCE, maxiter=STEPS, M=shrink)[0] for channel in range(3)], axis=1
        )
        values = np.clip(affine + bends, 0, 1).astype(np.float32)
        return Cube(values.reshape(size, size, size, 3))

    def _assemble(self) -> sparse.csr_array:
        """Return the matrix of the normal equations: symmetric, (nodes, nodes)."""
        size, count = self.size, self.size**3
        steps = [(kind & 1) + size * (kind >> 1 & 1) + size * size * (kind >> 2) for kind in range(_CORNERS)]
        above = [self._products[kind, : count - step] for kind, step in enumerate(steps)]
        upper = sparse.diags_array(above[1:], offsets=np.array(steps[1:]), shape=(count, count))  # type: ignore[arg-type]
        return (sparse.diags_array(above[0]) + upper + upper.T).tocsr()


def _walk(colours: Float64, size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], Float64]]:
    """Yield the four nodes on the walk through each colour's tetrahedron: node, corner of its cell as bits, weight."""
    position = colours.clip(0, 1) * (size - 1)
    cell = np.minimum(position.astype(np.intp), size - 2)
    fraction = position - cell
    order = np.argsort(-fraction, axis=1, kind="stable")
    ordered = np.take_along_axis(fraction, order, axis=1)
    strides = np.array([1, size, size * size])
    node = cell @ strides
    corner = np.zeros_like(node)
    before = np.ones(len(colours))
    for step in range(3):
        yield node, corner, before - ordered[:, step]
        before = ordered[:, step]
        node = node + strides[order[:, step]]
        corner = corner | (1 << order[:, step])
    yield node, corner, before


def _second_differences(size: int) -> sparse.csr_array:
    """Return the sum over axes of D'D, D the second differences along it; nothing for cubes of two nodes per axis."""
    if size < 3:
        return sparse.csr_array((size**3, size**3))
    line = sparse.diags_array([1.0, -2.0, 1.0], offsets=np.arange(3), shape=(size - 2, size))  # type: ignore[arg-type]
    bend, stay = (line.T @ line).tocsr(), sparse.eye_array(size)
    along = (
        sparse.kron(sparse.kron(stay, stay), bend),
        sparse.kron(sparse.kron(stay, bend), stay),
        sparse.kron(sparse.kron(bend, stay), stay),
    )
    return sum(along[1:], along[0]).tocsr()
