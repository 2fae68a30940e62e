"""Network: a convolutional network that sees every pixel of a picture, in tiles where its windows are small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError, ProgramError
from lutkit_runtime.onnx_network import MAX_NETWORK_BYTES, ResizableNetwork
from lutkit_runtime.ops.base import Kind, OpBase, Slot, Value
from lutkit_runtime.ops.predictor import see_samples

MAX_REACH = 256
MAX_MULTIPLE = 1024
MAX_PLANES = 64
TILE_SIDE = 256
"""Pixels of a tile that is computed at once, without what is read around it: a hundred planes of it take 26 MB."""

Float32 = NDArray[np.float32]


class Network(OpBase, frozen=True, tag="network"):
    """Run an ONNX network of convolutions on the pixels of the picture, and of those beside it; its output is planes.

    The network takes (1, channels, height, width) float32, 0 to 1, and gives as many rows and columns; the file may hold
    any size, others are derived. OpenCV computes it on the processor, whatever the backend.

    Parameters
    ----------
    sources : tuple of str
        The picture and those beside it, whose channels the network takes in this order.
    slot : str
        The bytes of the ONNX file, (graph_bytes, 1) uint8.
    graph_bytes : int
    planes : int
        Channels that it gives, 1 to 64.
    reach : int or None
        Pixels around a pixel that its result depends on, up to 256: the picture is computed in tiles. None: on all of
        them; it is computed whole.
    multiple : int
        For networks that see all of the picture: its sides must be multiples of this. Others are extended by their last
        row and column, and the result is cropped.
    smallest : int
        Shorter sides are extended likewise: 2 where the network mirrors a pixel at the border.
    """

    sources: tuple[str, ...]
    slot: str
    graph_bytes: int
    planes: int
    reach: int | None = None
    multiple: int = 1
    smallest: int = 1

    @property
    def inputs(self) -> tuple[str, ...]:
        """The picture and those beside it."""
        return self.sources

    @property
    def slots(self) -> dict[str, Slot]:
        """The ONNX file."""
        return {self.slot: Slot((self.graph_bytes,), 1, "uint8")}

    @property
    def is_global(self) -> bool:
        """Whether it sees all of the picture at once."""
        return self.reach is None

    def validate(self) -> None:
        """Raise ProgramError where a size is impossible."""
        for name, value, least, most in (
            ("graph_bytes", self.graph_bytes, 1, MAX_NETWORK_BYTES),
            ("planes", self.planes, 1, MAX_PLANES),
            ("reach", self.reach or 0, 0, MAX_REACH),
            ("multiple", self.multiple, 1, MAX_MULTIPLE),
            ("smallest", self.smallest, 1, MAX_MULTIPLE),
        ):
            if not least <= value <= most:
                raise ProgramError(f"op '{self.output}' has {name} = {value}; {least} to {most} is possible")
        if not self.sources or len(set(self.sources)) != len(self.sources):
            raise ProgramError(f"op '{self.output}' reads {self.sources}; name one picture or more, each once")
        if self.reach is not None and self.multiple != 1:
            raise ProgramError(
                f"op '{self.output}' has reach = {self.reach} and multiple = {self.multiple}; a network that runs in tiles "
                "takes any size"
            )

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is planes; raises ProgramError where the inputs are something else."""
        values[self.sources[0]].expect(Kind.PICTURE, self.output, self.sources[0])
        for name in self.sources[1:]:
            values[name].expect(Kind.COMPANION, self.output, name)
        return Value(Kind.PLANES, self.planes)

    def open(self, fill: Mapping[str, Any], channels: int) -> ResizableNetwork:
        """Return the network; raises ArtefactError where it cannot be read, or takes and gives something else.

        Parameters
        ----------
        fill : mapping of slot name to table
        channels : int
            Of the picture and those beside it, together.
        """
        network = ResizableNetwork(np.ascontiguousarray(fill[self.slot]).reshape(-1), self.slot)
        _, _, *sides = taken = network.input_shape if len(network.input_shape) == 4 else (0, 0)
        if taken != (1, channels, *sides) or network.output_shape != (1, self.planes, *sides):
            raise ArtefactError(
                f"network '{self.slot}' takes {network.input_shape} and gives {network.output_shape}, where {channels} "
                f"channels and {self.planes} planes of one size are needed: make the model anew"
            )
        return network

    def run(
        self,
        network: ResizableNetwork,
        pictures: Sequence[NDArray[Any]],
        rows: slice | None = None,
        columns: slice | None = None,
        threads: int | None = None,
    ) -> Float32:
        """Return the planes (h, w, planes) of a part of a picture, or of all of it.

        Parameters
        ----------
        network : ResizableNetwork
        pictures : sequence of arrays (H, W, channels) uint8, uint16 or float32
            All of the picture, and of those beside it.
        rows, columns : slice, optional
            The part, for networks that run in tiles.
        threads : int, optional
            How many may compute.

        Raises ArtefactError where the network fails.
        """
        height, width = pictures[0].shape[:2]
        rows, columns = rows or slice(0, height), columns or slice(0, width)
        if self.reach is None:
            return self._run_piece(network, pictures, _Piece(0, height, 0, width), threads)[rows, columns]
        planes = np.empty((rows.stop - rows.start, columns.stop - columns.start, self.planes), np.float32)
        side = TILE_SIDE + 2 * self.reach
        for top in range(rows.start, rows.stop, TILE_SIDE):
            bottom = min(top + TILE_SIDE, rows.stop)
            first_row, last_row = _place_window(top - self.reach, side, height)
            for left in range(columns.start, columns.stop, TILE_SIDE):
                right = min(left + TILE_SIDE, columns.stop)
                first, last = _place_window(left - self.reach, side, width)
                made = self._run_piece(network, pictures, _Piece(first_row, last_row, first, last), threads)
                kept = made[top - first_row : bottom - first_row, left - first : right - first]
                planes[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = kept
        return planes

    def _run_piece(
        self, network: ResizableNetwork, pictures: Sequence[NDArray[Any]], piece: _Piece, threads: int | None
    ) -> Float32:
        parts = [see_samples(each[piece.top : piece.bottom, piece.left : piece.right]) for each in pictures]
        height, width = piece.bottom - piece.top, piece.right - piece.left
        taken = [max(self.smallest, -(-length // self.multiple) * self.multiple) for length in (height, width)]
        blob = np.concatenate(parts, axis=2).transpose(2, 0, 1)
        missing = (taken[0] - height, taken[1] - width)
        if any(missing):
            blob = np.pad(blob, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")
        made = network.run(np.ascontiguousarray(blob[None]), threads)[0]
        if not np.isfinite(made).all():
            raise ArtefactError(f"network '{self.slot}' gives values that are not finite: make the model anew")
        return made.transpose(1, 2, 0)[:height, :width]

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the planes (H, W, planes) float32 of whole pictures."""
        pictures = [planes[name] for name in self.sources]
        return self.run(self.open(fill, sum(each.shape[2] for each in pictures)), pictures)


@dataclass(frozen=True)
class _Piece:
    """What the network sees of a picture: rows from `top` to before `bottom`, columns alike."""

    top: int
    bottom: int
    left: int
    right: int


def _place_window(first: int, side: int, length: int) -> tuple[int, int]:
    """Return where a window of one size lies that begins at `first`, moved into the picture.

    All windows of a picture are of one size, so that the network is laid out once; where one is moved, it sees more
    than it must.
    """
    side = min(side, length)
    start = min(max(first, 0), length - side)
    return start, start + side
