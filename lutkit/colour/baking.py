"""Models of colours as colour LUTs: taken out where a model is one, else sampled; and what a LUT loses against the model.

Imports the runtime and the values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.lut import ColourLut, Cube, Curves, grid
from lutkit.colour.programs import make_lut_artefact
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.bilateral import Place
from lutkit_runtime.cube import CubeInterpolation, Float32
from lutkit_runtime.engine import Model
from lutkit_runtime.engine.colour import ColoursOnHost, ReferenceLooker, ReferenceSlicer
from lutkit_runtime.errors import FormatError
from lutkit_runtime.ops import BilateralSlice, Blend, ColourLookup, Network
from lutkit_runtime.program import Colour, Program

DEFAULT_SIZE = 33
"""Nodes per axis where a model has no cube of its own."""


@dataclass(frozen=True)
class Residual:
    """How far a LUT's result lies from the model's, on one picture.

    Attributes
    ----------
    interpolation : CubeInterpolation
        In the LUT.
    psnr : float
        dB, of results in float32 clipped to 0..1; infinite where they are equal.
    psnr_8bit : float
        dB, of results in 8 bits.
    most_levels : int
        Largest difference in 8 bits.
    equal : float
        Share of the samples that are equal in 8 bits, 0 to 1.
    """

    interpolation: CubeInterpolation
    psnr: float
    psnr_8bit: float
    most_levels: int
    equal: float


def needs_picture(program: Program) -> bool:
    """Tell whether a model makes its LUT for every picture anew."""
    return any(op.is_global for op in program.ops)


def refuse_places(program: Program) -> None:
    """Raise FormatError where a model changes a colour by its place in the picture, or by other pictures."""
    if program.companions:
        named = ", ".join(each.name for each in program.companions)
        raise FormatError(
            f"a model of family {program.family} changes a colour by other pictures ({named}), which no colour LUT can do: "
            "use it as it is, with lutkit apply"
        )
    if any(isinstance(op, BilateralSlice | Network) for op in program.ops):
        raise FormatError(
            f"a model of family {program.family} changes a colour by its place in the picture, which no colour LUT can do: "
            "lutkit distil --to cube fits the nearest one, which export can write"
        )


def find_interpolation(program: Program) -> CubeInterpolation:
    """Return how a model interpolates in its first cube; tetrahedrally where it has none."""
    cubes = (op.cube for op in program.ops if isinstance(op, ColourLookup) and op.cube)
    return next((cube.interpolation for cube in cubes), CubeInterpolation.TETRAHEDRAL)


def bake_lut(artefact: Artefact, pixels: NDArray[Any] | None = None, *, size: int | None = None) -> ColourLut:
    """Return a model of colours, with its parameters at their defaults, as a colour LUT of unclipped values.

    The nodes of a model that is one lookup are taken as they are. Others are sampled: on 33 nodes per axis, over the
    domain of their first lookup or 0..1.

    Parameters
    ----------
    artefact : Artefact
    pixels : uint8, uint16 or float32, (H, W, 3) or (H, W, 4), optional
        The picture for which a model that adapts to pictures makes its LUT.
    size : int, optional
        Nodes per axis, 2 to 129; a model of another size is sampled.

    Raises
    ------
    FormatError
        Where the model is none of colours, or adapts to pictures and there is none, or the size is impossible.
    """
    program = artefact.program
    if program.colour is not Colour.RGB:
        raise FormatError(
            f"a model of family {program.family} looks at each channel and its neighbours: no colour LUT can do that"
        )
    refuse_places(program)
    if size is not None and not 2 <= size <= 129:
        raise FormatError(f"a cube of size {size} is asked for; 2 to 129 nodes per axis are possible")
    if not needs_picture(program):
        pixels = np.zeros((1, 1, 3), np.float32)
    elif pixels is None:
        raise FormatError(
            f"a model of family {program.family} makes another LUT for every picture: name one with --image"
        )
    runner = ColoursOnHost(program, artefact.tables, ReferenceLooker, ReferenceSlicer)
    title = artefact.provenance.get("title")
    title = title if isinstance(title, str) else program.family
    lookup = _find_sole_lookup(program)
    if lookup is not None:
        lut = _take(lookup, runner.evaluate_global({artefact.program.input: pixels}), artefact, title)
        if size is None or (lut.curves is None and lut.cube is not None and lut.cube.size == size):
            return lut
    low, high = find_domain(program)
    nodes = grid(size or DEFAULT_SIZE, low, high).astype(np.float32)
    flat = nodes.reshape(1, -1, 3)
    values = np.empty_like(flat)
    runner.prepare({program.input: pixels}, program.fill_parameters({}))(
        flat, Place(0, 0, *flat.shape[:2]), values, None
    )
    lut = ColourLut(cube=Cube(values.reshape(nodes.shape), low, high), title=title)
    lut.validate()
    return lut


def _find_sole_lookup(program: Program) -> ColourLookup | None:
    """Return the lookup of the picture that is the whole result when parameters are at their defaults."""
    full = {parameter.name for parameter in program.parameters if parameter.default == 1}
    output = program.output
    for op in reversed(program.ops):
        if op.output != output:
            continue
        if isinstance(op, Blend) and op.amount in full:
            output = op.changed
        else:
            return op if isinstance(op, ColourLookup) and op.input == program.input else None
    return None


def _take(op: ColourLookup, values: dict[str, Any], artefact: Artefact, title: str) -> ColourLut:
    """Return the tables of a lookup."""
    bound = op.bind(values, artefact.tables)
    curves = cube = None
    if op.curves and bound.curves is not None:
        curves = Curves(bound.curves, op.curves.domain.low, op.curves.domain.high)
    if op.cube and bound.cube is not None:
        size = op.cube.size
        cube = Cube(bound.cube.reshape(size, size, size, 3), op.cube.domain.low, op.cube.domain.high)
    lut = ColourLut(curves, cube, title)
    lut.validate()
    return lut


def find_domain(program: Program) -> tuple[Any, Any]:
    """Return the ends of what the first lookup of the picture tells apart; 0..1 where another op comes first."""
    for op in program.ops:
        if program.input in op.inputs and not op.is_global:
            first = (op.curves or op.cube) if isinstance(op, ColourLookup) else None
            return (first.domain.low, first.domain.high) if first else ((0.0,) * 3, (1.0,) * 3)
    return (0.0,) * 3, (1.0,) * 3


def measure_residuals(
    artefact: Artefact, lut: ColourLut, pixels: NDArray[Any], backend: str = "auto"
) -> Iterator[Residual]:
    """Yield how far a LUT lies from a model on a picture: interpolated as the model does, then in the other way.

    Parameters
    ----------
    artefact : Artefact
    lut : ColourLut
        Read back from where it was written, so that what a format loses is counted.
    pixels : uint8, uint16 or float32, (H, W, 3) or (H, W, 4)
    """
    codes, floats = _convert(pixels[..., :3])
    model = Model(artefact.program, artefact.tables)
    expected = model.apply(floats, backend=backend).clip(0, 1)
    expected_codes = model.apply(codes, backend=backend).astype(np.int16)
    own = find_interpolation(artefact.program)
    ways = [own, *(way for way in CubeInterpolation if way is not own)] if lut.cube else [own]
    for way in ways:
        made = make_lut_artefact(lut, interpolation=way)
        other = Model(made.program, made.tables)
        error = other.apply(floats, backend=backend).clip(0, 1).astype(np.float64) - expected
        levels = np.abs(other.apply(codes, backend=backend) - expected_codes)
        yield Residual(
            way,
            _to_decibel(float((error**2).mean())),
            _to_decibel(float((levels.astype(np.float64) ** 2).mean()) / 255**2),
            int(levels.max()),
            float((levels == 0).mean()),
        )


def make_colours(side: int = 256) -> Float32:
    """Return a picture (side, side, 3) of all kinds of colours, float32: random ones, a gray ramp, corners of the cube."""
    pixels = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    pixels[0] = np.linspace(0, 1, side, dtype=np.float32)[:, None]
    pixels[1] = np.array(list(np.ndindex(2, 2, 2)), np.float32)[np.arange(side) % 8]
    return pixels


def _convert(pixels: NDArray[Any]) -> tuple[NDArray[np.uint8], Float32]:
    """Return a picture in 8 bits and in float32."""
    if pixels.dtype.kind == "f":
        floats = pixels.astype(np.float32, copy=False)
    else:
        floats = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    codes = pixels if pixels.dtype == np.uint8 else np.rint(floats.clip(0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(codes), np.ascontiguousarray(floats)


def _to_decibel(mean_square: float) -> float:
    return float("inf") if mean_square == 0 else float(-10 * np.log10(mean_square))
