"""Faults that photos have and retouching removes, made on purpose: pairs for training. Imports `srgb` and OpenCV.

A pair is a good photo as the target and a `Defect` of it as the input. Every fault is a map from colours to colours,
so a model of colours can undo it, except for what a fault clips or 8 bits round off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.colour.srgb import LUMINANCE, decode_srgb, encode_srgb

Image8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]

MIDDLE_GRAY = 0.4614
"""sRGB value of a surface that reflects 18 %."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luma of BT.601."""
_CODES = np.repeat(np.arange(256)[:, None] / 255, 3, axis=1)


@dataclass(frozen=True)
class Defect:
    """What is wrong with a photo; the defaults are no fault.

    The faults come in the order in which a camera makes them: light (exposure, white balance), tone curve (contrast,
    black, white), saturation, 8 bits.

    Attributes
    ----------
    exposure : float
        Stops of linear light too bright, negative for too dark.
    warmth : float
        Stops by which red is too strong and blue too weak.
    magenta : float
        Stops by which green is too weak, half of which red and blue are too strong.
    shoulder : float
        0 to 1: how far highlights are bent towards white (and keep it, where it is 1) instead of scaled and clipped.
    contrast : float
        Slope at middle gray, in powers of two: 1 is twice as steep, negative is flat.
    saturation : float
        Factor of the distance from gray.
    black, white : float
        Where black and white end up, 0 to 1.
    """

    exposure: float = 0.0
    warmth: float = 0.0
    magenta: float = 0.0
    shoulder: float = 0.0
    contrast: float = 0.0
    saturation: float = 1.0
    black: float = 0.0
    white: float = 1.0

    def apply(self, image: NDArray[Any]) -> Image8:
        """Return a photo with this fault.

        Parameters
        ----------
        image : uint8, or float of 0 to 1, (H, W, 3)
            sRGB.

        Returns
        -------
        uint8, (H, W, 3)
            As from a camera: rounded to 8 bits, clipped. Equal for an 8-bit photo and its codes divided by 255.

        Raises
        ------
        ValueError
            If the image has another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or not (image.dtype == np.uint8 or image.dtype.kind == "f"):
            raise ValueError(f"image is {image.dtype} of shape {image.shape}; uint8 or float of (H, W, 3) is needed")
        if image.dtype == np.uint8:
            # A curve is the same for all pixels of a code: 256 evaluations instead of one per pixel.
            curves = self.bend(_CODES).astype(np.float32)[None]
            bent = cv2.LUT(np.ascontiguousarray(image), curves)
        else:
            bent = self.bend(np.clip(image, 0, 1)).astype(np.float32)
        return _quantise(cv2.transform(bent, _scale_saturation(self.saturation)))

    def bend(self, colours: Float64) -> Float64:
        """Return colours (..., 3) of 0 to 1 after the faults that treat each channel by itself, 0 to 1."""
        gains = 2.0 ** (self.exposure + self._balance())
        light = decode_srgb(colours)
        exposed = gains * light / (1 + self.shoulder * (gains - 1) * light)
        contrasted = bend_contrast(encode_srgb(np.clip(exposed, 0, 1)), 2.0**self.contrast)
        return self.black + (self.white - self.black) * contrasted

    def _balance(self) -> Float64:
        """Return the stops of red, green and blue that the white balance is off, with the luminance of gray kept."""
        stops = np.array([self.warmth + self.magenta / 2, -self.magenta, self.magenta / 2 - self.warmth])
        return stops - np.log2(LUMINANCE @ 2.0**stops)


def random_defect(rng: np.random.Generator) -> Defect:
    """Draw a fault: one to all of its parts, each as far off as photos are; one in twelve is nearly none.

    Parameters
    ----------
    rng : numpy.random.Generator
        A generator in the same state gives the same fault. Every call takes the same number of draws from it.
    """
    present = rng.random(5) < (0.8, 0.65, 0.6, 0.6, 0.35)
    size = 0.1 if rng.random() < 1 / 12 else 1.0
    exposure, warmth, magenta = rng.uniform(-1.2, 1.2), rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)
    shoulder, contrast, saturation = rng.random(), rng.uniform(-0.55, 0.25), rng.uniform(0.6, 1.2)
    black, white = rng.uniform(0, 0.08), rng.uniform(0.92, 1)
    exposed, tinted, flattened, muted, faded = present * size
    return Defect(
        exposure=exposed * exposure,
        warmth=tinted * warmth,
        magenta=tinted * magenta,
        # What is too dark is mostly scaled, white too; what is too bright mostly keeps some of its highlights.
        shoulder=shoulder if exposure > 0 else 0.6 * shoulder,
        contrast=flattened * contrast,
        saturation=1 + muted * (saturation - 1),
        black=faded * black,
        white=1 - faded * (1 - white),
    )


def finish(image: Image8, amount: float = 1.0) -> Image8:
    """Return a photo, uint8 (H, W, 3), with a little more contrast, and more colour where it is pale.

    Parameters
    ----------
    image : uint8, (H, W, 3)
    amount : float
        0 changes nothing; 1 raises the slope at middle gray by 9 % and the saturation of nearly gray colours by 15 %.
    """
    codes = bend_contrast(_CODES, 1 + 0.09 * amount).astype(np.float32)[None]
    bent = cv2.LUT(np.ascontiguousarray(image), codes)
    red, green, blue = cv2.split(bent)
    chroma = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
    # Mixed with the luma as a colour: saturation is scaled by 1 + boost.
    boost = (np.float32(0.15 * amount) * (1 - chroma) ** 2)[..., None]
    gray = cv2.transform(bent, _scale_saturation(0.0))
    return _quantise(bent + boost * (bent - gray))


def bend_contrast(values: Float64, slope: float) -> Float64:
    """Return values of 0 to 1 after an S-curve with a given slope at middle gray, which stays, as black and white do.

    Each side of middle gray is u / (u + slope (1 - u)) in its distance u from the end: smooth, monotone, and undone by
    the curve of the slope's reciprocal.
    """
    dark = values < MIDDLE_GRAY
    distance = np.where(dark, values / MIDDLE_GRAY, (1 - values) / (1 - MIDDLE_GRAY))
    bent = distance / (distance + slope * (1 - distance))
    return np.where(dark, MIDDLE_GRAY * bent, 1 - (1 - MIDDLE_GRAY) * bent)


def _scale_saturation(factor: float) -> NDArray[np.float32]:
    """Return the matrix that scales the distance of a colour from the gray of its luma."""
    return (factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))).astype(np.float32)


def _quantise(colours: NDArray[Any]) -> Image8:
    """Return colours of 0 to 1 as 8-bit codes, rounded half up and clipped."""
    return np.clip(colours * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
