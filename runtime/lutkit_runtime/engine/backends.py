"""Backends: what turns a program with its tables into something that runs on planes of codes.

Imports the program and the ops; the kernels, and with them Numba, only inside `CpuBackend`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import BackendError
from lutkit_runtime.ops import Ensemble, Op, Requantise
from lutkit_runtime.program import Program, Tables

Codes = NDArray[np.uint8]

Runner = Callable[[Codes, int | None], Codes]
"""Planes of codes (N, H, W), C-contiguous, and a limit of threads, to planes (N, H * scale, W * scale)."""

Planes = dict[str, NDArray[Any]]

Step = Callable[[Planes, int | None], None]
"""Reads planes by name and adds one."""


class Backend(Protocol):
    """One way of running programs."""

    @property
    def name(self) -> str:
        """Name by which it is asked for."""
        ...

    @property
    def pixels_per_tile(self) -> int:
        """Pixels of a tile that keep the scratch, for three channels and an enlargement of 4, near 100 MB."""
        ...

    def obstacle(self) -> str | None:
        """Return why it cannot run here and what to do, or None where it can."""
        ...

    def prepare(self, program: Program, tables: Tables) -> Runner:
        """Return what runs a validated program."""
        ...

    def announcing(self, on_compile: Callable[[], None] | None) -> AbstractContextManager[None]:
        """Return a context in which `on_compile` is called before the first kernel that has to be compiled."""
        ...


@dataclass(frozen=True)
class NumpyBackend:
    """The references of the ops, slow and obvious."""

    name: str = "numpy"
    pixels_per_tile: int = 1 << 14

    def obstacle(self) -> str | None:
        """Return None: NumPy is always there."""
        return None

    def prepare(self, program: Program, tables: Tables) -> Runner:
        """Return what evaluates one op after another."""
        return _chain(program, [_refer(op, tables) for op in program.ops])

    def announcing(self, on_compile: Callable[[], None] | None) -> AbstractContextManager[None]:
        """Return a context that does nothing: nothing is compiled."""
        return nullcontext()


@dataclass(frozen=True)
class CpuBackend:
    """Numba kernels for the runs of ops that they can do, the references for the others."""

    name: str = "cpu"
    pixels_per_tile: int = 1 << 20

    def obstacle(self) -> str | None:
        """Return why Numba cannot be used, or None."""
        return None if importlib.util.find_spec("numba") else "Numba is not installed: run pip install numba"

    def prepare(self, program: Program, tables: Tables) -> Runner:
        """Return what runs fused stages where it can."""
        return _chain(program, list(_claim(program, tables)))

    def announcing(self, on_compile: Callable[[], None] | None) -> AbstractContextManager[None]:
        """Return a context that listens to Numba."""
        from lutkit_runtime.kernels.cpu.compiling import announce_compilation

        return announce_compilation(on_compile)


@dataclass(frozen=True)
class CudaBackend:
    """Kernels for NVIDIA GPUs: not there yet."""

    name: str = "cuda"
    pixels_per_tile: int = 1 << 20

    def obstacle(self) -> str | None:
        """Return that there are no such kernels."""
        return "this version has no CUDA kernels: use the backend cpu"

    def prepare(self, program: Program, tables: Tables) -> Runner:
        """Raise BackendError."""
        raise BackendError(f"backend 'cuda' cannot be used: {self.obstacle()}")

    def announcing(self, on_compile: Callable[[], None] | None) -> AbstractContextManager[None]:
        """Return a context that does nothing: nothing is compiled."""
        return nullcontext()


BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (NumpyBackend(), CpuBackend(), CudaBackend())}
AUTOMATIC = ("cpu", "numpy")
"""What ``auto`` tries, best first."""


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that can run on this machine."""
    return tuple(name for name, backend in BACKENDS.items() if backend.obstacle() is None)


def find_backend(name: str) -> Backend:
    """Return the backend of a name, or the best one that can run here for ``auto``.

    Raises BackendError where the name is unknown or the backend cannot run on this machine.
    """
    if name == "auto":
        name = next(choice for choice in AUTOMATIC if BACKENDS[choice].obstacle() is None)
    backend = BACKENDS.get(name)
    if backend is None:
        raise BackendError(f"backend '{name}' is unknown; use auto, {', '.join(available_backends())}")
    obstacle = backend.obstacle()
    if obstacle is not None:
        raise BackendError(f"backend '{name}' cannot be used: {obstacle}")
    return backend


def _chain(program: Program, steps: Sequence[Step]) -> Runner:
    def run(codes: Codes, threads: int | None) -> Codes:
        planes: Planes = {program.input: codes}
        for step in steps:
            step(planes, threads)
        return planes[program.output]

    return run


def _refer(op: Op, tables: Tables) -> Step:
    def step(planes: Planes, threads: int | None) -> None:
        planes[op.output] = op.reference(planes, tables)

    return step


def _claim(program: Program, tables: Tables) -> Iterator[Step]:
    """Yield the steps of a program: a kernel where an ensemble and its requantisation are a stage, else references."""
    from lutkit_runtime.kernels.cpu.stage import claim_stage, join_tables, run_joined

    codes = {program.input, *(op.output for op in program.ops if isinstance(op, Requantise))}
    readers = [name for op in program.ops for name in op.inputs]
    ops = list(program.ops)
    while ops:
        op = ops.pop(0)
        stage = None
        # the kernel reads bytes, and never makes the wide sum: nobody else may ask for it
        if isinstance(op, Ensemble) and op.input in codes and ops and isinstance(ops[0], Requantise):
            stage = claim_stage(op, ops[0]) if readers.count(op.output) == 1 else None
        if stage is None:
            yield _refer(op, tables)
            continue
        ops.pop(0)
        joined = join_tables(stage, tables)

        def step(planes: Planes, threads: int | None, stage: Any = stage, joined: NDArray[np.int8] = joined) -> None:
            planes[stage.output] = run_joined(stage, joined, planes[stage.input], threads)

        yield step
