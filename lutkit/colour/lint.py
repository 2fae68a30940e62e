"""What can be wrong with a colour cube, found without a picture. Imports NumPy and colour differences.

A cube that was trained, imported or edited may clip, turn darker where its input gets brighter, tear gradients apart,
tint grays, fold colours over each other, or hold entries that no training colour ever touched. `lint_cube` finds
that; what is meant as a look and what is a fault only its maker knows, so each finding says how much and where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.findings import Code, Finding, Severity
from lutkit.colour.lut import ONES, ZEROS, ColourLut, Triple, grid
from lutkit.colour_metrics import to_lab
from lutkit_runtime.cube import CubeInterpolation

Float64 = NDArray[np.float64]

SAMPLED_SIZE = 33
"""Nodes per axis on which a LUT with curves is looked at."""
BANDING_LEVELS = 4
"""Output levels that one input level may step over before a gradient shows bands."""

_ROUNDING = 1e-6
"""What falls by no more is taken as level: float32 and 16-bit tables round."""
_FOLD = 0.01
"""A Jacobian determinant (1 for the identity) not below the negative of this is no fold: flat looks and rounding."""
_VISIBLE_TINT = 2.3
"""A just noticeable CIE 1976 difference (Mahy et al., Color Research and Application 19(2), 1994)."""
_RED, _GREEN, _BLUE = 0, 1, 2
_CHANNEL_NAMES = ("red", "green", "blue")


def lint_cube(
    values: NDArray[Any],
    *,
    visits: NDArray[np.int64] | None = None,
    bits: int = 8,
    low: Triple = ZEROS,
    high: Triple = ONES,
) -> tuple[Finding, ...]:
    """Return what is wrong with a cube of colours; nothing for the identity.

    Parameters
    ----------
    values : float, (n, n, n, 3)
        Nodes indexed [blue][green][red][channel], unclipped.
    visits : int, (n - 1, n - 1, n - 1), optional
        Training colours in each cell, indexed [blue][green][red].
    bits : int
        Depth of pictures for which bands are judged.
    low, high : three floats
        Input at the first and the last node.

    Raises
    ------
    ValueError
        If a shape is another.
    """
    table = _Table(np.asarray(values, np.float64), low, high)
    if table.values.ndim != 4 or table.values.shape != (table.size,) * 3 + (3,) or table.size < 2:
        raise ValueError(f"values have shape {table.values.shape}; (n, n, n, 3) is needed")
    findings = [_find_clipping(table), _find_order(table), _find_banding(table, bits)]
    findings += [_find_tint(table), _find_folds(table), _find_unvisited(table, visits)]
    return tuple(finding for finding in findings if finding)


def lint_basis(values: NDArray[Any], *, visits: NDArray[np.int64] | None = None) -> tuple[Finding, ...]:
    """Return what is wrong with one of several cubes that are summed: order and visits; it need not be a look itself.

    Parameters and errors as in `lint_cube`.
    """
    kept = (Code.ORDER, Code.UNVISITED)
    return tuple(finding for finding in lint_cube(values, visits=visits) if finding.code in kept)


def lint_lut(
    lut: ColourLut,
    *,
    visits: NDArray[np.int64] | None = None,
    bits: int = 8,
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL,
) -> tuple[Finding, ...]:
    """Return what is wrong with a colour LUT, as `lint_cube`; one with curves is looked at on 33 nodes per axis.

    `interpolation` is that of the cube behind the curves.
    """
    if lut.curves is None and lut.cube is not None:
        cube = lut.cube
        return lint_cube(cube.values, visits=visits, bits=bits, low=cube.low, high=cube.high)
    low, high = lut.domain
    sampled = lut.evaluate(grid(SAMPLED_SIZE, low, high), interpolation)
    return lint_cube(sampled, visits=visits, bits=bits, low=low, high=high)


@dataclass(frozen=True)
class _Table:
    """A cube with its domain."""

    values: Float64
    low: Triple
    high: Triple

    @property
    def size(self) -> int:
        return len(self.values)

    @property
    def clipped(self) -> Float64:
        return self.values.clip(0, 1)

    @property
    def has_neutral_axis(self) -> bool:
        return len(set(self.low)) == len(set(self.high)) == 1

    @property
    def neutral(self) -> Float64:
        """Colours (n, 3) of the grays."""
        every = np.arange(self.size)
        return self.values[every, every, every]

    def place(self, index: tuple[Any, ...]) -> list[float]:
        """Return the input colour at [blue][green][red]."""
        position = np.array(index[2::-1]) / (self.size - 1)
        return [round(float(value), 4) for value in self.low + position * np.subtract(self.high, self.low)]

    def place_gray(self, index: Any) -> list[float]:
        return self.place((index, index, index))


def _find_clipping(table: _Table) -> Finding | None:
    outside = (table.values < 0) | (table.values > 1)
    if not outside.any():
        return None
    excess = np.maximum(-table.values, table.values - 1).max(axis=-1)
    worst = table.place(np.unravel_index(excess.argmax(), excess.shape))
    # A cell all of whose corners end at one side stays there in between: nothing of its gradation is left.
    stuck = np.zeros((table.size - 1,) * 3, bool)
    for beyond in (table.values <= 0, table.values >= 1):
        corners = [_shift(beyond, corner) for corner in np.ndindex(2, 2, 2)]
        stuck |= np.logical_and.reduce(corners).any(axis=-1)
    lowest, highest = float(table.values.min()), float(table.values.max())
    numbers = {
        "share": float(outside.mean()),
        "node_share": float(outside.any(axis=-1).mean()),
        "low": lowest,
        "high": highest,
        "flat_share": float(stuck.mean()),
        "place": worst,
    }
    severity = Severity.WARNING if numbers["flat_share"] > 0.05 else Severity.NOTE
    message = (
        f"{_say_share(numbers['share'])} of the entries lie outside 0..1 ({lowest:.3f} to {highest:.3f}, most at input "
        f"{_say(worst)}); in {_say_share(numbers['flat_share'])} of the colours a channel is stuck at 0 or 1"
    )
    return Finding(Code.CLIPPING, severity, message, numbers)


def _find_order(table: _Table) -> Finding | None:
    own = [np.diff(table.values[..., channel], axis=2 - channel) for channel in (_RED, _GREEN, _BLUE)]
    falling = float(np.mean([(steps < -_ROUNDING).mean() for steps in own]))
    gray_steps = np.diff(table.neutral, axis=0)
    falling_gray = float((gray_steps < -_ROUNDING).mean()) if table.has_neutral_axis else 0.0
    if not falling and not falling_gray:
        return None
    every = np.mean([(np.diff(table.values, axis=axis) < -_ROUNDING).mean() for axis in range(3)])
    channel = int(np.argmin([steps.min() for steps in own]))
    drop = -float(own[channel].min())
    place = table.place(np.unravel_index(own[channel].argmin(), own[channel].shape))
    if falling_gray:
        gray_index, gray_channel = np.unravel_index(gray_steps.argmin(), gray_steps.shape)
        drop, place, channel = -float(gray_steps.min()), table.place_gray(gray_index), int(gray_channel)
    numbers = {
        "share": falling,
        "neutral_share": falling_gray,
        "any_channel_share": float(every),
        "drop": drop,
        "channel": _CHANNEL_NAMES[channel],
        "place": place,
    }
    severity = Severity.WARNING if falling_gray or (falling > 0.001 and drop > 1 / 255) else Severity.NOTE
    message = (
        f"a channel falls while its own input rises in {_say_share(falling)} of the steps between nodes and in "
        f"{_say_share(falling_gray)} of those along the grays, {_CHANNEL_NAMES[channel]} by {drop:.4f} at input {_say(place)}; "
        f"of all channels along all axes {_say_share(every)} fall"
    )
    return Finding(Code.ORDER, severity, message, numbers)


def _find_banding(table: _Table, bits: int) -> Finding | None:
    # Slopes are in output levels per input level: both sides have 2**bits - 1 levels from 0 to 1.
    spans = np.subtract(table.high, table.low) / (table.size - 1)
    steep, worst, place, channel = [], 0.0, [0.0] * 3, 0
    for axis in range(3):
        slopes = np.abs(np.diff(table.clipped, axis=axis)) / spans[2 - axis]
        steep.append((slopes > BANDING_LEVELS).any(axis=-1).mean())
        if slopes.max() > worst:
            worst = float(slopes.max())
            *index, channel = np.unravel_index(slopes.argmax(), slopes.shape)
            place = table.place(tuple(index))
    if not np.any(steep):
        return None
    grays = np.abs(np.diff(table.neutral.clip(0, 1), axis=0)) / spans
    gray = float(grays.max()) if table.has_neutral_axis else 0.0
    numbers = {
        "share": float(np.mean(steep)),
        "levels": worst,
        "neutral_levels": gray,
        "bits": bits,
        "channel": _CHANNEL_NAMES[channel],
        "place": place,
    }
    severity = Severity.WARNING if numbers["share"] > 0.01 or gray > BANDING_LEVELS else Severity.NOTE
    message = (
        f"one input level of {bits} bits moves a channel by more than {BANDING_LEVELS} levels in {_say_share(np.mean(steep))} of "
        f"the steps between nodes: {_CHANNEL_NAMES[channel]} by {worst:.1f} at input {_say(place)}; along the grays by "
        f"at most {gray:.1f}"
    )
    return Finding(Code.BANDING, severity, message, numbers)


def _find_tint(table: _Table) -> Finding | None:
    if not table.has_neutral_axis:
        return None
    lab = to_lab(table.neutral.clip(0, 1))
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    index = int(chroma.argmax())
    if chroma[index] <= _VISIBLE_TINT:
        return None
    place, output = table.place_gray(index), table.neutral[index].clip(0, 1)
    numbers = {
        "delta_e": float(chroma[index]),
        "mean_delta_e": float(chroma.mean()),
        "place": place,
        "output": [round(float(value), 4) for value in output],
    }
    message = (
        f"grays get a tint of up to {chroma[index]:.1f} dE76 ({chroma.mean():.1f} on average): input {_say(place)} "
        f"becomes {_say(output)}"
    )
    return Finding(Code.TINT, Severity.NOTE, message, numbers)


def _find_folds(table: _Table) -> Finding | None:
    folded, worst, place = 0.0, 0.0, [0.0] * 3
    for determinants in _measure_tetrahedra(table):
        folded += float((determinants < -_FOLD).mean()) / 6
        if determinants.min() < worst:
            worst = float(determinants.min())
            place = table.place(np.unravel_index(determinants.argmin(), determinants.shape))
    if not folded:
        return None
    numbers = {"share": folded, "determinant": worst, "place": place}
    severity = Severity.WARNING if folded > 0.01 else Severity.NOTE
    message = f"{_say_share(folded)} of the colours are turned inside out, most at input {_say(place)} (determinant {worst:.2f})"
    return Finding(Code.FOLDS, severity, message, numbers)


def _measure_tetrahedra(table: _Table) -> Iterator[Float64]:
    """Yield the Jacobian determinants of one of the six tetrahedra of every cell: its change of volume, with sign."""
    spans = np.subtract(table.high, table.low) / (table.size - 1)
    for order in permutations((_RED, _GREEN, _BLUE)):
        corner = [0, 0, 0]  # blue, green, red
        columns: list[Float64] = [np.empty(0)] * 3
        before = _shift(table.values, corner)
        for channel in order:
            corner[2 - channel] = 1
            after = _shift(table.values, corner)
            columns[channel] = (after - before) / spans[channel]
            before = after
        yield (np.cross(columns[_RED], columns[_GREEN]) * columns[_BLUE]).sum(axis=-1)


def _shift(values: NDArray[Any], corner: Sequence[int]) -> NDArray[Any]:
    """Return the values at one corner (blue, green, red) of every cell."""
    cells = len(values) - 1
    blue, green, red = corner
    return values[blue : blue + cells, green : green + cells, red : red + cells]


def _find_unvisited(table: _Table, visits: NDArray[np.int64] | None) -> Finding | None:
    if visits is None:
        return None
    if visits.shape != (table.size - 1,) * 3:
        raise ValueError(
            f"visits have shape {visits.shape}; a cube of {table.size} nodes has {table.size - 1} cells each way"
        )
    share = float((visits == 0).mean())
    if not share:
        return None
    every = np.arange(table.size - 1)
    gray = float((visits[every, every, every] == 0).mean())
    severity = Severity.WARNING if gray > 0.1 else Severity.NOTE
    message = (
        f"no training colour fell into {_say_share(share)} of the cells ({_say_share(gray)} of those along the "
        "grays): entries there come from smoothness alone"
    )
    return Finding(Code.UNVISITED, severity, message, {"share": share, "neutral_share": gray})


def _say(colour: Any) -> str:
    """Return a colour as text."""
    return "(" + ", ".join(f"{value:.2f}" for value in colour) + ")"


def _say_share(share: Any) -> str:
    """Return a share as per cent, with two digits that count."""
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.1%}"
