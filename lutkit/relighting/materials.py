"""What surfaces of rendered scenes are made of: two colours in a pattern that fills space. Imports NumPy and the ground."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkit.relighting.ground import Floats, make_noise, read_field

NODES_PER_UNIT = 24.0
"""Of the noise that patterns are made of."""

Pattern = Callable[[Floats, Floats], Floats]
"""Takes points (N, 3), in periods of the pattern, and noise (n, n) that repeats; returns shares (N,) of 0 to 1."""


def stay_plain(points: Floats, noise: Floats) -> Floats:
    """One colour with a trace of grain."""
    return 0.12 * mix_grain(points * np.float32(2), noise)


def mix_grain(points: Floats, noise: Floats) -> Floats:
    """Return clouds: noise of two planes, each pushed through space along a slanted line, has no seams on any surface."""
    x, y, z = (points[:, axis] * np.float32(NODES_PER_UNIT) for axis in range(3))
    total = read_field(noise, x + 0.6 * z, y + 0.7 * z) + read_field(noise, 0.8 * y - 0.9 * z, z * 0.6 - 0.7 * x + 71)
    return np.clip(0.5 + 0.3 * total, 0, 1)


def draw_stripes(points: Floats, noise: Floats) -> Floats:
    """Return stripes across the first axis, slightly bent."""
    wave = np.sin(np.float32(2 * np.pi) * (points[:, 0] + np.float32(0.15) * mix_grain(points, noise)))
    return np.clip(0.5 + 4 * wave, 0, 1)


def lay_checks(points: Floats, noise: Floats) -> Floats:
    """Return checks of half a period, worn by grain."""
    # Off the planes where coordinates are 0: there rounding decided.
    parity = np.floor(2 * points + np.float32(0.013)).sum(axis=1) % 2
    return np.clip(parity * 0.85 + 0.15 * mix_grain(points, noise), 0, 1).astype(np.float32)


PATTERNS: tuple[Pattern, ...] = (stay_plain, mix_grain, draw_stripes, lay_checks)


@dataclass(frozen=True)
class Material:
    """What a surface is made of.

    Attributes
    ----------
    colours : (2, 3)
        Linear sRGB that is reflected, 0 to 1: of shares 0 and 1 of the pattern.
    pattern : Pattern
    period : float
        Of the pattern, in units.
    gloss : float
        Strength of highlights, 0 for none.
    sharpness : float
        Exponent of highlights.
    """

    colours: NDArray[np.float64]
    pattern: Pattern
    period: float
    gloss: float = 0.0
    sharpness: float = 30.0

    def paint(self, points: Floats, noise: Floats) -> Floats:
        """Return the colours (N, 3) at points (N, 3), in units."""
        share = self.pattern((points / np.float32(self.period)).astype(np.float32), noise)[:, None]
        return (self.colours[0] + share * (self.colours[1] - self.colours[0])).astype(np.float32)


def draw_material(rng: np.random.Generator, *, glosses: bool = True) -> Material:
    """Draw a material; a third of those that may are glossy."""
    colours = np.array([_draw_colour(rng) for _ in range(2)])
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    period = float(np.exp(rng.uniform(np.log(0.5), np.log(3.0))))
    is_glossy, gloss, sharpness = (
        rng.random() < 1 / 3,
        rng.uniform(0.1, 0.5),
        np.exp(rng.uniform(np.log(12), np.log(90))),
    )
    return Material(colours, pattern, period, float(gloss) if is_glossy and glosses else 0.0, float(sharpness))


def draw_noise(rng: np.random.Generator) -> Floats:
    """Return noise for patterns, which repeats after some units."""
    return make_noise(rng, 256, 1.1, 3.0)


def _draw_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return linear sRGB; few surfaces are vivid, and none reflects nothing or all."""
    return colorsys.hsv_to_rgb(rng.random(), rng.beta(1.3, 2.2), rng.uniform(0.12, 0.8))
