"""PSNR, SSIM and colour difference as papers on photo retouching compute them. May import NumPy, OpenCV, `metrics`.

The protocol is that of image-adaptive 3D LUTs (HuiZeng/Image-Adaptive-3DLUT, Apache-2.0), which later papers share:
figures of saved 8-bit pictures, averaged over pictures. Its script runs in MATLAB; what follows from that is said at
each function.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.colour.srgb import decode_srgb
from lutkit.metrics import psnr, ssim

Float64 = NDArray[np.float64]

_SMALLEST_SIDE = 256
"""What the shorter side of a picture is reduced to, about, before its structure is compared."""
_ROWS_AT_ONCE = 256

_PRIMARIES = np.array([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]])
_WHITE_D65 = np.array([0.95047, 1.0, 1.08883])
_EPSILON = 216 / 24389
_KAPPA_SLOPE = 841 / 108


def psnr_rgb(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio over all samples of all channels in dB; infinite for equal pictures.

    Parameters
    ----------
    first, second : uint8 or uint16, (H, W, 3)
        Of one type; the peak is its largest value.

    Raises
    ------
    ValueError
        If shapes or types differ from that.
    """
    peak = _check_pictures(first, second)
    return psnr(first, second, peak)


def ssim_wang(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the structural similarity with automatic downsampling, -1 to 1, as published for colour pictures.

    Parameters
    ----------
    first, second : uint8 or uint16, (H, W, 3) or (H, W)
        Of one type; at least 11 pixels must be left of each side after downsampling.

    Raises
    ------
    ValueError
        If shapes or types differ from that, or the pictures are too small.

    Notes
    -----
    Wang's "SSIM index with automatic downsampling", version 1.0 (2009): both pictures are averaged over squares of f
    pixels (borders mirrored) and every f-th row and column is kept, f = max(1, round(shorter side / 256)); then Wang
    et al., IEEE TIP 13(4), 2004, section III-C, as `lutkit.metrics.ssim`.

    The published script hands RGB pictures to this function, which is made for gray ones. MATLAB then reads (H, W, 3)
    as H rows of 3 W columns: the planes of red, green and blue side by side. So the shorter side is min(H, 3 W), which
    means a larger f for upright pictures; one similarity is averaged over the three planes; and columns are counted
    through from plane to plane, with windows across the seams. Published figures are computed like this, and these.
    """
    peak = _check_pictures(first, second, gray=True)
    return ssim(*(_downsample(picture * (255.0 / peak)) for picture in (first, second)))


def delta_e76(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the mean CIE 1976 colour difference of two sRGB pictures, averaged over pixels.

    Parameters
    ----------
    first, second : uint8 or uint16, (H, W, 3)
        Of one type.

    Raises
    ------
    ValueError
        If shapes or types differ from that.
    """
    peak = _check_pictures(first, second)
    total = 0.0
    for top in range(0, len(first), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        distance = to_lab(first[rows] / peak) - to_lab(second[rows] / peak)
        total += float(np.sqrt(np.square(distance).sum(axis=2)).sum())
    return total / (first.shape[0] * first.shape[1])


def to_lab(colours: NDArray[Any]) -> Float64:
    """Return CIE L*a*b* of sRGB colours, float64 (..., 3), L* of 0 to 100; white is D65.

    Parameters
    ----------
    colours : float, (..., 3)
        sRGB of 0 to 1; values outside count by the continuation of the formulas.

    Notes
    -----
    As MATLAB's ``rgb2lab``: the matrix follows from the primaries of ITU-R BT.709 and the white (0.95047, 1, 1.08883),
    the function of L*a*b* is CIE 15:2004, section 8.2.1, with exact constants.
    """
    # The white is divided out once, in the matrix, instead of from every pixel.
    relative = decode_srgb(colours) @ (_RGB_TO_XYZ / _WHITE_D65[:, None]).T
    bent = np.where(relative > _EPSILON, np.cbrt(relative), _KAPPA_SLOPE * relative + 4 / 29)
    x, y, z = np.moveaxis(bent, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _derive_matrix(primaries: Float64, white: Float64) -> Float64:
    """Return the matrix from linear RGB to XYZ in which (1, 1, 1) is white, from chromaticities (3, 2)."""
    x, y = primaries.T
    columns = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    return columns * np.linalg.solve(columns, white)


_RGB_TO_XYZ = _derive_matrix(_PRIMARIES, _WHITE_D65)


def _downsample(picture: NDArray[Any]) -> Float64:
    """Return the planes side by side, reduced as the published script does."""
    factor = max(1, math.floor(min(len(picture), picture[0].size) / _SMALLEST_SIDE + 0.5))
    # The average is taken plane by plane, the sampling goes through: the order matters at the seams only. MATLAB's
    # centre of an even square is its upper left one of the four.
    anchor = (factor - 1) // 2
    averaged = cv2.blur(picture, (factor, factor), anchor=(anchor, anchor), borderType=cv2.BORDER_REFLECT)
    planes = np.asarray(averaged, np.float64)
    if planes.ndim == 3:
        planes = planes.transpose(0, 2, 1).reshape(len(planes), -1)
    return np.ascontiguousarray(planes[::factor, ::factor])


def _check_pictures(first: NDArray[Any], second: NDArray[Any], *, gray: bool = False) -> int:
    """Return the peak of two pictures; raises ValueError where they cannot be compared."""
    shaped = (first.ndim == 3 and first.shape[2] == 3) or (gray and first.ndim == 2)
    if first.dtype not in (np.uint8, np.uint16) or first.dtype != second.dtype or not shaped:
        raise ValueError(
            f"pictures are {first.dtype} of shape {first.shape} and {second.dtype} of {second.shape}; both must be "
            "uint8 or uint16 of shape (H, W, 3)"
        )
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"pictures have shapes {first.shape} and {second.shape}; they must be equal and not empty")
    return int(np.iinfo(first.dtype).max)
