"""Pixel shuffle: groups of channels become blocks of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import OpBase, Plane


class PixelShuffle(OpBase, frozen=True, tag="pixel_shuffle"):
    """Rearrange (..., block**2, H, W) into (..., 1, H * block, W * block): channel dy * block + dx becomes pixel (dy, dx).

    Shi et al., "Real-time single image and video super-resolution", CVPR 2016, section 3.2.

    Parameters
    ----------
    input : str
        Plane of block**2 channels.
    block : int
        Output pixels per input pixel in each direction, 1 to 8.
    """

    input: str
    block: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one plane."""
        return (self.input,)

    @property
    def upscale(self) -> int:
        """The block size."""
        return self.block

    def validate(self) -> None:
        """Raise ProgramError unless the block is 1 to 8."""
        if not 1 <= self.block <= 8:
            raise ProgramError(f"op '{self.output}' has block {self.block}; 1 to 8 are possible")

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return the bounds of the plane; raises ProgramError unless it has block**2 channels."""
        plane = planes[self.input]
        if plane.channels != self.block**2:
            raise ProgramError(
                f"op '{self.output}' makes blocks of {self.block} x {self.block} of '{self.input}', which has "
                f"{plane.channels} channels; {self.block**2} are needed"
            )
        return Plane(plane.codes, plane.low, plane.high)

    def shuffle(self, values: Any) -> Any:
        """Rearrange any array or tensor (..., block**2, H, W)."""
        *leading, _, height, width = values.shape
        blocks = values.reshape(*leading, self.block, self.block, height, width)
        # (..., dy, dx, H, W) to (..., H, dy, W, dx), by a call that NumPy and torch share
        blocks = blocks.swapaxes(-4, -2).swapaxes(-3, -1).swapaxes(-3, -2)
        return blocks.reshape(*leading, 1, height * self.block, width * self.block)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the rearranged plane."""
        return self.shuffle(planes[self.input])
