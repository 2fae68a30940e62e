# pyright: basic, reportAttributeAccessIssue=false
"""Memory of the GPU: planes, and buffers that are used again. Imports numba-cuda and NumPy."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numba.core import config
from numpy.typing import NDArray

from lutkit_runtime.errors import BackendError, InputError
from lutkit_runtime.kernels.cuda.compiling import check_threads, cuda, find_gpu
from lutkit_runtime.kernels.cuda.device import is_simulated

Made = TypeVar("Made")

Place: TypeAlias = tuple[int, int, int]
"""GPU, stream, and the thread of a stream that is another in every thread."""

LEGACY, PER_THREAD = 1, 2
"""Addresses that stand for the default streams: CU_STREAM_LEGACY and CU_STREAM_PER_THREAD."""

KEPT_BYTES = 1 << 28
"""Up to which nothing that is kept is let go."""

RECENT = 16
"""Runs whose buffers are kept: a picture's last tiles may be smaller than its others."""


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


class PerGpu(Generic[Made]):
    """What is made once for every GPU that is asked for it: memory of one cannot be read by another.

    Parameters
    ----------
    make : callable
        Makes it on the current GPU.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: dict[int, Made] = {}
        self._lock = threading.Lock()

    def get(self) -> Made:
        """Return that of the current GPU."""
        gpu = find_gpu()
        with self._lock:
            if gpu not in self._made:
                self._made[gpu] = self._make()
            return self._made[gpu]


def upload(array: NDArray[Any], stream: Any = 0) -> Any:
    """Return a copy of an array on the GPU, one-dimensional.

    Without a stream it is there when this returns, for every stream. On the default one a copy would only be under way,
    and streams of torch do not wait for that one.
    """
    made = cuda.to_device(np.ascontiguousarray(array).reshape(-1), stream=stream)
    if not stream and not is_simulated():
        cuda.default_stream().synchronize()
    return made


class Pool:
    """Buffers on the GPU that are handed out, taken back and handed out again: allocating one stops the GPU.

    A buffer belongs to one stream, on which work is done in order: so it may be handed out again while kernels that
    use it are still waiting. What recent runs have not used is let go where much is kept: pictures of many sizes.
    """

    def __init__(self) -> None:
        self._free: dict[Place, dict[tuple[str, int], list[_Kept]]] = defaultdict(dict)
        self._runs = 0
        self._lock = threading.Lock()

    @contextmanager
    def session(self, stream: Any) -> Iterator[Session]:
        """Yield what hands out buffers of a stream; they return when the block is left."""
        place = _find_place(stream)
        with self._lock:
            self._runs += 1
            self._forget(place, self._runs - RECENT)
        session = Session(self, stream, place)
        try:
            yield session
        finally:
            session.close()

    def take(self, place: Place, stream: Any, size: int, dtype: Any) -> Any:
        """Return a buffer of at least `size` samples, whatever it holds.

        Raises
        ------
        BackendError
            Where the GPU has no room for it.
        """
        key = (np.dtype(dtype).str, _round_up(size))
        with self._lock:
            free = self._free[place].get(key)
            if free:
                return free.pop().buffer
        try:
            return allocate(key[1], dtype, stream)
        except BackendError:
            with self._lock:
                self._free.clear()
        return allocate(key[1], dtype, stream)

    def give_back(self, place: Place, buffer: Any) -> None:
        """Take a buffer back."""
        with self._lock:
            key = (np.dtype(buffer.dtype).str, buffer.size)
            self._free[place].setdefault(key, []).append(_Kept(buffer, self._runs))

    def _forget(self, place: Place, before: int) -> None:
        """Let go what runs since `before` have not used, where more than `KEPT_BYTES` wait."""
        free = self._free[place]
        if sum(each.size for kept in free.values() for each in kept) > KEPT_BYTES:
            for key, kept in list(free.items()):
                free[key] = [each for each in kept if each.run >= before]


@dataclass(frozen=True)
class _Kept:
    """A buffer, and the run that has used it last."""

    buffer: Any
    run: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.buffer.size * np.dtype(self.buffer.dtype).itemsize


class Session:
    """Buffers of one run.

    Parameters
    ----------
    pool : Pool
    stream : stream
        On which the run's kernels are launched.
    place : tuple
        What its buffers are kept under.
    """

    def __init__(self, pool: Pool, stream: Any, place: Place) -> None:
        self.stream = stream
        self._pool = pool
        self._place = place
        self._taken: list[Any] = []

    @property
    def gpu(self) -> int:
        """Number of the GPU on which the run is."""
        return self._place[0]

    def empty(self, size: int, dtype: Any) -> Any:
        """Return a buffer of at least `size` samples, whatever it holds; it is the run's until the run ends."""
        buffer = self._pool.take(self._place, self.stream, size, dtype)
        self._taken.append(buffer)
        return buffer

    def empty_planes(self, colours: int, channels: int, height: int, width: int, dtype: Any) -> Planes:
        """Return planes whatever they hold.

        Raises
        ------
        BackendError
            Where they have more samples than int32 can number.
        """
        size = colours * channels * height * width
        check_threads(size)
        return Planes(self.empty(size, dtype), colours, channels, height, width)

    def release(self, planes: Planes | Picture) -> None:
        """Give the buffer of planes, or of a picture, back before the run ends."""
        for place, buffer in enumerate(self._taken):
            if buffer is planes.flat:
                self._pool.give_back(self._place, self._taken.pop(place))
                return

    def close(self) -> None:
        """Give the buffers back."""
        for buffer in self._taken:
            self._pool.give_back(self._place, buffer)
        self._taken.clear()


def _name_stream(stream: Any) -> int:
    """Return the address of a stream of numba-cuda; 0 is the default one."""
    handle = getattr(stream, "handle", None)
    return int(getattr(handle, "value", handle) or 0) if handle is not None else 0


def _find_place(stream: Any) -> Place:
    """Return what buffers of a stream are kept under: GPU, stream, and thread where the stream is another in each."""
    name = _name_stream(stream)
    is_of_thread = name == PER_THREAD or (name == 0 and config.CUDA_PER_THREAD_DEFAULT_STREAM)
    return find_gpu(), name, threading.get_ident() if is_of_thread else 0


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
    Raises InputError where it is masked.
    """
    if is_simulated():
        return image if len(image.shape) == 3 else image[:, :, None]
    description = dict(image.__cuda_array_interface__)
    if description.get("mask") is not None:
        raise InputError("image is masked, and models take whole ones: fill it first")
    if len(description["shape"]) == 2:
        strides = description.get("strides")
        description["shape"] = (*description["shape"], 1)
        description["strides"] = strides and (*strides, np.dtype(description["typestr"]).itemsize)
    given, used = description.get("stream"), _name_stream(stream)
    is_default = used == 0 and not config.CUDA_PER_THREAD_DEFAULT_STREAM
    same = given is not None and given == (LEGACY if is_default else used)
    return cuda.from_cuda_array_interface(description, owner=image, sync=not same)


def describe_image(image: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an object with ``__cuda_array_interface__``."""
    if is_simulated():
        return tuple(image.shape), np.dtype(image.dtype)
    description = image.__cuda_array_interface__
    return tuple(description["shape"]), np.dtype(description["typestr"])


def is_read_only(image: Any) -> bool:
    """Whether an object with ``__cuda_array_interface__`` must not be written to."""
    return not is_simulated() and bool(image.__cuda_array_interface__["data"][1])


def may_overlap(one: Any, other: Any) -> bool:
    """Whether the memory between the first and the last byte of two device arrays has a byte in common."""
    (first, last), (start, stop) = _find_bounds(one), _find_bounds(other)
    return first < stop and start < last


def _find_bounds(image: Any) -> tuple[int, int]:
    """Return the addresses of the first byte of an array and of that after its last one."""
    if is_simulated():
        return np.lib.array_utils.byte_bounds(image._ary)
    description = image.__cuda_array_interface__
    shape, size = description["shape"], np.dtype(description["typestr"]).itemsize
    steps = description.get("strides")
    if steps is None:
        return description["data"][0], description["data"][0] + math.prod(shape) * size
    reaches = [(length - 1) * step for length, step in zip(shape, steps, strict=True)]
    start = int(description["data"][0])
    return start + sum(min(0, reach) for reach in reaches), start + sum(max(0, reach) for reach in reaches) + size


def allocate(shape: tuple[int, ...] | int, dtype: Any, stream: Any) -> Any:
    """Return a new device array, whatever it holds.

    Raises
    ------
    BackendError
        Where the GPU has no room for it.
    """
    try:
        return cuda.device_array(shape, dtype, stream=stream)
    except Exception as problem:  # the driver's errors have one class
        if "OUT_OF_MEMORY" not in str(problem):
            raise
        megabytes = np.prod(shape, dtype=float) * np.dtype(dtype).itemsize / 1e6
        raise BackendError(
            f"the GPU has no {megabytes:.0f} MB left: use a smaller tile, end what else runs there, or use the backend cpu"
        ) from problem


def open_stream(stream: Any) -> Any:
    """Return a stream of numba-cuda for one of any library, or its address; 0 for None, the default stream.

    Streams of torch, of CuPy and of whatever has ``__cuda_stream__`` are known. Raises InputError for anything else.
    """
    if stream is None or is_simulated():
        return 0
    if hasattr(stream, "__cuda_stream__"):
        _, address = stream.__cuda_stream__()
    else:
        address = getattr(stream, "cuda_stream", getattr(stream, "ptr", stream))
    if not isinstance(address, int) or isinstance(address, bool) or address < 0:
        raise InputError(f"stream is {stream!r}; give a CUDA stream of torch, CuPy or numba-cuda, or its address")
    return cuda.external_stream(int(address)) if address else 0
