"""Solids that rays meet: ellipsoids, boxes, cylinders and cones, each standing upright anywhere. Imports NumPy only.

Rays are points `origins` (..., 3) and vectors `directions`, broadcastable to them, of any length; distances are in units
of that length. Floats throughout: half the memory traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
"""Float32 throughout; checkers take sums with plain numbers for wider ones."""

NEVER = np.float32(np.inf)
"""Distance of what a ray does not meet."""


class Shape(Protocol):
    """A solid in coordinates of its own, in which it reaches from -1 to 1 along every axis."""

    def meet(self, origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """Return the distances (N,) where rays (N, 3) enter and leave; entering lies beyond leaving where they miss."""
        ...

    def normals(self, points: Floats) -> Floats:
        """Return vectors (N, 3) that point out of the surface at points on it, of any length."""
        ...


class Ball:
    """The unit ball."""

    def meet(self, origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """See `Shape`."""
        squared = np.einsum("ij,ij->i", directions, directions)
        # About the point nearest to the middle: the plain quadratic loses digits far away.
        nearest = -np.einsum("ij,ij->i", origins, directions) / squared
        beside = origins + nearest[:, None] * directions
        half = (1 - np.einsum("ij,ij->i", beside, beside)) / squared
        root = np.sqrt(np.maximum(half, 0))
        missed = half < 0
        return np.where(missed, NEVER, nearest - root), np.where(missed, -NEVER, nearest + root)

    def normals(self, points: Floats) -> Floats:
        """See `Shape`."""
        return points


class Block:
    """The cube."""

    def meet(self, origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """See `Shape`."""
        inverse = 1 / _avoid_zero(directions)
        one, other = (-1 - origins) * inverse, (1 - origins) * inverse
        low, high = np.minimum(one, other).T, np.maximum(one, other).T
        return np.maximum(np.maximum(low[0], low[1]), low[2]), np.minimum(np.minimum(high[0], high[1]), high[2])

    def normals(self, points: Floats) -> Floats:
        """See `Shape`."""
        away = np.abs(points)
        return np.where(away == away.max(axis=-1, keepdims=True), np.sign(points), 0).astype(np.float32)


@dataclass(frozen=True)
class Frustum:
    """A cylinder or cone: radius 1 at the bottom, `top` (0 to 1) at the top.

    Attributes
    ----------
    top : float
    """

    top: float

    def meet(self, origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """See `Shape`."""
        x, y, z = np.moveaxis(origins, -1, 0)
        dx, dy, dz = np.moveaxis(directions, -1, 0)
        slope = np.float32((self.top - 1) / 2)
        radius, change = 1 + slope * (z + 1), slope * dz
        a = dx * dx + dy * dy - change * change
        b = x * dx + y * dy - radius * change
        c = x * x + y * y - radius * radius
        a = np.where(np.abs(a) < 1e-9, np.float32(1e-9), a)
        root = np.sqrt(np.maximum(b * b - a * c, 0))
        missed = b * b < a * c
        near, far = (-b - root) / a, (-b + root) / a
        near, far = np.minimum(near, far), np.maximum(near, far)
        inverse = 1 / _avoid_zero(dz)
        one, other = (-1 - z) * inverse, (1 - z) * inverse
        bottom, top = np.minimum(one, other), np.maximum(one, other)
        # A ray steeper than the side is outside the double cone between the two points; the lower half is before them
        # where it rises, after them where it falls.
        steep, rises = a < 0, dz > 0
        entering = np.maximum(np.where(steep, np.where(rises, -NEVER, far), near), bottom)
        leaving = np.minimum(np.where(steep, np.where(rises, near, NEVER), far), top)
        missed &= ~steep
        return np.where(missed, NEVER, entering), np.where(missed, -NEVER, leaving)

    def normals(self, points: Floats) -> Floats:
        """See `Shape`."""
        x, y, z = np.moveaxis(points, -1, 0)
        slope = np.float32((self.top - 1) / 2)
        radius = 1 + slope * (z + 1)
        distance = np.hypot(x, y)
        is_cap = 1 - np.abs(z) < np.abs(radius - distance)
        side = np.stack((x, y, -slope * distance), axis=-1)
        cap = np.stack((np.zeros_like(z), np.zeros_like(z), np.sign(z)), axis=-1)
        return np.where(is_cap[:, None], cap, side).astype(np.float32)


@dataclass(frozen=True)
class Solid:
    """A shape at its place.

    Attributes
    ----------
    shape : Shape
    centre : three float
    radii : three float
        Half its extent along its own axes.
    yaw : float
        Radians by which it is turned about the vertical axis.
    """

    shape: Shape
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    yaw: float = 0.0

    @property
    def reach(self) -> float:
        """Radius of a ball about the centre that holds the solid."""
        return float(np.linalg.norm(self.radii))

    def enter(self, origins: Floats, directions: Floats) -> Floats:
        """Return where rays (N, 3) meet the solid from outside, (N,) float32: a distance above 0, or infinite."""
        entering, leaving = self._meet(origins, directions)
        return np.where((entering < leaving) & (entering > 0), entering, NEVER).astype(np.float32)

    def blocks(self, origins: Floats, directions: Floats) -> NDArray[np.bool_]:
        """Return whether rays (N, 3) meet the solid at a distance above 0, even from inside."""
        entering, leaving = self._meet(origins, directions)
        return (entering < leaving) & (leaving > 0)

    def normals(self, points: Floats) -> Floats:
        """Return the unit normals (N, 3) at points on the surface."""
        local = self.shape.normals(self.to_local(points)) / self._radii
        turned = local @ self._axes
        return turned / np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), np.float32(1e-12))

    def to_local(self, points: Floats) -> Floats:
        """Return points (N, 3) in the shape's coordinates."""
        return (points - self._centre) @ self._axes.T / self._radii

    def _meet(self, origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        turned = (directions @ self._axes.T) / self._radii
        return self.shape.meet(self.to_local(origins), np.broadcast_to(turned, origins.shape))

    @property
    def _centre(self) -> Floats:
        return np.array(self.centre, np.float32)

    @property
    def _radii(self) -> Floats:
        return np.array(self.radii, np.float32)

    @property
    def _axes(self) -> Floats:
        """Rows: the solid's own axes in the world."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], np.float32)


def _avoid_zero(values: Floats) -> Floats:
    return np.where(np.abs(values) < 1e-12, np.float32(1e-12), values)
