"""Programs for colours on whole pictures: global ops once, then the others strip by strip at the picture's own depth.

Imports the program, the ops and tiling; the kernels only inside `CpuBackend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import Place
from lutkit_runtime.cube import Float32, scale_to_depth
from lutkit_runtime.engine.colour_path import GlobalOps, Pictures, PlanesOfPart, Values, find_wanted, trace_colours
from lutkit_runtime.engine.conversion import check_depth
from lutkit_runtime.errors import InputError
from lutkit_runtime.ops import BilateralSlice, Blend, ColourLookup, ColourMatrix, Illuminate, Network, SelectPlanes
from lutkit_runtime.ops.bilateral_slice import BoundSlice
from lutkit_runtime.ops.blend import to_unit
from lutkit_runtime.ops.colour_lookup import BoundLookup
from lutkit_runtime.ops.illuminate import BoundIllumination
from lutkit_runtime.program import Companion, Program, Tables

Image = NDArray[Any]


class Looker(Protocol):
    """A colour lookup with its tables, ready to run on pictures (H, W, 3 or 4) uint8, uint16 or float32."""

    def finish(self, samples: Image, out: Image, threads: int | None) -> None:
        """Write the colours at the depth of the samples, and the samples' alpha, into `out` of shape and type alike."""
        ...

    def look_up(self, samples: Image, threads: int | None) -> Float32:
        """Return the colours (H, W, 3) in float32."""
        ...


class Slicer(Protocol):
    """A bilateral slice with its tables and the grid of one picture, ready to run on pieces of the picture."""

    def finish(self, samples: Image, place: Place, out: Image, threads: int | None) -> None:
        """Write the colours at the depth of the samples, and the samples' alpha, into `out` of shape and type alike."""
        ...

    def slice(self, samples: Image, place: Place, threads: int | None) -> Float32:
        """Return the colours (h, w, 3) in float32."""
        ...


RunOnStrip = Callable[[Image, Place, Image, int | None], None]
"""Turns a strip of a picture (rows, W, channels), which lies at a place, into its result; takes a limit of threads."""

FinishBlend = Callable[[Image, Float32, float, Image, int | None], bool]
"""Write base + amount (changed - base) at the depth of the base, with its alpha; False where it cannot."""


Illuminator = Callable[[BoundIllumination, Float32, Float32, int | None], Float32]
"""Returns the picture (h, w, 3) of a reflectance and an illumination (h, w, 3), float32; takes a limit of threads."""


def _illuminate_by_definition(
    bound: BoundIllumination, reflectance: Float32, illumination: Float32, threads: int | None
) -> Float32:
    return bound.illuminate(reflectance, illumination)


class ReferenceLooker:
    """The NumPy definition of a lookup.

    Parameters
    ----------
    bound : BoundLookup
    """

    def __init__(self, bound: BoundLookup) -> None:
        self._bound = bound

    def finish(self, samples: Image, out: Image, threads: int | None) -> None:
        """Write the colours at the depth of the samples and their alpha."""
        out[..., :3] = self._bound.finish(samples[..., :3])
        out[..., 3:] = samples[..., 3:]

    def look_up(self, samples: Image, threads: int | None) -> Float32:
        """Return the colours (H, W, 3) in float32."""
        return self._bound.look_up(samples[..., :3])


class ReferenceSlicer:
    """The NumPy definition of a bilateral slice.

    Parameters
    ----------
    bound : BoundSlice
    """

    def __init__(self, bound: BoundSlice) -> None:
        self._bound = bound

    def finish(self, samples: Image, place: Place, out: Image, threads: int | None) -> None:
        """Write the colours at the depth of the samples and their alpha."""
        out[..., :3] = self._bound.finish(samples[..., :3], place)
        out[..., 3:] = samples[..., 3:]

    def slice(self, samples: Image, place: Place, threads: int | None) -> Float32:
        """Return the colours (h, w, 3) in float32."""
        return self._bound.slice(samples[..., :3], place)


class ColourRunner(Protocol):
    """A program for colours with its tables; may be used from several threads."""

    def evaluate_global(self, pictures: Pictures) -> Values:
        """Return what the ops that run once make of a picture: vectors, tables and grids by name."""
        ...

    def prepare(self, pictures: Pictures, parameters: Mapping[str, float]) -> RunOnStrip:
        """Run the global ops on a picture, with those beside it, and return what turns a strip of it into its result."""
        ...


class ColoursOnHost:
    """A program for colours with its tables, for lookups in this machine's memory; may be used from several threads.

    Parameters
    ----------
    program : Program
    tables : mapping of slot name to table
    make_looker, make_slicer : callable
        Turn a bound lookup, a bound slice, into what runs it.
    finish_blend : callable, optional
        Does a blend that ends the program in one go.
    illuminate : callable, optional
        Runs a bound illumination on float32 pictures; its definition by default.
    """

    def __init__(
        self,
        program: Program,
        tables: Tables,
        make_looker: Callable[[BoundLookup], Looker],
        make_slicer: Callable[[BoundSlice], Slicer],
        finish_blend: FinishBlend | None = None,
        illuminate: Illuminator | None = None,
    ) -> None:
        self._illuminate = illuminate or _illuminate_by_definition
        self._program = program
        self._finish_blend = finish_blend
        self._tables = tables
        self._make_looker = make_looker
        self._make_slicer = make_slicer
        self._global_ops = GlobalOps(program, tables)
        self._lookers: dict[str, Looker] = {
            op.output: make_looker(op.bind({}, tables))
            for op in program.ops
            if isinstance(op, ColourLookup) and not (op.cube and op.cube.fused)
        }

    def evaluate_global(self, pictures: Pictures) -> Values:
        """Return what the ops that run once make of a picture: vectors, tables and grids by name."""
        return self._global_ops.evaluate(pictures)

    def prepare(self, pictures: Pictures, parameters: Mapping[str, float]) -> RunOnStrip:
        """Run the global ops on a picture, with those beside it, and return what turns a strip of it into its result."""
        ops, leaving = trace_colours(self._program, parameters)
        fixed: Values = {**self._global_ops.evaluate(pictures, find_wanted(self._program, ops)), **parameters}
        lookers = dict(self._lookers)
        slicers: dict[str, Slicer] = {}
        networks: dict[str, PlanesOfPart] = {}
        lights: dict[str, BoundIllumination] = {}
        for op in ops:
            if isinstance(op, ColourLookup) and op.output not in lookers:
                lookers[op.output] = self._make_looker(op.bind(fixed, self._tables))
            elif isinstance(op, BilateralSlice):
                slicers[op.output] = self._make_slicer(op.bind(fixed, self._tables))
            elif isinstance(op, Network):
                networks[op.output] = self._global_ops.prepare_planes(op, pictures)
            elif isinstance(op, Illuminate):
                lights[op.output] = op.bind(parameters[op.gamma])

        @np.errstate(over="ignore", invalid="ignore")  # floats may be anything, infinite or no number
        def run(strip: Image, place: Place, out: Image, threads: int | None) -> None:
            if leaving == self._program.input:
                out[...] = strip
                return
            values: Values = {**fixed, self._program.input: strip}
            for op in ops:
                if isinstance(op, ColourLookup):
                    source = values[op.input]
                    if op.output == leaving and source is strip:
                        lookers[op.output].finish(strip, out, threads)
                        return
                    values[op.output] = lookers[op.output].look_up(source, threads)
                elif isinstance(op, BilateralSlice):
                    source = values[op.input]
                    if op.output == leaving and source is strip:
                        slicers[op.output].finish(strip, place, out, threads)
                        return
                    values[op.output] = slicers[op.output].slice(source, place, threads)
                elif isinstance(op, ColourMatrix):
                    values[op.output] = op.transform(values[op.input][..., :3])
                elif isinstance(op, Network):
                    rows, columns = place.part(*strip.shape[:2])
                    values[op.output] = networks[op.output](rows, columns, threads)
                elif isinstance(op, SelectPlanes):
                    values[op.output] = op.select(values[op.input])
                elif isinstance(op, Illuminate):
                    reflectance, illumination = (
                        to_unit(values[name][..., :3]) for name in (op.reflectance, op.illumination)
                    )
                    values[op.output] = self._illuminate(lights[op.output], reflectance, illumination, threads)
                elif isinstance(op, Blend):
                    base, changed = values[op.base], values[op.changed]
                    if self._ends_in(op, leaving, base is strip, changed):
                        assert self._finish_blend is not None
                        if self._finish_blend(strip, changed, values[op.amount], out, threads):
                            return
                    values[op.output] = op.mix(base[..., :3], changed[..., :3], values[op.amount])
            out[..., :3] = scale_to_depth(values[leaving][..., :3], strip.dtype)
            out[..., 3:] = strip[..., 3:]

        return run

    def _ends_in(self, op: Blend, leaving: str, starts_from_the_picture: bool, changed: Image) -> bool:
        """Whether a blend of the picture itself with floats ends the program, so that one kernel can do all of it."""
        is_plain = changed.dtype == np.float32 and changed.shape[2] == 3
        return self._finish_blend is not None and op.output == leaving and starts_from_the_picture and is_plain


def check_colours(shape: tuple[int, ...]) -> None:
    """Raise InputError unless an image of such a shape has the channels that a program for colours needs."""
    if len(shape) != 3 or shape[2] not in (3, 4):
        raise InputError(
            f"image has shape {shape}, but the model changes colours: use (H, W, 3) or (H, W, 4); "
            "numpy.stack([gray] * 3, axis=-1) makes one of a gray image"
        )


def gather_pictures(program: Program, image: Image, companions: Mapping[str, Image]) -> dict[str, Image]:
    """Return the picture and those beside it, (H, W, channels) each, in the machine's byte order.

    Raises InputError where one is missing, unknown, of another size or of other channels than the program needs.
    """
    names = [each.name for each in program.companions]
    unknown = sorted(companions.keys() - set(names))
    if unknown:
        has = f"it takes {', '.join(names)}" if names else "it takes the image alone"
        raise InputError(f"the model takes no {unknown[0]}: {has}")
    missing = [name for name in names if name not in companions]
    if missing:
        raise InputError(f"the model needs {', '.join(missing)} beside the image, of the same size: hand it in by name")
    pictures = {program.input: use_native_order(image)}
    for each in program.companions:
        pictures[each.name] = _check_companion(each, companions[each.name], image.shape[:2])
    return pictures


def _check_companion(companion: Companion, given: Image, size: tuple[int, ...]) -> Image:
    """Return a picture beside the picture as (H, W, channels)."""
    name, has_colours = companion.name, companion.channels == 3
    if not isinstance(given, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{name} is of type {type(given).__name__}; hand in a NumPy array")
    if given.ndim not in (2, 3) or given.shape[2:] not in (((3,), (4,)) if has_colours else ((), (1,))):
        needed = "(H, W, 3) for RGB or (H, W, 4) for RGB and alpha" if has_colours else "(H, W) or (H, W, 1)"
        raise InputError(f"{name} has shape {given.shape}; use {needed}")
    check_depth(given.dtype, name)
    if given.shape[:2] != size:
        sides, wanted = (f"{width}x{height}" for height, width in (given.shape[:2], size))
        raise InputError(
            f"{name} has {sides} pixels and the image {wanted}; they must be of one size: resize or crop one"
        )
    return use_native_order(given).reshape(*size, -1)[..., : companion.channels]


def use_native_order(image: Image) -> Image:
    """Return an image in the machine's byte order."""
    return image if image.dtype.isnative else image.astype(image.dtype.newbyteorder("="))
