# pyright: basic
"""Memory of the GPU: planes, and buffers that are used again. Imports numba-cuda and NumPy."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cuda.compiling import cuda
from lutkit_runtime.kernels.cuda.device import is_simulated


@dataclass(frozen=True)
class Planes:
    """Planes on the GPU, one after the other in memory.

    Parameters
    ----------
    flat : one-dimensional device array
        At least as long as the planes; uint8 for codes, int32 for other integers.
    colours, channels, height, width : int
    """

    flat: Any
    colours: int
    channels: int
    height: int
    width: int

    @property
    def count(self) -> int:
        """Number of planes."""
        return self.colours * self.channels

    @property
    def size(self) -> int:
        """Number of samples."""
        return self.count * self.height * self.width


@dataclass(frozen=True)
class Picture:
    """A picture on the GPU, its channels interleaved.

    Parameters
    ----------
    flat : one-dimensional device array, uint8, uint16 or float32
        (H, W, channels) in C order; may be longer.
    height, width, channels : int
    """

    flat: Any
    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width


def upload(array: NDArray[Any], stream: Any = 0) -> Any:
    """Return a copy of an array on the GPU, one-dimensional."""
    return cuda.to_device(np.ascontiguousarray(array).reshape(-1), stream=stream)


class Pool:
    """Buffers on the GPU that are handed out, taken back and handed out again: allocating one stops the GPU.

    A buffer belongs to one stream, on which work is done in order: so it may be handed out again while kernels that
    use it are still waiting.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[Any, str, int], list[Any]] = defaultdict(list)
        self._lock = threading.Lock()

    @contextmanager
    def session(self, stream: Any) -> Iterator[Session]:
        """Yield what hands out buffers of a stream; they return when the block is left."""
        session = Session(self, stream)
        try:
            yield session
        finally:
            session.close()

    def take(self, stream: Any, size: int, dtype: Any) -> Any:
        """Return a buffer of at least `size` samples, whatever it holds."""
        key = (_name_stream(stream), np.dtype(dtype).str, _round_up(size))
        with self._lock:
            free = self._free[key]
            if free:
                return free.pop()
        return cuda.device_array(key[2], dtype, stream=stream)

    def give_back(self, stream: Any, buffer: Any) -> None:
        """Take a buffer back."""
        with self._lock:
            self._free[_name_stream(stream), np.dtype(buffer.dtype).str, buffer.size].append(buffer)


class Session:
    """Buffers of one run.

    Parameters
    ----------
    pool : Pool
    stream : stream
        On which the run's kernels are launched.
    """

    def __init__(self, pool: Pool, stream: Any) -> None:
        self.stream = stream
        self._pool = pool
        self._taken: list[Any] = []

    def empty(self, size: int, dtype: Any) -> Any:
        """Return a buffer of at least `size` samples, whatever it holds; it is the run's until the run ends."""
        buffer = self._pool.take(self.stream, size, dtype)
        self._taken.append(buffer)
        return buffer

    def empty_planes(self, colours: int, channels: int, height: int, width: int, dtype: Any) -> Planes:
        """Return planes whatever they hold."""
        return Planes(self.empty(colours * channels * height * width, dtype), colours, channels, height, width)

    def release(self, planes: Planes | Picture) -> None:
        """Give the buffer of planes, or of a picture, back before the run ends."""
        for place, buffer in enumerate(self._taken):
            if buffer is planes.flat:
                self._pool.give_back(self.stream, self._taken.pop(place))
                return

    def close(self) -> None:
        """Give the buffers back."""
        for buffer in self._taken:
            self._pool.give_back(self.stream, buffer)
        self._taken.clear()


def _name_stream(stream: Any) -> int:
    """Return the address of a stream of numba-cuda; 0 is the default one."""
    handle = getattr(stream, "handle", None)
    return int(getattr(handle, "value", handle) or 0) if handle is not None else 0


def _round_up(size: int) -> int:
    """Return one of few sizes, at most an eighth larger, so that pictures of about one size share buffers."""
    step = max(256, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


def copy_to_host(array: Any, stream: Any = 0) -> NDArray[Any]:
    """Return a dense device array as it is once all work before on the stream is done."""
    out = array.copy_to_host(stream=stream)
    if stream:
        stream.synchronize()
    return np.asarray(out)


def download(planes: Planes, stream: Any = 0) -> NDArray[Any]:
    """Return planes (colours, channels, H, W) as they are once all work before on the stream is done."""
    shape = (planes.colours, planes.channels, planes.height, planes.width)
    return copy_to_host(planes.flat[: planes.size], stream).reshape(shape)


def view_image(image: Any, stream: Any) -> Any:
    """Return an object with ``__cuda_array_interface__``, (H, W) or (H, W, channels), as a device array of three axes.

    It is a view of the same memory. What another stream was still writing there is waited for where the object names it.
    """
    if is_simulated():
        return image if len(image.shape) == 3 else image[:, :, None]
    description = dict(image.__cuda_array_interface__)
    if len(description["shape"]) == 2:
        strides = description.get("strides")
        description["shape"] = (*description["shape"], 1)
        description["strides"] = strides and (*strides, np.dtype(description["typestr"]).itemsize)
    given = description.get("stream")
    same = given is not None and given == _name_stream(stream)
    return cuda.from_cuda_array_interface(description, owner=image, sync=not same)


def describe_image(image: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an object with ``__cuda_array_interface__``."""
    if is_simulated():
        return tuple(image.shape), np.dtype(image.dtype)
    description = image.__cuda_array_interface__
    return tuple(description["shape"]), np.dtype(description["typestr"])


def allocate(shape: tuple[int, ...], dtype: Any, stream: Any) -> Any:
    """Return a new device array, whatever it holds."""
    return cuda.device_array(shape, dtype, stream=stream)


def open_stream(stream: Any) -> Any:
    """Return a stream of numba-cuda for one of any library, or its address; 0 for None, the default stream.

    Streams of torch, of CuPy and of whatever has ``__cuda_stream__`` are known.
    """
    if stream is None or is_simulated():
        return 0
    if hasattr(stream, "__cuda_stream__"):
        _, address = stream.__cuda_stream__()
    else:
        address = getattr(stream, "cuda_stream", getattr(stream, "ptr", stream))
    return cuda.external_stream(address) if isinstance(address, int) and address else address
