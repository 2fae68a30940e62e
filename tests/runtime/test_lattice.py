"""Lattices: nodes, splitting of codes, flat order, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.lattice import Lattice

intervals = st.integers(0, 8)


@given(st.integers(1, 4), intervals)
def test_cell_and_fraction_make_up_the_code(axes: int, interval: int) -> None:
    lattice = Lattice(axes, interval)
    codes = np.arange(256)
    cells, fractions = lattice.split(codes)
    np.testing.assert_array_equal(cells * lattice.step + fractions, codes)
    assert cells.min() == 0
    assert cells.max() == lattice.nodes_per_axis - 2
    assert 0 <= fractions.min() <= fractions.max() == lattice.step - 1


@pytest.mark.parametrize(
    ("axes", "interval", "entries"), [(4, 4, 83521), (4, 5, 6561), (3, 4, 4913), (2, 0, 66049), (1, 8, 2)]
)
def test_published_sizes(axes: int, interval: int, entries: int) -> None:
    assert Lattice(axes, interval).entries == entries


def test_nodes_of_interval_4_end_in_255() -> None:
    assert Lattice(4, 4).node_codes.tolist() == [*range(0, 241, 16), 255]
    assert Lattice(2, 0).node_codes.tolist() == [*range(256), 255]


@given(st.integers(1, 4), st.integers(4, 8), st.data())
def test_row_of_a_table_holds_the_samples_that_its_strides_lead_to(
    axes: int, interval: int, data: st.DataObject
) -> None:
    lattice = Lattice(axes, interval)
    row = data.draw(st.integers(0, lattice.entries - 1))
    nodes = np.unravel_index(row, (lattice.nodes_per_axis,) * axes)
    assert sum(int(node) * stride for node, stride in zip(nodes, lattice.strides, strict=True)) == row
    expected = [min(int(node) * lattice.step, 255) for node in nodes]
    assert lattice.node_samples(row, row + 1).tolist() == [expected]


def test_node_samples_are_all_rows_in_order() -> None:
    lattice = Lattice(3, 6)
    samples = lattice.node_samples()
    assert samples.shape == (125, 3)
    assert samples.dtype == np.uint8
    np.testing.assert_array_equal(np.concatenate([lattice.node_samples(0, 50), lattice.node_samples(50)]), samples)
    assert sorted(map(tuple, samples.tolist())) == list(map(tuple, samples.tolist()))


@pytest.mark.parametrize(("axes", "interval"), [(0, 4), (5, 4), (2, -1), (2, 9), (4, 0)])
def test_refuses_what_is_out_of_range(axes: int, interval: int) -> None:
    with pytest.raises(ProgramError):
        Lattice(axes, interval).validate()


def test_accepts_the_largest_lattice() -> None:
    Lattice(4, 1).validate()
    Lattice(3, 0).validate()
