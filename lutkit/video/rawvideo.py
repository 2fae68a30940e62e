"""Raw frames in a stream of bytes, for pipelines: read one after another, write one after another.

Imports `library` and NumPy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.video.library import VideoError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

PIXEL_FORMATS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {"rgb24": ("<u1", 3), "rgba": ("<u1", 4), "gray": ("<u1", 1), "rgb48le": ("<u2", 3)}
)
"""FFmpeg's names of pixel formats to the type of a sample and the number of channels; no gaps between rows."""


@dataclass(frozen=True)
class RawFormat:
    """How frames lie in a stream.

    Parameters
    ----------
    width, height : int
    pixel_format : str
        A key of `PIXEL_FORMATS`.
    """

    width: int
    height: int
    pixel_format: str = "rgb24"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a sample."""
        return np.dtype(PIXEL_FORMATS[self.pixel_format][0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a frame as `Model.apply` takes it."""
        channels = PIXEL_FORMATS[self.pixel_format][1]
        return (self.height, self.width) if channels == 1 else (self.height, self.width, channels)

    @property
    def size(self) -> int:
        """Bytes of a frame."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of ``1280x720``. Raises ValueError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if found is None:
        raise ValueError(f"'{text}' is no size; write width and height of a frame as 1280x720")
    return int(found[1]), int(found[2])


def read_frames(stream: BinaryIO, form: RawFormat, name: str) -> Iterator[NDArray[Any]]:
    """Yield the frames of a stream until it ends.

    Parameters
    ----------
    stream : binary stream
    form : RawFormat
    name : str
        What the stream is called in messages.

    Raises
    ------
    VideoError
        Where the stream ends within a frame, or before the first.
    """
    count = 0
    while True:
        data = bytearray(form.size)
        filled = _fill(stream, data)
        if not filled:
            break
        if filled < form.size:
            raise VideoError(
                f"{name}: ends within frame {count + 1}, with {filled} bytes of {form.size}; "
                f"check that {form.width}x{form.height} {form.pixel_format} is what is sent"
            )
        count += 1
        yield np.frombuffer(data, form.dtype).reshape(form.shape)
    if not count:
        raise VideoError(f"{name}: no frame came; check what is sent")


def write_frame(stream: BinaryIO, frame: NDArray[Any]) -> None:
    """Write a frame as it came: its own type, little-endian, and hand it on at once."""
    data = np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")).data.cast("B")
    while data:  # a raw stream may take a part only
        data = data[stream.write(data) or 0 :]
    stream.flush()


def _fill(stream: BinaryIO, data: bytearray) -> int:
    """Read until the buffer is full or the stream ends; returns how many bytes there are."""
    view = memoryview(data)
    filled = 0
    while filled < len(data):
        count: int = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled
