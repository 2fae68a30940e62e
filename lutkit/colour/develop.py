"""A plain development of photos: exposure, white balance and range brought towards what most prints have.

It is the aim of the built-in retouching model, which learns to reach it from spoilt photos. Imports `defects`, `srgb`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.colour.defects import Defect, finish
from lutkit.colour.srgb import LUMINANCE, decode_srgb

Image8 = NDArray[np.uint8]

MIDDLE_LUMINANCE = 0.16
"""Where the logarithmic mean of a photo's luminance is brought towards."""
EXPOSURE_SHARE, EXPOSURE_LIMIT = 0.65, 1.0
"""Part of the way that is gone, and the largest change in stops: night stays night."""
BALANCE_SHARE, BALANCE_LIMIT = 0.5, 0.2
DARKEST, LIGHTEST = 0.5, 99.5
"""Percentiles that are brought to black and white, as far as the limit allows."""
RANGE_SHARE, RANGE_LIMIT = 0.8, 0.08
SAMPLED_SIDE = 128

_DARKEST_LIGHT = 1e-3


@dataclass(frozen=True)
class Development:
    """What is done to a photo.

    Attributes
    ----------
    exposure, warmth, magenta : float
        Stops, as in `Defect`.
    black, white : float
        sRGB values that become 0 and 1.
    """

    exposure: float
    warmth: float
    magenta: float
    black: float
    white: float

    def apply(self, image: Image8) -> Image8:
        """Return the developed photo, uint8 (H, W, 3)."""
        span = self.white - self.black
        codes = np.clip((np.arange(256) / 255 - self.black) / span, 0, 1)
        stretched = cv2.LUT(np.ascontiguousarray(image), np.rint(codes * 255).astype(np.uint8))
        # Brightening bends highlights instead of clipping them.
        light = Defect(
            exposure=self.exposure, warmth=self.warmth, magenta=self.magenta, shoulder=0.8 if self.exposure > 0 else 0.0
        )
        return finish(light.apply(np.asarray(stretched, np.uint8)))


def plan_development(image: Image8) -> Development:
    """Return what a photo needs, from the statistics of a thumbnail of it.

    Parameters
    ----------
    image : uint8, (H, W, 3)
        sRGB.
    """
    small = cv2.resize(np.ascontiguousarray(image), (SAMPLED_SIDE, SAMPLED_SIDE), interpolation=cv2.INTER_AREA)
    values = np.asarray(small, np.float64).reshape(-1, 3) / 255
    black = min(RANGE_SHARE * float(np.percentile(values.min(axis=1), DARKEST)), RANGE_LIMIT)
    white = 1 - min(RANGE_SHARE * (1 - float(np.percentile(values.max(axis=1), LIGHTEST))), RANGE_LIMIT)
    light = decode_srgb(np.clip((values - black) / (white - black), 0, 1))
    luminance = np.maximum(light @ LUMINANCE, _DARKEST_LIGHT)
    exposure = EXPOSURE_SHARE * float(np.log2(MIDDLE_LUMINANCE) - np.log2(luminance).mean())
    # Middle tones tell the colour of the light best: shadows are noise, highlights are clipped.
    middle = light[(luminance > np.percentile(luminance, 20)) & (luminance < np.percentile(luminance, 95))]
    means = np.log2(np.maximum((middle if len(middle) else light).mean(axis=0), _DARKEST_LIGHT))
    warmth = -BALANCE_SHARE * float(means[0] - means[2]) / 2
    magenta = -BALANCE_SHARE * float((means[0] + means[2]) / 2 - means[1]) / 1.5
    return Development(
        exposure=float(np.clip(exposure, -EXPOSURE_LIMIT, EXPOSURE_LIMIT)),
        warmth=float(np.clip(warmth, -BALANCE_LIMIT, BALANCE_LIMIT)),
        magenta=float(np.clip(magenta, -BALANCE_LIMIT, BALANCE_LIMIT)),
        black=black,
        white=white,
    )


def develop(image: Image8) -> Image8:
    """Return a photo, uint8 (H, W, 3) sRGB, developed as `plan_development` finds best."""
    return plan_development(image).apply(image)
