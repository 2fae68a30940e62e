"""Backends: what turns a program with its tables into something that runs on planes of codes.

Imports the program and the ops; the kernels, and with them Numba, only inside `CpuBackend`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.engine.colour import ColourRunner, ColoursOnHost, ReferenceLooker, ReferenceSlicer
from lutkit_runtime.engine.conversion import Piece
from lutkit_runtime.errors import BackendError
from lutkit_runtime.kernels.cuda.device import find_obstacle, is_simulated
from lutkit_runtime.ops import CODES, Ensemble, Network, Op, Requantise, follow_planes
from lutkit_runtime.program import Program, Tables

if TYPE_CHECKING:
    from lutkit_runtime.kernels.cpu.axis_layout import Prepared
    from lutkit_runtime.kernels.cpu.reconstructed import Window
    from lutkit_runtime.kernels.cpu.stage import Target
    from lutkit_runtime.kernels.stage_claim import Stage

Codes = NDArray[np.uint8]

Runner = Callable[[Codes, int | None, Piece], None]
"""Takes the codes of an extended tile (colours, H, W), C-contiguous, and a limit of threads; fills the piece."""

Planes = dict[str, NDArray[Any]]
"""Names to planes (colours, channels, H, W)."""

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
        """Return what runs a validated program for each channel."""
        ...

    def prepare_colours(self, program: Program, tables: Tables) -> ColourRunner:
        """Return what runs a validated program for colours."""
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

    def prepare_colours(self, program: Program, tables: Tables) -> ColourRunner:
        """Return what evaluates the ops by their definitions."""
        return ColoursOnHost(program, tables, ReferenceLooker, ReferenceSlicer)

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
        *steps, last = _claim(program, tables)
        if isinstance(last, FusedStep | NetworkStep):
            return _chain(program, steps, last)
        return _chain(program, [*steps, last])

    def prepare_colours(self, program: Program, tables: Tables) -> ColourRunner:
        """Return what looks colours up in compiled kernels."""
        from lutkit_runtime.kernels.cpu.bilateral import CompiledSlicer
        from lutkit_runtime.kernels.cpu.blending import blend_pictures
        from lutkit_runtime.kernels.cpu.colour import CompiledLooker
        from lutkit_runtime.kernels.cpu.illumination import illuminate_pictures

        return ColoursOnHost(program, tables, CompiledLooker, CompiledSlicer, blend_pictures, illuminate_pictures)

    def announcing(self, on_compile: Callable[[], None] | None) -> AbstractContextManager[None]:
        """Return a context that listens to Numba."""
        from lutkit_runtime.kernels.cpu.compiling import announce_compilation

        return announce_compilation(on_compile)


@dataclass(frozen=True)
class CudaBackend:
    """Numba kernels for NVIDIA GPUs."""

    name: str = "cuda"
    pixels_per_tile: int = 1 << 20

    def obstacle(self) -> str | None:
        """Return why no GPU can be used, or None."""
        return find_obstacle()

    def prepare(self, program: Program, tables: Tables) -> Runner:
        """Return what runs the program on the GPU, for planes of this machine's memory."""
        from lutkit_runtime.engine.cuda_planes import ChannelsOnDevice

        return ChannelsOnDevice(program, tables)

    def prepare_colours(self, program: Program, tables: Tables) -> ColourRunner:
        """Return what changes colours on the GPU, or on the CPU where a network that OpenCV runs there sees every pixel."""
        if any(isinstance(op, Network) for op in program.ops):
            return CpuBackend().prepare_colours(program, tables)
        from lutkit_runtime.engine.cuda_colours import ColoursOnDevice

        return ColoursOnDevice(program, tables)

    @contextmanager
    def announcing(self, on_compile: Callable[[], None] | None) -> Generator[None]:
        """Return a context that listens to numba-cuda, and to Numba: some programs run on the CPU."""
        from lutkit_runtime.kernels.cuda.compiling import announce_compilation

        waiting = [] if on_compile is None else [on_compile]

        def announce() -> None:
            while waiting:
                waiting.pop()()

        with announce_compilation(announce), CpuBackend().announcing(announce):
            yield


BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (NumpyBackend(), CpuBackend(), CudaBackend())}
AUTOMATIC = ("cuda", "cpu", "numpy")
"""What ``auto`` tries, best first; ``cuda`` on a GPU only, not in its simulator."""


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that can run on this machine."""
    return tuple(name for name, backend in BACKENDS.items() if backend.obstacle() is None)


def suitable_backends() -> tuple[str, ...]:
    """Return the names of the backends that people would choose on this machine: not the simulator of a GPU."""
    return tuple(name for name, backend in BACKENDS.items() if _suits(backend))


def find_backend(name: str) -> Backend:
    """Return the backend of a name, or the best one that can run here for ``auto``.

    Raises BackendError where the name is unknown or the backend cannot run on this machine.
    """
    if name == "auto":
        name = next(choice for choice in AUTOMATIC if _suits(BACKENDS[choice]))
    backend = BACKENDS.get(name)
    if backend is None:
        raise BackendError(f"backend '{name}' is unknown; use auto, {', '.join(available_backends())}")
    obstacle = backend.obstacle()
    if obstacle is not None:
        raise BackendError(f"backend '{name}' cannot be used: {obstacle}")
    return backend


def _suits(backend: Backend) -> bool:
    return backend.obstacle() is None and (backend.name != "cuda" or not is_simulated())


def _chain(program: Program, steps: Sequence[Step], last: FusedStep | NetworkStep | None = None) -> Runner:
    """Return what runs the steps and fills the piece, by `last` where it is given."""

    def run(codes: Codes, threads: int | None, piece: Piece) -> None:
        planes: Planes = {program.input: codes[:, None]}
        for step in steps:
            step(planes, threads)
        if last is None:
            piece.store(planes[program.output][:, 0])
        else:
            last.fill(planes, threads, piece)

    return run


def _refer(op: Op, tables: Tables) -> Step:
    def step(planes: Planes, threads: int | None) -> None:
        planes[op.output] = op.reference(planes, tables)

    return step


@dataclass(frozen=True)
class FusedStep:
    """A stage, the joined tables of its lookups, and its convolutions with theirs."""

    stage: Stage
    joined: NDArray[np.int8]
    windows: tuple[Window, ...]

    def __call__(self, planes: Planes, threads: int | None) -> None:
        """Make the stage's plane."""
        from lutkit_runtime.kernels.cpu.stage import make_maps, run_joined

        given = planes[self.stage.input]
        source = np.ascontiguousarray(given.reshape(-1, *given.shape[2:]))
        maps = make_maps(self.windows, source, threads)
        made = run_joined(self.stage, self.joined, source, threads, maps=maps)
        planes[self.stage.output] = made.reshape(*given.shape[:2], *made.shape[1:])

    def fill(self, planes: Planes, threads: int | None, piece: Piece) -> None:
        """Run as the last stage: without its halo and, for 8 bits, straight into the image."""
        from lutkit_runtime.kernels.cpu.stage import make_maps, run_joined, run_window

        image = piece.image
        source = planes[self.stage.input][:, 0]
        maps = make_maps(self.windows, source, threads)
        if image.dtype != np.uint8:
            piece.store(run_joined(self.stage, self.joined, source, threads, maps=maps))
            return
        run_window(self.stage, self.joined, source, threads, *_aim(piece, self.stage.block), maps)


@dataclass(frozen=True)
class NetworkStep:
    """A network of one-dimensional tables, with them."""

    prepared: Prepared

    def __call__(self, planes: Planes, threads: int | None) -> None:
        """Make the network's plane."""
        from lutkit_runtime.kernels.cpu.axis_planes import run_network

        network = self.prepared.network
        planes[network.output] = run_network(self.prepared, planes[network.input][:, 0], threads)[:, None]

    def fill(self, planes: Planes, threads: int | None, piece: Piece) -> None:
        """Run as the last step: without its halo and, for 8 bits, straight into the image."""
        from lutkit_runtime.kernels.cpu.axis_planes import run_network, run_network_window

        source = planes[self.prepared.network.input][:, 0]
        if piece.image.dtype != np.uint8:
            piece.store(run_network(self.prepared, source, threads))
            return
        run_network_window(self.prepared, source, threads, *_aim(piece, self.prepared.network.block))


def _aim(piece: Piece, block: int) -> tuple[tuple[slice, slice], Target]:
    """Return the part of planes that a piece shows, and where its results belong in the image of bytes."""
    from lutkit_runtime.kernels.cpu.stage import Target

    row, pixel = piece.image.strides[:2]
    first = piece.rows.written(piece.scale).start * row + piece.columns.written(piece.scale).start * pixel
    target = Target(piece.image.reshape(-1), first, plane=1, row=row, pixel=pixel)
    return piece.kept(piece.scale // block), target


def _claim(program: Program, tables: Tables) -> Iterator[Step]:
    """Yield the steps of a program: a kernel where it can do an ensemble and its requantisation, else references."""
    from lutkit_runtime.kernels.cpu.axis_layout import prepare_network
    from lutkit_runtime.kernels.cpu.axis_network import claim_axis_network
    from lutkit_runtime.kernels.cpu.stage import prepare_windows
    from lutkit_runtime.kernels.stage_claim import claim_stage
    from lutkit_runtime.kernels.stage_layout import join_tables

    planes = {program.input: CODES}
    follow_planes(program.ops, planes)
    readers = [name for op in program.ops for name in op.inputs]
    ops = list(program.ops)
    while ops:
        op = ops.pop(0)
        following = ops[0] if ops and isinstance(ops[0], Requantise) else None
        stage = network = None
        # kernels read bytes, and never make the wide sum: nobody else may ask for it
        if isinstance(op, Ensemble) and following and planes[op.input].codes and readers.count(op.output) == 1:
            stage = claim_stage(op, following)
            network = claim_axis_network(op, following) if planes[op.input].channels == 1 else None
        if stage is not None:
            yield FusedStep(stage, join_tables(stage, tables), prepare_windows(stage, tables))
        elif network is not None:
            yield NetworkStep(prepare_network(network, tables))
        else:
            yield _refer(op, tables)
            continue
        ops.pop(0)
