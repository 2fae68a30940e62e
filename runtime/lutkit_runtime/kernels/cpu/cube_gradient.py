"""A colour lookup for training: forward, and backward to the cubes and to the pictures.

Floor 4: imports the definition and the kernels. The colours are those of `interpolate_cube`, bit for bit. The gradient
to a node is its interpolation weight times the gradient to the colour, summed over the pixels. The gradient to a sample
is the true derivative, as the published kernel's is not (HuiZeng/Image-Adaptive-3DLUT hands the gradient of the colour
through): at a node or on the border between tetrahedra, where the slope jumps, it is that of the cell or tetrahedron in
which the lookup takes the colour (the upper cell; ties of fractions count red before green before blue). Samples
outside the domain get 0, its ends still the slope inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.cube import CubeInterpolation, Float32
from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.cube_gradient_lines import accumulate_lines, gather_lines
from lutkit_runtime.kernels.cpu.cube_lookup_lines import CHUNK, FACTORS, PLACES, SHADES, look_up_lines, pad_lines
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.ops.colour_lookup import Domain

PARTS = 8
"""The pixels of a batch are summed in about so many parts: as many threads can work on the way back."""


@dataclass(frozen=True)
class CubeLookup:
    """How colours are looked up in cubes whose axes span 0 to 1.

    Parameters
    ----------
    size : int
        Nodes per axis, at least 2.
    interpolation : CubeInterpolation
    stretch : float
        As in `lutkit_runtime.ops.colour_lookup.Cube`.
    """

    size: int
    interpolation: CubeInterpolation
    stretch: float = 1.0

    def place(self) -> tuple[np.float32, np.float32]:
        """Return the scale and the last position of `locate`, equal for all channels.

        The shift is 0: adding it changes nothing.
        """
        scale, _, last = Domain().place(self.size - 1, self.stretch, 1.0)
        return scale[0], last[0]


def pad_cubes(cubes: Float32, threads: int | None = None) -> Float32:
    """Return nodes (cubes, size**3, 4) float32 of cubes (cubes, 3, size, size, size) [channel][blue][green][red]."""
    entries = cubes[0, 0].size
    nodes = np.empty((len(cubes), entries, 4), np.float32)
    with limit_threads(threads):
        pad_lines(_flatten(cubes), len(cubes), entries, nodes.reshape(-1))
    return nodes


def look_up_pictures(lookup: CubeLookup, pictures: Float32, nodes: Float32, threads: int | None = None) -> Float32:
    """Return the colours (N, 3, H, W) float32 of pictures.

    Parameters
    ----------
    lookup : CubeLookup
    pictures : float32, (N, 3, H, W)
    nodes : float32, (N, size**3, 4) or (1, size**3, 4)
        From `pad_cubes`: one cube per picture, or one for all.
    threads : int, optional
    """
    result = np.empty(pictures.shape, np.float32)
    scale, last = lookup.place()
    with limit_threads(threads) as workers:
        look_up_lines(
            _flatten(pictures),
            (len(pictures), pictures[0, 0].size, lookup.size),
            nodes.reshape(-1),
            len(nodes),
            scale,
            last,
            lookup.interpolation is CubeInterpolation.TETRAHEDRAL,
            *_make_scratch(workers),
            workers,
            new_counter(),
            result.reshape(-1),
        )
    return result


def cube_gradient(
    lookup: CubeLookup,
    pictures: Float32,
    nodes: Float32,
    gradient: Float32,
    *,
    threads: int | None = None,
    with_cubes: bool = True,
    with_pictures: bool = True,
) -> tuple[Float32, Float32]:
    """Return the gradients to the cubes and to the pictures; the number of threads changes nothing in them.

    Parameters
    ----------
    lookup, pictures, nodes
        As in `look_up_pictures`.
    gradient : float32, (N, 3, H, W)
        Gradient to the colours.
    threads : int, optional
    with_cubes, with_pictures : bool
        What is wanted; otherwise it is an empty array.

    Returns
    -------
    cubes : float32, (N or 1, 3, size, size, size)
    pictures : float32, (N, 3, H, W)
    """
    count, pixels, cubes, entries = len(pictures), pictures[0, 0].size, len(nodes), lookup.size**3
    parts = _count_parts(count, pixels, cubes, entries)
    sums = np.empty(cubes * parts * entries * 4 if with_cubes else 0, np.float32)
    to_pictures = np.empty(pictures.shape if with_pictures else (0, 3, 0, 0), np.float32)
    to_cubes = np.empty((cubes if with_cubes else 0, 3, *(lookup.size,) * 3), np.float32)
    scale, last = lookup.place()
    with limit_threads(threads) as workers:
        accumulate_lines(
            _flatten(pictures),
            (count, pixels, lookup.size),
            nodes.reshape(-1),
            _flatten(gradient),
            cubes,
            parts,
            scale,
            last,
            lookup.interpolation is CubeInterpolation.TETRAHEDRAL,
            (with_cubes, with_pictures),
            *_make_scratch(workers),
            workers,
            new_counter(),
            sums,
            to_pictures.reshape(-1),
        )
        if with_cubes:
            gather_lines(sums, cubes, parts, entries, to_cubes.reshape(-1))
    return to_cubes, to_pictures


def _flatten(array: Float32) -> Float32:
    return np.ascontiguousarray(array, np.float32).reshape(-1)


def _make_scratch(workers: int) -> tuple[NDArray[np.int32], Float32, Float32]:
    return (
        np.empty(workers * PLACES, np.int32),
        np.empty(workers * FACTORS, np.float32),
        np.empty(workers * SHADES, np.float32),
    )


def _count_parts(pictures: int, pixels: int, cubes: int, entries: int) -> int:
    """Return into how many parts the pixels of a cube are divided: a matter of shapes alone, so that a run repeats.

    A part should have more pixels than the cube has nodes, because its sums are cleared and added up at the end.
    """
    per_cube = pictures // cubes * pixels
    return max(1, min(-(-PARTS // cubes), per_cube // entries, per_cube // CHUNK))
