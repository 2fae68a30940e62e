"""What every op has in common: named inputs, one output, validation, extent, reference evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class OpBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="op"):
    """A step of a program: reads named planes and names its result.

    Parameters
    ----------
    output : str
        Name of the plane that the op makes.
    """

    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the planes that the op reads."""
        raise NotImplementedError

    @property
    def halo(self) -> int:
        """Pixels around a pixel of the input that its result depends on; 0 for a point op."""
        return 0

    @property
    def upscale(self) -> int:
        """How many times larger than its input the output is, in each direction."""
        return 1

    def validate(self) -> None:
        """Raise ProgramError where a field is out of range or two fields contradict each other."""

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Evaluate the op slowly and obviously.

        Parameters
        ----------
        planes : mapping of name to integer array (..., H, W)
            Planes of codes may be uint8.
        fill : mapping of slot name to int8 table (entries, outputs)

        Returns
        -------
        integer array (..., H * upscale, W * upscale)
            Codes as uint8, sums as int64.
        """
        raise NotImplementedError
