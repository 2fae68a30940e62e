"""Make files that appear whole or not at all. Imports the standard library only."""

from __future__ import annotations

import contextlib
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lutkit_runtime.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_place(path: Path, overwrite: bool) -> None:
    """Raise ImageError unless a file can be made at this path: its folder is there, and no file, or one to overwrite.

    Raises
    ------
    ImageError
        In one line: what is in the way, and what to do about it.
    """
    try:
        os.path.realpath(path)  # raises ValueError for a path that no system call takes
        folder = path.parent
        if not folder.exists():
            raise ImageError(f"{path}: the folder {folder} does not exist; make it, or choose another output")
        if not folder.is_dir():
            raise ImageError(f"{path}: {folder} is a file, not a folder; choose another output")
        if path.is_dir():
            raise ImageError(f"{path}: is a folder; give a file name in it")
        if path.exists() and not path.is_file():
            raise ImageError(f"{path}: is a device or pipe, not a file; choose another output")
        if os.path.lexists(path) and not overwrite:
            raise _exists(path)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ImageError(f"{path}: the folder {folder} is not writable; change its permissions, or choose another")
    except (OSError, ValueError) as error:
        raise explain(path, error) from error


@contextmanager
def new_file(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """Give a stream to write and read, whose content becomes the file when the body ends without an error.

    It is a temporary file in the same folder until then; an error or interrupt removes it. Where `overwrite` is False,
    a file that appeared meanwhile is kept and ImageError raised. A link is followed, so that it stays one.

    Raises
    ------
    ImageError
        The file cannot be made or written (such as a full disk), or appeared meanwhile.
    """
    check_place(path, overwrite)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".lutkit-{secrets.token_hex(6)}.part")
    try:
        # Mode "x" makes the file with the permissions that new files have here; tempfile would make it private.
        with temporary.open("x+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _publish(temporary, target, overwrite)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise explain(path, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _publish(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # fails where the target exists, which a rename does not
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: reserve the name, then rename over it
        with target.open("xb"):
            pass
        temporary.replace(target)


def _exists(path: Path) -> ImageError:
    return ImageError(f"{path}: exists already; give -y to overwrite it, or choose another output")


def explain(path: Path, error: Exception) -> ImageError:
    """Return the error of an operating system as ImageError."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return ImageError(f"{path}: cannot be written: {reason}; free space, change permissions, or choose another output")
