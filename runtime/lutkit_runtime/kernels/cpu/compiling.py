# pyright: basic, reportAttributeAccessIssue=false
"""How kernels are compiled, cached and run: the one place that touches Numba's settings. Imports nothing of ours."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
import platformdirs
from numba.core import config, event
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])

_RUNNING = threading.RLock()


UNUSED_SECONDS = 7 * 24 * 3600
"""Kernels of other sources are removed when no process has started with them for so long: one may still run."""


@functools.cache
def digest_sources(backend: str = "cpu") -> str:
    """Return the name of the folder for kernels of these sources, 16 hexadecimal digits.

    Numba compiles a kernel anew when the kernel's own file changes, but not when a function of another file does that
    it has inlined. So all files of the backend's folder and of the folder above count, and the package's own,
    which holds the version.

    Parameters
    ----------
    backend : str
        ``cpu`` or ``cuda``.
    """
    kernels = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in (
        kernels.parent / "__init__.py",
        *sorted((kernels / backend).glob("*.py")),
        *sorted(kernels.glob("*.py")),
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def find_cache_folder(backend: str = "cpu") -> Path | None:
    """Return the folder of a backend's compiled kernels, made if need be, or None where none can be trusted.

    Numba's cache files are pickles: whoever can write them can run code as the user. So the folder must belong to the
    user and be closed to everybody else. Making a new one removes those of other sources that are out of use.
    """
    home = Path(platformdirs.user_cache_dir("lutkit", appauthor=False)) / "numba"
    try:
        folder = home / digest_sources(backend)
        is_new = not folder.exists()
        for place in (home, folder):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.name == "posix":
                if place.stat().st_uid != os.getuid():
                    return None
                place.chmod(0o700)
        os.utime(folder)
        if is_new:
            _remove_unused(home)
        return folder if os.access(folder, os.W_OK | os.X_OK) else None
    except OSError:
        return None


def _remove_unused(home: Path) -> None:
    limit = time.time() - UNUSED_SECONDS
    for folder in home.iterdir():
        if folder.stat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)


def choose_cache_folder(backend: str = "cpu") -> Path | None:
    """Return the folder in which kernels are cached: the user's choice, `find_cache_folder`'s, or None for nowhere."""
    chosen: str = config.CACHE_DIR
    return Path(chosen) / f"lutkit-{digest_sources(backend)}" if chosen else find_cache_folder(backend)


def compile_kernel(**options: Any) -> Callable[[Function], Function]:
    """Decorate a kernel: ``numba.njit`` with the project's options, cached in the user's own folder.

    The folder is set only while the decorator runs, because Numba's setting also decides where other packages'
    functions are cached. Where the user has set NUMBA_CACHE_DIR, the kernels lie in a folder of their own below it.

    Parameters
    ----------
    **options
        Further options of ``numba.njit``, such as ``parallel``.
    """

    def decorate(function: Function) -> Function:
        chosen: str = config.CACHE_DIR
        folder = choose_cache_folder()
        try:
            config.CACHE_DIR = str(folder or "")
            kernel: Any = numba.njit(
                function, cache=folder is not None, nogil=True, boundscheck=False, error_model="numpy", **options
            )
            return kernel
        finally:
            config.CACHE_DIR = chosen

    return decorate


def pass_as_writable(flat: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous array of one dimension as one that counts as writable, over the same memory.

    For kernels that only read it: whether an array may be written is part of its type, and what Pillow gives away may
    not, so every kernel would be compiled a second time for such pictures.
    """
    if flat.flags.writeable:
        return flat
    memory: Any = (ctypes.c_char * flat.nbytes).from_address(flat.ctypes.data)
    memory.owner = flat  # lives as long as the result
    return np.frombuffer(memory, flat.dtype)


def count_threads(threads: int | None) -> int:
    """Return how many threads a kernel may use: `threads`, or all, within 1 and what Numba was started with."""
    most: int = config.NUMBA_NUM_THREADS
    return max(1, min(most if threads is None else threads, most))


@contextmanager
def limit_threads(threads: int | None) -> Iterator[int]:
    """Let kernels inside the block use at most `threads` threads; yields the number.

    Only one such block runs at a time in a process: some of Numba's threading layers end the process when two Python
    threads start parallel kernels at once.
    """
    with _RUNNING:
        before: int = numba.get_num_threads()
        wanted = before if threads is None else count_threads(threads)
        numba.set_num_threads(wanted)
        try:
            yield wanted
        finally:
            numba.set_num_threads(before)


class _FirstCompilation(event.Listener):
    """Calls back once, at the first kernel that is compiled rather than loaded."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def on_start(self, event: Any) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def announce_compilation(callback: Callable[[], None] | None) -> Iterator[None]:
    """Call `callback` once, before the first kernel inside the block that has to be compiled (seconds); None: never."""
    if callback is None:
        yield
        return
    with event.install_listener("numba:compile", _FirstCompilation(callback)):
        yield
