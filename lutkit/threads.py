"""How many threads torch uses beside Numba. Imports torch and numba."""

from __future__ import annotations

import numba
import torch


def settle_threads() -> int:
    """Start Numba's threads and give torch the number back that it had; returns that number.

    When Numba's pool starts, it sets OpenMP's default for the whole process, which torch follows: without this the
    first step of a run adds its gradients up in other parts than the later ones, and a resumed run differs from one
    that was never interrupted.
    """
    threads = torch.get_num_threads()
    numba.get_num_threads()  # starts the pool
    torch.set_num_threads(threads)
    return threads
