"""Streaming: items of a source fetched ahead by a thread, in order and in bounded number. Imports errors."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from lutkit_runtime.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Frames that wait, decoded, while another is computed: one would do, two even out frames that take longer."""

_PATIENCE = 2.0
"""Seconds that closing waits for a source that is at work on an item. A pipe may never give the next one."""

_CHECK = 0.1
"""Seconds between two looks at whether anybody still waits for items."""


@dataclass(frozen=True)
class _End:
    """What follows the last item: the error that the source ended with, or None."""

    problem: BaseException | None


def apply_to_all(
    apply: Callable[[Item], Result], frames: Iterable[Item], ahead: int = AHEAD
) -> Generator[Result, None, None]:
    """Return the results of single frames in order, one by one, while a thread fetches the next frames.

    `apply` runs in the thread that asks for results, and nowhere else.

    Parameters
    ----------
    apply : callable
        From a frame to its result; it must not keep the frame.
    frames : iterable
        Arrays are copied where they are fetched ahead, so that a source may use one buffer for all.
    ahead : int
        Frames that may wait; 0 fetches each when its result is asked for, without a thread.

    Raises
    ------
    InputError
        Where `ahead` is negative or `frames` cannot be iterated over; at once, not with the first result.
    """
    if ahead < 0:
        raise InputError(f"ahead is {ahead}; use 0 or more frames")
    try:
        source = iter(frames)
    except TypeError:
        raise InputError(f"frames are of type {type(frames).__name__}; hand in an iterable of images") from None
    return _apply_each(apply, source, ahead)


def fetch_ahead(source: Iterable[Item], ahead: int = AHEAD) -> Generator[Item, None, None]:
    """Yield the items of a source in order; a thread fetches up to `ahead` of them before they are asked for.

    What the source raises is raised here, after the items that came before. Closing the generator, or an exception
    where it is used, ends the thread: it waits up to two seconds for the source to hand over what it is at work on. The
    thread starts with the first item that is asked for, and the source is iterated over in that thread only.

    Parameters
    ----------
    source : iterable
    ahead : int
        At least 1.
    """
    items: queue.Queue[Item | _End] = queue.Queue(ahead)
    stopped = threading.Event()
    # A daemon, because a source that never gives its next item would keep the process from ending.
    thread = threading.Thread(target=_fetch, args=(iter(source), items, stopped), name="lutkit-frames", daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            yield item
            del item  # else a frame more than `ahead` would be held while the next is waited for
        if item.problem is not None:
            raise item.problem
    finally:
        stopped.set()
        thread.join(_PATIENCE)


def _fetch(source: Iterator[Item], items: queue.Queue[Item | _End], stopped: threading.Event) -> None:
    problem: BaseException | None = None
    try:
        for item in source:
            if not _hand_over(item, items, stopped):
                return
            del item
    except BaseException as raised:
        problem = raised  # SystemExit too: the thread that asks for frames is the one to end
    _hand_over(_End(problem), items, stopped)


def _hand_over(item: Item | _End, items: queue.Queue[Item | _End], stopped: threading.Event) -> bool:
    """Wait for a place and take it; False where nobody waits for items any more."""
    while not stopped.is_set():
        with contextlib.suppress(queue.Full):
            items.put(item, timeout=_CHECK)
            return True
    return False


def _apply_each(apply: Callable[[Item], Result], source: Iterator[Item], ahead: int) -> Generator[Result, None, None]:
    if not ahead:
        for frame in source:
            yield apply(frame)
        return
    with contextlib.closing(fetch_ahead(map(_copy, source), ahead)) as frames:
        for frame in frames:
            yield apply(frame)


def _copy(frame: Any) -> Any:
    """Return a frame that the source cannot change any more; what is no array in memory is left as it is."""
    if not isinstance(frame, np.ndarray):
        return frame
    return cast("np.ndarray[Any, np.dtype[Any]]", frame).copy()
