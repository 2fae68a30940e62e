"""A bilateral slice by itself, for `check_gpu`: what is timed is its kernel, not the network before it.

Imports the runtime; its kernels only where they run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import GuideTables, Place
from lutkit_runtime.ops.bilateral_slice import BoundSlice

GRID = (16, 16, 8)


class SliceAlone:
    """A random grid and a guide of the sizes that HDRNet has; runs on pictures as a model does.

    Parameters
    ----------
    count, entries, result_entries : int
        Curves of the guide, their entries, and those of the last one.
    seed : int
    """

    scale = 1

    def __init__(self, count: int, entries: int, result_entries: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        mix = np.concatenate([random.uniform(0.1, 0.5, (3, count)), random.uniform(-0.2, 0.1, (1, count))])
        curves = np.linspace(0, 1, entries)[:, None] ** random.uniform(0.5, 2, count) / count
        result = np.linspace(0, 1, result_entries)[:, None]
        tables = GuideTables(*(np.ascontiguousarray(each, np.float32) for each in (mix, curves, result)))
        grid = np.eye(3, 4).reshape(-1) + random.normal(0, 0.2, (*GRID, 12))
        self._bound = BoundSlice(tables, grid.astype(np.float32))
        self._on_device: Any = None

    def apply(self, image: Any, *, backend: str = "cuda", out: Any = None) -> Any:
        """Return what becomes of a picture: on the CPU, or of one on the GPU, in C order, written into `out`."""
        return self._apply_on_host(image) if backend == "cpu" else self._apply_on_device(image, out)

    def _apply_on_host(self, image: NDArray[Any]) -> NDArray[Any]:
        from lutkit_runtime.kernels.cpu.bilateral import CompiledSlicer

        out = np.empty_like(image)
        CompiledSlicer(self._bound).finish(image, Place(0, 0, *image.shape[:2]), out)
        return out

    def _apply_on_device(self, image: Any, out: Any) -> Any:
        from lutkit_runtime.kernels.cuda.bilateral import GuideOnDevice, SlicerOnDevice
        from lutkit_runtime.kernels.cuda.memory import Picture, Pool

        if self._on_device is None:
            self._on_device = SlicerOnDevice(GuideOnDevice(self._bound.guide), self._bound.grid), Pool()
        slicer, pool = self._on_device
        given, made = (Picture(each.reshape(-1), *image.shape) for each in (image, out))
        with pool.session(0) as session:
            slicer.finish(session, given, Place(0, 0, *image.shape[:2]), made)
        return out
