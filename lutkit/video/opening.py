"""Open a video file and choose among its streams. Imports `library`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lutkit.video.library import VideoError, import_av, shorten

_COPIED = ("audio", "subtitle", "attachment")
"""Kinds of streams that are copied; data, such as time codes and telemetry, is tied to what a camera's own file says."""


def open_container(path: Path) -> Any:
    """Return an open container of PyAV.

    Raises
    ------
    VideoError
        Where the file cannot be opened, or is no video as far as its head tells.
    """
    av = import_av()
    try:
        return av.open(str(path))
    except (FileNotFoundError, PermissionError, IsADirectoryError) as problem:
        raise VideoError(f"{path}: {shorten(problem)}; check the name and the permissions") from problem
    except (av.error.FFmpegError, ValueError, OSError) as problem:
        raise VideoError(f"{path}: is no video, or damaged ({shorten(problem)}); check the file") from problem


def choose_stream(container: Any, max_pixels: int) -> Any:
    """Return the video stream to work on: FFmpeg's choice, covers apart.

    Raises
    ------
    VideoError
        Where there is none, it cannot be decoded, or its frames have more pixels than allowed; without the file's name.
    """
    found = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not found:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise VideoError(f"holds no video, only {kinds}; name a video")
    best = container.streams.best("video")
    stream = best if best in found else found[0]
    if stream.codec_context is None:
        raise VideoError("the installed PyAV has no decoder for this video; convert it first")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > max_pixels:
        raise VideoError(f"frames of {width}x{height} are more than {max_pixels} pixels: raise --max-pixels")
    return stream


def sort_streams(container: Any, chosen: Any) -> tuple[list[Any], list[Any]]:
    """Return the streams that are copied as they are, and those that are left out: covers, further videos, data."""
    others = [stream for stream in container.streams if stream.index != chosen.index]
    return [other for other in others if other.type in _COPIED], [
        other for other in others if other.type not in _COPIED
    ]


def _is_cover(stream: Any) -> bool:
    """Tell whether a stream is a picture of a cover rather than a video."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)
