"""How an axis network lies in arrays: its tables joined, its taps listed, its maps placed.

Floor 4: imports the primitives and the network. Maps hold 16 channels side by side; a layer of more makes several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.axis_lines import DEPTHWISE, EIGHT, LANES, NINE, ZEROS
from lutkit_runtime.kernels.cpu.axis_network import LARGEST_BYTE, AxisNetwork, Layer, Reading, View
from lutkit_runtime.ops import Tap
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.pattern import IndexPattern

WIDEST_NARROW_SUM = (1 << 15) - 1
CACHE_LINE = 64

Place = tuple[int, int, int, int]
"""Map, row, column and lane of a tap; lane -1 for one tap of every lane, each for its own output."""


@dataclass(frozen=True)
class Part:
    """One tap of a lookup that reads a row of a joined table.

    Parameters
    ----------
    reading : Reading
    tap : int
        Which of the lookup's taps.
    row : int
        Which of the unit's rows of `places` it adds to.
    first : int
        First output of the lookup that is in the unit.
    lane : int
        Lane of the only output of a depthwise tap, or -1.
    """

    reading: Reading
    tap: int
    row: int
    first: int
    lane: int


@dataclass(frozen=True)
class Unit:
    """Sixteen outputs of a layer: taps of one map at one place are one tap, whose table is the sum of theirs.

    Parameters
    ----------
    layer : Layer
    group : int
        The outputs are 16 group to 16 group + 15.
    map : int
        What is made.
    places : tuple of Place
    parts : tuple of Part
        What is summed in the table of each place.
    """

    layer: Layer
    group: int
    map: int
    places: tuple[Place, ...]
    parts: tuple[Part, ...]


class Maps:
    """The maps of a network by number: the image, then those of its layers, 16 channels each."""

    def __init__(self, network: AxisNetwork) -> None:
        self.names = [network.input]
        self._first = {network.input: 0}
        for layer in network.layers:
            self._first[layer.output] = len(self.names)
            self.names += [layer.output] * count_groups(layer)
        self._image = network.input

    def find(self, name: str, group: int) -> int:
        """Return the map of a group of 16 channels of a plane."""
        return self._first[name] + group

    def step(self, name: str) -> int:
        """Return the distance of a plane's pixels."""
        return 1 if name == self._image else LANES

    def locate(self, tap: Tap, name: str) -> Place:
        """Return where a tap reads."""
        return (self.find(name, tap.channel // LANES), tap.row, tap.column, tap.channel % LANES)


def count_groups(layer: Layer) -> int:
    """Return how many maps a layer makes."""
    return -(-layer.channels // LANES)


def list_units(network: AxisNetwork) -> list[Unit]:
    """Return what the kernel runs one after the other."""
    maps = Maps(network)
    return [_list_unit(layer, group, maps) for layer in network.layers for group in range(count_groups(layer))]


def _list_unit(layer: Layer, group: int, maps: Maps) -> Unit:
    found: list[tuple[Place, Reading, int, int]] = []
    for reading in layer.readings:
        name = reading.view.map
        for number, tap in enumerate(reading.lookup.taps):
            place = maps.locate(tap, name)
            if reading.lookup.depthwise:
                if tap.channel // LANES == group:
                    # a plane of one channel per pixel has no sixteen to read: its tap is like any other
                    shared = place if maps.step(name) == 1 else (*place[:3], -1)
                    found.append((shared, reading, number, tap.channel % LANES))
            else:
                found.append((place, reading, number, -1))
    # the depthwise ones last, and taps of one map together: passes of eight have one distance of pixels
    places = sorted({place for place, *_ in found}, key=lambda place: (place[3] < 0, place[0], *place[1:]))
    row_of = {place: row for row, place in enumerate(places)}
    parts = tuple(Part(reading, number, row_of[place], LANES * group, lane) for place, reading, number, lane in found)
    return Unit(layer, group, maps.find(layer.output, group), tuple(places), parts)


def view_bytes(view: View, highest: int) -> NDArray[np.int64]:
    """Return what a view makes of the bytes 0 to highest of its map."""
    return ((np.arange(highest + 1) >> view.shift) & view.mask) + view.offset


def place_bytes(reading: Reading, highest: int) -> NDArray[np.int64]:
    """Return for the bytes 0 to highest of a map the place in the expanded table of a lookup that views it.

    Bytes that cannot occur, because a map is clamped to fewer, get some place.
    """
    tables = reading.lookup.tables
    return np.clip(view_bytes(reading.view, highest) - tables.low, 0, tables.size - 1)


def expand_tables(network: AxisNetwork, tables: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int64]]:
    """Return the expanded tables of every lookup by its output, (taps, size, outputs)."""
    return {lookup.output: lookup.tables.lay_out().expand(tables[lookup.slot]) for lookup in network.lookups}


def join_unit(
    network: AxisNetwork, unit: Unit, expanded: Mapping[str, NDArray[Any]], dtype: type[np.generic]
) -> list[NDArray[Any]]:
    """Return the table of every place of a unit, each (bytes, 16), of a type.

    Parameters
    ----------
    expanded : mapping of output of a lookup to (taps, size, outputs)
        From `expand_tables`.
    """
    maps = Maps(network)
    tables = [np.zeros((network.highest(maps.names[place[0]]) + 1, LANES), dtype) for place in unit.places]
    for part in unit.parts:
        reading, table = part.reading, tables[part.row]
        rows = expanded[reading.lookup.output][part.tap][place_bytes(reading, len(table) - 1)] * reading.weight
        if part.lane >= 0:
            table[:, part.lane] += rows[:, 0]
        else:
            outputs = rows[:, part.first : part.first + LANES]
            table[:, : outputs.shape[1]] += outputs
    return tables


@dataclass(frozen=True)
class Prepared:
    """A network with its tables, ready for planes of any size.

    Parameters
    ----------
    network : AxisNetwork
    table : int16 or int32, one-dimensional
    units, inverses, taps, starts, passes, terms
        See `run_network_lines`.
    """

    network: AxisNetwork
    table: NDArray[np.int16 | np.int32]
    units: NDArray[np.int64]
    inverses: NDArray[np.float32]
    taps: NDArray[np.int64]
    starts: NDArray[np.uint64]
    passes: NDArray[np.int64]
    terms: NDArray[np.int64]


def prepare_network(network: AxisNetwork, tables: Mapping[str, NDArray[np.int8]]) -> Prepared:
    """Join the tables of a network and list its taps.

    Parameters
    ----------
    network : AxisNetwork
    tables : mapping of slot name to int8, (entries, 1)
    """
    maps = Maps(network)
    expanded = expand_tables(network, tables)
    joined: list[NDArray[Any]] = []
    places: list[Place] = []
    units: list[tuple[int, ...]] = []
    passes: list[tuple[int, int, int]] = []
    terms: list[tuple[int, ...]] = []
    starts: list[int] = []
    first_row, largest = ZEROS, 0
    for unit in list_units(network):
        first_pass, first_term = len(passes), len(terms)
        own = join_unit(network, unit, expanded, np.int64)
        start = unit.layer.requantise.bias
        for kind, step, numbers in _group_places(unit, maps):
            passes.append((len(places), kind, step))
            # a tap that fills up reads where the first one does, from rows of zeros
            places += [unit.places[max(number, numbers[0])] for number in numbers]
            starts += [first_row + sum(map(len, own[:number])) if number >= 0 else 0 for number in numbers]
        first_row += sum(map(len, own))
        for term in unit.layer.terms:
            terms.append((*_find_view(term.view, unit, network, maps), term.weight))
            start += term.weight * term.view.offset
        residual, after = (-1, 0, 0, 0, 0), -unit.layer.offset
        if unit.layer.residual:
            residual = _find_view(unit.layer.residual, unit, network, maps)
            after += unit.layer.residual.offset
        bytes_made = (unit.layer.requantise.low - unit.layer.offset, unit.layer.highest)
        ends = (first_pass, len(passes), first_term, len(terms))
        units.append((unit.map, *ends, *residual, start, after, *bytes_made))
        bound = sum(np.abs(table).max(axis=0) for table in own)
        bound = int(np.max(bound, initial=0))
        bound += abs(start) + sum(term.weight * LARGEST_BYTE for term in unit.layer.terms)
        largest = max(largest, bound)
        joined += own
    narrow = np.int16 if largest <= WIDEST_NARROW_SUM else np.int32
    table = align_rows(first_row, narrow)
    np.concatenate([np.zeros((ZEROS, LANES), narrow), *joined], out=table, casting="unsafe")
    return Prepared(
        network,
        table.reshape(-1),
        np.array(units, np.int64),
        np.array([1 / layer.requantise.divisor for layer in network.layers for _ in range(count_groups(layer))], "f4"),
        _turn_taps(places),
        np.array(starts, np.uint64) * np.uint64(LANES),
        np.array(passes, np.int64).reshape(-1, 3),
        np.array(terms, np.int64).reshape(-1, 6),
    )


def align_rows(rows: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Return an empty array (rows, 16) whose rows do not straddle cache lines."""
    size = np.dtype(dtype).itemsize
    flat = np.empty(rows * LANES + CACHE_LINE // size, dtype)
    first = -flat.ctypes.data % CACHE_LINE // size
    return flat[first : first + rows * LANES].reshape(rows, LANES)


def _find_view(view: View, unit: Unit, network: AxisNetwork, maps: Maps) -> tuple[int, int, int, int, int]:
    """Return map, distance of pixels, whether every lane has its own, shift and mask of what a unit adds."""
    shared = network.channels(view.map) == 1
    number = maps.find(view.map, 0 if shared else unit.group)
    return (number, maps.step(view.map), int(not shared), view.shift, view.mask)


def _group_places(unit: Unit, maps: Maps) -> list[tuple[int, int, list[int]]]:
    """Return kind, distance of pixels and numbers of the places of every pass of a unit; -1 fills a pass up."""
    dense = [(number, maps.step(maps.names[place[0]])) for number, place in enumerate(unit.places) if place[3] >= 0]
    passes: list[tuple[int, int, list[int]]] = []
    for step in sorted({step for _, step in dense}):
        numbers = [number for number, each in dense if each == step]
        if len(numbers) % EIGHT == 1 and len(numbers) > 1:
            passes.append((NINE, step, numbers[:NINE]))
            numbers = numbers[NINE:]
        numbers += [-1] * (-len(numbers) % EIGHT)
        passes += [(EIGHT, step, numbers[first : first + EIGHT]) for first in range(0, len(numbers), EIGHT)]
    return passes + [(DEPTHWISE, LANES, [number]) for number, place in enumerate(unit.places) if place[3] < 0]


def _turn_taps(places: Sequence[Place]) -> NDArray[np.int64]:
    """Return map, row, column and first lane of every tap under every turn, (turns, taps, 4)."""
    turned = np.zeros((TURNS, len(places), 4), np.int64)
    for turns in range(TURNS):
        for number, (source, row, column, lane) in enumerate(places):
            ((row_seen, column_seen),) = IndexPattern(((row, column),)).rotated(turns).offsets
            turned[turns, number] = source, row_seen, column_seen, max(0, lane)
    return turned
