"""Training images made from nothing: dead leaves with textures, lines and writing.

They stand in for photos where a user has none, and are free of any licence. May import numpy and OpenCV.

The core is the dead-leaves model: shapes with power-law sizes fall on each other, which gives the edges at all scales
and the power spectrum of photos (Lee, Mumford, Huang, "Occlusion models for natural images: a statistical study of the
scale-invariant dead leaves model", IJCV 41, 2001). What photos have besides is added: gratings and grain on the leaves,
thin lines, letters, a blurred distance, a shaded whole.
"""

import math
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

Image8 = NDArray[np.uint8]
Plane = NDArray[np.floating]  # float32 throughout: half the memory traffic
Points = NDArray[np.float64]

_VERTICES = 48  # of every outline; the corners of 3-, 4- and 6-gons are among them
_CORNERS = np.array([3, 4, 4, 4, 6])  # kinds of polygon, as likely as they are listed
_SUBPIXEL_BITS = 4  # OpenCV takes vertices as fixed-point numbers
_LEAVES_PER_PIXEL = 1 / 150
_SMALLEST_RADIUS = 1.5
_TEXTURED_RADIUS = 7.0  # smaller leaves are flat: a texture would not show
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = np.array(list(string.ascii_letters + string.digits + "+-=?!&%#"))


def render_collection(seed: int, count: int, size: int) -> list[Image8]:
    """Render square images, each from a generator of its own: a larger count changes nothing for the first ones.

    Parameters
    ----------
    seed
        Not negative.
    count
        Number of images.
    size
        Side in pixels, at least 16.

    Returns
    -------
    ``count`` arrays uint8 (size, size, 3) RGB; equal for equal arguments and versions of NumPy and OpenCV.

    Raises
    ------
    ValueError
        As `render_dead_leaves`.
    """
    return [render_dead_leaves(np.random.default_rng([seed, index]), size, size) for index in range(count)]


def render_dead_leaves(rng: np.random.Generator, height: int, width: int) -> Image8:
    """Render one image.

    Parameters
    ----------
    rng
        Decides on everything in the image.
    height, width
        Size in pixels, at least 16 each.

    Returns
    -------
    uint8 (height, width, 3) RGB.

    Raises
    ------
    ValueError
        If a side is below 16.
    """
    if min(height, width) < 16:
        raise ValueError(f"size is {width}x{height}; generated images need sides of at least 16")
    scene = _Scene.prepare(rng, height, width)
    count = math.ceil(height * width * _LEAVES_PER_PIXEL)
    # Three distances: what falls later is nearer, and the lens is focused on the nearest.
    for share, blur in ((0.35, rng.uniform(0, 3.0)), (0.35, rng.uniform(0, 1.2)), (0.3, 0.0)):
        _scatter_leaves(scene, rng, math.ceil(share * count))
        _draw_lines(scene, rng, max(1, round(share * math.hypot(height, width) / 40)))
        _write_words(scene, rng, max(1, round(share * count / 100)))
        if blur > 0.3:
            cv2.GaussianBlur(scene.canvas, (0, 0), blur, dst=scene.canvas)
    return _expose(scene, rng)


@dataclass(frozen=True)
class _Scene:
    """What is painted on and with: canvas uint8 (H, W, 3), palette (n, 3), grain (H, W) of unit variance."""

    canvas: Image8
    palette: Points
    grain: Plane

    @classmethod
    def prepare(cls, rng: np.random.Generator, height: int, width: int) -> Self:
        lightness = rng.beta(0.9, 1.1, 12)[:, None] * 255
        # Few colours are vivid: the channels of photos agree most of the time.
        tint = rng.normal(0, 1, (12, 3)) * rng.gamma(1.0, 22.0, (12, 1))
        palette = lightness + tint - tint.mean(axis=1, keepdims=True)
        grain = _make_grain(rng, height, width)
        mix = np.clip(0.5 + 0.25 * _make_grain(rng, height, width, finest=16), 0, 1)
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = _blend(mix, _pick_colour(rng, palette), _pick_colour(rng, palette))
        return cls(canvas, palette, grain)


def _make_grain(rng: np.random.Generator, height: int, width: int, finest: int = 1) -> Plane:
    """Noise whose octaves have equal strength, unit variance; `finest` is the smallest detail in pixels."""
    total = np.zeros((height, width), np.float32)
    step = finest
    while step <= max(8 * finest, min(height, width) // 2):
        octave = rng.standard_normal((height // step + 2, width // step + 2), dtype=np.float32)
        total += (
            octave[:height, :width] if step == 1 else cv2.resize(octave, (width, height), interpolation=cv2.INTER_CUBIC)
        )
        step *= 2
    return ((total - total.mean()) / total.std()).astype(np.float32)


def _pick_colour(rng: np.random.Generator, palette: Points) -> Points:
    return np.clip(palette[rng.integers(len(palette))] + rng.normal(0, 10), 0, 255)


def _scatter_leaves(scene: _Scene, rng: np.random.Generator, count: int) -> None:
    height, width = scene.canvas.shape[:2]
    radii = _draw_radii(rng, count, 0.3 * min(height, width))
    outlines = _draw_outlines(rng, radii) + rng.uniform((0, 0), (width, height), (count, 1, 2))
    for radius, outline in zip(radii, outlines, strict=True):
        colour = _pick_colour(rng, scene.palette)
        if radius < _TEXTURED_RADIUS or rng.random() < 0.35:
            cv2.fillPoly(scene.canvas, [_fix_point(outline)], colour.tolist(), cv2.LINE_AA, _SUBPIXEL_BITS)
        else:
            _paint_textured(scene, rng, outline, colour)


def _draw_radii(rng: np.random.Generator, count: int, largest: float) -> Points:
    """Radii with density r^-2.15: flatter than the cube law of natural scenes, so that fewer leaves fill a canvas."""
    exponent = -1.15
    low, high = _SMALLEST_RADIUS**exponent, max(largest, 2 * _SMALLEST_RADIUS) ** exponent
    return (low + rng.random(count) * (high - low)) ** (1 / exponent)


def _draw_outlines(rng: np.random.Generator, radii: Points) -> Points:
    """Polygons, discs, stars and blobs around the origin, (count, vertices, 2): turned, stretched, of given radii."""
    count = len(radii)
    angle = np.arange(_VERTICES) * (2 * np.pi / _VERTICES)
    sector = (2 * np.pi / rng.choice(_CORNERS, count))[:, None]
    # Half a sector on, so that a square stands on a side and is stretched to a rectangle.
    since_corner = (angle + sector / 2) % sector
    polygon = np.cos(sector / 2) / np.cos(since_corner - sector / 2)
    star = 1 - rng.uniform(0.2, 0.7, (count, 1)) * (1 - np.abs(2 * since_corner / sector - 1))
    waves = rng.normal(0, 0.18, (count, 3, 1)) * np.cos(
        np.arange(2, 5)[:, None] * angle + rng.uniform(0, 2 * np.pi, (count, 3, 1))
    )
    blob = np.maximum(1 + waves.sum(axis=1), 0.2)
    kind = rng.choice(4, (count, 1), p=(0.45, 0.25, 0.08, 0.22))
    reach = np.choose(kind, (polygon, np.ones_like(polygon), star, blob))
    stretch = np.exp(rng.normal(0, 0.45, count))
    x, y = reach * np.cos(angle) * stretch[:, None], reach * np.sin(angle) / stretch[:, None]
    # A third stands upright, as buildings do.
    turn = np.where(rng.random(count) < 0.33, 0.0, rng.uniform(0, 2 * np.pi, count))[:, None]
    cosine, sine = np.cos(turn) * radii[:, None], np.sin(turn) * radii[:, None]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


def _fix_point(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _paint_textured(scene: _Scene, rng: np.random.Generator, outline: Points, colour: Points) -> None:
    height, width = scene.canvas.shape[:2]
    left, top = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 2, (width, height))
    if left >= right or top >= bottom:
        return
    coverage = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(coverage, [_fix_point(outline - (left, top))], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    texture = _TEXTURES[rng.integers(len(_TEXTURES))]
    paint = _blend(texture(scene, rng, top, bottom, left, right), colour, _pick_colour(rng, scene.palette))
    below = scene.canvas[top:bottom, left:right]
    alpha = coverage.astype(np.float32)[:, :, None] * np.float32(1 / 255)
    below[:] = below + alpha * (paint - below) + np.float32(0.5)  # assigning to integers cuts fractions off


def _blend(mix: Plane, first: Points, second: Points) -> Plane:
    step = (second - first).astype(np.float32)
    return first.astype(np.float32) + mix[:, :, None] * step


def _measure_along(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Distance in pixels along a random direction, or from a random point: lines or circles of equal value."""
    y, x = np.ogrid[:height, :width]
    x, y = x.astype(np.float32), y.astype(np.float32)
    if rng.random() < 0.25:
        return np.hypot(x - np.float32(rng.uniform(0, width)), y - np.float32(rng.uniform(0, height)))
    angle = rng.uniform(0, np.pi) if rng.random() < 0.75 else rng.choice((0, np.pi / 2))
    return np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y


def _draw_gradient(scene: _Scene, rng: np.random.Generator, top: int, bottom: int, left: int, right: int) -> Plane:
    along = _measure_along(rng, bottom - top, right - left)
    low = along.min()
    return (along - low) * np.float32(rng.uniform(0.3, 1) / max(float(along.max() - low), 1.0))


def _draw_grating(scene: _Scene, rng: np.random.Generator, top: int, bottom: int, left: int, right: int) -> Plane:
    period = math.exp(rng.uniform(math.log(2.5), math.log(30)))
    along = _measure_along(rng, bottom - top, right - left)
    if rng.random() < 0.4:  # bend the lines
        along = along + np.float32(rng.uniform(0, 1.5) * period) * scene.grain[top:bottom, left:right]
    wave = np.sin(along * np.float32(2 * math.pi / period) + np.float32(rng.uniform(0, 2 * math.pi)))
    # From a sine to bars whose edges are one pixel wide.
    steepness = math.exp(rng.uniform(math.log(0.5), math.log(max(0.5, period / 6))))
    return np.clip(0.5 + np.float32(steepness) * wave, 0, 1) * np.float32(rng.uniform(0.2, 1))


def _draw_tiles(scene: _Scene, rng: np.random.Generator, top: int, bottom: int, left: int, right: int) -> Plane:
    y, x = np.ogrid[: bottom - top, : right - left]
    angle, period = rng.uniform(0, np.pi), math.exp(rng.uniform(math.log(6), math.log(40)))
    cosine, sine = (np.float32(2 * math.pi / period * f) for f in (math.cos(angle), math.sin(angle)))
    wave = np.sin(cosine * x + sine * y) * np.sin(np.float32(rng.uniform(0.5, 1)) * (cosine * y - sine * x))
    return np.clip(0.5 + np.float32(period / 6) * wave, 0, 1).astype(np.float32) * np.float32(rng.uniform(0.2, 1))


def _draw_grain(scene: _Scene, rng: np.random.Generator, top: int, bottom: int, left: int, right: int) -> Plane:
    grain = scene.grain[top:bottom, left:right]
    return np.clip(np.float32(rng.uniform(0.1, 0.5)) + np.float32(rng.uniform(0.03, 0.25)) * grain, 0, 1)


_Texture = Callable[[_Scene, np.random.Generator, int, int, int, int], Plane]
_TEXTURES: tuple[_Texture, ...] = (_draw_gradient, _draw_gradient, _draw_grating, _draw_tiles, _draw_grain, _draw_grain)


def _draw_lines(scene: _Scene, rng: np.random.Generator, count: int) -> None:
    """Straight and curved strokes, 1 to 3 pixels wide."""
    height, width = scene.canvas.shape[:2]
    position = np.linspace(0, 1, 24)[:, None]
    for _ in range(count):
        start, bend, end = rng.uniform((0, 0), (width, height), (3, 2))
        bend = bend if rng.random() < 0.5 else (start + end) / 2
        curve = (1 - position) ** 2 * start + 2 * position * (1 - position) * bend + position**2 * end
        colour, thickness = _pick_colour(rng, scene.palette), int(rng.choice((1, 1, 2, 3)))
        cv2.polylines(scene.canvas, [_fix_point(curve)], False, colour.tolist(), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _write_words(scene: _Scene, rng: np.random.Generator, count: int) -> None:
    """Words of random letters, from barely legible to large, a third of them slanted."""
    height, width = scene.canvas.shape[:2]
    for _ in range(count):
        word = "".join(rng.choice(_LETTERS, rng.integers(2, 11)))
        font, size = int(rng.choice(_FONTS)), math.exp(rng.uniform(math.log(0.3), math.log(2.0)))
        thickness = 1 + int(size * rng.uniform(0, 2.5))
        origin = (int(rng.uniform(-0.1, 0.8) * width), int(rng.uniform(0.05, 1) * height))
        colour = _pick_colour(rng, scene.palette)
        cv2.putText(scene.canvas, word, origin, font, size, colour.tolist(), thickness, cv2.LINE_AA)


def _expose(scene: _Scene, rng: np.random.Generator) -> Image8:
    height, width = scene.canvas.shape[:2]
    shade = 1 + rng.uniform(0, 0.15) * _make_grain(rng, height, width, finest=32)
    image = scene.canvas * np.clip(shade, 0.4, 1.6).astype(np.float32)[:, :, None]
    blur = rng.uniform(0, 0.7)
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
