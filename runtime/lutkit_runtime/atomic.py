"""Writing files so that a reader meets the old one, the new one or none, never a part. Floor 1: imports only errors."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import BinaryIO

from lutkit_runtime.errors import LutkitError


@contextlib.contextmanager
def open_atomically(
    path: Path | str, *, overwrite: bool = False, error: type[LutkitError] = LutkitError
) -> Generator[BinaryIO]:
    """Give a stream to write and read, whose content becomes the file when the block ends without an exception.

    Until then it is a temporary file in the same folder; it is flushed to the disk, and takes its name last. Nothing is
    left behind on any exception, KeyboardInterrupt included.

    Parameters
    ----------
    path : Path or str
        A symbolic link is followed, so that the link stays.
    overwrite : bool
        Replace a file that exists; its permissions are kept.
    error : subclass of LutkitError
        Raised where the file exists and `overwrite` is not set, or the system refuses, in the block too.
    """
    target = check_target(path, overwrite=overwrite, error=error)
    with _translated(path, error):
        with _open_beside(target) as (stream, temporary):
            yield stream
            _complete(stream)
            _publish(temporary, target, overwrite=overwrite)
        _flush_folder(target.parent)


def write_atomically(
    path: Path | str, data: bytes, *, overwrite: bool = False, error: type[LutkitError] = LutkitError
) -> None:
    """Write one file completely or not at all; parameters and errors as in `open_atomically`."""
    with open_atomically(path, overwrite=overwrite, error=error) as stream:
        stream.write(data)


def write_all_atomically(
    files: Mapping[Path, bytes], *, overwrite: bool = False, error: type[LutkitError] = LutkitError
) -> None:
    """Write several files, all of them or none; parameters as in `open_atomically`.

    All files lie complete on the disk under temporary names before the first takes its name. If one cannot, those
    before it are put back as they were.
    """
    with contextlib.ExitStack() as cleanup:
        complete: dict[Path, Path] = {}
        for name, data in files.items():
            with _translated(name, error):
                path = check_target(name, overwrite=overwrite, error=error)
                if path in complete:
                    raise error(f"{name} would be written twice: give every file its own name")
                stream, complete[path] = cleanup.enter_context(_open_beside(path))
                stream.write(data)
                _complete(stream)
        with contextlib.ExitStack() as rollback:
            for path, temporary in complete.items():
                with _translated(path, error):
                    if overwrite and path.exists():
                        backup = _beside(path)
                        cleanup.callback(_remove, backup)
                        _duplicate(path, backup)
                        rollback.callback(backup.replace, path)
                    else:
                        rollback.callback(_withdraw, temporary, path)
                    _publish(temporary, path, overwrite=overwrite)
            rollback.pop_all()
        for folder in {path.parent for path in complete}:
            _flush_folder(folder)


def check_target(path: Path | str, *, overwrite: bool = False, error: type[LutkitError] = LutkitError) -> Path:
    """Return the path with links followed, when a file can be made there as far as can be told; writes nothing.

    Parameters and errors as in `open_atomically`.
    """
    path = Path(path)
    with _translated(path, error):
        try:
            target = Path(os.path.realpath(path))
        except ValueError:  # a null byte in the name
            raise error(f"cannot write {str(path)!r}: this is no file name") from None
        if path.is_dir():
            raise error(f"{path} is a folder: name a file in it")
        for folder in (path.parent, target.parent):
            if not folder.is_dir():
                raise error(
                    f"cannot write {path}: {folder} is a file, not a folder; choose another name"
                    if folder.exists()
                    else f"cannot write {path}: there is no folder {folder}; create it first"
                )
        if path.exists() and not path.is_file():
            raise error(f"{path} is a device or pipe, not a file: choose another name")
        if os.path.lexists(path) and not overwrite:
            raise FileExistsError
        folder = target.parent if path.is_symlink() else path.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise error(f"cannot write {path}: the folder {folder} is not writable; change its permissions")
    return target


@contextlib.contextmanager
def _translated(path: Path | str, error: type[LutkitError]) -> Generator[None]:
    """Turn what the system refuses into one sentence."""
    try:
        yield
    except FileExistsError:
        raise error(f"{path} exists already: choose another name or allow overwriting with -y") from None
    except OSError as problem:
        raise error(f"cannot write {path} ({problem.strerror or problem}): check the folder and the disk") from None


def _beside(path: Path) -> Path:
    return path.with_name(f".lutkit-{secrets.token_hex(8)}.part")


@contextlib.contextmanager
def _open_beside(path: Path) -> Generator[tuple[BinaryIO, Path]]:
    """Yield a temporary file beside `path`, open and by name; remove it at the end where it has not been renamed."""
    temporary = _beside(path)
    try:
        # Mode "x" makes the file with the permissions that new files have here; tempfile would make it private.
        with temporary.open("x+b") as stream:
            if path.exists():
                shutil.copymode(path, temporary)  # before the content, which may be private
            yield stream, temporary
    finally:
        _remove(temporary)


def _complete(stream: BinaryIO) -> None:
    """Bring the content to the disk, and close the file: an open one cannot be renamed everywhere."""
    stream.flush()
    os.fsync(stream.fileno())
    stream.close()


def _publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete file its name; raise FileExistsError rather than replace, unless `overwrite`."""
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # the one call that refuses an existing name
    except FileExistsError:
        raise
    except OSError:
        # File systems without hard links: an empty file reserves the name first.
        path.open("xb").close()
        try:
            temporary.replace(path)
        except BaseException:
            _remove(path)
            raise


def _duplicate(path: Path, backup: Path) -> None:
    """Keep what a file holds under a second name, so that the first never vanishes."""
    try:
        os.link(path, backup)
    except OSError:
        shutil.copy2(path, backup)


def _withdraw(temporary: Path, path: Path) -> None:
    """Remove `path` where it is what `temporary` became."""
    with contextlib.suppress(OSError):
        if not temporary.exists() or temporary.samefile(path):
            path.unlink()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _flush_folder(folder: Path) -> None:
    """Make new names durable where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
