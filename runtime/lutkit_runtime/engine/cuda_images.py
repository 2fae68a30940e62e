"""Models on images that lie on the GPU: in and out without a copy to this machine's memory. Imports the CUDA kernels.

An image is whatever has ``__cuda_array_interface__``, such as a torch tensor or a CuPy array, with any strides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import Place
from lutkit_runtime.engine.colour_path import Pictures
from lutkit_runtime.engine.conversion import check_depth, check_layout, check_result, scale_alpha
from lutkit_runtime.engine.cuda_planes import ChannelsOnDevice
from lutkit_runtime.engine.tiling import Span, cut_image
from lutkit_runtime.errors import InputError
from lutkit_runtime.kernels.cuda.device import is_device_array
from lutkit_runtime.kernels.cuda.images import READERS, WRITERS, copy_channels, find_faults
from lutkit_runtime.kernels.cuda.memory import (
    Picture,
    Planes,
    Session,
    allocate,
    copy_to_host,
    describe_image,
    is_read_only,
    may_overlap,
    open_stream,
    upload,
    view_image,
)

if TYPE_CHECKING:
    from lutkit_runtime.engine.cuda_colours import ColoursOnDevice

DeviceImage = Any
"""A device array of numba-cuda, (H, W, channels), any strides."""

Progress = Callable[[int, int], None]

MOST_PIXELS = 1 << 28
"""That a kernel for colours is given at once: the numbers of their samples are int32."""


class ResultOnDevice:
    """Where the result of an image on the GPU goes, and the stream on which it is made.

    Parameters
    ----------
    image : object with ``__cuda_array_interface__``
        What is given.
    scale : int
    out : object with ``__cuda_array_interface__``, optional
        What is to be filled; made anew by default.
    stream : stream, or its address, optional
        On which the kernels are launched; by default that which is current in the library that `image` is of, if it is
        torch or CuPy, else the default stream.

    Raises
    ------
    InputError
        Where image or `out` cannot be used.
    """

    def __init__(self, image: Any, scale: int, out: Any = None, stream: Any = None) -> None:
        self.stream = open_stream(_find_stream(image) if stream is None else stream)
        given, dtype = describe_image(image)
        check_layout(given, dtype)
        _check_order(dtype, "image")
        height, width, *channels = given
        shape = (height * scale, width * scale, *channels)
        if out is None:
            made = allocate(shape, dtype, self.stream)
        elif is_device_array(out):
            made = out
            check_result(describe_image(out), (shape, dtype))
            if is_read_only(out):
                raise InputError("out is an array that may not be written to; give another one")
            if may_overlap(image, out):
                raise InputError("out overlaps the image; give an array of its own")
        else:
            raise InputError(f"out is of type {type(out).__name__}, but the image lies on the GPU: give an array there")
        self.given, self.made = view_image(image, self.stream), view_image(made, self.stream)
        self.shape = shape
        self.has_alpha = len(shape) == 3 and shape[2] in (2, 4)
        self._image, self._result, self._is_new = image, made, out is None

    @property
    def colours(self) -> int:
        """Number of channels that are not alpha."""
        return self.given.shape[2] - self.has_alpha

    def fill(self, made: NDArray[Any]) -> None:
        """Write a result (H, W, channels) that lies in this machine's memory."""
        height, width = made.shape[:2]
        copy_channels.launch(height * width, self.stream, upload(made, self.stream).reshape(made.shape), 0, self.made)

    def hand_out(self) -> Any:
        """Return the result: `out`, or a torch tensor or CuPy array where the image is one, else a device array."""
        library = _find_library(self._image)
        if not self._is_new or library is None:
            return self._result
        if library.__name__ == "torch":
            return library.as_tensor(self._result, device=self._image.device)
        return library.asarray(self._result)


def _check_order(dtype: np.dtype[Any], name: str) -> None:
    """Raise InputError unless kernels can read samples of a type; `name` says whose they are."""
    if not dtype.isnative:
        raise InputError(f"{name} has samples of type {dtype}, whose bytes GPUs read the other way round: swap them")


def _find_library(image: Any) -> Any:
    """Return torch or CuPy where the image is of it: whoever made it has imported it."""
    name = type(image).__module__.partition(".")[0]
    return sys.modules.get(name) if name in ("torch", "cupy") else None


def use_gpu_of(image: Any) -> AbstractContextManager[Any]:
    """Return a context in which the GPU is current on which a torch tensor or CuPy array lies; else nothing changes."""
    library = _find_library(image)
    if library is None:
        return nullcontext()
    return library.cuda.device(image.device) if library.__name__ == "torch" else image.device


def _find_stream(image: Any) -> Any:
    """Return the current stream of the library that an image is of, or None."""
    library = _find_library(image)
    if library is None:
        return None
    if library.__name__ == "torch":
        return library.cuda.current_stream(image.device)
    return library.cuda.get_current_stream()


def apply_channels(
    runner: ChannelsOnDevice,
    result: ResultOnDevice,
    scale: int,
    halo: int,
    tile: int | None,
    pixels: int,
    progress: Progress | None,
) -> None:
    """Run a program for each channel on an image on the GPU, tile by tile.

    Raises InputError where a sample is not a finite number, which is looked for in images of floats only, because it
    waits for the GPU.
    """
    given, made, stream = result.given, result.made, result.stream
    height, width = given.shape[:2]
    depth = str(given.dtype)
    if depth == "float32":
        _refuse_faults(given, stream)
    tiles = cut_image(height, width, halo, tile, pixels)
    for done, (rows, columns) in enumerate(tiles, 1):
        with runner.pool.session(stream) as session:
            planes = _read_planes(session, given, result.colours, rows, columns)
            _write_planes(session, runner.program.run(session, planes), made, rows, columns, scale)
        if progress is not None:
            progress(done, len(tiles))
    if result.has_alpha:
        _scale_alpha(result, scale)


def _read_planes(session: Session, image: DeviceImage, colours: int, rows: Span, columns: Span) -> Planes:
    height, width = rows.last - rows.first, columns.last - columns.first
    planes = session.empty_planes(colours, 1, height, width, np.uint8)
    reader = READERS[str(image.dtype)]
    reader.launch(planes.size, session.stream, image, rows.first, columns.first, height, width, planes.flat)
    return planes


def _write_planes(session: Session, planes: Planes, image: DeviceImage, rows: Span, columns: Span, scale: int) -> None:
    kept = rows.kept(scale), columns.kept(scale)
    height, width = (span.stop - span.start for span in kept)
    WRITERS[str(image.dtype)].launch(
        planes.count * height * width,
        session.stream,
        planes.flat,
        planes.height,
        planes.width,
        kept[0].start,
        kept[1].start,
        height,
        width,
        rows.written(scale).start,
        columns.written(scale).start,
        image,
    )


def _refuse_faults(image: DeviceImage, stream: Any) -> None:
    faults = upload(np.zeros(1, np.int32), stream)
    find_faults.launch(image.shape[0] * image.shape[1], stream, image, faults)
    if copy_to_host(faults, stream)[0]:
        raise InputError("image has samples that are not finite numbers; replace them first")


def _scale_alpha(result: ResultOnDevice, scale: int) -> None:
    """Enlarge alpha as for other images: in this machine's memory, because OpenCV does it."""
    alpha = result.given.shape[2] - 1
    height, width = result.made.shape[:2]
    if scale == 1:
        copy_channels.launch(height * width, result.stream, result.given, alpha, result.made)
        return
    small = download_image(result.given, result.stream)
    large = np.zeros((height, width, alpha + 1), small.dtype)
    scale_alpha(small, scale, large)
    enlarged = upload(large, result.stream).reshape(large.shape)
    copy_channels.launch(height * width, result.stream, enlarged, alpha, result.made)


def apply_colours(
    runner: ColoursOnDevice, result: ResultOnDevice, pictures: Pictures, parameters: Mapping[str, float]
) -> None:
    """Run a program for colours on an image on the GPU; `pictures` are what its networks see first."""
    pixels, stream = result.given.shape[0] * result.given.shape[1], result.stream
    run = runner.prepare_on_device(pictures, parameters)
    with runner.pool.session(stream) as session:
        given, made = (_lie_dense(session, image) for image in (result.given, result.made))
        if given is not result.given:
            copy_channels.launch(pixels, stream, result.given, 0, given)
        top = 0
        for strip, target in zip(_cut_strips(given), _cut_strips(made), strict=True):
            with runner.pool.session(stream) as room:
                run(room, strip, Place(top, 0, *result.given.shape[:2]), target)
            top += strip.height
        if made is not result.made:
            copy_channels.launch(pixels, stream, made, 0, result.made)


def _cut_strips(image: DeviceImage) -> Iterator[Picture]:
    """Yield an image in C order as pictures of as many rows as a kernel can be given."""
    height, width, channels = image.shape
    flat = image.reshape(-1)
    rows = 4 * max(1, MOST_PIXELS // (4 * width))  # so that four samples of the next strip can be read at once
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        part = flat if height <= rows else flat[top * width * channels : bottom * width * channels]
        yield Picture(part, bottom - top, width, channels)


def download_image(image: DeviceImage, stream: Any) -> NDArray[Any]:
    """Return an image of any strides as it is once all work before on the stream is done."""
    dense = image
    if not image.is_c_contiguous():
        dense = allocate(tuple(image.shape), image.dtype, stream)
        copy_channels.launch(image.shape[0] * image.shape[1], stream, image, 0, dense)
    return copy_to_host(dense, stream)


def download_companion(name: str, picture: Any, stream: Any) -> Any:
    """Return what stands beside an image, under a name, in this machine's memory; what is not on the GPU as it is.

    Raises InputError where its samples or its shape are of no picture.
    """
    if not is_device_array(picture):
        return picture
    shape, dtype = describe_image(picture)
    check_depth(dtype, name)
    _check_order(dtype, name)
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"{name} has shape {shape}; use (H, W) or (H, W, channels)")
    return download_image(view_image(picture, stream), stream).reshape(shape)


def _lie_dense(session: Session, image: DeviceImage) -> DeviceImage:
    """Return an image in C order: the image itself, or room for one."""
    if image.is_c_contiguous():
        return image
    room = session.empty(image.size, image.dtype)
    return room[: image.size].reshape(image.shape)
