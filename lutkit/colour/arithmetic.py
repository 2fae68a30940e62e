"""Which arithmetic a colour lookup gets: packed integers where they serve, else float32. Imports the runtime only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from lutkit_runtime.cube import Arithmetic, CubeInterpolation, fits_packed
from lutkit_runtime.ops import ColourLookup

PACKED_SHARE = 0.97
"""Part of 8-bit results that packed integers must give as float32 does; the others differ by one level."""

_COLOURS = 1 << 14


def find_obstacle(op: ColourLookup, tables: Mapping[str, Any]) -> str | None:
    """Return why a lookup's 8-bit pictures are not computed with packed integers, or None where they can be.

    Of a cube that could be packed, results for random colours are compared: rough cubes and steep curves lose more by
    nodes of 12 bits and weights of 9 than smooth ones, and so do those that often hit the middle between two levels.

    Parameters
    ----------
    op : ColourLookup
    tables : mapping of slot name to stored table
    """
    if op.cube is None:
        return "there is no cube"
    if op.cube.interpolation is not CubeInterpolation.TETRAHEDRAL:
        return f"the interpolation is {op.cube.interpolation.value}"
    if op.cube.fused:
        return "the cube is made for every picture"
    bound = msgspec.structs.replace(op, arithmetic=Arithmetic.PACKED).bind({}, tables)
    assert bound.cube is not None
    if not fits_packed(bound.cube):
        low, high = float(bound.cube.min()), float(bound.cube.max())
        return f"nodes from {low:g} to {high:g} lie outside 0 to 1"
    codes = np.random.default_rng(0).integers(0, 256, (_COLOURS, 3), dtype=np.uint8)
    plain = msgspec.structs.replace(op, arithmetic=Arithmetic.FLOAT32).bind({}, tables)
    differing = float((bound.finish(codes) != plain.finish(codes)).mean())
    if differing > 1 - PACKED_SHARE:
        return f"packed integers would be one level off in {differing:.1%} of the values"
    return None


def choose_arithmetic(op: ColourLookup, tables: Mapping[str, Any]) -> ColourLookup:
    """Return a lookup with the packed arithmetic where nothing stands against it, else with float32."""
    packed = find_obstacle(op, tables) is None
    return msgspec.structs.replace(op, arithmetic=Arithmetic.PACKED if packed else Arithmetic.FLOAT32)
