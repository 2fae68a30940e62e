"""What a page about a colour LUT shows, as plain arrays, whatever draws it. Imports the runtime, `baking`, `model_lint`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.colour.baking import bake_lut, find_interpolation, needs_picture
from lutkit.colour.findings import Finding
from lutkit.colour.lut import ColourLut, Triple, grid
from lutkit.colour.model_lint import lint_model
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.ops import Predictor

Image8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]

LATTICE_SIZE = 17
"""Points per axis that are drawn: more would hide each other."""
CURVE_POINTS = 256
STRIP_HEIGHT = 12
LONGEST_SIDE = 1280
"""Pixels of the longer side of a picture that is shown."""

STRIP_NAMES = ("grays", "reds", "greens", "blues", "hues", "pale hues")


@dataclass(frozen=True, eq=False)
class PlotContent:
    """The contents of a page.

    Attributes
    ----------
    label : str
        Name of the model.
    facts : tuple of str
        What it is, in a few words each.
    low, high : three floats
        Domain of the inputs.
    lattice : float64, (m, m, m, 3)
        Output colours on a grid over the domain, [blue][green][red], unclipped.
    grays, ramps : float64, (256, 3)
        Outputs along the neutral axis, and of each channel along its own axis while the others stay in the middle.
    strips : uint8, (rows, 2, 256, 3)
        Series of colours as `STRIP_NAMES` says, before and after.
    weights : tuple of float
        That an adaptive model gave its basis tables for the picture; else empty.
    before, after : uint8, (H, W, 3), or None
    findings : tuple of Finding
    """

    label: str
    facts: tuple[str, ...]
    low: Triple
    high: Triple
    lattice: Float64
    grays: Float64
    ramps: Float64
    strips: Image8
    weights: tuple[float, ...]
    before: Image8 | None
    after: Image8 | None
    findings: tuple[Finding, ...]


def collect_content(artefact: Artefact, label: str, pixels: NDArray[Any] | None = None) -> PlotContent:
    """Evaluate a model of colours for a page about it.

    Parameters
    ----------
    artefact : Artefact
    label : str
    pixels : uint8, uint16 or float32, (H, W, 3) or (H, W, 4), optional
        A picture to show before and after; an adaptive model makes its LUT for it.

    Raises
    ------
    FormatError
        Where the model is none of colours, or adapts to pictures and there is none.
    """
    lut = bake_lut(artefact, pixels)
    interpolation = find_interpolation(artefact.program)
    low, high = lut.domain

    def look_up(colours: Float64) -> Float64:
        return lut.evaluate(colours, interpolation)

    share = np.linspace(0, 1, CURVE_POINTS)[:, None]
    first, last = np.array(low), np.array(high)
    ramps = np.empty((CURVE_POINTS, 3))
    for channel in range(3):
        line = np.tile((first + last) / 2, (CURVE_POINTS, 1))
        line[:, channel] = first[channel] + share[:, 0] * (last - first)[channel]
        ramps[:, channel] = look_up(line)[:, channel]
    colours = _make_series()
    before = after = None
    weights: tuple[float, ...] = ()
    if pixels is not None:
        model = Model(artefact.program, artefact.tables)
        before, after = (_shrink(_to_eight_bits(each[..., :3])) for each in (pixels, model.apply(pixels)))
        weights = _find_weights(artefact, model, pixels)
    return PlotContent(
        label=label,
        facts=_describe(artefact, lut, interpolation.value),
        low=low,
        high=high,
        lattice=look_up(grid(LATTICE_SIZE, low, high)),
        grays=look_up(first + share * (last - first)),
        ramps=ramps,
        strips=_to_eight_bits(np.stack([colours, look_up(colours)], axis=1)),
        weights=weights,
        before=before,
        after=after,
        findings=lint_model(artefact, pixels)[0].findings,
    )


def _describe(artefact: Artefact, lut: ColourLut, interpolation: str) -> tuple[str, ...]:
    program = artefact.program
    facts = [f"{program.family} for {program.task}"]
    if needs_picture(program):
        facts.append("made for this picture")
    if lut.curves is not None:
        facts.append(f"curves of {lut.curves.size} nodes")
    if lut.cube is not None:
        facts.append(f"cube of {lut.cube.size} nodes per axis, {interpolation}")
    part = lut.cube or lut.curves
    assert part is not None
    facts.append(f"values {part.values.min():.3f} to {part.values.max():.3f}")
    if lut.domain != ((0.0,) * 3, (1.0,) * 3):
        facts.append(f"inputs {min(lut.domain[0]):g} to {max(lut.domain[1]):g}")
    return tuple(facts)


def _make_series() -> Float64:
    """Return the colours of the strips, (rows, 256, 3)."""
    share = np.linspace(0, 1, CURVE_POINTS)
    grays = np.repeat(share[:, None], 3, axis=1)
    # From black over the full channel to white, as light does.
    pure = [np.clip(2 * share[:, None] - (1 - np.eye(3)[channel]), 0, 1) for channel in range(3)]
    angle = (share[:, None] * 6 + [0, 4, 2]) % 6
    hues = np.clip(np.abs(angle - 3) - 1, 0, 1)
    return np.stack([grays, *pure, hues, 0.35 + 0.4 * hues])


def _find_weights(artefact: Artefact, model: Model, pixels: NDArray[Any]) -> tuple[float, ...]:
    predicted = [op.output for op in artefact.program.ops if isinstance(op, Predictor)]
    if not predicted:
        return ()
    values = model.adapt(pixels)
    return tuple(float(weight) for name in predicted for weight in values[name])


def _to_eight_bits(colours: NDArray[Any]) -> Image8:
    """Return colours of any depth as 8-bit codes, clipped."""
    if colours.dtype == np.uint8:
        return np.ascontiguousarray(colours)
    peak = np.iinfo(colours.dtype).max if colours.dtype.kind == "u" else 1
    return np.nan_to_num(colours * (255 / peak) + 0.5).clip(0, 255).astype(np.uint8)


def _shrink(image: Image8) -> Image8:
    """Return an image whose longer side is at most `LONGEST_SIDE`, by averaging."""
    factor = LONGEST_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
