"""Which files are videos, by suffix, and which containers are written. Imports the standard library only.

Which encoders a container takes is in `encoders`.
"""

from __future__ import annotations

from pathlib import PurePath

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Suffixes of videos that can be written, to FFmpeg's name of the container.

AVI is not among them: it keeps no time of a frame, so frames of a variable rate would lose theirs.
"""

VIDEO_SUFFIXES = frozenset(
    {
        *CONTAINERS,
        ".avi",
        ".wmv",
        ".flv",
        ".mpg",
        ".mpeg",
        ".m2v",
        ".mts",
        ".m2ts",
        ".ogv",
        ".3gp",
        ".3g2",
        ".mxf",
        ".vob",
    }
)
"""Suffixes, lower case with their dot, of files that are read as videos."""


def is_video(path: PurePath) -> bool:
    """Tell whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES
