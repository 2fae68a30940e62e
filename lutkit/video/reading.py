"""Read a video: frames as arrays, upright, with their times, and the packets of the streams that are copied.

Imports `colours`, `library`, `opening` and `probing`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lutkit.video.colours import ToPixels
from lutkit.video.library import VideoError, import_av, shorten
from lutkit.video.opening import choose_stream, open_container, sort_streams
from lutkit.video.probing import VideoFacts, describe_video

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_PACKETS = 256
"""Packets that are handed on together at most: streams may go on for long where no frame comes."""


_TOLERANCE = Fraction(1, 2)
"""Seconds by which a file may be shorter than it says."""


@dataclass(frozen=True)
class Cut:
    """Which frames are taken.

    Parameters
    ----------
    start : float, optional
        Seconds; the first frame shown then or later becomes the first, at time 0.
    frames : int, optional
        How many at most.
    """

    start: float | None = None
    frames: int | None = None


@dataclass(frozen=True)
class VideoFrame:
    """A decoded frame.

    Parameters
    ----------
    pixels : uint8 or uint16, (H, W, 3) or (H, W, 4)
    time, duration : int
        When it is shown and for how long (0 where the file does not say), in units of the time base.
    """

    pixels: NDArray[Any]
    time: int
    duration: int


@dataclass(frozen=True)
class Step:
    """What comes next in a file: packets to copy, then at most one frame."""

    packets: Sequence[Any]
    frame: VideoFrame | None


class VideoReader:
    """Reads one video; a context manager. Steps may be taken in another thread than the one that closes it.

    Parameters
    ----------
    path : Path
    max_pixels : int
        Frames with more are refused before they are decoded.
    deep : bool
        Whether frames have 16 bits where the video has more than 8.
    cut : Cut
    threads : int, optional
        For decoding; as many as FFmpeg likes by default.

    Raises
    ------
    VideoError
        Where the file is no video, is damaged, or has no frames.
    """

    def __init__(self, path: Path, *, max_pixels: int, deep: bool, cut: Cut, threads: int | None = None) -> None:
        self._path = path
        self._cut = cut
        self._busy = threading.Lock()
        av = import_av()
        self._errors = (av.error.FFmpegError, ValueError, OSError)
        self._container = open_container(path)
        try:
            self._stream = choose_stream(self._container, max_pixels)
            self._stream.thread_type = "AUTO"
            if threads is not None:
                self._stream.codec_context.thread_count = threads
            self.copied, self.left_out = sort_streams(self._container, self._stream)
            self._opens = Fraction(self._container.start_time or 0, 1_000_000)
            self._taken = 0
            self._last: int | None = None
            self._walk = self._decode()
            self._waiting, first = self._find_first()
            self._begin = self._time_of(first)
            self._size = (first.width, first.height)
            duration = self._container.duration
            facts = describe_video(self._stream, first, Fraction(duration, av.time_base) if duration else None)
            self.facts: VideoFacts = replace(facts, frames=self._count(facts))
            self.is_deep = deep and facts.depth > 8
            self._to_pixels = ToPixels(facts.tags, deep=self.is_deep, alpha=facts.alpha)
            self._first = first
        except VideoError as problem:
            self._container.close()
            raise problem if str(path) in str(problem) else VideoError(f"{path}: {problem}") from None
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> VideoReader:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, once a step that is being taken is over."""
        with self._busy:
            self._container.close()

    @property
    def shift(self) -> Fraction:
        """Seconds that times are moved by, so that a cut begins at 0; times of a whole file stay."""
        return self._begin * self._stream.time_base if self._cut.start is not None else Fraction(0)

    @property
    def container(self) -> Any:
        """The open file, for its title and other metadata."""
        return self._container

    @property
    def stream(self) -> Any:
        """The video stream, for its metadata."""
        return self._stream

    def steps(self) -> Iterator[Step]:
        """Yield everything in the order of the file, once.

        Raises
        ------
        VideoError
            Where the file is damaged, with the number of frames that came before.
        """
        walk = self._steps()
        while True:
            with self._busy:
                step = next(walk, None)
            if step is None:
                return
            yield step

    def _steps(self) -> Generator[Step, None, None]:
        limit = self._cut.frames
        frame: Any = self._first
        waiting = self._waiting
        walk = self._walk
        del self._first, self._waiting, self._walk
        while True:
            taken = self._take(frame)
            yield Step(self._release(waiting, taken.time), taken)
            if self._taken == limit:
                break
            frame = None
            for packet, frame in walk:
                if packet is not None:
                    waiting.append(packet)
                    if limit is None and len(waiting) >= _MOST_PACKETS:
                        yield Step(self._release(waiting, None), None)
                if frame is not None:
                    break
            if frame is None:
                yield Step(self._release(waiting, None), None)
                return
        yield from self._finish(walk, waiting, taken)

    def _finish(self, walk: Iterator[tuple[Any, Any]], waiting: list[Any], last: VideoFrame) -> Iterator[Step]:
        """Yield what belongs to the frames that were taken and comes after them in the file."""
        base = self._stream.time_base
        length = last.duration * base or 1 / self.facts.rate
        end = (last.time * base) + length + self.shift
        with contextlib.suppress(VideoError):  # damage that comes after what was asked for
            for packet, frame in walk:
                # Streams are interleaved to within a second.
                if frame is not None and self._time_of(frame) * base > end + 1:
                    break
                if packet is not None and _seconds(packet) < end:
                    waiting.append(packet)
        yield Step(self._release([packet for packet in waiting if _seconds(packet) < end], None), None)

    def _release(self, waiting: list[Any], time: int | None) -> list[Any]:
        """Return the packets that may go on, at the times of the result, and leave the others.

        Where a number of frames is asked for, packets wait for the frame that is shown when they are.
        """
        shift = self.shift
        until = None if time is None or self._cut.frames is None else time * self._stream.time_base + shift
        released: list[Any] = []
        kept: list[Any] = []
        for packet in waiting:
            (released if until is None or _seconds(packet) <= until else kept).append(packet)
        waiting[:] = kept
        if self._cut.start is None:
            return released
        released = [packet for packet in released if _seconds(packet) >= shift]
        for packet in released:
            units = round(shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - units
            packet.dts = None if packet.dts is None else packet.dts - units
        return released

    def _take(self, frame: Any) -> VideoFrame:
        if frame.is_corrupt:
            raise self._explain_damage("the frame is damaged")
        if (frame.width, frame.height) != self._size:
            width, height = self._size
            raise self._explain_damage(f"the size changes from {width}x{height} to {frame.width}x{frame.height}")
        time = self._time_of(frame)
        if self._last is not None and time <= self._last:
            time = self._last + 1  # broken clocks: every frame keeps its place
        self._last = time
        self._taken += 1
        pixels = self.facts.turn.apply(self._to_pixels.convert(frame))
        return VideoFrame(pixels, time - (self._begin if self._cut.start is not None else 0), frame.duration or 0)

    def _time_of(self, frame: Any) -> int:
        """Return when a frame is shown; containers such as AVI know only the order in which frames are decoded."""
        if frame.pts is not None:
            return frame.pts
        if frame.dts is not None:
            return frame.dts
        return 0 if self._last is None else self._last + max(1, frame.duration or 0)

    def _find_first(self) -> tuple[list[Any], Any]:
        """Return the first frame to take, and the packets that came before it."""
        start = self._cut.start
        waiting: list[Any] = []
        begin = Fraction(0)
        if start is not None:
            begin = self._opens + Fraction(start)
            with contextlib.suppress(*self._errors):  # where seeking does not work, reading from the beginning does
                self._container.seek(int(begin * 1_000_000))
        found = False
        for packet, frame in self._walk:
            if packet is not None and (start is None or _seconds(packet) >= begin):
                waiting.append(packet)
            if frame is not None:
                found = True
                if start is None or self._time_of(frame) * self._stream.time_base >= begin:
                    return waiting, frame
        if found:
            raise VideoError(f"{self._path}: ends before --start {start:g}; choose an earlier start")
        raise VideoError(f"{self._path}: holds no frames; check the file")

    def _decode(self) -> Generator[tuple[Any, Any], None, None]:
        """Yield packets to copy and decoded frames, one or the other, in the order of the file."""
        packets = self._container.demux([self._stream, *self.copied])
        read = 0
        end = Fraction(0)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                if packet.is_corrupt:
                    raise self._explain_damage("the file is cut off or damaged")
                if packet.pts is not None or packet.dts is not None:
                    end = max(end, _seconds(packet) + (packet.duration or 0) * packet.time_base)
                    if packet.stream.index != self._stream.index:
                        yield packet, None
                if packet.stream.index != self._stream.index:
                    continue
                read += packet.size > 0
                frames = packet.decode()
            except self._errors as problem:
                if isinstance(problem, EOFError):
                    break
                raise self._explain_damage(shorten(problem)) from problem
            for frame in frames:
                yield None, frame
        self._check_completeness(read, end)

    def _check_completeness(self, read: int, end: Fraction) -> None:
        """Raise VideoError where a file ended before what its header says, which FFmpeg takes for its end.

        MP4 files say how many frames there are, Matroska files how long they are.
        """
        form = self._container.format.name
        promised = self._stream.frames if "mp4" in form and self._cut.start is None else 0
        if read < promised:
            raise self._explain_damage(f"the file is cut off: it holds {read} frames of {promised}")
        length = Fraction(self._container.duration or 0, 1_000_000)
        if "matroska" in form and end - self._opens < length - _TOLERANCE:
            raise self._explain_damage(f"the file is cut off: it holds {float(end):.2f} of {float(length):.2f} seconds")

    def _count(self, facts: VideoFacts) -> int | None:
        if facts.frames is None:
            return self._cut.frames
        skipped = 0 if self._cut.start is None else round(self._cut.start * facts.rate)
        left = max(1, facts.frames - skipped)
        return left if self._cut.frames is None else min(left, self._cut.frames)

    def _explain_damage(self, reason: str) -> VideoError:
        count = self._taken
        if not count:
            return VideoError(f"{self._path}: breaks before the first frame ({reason}); check the file")
        start = "" if self._cut.start is None else f" --start {self._cut.start:g}"
        return VideoError(
            f"{self._path}: breaks after frame {count} ({reason}); nothing is written, but{start} --frames {count} takes "
            "the frames before"
        )


def _seconds(packet: Any) -> Fraction:
    return Fraction(packet.pts if packet.pts is not None else packet.dts) * packet.time_base
