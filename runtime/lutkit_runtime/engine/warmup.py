"""Warming up: every kernel that `Model.apply` can ask for, compiled and cached before anybody waits for it.

Imports the model, the backends and the ops; what trains, from the kernels themselves. Kernels differ by types, which
follow from a few fields of a program and from the depth of a picture: here stands one small program for every kernel.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import itertools
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.engine.backends import find_backend
from lutkit_runtime.engine.model import Model
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import (
    AxisLookup,
    BilateralSlice,
    Blend,
    BodyOp,
    ColourLookup,
    ColourMatrix,
    Ensemble,
    GridFusion,
    Illuminate,
    Lookup,
    Op,
    PixelShuffle,
    Predictor,
    ReconstructedConvolution,
    Requantise,
    Tap,
)
from lutkit_runtime.ops.bilateral_slice import Guide, GuideCurves
from lutkit_runtime.ops.colour_lookup import Cube, Curves
from lutkit_runtime.pattern import IndexPattern
from lutkit_runtime.program import STRENGTH, Colour, Program

BLOCKS = range(1, 9)
AXIS_BLOCKS = range(1, 5)
DEPTHS = ("uint8", "uint16", "float32")

CACHES = {
    "cpu": "lutkit_runtime.kernels.cpu.compiling",
    "cuda": "lutkit_runtime.kernels.cpu.compiling",
}
"""Backends that compile, and the module that knows where their kernels are cached: `choose_cache_folder`."""

APART = frozenset({"cpu"})
"""Backends whose kernels several processes may compile at once."""

TRAINING = {"cpu": "lutkit_runtime.kernels.cpu.warmup", "cuda": "lutkit_runtime.kernels.cuda.catalogue"}
"""Backend to the module that lists further cases of its own: `list_training_cases`."""

SMALL, LARGE = (3, 4), (64, 128)
"""Sizes of pictures: where there are curves, smaller ones of 16 bits are left to the reference."""


@dataclass(frozen=True)
class Case:
    """One kernel, or two that come together.

    Parameters
    ----------
    name : str
    group : str
        Cases of one group compile variants of the same functions: two processes may not cache these at once.
    run : callable
        Uses it, with the backend of a name.
    """

    name: str
    group: str
    run: Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a case took.

    Parameters
    ----------
    backend, case : str
    seconds : float
    compiled : bool
        Something had to be compiled, rather than loaded from the cache.
    """

    backend: str
    case: str
    seconds: float
    compiled: bool


def compiles(backend: str) -> bool:
    """Tell whether a backend has kernels to compile."""
    return backend in CACHES


def find_cache(backend: str) -> str | None:
    """Return the folder in which the kernels of a backend that compiles are cached, or None where none can be kept."""
    folder = importlib.import_module(CACHES[backend]).choose_cache_folder(backend)
    return None if folder is None else str(folder)


def warm_up(backend: str, on_done: Callable[[Outcome], None] | None = None, processes: int = 1) -> list[Outcome]:
    """Run every kernel of a backend once, so that it is compiled and cached; returns what each took.

    Parameters
    ----------
    backend : str
        Name of one that can run here and compiles, see `available_backends`.
    on_done : callable, optional
        Called after every case.
    processes : int
        With more than one, new processes compile, so many at a time; as always with these, a script that calls this
        must do so behind ``if __name__ == "__main__"``.

    Raises
    ------
    BackendError
        Where the backend is unknown or cannot run on this machine.
    """
    find_backend(backend)
    cases = list_cases(backend)
    outcomes: list[Outcome] = []
    here = (run_case(backend, number) for number in range(len(cases)))
    for outcome in here if processes == 1 or backend not in APART else _run_apart(backend, cases, processes):
        outcomes.append(outcome)
        if on_done is not None:
            on_done(outcome)
    return outcomes


def run_case(backend: str, number: int) -> Outcome:
    """Run one of the cases of a backend."""
    case = list_cases(backend)[number]
    compiled: list[bool] = []
    start = time.perf_counter()
    with find_backend(backend).announcing(lambda: compiled.append(True)):
        case.run(backend)
    return Outcome(backend, case.name, time.perf_counter() - start, bool(compiled))


def _run_apart(backend: str, cases: Sequence[Case], processes: int) -> Iterator[Outcome]:
    """Run cases in processes of their own, one of every group at a time."""
    groups: dict[str, deque[int]] = {}
    for number, case in enumerate(cases):
        groups.setdefault(case.group, deque()).append(number)
    pool = concurrent.futures.ProcessPoolExecutor(
        min(processes, len(groups)), multiprocessing.get_context("spawn"), _die_when_interrupted
    )
    with pool:

        def submit(group: str) -> concurrent.futures.Future[Outcome]:
            return pool.submit(run_case, backend, groups[group].popleft())

        running = {submit(group): group for group in groups}
        while running:
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for each in done:
                group = running.pop(each)
                if groups[group]:
                    running[submit(group)] = group
                yield each.result()


def _die_when_interrupted() -> None:
    """Let a worker end without a traceback when the user interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@lru_cache
def list_cases(backend: str) -> tuple[Case, ...]:
    """Return the cases of a backend: all that `Model.apply` can ask for, then those of training."""
    cases = [*_list_lookups(), *_list_axis_lookups(), *_list_colours(), *_list_slices()]
    if backend in TRAINING:
        listed = importlib.import_module(TRAINING[backend]).list_training_cases()
        cases += [Case(name, group, _ignore_backend(run)) for name, group, run in listed]
    return tuple(cases)


def _ignore_backend(run: Callable[[], object]) -> Callable[[str], None]:
    def ignore(backend: str) -> None:
        run()

    return ignore


def _apply(
    program: Program, picture: NDArray[Any], fill: int = 0, parameters: Mapping[str, Any] | None = None
) -> Callable[[str], None]:
    """Return what applies a program, whose tables hold one number, and its networks none, to a picture."""

    def run(backend: str) -> None:
        tables = {name: np.full(slot.shape, fill, slot.dtype) for name, slot in program.slots.items()}
        tables |= {op.slot: NETWORK for op in program.ops if isinstance(op, Predictor)}
        Model(program, tables).apply(picture, backend=backend, **(parameters or {}))

    return run


GRAY = np.zeros(SMALL, np.uint8)


def make_lookups(block: int, *, wide: bool, diagonal: bool, window: bool = False) -> Program:
    """Return a program of one lookup of two samples: sums of 16 or 32 bits, a table in full or compressed."""
    interval = (6 if wide else 4) - diagonal
    source = "map" if window else "image"
    lookup = Lookup(
        output="sum",
        input=source,
        slot="table",
        pattern=IndexPattern(((0, 0), (0, 1))),
        lattice=Lattice(2, interval),
        block=block,
        diagonal=Diagonal(1, interval + 1) if diagonal else None,
    )
    convolution = ReconstructedConvolution(output="map", input="image", slot="window", post="thresholds", window=3)
    return _make_ensemble((convolution, lookup) if window else (lookup,), divisor=4 << (interval + diagonal))


def make_axis_lookups(block: int, *, wide: bool) -> Program:
    """Return a program of one-dimensional tables, which has wide sums only with large entries."""
    step = 64 if wide else 1
    lookup = AxisLookup(
        output="sum",
        input="image",
        slot="table",
        taps=(Tap(),) * 9,
        tables=AxisTables(0, 256, ((step,) * block**2,) * 9),
        outputs=block**2,
    )
    codes = Requantise(output="codes", input="sum", bias=0, divisor=9 * step)
    shuffle = PixelShuffle(output="turn", input="codes", block=block)
    return _make_ensemble((lookup, codes, shuffle) if block > 1 else (lookup, codes), divisor=4)


def _make_ensemble(body: tuple[BodyOp, ...], divisor: int) -> Program:
    ensemble = Ensemble(output="turns", input="image", body=body)
    rounding = Requantise(output="result", input="turns", bias=0, divisor=divisor)
    return Program(family="warmup", task="sr", ops=(ensemble, rounding))


def make_colours(curved: bool, interpolation: CubeInterpolation | None, arithmetic: Arithmetic) -> Program:
    """Return a program of curves, a cube or both, and a strength."""
    curves = Curves("curves", 3) if curved else None
    cube = Cube("cube", 2, interpolation=interpolation) if interpolation else None
    ops: tuple[Op, ...] = (
        ColourLookup(input="image", curves=curves, cube=cube, arithmetic=arithmetic, output="changed"),
        Blend(base="image", changed="changed", amount=STRENGTH.name, output="result"),
    )
    return Program(family="warmup", task="look", ops=ops, colour=Colour.RGB, parameters=(STRENGTH,))


def _write_network() -> NDArray[np.uint8]:
    """Return the bytes (bytes, 1) of a network that looks at one pixel and gives one number, which is 0."""
    layers = (Layer("Conv", ("in", "weight"), "mixed"), Layer("Flatten", ("mixed",), "out", {"axis": 1}))
    arrays = {"weight": np.zeros((1, 3, 1, 1), np.float32)}
    graph = write_graph(Graph(13, "in", (1, 3, 1, 1), "out", layers, arrays), (1, 1))
    return np.frombuffer(graph, np.uint8)[:, None]


NETWORK = _write_network()


def make_slices(*, last: bool) -> Program:
    """Return a program of a bilateral grid, whose slice makes the result, or floats for a matrix after it."""
    guide = Guide(mix="mix", count=1, curves=GuideCurves("curves", 2), result=GuideCurves("result", 2))
    ops: list[Op] = [
        Predictor(input="image", output="weights", slot="network", graph_bytes=len(NETWORK), side=1, outputs=1),
        GridFusion(weights="weights", slot="columns", terms=1, rows=1, columns=1, depth=1, output="grid"),
        BilateralSlice(input="image", grid="grid", guide=guide, output="result" if last else "changed"),
    ]
    if not last:
        ops.append(ColourMatrix(input="changed", matrix=((1, 0, 0), (0, 1, 0), (0, 0, 1)), output="result"))
    return Program(family="warmup", task="retouch", ops=tuple(ops), colour=Colour.RGB)


def make_lit() -> Program:
    """Return a program that lights a mixture of channels."""
    ops: tuple[Op, ...] = (
        ColourMatrix(input="image", matrix=((1, 0, 0), (0, 1, 0), (0, 0, 1)), output="light"),
        Illuminate(reflectance="image", illumination="light", gamma=STRENGTH.name, output="result"),
    )
    return Program(family="warmup", task="light", ops=ops, colour=Colour.RGB, parameters=(STRENGTH,))


def _list_lookups() -> Iterator[Case]:
    for block, wide, diagonal in itertools.product(BLOCKS, (False, True), (False, True)):
        program = make_lookups(block, wide=wide, diagonal=diagonal)
        name = f"lookups, block {block}, sums of {32 if wide else 16} bits{', along the diagonal' if diagonal else ''}"
        yield Case(name, "lookups", _apply(program, GRAY))
    yield Case("windows", "lookups", _apply(make_lookups(1, wide=False, diagonal=False, window=True), GRAY))


def _list_axis_lookups() -> Iterator[Case]:
    for block, wide in itertools.product(AXIS_BLOCKS, (False, True)):
        name = f"one-dimensional tables, block {block}, sums of {32 if wide else 16} bits"
        program = make_axis_lookups(block, wide=wide)
        yield Case(name, "axis lookups", _apply(program, GRAY, fill=127 if wide else 0))


def _list_colours() -> Iterator[Case]:
    ways = (CubeInterpolation.TETRAHEDRAL, CubeInterpolation.TRILINEAR, None)
    for way, curved, depth, channels in itertools.product(ways, (False, True), DEPTHS, (3, 4)):
        if not way and not curved:
            continue
        kind = f"{way.value}, " if way else ""
        name = f"colours, {kind}{'curves, ' if curved else ''}{depth}, {channels} channels"
        program = make_colours(curved, way, Arithmetic.FLOAT32)
        picture = np.zeros((*(LARGE if curved else SMALL), channels), depth)
        for amount, end in ((1.0, ""), (0.5, ", blended")):
            yield Case(f"{name}{end}", "colours", _apply(program, picture, parameters={STRENGTH.name: amount}))
        if way is CubeInterpolation.TETRAHEDRAL and depth == "uint8":
            packed = make_colours(curved, way, Arithmetic.PACKED)
            yield Case(f"{name}, packed", "packed colours", _apply(packed, picture))


def _list_slices() -> Iterator[Case]:
    for depth, channels, last in itertools.product(DEPTHS, (3, 4), (True, False)):
        name = f"bilateral slices, {depth}, {channels} channels{'' if last else ', to floats'}"
        yield Case(name, "bilateral slices", _apply(make_slices(last=last), np.zeros((*SMALL, channels), depth)))
    yield Case("illumination", "illumination", _apply(make_lit(), np.zeros((*SMALL, 3), np.float32)))
