"""A frozen file of schema 5, with the ops and the fields that it added: it is read, and gives the bytes it gave then."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bilateral_models import write_constant_network
from illumination_models import make_compiled
from network_models import DEPTH, GUIDE, Convolutions, add_companions, make_network_op

from lutkit_runtime.artefact import Artefact, read_artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.ops import Blend, Illuminate, Network, Op, Predictor, SelectPlanes
from lutkit_runtime.program import Parameter

FROZEN = Path(__file__).with_name("artefact-schema-5.h5")
"""Written once with `write_artefact(FROZEN, make_frozen())`; it must be readable for ever."""
RESULTS = {
    "uint8": "720381128575bd9563448c417118e104fd47581b1367147aea8aede80cb78292",
    "uint16": "eef70101c29edb3a81508a420e42572f37716836ded0796f2e520fb1df018ec7",
    "float32": "f7affdeffe1d0cf2bfdab9cd9ba5a7bef5e09f54123fb4c7b40ff64c45a33436",
}
"""SHA-256 of what the model makes of the picture at every depth."""


def make_frozen() -> Artefact:
    """Return a model of low light whose predictor sees a guide and a depth map, mixed with planes of a network.

    The predictor gives the same weights for every picture, each plane is a power of two of one channel plus another one,
    and gamma is 0.25, whose table is exact: no library rounds.
    """
    compiled = make_compiled()
    weights = np.zeros((4, 4, 1, 1), np.float32)
    weights[range(4), (3, 1, 2, 0), 0, 0] = 1, 0.5, 0.25, 2
    made = Convolutions((weights,), (np.array([0, 0.25, 0.5, -0.125], np.float32),)).write(ends_in_relu=True)
    ops: list[Op] = []
    tables = {**compiled.tables, "network": made}
    for op in compiled.program.ops:
        if isinstance(op, Predictor):
            tables[op.slot] = guess = _see_more(compiled.tables[op.slot], op)
            ops.append(msgspec.structs.replace(op, companions=("guide", "depth"), graph_bytes=len(guess)))
        elif isinstance(op, Blend):
            network = make_network_op(made, 4, ("image", "depth"), reach=0, smallest=2)
            select = SelectPlanes(input="planes", planes=(3, 1, 0), output="planned")
            mix = Blend(base="lit", changed="planned", amount="share", output="mixed")
            ops += [network, select, mix, msgspec.structs.replace(op, changed="mixed")]
        else:
            ops.append(op)
    parameters = (
        Parameter(name="gamma", default=0.25, low=0.0, high=1.0),
        Parameter(name="share", default=0.375, low=0.0, high=1.0),
        Parameter(name="strength", default=0.75, low=0.0, high=2.0),
    )
    program = msgspec.structs.replace(compiled.program, ops=tuple(ops), parameters=parameters)
    return Artefact(add_companions(program, GUIDE, DEPTH), tables, {"licence": "MIT, für alle"})


def _see_more(table: np.ndarray, op: Predictor) -> np.ndarray:
    """Return a network of seven channels that gives the numbers that one of three gives for every picture."""
    values = op.predict(op.open({op.slot: table}), np.zeros((1, 1, 3), np.uint8))
    return np.frombuffer(write_constant_network(op.side, values, channels=7), np.uint8)[:, None].copy()


def make_pictures(depth: str) -> dict[str, np.ndarray]:
    """Return a picture (11, 14, 3) of ramps, an edge and every residue, and what stands beside it; floats reach further."""
    rows, columns = np.mgrid[0:11, 0:14]
    planes = [(rows * 17 + columns * 5) % 256, np.where(columns > rows, 240, 12), (rows * 37 + columns * 101) % 256]
    codes = np.stack(planes, axis=-1)
    image = (codes / np.float32(200) - np.float32(0.125) if depth == "float32" else codes * 257 % 65536).astype(depth)
    return {
        "image": image,
        "guide": np.flip(codes, axis=(1, 2)).astype(np.uint8),
        "depth": ((rows * 31 + columns * 997) % 4096 * 16).astype(np.uint16),
    }


def test_a_file_of_the_fifth_schema_stays_readable() -> None:
    expected, found = make_frozen(), read_artefact(FROZEN)
    assert FROZEN.read_bytes()[8] == 5
    assert (found.program, found.provenance) == (expected.program, expected.provenance)
    assert found.program.companions == (GUIDE, DEPTH)
    kinds = [type(op) for op in found.program.ops]
    assert kinds[0] is Predictor and found.program.ops[0].companions == ("guide", "depth")
    assert {Illuminate, Network, SelectPlanes} <= set(kinds)
    assert found.tables.keys() == expected.tables.keys()
    for name, table in found.tables.items():
        assert table.dtype == expected.tables[name].dtype
        np.testing.assert_array_equal(table, expected.tables[name])


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("depth", RESULTS)
def test_a_file_of_the_fifth_schema_gives_its_frozen_bytes(depth: str, backend: str) -> None:
    artefact = read_artefact(FROZEN)
    result = Model(artefact.program, artefact.tables).apply(**make_pictures(depth), backend=backend, tile=7)
    assert hashlib.sha256(result.tobytes()).hexdigest() == RESULTS[depth]
