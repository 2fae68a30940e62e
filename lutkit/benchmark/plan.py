"""What somebody wants measured: engines, threads, the picture. Imports `pictures` and the runtime's cube."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark.measuring import Contender
from lutkit.benchmark.pictures import Size, fit_picture, render_picture
from lutkit_runtime.cube import CubeInterpolation


@dataclass(frozen=True)
class Plan:
    """What a case is made from.

    Parameters
    ----------
    engines : mapping of key to version
        Those that take part; all of them can run here.
    folder : Path
        For files that other programs read, while the cases are measured.
    threads : tuple of int
        Counts for the engines that can use several threads, rising; no more than the machine has cores.
    size : (height, width), optional
        Of results.
    photo : uint8 (H, W, 3), optional
        In place of generated pictures.
    interpolation : CubeInterpolation
        Of cubes.
    """

    engines: Mapping[str, str]
    folder: Path
    threads: tuple[int, ...] = (1,)
    size: Size | None = None
    photo: NDArray[np.uint8] | None = None
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL

    def find_size(self, usual: Size, scale: int = 1) -> Size:
        """Return height and width of the picture for results of the wanted size, else those of a picture as usual."""
        if self.size is not None:
            return -(-self.size[0] // scale), -(-self.size[1] // scale)
        if self.photo is not None and scale == 1:
            return self.photo.shape[0], self.photo.shape[1]
        return usual

    def make_picture(self, usual: Size, scale: int = 1) -> NDArray[np.uint8]:
        """Return the photo, cut or repeated, or a generated picture, uint8 (height, width, 3)."""
        height, width = self.find_size(usual, scale)
        if self.photo is None:
            return render_picture(height, width)
        return fit_picture(self.photo, height, width)


@dataclass(frozen=True)
class Doer:
    """One engine in a case, before it is known with how many threads.

    Parameters
    ----------
    key : str
        Of the engine.
    title : str
        As rows call it.
    prepare : callable
        Is given the picture and a number of threads; returns what does the case once.
    settle : callable, optional
        Is given the number of threads.
    parallel : bool
        Whether it can use several threads.
    model, interpolation, version : str
        As in `Contender`; the version is the engine's where none is given.
    patient : bool
        As in `Contender`.
    """

    key: str
    title: str
    prepare: Callable[[NDArray[Any], int], Callable[[], Any]]
    settle: Callable[[int], None] | None = None
    parallel: bool = True
    model: str = ""
    interpolation: str = ""
    version: str = ""
    patient: bool = True

    def contend(self, plan: Plan, picture: NDArray[Any], bytes_moved: int) -> Iterator[Contender]:
        """Yield a contender for every number of threads; none where the engine does not take part."""
        if self.key not in plan.engines:
            return
        for count in plan.threads if self.parallel else (1,):
            ready = _Ready(self, picture, count)
            yield Contender(
                self.title,
                count,
                ready.run,
                settle=ready.settle,
                model=self.model,
                interpolation=self.interpolation,
                bytes_moved=bytes_moved,
                version=self.version or plan.engines[self.key],
                patient=self.patient,
            )


class _Ready:
    """What an engine makes ready for one picture, when it is first needed: an engine that cannot fails in its own turn."""

    def __init__(self, doer: Doer, picture: NDArray[Any], threads: int) -> None:
        self._doer, self._picture, self._threads = doer, picture, threads
        self._prepared: Callable[[], Any] | None = None

    def settle(self) -> None:
        """Prepare, once, and set the number of threads."""
        if self._doer.settle is not None:
            self._doer.settle(self._threads)
        if self._prepared is None:
            self._prepared = self._doer.prepare(self._picture, self._threads)

    def run(self) -> Any:
        """Do the case once."""
        assert self._prepared is not None, "settle first"
        return self._prepared()
