"""How arrays reach a device while training: without making the processor wait for it. Imports torch and NumPy.

A copy from ordinary memory to a GPU waits until the GPU has done all that it was given before. From page-locked memory
it is one more item in its queue; torch keeps that memory until the copy is done. What is the same at every step is
copied once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Built = TypeVar("Built")

CONSTANTS_KEPT = 512
"""Results of one function; a program of several lattices in training needs some dozens."""


def send(array: NDArray[Any] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return an array of the host as a tensor on a device; on the CPU the tensor shares the array's memory."""
    tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def keep_constants(build: Callable[..., Built]) -> Callable[..., Built]:
    """Make a function of hashable arguments, which returns tensors that nobody changes, build each result once."""
    kept = lru_cache(CONSTANTS_KEPT)(build)

    @wraps(build)
    def find(*arguments: Any) -> Built:
        return kept(*arguments)

    return find
