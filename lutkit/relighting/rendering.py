"""A small renderer of lit scenes: solids and hills under a distant light, with exact depth and cast shadows.

What training pictures of relighting are made of where there are no others; free of any licence. May import the solids,
the ground, materials, lights, the sRGB curve; NumPy and OpenCV.

The world is in units, of which about nine are seen across: x to the east (right), y to the north (away from the camera),
z up. Geometry is found once per scene, each light is then a matter of shading and shadows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.srgb import encode_srgb
from lutkit.relighting.ground import EXTENT, Floats, Ground
from lutkit.relighting.lights import Light
from lutkit.relighting.materials import Material, stay_plain
from lutkit.relighting.solids import Solid

SAMPLES = 2
"""Rays per pixel, along each side."""
LIFT = 2e-3
"""Units by which points are lifted off their surface before it is asked what shades them."""
SKY_DIRECTIONS = 12
"""How many directions tell how much of the sky a point sees."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at the middle of the scene from the south.

    Attributes
    ----------
    elevation : float
        Degrees above the ground, 35 to 90.
    distance : float
        To the middle, in units.
    width : float
        Units that are seen across at the middle's distance.
    """

    elevation: float = 55.0
    distance: float = 18.0
    width: float = 9.0

    @property
    def place(self) -> NDArray[np.float64]:
        """Where it stands, (3,)."""
        return -self.distance * self.axes[2]

    @property
    def axes(self) -> NDArray[np.float64]:
        """Rows: to the right, down and ahead in the picture."""
        sin, cos = np.sin(np.radians(self.elevation)), np.cos(np.radians(self.elevation))
        return np.array([[1, 0, 0], [0, -sin, -cos], [0, cos, -sin]])

    def rays(self, side: int) -> Floats:
        """Return directions (side * side, 3) through the pixels' centres, row by row; depth 1 each: not unit vectors."""
        places = ((np.arange(side) + 0.5) / side - 0.5) * self.width / self.distance
        down, across = np.meshgrid(places, places, indexing="ij")
        right, below, ahead = self.axes
        rays = ahead + across[..., None] * right + down[..., None] * below
        return rays.reshape(-1, 3).astype(np.float32)


@dataclass(frozen=True)
class Body:
    """A solid and what it is made of."""

    solid: Solid
    material: Material


@dataclass(frozen=True)
class Stage:
    """A scene without its light.

    Attributes
    ----------
    ground : Ground
    ground_material : Material
    bodies : sequence of Body
    camera : Camera
    noise : float32, (n, n)
        What patterns are made of.
    ambience : float
        Light from the sky, as a share of the direct light.
    exposure : float
        What 1 of reflected light becomes in the picture, before the shoulder.
    """

    ground: Ground
    ground_material: Material
    bodies: Sequence[Body]
    camera: Camera
    noise: Floats
    ambience: float = 0.16
    exposure: float = 1.0


@dataclass(frozen=True)
class Surface:
    """What a camera sees of a stage, ready for any light.

    Attributes
    ----------
    stage : Stage
    side : int
    depth : float32, (side, side)
        Along the camera's axis, through the pixels' centres: 0 for the nearest, 1 for the farthest point that is seen.
    distances : float32, (side, side)
        The same in units from the camera.
    normals : float32, (side, side, 3)
        Unit vectors in the world, through the pixels' centres.
    points, facing, colours : float32, (n, 3)
        Of all rays of all pixels: where they end, the normals there, what is reflected.
    gloss, sharpness, sky : float32, (n,)
        Of highlights, and the share of the sky that is seen.
    """

    stage: Stage
    side: int
    depth: Floats
    distances: Floats
    normals: Floats
    points: Floats = field(repr=False)
    facing: Floats = field(repr=False)
    colours: Floats = field(repr=False)
    gloss: Floats = field(repr=False)
    sharpness: Floats = field(repr=False)
    sky: Floats = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        arrays = (self.points, self.facing, self.colours, self.gloss, self.sharpness, self.sky)
        return sum(array.nbytes for array in (self.depth, self.distances, self.normals, *arrays))

    def lit(self, light: Light) -> NDArray[np.bool_]:
        """Return which rays' ends the light reaches, (n,)."""
        return find_lit(self.stage, self.points, self.facing, light.direction)

    def expose(self, light: Light) -> NDArray[np.uint8]:
        """Return the picture (side, side, 3), sRGB uint8, under a light."""
        towards = light.direction.astype(np.float32)
        reaches = self.lit(light)
        slant = np.where(reaches, np.maximum(self.facing @ towards, 0), 0)[:, None]
        colour = light.colour.astype(np.float32)
        # The sky takes half of its colour from the light.
        sky = np.float32(self.stage.ambience) * (0.5 + 0.5 * colour)
        radiance = self.colours * (slant * colour + self.sky[:, None] * sky)
        if self.gloss.any():
            shiny = np.flatnonzero(reaches & (self.gloss > 0))
            to_camera = self.stage.camera.place.astype(np.float32) - self.points[shiny]
            to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
            half = to_camera + towards
            half /= np.linalg.norm(half, axis=1, keepdims=True)
            aligned = np.maximum(np.einsum("ij,ij->i", half, self.facing[shiny]), 0) ** self.sharpness[shiny]
            radiance[shiny] += (self.gloss[shiny] * aligned)[:, None] * colour
        pixels = radiance.reshape(self.side, SAMPLES, self.side, SAMPLES, 3).mean(axis=(1, 3))
        bent = bend_shoulder(pixels * np.float32(self.stage.exposure))
        return (encode_srgb(bent) * 255 + 0.5).astype(np.uint8)


def bend_shoulder(light: Floats) -> Floats:
    """Return light with its highlights bent towards 1, which they never pass: straight up to a half, as film does."""
    over = np.maximum(light - 0.5, 0)
    return np.minimum(light, 0.5) + 0.5 * (1 - np.exp(-2 * over))


def trace(stage: Stage, side: int) -> Surface:
    """Find what a camera sees of a stage.

    Parameters
    ----------
    stage : Stage
    side : int
        Of the pictures, in pixels.
    """
    camera = stage.camera
    rays = camera.rays(side)
    middles, owner = _meet_nearest(stage, rays)
    places = camera.place.astype(np.float32) + middles[:, None] * rays
    normals = _find_normals(stage, places, owner)
    sky = _see_sky(stage, places, normals).reshape(side, side)
    fine = camera.rays(side * SAMPLES)
    distances, owner = _meet_nearest(stage, fine)
    points = camera.place.astype(np.float32) + distances[:, None] * fine
    colours = np.empty_like(points)
    gloss, sharpness = np.empty(len(points), np.float32), np.empty(len(points), np.float32)
    for number in range(-1, len(stage.bodies)):
        mine = np.flatnonzero(owner == number)
        if not len(mine):
            continue
        material = stage.ground_material if number < 0 else stage.bodies[number].material
        own = points[mine]
        if number >= 0:
            solid = stage.bodies[number].solid
            own = solid.to_local(own) * np.array(solid.radii, np.float32)
        colours[mine] = material.paint(own, stage.noise)
        gloss[mine], sharpness[mine] = material.gloss, material.sharpness
    low, high = float(middles.min()), float(middles.max())
    return Surface(
        stage,
        side,
        ((middles - low) / max(high - low, 1e-9)).astype(np.float32).reshape(side, side),
        middles.reshape(side, side),
        normals.reshape(side, side, 3),
        points,
        _find_normals(stage, points, owner),
        colours,
        gloss,
        sharpness,
        sky.repeat(SAMPLES, axis=0).repeat(SAMPLES, axis=1).reshape(-1),
    )


def find_lit(stage: Stage, points: Floats, normals: Floats, towards: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points (N, 3) of a stage's surfaces a light in a direction (3,) reaches."""
    way = towards.astype(np.float32)
    lit = normals @ way > 0
    ground = stage.ground
    if not ground.is_flat and towards[2] > 0:
        # A hill's own slope shades it by facing away; two nodes' height keep it from shading itself by rounding.
        slack = np.float32(2 * EXTENT / len(ground.heights) * 0.5)
        lit &= points[:, 2] > ground.cast(towards).height(points[:, 0], points[:, 1]) - slack
    for body in stage.bodies:
        solid = body.solid
        # Only rays that pass through the ball around the solid are worth a closer look.
        apart = np.array(solid.centre, np.float32) - points
        along = apart @ way
        near = np.einsum("ij,ij->i", apart, apart) - along * along
        asked = np.flatnonzero(lit & (along > -solid.reach) & (near < solid.reach**2))
        if len(asked):
            lit[asked] &= ~solid.blocks(points[asked] + np.float32(LIFT) * normals[asked], way[None])
    return lit


def _meet_nearest(stage: Stage, rays: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return the depths (N,) where rays from the camera end, and on which body: its number, -1 for the ground."""
    origin = stage.camera.place.astype(np.float32)
    distances = stage.ground.enter(origin, rays).astype(np.float32)
    owner = np.full(len(rays), -1)
    for number, body in enumerate(stage.bodies):
        found = body.solid.enter(np.broadcast_to(origin, rays.shape), rays)
        nearer = found < distances
        distances[nearer] = found[nearer]
        owner[nearer] = number
    return distances, owner


def _find_normals(stage: Stage, points: Floats, owner: NDArray[np.int64]) -> Floats:
    normals = stage.ground.normals(points)
    for number, body in enumerate(stage.bodies):
        mine = np.flatnonzero(owner == number)
        normals[mine] = body.solid.normals(points[mine])
    return normals


def _see_sky(stage: Stage, points: Floats, normals: Floats) -> Floats:
    """Return the share of the sky (N,) that points see past the solids, weighted by the slant of its light."""
    share, total = np.zeros(len(points), np.float32), np.zeros(len(points), np.float32)
    for number in range(SKY_DIRECTIONS):
        height = (number + 0.5) / SKY_DIRECTIONS
        turn = number * np.pi * (3 - np.sqrt(5))
        across = np.sqrt(1 - height**2)
        towards = np.array([across * np.cos(turn), across * np.sin(turn), height])
        slant = np.maximum(normals @ towards.astype(np.float32), 0)
        flat = Stage(
            Ground(np.zeros((1, 1), np.float32)), stage.ground_material, stage.bodies, stage.camera, stage.noise
        )
        share += slant * find_lit(flat, points, normals, towards)
        total += np.float32(height)
    return (0.25 + 0.75 * share / total).astype(np.float32)


def make_plain(colour: tuple[float, float, float]) -> Material:
    """Return a dull material of one linear colour, with a trace of grain towards black."""
    return Material(np.array([colour, (0, 0, 0)]), stay_plain, 1.0)
