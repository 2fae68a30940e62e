"""Programs for colours on the GPU: every op there, without coming back in between. Imports the CUDA kernels.

What sees the whole picture is the exception: networks run on the CPU, and so do the small sums that make grids, and the
few tables whose fusion is in doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import Place
from lutkit_runtime.engine.colour import RunOnStrip
from lutkit_runtime.engine.colour_path import GlobalOps, Pictures, Values, find_wanted, trace_colours
from lutkit_runtime.kernels.cuda.bilateral import GuideOnDevice, SlicerOnDevice
from lutkit_runtime.kernels.cuda.colour import LookupOnDevice
from lutkit_runtime.kernels.cuda.four_samples import fit_four
from lutkit_runtime.kernels.cuda.illumination import LightOnDevice
from lutkit_runtime.kernels.cuda.memory import PerGpu, Picture, Pool, Session, copy_to_host
from lutkit_runtime.kernels.cuda.mixing import blend, convert, finish_blend, transform
from lutkit_runtime.kernels.cuda.table_fusion import FusionOnDevice
from lutkit_runtime.ops import (
    BilateralSlice,
    Blend,
    ColourLookup,
    ColourMatrix,
    ColourOp,
    GridFusion,
    Illuminate,
    TableFusion,
)
from lutkit_runtime.ops.colour_lookup import BoundLookup
from lutkit_runtime.program import Program, Tables

Image = NDArray[Any]

RunOnDevice = Callable[[Session, Picture, Place, Picture], None]
"""Turns a piece of a picture on the GPU, which lies at a place, into its result, of the same size, channels and type; they
may be one."""


class ColoursOnDevice:
    """A program for colours with its tables on the GPU; may be used from several threads.

    Parameters
    ----------
    program : Program
    tables : mapping of slot name to table
    """

    def __init__(self, program: Program, tables: Tables) -> None:
        self.pool = Pool()
        self._program = program
        self._tables = tables
        self._global_ops = GlobalOps(program, tables)
        self._fusions = PerGpu(
            lambda: {op.output: FusionOnDevice(op, tables) for op in program.ops if isinstance(op, TableFusion)}
        )
        self._lookups = PerGpu(
            lambda: {op.output: _prepare_lookup(op, tables) for op in program.ops if isinstance(op, ColourLookup)}
        )
        self._guides = PerGpu(
            lambda: {
                op.output: GuideOnDevice(op.guide.decode(tables))
                for op in program.ops
                if isinstance(op, BilateralSlice)
            }
        )
        for made in (self._fusions, self._lookups, self._guides):
            made.get()

    def evaluate_global(self, pictures: Pictures) -> Values:
        """Return what the ops that run once make of a picture: vectors, tables and grids by name, as their definitions do."""
        return self._global_ops.evaluate(pictures)

    def prepare(self, pictures: Pictures, parameters: Mapping[str, float]) -> RunOnStrip:
        """Run the global ops on a picture, with those beside it, and return what turns a strip of it into its result.

        The GPU's threads are its own, whatever the limit.
        """
        run_on_device = self.prepare_on_device(pictures, parameters)

        def run(strip: Image, place: Place, out: Image, threads: int | None) -> None:
            stream: Any = 0
            height, width, channels = strip.shape
            with self.pool.session(stream) as session:
                given, made = (
                    Picture(session.empty(strip.size, strip.dtype), height, width, channels) for _ in range(2)
                )
                given.flat[: strip.size].copy_to_device(np.ascontiguousarray(strip).reshape(-1), stream=stream)
                run_on_device(session, given, place, made)
                out[...] = copy_to_host(made.flat[: strip.size], stream).reshape(strip.shape)

        return run

    def prepare_on_device(self, pictures: Pictures, parameters: Mapping[str, float]) -> RunOnDevice:
        """Run the global ops and return what turns a picture on the GPU, or a part of it, into its result.

        Parameters
        ----------
        pictures : mapping of name to uint8, uint16 or float32 array (H, W, channels)
            The whole picture and those beside it in this machine's memory, where the program holds a predictor; nobody
            looks at them otherwise.
        parameters : mapping of name to value
        """
        ops, leaving = trace_colours(self._program, parameters)
        wanted = find_wanted(self._program, ops)
        vectors = self._global_ops.predict(pictures, wanted)
        fusions = {name: fusion for name, fusion in self._fusions.get().items() if name in wanted}
        nodes = {name: fusion.fuse(vectors[fusion.op.weights]) for name, fusion in fusions.items()}
        slicers = self._place_grids(vectors, ops)
        lights = {op.output: LightOnDevice(op.bind(parameters[op.gamma])) for op in ops if isinstance(op, Illuminate)}
        steps = _Steps(ops, self._program.input, leaving, self._lookups.get(), nodes, slicers, lights, parameters)

        def run(session: Session, given: Picture, place: Place, out: Picture) -> None:
            if leaving == self._program.input:
                _copy(session, given, out)
                return
            source = given if fit_four(given.flat) else _copy(session, given, _make_room(session, given))
            target = out if fit_four(out.flat) else _make_room(session, out)
            steps.run(session, source, place, target)
            if target is not out:
                _copy(session, target, out)

        return run

    def _place_grids(self, vectors: Values, ops: Sequence[ColourOp]) -> dict[str, SlicerOnDevice]:
        """Return those of the ops that are slices with the grids of a picture, by what they make."""
        guides, slices = self._guides.get(), [op for op in ops if isinstance(op, BilateralSlice)]
        wanted = {op.grid for op in slices}
        fusions = [op for op in self._program.ops if isinstance(op, GridFusion) and op.output in wanted]
        grids = {op.output: op.reference(vectors, self._tables) for op in fusions}
        return {op.output: SlicerOnDevice(guides[op.output], grids[op.grid]) for op in slices}


class _Steps:
    """The ops for pixels that the result needs.

    Parameters
    ----------
    ops : sequence of ops
        As `trace_colours` returns them; not empty.
    source, leaving : str
        What enters and what leaves.
    lookups : mapping of name to LookupOnDevice
    nodes : mapping of name to device array
        Fused tables.
    slicers : mapping of name to SlicerOnDevice
    lights : mapping of name to LightOnDevice
    parameters : mapping of name to value
    """

    def __init__(
        self,
        ops: Sequence[ColourOp],
        source: str,
        leaving: str,
        lookups: Mapping[str, LookupOnDevice],
        nodes: Mapping[str, Any],
        slicers: Mapping[str, SlicerOnDevice],
        lights: Mapping[str, LightOnDevice],
        parameters: Mapping[str, float],
    ) -> None:
        self._ops, self._source, self._leaving = ops, source, leaving
        self._lookups, self._nodes, self._slicers = lookups, nodes, slicers
        self._lights, self._parameters = lights, parameters
        self._readers = Counter(name for op in ops for name in op.inputs)

    def run(self, session: Session, given: Picture, place: Place, out: Picture) -> None:
        """Fill `out`, which has the type of what is given, a piece of a picture at a place."""
        pictures = {self._source: given}
        waiting = self._readers.copy()
        for number, op in enumerate(self._ops):
            if self._finish(session, number, pictures, given, place, out):
                return
            pictures[op.output] = self._make(session, op, pictures, place)
            for name in op.inputs:
                waiting[name] -= 1
                if not waiting[name] and name in pictures and name not in (self._source, self._leaving):
                    session.release(pictures.pop(name))
        convert(session, pictures[self._leaving], out)

    def _make(self, session: Session, op: ColourOp, pictures: Mapping[str, Picture], place: Place) -> Picture:
        """Return what an op makes, float32."""
        if isinstance(op, BilateralSlice):
            return self._slicers[op.output].slice(session, pictures[op.input], place)
        if isinstance(op, ColourLookup):
            return self._lookups[op.output].look_up(session, pictures[op.input], self._find_nodes(op))
        if isinstance(op, ColourMatrix):
            return transform(session, op, pictures[op.input])
        if isinstance(op, Illuminate):
            light = self._lights[op.output]
            return light.illuminate(session, pictures[op.reflectance], pictures[op.illumination])
        assert isinstance(op, Blend)
        return blend(session, pictures[op.base], pictures[op.changed], self._parameters[op.amount])

    def _finish(
        self,
        session: Session,
        number: int,
        pictures: Mapping[str, Picture],
        given: Picture,
        place: Place,
        out: Picture,
    ) -> bool:
        """Fill `out` by the op of this number, and the one after it, where a kernel does what is left; say whether it did."""
        op, *rest = self._ops[number:]
        if isinstance(op, ColourLookup | BilateralSlice) and op.input == self._source:
            last = self._find_last_blend(op.output, rest)
            if op.output != self._leaving and last is None:
                return False
            amount = self._parameters[last.amount] if last else None
            if isinstance(op, BilateralSlice):
                self._slicers[op.output].finish(session, given, place, out, amount)
            else:
                self._lookups[op.output].finish(session, given, out, self._find_nodes(op), amount)
            return True
        if isinstance(op, Blend) and op.output == self._leaving and op.base == self._source:
            finish_blend(session, given, pictures[op.changed], self._parameters[op.amount], out)
            return True
        return False

    def _find_last_blend(self, changed: str, rest: Sequence[ColourOp]) -> Blend | None:
        """Return the blend of the picture itself with what is called `changed`, where that is all that is left."""
        if len(rest) != 1 or not isinstance(rest[0], Blend):
            return None
        last = rest[0]
        is_it = (last.base, last.changed, last.output) == (self._source, changed, self._leaving)
        return last if is_it else None

    def _find_nodes(self, op: ColourLookup) -> Any:
        return self._nodes[op.cube.table] if op.cube and op.cube.fused else None


def _prepare_lookup(op: ColourLookup, tables: Tables) -> LookupOnDevice:
    """Return a lookup with its tables on the GPU, without its cube where that is fused for every picture."""
    if op.cube and op.cube.fused:
        curves = op.curves.coding.decode(tables[op.curves.slot]) if op.curves else None
        return LookupOnDevice(BoundLookup(op, curves, None))
    return LookupOnDevice(op.bind({}, tables))


def _make_room(session: Session, picture: Picture) -> Picture:
    """Return a picture of the same size, channels and type that begins where four samples can be read at once."""
    flat = session.empty(picture.pixels * picture.channels, picture.flat.dtype)
    return Picture(flat, picture.height, picture.width, picture.channels)


def _copy(session: Session, picture: Picture, out: Picture) -> Picture:
    """Copy a picture and return the copy."""
    size = picture.pixels * picture.channels
    out.flat[:size].copy_to_device(picture.flat[:size], stream=session.stream)
    return out
