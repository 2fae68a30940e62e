"""Network: a convolutional network that sees every pixel of a picture, in tiles where its windows are small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
TRIAL_SIDES = (64, 1024)
"""Pixels of a picture for which a network may cost no more than a predictor's, and of a larger one for which it may cost no
more for each pixel: a file can say any size, and windows that shrink a small picture to one pixel spare a large one."""

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

    @property
    def halo(self) -> int:
        """Pixels around a pixel that its planes depend on, where it runs in tiles."""
        return self.reach or 0

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
        for least in TRIAL_SIDES:
            side, times = self._extend(least), (least // TRIAL_SIDES[0]) ** 2
            if network.follow((1, channels, side, side), times) != (1, self.planes, side, side):
                raise ArtefactError(
                    f"network '{self.slot}' changes the size of a picture of {side}x{side}: make the model anew"
                )
        return network

    def run(self, network: ResizableNetwork, pictures: Sequence[NDArray[Any]], threads: int | None = None) -> Float32:
        """Return the planes (H, W, planes) of whole pictures; see `PlanesOfPictures` for parts of them."""
        height, width = pictures[0].shape[:2]
        return PlanesOfPictures(self, network, pictures).read(slice(0, height), slice(0, width), threads)

    def run_window(
        self,
        network: ResizableNetwork,
        pictures: Sequence[NDArray[Any]],
        rows: slice,
        columns: slice,
        threads: int | None = None,
    ) -> Float32:
        """Return the planes (h, w, planes) that the network makes of a part of the pictures, as if there were no more.

        Raises ArtefactError where the network fails.
        """
        parts = [each[rows, columns] for each in pictures]
        height, width = parts[0].shape[:2]
        blob = np.empty(
            (1, sum(each.shape[2] for each in parts), self._extend(height), self._extend(width)), np.float32
        )
        first = 0
        for part in parts:
            last = first + part.shape[2]
            blob[0, first:last, :height, :width] = see_samples(part).transpose(2, 0, 1)
            first = last
        blob[..., height:, :width] = blob[..., height - 1 : height, :width]
        blob[..., width:] = blob[..., width - 1 : width]
        made = network.run(blob, threads)[0]
        if not np.isfinite(made).all():
            raise ArtefactError(f"network '{self.slot}' gives values that are not finite: make the model anew")
        return made.transpose(1, 2, 0)[:height, :width]

    def _extend(self, length: int) -> int:
        """Return the length of a side that the network takes, for one of a picture."""
        return max(-(-length // self.multiple), -(-self.smallest // self.multiple)) * self.multiple

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the planes (H, W, planes) float32 of whole pictures."""
        pictures = [planes[name] for name in self.sources]
        return self.run(self.open(fill, sum(each.shape[2] for each in pictures)), pictures)


class PlanesOfPictures:
    """What a network makes of a picture, and of those beside it, computed where it is read; for one thread.

    A network that sees all of the picture runs once. Others run in tiles that have their place in the picture, whatever
    part is read: libraries round in ways that depend on the size of what they are given. A tile is kept until its last
    pixel was read, so that parts that follow each other, in rows from the top left, are computed once.

    Parameters
    ----------
    op : Network
    network : ResizableNetwork
    pictures : sequence of arrays (H, W, channels) uint8, uint16 or float32
        All of the picture, and of those beside it.
    """

    def __init__(self, op: Network, network: ResizableNetwork, pictures: Sequence[NDArray[Any]]) -> None:
        self._op, self._network, self._pictures = op, network, pictures
        self._height, self._width = pictures[0].shape[:2]
        self._tiles: dict[tuple[int, int], Float32] = {}
        self._whole: Float32 | None = None

    def read(self, rows: slice, columns: slice, threads: int | None = None) -> Float32:
        """Return the planes (h, w, planes) of rows and columns of the picture; raises ArtefactError where it fails.

        Parameters
        ----------
        rows, columns : slice
            With both ends, within the picture.
        threads : int, optional
            How many may compute.
        """
        if self._op.reach is None:
            if self._whole is None:
                whole = slice(0, self._height), slice(0, self._width)
                self._whole = self._op.run_window(self._network, self._pictures, *whole, threads)
            return self._whole[rows, columns]
        planes = np.empty((rows.stop - rows.start, columns.stop - columns.start, self._op.planes), np.float32)
        for top in range(rows.start // TILE_SIDE * TILE_SIDE, rows.stop, TILE_SIDE):
            for left in range(columns.start // TILE_SIDE * TILE_SIDE, columns.stop, TILE_SIDE):
                bottom, right = min(top + TILE_SIDE, self._height), min(left + TILE_SIDE, self._width)
                tile = self._tiles.pop((top, left), None)
                if tile is None:
                    tile = self._compute(top, left, bottom, right, threads)
                if bottom > rows.stop or right > columns.stop:
                    self._tiles[top, left] = tile
                first, last = max(top, rows.start), min(bottom, rows.stop)
                begin, end = max(left, columns.start), min(right, columns.stop)
                part = tile[first - top : last - top, begin - left : end - left]
                planes[first - rows.start : last - rows.start, begin - columns.start : end - columns.start] = part
        return planes

    def _compute(self, top: int, left: int, bottom: int, right: int, threads: int | None) -> Float32:
        """Return the planes of a tile."""
        rows, columns = self._place_window(top, self._height), self._place_window(left, self._width)
        planes = self._op.run_window(self._network, self._pictures, rows, columns, threads)
        return planes[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start]

    def _place_window(self, first: int, length: int) -> slice:
        """Return what the network sees of an axis for a tile that begins at `first`.

        All windows of a picture are of one size, so that the network is laid out once: those that would end outside the
        picture are moved into it and see more than they must.
        """
        side = min(max(TILE_SIDE + 2 * self._op.halo, self._op.smallest), length)
        start = min(max(first - self._op.halo, 0), length - side)
        return slice(start, start + side)
