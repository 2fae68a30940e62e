"""Writing files so that a reader meets the old one, the new one or none, never a part. Floor 1: imports only errors."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from lutkit_runtime.errors import LutkitError


def write_atomically(
    path: Path | str, data: bytes, *, overwrite: bool = False, error: type[LutkitError] = LutkitError
) -> None:
    """Write one file completely or not at all.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and the file takes its name last.
    Nothing is left behind on any exception, KeyboardInterrupt included.

    Parameters
    ----------
    path : Path or str
        A symbolic link is followed, so that the link stays.
    data : bytes
    overwrite : bool
        Replace a file that exists; its permissions are kept.
    error : subclass of LutkitError
        Raised where the file exists and `overwrite` is not set, or the system refuses.
    """
    write_all_atomically({Path(path): data}, overwrite=overwrite, error=error)


def write_all_atomically(
    files: Mapping[Path, bytes], *, overwrite: bool = False, error: type[LutkitError] = LutkitError
) -> None:
    """Write several files, all of them or none; parameters as in `write_atomically`.

    All files lie complete on the disk under temporary names before the first takes its name; if one cannot, those
    that did are put back as they were.
    """
    targets = {Path(os.path.realpath(path)): data for path, data in files.items()}
    temporary: dict[Path, Path] = {}
    saved: dict[Path, Path | None] = {}
    path = Path()
    try:
        for path in targets:
            _check_target(path, overwrite, error)
        for path, data in targets.items():
            temporary[path] = _temporary_beside(path)
            _write_through(temporary[path], data)
            if overwrite and path.exists():
                shutil.copymode(path, temporary[path])
        for path in targets:
            # A single replacement is atomic by itself; only a group needs the old files to go back to.
            if overwrite and len(targets) > 1 and path.exists():
                saved[path] = _temporary_beside(path)
                path.replace(saved[path] or path)
            else:
                saved[path] = None
            try:
                _publish(temporary[path], path, overwrite=overwrite)
            except BaseException:
                _restore({path: saved.pop(path)}, published=False)
                raise
        for folder in {path.parent for path in targets}:
            _flush_folder(folder)
    except BaseException as problem:
        _restore(saved, published=True)
        if isinstance(problem, FileExistsError):
            raise error(f"{path} exists already: choose another name or allow overwriting with -y") from None
        if isinstance(problem, OSError):
            raise error(f"cannot write {path} ({problem.strerror or problem}): check the folder and the disk") from None
        raise
    else:
        for old in saved.values():
            if old is not None:
                old.unlink(missing_ok=True)
    finally:
        for leftover in temporary.values():
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def _check_target(path: Path, overwrite: bool, error: type[LutkitError]) -> None:
    if path.is_dir():
        raise error(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise error(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    if path.exists():
        if not path.is_file():
            raise error(f"{path} is not an ordinary file: choose another name")
        if not overwrite:
            raise FileExistsError


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".lutkit-{secrets.token_hex(8)}.part")


def _write_through(path: Path, data: bytes) -> None:
    """Create a file, with the permissions that the umask leaves, and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete file its name; raise FileExistsError rather than replace, unless `overwrite`."""
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # the one call that refuses an existing name on every POSIX system
    except FileExistsError:
        raise
    except OSError:
        # File systems without hard links: an empty file reserves the name first.
        path.open("xb").close()
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _restore(saved: Mapping[Path, Path | None], *, published: bool) -> None:
    """Put files back as they were: `saved` maps each to its old content, or None where there was no file."""
    for path, old in saved.items():
        with contextlib.suppress(OSError):
            if old is not None:
                old.replace(path)
            elif published:
                path.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make the new names durable where the system can (not on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
