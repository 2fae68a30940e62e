"""Reading a foreign file whole, within a limit. Imports the runtime's errors only."""

from __future__ import annotations

from pathlib import Path

from lutkit_runtime.errors import FormatError


def check_file(path: Path | str, limit: int) -> Path:
    """Return the path of an ordinary file of at most `limit` bytes; raises FormatError where it is something else."""
    path = Path(path)
    try:
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "is no ordinary file" if path.exists() else "does not exist"
            raise FormatError(f"{path} {kind}: name a colour LUT file")
        size = path.stat().st_size
    except (OSError, ValueError) as problem:
        raise _unreadable(path, problem) from None
    if size > limit:
        raise FormatError(f"{path} has {size} bytes; at most {limit} are read: make its LUT smaller")
    return path


def read_file(path: Path | str, limit: int) -> bytes:
    """Return the bytes of an ordinary file of at most `limit` bytes; raises FormatError where it cannot be read."""
    path = check_file(path, limit)
    try:
        with path.open("rb") as stream:
            return stream.read(limit)
    except OSError as problem:
        raise _unreadable(path, problem) from None


def _unreadable(path: Path, problem: OSError | ValueError) -> FormatError:
    if isinstance(problem, OSError):
        reason = problem.strerror or type(problem).__name__
        return FormatError(f"cannot read {path} ({reason}): check the name and the permissions")
    return FormatError(f"cannot read {str(path)!r}: this is no file name")
