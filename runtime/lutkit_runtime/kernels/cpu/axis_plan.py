"""How the kernel of an axis network runs it: maps by number, taps that read them, passes over pixels.

Floor 4: imports the primitives and the network. Maps hold 16 channels side by side; a layer of more makes several. What is
planned does not depend on the tables' entries, nor on the size of planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.axis_lines import ALIGNED, DENSE, EIGHT, NINE, SCATTERED, TOGETHER, ZEROS
from lutkit_runtime.kernels.cpu.axis_network import AxisNetwork, Layer, Reading, View
from lutkit_runtime.kernels.cpu.axis_sums import LANES
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.pattern import IndexPattern

EVERY_LANE = -1


class Place(NamedTuple):
    """Where taps read, which makes them one tap whose table is the sum of theirs.

    Parameters
    ----------
    map, row, column, lane : int
    owner : int
        A number that keeps taps apart that read the same.
    """

    map: int
    row: int
    column: int
    lane: int
    owner: int


@dataclass(frozen=True)
class Part:
    """One tap of a lookup, in the joined table.

    Parameters
    ----------
    reading : Reading
    tap : int
        Which of the lookup's taps.
    number : int
        Which of the plan's taps it is part of.
    row, rows : int
        First row of that tap's table, and number of rows: one for every byte of its map.
    first : int
        Output of the lookup in lane 0.
    lane : int
        Lane of the only output of a depthwise tap, or EVERY_LANE.
    """

    reading: Reading
    tap: int
    number: int
    row: int
    rows: int
    first: int
    lane: int


@dataclass(frozen=True)
class Plan:
    """What the kernel is told about a network.

    Parameters
    ----------
    network : AxisNetwork
    parts : tuple of Part
    rows : int
        Of the joined table; the first ZEROS are zeros.
    units, inverses, taps, starts, passes, terms
        See `run_network_lines`.
    """

    network: AxisNetwork
    parts: tuple[Part, ...]
    rows: int
    units: NDArray[np.int64]
    inverses: NDArray[np.float32]
    taps: NDArray[np.int64]
    starts: NDArray[np.uint64]
    passes: NDArray[np.int64]
    terms: NDArray[np.int64]


class Maps:
    """The maps of a network by number: the image, then those of its layers, 16 channels each; upper bytes last."""

    def __init__(self, network: AxisNetwork) -> None:
        self.names = [network.input]
        self._first = {network.input: 0}
        self._groups = {network.input: 1}
        for layer in network.layers:
            self._first[layer.output] = len(self.names)
            self._groups[layer.output] = count_groups(layer)
            self.names += [layer.output] * count_groups(layer) * (2 if layer.is_wide else 1)
        self._image = network.input

    def find(self, name: str, group: int, upper: bool = False) -> int:
        """Return the map of a group of 16 channels of a plane."""
        return self._first[name] + group + (self._groups[name] if upper else 0)

    def step(self, name: str) -> int:
        """Return the distance of a plane's pixels."""
        return 1 if name == self._image else LANES


def count_groups(layer: Layer) -> int:
    """Return how many maps a layer makes."""
    return -(-layer.channels // LANES)


@lru_cache(maxsize=16)
def plan_network(network: AxisNetwork, apart: frozenset[str] = frozenset()) -> Plan:
    """Plan a network; taps of lookups whose slots are named in `apart` are not joined with others.

    Training asks for the same plan at every step.
    """
    planner = _Planner(network, apart)
    for layer in network.layers:
        for group in range(count_groups(layer)):
            planner.add_unit(layer, group)
    return planner.finish()


class _Given(NamedTuple):
    """A tap of a lookup before it has a row in the joined table; see `Part`."""

    order: int
    tap: int
    reading: Reading
    first: int
    lane: int


class _Planner:
    """Lists what the kernel runs, unit by unit: 16 outputs of a layer."""

    def __init__(self, network: AxisNetwork, apart: frozenset[str]) -> None:
        self._network = network
        self._apart = apart
        self._maps = Maps(network)
        self._parts: list[Part] = []
        self._rows = ZEROS
        self._units: list[tuple[int, ...]] = []
        self._inverses: list[float] = []
        self._places: list[Place] = []
        self._starts: list[int] = []
        self._passes: list[tuple[int, int, int, int]] = []
        self._terms: list[tuple[int, ...]] = []

    def add_unit(self, layer: Layer, group: int) -> None:
        """List the taps, terms and numbers of a unit."""
        first_pass, first_term = len(self._passes), len(self._terms)
        self._add_taps(layer, group)
        start = layer.requantise.bias
        for term in layer.terms:
            self._terms.append((*self._find_view(term.view, group), term.weight))
            start += term.weight * term.view.offset
        residual, after = (-1, 0, 0, 0, 0), -layer.offset
        if layer.residual:
            residual = self._find_view(layer.residual, group)
            after += layer.residual.offset
        ends = (first_pass, len(self._passes), first_term, len(self._terms))
        numbers = (layer.requantise.low - layer.offset, layer.highest)
        upper = self._maps.find(layer.output, group, upper=True) if layer.is_wide else -1
        made = self._maps.find(layer.output, group)
        kinds = [each[3] for each in self._passes[first_pass:]]
        alone = kinds in ([ALIGNED], [SCATTERED]) and self._passes[-1][1] != TOGETHER
        only_maps = alone and not layer.terms and not layer.residual and not layer.is_wide
        self._units.append((made, *ends, *residual, start, after, *numbers, upper, int(only_maps)))
        self._inverses.append(1 / layer.requantise.divisor)

    def _add_taps(self, layer: Layer, group: int) -> None:
        """List the passes of a unit: taps that add to every lane, then those that add to their own."""
        dense: dict[Place, list[_Given]] = {}
        own: list[tuple[Place, _Given]] = []
        for order, reading in enumerate(layer.readings):
            name, lookup = reading.view.map, reading.lookup
            for tap, at in enumerate(lookup.taps):
                group_read, lane = divmod(at.channel, LANES)
                owner = order * len(lookup.taps) + tap if lookup.slot in self._apart else -1
                place = Place(self._maps.find(name, group_read), at.row, at.column, lane, owner)
                if not lookup.depthwise:
                    dense.setdefault(place, []).append(_Given(order, tap, reading, LANES * group, EVERY_LANE))
                elif group_read == group and self._maps.step(name) == 1:
                    # a plane of one channel per pixel has no sixteen to read: its taps are like any other
                    dense.setdefault(place, []).append(_Given(order, tap, reading, 0, lane))
                elif group_read == group:
                    own.append((place, _Given(order, tap, reading, 0, lane)))
        self._add_dense(dense)
        self._add_own(own)

    def _add_dense(self, given: dict[Place, list[_Given]]) -> None:
        for step in (1, LANES):
            places = [place for place in sorted(given) if self._maps.step(self._maps.names[place.map]) == step]
            # in the backward pass taps of layers go by fours
            if step == 1 and len(places) % EIGHT == 1 and len(places) > 1:
                self._add_pass(DENSE, places[:NINE], [given[place] for place in places[:NINE]])
                places = places[NINE:]
            for first in range(0, len(places), EIGHT):
                part = places[first : first + EIGHT]
                # taps that fill a pass up read where the first one does, from rows of zeros
                filling = EIGHT - len(part)
                self._add_pass(DENSE, part + part[:1] * filling, [*(given[place] for place in part), *[()] * filling])

    def _add_own(self, given: list[tuple[Place, _Given]]) -> None:
        """List taps of lanes: where every lane has one at the same offset, and what is left, one of every lane."""
        for source in sorted({place.map for place, _ in given}):
            left = [item for item in sorted(given) if item[0].map == source]
            lanes = {place.lane for place, _ in left}
            aligned: list[tuple[Place, list[_Given]]] = []
            for row, column in sorted({place[1:3] for place, _ in left}):
                here = _take_lanes([item for item in left if item[0][1:3] == (row, column)])
                if here.keys() == lanes:
                    aligned.append((Place(source, row, column, 0, -1), [each for _, each in here.values()]))
                    left = [item for item in left if item not in here.values()]
            while aligned:
                some = aligned[: TOGETHER if len(aligned) >= TOGETHER else 1]
                self._add_pass(ALIGNED, [place for place, _ in some], [each for _, each in some])
                aligned = aligned[len(some) :]
            while left:
                here = _take_lanes(left)
                left = [item for item in left if item not in here.values()]
                anywhere = next(iter(here.values()))[0]
                places = [here[lane][0] if lane in here else anywhere for lane in range(LANES)]
                self._add_pass(SCATTERED, places, [[each for _, each in here.values()], *[()] * (LANES - 1)])

    def _add_pass(self, kind: int, places: Sequence[Place], given: Sequence[Sequence[_Given]]) -> None:
        """List a pass; taps that are given nothing have no table."""
        step = self._maps.step(self._maps.names[places[0].map])
        self._passes.append((len(self._places), len(places), step, kind))
        for place, parts in zip(places, given, strict=True):
            rows = self._network.highest(self._maps.names[place.map]) + 1 if parts else 0
            for each in parts:
                self._parts.append(
                    Part(each.reading, each.tap, len(self._places), self._rows, rows, each.first, each.lane)
                )
            self._places.append(place)
            self._starts.append(self._rows if parts else 0)
            self._rows += rows

    def _find_view(self, view: View, group: int) -> tuple[int, int, int, int, int]:
        """Return map, distance of pixels, whether every lane has its own, shift and mask of what a unit adds."""
        shared = self._network.channels(view.map) == 1
        number = self._maps.find(view.map, 0 if shared else group, view.upper)
        return (number, self._maps.step(view.map), int(not shared), view.shift, view.mask)

    def finish(self) -> Plan:
        """Return the plan."""
        return Plan(
            self._network,
            tuple(self._parts),
            self._rows,
            np.array(self._units, np.int64),
            np.array(self._inverses, np.float32),
            _turn_taps(self._places),
            np.array(self._starts, np.uint64) * np.uint64(LANES),
            np.array(self._passes, np.int64).reshape(-1, 4),
            np.array(self._terms, np.int64).reshape(-1, 6),
        )


def _take_lanes(given: list[tuple[Place, _Given]]) -> dict[int, tuple[Place, _Given]]:
    """Return the first tap of every lane that has one."""
    return {item[0].lane: item for item in reversed(given)}


def _turn_taps(places: Sequence[Place]) -> NDArray[np.int64]:
    """Return map, row, column and first lane of every tap under every turn, (turns, taps, 4)."""
    turned = np.zeros((TURNS, len(places), 4), np.int64)
    for turns in range(TURNS):
        for number, (source, row, column, lane, _) in enumerate(places):
            ((row_seen, column_seen),) = IndexPattern(((row, column),)).rotated(turns).offsets
            turned[turns, number] = source, row_seen, column_seen, lane
    return turned
