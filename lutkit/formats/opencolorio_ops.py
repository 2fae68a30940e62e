"""Turn single operators of OpenColorIO into steps of a chain. Takes its module as an argument; imports the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.chain import FINEST_CURVES, Matrix, Step, as_rows
from lutkit.colour.lut import ColourLut, Cube, Curves, Float64, Triple, make_triple
from lutkit_runtime.errors import FormatError
from lutkit_runtime.table_coding import LARGEST_VALUE

TOLERANCE = 1e-6
"""Largest difference from OpenColorIO, relative to values above 1."""
OPEN_END = 65504.0
"""Where a range without an end ends here: the largest 16-bit float."""
REMEDY = "bake it to a .cube file first, as ociobakelut does"
"""What to do about operators that cannot be taken over."""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Weights of saturation: ASC CDL 1.2, which are those of ITU-R BT.709."""


@dataclass(frozen=True)
class Bounds:
    """Which values a channel can have between two operators, when pictures enter with 0..1."""

    low: Triple
    high: Triple

    def after(self, step: Step) -> Bounds:
        """Return the bounds of the results of a step."""
        if isinstance(step, Matrix):
            ends = np.array([self.low, self.high])
            terms = np.array(step.rows)[None] * ends[:, None, :]
            low = terms.min(axis=0).sum(axis=1) + step.offset
            high = terms.max(axis=0).sum(axis=1) + step.offset
        else:
            part = step.cube or step.curves
            assert part is not None
            values = part.values.reshape(-1, 3)
            low, high = values.min(axis=0), values.max(axis=0)
        high = np.maximum(high, low + 1e-3 * np.maximum(1, np.abs(low)))  # a domain needs some width
        return Bounds(make_triple(low), make_triple(high))


@dataclass(frozen=True)
class Converted:
    """The steps that an operator has become, and which of them are only as good as it."""

    steps: tuple[Step, ...]
    baked: tuple[str, ...] = ()


def measure(result: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, relative to values above 1; infinite where a result is not finite."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(result - expected) / np.maximum(1, np.abs(expected))
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def run_transform(ocio: Any, transform: Any, colours: NDArray[Any]) -> Float64:
    """Return what OpenColorIO's float32 renderer makes of colours (n, 3), without optimisation."""
    result = np.array(colours, np.float32, order="C")
    processor = ocio.Config.CreateRaw().getProcessor(transform)
    processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_NONE).applyRGB(result)
    return result.astype(np.float64)


def convert_op(ocio: Any, transform: Any, bounds: Bounds, name: str) -> Converted:
    """Return an operator as steps of a chain.

    Parameters
    ----------
    ocio : module
    transform : ocio.Transform
    bounds : Bounds
        Of its inputs; where it becomes curves, they end there.
    name : str
        Of the file, for messages.

    Raises
    ------
    FormatError
        Naming the operator, where it has no equal.
    """
    forward = transform.getDirection() == ocio.TRANSFORM_DIR_FORWARD
    if isinstance(transform, ocio.MatrixTransform):
        return Converted((_convert_matrix(transform, forward, name),))
    if isinstance(transform, ocio.RangeTransform) and forward and transform.getStyle() == ocio.RANGE_CLAMP:
        return Converted((_convert_range(transform, bounds, name),))
    if isinstance(transform, ocio.Lut3DTransform):
        if not forward:
            raise FormatError(f"{name}: the inverse of a 3-D LUT has no exact equal; invert it with lutkit invert")
        return Converted((_convert_cube(transform, name),))
    if isinstance(transform, ocio.Lut1DTransform) and forward:
        plain = not transform.getInputHalfDomain() and transform.getHueAdjust() == ocio.HUE_NONE
        if plain:
            return Converted((_convert_curves(transform, name),))
    if isinstance(transform, ocio.CDLTransform):
        if forward:
            return _convert_cdl(ocio, transform, bounds, name)
        if transform.getSat() != 1:
            raise FormatError(
                f"{name}: the inverse of a CDL with saturation {transform.getSat():g} has no exact equal; {REMEDY}"
            )
    step, note = _bake(ocio, transform, bounds, name)
    return Converted((step,), (note,))


def _convert_matrix(transform: Any, forward: bool, name: str) -> Matrix:
    whole = np.array(transform.getMatrix(), np.float64).reshape(4, 4)
    offset = np.array(transform.getOffset(), np.float64)
    alpha = np.concatenate([whole[3], whole[:3, 3], offset[3:]])
    if not np.array_equal(alpha, [0, 0, 0, 1, 0, 0, 0, 0]):
        raise FormatError(f"{name}: a matrix mixes alpha with colours, which has no equal; remove alpha from it")
    rows, offset = whole[:3, :3], offset[:3]
    if not forward:
        try:
            rows = np.linalg.inv(rows)
        except np.linalg.LinAlgError:
            raise FormatError(
                f"{name}: the inverse of a matrix is asked for that has none; remove it from the file"
            ) from None
        offset = -rows @ offset
    matrix = Matrix(as_rows(rows), make_triple(offset))
    matrix.validate()
    return matrix


def _convert_range(transform: Any, bounds: Bounds, name: str) -> ColourLut:
    """Return a straight line between two clamped ends; an end that is missing lies where no colour gets."""
    has_low, has_high = transform.hasMinInValue(), transform.hasMaxInValue()
    if has_low and has_high:
        low, high = transform.getMinInValue(), transform.getMaxInValue()
        first, last = transform.getMinOutValue(), transform.getMaxOutValue()
    elif has_low:
        low, first = transform.getMinInValue(), transform.getMinOutValue()
        high = max(OPEN_END, *bounds.high)
        last = high - low + first
    else:
        high, last = transform.getMaxInValue(), transform.getMaxOutValue()
        low = min(-OPEN_END, *bounds.low)
        first = low - high + last
    lut = ColourLut(Curves(np.array([[first] * 3, [last] * 3], np.float32), (low, low, low), (high, high, high)))
    _validate(lut, "Range", name)
    return lut


def _convert_cube(transform: Any, name: str) -> ColourLut:
    size = transform.getGridSize()
    values = np.array(transform.getData(), np.float32).reshape(-1, 3)
    # OpenColorIO has blue running fastest.
    nodes = np.ascontiguousarray(values.reshape(size, size, size, 3).transpose(2, 1, 0, 3))
    lut = ColourLut(None, Cube(nodes))
    _validate(lut, "Lut3D", name)
    return lut


def _convert_curves(transform: Any, name: str) -> ColourLut:
    lut = ColourLut(Curves(np.array(transform.getData(), np.float32).reshape(-1, 3)))
    _validate(lut, "Lut1D", name)
    return lut


def _convert_cdl(ocio: Any, transform: Any, bounds: Bounds, name: str) -> Converted:
    """Return a CDL as slope and offset, power, and saturation, which is a matrix; clamped where its style says so.

    ASC CDL 1.2: slope, offset, clamp, power, saturation, clamp.
    """
    clamps = transform.getStyle() == ocio.CDL_ASC
    slope, offset, power = transform.getSlope(), transform.getOffset(), transform.getPower()
    clamp = ColourLut(Curves(np.array([[0.0] * 3, [1.0] * 3], np.float32)))
    steps: list[Step] = []
    notes: list[str] = []
    if power == [1, 1, 1]:
        steps.append(Matrix(as_rows(np.diag(slope)), make_triple(offset)))
        steps += [clamp] if clamps else []
    else:
        powers = ocio.CDLTransform(slope=slope, offset=offset, power=power, sat=1.0)
        powers.setStyle(transform.getStyle())
        step, note = _bake(ocio, powers, bounds, name)
        steps.append(step)
        notes.append(note)
    if transform.getSat() != 1:
        steps.append(Matrix(as_rows(np.eye(3) * transform.getSat() + (1 - transform.getSat()) * LUMINANCE)))
        steps += [clamp] if clamps else []
    for step in steps:
        _validate(step, "CDL", name)
    return Converted(tuple(steps), tuple(notes))


def _bake(ocio: Any, transform: Any, bounds: Bounds, name: str) -> tuple[Step, str]:
    """Return curves for an operator that treats every channel by itself, with a remark on how good they are."""
    kind = type(transform).__name__.removesuffix("Transform")

    def run(colours: NDArray[Any]) -> Float64:
        return run_transform(ocio, transform, colours)

    generator = np.random.default_rng(0)
    low, high = np.array(bounds.low), np.array(bounds.high)
    colours = generator.uniform(low, high, (100000, 3)).astype(np.float32)
    expected = run(colours)
    for channel in range(3):
        others = [each for each in range(3) if each != channel]
        mixed = colours.copy()
        mixed[:, others] = generator.permutation(colours[:, others])
        if not measure(run(mixed)[:, channel], expected[:, channel]) <= TOLERANCE:
            raise FormatError(f"{name}: the operator {kind} mixes channels and has no exact equal; {REMEDY}")
    values = run(np.linspace(low, high, FINEST_CURVES))
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST_VALUE:
        raise FormatError(
            f"{name}: the operator {kind} makes values that are not finite, and has no exact equal; {REMEDY}"
        )
    lut = ColourLut(Curves(values.astype(np.float32), bounds.low, bounds.high))
    # Steep places lie at the ends and around 0, where random inputs are rare.
    near = generator.uniform(-1, 1, (20000, 3)) * 10.0 ** generator.uniform(-7, 0, (20000, 3))
    places = np.concatenate([near, low + np.abs(near), high - np.abs(near)]).clip(low, high)
    inputs = np.concatenate([colours, places.astype(np.float32)])
    difference = measure(lut.evaluate(inputs), run(inputs))
    span = f"{low.min():.4g}..{high.max():.4g}"
    if not difference <= TOLERANCE:
        raise FormatError(
            f"{name}: the operator {kind} has no exact equal, and curves over {span} differ from it by "
            f"{difference:.2g}; {REMEDY}"
        )
    _validate(lut, kind, name)
    return lut, f"{kind} over {span} to {difference:.1e}"


def _validate(step: Step, kind: str, name: str) -> None:
    """Raise FormatError, naming file and operator, where a step is not as it must be."""
    try:
        step.validate()
        if isinstance(step, ColourLut):
            for part in filter(None, (step.curves, step.cube)):
                if np.abs(part.values).max() > np.float32(LARGEST_VALUE):
                    raise FormatError(f"values go beyond {LARGEST_VALUE:g}, which no model takes; scale them down")
    except FormatError as problem:
        raise FormatError(f"{name}: operator {kind}: {problem}") from None
