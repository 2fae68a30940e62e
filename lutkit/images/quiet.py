"""Keep what image libraries print away from the user. Imports the standard library only.

libpng and libtiff, as OpenCV and Pillow carry them, print to file descriptor 2; Pillow warns; tifffile logs. None of it names the
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
    from collections.abc import Iterator

_lock = threading.Lock()
_state: dict[str, ExitStack] = {}
_users: list[int] = []


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence warnings, tifffile's log and file descriptor 2 while the body runs.

    All three belong to the process, so threads share one silence: the first to enter makes it and the last to leave ends it.
    """
    with _lock:
        if not _users:
            stack = ExitStack()
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(_disabled_logger("tifffile"))
            stack.enter_context(_silenced_descriptor(2))
            _state["silence"] = stack
        _users.append(threading.get_ident())
    try:
        yield
    finally:
        with _lock:
            _users.pop()
            if not _users:
                _state.pop("silence").close()


@contextmanager
def _disabled_logger(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def _silenced_descriptor(number: int) -> Iterator[None]:
    try:
        kept = os.dup(number)
    except OSError:  # closed, so there is nothing to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)
