"""Planes: what can be in a plane of a program for each channel, followed from op to op. Floor 5: imports the ops and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops import Ensemble, Lookup, Op, Requantise
from lutkit_runtime.ops.ensemble import TURNS

LARGEST_CODE = 255


@dataclass(frozen=True)
class Plane:
    """What can be in a plane.

    Parameters
    ----------
    codes : bool
        Codes (the image, and what `Requantise` makes), which may index a table or leave the program; else sums.
    largest : int
        The largest magnitude.
    """

    codes: bool
    largest: int


def follow_planes(ops: Sequence[Op], planes: dict[str, Plane]) -> Plane:
    """Return what the last op makes; `planes` gains what each op makes.

    Raises ProgramError where a lookup could read outside its table or a sum overflow 32 bits.
    """
    result = next(iter(planes.values()))
    for op in ops:
        largest = sum(planes[name].largest for name in op.inputs)
        if isinstance(op, Lookup):
            if not planes[op.input].codes:
                raise ProgramError(
                    f"op '{op.output}' indexes a table by '{op.input}', which is a sum: requantise it first"
                )
            largest = op.largest
        elif isinstance(op, Ensemble):
            largest = TURNS * follow_planes(op.body, {op.input: planes[op.input]}).largest
        elif isinstance(op, Requantise):
            largest += abs(op.bias)
        if largest >= 2**31:
            raise ProgramError(f"op '{op.output}' can reach {largest}; sums must stay below {2**31}")
        codes = isinstance(op, Requantise)
        result = planes[op.output] = Plane(codes, LARGEST_CODE if codes else largest)
    return result
