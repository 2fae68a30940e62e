"""Render the sample picture docs/images/sample.png: a small harbour scene, drawn by this script and free to use.

The scene is drawn large, reduced to 640x480 and from there to 160x120 as super-resolution benchmarks are, so that
the large one is the truth that a fourfold enlargement of the small one can be compared with. May import lutkit.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lutkit.resize import resize_bicubic

WIDTH, HEIGHT = 640, 480
OVERSAMPLING = 4
SCALE = 4
SEED = 7

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Canvas:
    """A drawing in units of the final picture, kept larger by OVERSAMPLING for smooth edges."""

    def __init__(self) -> None:
        """Start with a black picture."""
        self.image = Image.new("RGB", (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING))
        self._draw = ImageDraw.Draw(self.image)

    def shade(self, top: float, bottom: float, first: Colour, last: Colour) -> None:
        """Fill rows `top` to `bottom` with a vertical gradient."""
        start, stop = round(top * OVERSAMPLING), round(bottom * OVERSAMPLING)
        ramp = np.linspace(first, last, stop - start)[:, None, :].repeat(self.image.width, axis=1)
        self.image.paste(Image.fromarray(ramp.round().astype(np.uint8)), (0, start))

    def polygon(self, points: list[Point], fill: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points], fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """Fill a disc."""
        corners = (x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse([corner * OVERSAMPLING for corner in corners], fill)

    def line(self, points: list[Point], fill: Colour, width: float) -> None:
        """Draw a line."""
        scaled = [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]
        self._draw.line(scaled, fill, round(width * OVERSAMPLING), joint="curve")

    def text(self, x: float, y: float, text: str, size: float, fill: Colour) -> None:
        """Write text centred at a point, in the font that Pillow carries."""
        font = ImageFont.load_default(size * OVERSAMPLING)
        self._draw.text((x * OVERSAMPLING, y * OVERSAMPLING), text, fill, font, anchor="mm")


def draw_background(canvas: Canvas, generator: np.random.Generator) -> None:
    """Draw sky, sun, hills and water with its glitter."""
    canvas.shade(0, 250, (92, 142, 196), (246, 214, 170))
    canvas.disc(470, 150, 34, (255, 240, 200))
    for base, height, colour in ((225, 70, (132, 146, 172)), (245, 45, (94, 116, 128))):
        x = np.arange(0, WIDTH + 10, 10)
        waves = sum(
            np.sin(x / length + phase) for length, phase in zip((90, 47, 21), generator.uniform(0, 6, 3), strict=True)
        )
        ridge = [(float(a), float(base - height * (0.5 + b / 6))) for a, b in zip(x, waves, strict=True)]
        canvas.polygon([*ridge, (WIDTH, 260), (0, 260)], colour)
    canvas.shade(250, HEIGHT, (150, 160, 158), (30, 66, 92))
    for _ in range(420):
        y = 254 + 226 * generator.random() ** 1.6
        length = 3 + (y - 250) / 9 * generator.random()
        x = generator.normal(470, 40 + (y - 250) / 2) if generator.random() < 0.55 else generator.uniform(0, WIDTH)
        glitter = (250, 226, 178) if abs(x - 470) < 60 else (112, 142, 154)
        canvas.line([(x - length, y), (x + length, y)], glitter, 0.8 + (y - 250) / 160)


def draw_house(canvas: Canvas) -> None:
    """Draw a brick house with windows, a striped awning, a sign and a roof."""
    left, top, right, bottom = 40, 190, 250, 400
    canvas.box(left, top, right, bottom, (168, 92, 72))
    for row in range(21):
        y = top + 10 * row
        canvas.line([(left, y), (right, y)], (198, 150, 130), 1.2)
        for x in range(left + (row % 2) * 11, right, 22):
            canvas.line([(x, y), (x, y + 10)], (198, 150, 130), 1.2)
    canvas.polygon([(25, 192), (145, 96), (265, 192)], (66, 58, 74))
    for step in range(1, 8):
        y = 192 - 12 * step
        canvas.line([(25 + 15 * step, y), (265 - 15 * step, y)], (98, 88, 106), 1.5)
    for x in (62, 182):
        canvas.box(x - 3, 217, x + 49, 273, (240, 234, 220))
        canvas.box(x, 220, x + 46, 270, (62, 84, 108))
        canvas.polygon([(x, 270), (x, 245), (x + 25, 220), (x + 40, 220)], (126, 156, 180))
        canvas.line([(x + 23, 220), (x + 23, 270)], (240, 234, 220), 3)
        canvas.line([(x, 245), (x + 46, 245)], (240, 234, 220), 3)
    canvas.box(60, 286, 230, 318, (34, 60, 68))
    canvas.text(145, 302, "LOOKUP & SONS", 19, (246, 236, 206))
    for stripe in range(10):
        x = 60 + 17 * stripe
        canvas.polygon(
            [(x, 322), (x + 17, 322), (x + 17 + (x - 120) / 12, 346), (x + (x - 137) / 12, 346)],
            (206, 60, 54) if stripe % 2 else (246, 240, 230),
        )
    canvas.box(126, 350, 170, 400, (70, 48, 40))
    canvas.disc(162, 376, 2.4, (236, 200, 110))


def draw_boat(canvas: Canvas) -> None:
    """Draw a sailing boat with rigging and a name."""
    canvas.polygon([(352, 372), (600, 360), (566, 412), (384, 414)], (242, 240, 232))
    canvas.polygon([(376, 400), (574, 394), (566, 412), (384, 414)], (176, 42, 46))
    canvas.text(478, 386, "simplex 4", 15, (36, 52, 84))
    canvas.box(466, 120, 471, 372, (116, 78, 48))
    canvas.polygon([(474, 128), (474, 344), (578, 344)], (250, 248, 240))
    canvas.polygon([(462, 140), (462, 344), (380, 350)], (234, 226, 208))
    for height in range(160, 344, 26):
        canvas.line([(474, height), (474 + (height - 128) * 104 / 216, height)], (206, 200, 188), 1)
    for end in ((356, 371), (598, 360), (420, 368), (530, 364)):
        canvas.line([(468, 118), end], (44, 40, 44), 1)
    canvas.polygon([(471, 108), (506, 116), (471, 125)], (222, 82, 40))


def draw_quay(canvas: Canvas, generator: np.random.Generator) -> None:
    """Draw the quay with its planks, a fence and a tree."""
    canvas.polygon([(0, 400), (330, 400), (300, HEIGHT), (0, HEIGHT)], (128, 112, 96))
    for plank in range(13):
        x = 27 * plank
        canvas.line([(x, 400), (x * 0.91 - 12, HEIGHT)], (92, 78, 66), 1.6)
    for post in range(9):
        x = 262 + 8 * post
        canvas.line([(x, 362), (x, 404)], (232, 226, 214), 2)
    canvas.line([(258, 370), (332, 370)], (232, 226, 214), 2)
    canvas.line([(258, 392), (332, 392)], (232, 226, 214), 2)
    canvas.box(14, 300, 22, 402, (78, 58, 44))
    for _ in range(320):
        x, y = generator.normal(8, 18), generator.normal(262, 36)
        green = int(generator.integers(78, 156))
        canvas.disc(x, y, generator.uniform(1.5, 5), (green // 2, green, green // 3))


def render_scene() -> np.ndarray:
    """Return the whole scene, uint8 (480, 640, 3), the same on every machine with the same Pillow."""
    generator = np.random.default_rng(SEED)
    canvas = Canvas()
    draw_background(canvas, generator)
    draw_house(canvas)
    draw_boat(canvas)
    draw_quay(canvas, generator)
    return np.asarray(canvas.image.reduce(OVERSAMPLING))


def render_sample() -> np.ndarray:
    """Return the sample picture, uint8 (120, 160, 3)."""
    return resize_bicubic(render_scene(), Fraction(1, SCALE))


def main() -> None:
    """Write the sample, and the large scene where asked for."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("sample", type=Path, nargs="?", default=Path("docs/images/sample.png"))
    arguments.add_argument("--scene", type=Path, help="also write the scene at 640x480")
    wanted = arguments.parse_args()
    Image.fromarray(render_sample()).save(wanted.sample, optimize=True)
    if wanted.scene:
        Image.fromarray(render_scene()).save(wanted.scene, optimize=True)


if __name__ == "__main__":
    main()
