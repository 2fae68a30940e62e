"""Writing files so that a reader meets the old one, the new one or none, never a part. Floor 1: imports only errors."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from pathlib import Path

from lutkit_runtime.errors import LutkitError


def write_atomically(
    path: Path | str, data: bytes, *, overwrite: bool = False, error: type[LutkitError] = LutkitError
) -> None:
    """Write one file completely or not at all.

    The bytes go to a temporary file in the same folder and are flushed to the disk; the file takes its name last.
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
    with _translated(path, error):
        path = _check_target(Path(path), overwrite, error)
        with _complete_beside(path, data) as temporary:
            _publish(temporary, path, overwrite=overwrite)
        _flush_folder(path.parent)


def write_all_atomically(
    files: Mapping[Path, bytes], *, overwrite: bool = False, error: type[LutkitError] = LutkitError
) -> None:
    """Write several files, all of them or none; parameters as in `write_atomically`.

    All files lie complete on the disk under temporary names before the first takes its name. If one cannot, those
    before it are put back as they were.
    """
    with contextlib.ExitStack() as cleanup:
        complete: dict[Path, Path] = {}
        for name, data in files.items():
            with _translated(name, error):
                path = _check_target(name, overwrite, error)
                if path in complete:
                    raise error(f"{name} would be written twice: give every file its own name")
                complete[path] = cleanup.enter_context(_complete_beside(path, data))
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


@contextlib.contextmanager
def _translated(path: Path | str, error: type[LutkitError]) -> Generator[None]:
    """Turn what the system refuses into one sentence."""
    try:
        yield
    except FileExistsError:
        raise error(f"{path} exists already: choose another name or allow overwriting with -y") from None
    except OSError as problem:
        raise error(f"cannot write {path} ({problem.strerror or problem}): check the folder and the disk") from None
    except ValueError:  # a null byte in the name
        raise error(f"cannot write {str(path)!r}: this is no file name") from None


def _check_target(path: Path, overwrite: bool, error: type[LutkitError]) -> Path:
    """Return the path with links followed, when a file can be made there."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise error(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise error(f"cannot write {path}: there is no folder {path.parent}; create it first")
    if path.exists():
        if not path.is_file():
            raise error(f"{path} is not an ordinary file: choose another name")
        if not overwrite:
            raise FileExistsError
    return path


def _beside(path: Path) -> Path:
    return path.with_name(f".lutkit-{secrets.token_hex(8)}.part")


@contextlib.contextmanager
def _complete_beside(path: Path, data: bytes) -> Generator[Path]:
    """Yield a temporary file beside `path` that holds the data on the disk; remove it where it has not been renamed."""
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        yield temporary
    finally:
        _remove(temporary)


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
