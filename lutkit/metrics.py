"""PSNR and SSIM as the papers of super-resolution compute them, which fixes luma, borders and windows.

May import numpy and OpenCV.
"""

import math
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = TypeVar("Pixels", bound=np.generic)

_SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5


def luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return studio-range luma, not rounded.

    Parameters
    ----------
    image
        uint8 (H, W, 3) RGB, or (H, W) gray, which counts as three equal channels.

    Returns
    -------
    float64 (H, W), 16 (black) to 235 (white).

    Raises
    ------
    ValueError
        If the image is not uint8 or has another shape.

    Notes
    -----
    ITU-R BT.601 section 2.5 for 8 bits, with the coefficients of MATLAB's ``rgb2ycbcr``. The range of a gray image
    shrinks too: its PSNR on luma is 20 log10(255 / 219) = 1.32 dB above that of the gray values.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"image has dtype {image.dtype}; luma takes uint8")
    if image.ndim == 2:
        red = green = blue = image
    elif image.ndim == 3 and image.shape[2] == 3:
        red, green, blue = image[:, :, 0], image[:, :, 1], image[:, :, 2]
    else:
        raise ValueError(f"image has shape {image.shape}; luma takes (H, W) or (H, W, 3)")
    return 16 + 0.256788235 * red + 0.504129412 * green + 0.097905882 * blue


def crop_border(image: NDArray[Pixels], border: int) -> NDArray[Pixels]:
    """Return a view without `border` pixels on each side of the first two axes.

    Raises
    ------
    ValueError
        If border is negative or leaves no pixel.
    """
    height, width = image.shape[:2]
    if border < 0 or 2 * border >= min(height, width):
        raise ValueError(f"a border of {border} leaves nothing of {width}x{height} pixels")
    return image[border : height - border, border : width - border]


def psnr(first: NDArray[np.generic], second: NDArray[np.generic], peak: float = 255) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite for equal arrays.

    Parameters
    ----------
    first, second
        Arrays of one shape and any real dtype.
    peak
        The largest value possible, in the unit of the arrays.

    Raises
    ------
    ValueError
        If the shapes differ or the arrays are empty.
    """
    _validate_shapes(first, second)
    error = float(np.mean(np.square(first.astype(np.float64) - second.astype(np.float64))))
    return 10 * math.log10(peak * peak / error) if error > 0 else math.inf


def psnr_y(output: NDArray[np.uint8], reference: NDArray[np.uint8], border: int) -> float:
    """Return the PSNR of `luma` in dB without a border, which papers set to the scale.

    Parameters
    ----------
    output, reference
        uint8 (H, W, 3) RGB or (H, W) gray; one may be gray and the other not.
    border
        Pixels left out on each side.

    Raises
    ------
    ValueError
        As `luma`, `crop_border` and `psnr`.
    """
    return psnr(crop_border(luma(output), border), crop_border(luma(reference), border))


def ssim(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Return the mean structural similarity of two single-channel images, -1 to 1.

    Parameters
    ----------
    first, second
        (H, W) of any real dtype in 8-bit levels, sides at least 11.

    Raises
    ------
    ValueError
        If the shapes differ, have other than two axes, or are smaller than the window.

    Notes
    -----
    Wang et al., "Image quality assessment: from error visibility to structural similarity" (IEEE TIP 13(4), 2004),
    section III-C: Gaussian window 11x11 of sigma 1.5, K1 = 0.01, K2 = 0.03, L = 255, no window across the border.
    """
    _validate_shapes(first, second)
    if first.ndim != 2 or min(first.shape) < _SSIM_WINDOW:
        raise ValueError(f"images have shape {first.shape}; ssim takes (H, W) with sides of at least {_SSIM_WINDOW}")
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y = _average_windows(x), _average_windows(y)
    variance_x = _average_windows(x * x) - mean_x * mean_x
    variance_y = _average_windows(y * y) - mean_y * mean_y
    covariance = _average_windows(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return float(np.mean(luminance * structure))


def ssim_y(output: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Return the SSIM of `luma`, border included.

    Parameters
    ----------
    output, reference
        uint8 (H, W, 3) RGB or (H, W) gray.

    Raises
    ------
    ValueError
        As `luma` and `ssim`.
    """
    return ssim(luma(output), luma(reference))


def _average_windows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average under the Gaussian window, (H - 10, W - 10)."""
    window = cv2.getGaussianKernel(_SSIM_WINDOW, _SSIM_SIGMA)
    return crop_border(cv2.sepFilter2D(values, cv2.CV_64F, window, window).astype(np.float64), _SSIM_WINDOW // 2)


def _validate_shapes(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"images have shapes {first.shape} and {second.shape}; they must be equal and not empty")
