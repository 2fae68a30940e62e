# pyright: basic
"""Running a fused stage, or a single lookup, on the GPU. Imports memory, padding, window and stage_lines.

The reference is `Ensemble.reference` followed by `Requantise.reference`, and `Lookup.reference`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.cuda.memory import Planes, Session, upload
from lutkit_runtime.kernels.cuda.padding import pad_into
from lutkit_runtime.kernels.cuda.stage_lines import BIAS, LANE, make_stage
from lutkit_runtime.kernels.cuda.window import WindowOnDevice
from lutkit_runtime.kernels.stage_bands import count_rows, spread_table
from lutkit_runtime.kernels.stage_claim import Stage
from lutkit_runtime.kernels.stage_layout import ALL_NODES, lay_out
from lutkit_runtime.ops import Lookup, Requantise
from lutkit_runtime.ops.ensemble import TURNS

LARGEST_BYTE = 255


@dataclass(frozen=True)
class DeviceLayout:
    """The arrays of `Layout` as the kernels of a stage take them, on the GPU.

    Parameters
    ----------
    offsets : int32
    walked : int32
        The strides by which a walk goes from vertex to vertex: 0 where every code is a node.
    rest : int32 each
        Strides, masks, arithmetic, bands.
    """

    offsets: Any
    walked: Any
    rest: tuple[Any, ...]


class LaidOutStage:
    """A fused stage's kernel, and where its lookups stand in memory; its tables and what they read come with a call.

    Parameters
    ----------
    stage : Stage
    rounds : bool
        Whether the sum of four turns is requantised; else that of turn 0 is the result.
    """

    def __init__(self, stage: Stage, *, rounds: bool = True) -> None:
        self.stage = stage
        self.in_words = _fit_words(stage)
        self._rounds = rounds
        self._kernel = make_stage(stage.block, self.in_words, rounds)
        starts = np.cumsum([0, *(count_rows(op) for op in stage.lookups)])[:-1]
        self.bases = upload(starts.astype(np.int32))
        self._layouts: dict[tuple[int, ...], DeviceLayout] = {}

    def run(self, session: Session, planes: Planes, padded: Planes, table: Any, out: Any) -> None:
        """Fill `out` with the codes, or the sums, of planes, of which `padded` are the sources; `planes` gives only the size."""
        stage = self.stage
        requantise = stage.requantise
        # the words are biased, and so is the sum of four turns, or of one
        turns = TURNS if self._rounds else 1
        offset = -BIAS * stage.unit * len(stage.lookups) * turns if self.in_words else 0
        layout = self.lay_out(planes.count, padded.height, padded.width)
        self._kernel.launch(
            planes.size,
            session.stream,
            planes.height,
            planes.width,
            padded.flat,
            *self.find_reading(padded),
            table,
            self.bases,
            layout.offsets,
            layout.walked,
            *layout.rest,
            *self.scale,
            offset,
            np.float32(requantise.bias),
            np.float32(requantise.divisor),
            out,
        )

    @property
    def scale(self) -> tuple[int, int]:
        """Sum of the weights of a lookup, and 1 where SR-LUT's branch is taken."""
        return self.stage.unit, int(self.stage.interpolation is Interpolation.SRLUT)

    def find_reading(self, padded: Planes) -> tuple[int, int, int]:
        """Return where the first pixel stands in padded sources, and how far planes and rows are apart."""
        reach = self.stage.reach
        return reach * padded.width + reach, padded.height * padded.width, padded.width

    def pad(self, session: Session, planes: Planes, maps: Iterable[Planes]) -> Planes:
        """Return all sources that the lookups read, padded: the planes, and the maps of turn after turn of windows."""
        stage = self.stage
        reach = stage.reach
        rows, columns = planes.height + 2 * reach, planes.width + 2 * reach
        padded = session.empty_planes(stage.sources, planes.count, rows, columns, np.uint8)
        if stage.reads_input:
            pad_into(session, planes, stage.padding, reach, padded, 0)
        first = int(stage.reads_input) * planes.count
        for made in maps:
            pad_into(session, made, stage.padding, reach, padded, first)
            first += made.count
        return padded

    def lay_out(self, planes: int, rows: int, columns: int) -> DeviceLayout:
        """Return the layout of the lookups in padded planes of a size, on the GPU."""
        key = (planes, rows, columns)
        found = self._layouts.get(key)  # another thread may clear them at any time
        if found is None:
            layout = lay_out(self.stage, (self.stage.sources, *key))
            # where every code is a node, the other vertices have no weight: they may be the same row
            is_walked = (layout.arithmetic[:, 2] != ALL_NODES)[:, None]
            bands = np.zeros((len(layout.bases), 8), np.int32) if layout.bands is None else layout.bands
            rest = (layout.strides, layout.masks, layout.arithmetic, bands)
            if len(self._layouts) >= 8:
                self._layouts.clear()
            found = self._layouts[key] = DeviceLayout(
                _upload_numbers(layout.offsets),
                _upload_numbers(layout.strides * is_walked),
                tuple(map(_upload_numbers, rest)),
            )
        return found


class StageOnDevice:
    """A fused stage with its tables on the GPU.

    Parameters
    ----------
    stage : Stage
    fill : mapping of slot name to table
    rounds : bool
        Whether the sum of four turns is requantised; else that of turn 0 is the result.
    """

    def __init__(self, stage: Stage, fill: Mapping[str, Any], *, rounds: bool = True) -> None:
        self.stage = stage
        self._rounds = rounds
        self._laid_out = LaidOutStage(stage, rounds=rounds)
        self._windows = [WindowOnDevice(op, fill) for op in stage.convolutions]
        tables = [spread_table(op, fill[op.slot]) for op in stage.lookups]
        self._table = upload(_join(tables, in_words=self._laid_out.in_words))

    def run(self, session: Session, planes: Planes) -> Planes:
        """Return the codes, or the sums, of the planes."""
        side = self.stage.block
        dtype = np.uint8 if self._rounds else np.int32
        out = session.empty_planes(planes.colours, planes.channels, planes.height * side, planes.width * side, dtype)
        padded = self._laid_out.pad(session, planes, self._make_maps(session, planes))
        self._laid_out.run(session, planes, padded, self._table, out.flat)
        session.release(padded)
        return out

    def _make_maps(self, session: Session, planes: Planes) -> Iterator[Planes]:
        """Yield what the windows make of the planes in turn after turn; each is gone when the next is asked for."""
        for window in self._windows:
            for made in window.run(session, planes, TURNS):
                yield made
                session.release(made)


def prepare_lookup(op: Lookup, fill: Mapping[str, Any]) -> StageOnDevice:
    """Return what makes the sums of a single lookup."""
    nothing = Requantise(output=op.output, input=op.output, bias=0, divisor=1)
    return StageOnDevice(Stage(op.input, op.output, (op,), (1,), (), nothing), fill, rounds=False)


def _fit_words(stage: Stage) -> bool:
    """Return whether a lane of 16 bits can hold the biased sum of a turn, with no weight below 0."""
    largest = len(stage.lookups) * stage.unit * LARGEST_BYTE
    return stage.block % 2 == 0 and stage.interpolation is Interpolation.SIMPLEX and largest <= LANE


def _join(tables: list[NDArray[np.int8]], *, in_words: bool) -> NDArray[Any]:
    """Return tables one after the other, as words of biased bytes on demand."""
    joined = np.concatenate([table.reshape(-1) for table in tables])
    if not in_words:
        return joined
    return (joined.astype(np.int16) + BIAS).astype(np.uint8).view(np.dtype("<u4"))


def _upload_numbers(array: NDArray[Any]) -> Any:
    return upload(array.astype(np.int32))
