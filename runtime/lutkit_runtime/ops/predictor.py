"""Predictor: a small network that looks at a thumbnail of the whole picture and gives a few numbers."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError, ProgramError
from lutkit_runtime.onnx_network import MAX_NETWORK_BYTES, OnnxNetwork
from lutkit_runtime.ops.base import Kind, OpBase, Slot, Value
from lutkit_runtime.ops.blend import to_unit

MAX_SIDE = 1024
MAX_OUTPUTS = 1 << 20


class Sampling(enum.Enum):
    """Where the pixels of a thumbnail come from; none of them filters, whatever the ratio of the sizes."""

    BILINEAR = "bilinear"
    NEAREST = "nearest"


class Predictor(OpBase, frozen=True, tag="predictor"):
    """Run an ONNX network on a thumbnail of the picture, and of those beside it; its output is a vector.

    Thumbnails are sampled at half-pixel positions and handed over as (1, channels, side, side) float32, 0 to 1.

    Parameters
    ----------
    input : str
        A picture.
    slot : str
        The bytes of the ONNX file, (graph_bytes, 1) uint8.
    graph_bytes : int
    side : int
        Of the square thumbnail, in pixels.
    outputs : int
        Length of the vector.
    sampling : Sampling
        Bilinear, or the pixel that holds the position.
    companions : tuple of str
        Pictures beside the picture whose channels follow its own, in this order.
    """

    input: str
    slot: str
    graph_bytes: int
    side: int
    outputs: int
    sampling: Sampling = Sampling.BILINEAR
    companions: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The picture and those beside it."""
        return (self.input, *self.companions)

    @property
    def slots(self) -> dict[str, Slot]:
        """The ONNX file."""
        return {self.slot: Slot((self.graph_bytes,), 1, "uint8")}

    @property
    def is_global(self) -> bool:
        """True: it sees the whole picture."""
        return True

    def validate(self) -> None:
        """Raise ProgramError where a size is impossible."""
        for name, value, most in (
            ("graph_bytes", self.graph_bytes, MAX_NETWORK_BYTES),
            ("side", self.side, MAX_SIDE),
            ("outputs", self.outputs, MAX_OUTPUTS),
        ):
            if not 1 <= value <= most:
                raise ProgramError(f"op '{self.output}' has {name} = {value}; 1 to {most} is possible")
        if len(set(self.companions)) != len(self.companions):
            raise ProgramError(f"op '{self.output}' sees {self.companions} beside '{self.input}'; name each once")

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a vector; raises ProgramError where the input is no picture."""
        values[self.input].expect(Kind.PICTURE, self.output, self.input)
        for name in self.companions:
            values[name].expect(Kind.COMPANION, self.output, name)
        return Value(Kind.VECTOR, self.outputs)

    def open(self, fill: Mapping[str, Any], channels: int = 3) -> OnnxNetwork:
        """Return the network; raises ArtefactError where it cannot be read, or takes and gives something else.

        Parameters
        ----------
        fill : mapping of slot name to table
        channels : int
            Of the picture and those beside it, together.
        """
        network = OnnxNetwork(np.ascontiguousarray(fill[self.slot]).reshape(-1), self.slot)
        taken, given = (1, channels, self.side, self.side), math.prod(network.output_shape)
        if network.input_shape != taken or given != self.outputs:
            raise ArtefactError(
                f"network '{self.slot}' takes {network.input_shape} and gives {given} values, where {taken} and "
                f"{self.outputs} are needed: make the model anew"
            )
        return network

    def predict(self, network: OnnxNetwork, *pictures: NDArray[Any]) -> NDArray[np.float32]:
        """Return the vector (outputs,) for a picture (H, W, 3) and those beside it, (H, W, channels) each.

        Raises ArtefactError where the network fails.
        """
        thumbnails = [sample_thumbnail(each, self.side, self.sampling) for each in pictures]
        blob = np.ascontiguousarray(np.concatenate(thumbnails, axis=2).transpose(2, 0, 1)[None])
        result = network.run(blob).reshape(-1)
        if result.size != self.outputs or not np.isfinite(result).all():
            raise ArtefactError(
                f"network '{self.slot}' gives {result.size} values, where {self.outputs} finite ones are needed: make "
                "the model anew"
            )
        return result

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the vector (outputs,) float32."""
        pictures = [planes[name] for name in self.inputs]
        return self.predict(self.open(fill, sum(each.shape[2] for each in pictures)), *pictures)


def sample_thumbnail(picture: NDArray[Any], side: int, sampling: Sampling = Sampling.BILINEAR) -> NDArray[np.float32]:
    """Return a picture (H, W, C) sampled to (side, side, C) float32, 0 to 1, at half-pixel positions without a filter.

    The same as torch's ``interpolate`` with ``mode="bilinear", align_corners=False``, or ``mode="nearest-exact"``.
    Samples outside 0 to 1 count as the nearer end, not a number as 0: networks have never seen any others, and a single
    bright lamp would lead them astray.
    """
    if sampling is Sampling.NEAREST:
        rows, columns = (hold_positions(length, side) for length in picture.shape[:2])
        return see_samples(picture[rows[:, None], columns[None, :]])
    top, bottom, down = _place(picture.shape[0], side)
    left, right, across = _place(picture.shape[1], side)
    down, across = down[:, None, None], across[None, :, None]

    def read(rows: Any, columns: Any) -> Any:
        return see_samples(picture[rows[:, None], columns[None, :]])

    above = read(top, left) * (1 - across) + read(top, right) * across
    below = read(bottom, left) * (1 - across) + read(bottom, right) * across
    return above * (1 - down) + below * down


def see_samples(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return samples as networks see them: float32 of 0 to 1, not a number as 0."""
    return np.nan_to_num(to_unit(samples).clip(0, 1), nan=0.0).astype(np.float32, copy=False)


def hold_positions(length: int, side: int) -> NDArray[np.intp]:
    """Return for each sample of an axis the pixel that holds its position."""
    return np.minimum((np.arange(side) + 0.5) * (length / side), length - 1).astype(np.intp)


def _place(length: int, side: int) -> tuple[Any, Any, NDArray[np.float32]]:
    """Return for each sample of an axis the pixel before it, the one after it, and the fraction between them."""
    position = np.maximum((np.arange(side) + 0.5) * (length / side) - 0.5, 0)
    before = np.minimum(position.astype(np.intp), length - 1)
    return before, np.minimum(before + 1, length - 1), (position - before).astype(np.float32)
