"""PyAV, which decodes and encodes videos, and the error of everything that goes wrong with one."""

from __future__ import annotations

from typing import Any

from lutkit_runtime.errors import LutkitError

_OLDEST = 18
"""Major version of PyAV, the first that hands rounding to swscale and colour tags to frames; as the extra says."""


class VideoError(LutkitError):
    """A video cannot be read or written."""


def import_av() -> Any:
    """Return the module `av`.

    Raises
    ------
    VideoError
        Where PyAV is not installed or too old, with the line that installs it.
    """
    try:
        import av
    except ModuleNotFoundError as problem:
        if problem.name != "av":
            raise
        raise VideoError("videos need PyAV: run pip install 'lutkit[video]'") from None
    if int(av.__version__.partition(".")[0]) < _OLDEST:
        raise VideoError(f"videos need PyAV {_OLDEST}, not {av.__version__}: run pip install -U 'lutkit[video]'")
    return av


def shorten(problem: BaseException) -> str:
    """Return FFmpeg's words for what went wrong, without error numbers and file names."""
    return str(getattr(problem, "strerror", None) or problem or type(problem).__name__)
