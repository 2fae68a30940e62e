# pyright: basic
"""A fused stage whose tables are trained on the GPU: forward and backward. Imports stage, stage_gradient_lines, fixed_point.

All arrays are on the GPU, given by the caller and one-dimensional; work is done on the session's stream, nothing is copied
to the host, and nothing waited for. References are `run_joined` and `stage_gradient` of the CPU: codes are the same bytes,
gradients differ by what additions in float32 lose there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.fixed_point import (
    PIECE,
    clear_gradient,
    clear_largest,
    clear_sums,
    find_bits,
    find_largest,
    settle,
)
from lutkit_runtime.kernels.cuda.memory import Planes, Session, upload
from lutkit_runtime.kernels.cuda.padding import find_sources
from lutkit_runtime.kernels.cuda.stage import LARGEST_BYTE, LaidOutStage
from lutkit_runtime.kernels.cuda.stage_gradient_lines import (
    accumulate_samples,
    accumulate_tables,
    bias_bytes,
    fold_sums,
    gate_blocks,
    join_rows,
)
from lutkit_runtime.kernels.stage_bands import count_rows, lay_out_band, lay_out_rows
from lutkit_runtime.kernels.stage_claim import Stage
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import MAX_SAMPLES


@dataclass(frozen=True)
class TablePlaces:
    """Where a lookup's table lies among the joined ones, on the GPU.

    Parameters
    ----------
    first, rows : int
        First row in memory, and how many there are.
    entries : int
        Rows of the table.
    spread : int32, (rows,)
        Row of the table that each row in memory holds.
    gathered : int32, (entries,)
        Row in memory where the gradient to each row of the table is.
    compressed : bool
        Whether the table is diagonal-first; the rows follow each other otherwise, and neither array is read.
    """

    first: int
    rows: int
    entries: int
    spread: Any
    gathered: Any
    compressed: bool


class TrainableStage:
    """A fused stage that is given its tables at every call.

    Parameters
    ----------
    stage : Stage
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._laid_out = LaidOutStage(stage)
        self._places = _find_places(stage)
        self._rows = sum(place.rows for place in self._places)
        self._wanted = {
            with_planes: upload(_find_wanted(stage, with_planes=with_planes)) for with_planes in (False, True)
        }

    def run(self, session: Session, tables: Sequence[Any], planes: Planes, maps: Sequence[Any], out: Any) -> None:
        """Write the codes that the stage makes.

        Parameters
        ----------
        session : Session
        tables : sequence of int8, (entries * block**2,)
            One per lookup.
        planes : Planes of uint8
            One channel.
        maps : sequence of uint8, (4 turns * N * H * W,)
            One per convolution.
        out : uint8, (N * H * block * W * block,)
        """
        table = self._join(session, tables)
        if self._laid_out.in_words:
            biased = session.empty(table.size, np.uint8)
            bias_bytes.launch(table.size, session.stream, table, biased)
            table = biased.view(np.uint32)
        padded = self._pad(session, planes, maps)
        self._laid_out.run(session, planes, padded, table, out)

    def differentiate(
        self,
        session: Session,
        tables: Sequence[Any],
        planes: Planes,
        maps: Sequence[Any],
        codes: Any,
        gradient: Any,
        to_tables: Sequence[Any],
        to_planes: Any | None,
        to_maps: Sequence[Any],
    ) -> None:
        """Write the gradients to the tables, the planes and the maps; arguments as for `run`.

        Parameters
        ----------
        session, tables, planes, maps
        codes : uint8, (N * H * block * W * block,)
            What `run` made.
        gradient : float32, like codes
            Gradient to the codes.
        to_tables : sequence of float32, (entries * block**2,)
            One per lookup.
        to_planes : float32, (N * H * W,), or None where it is not wanted
            Through the lookups that read the planes themselves.
        to_maps : sequence of float32, (4 turns * N * H * W,)
            One per convolution.
        """
        outputs = self.stage.block**2
        stream = session.stream
        bits = find_stage_bits(self.stage, planes)
        largest = find_largest_in(session, gradient)
        slopes = session.empty(planes.size * outputs, np.int32)
        gate_blocks.launch(
            planes.size * outputs, stream, gradient, codes, planes.width, self.stage.block, largest, bits, slopes
        )
        padded = self._pad(session, planes, maps)
        layout = self._laid_out.lay_out(planes.count, padded.height, padded.width)
        reading = (
            slopes,
            self.stage.block,
            planes.height,
            planes.width,
            padded.flat,
            *self._laid_out.find_reading(padded),
        )
        scale = self._laid_out.scale
        inverse = np.float32(1.0 / self.stage.requantise.divisor)

        sums = clear(session, self._rows * outputs)
        accumulate_tables.launch(
            planes.size * outputs,
            stream,
            *reading,
            self._laid_out.bases,
            layout.offsets,
            layout.walked,
            *layout.rest,
            *scale,
            sums,
        )
        for place, out in zip(self._places, to_tables, strict=True):
            settle.launch(
                place.entries * outputs,
                stream,
                sums,
                place.first * outputs,
                place.gathered,
                int(place.compressed),
                outputs,
                largest,
                bits,
                inverse,
                out,
            )
        if to_planes is None and not to_maps:
            return

        padded_sums = clear(session, padded.size)
        accumulate_samples.launch(
            planes.size,
            stream,
            *reading,
            self._join(session, tables),
            self._laid_out.bases,
            layout.offsets,
            layout.rest[0],
            *layout.rest,
            *scale,
            self._wanted[to_planes is not None],
            padded_sums,
        )
        folded = fold(session, self.stage.padding, self.stage.reach, planes, padded, padded_sums)
        first = int(self.stage.reads_input) * planes.size
        results = [(first + TURNS * planes.size * place, out) for place, out in enumerate(to_maps)]
        if to_planes is not None and self.stage.reads_input:
            results.append((0, to_planes))
        elif to_planes is not None:
            # only windows read the planes
            clear_gradient.launch(to_planes.size, stream, to_planes)
        for start, out in results:
            settle.launch(out.size, stream, folded, start, self._places[0].gathered, 0, 1, largest, bits, inverse, out)

    def _join(self, session: Session, tables: Sequence[Any]) -> Any:
        """Return the tables as they lie in memory, int8."""
        outputs = self.stage.block**2
        joined = session.empty(self._rows * outputs, np.int8)
        for place, table in zip(self._places, tables, strict=True):
            join_rows.launch(
                place.rows * outputs,
                session.stream,
                table,
                place.spread,
                int(place.compressed),
                outputs,
                place.first * outputs,
                joined,
            )
        return joined

    def _pad(self, session: Session, planes: Planes, maps: Sequence[Any]) -> Planes:
        made = [Planes(part, TURNS * planes.count, 1, planes.height, planes.width) for part in maps]
        return self._laid_out.pad(session, planes, made)


def find_largest_in(session: Session, gradient: Any) -> Any:
    """Return the largest magnitude of gradients on the GPU, as a pattern of bits."""
    largest = session.empty(1, np.int32)
    clear_largest.launch(1, session.stream, largest)
    size = gradient.size
    find_largest.launch(-(-size // PIECE), session.stream, gradient.view(np.int32), size, largest)
    return largest


def clear(session: Session, size: int) -> Any:
    """Return sums that are 0."""
    sums = session.empty(size, np.int64)
    clear_sums.launch(-(-size // PIECE), session.stream, size, sums)
    return sums


def fold(session: Session, padding: Padding, reach: int, planes: Planes, padded: Planes, sums: Any) -> Any:
    """Return the sums of the pixels of planes from those of padded ones, int64; the planes give only rows and columns."""
    folded = clear(session, padded.count * planes.height * planes.width)
    fold_sums.launch(
        padded.size,
        session.stream,
        sums,
        padded.height,
        padded.width,
        find_sources(session, padding, planes.height, reach),
        find_sources(session, padding, planes.width, reach),
        planes.height,
        planes.width,
        folded,
    )
    return folded


def find_stage_bits(stage: Stage, planes: Planes) -> int:
    """Return how many bits gradients of a stage may have.

    An entry receives at most the whole weight of every pixel in every turn. A sample is read by one pixel for each axis,
    lookup and turn, as often as padding repeats it, and a block of entries differs from its neighbour by 255 at most.
    """
    to_entry = planes.size * TURNS * stage.unit
    finest = [
        factor << (op.diagonal.coarse - op.lattice.interval if op.diagonal is not None else 0)
        for op, factor in zip(stage.lookups, stage.factors, strict=True)
    ]
    repeated = (2 * stage.reach + 1) ** 2
    to_sample = sum(finest) * LARGEST_BYTE * stage.block**2 * TURNS * MAX_SAMPLES * repeated
    return find_bits(to_entry, to_sample)


def _find_wanted(stage: Stage, *, with_planes: bool) -> Any:
    """Return for every lookup whether the gradient to its samples is wanted."""
    return np.array([with_planes or lookup.input != stage.input for lookup in stage.lookups]).astype(np.int32)


def _find_places(stage: Stage) -> list[TablePlaces]:
    places: list[TablePlaces] = []
    first = 0
    for lookup in stage.lookups:
        rows = count_rows(lookup)
        spread = gathered = np.zeros(1, np.int32)
        if lookup.diagonal is not None:
            band = lay_out_band(lookup.diagonal, lookup.lattice)
            spread = lay_out_rows(lookup)
            gathered = np.concatenate([band.places, np.arange(len(band.rows), rows)])
        on_device = [upload(each.astype(np.int32)) for each in (spread, gathered)]
        places.append(TablePlaces(first, rows, lookup.entries, on_device[0], on_device[1], lookup.diagonal is not None))
        first += rows
    return places
