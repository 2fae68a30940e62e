"""Streams of frames: the results of `apply`, in order, errors where they belong, and no thread left behind."""

import itertools
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from colour_models import make_adaptive
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.engine import Model, load
from lutkit_runtime.engine.streaming import fetch_ahead
from lutkit_runtime.errors import BackendError, InputError, ProgramError


def find_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lutkit-frames"]


def count_threads() -> int:
    return len(find_threads())


def make_frames(count=4, dtype=np.uint8, channels=3):
    """Return frames of unlike contents and sizes, so that no two results are alike."""
    random = np.random.default_rng(count)
    top = 1.0 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    return [
        (random.random((5 + i, 9 - i, channels)) * top * (i + 1) / count).astype(dtype).squeeze() for i in range(count)
    ]


@pytest.fixture(scope="module")
def spatial(tiny_model) -> Model:
    return load(tiny_model)


@pytest.fixture(scope="module")
def adaptive() -> Model:
    """A model of colours that looks at each picture first."""
    artefact = make_adaptive()
    return Model(artefact.program, artefact.tables)


@settings(max_examples=25)
@given(st.sampled_from((np.uint8, np.uint16, np.float32)), st.sampled_from((1, 3, 4)), st.integers(0, 3), st.booleans())
def test_a_stream_gives_what_apply_makes_of_every_frame(spatial, adaptive, dtype, channels, ahead, in_colour):
    model = adaptive if in_colour else spatial
    frames = make_frames(4, dtype, max(channels, 3) if in_colour else channels)
    expected = [model.apply(frame) for frame in frames]
    found = list(model.stream(iter(frames), ahead=ahead))
    assert [out.shape for out in found] == [out.shape for out in expected]
    assert [out.tobytes() for out in found] == [out.tobytes() for out in expected]


def test_parameters_reach_every_frame():
    artefact = make_adaptive()
    model = Model(artefact.program, artefact.tables)
    name = artefact.program.parameters[0].name
    frames = make_frames()
    for found, frame in zip(model.stream(frames, threads=1, tile=3, **{name: 0.25}), frames, strict=True):
        assert np.array_equal(found, model.apply(frame, **{name: 0.25}))
        assert not np.array_equal(found, model.apply(frame))


def test_a_source_may_use_one_buffer_for_all_frames(spatial):
    def decode():
        buffer = np.empty((6, 7, 3), np.uint8)
        for value in range(8):
            buffer[...] = value * 30
            yield buffer

    expected = [spatial.apply(frame) for frame in decode()]
    for ahead in (0, 1, 4):
        assert all(map(np.array_equal, spatial.stream(decode(), ahead=ahead), expected))


def test_results_are_the_callers_own(spatial):
    frame = make_frames()[0]
    first, second = spatial.stream([frame, frame])
    first[...] = 0
    assert np.array_equal(second, spatial.apply(frame))


def test_frames_are_fetched_in_one_other_thread_and_computed_in_the_callers(spatial, monkeypatch):
    seen = {"fetch": set(), "apply": set()}
    apply = Model.apply

    def note(self, *arguments, **options):
        seen["apply"].add(threading.current_thread())
        return apply(self, *arguments, **options)

    def decode():
        for frame in make_frames():
            seen["fetch"].add(threading.current_thread())
            yield frame

    monkeypatch.setattr(Model, "apply", note)
    assert len(list(spatial.stream(decode()))) == 4
    assert seen["apply"] == {threading.current_thread()}
    assert len(seen["fetch"]) == 1
    assert seen["fetch"].isdisjoint(seen["apply"])
    assert len(list(spatial.stream(decode(), ahead=0))) == 4
    assert threading.current_thread() in seen["fetch"]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_frames_are_fetched_than_may_wait(ahead):
    fetched = itertools.count()
    taken = []

    def decode():
        while True:
            taken.append(next(fetched))
            yield taken[-1]

    with closing(fetch_ahead(decode(), ahead)) as items:
        for expected in range(5):
            assert next(items) == expected
            deadline = time.monotonic() + 5
            while len(taken) < expected + 2 + ahead and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.02)
            # The one in use, those that wait, and the one for which there is no place yet.
            assert len(taken) == expected + 2 + ahead
    assert not count_threads()


def test_an_error_of_the_source_comes_where_its_frame_would(spatial):
    def decode():
        yield from make_frames(3)
        raise ConnectionError("the camera is gone")

    stream = spatial.stream(decode())
    assert [next(stream).shape for _ in range(3)] == [(10, 18, 3), (12, 16, 3), (14, 14, 3)]
    with pytest.raises(ConnectionError, match="the camera is gone"):
        next(stream)
    assert list(stream) == []
    assert not count_threads()


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_frame_that_cannot_be_computed_ends_the_stream_after_those_before_it(spatial, ahead):
    stream = spatial.stream([*make_frames(2), np.zeros((3, 3), np.int64), *make_frames(2)], ahead=ahead)
    assert next(stream).shape == (10, 18, 3)
    assert next(stream).shape == (12, 16, 3)
    with pytest.raises(InputError, match="int64"):
        next(stream)
    assert not count_threads()


def test_closing_early_ends_the_thread_even_where_it_waits_for_a_place(spatial):
    stream = spatial.stream(itertools.cycle(make_frames(2)))
    next(stream)
    assert count_threads() == 1
    stream.close()
    assert not count_threads()


def test_closing_does_not_wait_for_ever_for_a_source_that_gives_nothing():
    release = threading.Event()

    def decode():
        yield 1
        release.wait(60)

    items = fetch_ahead(decode())
    next(items)
    start = time.monotonic()
    items.close()
    assert time.monotonic() - start < 10
    (thread,) = find_threads()
    release.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_stream_that_nobody_reads_starts_no_thread_and_fetches_nothing(spatial):
    def decode():
        raise AssertionError("fetched")
        yield

    stream = spatial.stream(decode())
    assert not count_threads()
    stream.close()


def test_an_empty_source_gives_an_empty_stream(spatial):
    assert list(spatial.stream([])) == []
    assert not count_threads()


def test_wrong_options_are_refused_at_once(spatial):
    with pytest.raises(BackendError):
        spatial.stream([], backend="abacus")
    with pytest.raises(ProgramError):
        spatial.stream([], strength=0.5)
    with pytest.raises(InputError, match="ahead is -1"):
        spatial.stream([], ahead=-1)
    with pytest.raises(InputError, match="NoneType; hand in an iterable"):
        spatial.stream(None)
