"""Keep what image libraries print away from the user. Imports the standard library only.

Pillow warns, tifffile and OpenCV log, the libtiff that Pillow carries prints to file descriptor 2. None of it names the
file or a remedy, so lutkit says in its own words what went wrong.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


class SharedChange:
    """A change to the process that threads share: the first to enter makes it, the last to leave takes it back."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        """Share what entering and leaving the result of `make` does."""
        self._make = make
        self._lock = threading.Lock()
        self._users = 0
        self._undo = ExitStack()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the change while the body runs."""
        with self._lock:
            if self._users == 0:
                self._undo.enter_context(self._make())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._undo.close()


def quiet_messages() -> AbstractContextManager[None]:
    """Silence Python's warnings and tifffile's log while the body runs; other threads' warnings too."""
    return _MESSAGES.hold()


def quiet_descriptor() -> AbstractContextManager[None]:
    """Silence file descriptor 2 while the body runs, other threads' output too: keep it around one library call."""
    return _DESCRIPTOR.hold()


@contextmanager
def _silence_messages() -> Iterator[None]:
    logger = logging.getLogger("tifffile")
    before = logger.disabled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = before


@contextmanager
def _silence_descriptor() -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # closed, so there is nothing to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


_MESSAGES = SharedChange(_silence_messages)
_DESCRIPTOR = SharedChange(_silence_descriptor)
