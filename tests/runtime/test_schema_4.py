"""A frozen file of schema 4, with the ops and the field that it added: it is read, and gives the bytes it gave then."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from bilateral_models import make_bilateral

from lutkit_runtime.artefact import read_artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.ops import BilateralSlice, GridFusion, Predictor
from lutkit_runtime.ops.predictor import Sampling

FROZEN = Path(__file__).with_name("artefact-schema-4.h5")
"""Written once with `write_artefact(FROZEN, make_bilateral())`; it must be readable for ever."""
RESULTS = {
    "uint8": "037ed5aa135bb6facc79acff6e24eff0e745f632e0eb05098c76c1ef40412222",
    "uint16": "c41af0a4790332b8259ebf53e2c9aa9d378399fc78cf26f48a340923e2941c6a",
    "float32": "da6f55c69f7e50e34d8d1062879518bb79cb9a1f192e1721a612b11481959a0b",
}
"""SHA-256 of what the model makes of the picture at every depth."""


def make_picture(depth: str) -> np.ndarray:
    """Return a picture (11, 14, 3) of ramps, an edge and every residue; floats reach beyond 0 and 1."""
    rows, columns = np.mgrid[0:11, 0:14]
    planes = [(rows * 17 + columns * 5) % 256, np.where(columns > rows, 240, 12), (rows * 37 + columns * 101) % 256]
    codes = np.stack(planes, axis=-1)
    return (codes / np.float32(200) - np.float32(0.125) if depth == "float32" else codes * 257 % 65536).astype(depth)


def test_a_file_of_the_fourth_schema_stays_readable() -> None:
    expected, found = make_bilateral(), read_artefact(FROZEN)
    assert FROZEN.read_bytes()[8] == 4
    assert (found.program, found.provenance) == (expected.program, expected.provenance)
    assert [type(op) for op in found.program.ops[:3]] == [Predictor, GridFusion, BilateralSlice]
    assert found.program.ops[0].sampling is Sampling.NEAREST
    assert {table.dtype.name for table in found.tables.values()} == {"int8", "int16", "uint8", "float32"}
    assert found.tables.keys() == expected.tables.keys()
    for name, table in found.tables.items():
        assert table.dtype == expected.tables[name].dtype
        np.testing.assert_array_equal(table, expected.tables[name])


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("depth", RESULTS)
def test_a_file_of_the_fourth_schema_gives_its_frozen_bytes(depth: str, backend: str) -> None:
    artefact = read_artefact(FROZEN)
    result = Model(artefact.program, artefact.tables).apply(make_picture(depth), backend=backend, tile=7)
    assert hashlib.sha256(result.tobytes()).hexdigest() == RESULTS[depth]
