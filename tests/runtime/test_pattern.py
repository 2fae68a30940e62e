"""Index patterns: rotation, reach, padding, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import patterns

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern

any_pattern = st.integers(1, 4).flatmap(patterns)


@given(any_pattern, st.integers(-9, 9))
def test_turns_add_up_and_four_are_none(pattern: IndexPattern, turns: int) -> None:
    assert pattern.rotated(1).rotated(turns) == pattern.rotated(turns + 1)
    assert pattern.rotated(4) == pattern


@given(any_pattern, st.integers(0, 3), st.sampled_from(Padding))
def test_turned_pattern_sees_in_the_plane_what_the_pattern_sees_in_the_turned_plane(
    pattern: IndexPattern, turns: int, padding: Padding
) -> None:
    plane = np.arange(5 * 7).reshape(5, 7)
    turned = np.pad(np.rot90(plane, turns), pattern.reach, mode=padding.value)
    padded = np.pad(plane, pattern.reach, mode=padding.value)
    height, width = plane.shape
    reach = pattern.reach
    for (row, column), (new_row, new_column) in zip(pattern.offsets, pattern.rotated(turns).offsets, strict=True):
        inside = np.rot90(plane, turns).shape
        seen = turned[reach + row : reach + row + inside[0], reach + column : reach + column + inside[1]]
        expected = padded[reach + new_row : reach + new_row + height, reach + new_column : reach + new_column + width]
        np.testing.assert_array_equal(np.rot90(seen, -turns), expected)


@given(any_pattern)
def test_reach_bounds_the_padding_of_every_turn(pattern: IndexPattern) -> None:
    sides = [side for turns in range(4) for pair in pattern.rotated(turns).padding for side in pair]
    assert max(sides) == pattern.reach
    assert min(sides) >= 0


@pytest.mark.parametrize(
    ("name", "reach"), [("s", 1), ("d", 2), ("y", 2), ("e", 3), ("h", 3), ("o", 3), ("f", 2), ("v", 1)]
)
def test_named_patterns_are_sound_and_start_at_the_anchor(name: str, reach: int) -> None:
    pattern = NAMED_PATTERNS[name]
    pattern.validate()
    assert pattern.offsets[0] == (0, 0)
    assert pattern.reach == reach
    assert len(set(pattern.offsets)) == pattern.samples


@pytest.mark.parametrize("offsets", [(), ((0, 0),) * 5, ((0, 65),), ((-65, 0), (0, 0))])
def test_refuses_too_few_too_many_and_too_far(offsets: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ProgramError):
        IndexPattern(offsets).validate()


@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 30), st.sampled_from(Padding))
def test_padding_index_is_that_of_numpy(length: int, before: int, after: int, padding: Padding) -> None:
    line = np.arange(length)
    expected = np.pad(line, (before, after), mode=padding.value)
    np.testing.assert_array_equal(line[padding.index(length, before, after)], expected)
