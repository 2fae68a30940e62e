# pyright: basic, reportAttributeAccessIssue=false
"""How CUDA kernels are declared, compiled and launched. Imports numba-cuda.

A kernel is declared with the types of its arguments, so that a machine without a GPU can compile it to PTX as well. What
a kernel is launched with are device arrays of one dimension, and integers.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from numba.core import config

from lutkit_runtime.errors import BackendError
from lutkit_runtime.kernels.cpu.compiling import choose_cache_folder
from lutkit_runtime.kernels.cuda.device import is_simulated

cuda: Any = importlib.import_module("numba.cuda")
"""numba-cuda, or its simulator; without the types that its stubs lack."""

BLOCK = 128
"""Threads of a block."""

SIMULATED_BLOCK = 16
"""The simulator starts a Python thread for every thread of a block, also for those that have nothing to do."""

MOST_THREADS = (1 << 31) - BLOCK
"""Threads of a launch: their numbers are int32, also of those in the last block that have nothing to do."""

_SETTING = threading.RLock()
"""Numba's settings belong to the process: one thread at a time sets them and puts them back."""


def find_gpu() -> int:
    """Return the number of the GPU that is current in this thread, as CUDA and so torch and CuPy have it."""
    return 0 if is_simulated() else int(cuda.get_current_device().id)


@dataclass(frozen=True)
class Kernel:
    """A kernel and the types that it is compiled for.

    Parameters
    ----------
    name : str
        For people.
    function : callable
        What Numba compiles; thread i of a launch over `count` does the i-th piece of the work, if i is below `count`.
    signatures : tuple of str
        Types of the arguments, of which the first is always `count`.
    """

    name: str
    function: Callable[..., None]
    signatures: tuple[str, ...]
    _compiled: dict[int, Any] = field(default_factory=dict[int, Any], repr=False)

    def compile(self) -> Any:
        """Return what can be launched on the current GPU; compiled on the first call, or loaded from the user's cache.

        Raises
        ------
        BackendError
            Where the toolkit cannot make it, or the driver not take it: they do not fit the GPU, or each other.
        """
        gpu = find_gpu()  # one may not understand the code for another
        if gpu not in self._compiled:
            with _SETTING:
                if gpu not in self._compiled:
                    self._compiled[gpu] = _compile(self.function, self.signatures)
        return self._compiled[gpu]

    def launch(self, count: int, stream: Any, *arguments: Any) -> None:
        """Start `count` threads on a stream; returns before they are done.

        Raises
        ------
        BackendError
            Where there are more threads than numbers for them.
        """
        if count == 0:
            return
        check_threads(count)
        threads = min(SIMULATED_BLOCK, count) if is_simulated() else BLOCK
        run = self.compile()
        with _setting("CUDA_LOW_OCCUPANCY_WARNINGS", 0):  # small pictures are no fault of the user's
            configured = run[-(-count // threads), threads, stream]
        configured(count, *arguments)


@contextmanager
def announce_compilation(callback: Callable[[], None] | None) -> Iterator[None]:
    """Call `callback` once, before the first kernel inside the block that has to be compiled (seconds); None: never."""
    if callback is None or is_simulated():
        yield
        return
    event: Any = importlib.import_module("numba.cuda.core.event")
    waiting = [callback]

    class FirstPass(event.Listener):
        """Calls back at the compiler's first pass: there is none where a kernel is loaded."""

        def on_start(self, event: Any) -> None:
            while waiting:
                waiting.pop()()

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba-cuda:run_pass", FirstPass()):
        yield


def check_threads(count: int) -> None:
    """Raise BackendError where there are more threads, or samples, than int32 can number."""
    if count > MOST_THREADS:
        raise BackendError(
            f"{count} samples at once are more than the {MOST_THREADS} that a GPU is given: use a smaller tile, or none, "
            "or the backend cpu"
        )


@contextmanager
def _setting(name: str, value: Any) -> Iterator[None]:
    """Set one of Numba's settings inside the block."""
    with _SETTING:
        before = getattr(config, name)
        setattr(config, name, value)
        try:
            yield
        finally:
            setattr(config, name, before)


def _compile(function: Callable[..., None], signatures: Sequence[str]) -> Any:
    if is_simulated():
        return cuda.jit(function)
    folder = choose_cache_folder("cuda")
    with _setting("CACHE_DIR", str(folder or "")):
        try:
            return cuda.jit(list(signatures), cache=folder is not None)(function)
        except Exception as problem:  # of the compiler, the linker or the driver, each with classes of its own
            reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            raise BackendError(
                f"kernel '{function.__name__}' cannot be compiled for this GPU ({reason}): update the NVIDIA driver, or "
                "use the backend cpu"
            ) from problem


def kernel(*signatures: str, name: str | None = None) -> Callable[[Callable[..., None]], Kernel]:
    """Declare a function as a kernel for some types of arguments.

    Parameters
    ----------
    *signatures : str
        One per combination of types, the arguments after ``count``: ``"uint8[::1], int32"``.
    name : str, optional
        The function's own by default.
    """

    def declare(function: Callable[..., None]) -> Kernel:
        return Kernel(
            name or function.__name__, function, tuple(f"void(int32, {signature})" for signature in signatures)
        )

    return declare


def device_function(function: Any) -> Any:
    """Declare a function that kernels call, put into them as a whole."""
    return cuda.jit(function, device=True, forceinline=True) if not is_simulated() else cuda.jit(function, device=True)


def list_kernels(modules: Sequence[Any]) -> Iterator[Kernel]:
    """Yield the kernels of modules, and those of their ``VARIANTS``: kernels that are made for a number."""
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Kernel):
                yield value
        yield from (make() for make in getattr(module, "VARIANTS", ()))
