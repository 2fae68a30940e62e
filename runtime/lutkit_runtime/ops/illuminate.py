"""Illuminate: a picture put together from its reflectance and its illumination, which is brightened by a power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkit_runtime.cube import Float32
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import Kind, OpBase, Value
from lutkit_runtime.ops.blend import to_unit

ENTRIES = 4097
"""Of the table that stands for the power."""
ROOT = 4
"""The table is indexed by the fourth root, so that it is close to a line for the powers that people use."""


class Illuminate(OpBase, frozen=True, tag="illuminate"):
    """Result = reflectance times illumination to the power of gamma (Fu et al., CVPR 2023, equation 9), in float32.

    The power is a table of 4097 entries over the fourth root of the illumination, within 0 and 1, interpolated linearly:
    the same bytes from every backend. It is made when gamma is known. For a gamma of 0.05 to 1 it is within 1e-6 of the
    power where the illumination is 2^-16 or more, a step of 16 bits, and within 3e-5 from 2^-32 on.

    Parameters
    ----------
    reflectance : str
        A picture.
    illumination : str
        A picture, of which the first channel counts.
    gamma : str
        A parameter of the program, 0 or more.
    is_root : bool
        Whether `illumination` is the fourth root already.
    """

    reflectance: str
    illumination: str
    gamma: str
    is_root: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Both pictures and the parameter."""
        return (self.reflectance, self.illumination, self.gamma)

    def validate(self) -> None:
        """Raise ProgramError where one picture stands for both."""
        if self.reflectance == self.illumination:
            raise ProgramError(f"op '{self.output}' lights '{self.reflectance}' with itself; name two pictures")

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a picture; raises ProgramError where the inputs are something else."""
        values[self.reflectance].expect(Kind.PICTURE, self.output, self.reflectance)
        values[self.illumination].expect(Kind.PICTURE, self.output, self.illumination)
        values[self.gamma].expect(Kind.SCALAR, self.output, self.gamma)
        return Value(Kind.PICTURE)

    def bind(self, gamma: float) -> BoundIllumination:
        """Return the op with its table for a value of gamma; a negative one counts as 0."""
        return BoundIllumination(tabulate_power(gamma), self.is_root)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the picture (H, W, 3) float32."""
        reflectance, illumination = (to_unit(planes[name][..., :3]) for name in (self.reflectance, self.illumination))
        return self.bind(planes[self.gamma]).illuminate(reflectance, illumination)


def tabulate_power(gamma: float) -> Float32:
    """Return the powers (4097,) float32 over the fourth root of the illumination; a negative gamma counts as 0."""
    places = np.arange(ENTRIES, dtype=np.float64) / (ENTRIES - 1)
    return (places ** (ROOT * max(gamma, 0.0))).astype(np.float32)


@dataclass(frozen=True)
class BoundIllumination:
    """The op for one value of gamma.

    Parameters
    ----------
    table : float32, (4097,)
        Over the fourth root of the illumination.
    is_root : bool
        Whether what is given is that root.
    """

    table: Float32
    is_root: bool

    def illuminate(self, reflectance: Float32, illumination: Float32) -> Float32:
        """Return the float32 picture (h, w, 3) of pictures (h, w, 3); illuminations that are no numbers count as 0."""
        light = illumination[..., 0]
        root: Any = np.where(light > 0, np.minimum(light, np.float32(1)), np.float32(0))
        if not self.is_root:
            root = np.sqrt(np.sqrt(root))
        position = root * np.float32(ENTRIES - 1)
        cell = np.minimum(position.astype(np.int32), np.int32(ENTRIES - 2))
        below, above = self.table[cell], self.table[cell + 1]
        power = below + (position - cell.astype(np.float32)) * (above - below)
        return reflectance * power[..., None]
