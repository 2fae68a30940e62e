"""Write a video: encode frames at their times, copy packets of other streams. Imports `colours`, `encoders`, `library`.

The file is written under the name it is given; `processing` makes that one temporary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lutkit.video.colours import ColourTags, ToFrames
from lutkit.video.encoders import Choice
from lutkit.video.library import VideoError, import_av, shorten
from lutkit.video.suffixes import CONTAINERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STARTS_FAST = ("mp4", "mov")
_HOLDS_FILES = "matroska"
"""The one container with attachments, such as fonts of subtitles."""


class VideoWriter:
    """Writes one video; a context manager that ends the file where its block ends without an exception.

    Parameters
    ----------
    file : Path
        Where to write.
    target : Path
        What it is to become, whose suffix chooses the container, for messages too.
    choice : Choice
    size : (width, height)
        Of the frames.
    tags : ColourTags
    time_base, rate : Fraction
        Seconds per unit of times; frames per second on average.
    pixel_aspect : Fraction, optional
    threads : int, optional
        For encoding; as many as FFmpeg likes by default.

    Raises
    ------
    VideoError
        Where the encoder refuses the frames.
    """

    def __init__(
        self,
        file: Path,
        target: Path,
        choice: Choice,
        *,
        size: tuple[int, int],
        tags: ColourTags,
        time_base: Fraction,
        rate: Fraction,
        pixel_aspect: Fraction | None,
        threads: int | None = None,
    ) -> None:
        av = import_av()
        self._target = target
        self._choice = choice
        self._size = size
        self._time_base = time_base
        self._errors = (av.error.FFmpegError, ValueError)
        container = CONTAINERS[target.suffix.lower()]
        # The index comes first, so that players on the web begin before the whole file is there.
        options = {"movflags": "+faststart"} if container in _STARTS_FAST else {}
        self._container: Any = av.open(str(file), "w", format=container, container_options=options)
        self._streams: dict[int, Any] = {}
        self._stream: Any = self._container.add_stream(choice.encoder.name, rate=rate)
        self._stream.time_base = time_base
        context = self._stream.codec_context
        context.time_base = time_base
        context.width, context.height = size
        context.pix_fmt = choice.pixel_format
        context.options = dict(choice.options)
        context.colorspace, context.color_range = tags.matrix, tags.extent
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        context.flags |= _flag_of_durations()
        if pixel_aspect is not None:
            context.sample_aspect_ratio = pixel_aspect
        if threads is not None:
            context.thread_count = threads
        self._to_frames = ToFrames(tags, choice.pixel_format)

    def __enter__(self) -> VideoWriter:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the file; after an exception it is only closed, since it will be thrown away."""
        if kind is None:
            self._guard(self._finish)
            return
        with contextlib.suppress(*self._errors):  # what went wrong before is what counts
            self._container.close()

    def describe(self, metadata: Mapping[str, str], of_video: Mapping[str, str]) -> None:
        """Take over title, language and the like."""
        self._container.metadata.update(metadata)
        self._stream.metadata.update(of_video)

    def copy(self, streams: Sequence[Any]) -> tuple[str, ...]:
        """Make a place for streams whose packets will be copied; returns a note for each that the container refuses."""
        notes: list[str] = []
        for stream in streams:
            twin = self._add_twin(stream)
            if twin is None:
                kind = f" of the kind {stream.codec_context.name}" if stream.codec_context else ""
                notes.append(f"{self._target.suffix} files take no {stream.type}{kind}; it is left out")
                continue
            twin.metadata.update(stream.metadata)
            twin.disposition = stream.disposition
            self._streams[stream.index] = twin
        return tuple(notes)

    def _add_twin(self, stream: Any) -> Any:
        if stream.codec_context is None and self._container.format.name != _HOLDS_FILES:
            return None  # PyAV asks a container about codecs only
        try:
            return self._container.add_stream_from_template(stream)
        except self._errors:
            return None

    def add_packets(self, packets: Sequence[Any]) -> None:
        """Copy packets of streams that have a place."""
        for packet in packets:
            twin = self._streams.get(packet.stream.index)
            if twin is not None:
                packet.stream = twin
                self._guard(self._container.mux, packet)

    def add_frame(self, pixels: NDArray[Any], time: int, duration: int) -> None:
        """Encode a frame.

        Parameters
        ----------
        pixels : uint8 or uint16, (H, W, 3) or (H, W, 4)
        time, duration : int
            In units of the time base; duration 0 where it is not known.

        Raises
        ------
        VideoError
            Where the encoder or the container refuses it.
        """
        frame = self._to_frames.convert(pixels)
        frame.pts, frame.time_base, frame.duration = time, self._time_base, duration
        self._guard(self._encode, frame)

    def _encode(self, frame: Any) -> None:
        self._container.mux(self._stream.encode(frame))

    def _finish(self) -> None:
        self._encode(None)
        self._container.close()

    def _guard(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except self._errors as problem:
            if isinstance(problem, OSError) and problem.errno in _SYSTEM_ERRORS:
                raise
            width, height = self._size
            raise VideoError(
                f"{self._target}: {self._choice.encoder.name} cannot write {width}x{height} frames "
                f"({shorten(problem)}); try another --codec or suffix"
            ) from problem


def _flag_of_durations() -> int:
    """Return the flag that hands durations of frames through the encoder, so that the last one has its own too."""
    from av.codec.context import Flags

    return int(Flags.frame_duration)


def _list_system_errors() -> frozenset[int]:
    import errno

    return frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EROFS})


_SYSTEM_ERRORS = _list_system_errors()
"""Errors that speak of the disk and not of the encoder."""
