"""The sRGB transfer curve, both ways. Imports NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Share of linear red, green and blue in luminance; they sum to 1."""

_DARK_CODE = 0.04045
_DARK_LIGHT = 0.0031308


def decode_srgb(codes: NDArray[Any]) -> NDArray[np.float64]:
    """Return linear light of sRGB values, float64; 0 to 1 both, negative values by the straight part of the curve.

    IEC 61966-2-1, section 5.2, with its rounded thresholds: the two parts meet to within 1e-8.
    """
    codes = np.asarray(codes, np.float64)
    power = ((np.maximum(codes, _DARK_CODE) + 0.055) / 1.055) ** 2.4
    return np.where(codes <= _DARK_CODE, codes / 12.92, power)


def encode_srgb(light: NDArray[Any]) -> NDArray[np.float64]:
    """Return sRGB values of linear light, float64: the inverse of `decode_srgb` to within 1e-7."""
    light = np.asarray(light, np.float64)
    power = 1.055 * np.maximum(light, _DARK_LIGHT) ** (1 / 2.4) - 0.055
    return np.where(light <= _DARK_LIGHT, light * 12.92, power)
