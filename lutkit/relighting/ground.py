"""The ground of rendered scenes: a height field that repeats, and the shadows it casts. Imports NumPy and OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
"""Float32 throughout; checkers take sums with plain numbers for wider ones."""

EXTENT = 32.0
"""After how many units the ground repeats."""
STEPS = 40
"""Into how many steps the way of a ray through the layer of hills is divided."""
REFINEMENTS = 6
"""How often the last step is halved."""
_ROW = 4096


def make_noise(rng: np.random.Generator, nodes: int, slope: float, coarsest: float = 1.0) -> Floats:
    """Return a field (nodes, nodes) that repeats, of mean 0 and unit variance.

    Parameters
    ----------
    rng : numpy.random.Generator
    nodes : int
    slope : float
        Amplitudes fall with the frequency to this power: 1 is rough, 3 is smooth.
    coarsest : float
        Waves per side below which there is nothing.
    """
    across, down = np.fft.rfftfreq(nodes, 1 / nodes), np.fft.fftfreq(nodes, 1 / nodes)
    frequency = np.hypot(down[:, None], across[None, :])
    amplitude = np.where(frequency < coarsest, 0, np.maximum(frequency, 1) ** -slope)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((nodes, nodes))) * amplitude, s=(nodes, nodes))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def read_field(field: Floats, x: Floats, y: Floats) -> Floats:
    """Return a repeating field (n, n) between its nodes, bilinearly, at places in nodes."""
    # OpenCV takes sides of up to 32767: rows of one length, the last one filled up.
    width = min(x.size, _ROW)
    places = np.zeros((2, -(-x.size // width) * width), np.float32)
    places[0, : x.size], places[1, : x.size] = x.reshape(-1), y.reshape(-1)
    across, down = places.reshape(2, -1, width)
    read = cv2.remap(field, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(read, np.float32).reshape(-1)[: x.size].reshape(x.shape)


@dataclass(frozen=True)
class Ground:
    """A height field over the plane.

    Attributes
    ----------
    heights : float32, (n, n)
        In units; repeated every `EXTENT`, node [0, 0] at the corner (-EXTENT / 2, -EXTENT / 2), x along rows.
    """

    heights: Floats

    @cached_property
    def low(self) -> float:
        """Lowest height."""
        return float(self.heights.min())

    @cached_property
    def high(self) -> float:
        """Greatest height."""
        return float(self.heights.max())

    @property
    def is_flat(self) -> bool:
        """Whether there are no hills."""
        return self.high == self.low

    @cached_property
    def _slopes(self) -> tuple[Floats, Floats]:
        step = 2 * EXTENT / len(self.heights)
        return tuple(
            ((np.roll(self.heights, -1, axis) - np.roll(self.heights, 1, axis)) / step).astype(np.float32)
            for axis in (1, 0)
        )  # type: ignore[return-value]

    def height(self, x: Floats, y: Floats) -> Floats:
        """Return the heights at places."""
        return np.full_like(x, self.low) if self.is_flat else read_field(self.heights, *self._place(x, y))

    def normals(self, points: Floats) -> Floats:
        """Return the unit normals (N, 3) above points (N, 3)."""
        normals = np.zeros_like(points)
        normals[:, 2] = 1
        if not self.is_flat:
            place = self._place(points[:, 0], points[:, 1])
            for axis, slope in enumerate(self._slopes):
                normals[:, axis] = -read_field(slope, *place)
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return normals

    def enter(self, origin: Floats, directions: Floats) -> Floats:
        """Return where rays from above, from one point (3,) in directions (N, 3) that fall, meet the ground, (N,)."""
        fall = -directions[:, 2]
        first = (origin[2] - np.float32(self.high)) / fall
        if self.is_flat:
            return first
        last = (origin[2] - np.float32(self.low)) / fall
        step = (last - first) / STEPS
        above, found = first.copy(), np.zeros(len(first), bool)
        for number in range(1, STEPS + 1):
            distance = first + number * step
            found |= self._is_below(origin, directions, distance)
            np.copyto(above, distance, where=~found)
        for _ in range(REFINEMENTS):
            step = step / 2
            distance = above + step
            np.copyto(above, distance, where=~self._is_below(origin, directions, distance))
        return above + step / 2

    def cast(self, towards: NDArray[np.float64]) -> Ground:
        """Return the height below which everything is in the shadow of hills, under a light in this direction (3,)."""
        if self.is_flat:
            return self
        nodes = len(self.heights)
        across = float(np.hypot(towards[0], towards[1]))
        rise = float(towards[2]) / max(across, 1e-9)
        way = towards[:2] / max(across, 1e-9) * nodes / EXTENT
        ceiling = np.full_like(self.heights, self.low)
        # A node's size per step: no ridge is stepped over. Beyond `reach` no hill is high enough.
        reach = (self.high - self.low) / rise
        for distance in np.arange(1.0, reach * nodes / EXTENT + 1) * (EXTENT / nodes):
            shift = np.array([[1, 0, way[0] * distance], [0, 1, way[1] * distance]])
            there = cv2.warpAffine(
                self.heights,
                shift,
                (nodes, nodes),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_WRAP,
            )
            np.maximum(ceiling, there - np.float32(rise * distance), out=ceiling)
        return Ground(ceiling)

    def _is_below(self, origin: Floats, directions: Floats, distance: Floats) -> NDArray[np.bool_]:
        x, y, z = (origin[axis] + distance * directions[:, axis] for axis in range(3))
        return z < self.height(x, y)

    def _place(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        scale = np.float32(len(self.heights) / EXTENT)
        middle = np.float32(EXTENT / 2)
        return (x + middle) * scale, (y + middle) * scale
