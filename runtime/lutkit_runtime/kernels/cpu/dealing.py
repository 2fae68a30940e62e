# pyright: basic, reportAttributeAccessIssue=false
"""Dealing out work: every thread takes the next piece when it is done with the last. Imports Numba only.

Numba divides a parallel loop into equal parts beforehand, so that all wait for the slowest thread; on a busy machine, or
one with fast and slow cores, that costs up to half of the speed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import config
from numba.extending import intrinsic
from numpy.typing import NDArray


def new_counter() -> NDArray[np.int64]:
    """Return a counter of which nothing has been taken yet."""
    return np.zeros(1, np.int64)


def _take_next_plainly(counter: NDArray[np.int64]) -> int:
    taken = int(counter[0])
    counter[0] += 1
    return taken


@intrinsic
def _take_next_atomically(typing_context: Any, counter: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, context.get_constant(types.int64, 1), "monotonic")

    return types.int64(counter), generate


take_next: Any = _take_next_plainly if config.DISABLE_JIT else _take_next_atomically
"""``take_next(counter)``: return 0, 1, 2, ... to whichever thread asks, every number once. For compiled code."""
