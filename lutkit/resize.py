"""Bicubic resizing as MATLAB's ``imresize`` does it, which is how the benchmarks of super-resolution were made.

Pillow and OpenCV have other kernels and other rounding: their results may not stand in for it. May import numpy only.
"""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_SUPPORT = 4  # width of the cubic kernel, in samples of the coarser grid


def resize_bicubic(image: NDArray[np.uint8], scale: Fraction | int) -> NDArray[np.uint8]:
    """Resize an image, rounding to 8 bits after each one-dimensional pass.

    Parameters
    ----------
    image
        uint8 (H, W) or (H, W, C), both sides at least 1.
    scale
        Ratio of output to input size, above 0: ``Fraction(1, 4)`` shrinks, ``3`` enlarges.

    Returns
    -------
    uint8 (ceil(H * scale), ceil(W * scale)) or with C appended.

    Raises
    ------
    ValueError
        If the image is not uint8, is empty or has another number of axes, or if scale is not above 0.

    Notes
    -----
    MATLAB's ``imresize(image, scale, 'bicubic')``: the kernel of Keys, "Cubic convolution interpolation for digital
    image processing" (IEEE TASSP 29(6), 1981), with a = -1/2, widened by 1 / scale when shrinking; half-sample
    mirror border; first axis first. Rounding only once at the end would change more than a tenth of the values of a
    shrunk photo.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"image has dtype {image.dtype}; resize_bicubic takes uint8")
    return _resize(image, Fraction(scale), _round_to_uint8)


def resize_bicubic_float(image: NDArray[np.generic], scale: Fraction | int) -> NDArray[np.float64]:
    """Resize like `resize_bicubic` without any rounding.

    Parameters
    ----------
    image
        Any real dtype, (H, W) or (H, W, C).
    scale
        As in `resize_bicubic`.

    Returns
    -------
    float64 in the unit of the input; the kernel overshoots, so values may leave the input's range.

    Raises
    ------
    ValueError
        If the image is empty or has another number of axes, or if scale is not above 0.
    """
    return _resize(image, Fraction(scale), lambda values: values)


def crop_to_multiple(image: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Crop at the bottom and right so that both sides are multiples of a number ("modcrop").

    Parameters
    ----------
    image
        (H, W) or (H, W, C).
    multiple
        At least 1.

    Returns
    -------
    A view of the image.

    Raises
    ------
    ValueError
        If multiple is below 1.
    """
    if multiple < 1:
        raise ValueError(f"multiple is {multiple}; it must be at least 1")
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def _resize(image, scale: Fraction, finish):
    if scale <= 0:
        raise ValueError(f"scale is {scale}; it must be above 0")
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"image has shape {image.shape}; it must be (H, W) or (H, W, C) and not empty")
    # Both sides share the scale, and MATLAB starts with the first axis on ties. The second pass runs on the transpose:
    # summing whole rows keeps the memory accesses long.
    rows_done = finish(_shrink_or_enlarge_rows(image, scale))
    columns_first = np.ascontiguousarray(rows_done.swapaxes(0, 1))
    return np.ascontiguousarray(finish(_shrink_or_enlarge_rows(columns_first, scale)).swapaxes(0, 1))


def _shrink_or_enlarge_rows(image, scale: Fraction) -> NDArray[np.float64]:
    """Resize along the first axis; sums the taps one after the other, so that no BLAS decides on the last bit."""
    indices, weights = _list_taps(image.shape[0], scale)
    flat = image.reshape(image.shape[0], -1)
    total = np.zeros((indices.shape[1], flat.shape[1]))
    product = np.empty_like(total)
    for index, weight in zip(indices, weights, strict=True):
        np.multiply(flat[index], weight[:, None], out=product)
        total += product
    return total.reshape(-1, *image.shape[1:])


@lru_cache(maxsize=256)
def _list_taps(length: int, scale: Fraction) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Source indices and weights, each (taps, output length); the weights of each output sum to 1."""
    stretch = min(float(scale), 1.0)
    width = _SUPPORT / stretch
    centre = (np.arange(math.ceil(length * scale)) + 0.5) / float(scale) - 0.5
    taps = math.ceil(width) + 2
    source = np.floor(centre - width / 2) + np.arange(taps)[:, None]
    weights = _evaluate_kernel(stretch * (centre - source))
    weights /= weights.sum(axis=0)
    mirrored = source.astype(np.intp) % (2 * length)
    indices = np.minimum(mirrored, 2 * length - 1 - mirrored)
    used = weights.any(axis=1)
    indices, weights = indices[used], weights[used]
    indices.flags.writeable = weights.flags.writeable = False  # the cache hands out the same arrays again and again
    return indices, weights


def _evaluate_kernel(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    x = np.abs(distance)
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _round_to_uint8(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
