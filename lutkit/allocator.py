"""Memory settings for work that needs the same large buffers again and again. Imports the standard library only."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = (1 << 31) - 1


def keep_large_buffers() -> None:
    """Make the C library keep large freed buffers instead of returning them to the system.

    Training frees and allocates the same activations at every step, a video its frames; with glibc's defaults each round
    costs page faults, which in training take longer than the arithmetic. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    set_option(_M_MMAP_THRESHOLD, 1 << 30)
    set_option(_M_TRIM_THRESHOLD, _LARGEST)
