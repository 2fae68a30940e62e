"""Scenes drawn at random: hills or a plain, and what stands on it. May import what scenes consist of; NumPy."""

from __future__ import annotations

import numpy as np

from lutkit.relighting.ground import Ground, make_noise
from lutkit.relighting.materials import draw_material, draw_noise
from lutkit.relighting.rendering import Body, Camera, Stage
from lutkit.relighting.solids import Ball, Block, Frustum, Shape, Solid

_GROUND_NODES = 256
_BALL = Ball()


def draw_stage(rng: np.random.Generator) -> Stage:
    """Draw a scene: a ground, flat or hilly, and 4 to 14 solids on it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides on everything; a generator in the same state gives the same scene.
    """
    noise = draw_noise(rng)
    is_hilly = rng.random() < 0.5
    ground = _draw_ground(rng, is_hilly)
    camera = Camera(elevation=float(rng.uniform(42, 78)), distance=float(rng.uniform(14, 26)))
    bodies: list[Body] = []
    for _ in range(int(rng.integers(4, 15))):
        bodies += _draw_thing(rng, ground)
    return Stage(
        ground,
        draw_material(rng, glosses=False),
        bodies,
        camera,
        noise,
        ambience=float(rng.uniform(0.1, 0.22)),
        exposure=float(rng.uniform(0.85, 1.3)),
    )


def _draw_ground(rng: np.random.Generator, is_hilly: bool) -> Ground:
    if not is_hilly:
        return Ground(np.zeros((1, 1), np.float32))
    hills = make_noise(rng, _GROUND_NODES, rng.uniform(2.4, 3.4), rng.uniform(2, 6))
    return Ground((hills * np.float32(rng.uniform(0.1, 0.5))).astype(np.float32))


def _draw_thing(rng: np.random.Generator, ground: Ground) -> list[Body]:
    """Return one solid that stands on the ground, or a tree or tower of two."""
    x, y = rng.uniform(-4.5, 4.5, 2)
    floor = float(ground.height(np.full((1, 1), x, np.float32), np.full((1, 1), y, np.float32))[0, 0])
    size = float(np.exp(rng.uniform(np.log(0.3), np.log(1.3))))
    yaw = float(rng.uniform(0, np.pi))
    kind = int(rng.integers(6))
    material = draw_material(rng)

    def stand(shape: Shape, width: float, depth: float, height: float, bottom: float = floor) -> Solid:
        # A little of it is in the ground, which is not level.
        sunk = bottom - (0.1 * height if bottom == floor and shape is not _BALL else 0)
        return Solid(shape, (float(x), float(y), sunk + height), (width, depth, height), yaw)

    if kind == 0:
        return [Body(stand(_BALL, size, size, size), material)]
    if kind == 1:
        wide, deep, high = size * rng.uniform(0.5, 1.2, 3)
        return [Body(stand(Block(), wide, deep, high), material)]
    if kind == 2:
        return [Body(stand(Frustum(1.0), size * 0.7, size * 0.7, size * rng.uniform(0.4, 1.5)), material)]
    if kind == 3:
        return [Body(stand(Frustum(rng.uniform(0, 0.6)), size, size, size * rng.uniform(0.7, 1.4)), material)]
    if kind == 4:
        wide, long = 0.12 + 0.1 * size, rng.uniform(0.8, 2.5)
        return [Body(stand(Block(), wide, long, 0.5 * size), material)]
    high = rng.uniform(0.5, 0.9)
    trunk = stand(Frustum(0.8), 0.13, 0.13, high)
    crown = stand(_BALL, 0.8 * size, 0.8 * size, 0.7 * size, floor + 1.6 * high)
    return [Body(trunk, draw_material(rng, glosses=False)), Body(crown, material)]
