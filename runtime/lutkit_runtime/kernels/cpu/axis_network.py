"""A fused axis network: a body of one-dimensional tables under the rotation ensemble, its sum requantised.

Floor 4: imports the ops and the primitives. The reference is `Ensemble.reference` followed by `Requantise.reference`.
Here a body is brought into the form that the kernel runs: layers, each a sum of lookups and of maps that is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from lutkit_runtime.kernels.cpu.axis_sums import EXACT_SUM, LARGEST_DIVISOR, LARGEST_QUOTIENT
from lutkit_runtime.ops import (
    CODES,
    Add,
    AxisLookup,
    BitField,
    Ensemble,
    PixelShuffle,
    Plane,
    Requantise,
    follow_planes,
)
from lutkit_runtime.ops.axis_lookup import LARGEST_ENTRY
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.padding import Padding

LARGEST_BLOCK = 4
LARGEST_PARTS = 64
LARGEST_TABLE = 1 << 24
LARGEST_BYTE = 255


@dataclass(frozen=True)
class View:
    """What an op sees of a map: value = ((byte >> shift) & mask) + offset.

    Parameters
    ----------
    map : str
        The image, or a layer.
    shift, mask, offset : int
    split : bool
        Only some bits are seen, through which no gradient passes.
    upper : bool
        The byte is the upper one of a layer of two.
    """

    map: str
    shift: int
    mask: int
    offset: int
    split: bool = False
    upper: bool = False

    @property
    def largest(self) -> int:
        """Bound of the magnitude of the values."""
        return max(abs(self.offset), abs(self.offset + self.mask))


@dataclass(frozen=True)
class Reading:
    """A lookup of a view, times a weight."""

    lookup: AxisLookup
    view: View
    weight: int

    @property
    def largest(self) -> int:
        """Bound of the magnitude of what is added."""
        return self.weight * LARGEST_ENTRY * self.lookup.tables.denominator * self.lookup.taps_per_output


@dataclass(frozen=True)
class Term:
    """A view that is added before rounding, times a weight."""

    view: View
    weight: int

    @property
    def largest(self) -> int:
        """Bound of the magnitude of what is added."""
        return self.weight * self.view.largest


@dataclass(frozen=True)
class Layer:
    """A sum of lookups and maps, rounded to a map.

    Parameters
    ----------
    output : str
    channels : int
    readings : tuple of Reading
    terms : tuple of Term
    requantise : Requantise
    residual : View, optional
        What is added after rounding.
    """

    output: str
    channels: int
    readings: tuple[Reading, ...]
    terms: tuple[Term, ...]
    requantise: Requantise
    residual: View | None

    @property
    def offset(self) -> int:
        """Value of the byte 0 of the map: codes are kept as they are, others from their lowest value on."""
        return 0 if self.requantise.makes_codes else self.requantise.low

    @property
    def highest(self) -> int:
        """The highest number in the map."""
        return self.requantise.high - self.offset

    @property
    def is_wide(self) -> bool:
        """Whether the map takes two bytes: it may be added to others, and nothing else."""
        return self.highest > LARGEST_BYTE

    @property
    def largest_sum(self) -> int:
        """Bound of the magnitude of every sum that occurs on the way."""
        return abs(self.requantise.bias) + sum(part.largest for part in (*self.readings, *self.terms))


@dataclass(frozen=True)
class AxisNetwork:
    """A run of two ops that one kernel can do: an ensemble of axis lookups, and the requantisation of its sum.

    Parameters
    ----------
    input, output : str
        Names of the plane that the ensemble reads and of the one that the requantisation makes.
    layers : tuple of Layer
        In order; the last has block**2 channels, which become pixels.
    block : int
        Output pixels per input pixel in each direction, 1 to 4.
    requantise : Requantise
        Of the sum over turns; its residual is the input or nothing.
    """

    input: str
    output: str
    layers: tuple[Layer, ...]
    block: int
    requantise: Requantise

    @property
    def lookups(self) -> tuple[AxisLookup, ...]:
        """Every lookup, layer by layer."""
        return tuple(reading.lookup for layer in self.layers for reading in layer.readings)

    def channels(self, name: str) -> int:
        """Return the number of channels of a map."""
        return next((layer.channels for layer in self.layers if layer.output == name), 1)

    def highest(self, name: str) -> int:
        """Return the highest byte of a map."""
        return next((layer.highest for layer in self.layers if layer.output == name), LARGEST_BYTE)

    def reach(self, name: str) -> int:
        """Return the largest distance at which a map is read."""
        return max((each.lookup.halo for each in self._readers(name)), default=0)

    def padding(self, name: str) -> Padding:
        """Return what readers see outside a map."""
        return next((each.lookup.padding for each in self._readers(name) if each.lookup.halo), Padding.EDGE)

    def _readers(self, name: str) -> list[Reading]:
        return [each for layer in self.layers for each in layer.readings if each.view.map == name]

    def need(self, name: str) -> int:
        """Return how many rows around a band of results are needed of a map."""
        beyond = dict.fromkeys((self.input, *(layer.output for layer in self.layers)), 0)
        for layer in reversed(self.layers):
            here = beyond[layer.output]
            read = [(each.view.map, each.lookup.halo) for each in layer.readings]
            read += [(each.view.map, 0) for each in layer.terms]
            read += [(layer.residual.map, 0)] if layer.residual else []
            for source, halo in read:
                beyond[source] = max(beyond[source], here + halo)
        return beyond[name]


class _Unfit(Exception):
    """The kernel cannot do it."""


@dataclass(frozen=True)
class _Sum:
    """A sum that is not rounded yet."""

    readings: tuple[Reading, ...] = ()
    terms: tuple[Term, ...] = ()

    def scaled(self, weight: int) -> _Sum:
        readings = tuple(replace(each, weight=each.weight * weight) for each in self.readings)
        return _Sum(readings, tuple(replace(each, weight=each.weight * weight) for each in self.terms))


class _Reader:
    """Brings ops one after another into layers; raises _Unfit where the kernel cannot do one."""

    def __init__(self, source: str) -> None:
        self.views = {source: View(source, 0, LARGEST_BYTE, 0)}
        self.sums: dict[str, _Sum] = {}
        self.layers: list[Layer] = []
        self.planes: dict[str, Plane] = {source: CODES}

    def read(self, op: object) -> None:
        """Take one op."""
        if not isinstance(op, BitField | AxisLookup | Add | Requantise):
            raise _Unfit
        follow_planes([op], self.planes)
        match op:
            case BitField():
                source = self.view(op.input).map
                self.views[op.output] = View(source, op.shift, (1 << op.bits) - 1, op.offset, split=True)
            case AxisLookup():
                self.sums[op.output] = _Sum(readings=(Reading(op, self.view(op.input), 1),))
            case Add():
                parts = [self.sum(name).scaled(by) for name, by in zip(op.terms, op.factors, strict=True)]
                # sums of sums of themselves would grow without end
                if sum(len(part.readings) + len(part.terms) for part in parts) > LARGEST_PARTS:
                    raise _Unfit
                readings = tuple(each for part in parts for each in part.readings)
                self.sums[op.output] = _Sum(readings, tuple(each for part in parts for each in part.terms))
            case Requantise():
                self.layers.append(self.layer(op))

    def view(self, name: str) -> View:
        if name not in self.views:
            raise _Unfit
        return self.views[name]

    def sum(self, name: str) -> _Sum:
        return self.sums[name] if name in self.sums else _Sum(terms=(Term(self.view(name), 1),))

    def layer(self, op: Requantise) -> Layer:
        total = self.sum(op.input)
        residual = None if op.residual is None else self.view(op.residual)
        plane = None if op.residual is None else self.planes[op.residual]
        layer = Layer(op.output, self.planes[op.output].channels, total.readings, total.terms, op, residual)
        if layer.largest_sum > EXACT_SUM or not rounds_exactly(op, plane):
            raise _Unfit
        whole = View(op.output, 0, LARGEST_BYTE, layer.offset)
        if layer.is_wide:
            upper = View(op.output, 0, layer.highest >> 8, 0, split=True, upper=True)
            self.sums[op.output] = _Sum(terms=(Term(whole, 1), Term(upper, 1 << 8)))
        else:
            self.views[op.output] = whole
        return layer


def rounds_exactly(op: Requantise, residual: Plane | None) -> bool:
    """Tell whether the kernel rounds as `Requantise.codes` does: see `SNAP`."""
    low, high = (0, 0) if residual is None else (residual.low, residual.high)
    return max(abs(op.low - high), abs(op.high - low)) < LARGEST_QUOTIENT - 1 and op.divisor <= LARGEST_DIVISOR


def claim_axis_network(ensemble: Ensemble, requantise: Requantise) -> AxisNetwork | None:
    """Return the fused network that equals these two ops, or None where the kernel cannot do them."""
    if requantise.input != ensemble.output or not requantise.makes_codes:
        return None
    if requantise.residual not in (None, ensemble.input):
        return None
    *body, last = ensemble.body
    shuffle = last if isinstance(last, PixelShuffle) else None
    result = last.output if shuffle is None else shuffle.input
    reader = _Reader(ensemble.input)
    try:
        for op in body if shuffle else ensemble.body:
            reader.read(op)
    except _Unfit:
        return None
    # what comes after the layer that is shuffled is not used
    layers = tuple(reader.layers)
    while layers and layers[-1].output != result:
        layers = layers[:-1]
    block = 1 if shuffle is None else shuffle.block
    network = AxisNetwork(ensemble.input, requantise.output, layers, block, requantise)
    return network if layers and _fits(network) else None


def _fits(network: AxisNetwork) -> bool:
    last = network.layers[-1].requantise
    total = TURNS * max(abs(last.low), abs(last.high)) + abs(network.requantise.bias)
    residual = None if network.requantise.residual is None else CODES
    paddings: dict[str, set[Padding]] = {}
    entries = 0
    for layer in network.layers:
        for each in layer.readings:
            entries += prod((len(each.lookup.taps), each.lookup.outputs, network.highest(each.view.map) + 1))
            if each.lookup.halo:
                paddings.setdefault(each.view.map, set()).add(each.lookup.padding)
    return (
        network.block <= LARGEST_BLOCK
        and network.layers[-1].channels == network.block**2
        and not network.layers[-1].is_wide
        and total <= EXACT_SUM
        and rounds_exactly(network.requantise, residual)
        and (residual is None or network.block == 1)
        and all(len(kinds) == 1 for kinds in paddings.values())
        and entries <= LARGEST_TABLE
    )
