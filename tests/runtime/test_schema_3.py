"""A frozen file of schema 3, with every op and field that it added: it is read, and gives the bytes it gave then."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from lutkit_runtime.artefact import Artefact, read_artefact
from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.engine import Model
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import (
    Add,
    AxisLookup,
    BitField,
    Ensemble,
    Lookup,
    PixelShuffle,
    ReconstructedConvolution,
    Requantise,
    Tap,
)
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS
from lutkit_runtime.program import Program

FROZEN = Path(__file__).with_name("artefact-schema-3.h5")
"""Written once with `write_artefact(FROZEN, make_network())`; it must be readable for ever."""
RESULT = "faa00a7538ca5c8cb86d44649be9d4bfd0ebd332aab1e072b2beba3d56321b80"
"""SHA-256 of what the model makes of the picture."""

CHANNELS = 4
WINDOW = tuple(Tap(row=row, column=column) for row in (-1, 0, 1) for column in (-1, 0, 1))
SHIFTED = tuple(
    Tap(channel, row + channel - 2, column - channel)
    for channel in range(CHANNELS)
    for row, column in ((-1, 0), (0, -1), (0, 0), (1, 1))
)


def choose_steps(taps: int, outputs: int, choices: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return steps for every tap and output, all choices among them."""
    return tuple(tuple(choices[(tap + output) % len(choices)] for output in range(outputs)) for tap in range(taps))


def build_body() -> tuple[BitField | AxisLookup | Add | Requantise | PixelShuffle, ...]:
    """Return a network of four channels that ends in codes, twice as large."""
    return (
        BitField(output="high", input="image", shift=2, bits=6, offset=-32),
        BitField(output="low", input="image", shift=0, bits=2),
        AxisLookup(
            output="first/high",
            input="high",
            slot="first/high",
            taps=WINDOW,
            tables=AxisTables(-32, 64, choose_steps(9, CHANNELS, (1, 4, 2))),
            outputs=CHANNELS,
        ),
        AxisLookup(
            output="first/low",
            input="low",
            slot="first/low",
            taps=WINDOW,
            tables=AxisTables(0, 4, choose_steps(9, CHANNELS, (1, 2))),
            outputs=CHANNELS,
        ),
        Add(output="first", terms=("first/high", "first/low"), weights=(1, 2)),
        Requantise(output="mixed", input="first", bias=5, divisor=36, residual="high", low=-32, high=31),
        AxisLookup(
            output="depth",
            input="mixed",
            slot="depth",
            taps=SHIFTED,
            tables=AxisTables(-32, 64, choose_steps(len(SHIFTED), 1, (8, 1, 2))),
            outputs=CHANNELS,
            depthwise=True,
            padding=Padding.REFLECT,
        ),
        Requantise(output="deep", input="depth", bias=-3, divisor=32, residual="mixed", low=-128, high=127),
        AxisLookup(
            output="point",
            input="deep",
            slot="point",
            taps=tuple(Tap(channel) for channel in range(CHANNELS)),
            tables=AxisTables(-128, 256, choose_steps(CHANNELS, CHANNELS, (16, 1, 4, 32, 2))),
            outputs=CHANNELS,
        ),
        Requantise(output="points", input="point", bias=128 * 64, divisor=64),
        PixelShuffle(output="large", input="points", block=2),
    )


def make_network() -> Artefact:
    """Return a model of all that schema 3 added; tables follow from formulas that are exact everywhere."""
    pattern, lattice = NAMED_PATTERNS["s"], Lattice(4, 6)
    ops = (
        Ensemble(output="turned", input="image", body=build_body()),
        Requantise(output="enlarged", input="turned", bias=0, divisor=4),
        ReconstructedConvolution(
            output="codes", input="enlarged", slot="window", post="thresholds", window=3, first=-1, unit=20000.0
        ),
        Lookup(output="looked", input="codes", slot="last", pattern=pattern, lattice=lattice, diagonal=Diagonal(1, 7)),
        Requantise(output="result", input="looked", bias=128 * 128, divisor=128),
    )
    program = Program(family="test", task="sr", ops=ops)
    tables = {}
    for number, (name, slot) in enumerate(sorted(program.slots.items())):
        places = np.arange(slot.entries * slot.outputs, dtype=np.int64) + 1000 * number
        values = (places * places * 31 + places * 17) % 251 - 125
        if slot.dtype == "int16":
            values *= 200
        elif slot.dtype == "int32":
            values = np.arange(-127, 127) * 701
        tables[name] = values.astype(slot.dtype).reshape(slot.shape)
    return Artefact(program, tables, {"recipe": {"steps": 5, "psnr": 30.5}, "licence": "MIT, für alle"})


def make_picture() -> np.ndarray:
    """Return a picture (11, 14, 3) of ramps, an edge and every residue."""
    rows, columns = np.mgrid[0:11, 0:14]
    planes = [(rows * 17 + columns * 5) % 256, np.where(columns > rows, 240, 12), (rows * 37 + columns * 101) % 256]
    return np.stack(planes, axis=-1).astype(np.uint8)


def test_a_file_of_the_third_schema_stays_readable() -> None:
    expected, found = make_network(), read_artefact(FROZEN)
    assert FROZEN.read_bytes()[8] == 3
    assert (found.program, found.provenance) == (expected.program, expected.provenance)
    assert found.tables.keys() == expected.tables.keys()
    assert {table.dtype.name for table in found.tables.values()} == {"int8", "int16", "int32"}
    for name, table in found.tables.items():
        assert table.dtype == expected.tables[name].dtype
        np.testing.assert_array_equal(table, expected.tables[name])


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_a_file_of_the_third_schema_gives_its_frozen_bytes(backend: str) -> None:
    artefact = read_artefact(FROZEN)
    result = Model(artefact.program, artefact.tables).apply(make_picture(), backend=backend, tile=7)
    assert result.shape == (22, 28, 3)
    assert hashlib.sha256(result.tobytes()).hexdigest() == RESULT
