"""Photos as a camera takes them with too little light: exposure, white balance, noise, 8 bits. Imports `srgb`.

A pair for learning without any dark photo is a good photo as the target and such an exposure of it as the input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.colour.srgb import LUMINANCE, decode_srgb, encode_srgb

Image8 = NDArray[np.uint8]

LEAST_STOPS, MOST_STOPS = 2.0, 5.0
"""How much less light a dark exposure gets than the photo it is made of."""
LEAST_DIFFERENCE = 0.5
"""Stops between two exposures of one photo."""

_CURVE_STEPS = 1 << 14
_ENCODED = (encode_srgb(np.arange(_CURVE_STEPS + 1) / _CURVE_STEPS) * 255).astype(np.float32)
_LIGHT = decode_srgb(np.arange(256) / 255).astype(np.float32)


@dataclass(frozen=True)
class Exposure:
    """How a camera takes a scene of which a good photo exists.

    Attributes
    ----------
    stops : float
        By which the light is reduced; 0 is the good photo's exposure.
    warmth : float
        Stops by which red is too strong and blue too weak; luminance of gray is kept.
    electrons : float
        What white of the good photo frees in a photosite; shot noise is the root of what the dark exposure leaves.
    read_noise : float
        Standard deviation of the noise of reading, where white of the good photo is 1.
    """

    stops: float
    warmth: float = 0.0
    electrons: float = 20_000.0
    read_noise: float = 2e-4

    def take(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Return the exposure of a photo, sRGB uint8 (H, W, 3), as uint8 alike: clipped, rounded, noise from `rng`."""
        balance = np.array([self.warmth, 0.0, -self.warmth])
        gains = 2.0 ** (balance - np.log2(LUMINANCE @ 2.0**balance) - self.stops)
        light = cv2.LUT(np.ascontiguousarray(image), (_LIGHT[:, None] * gains).astype(np.float32)[None])
        # Photons arrive as Poisson counts; hundreds of them are as good as normal, and reading's noise is normal too.
        deviation = np.sqrt(light / np.float32(self.electrons) + np.float32(self.read_noise**2))
        light += deviation * rng.standard_normal(light.shape, dtype=np.float32)
        places = np.clip(light, 0, 1) * np.float32(_CURVE_STEPS)
        return (_ENCODED[(places + np.float32(0.5)).astype(np.int32)] + np.float32(0.5)).astype(np.uint8)


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Draw a dark exposure: its factor log-uniformly, a white balance that is off half the time, a sensor."""
    stops, warmth, is_off = rng.uniform(LEAST_STOPS, MOST_STOPS), rng.uniform(-0.2, 0.2), rng.random() < 0.5
    electrons, read_noise = np.exp(rng.uniform(np.log((4e3, 1e-4)), np.log((4e4, 8e-4))))
    return Exposure(float(stops), float(warmth * is_off), float(electrons), float(read_noise))


def draw_two_exposures(rng: np.random.Generator) -> tuple[Exposure, Exposure]:
    """Draw two dark exposures of one camera and white balance, half a stop apart at least, either one the darker."""
    first = draw_exposure(rng)
    low, high = np.sort(rng.uniform(LEAST_STOPS, MOST_STOPS - LEAST_DIFFERENCE, 2))
    stops = (float(low), float(high) + LEAST_DIFFERENCE)
    one, other = stops if rng.random() < 0.5 else stops[::-1]
    return replace(first, stops=one), replace(first, stops=other)
