"""Pictures that are measured with: a generated one, or a file, of any size, depth and number of channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.generated import render_dead_leaves

Picture = NDArray[Any]

Size = tuple[int, int]
"""Height and width."""

TILES = 3
"""A generated picture repeats a rendered one so often in each direction: rendering takes longer than what is measured."""


SMALLEST = 16
"""Pixels of a rendered picture's sides, at least."""


def render_picture(height: int, width: int) -> NDArray[np.uint8]:
    """Return a generated picture with the texture of a photo, uint8 (height, width, 3)."""
    sides = (max(SMALLEST, -(-side // TILES)) for side in (height, width))
    part = render_dead_leaves(np.random.default_rng(0), *sides)
    return np.ascontiguousarray(np.tile(part, (TILES, TILES, 1))[:height, :width])


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Return the colours of a picture file at 8 bits, uint8 (H, W, 3); raises ImageError where it cannot be read."""
    from lutkit.images.reading import read_picture

    picture = read_picture(path)
    pixels = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
    colours = pixels[..., :-1] if picture.has_alpha else pixels
    if colours.shape[2] == 1:
        colours = colours.repeat(3, axis=2)
    if colours.dtype == np.float32:
        colours = np.rint(np.clip(colours, 0, 1) * 255)
    elif colours.dtype == np.uint16:
        colours = np.rint(colours / np.float32(257))
    return np.ascontiguousarray(colours, np.uint8)


def fit_picture(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the middle of a picture, (height, width, 3); it is repeated where it is smaller."""
    repeats = (-(-height // picture.shape[0]), -(-width // picture.shape[1]), 1)
    large = np.tile(picture, repeats)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return np.ascontiguousarray(large[top : top + height, left : left + width])


def convert_picture(picture: Picture, depth: type[np.generic], channels: int, seed: int = 0) -> Picture:
    """Return an 8-bit picture at another depth, with codes between those of 8 bits, and with an alpha for four channels."""
    dtype = np.dtype(depth)
    rng = np.random.default_rng(seed)
    if dtype != np.uint8:
        fine = picture.astype(np.uint16) * np.uint16(256) + rng.integers(0, 256, picture.shape, np.uint16)
        picture = fine if dtype == np.uint16 else fine.astype(np.float32) / np.float32(65535)
    if channels == 4:
        picture = np.concatenate([picture, picture[..., :1]], axis=2)
    return np.ascontiguousarray(picture)
