"""Grid fusion: the last linear layer of a network as a table, against float64 and against a convolution."""

from fractions import Fraction

import msgspec
import numpy as np
import pytest
from bilateral_models import IDENTITY, make_bilateral, write_constant_network
from colour_models import make_program
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.artefact import Artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import ArtefactError, ProgramError
from lutkit_runtime.ops import GridFusion
from lutkit_runtime.table_coding import Storage, TableCoding, encode_table

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 5)

PLAIN = TableCoding()


def make_fusion(terms: int, rows: int, columns: int, depth: int, coding: TableCoding = PLAIN) -> GridFusion:
    op = GridFusion(
        weights="weights",
        slot="columns",
        terms=terms,
        rows=rows,
        columns=columns,
        depth=depth,
        coding=coding,
        output="grid",
    )
    op.validate()
    return op


@settings(max_examples=60)
@given(seeds, st.integers(1, 70), sides, sides, sides, st.sampled_from(Storage))
def test_a_grid_is_the_weighted_sum_rounded_once(
    seed: int, terms: int, rows: int, columns: int, depth: int, storage: Storage
) -> None:
    """Products of two float32 are exact in float64, so that only the sums round: far below what float32 shows."""
    random = np.random.default_rng(seed)
    values = random.uniform(-1, 1, (terms + 1, depth * 12)).astype(np.float32)
    coding, table = encode_table(values, storage)
    op = make_fusion(terms, rows, columns, depth, coding)
    weights = random.normal(0, 1, terms * rows * columns).astype(np.float32)
    found = op.reference({"weights": weights}, {"columns": table})
    assert (found.dtype, found.shape) == (np.float32, (rows, columns, depth, 12))
    decoded = coding.decode(table).astype(np.float64).reshape(terms + 1, depth, 12)
    maps = weights.astype(np.float64).reshape(terms, rows, columns)
    exact = decoded[0] + np.einsum("tyx,tze->yxze", maps, decoded[1:])
    np.testing.assert_allclose(found, exact, rtol=6e-8, atol=1e-13)


def test_terms_are_added_in_their_order() -> None:
    """In float64: large terms that cancel leave what was added after them, not before."""
    op = make_fusion(3, 1, 1, 1)
    table = np.zeros((4, 12), np.float32)
    table[:, 0] = 1, 2.0**60, -(2.0**60), 1
    found = op.reference({"weights": np.ones(3, np.float32)}, {"columns": table})
    assert found[0, 0, 0, 0] == 1  # of the constant 1 and the last 1, the former is lost
    table[:, 0] = 1, 1, 2.0**60, -(2.0**60)
    assert op.reference({"weights": np.ones(3, np.float32)}, {"columns": table})[0, 0, 0, 0] == 0


@settings(max_examples=40)
@given(st.lists(st.integers(-(2**20), 2**20), min_size=4, max_size=4))
def test_sums_that_are_halfway_are_rounded_once(numbers: list[int]) -> None:
    """The exact sum, as a fraction, rounded to float32: no sum of float32 lies in between."""
    first, second, third, weight = numbers
    op = make_fusion(2, 1, 1, 1)
    table = np.zeros((3, 12), np.float32)
    table[:, 5] = first, second, third
    factors = np.array([weight / 2**20, 2.0**-12], np.float32)
    exact = first + second * Fraction(float(factors[0])) + third * Fraction(float(factors[1]))
    assert op.reference({"weights": factors}, {"columns": table})[0, 0, 0, 5] == np.float32(float(exact))


def test_weights_and_columns_have_their_places() -> None:
    """Term by term, row by row; level by level, map by map."""
    op = make_fusion(2, 3, 4, 5)
    table, weights = np.zeros((3, 60), np.float32), np.zeros((2, 3, 4), np.float32)
    table[0, 1], table[1, 12 * 3 + 7], table[2, 12 * 4 + 11] = 9, 5, 7
    weights[0, 2, 1], weights[1, 0, 3] = 2, 3
    found = op.reference({"weights": weights.reshape(-1)}, {"columns": table})
    expected = np.zeros((3, 4, 5, 12), np.float32)
    expected[..., 0, 1] = 9
    expected[2, 1, 3, 7], expected[0, 3, 4, 11] = 10, 21
    np.testing.assert_array_equal(found, expected)


def test_a_linear_layer_is_a_fusion() -> None:
    """A convolution of one pixel over features, with its bias, gives the same grid."""
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (1, 64, 16, 16)).astype(np.float32)
    layer = torch.nn.Conv2d(64, 96, 1, dtype=torch.float64)
    with torch.no_grad():
        expected = layer(torch.from_numpy(features.astype(np.float64)))[0].permute(1, 2, 0).reshape(16, 16, 8, 12)
        table = torch.cat([layer.bias[None], layer.weight[:, :, 0, 0].T]).numpy().astype(np.float32)
    found = make_fusion(64, 16, 16, 8).reference({"weights": features.reshape(-1)}, {"columns": table})
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("weight", "entry"), [(3e38, 3e38), (np.inf, 1.0), (np.nan, 1.0), (1e16, 2e14), (np.inf, 0.0)])
def test_weights_that_overflow_are_refused(weight: float, entry: float) -> None:
    table = np.full((2, 12), entry, np.float32)
    with np.errstate(invalid="ignore"), pytest.raises(ArtefactError, match="makes a grid of values beyond") as caught:
        make_fusion(1, 1, 1, 1).reference({"weights": np.array([weight], np.float32)}, {"columns": table})
    assert "\n" not in str(caught.value)


def test_the_largest_entries_of_a_table_make_a_grid() -> None:
    op = make_fusion(1, 1, 1, 1)
    largest = np.full((2, 12), 1e30, np.float32)
    assert np.array_equal(op.fuse(np.zeros(1, np.float32), largest), largest[:1].reshape(1, 1, 1, 12))


def test_a_grid_of_too_many_maps_is_refused() -> None:
    with pytest.raises(ProgramError, match="256 x 256 places of 3 levels, 196608 maps; at most 131072"):
        make_fusion(1, 256, 256, 3)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_a_model_whose_grid_overflows_is_refused(backend: str) -> None:
    artefact = make_bilateral()
    predictor, *rest = artefact.program.ops
    weights = np.full(predictor.outputs, 1e34, np.float32)
    graph = np.frombuffer(write_constant_network(predictor.side, weights), np.uint8)[:, None]
    predictor = msgspec.structs.replace(predictor, graph_bytes=len(graph))
    program = msgspec.structs.replace(artefact.program, ops=(predictor, *rest))
    changed = Artefact(program, {**artefact.tables, "predictor": graph.copy()})
    changed.validate()
    with pytest.raises(ArtefactError, match="weights up to 1e\\+34"):
        Model(program, changed.tables).apply(np.zeros((4, 4, 3), np.uint8), backend=backend)


def test_a_network_without_effect_leaves_the_constant_column() -> None:
    op = make_fusion(4, 2, 3, 2)
    table = np.random.default_rng(0).normal(0, 1, (5, 24)).astype(np.float32)
    table[0] = np.tile(IDENTITY, 2)
    found = op.reference({"weights": np.zeros(24, np.float32)}, {"columns": table})
    np.testing.assert_array_equal(found, np.tile(IDENTITY, (2, 3, 2, 1)))


def test_as_many_weights_as_terms_and_places_are_needed() -> None:
    predictor, fusion, *rest = make_bilateral().program.ops
    for fields in ({"terms": 3}, {"rows": 4}, {"columns": 1}):
        changed = msgspec.structs.replace(fusion, **fields)
        with pytest.raises(ProgramError, match=r"weights for . terms at . x . places, but 'weights' has 12") as caught:
            make_program(predictor, changed, *rest, parameters=make_bilateral().program.parameters).validate()
        assert "\n" not in str(caught.value)
    for name in ("image", "strength"):
        changed = msgspec.structs.replace(fusion, weights=name)
        with pytest.raises(ProgramError, match="a vector is needed"):
            make_program(predictor, changed, *rest, parameters=make_bilateral().program.parameters).validate()


def test_columns_of_another_type_or_shape_are_refused() -> None:
    artefact = make_bilateral()
    table = artefact.tables["columns"]
    for wrong, told in ((table[:-1], "has a table of"), (table.astype(np.float32), "int16 is needed")):
        with pytest.raises(ProgramError, match=told):
            Artefact(artefact.program, {**artefact.tables, "columns": wrong}).validate()
