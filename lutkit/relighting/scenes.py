"""Scenes under several lights with their depth: folders of them, and rendered ones that need no files.

A folder holds one folder per scene: ``depth*.png`` (16-bit gray, 0 nearest, 65535 farthest; one such file) and
``light_NAME.png`` for every light, the same names in all scenes. Other files are passed over. May import the renderer,
the picture readers and the error tree; no torch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.pictures import PictureCache, read_target
from lutkit.images import read_picture
from lutkit.images.expansion import as_gray
from lutkit.photos import hold_out
from lutkit.relighting.lights import name_lights
from lutkit.relighting.rendering import Surface, trace
from lutkit.relighting.staging import draw_stage
from lutkit_runtime.errors import DataError, ImageError

Image8 = NDArray[np.uint8]
Depth = NDArray[np.uint16]

LIGHT_PREFIX = "light_"
DEPTH_PREFIX = "depth"
SUFFIX = ".png"
FARTHEST = 65535

_LAYOUT = f"a scene is a folder with one {DEPTH_PREFIX}{SUFFIX} and a {LIGHT_PREFIX}NAME{SUFFIX} for each light"
_SURFACE_BYTES = 512 << 20
"""Geometry of rendered scenes is kept until it takes so much; that of others is found anew when a light is asked for."""


@dataclass(frozen=True)
class Scenes:
    """Scenes under the same lights; pictures are read or rendered when they are first asked for, and kept.

    Attributes
    ----------
    names : tuple of str
    lights : tuple of str
        Names of lights.
    depths, pictures : PictureCache
        (H, W) uint16 by place; (H, W, 3) uint8 by place * len(lights) + light.
    places : tuple of int
        Of the scenes in both.
    """

    names: tuple[str, ...]
    lights: tuple[str, ...]
    depths: PictureCache
    pictures: PictureCache
    places: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.names)

    def depth(self, scene: int) -> Depth:
        """Return (H, W) uint16: 0 for the nearest point, 65535 for the farthest. Errors as `read_depth`."""
        return self.depths.read(self.places[scene])

    def picture(self, scene: int, light: int) -> Image8:
        """Return a scene under a light, (H, W, 3) uint8. Raises DataError where it cannot be read or its size is another."""
        return self.pictures.read(self.places[scene] * len(self.lights) + light)

    def select(self, numbers: Sequence[int]) -> Scenes:
        """Return some of the scenes; what is read already is shared."""
        return replace(
            self,
            names=tuple(self.names[number] for number in numbers),
            places=tuple(self.places[number] for number in numbers),
        )

    def hold_out(self) -> tuple[Scenes, Scenes]:
        """Return those to train on and those to validate on: every tenth, as of photos.

        Raises DataError where fewer than two would be left to train on.
        """
        held = hold_out(range(len(self)), Path("the data"), "scene")
        kept = [number for number in range(len(self)) if number not in held]
        if len(kept) < 2:
            raise DataError(
                f"there are {len(self)} scenes; relighting needs two to train on and one to validate on: add some"
            )
        return self.select(kept), self.select(held)


def read_scenes(folder: Path) -> Scenes:
    """Find the scenes of a folder.

    Raises
    ------
    DataError
        Where there is no scene, one lacks its depth or a light that another one has, or there is one light only. What
        is wrong with a picture is raised when it is read.
    """
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {found}: name a folder of scenes; {_LAYOUT}")
    lit = {
        each: lights
        for each in sorted(folder.iterdir())
        if each.is_dir() and not each.name.startswith(".") and (lights := _find_lights(each))
    }
    if not lit:
        raise DataError(f"{folder} holds no scenes: {_LAYOUT}")
    first, lights = next(iter(lit.items()))
    if len(lights) < 2:
        raise DataError(
            f"{first} has one light only, {', '.join(lights)}: relighting needs {LIGHT_PREFIX}*{SUFFIX} of two or more"
        )
    for scene, own in lit.items():
        _compare_lights(scene, own, first, lights)
    depths = {scene: _find_depth(scene) for scene in lit}

    def check_size(path: Path, depth_path: Path) -> Image8:
        picture, depth = _read_light(path), read_depth(depth_path)
        (height, width), (rows, columns) = picture.shape[:2], depth.shape[:2]
        if (height, width) != (rows, columns):
            what = f"{path} is {width}x{height}, but {depth_path.name} {columns}x{rows}"
            raise DataError(f"{what}: all of a scene must be of one size")
        return picture

    return Scenes(
        tuple(scene.name for scene in lit),
        lights,
        PictureCache([lambda path=path: read_depth(path) for path in depths.values()]),
        PictureCache(
            [
                lambda path=scene / f"{LIGHT_PREFIX}{light}{SUFFIX}", depth=depths[scene]: check_size(path, depth)
                for scene in lit
                for light in lights
            ]
        ),
        tuple(range(len(lit))),
    )


def read_depth(path: Path) -> Depth:
    """Return a depth picture as (H, W) uint16; 8 bits are spread, three equal channels count as gray.

    Raises
    ------
    DataError
        Where it has colours, or cannot be read.
    """
    try:
        pixels = read_picture(path).pixels
    except ImageError as problem:
        raise DataError(str(problem)) from problem
    gray = as_gray(pixels)
    if gray is None or gray.dtype.kind == "f":
        what = "holds floats" if pixels.dtype.kind == "f" else "has colours"
        raise DataError(f"{path} {what}; depth is a gray picture of 8 or 16 bits, dark where it is near")
    return gray if gray.dtype == np.uint16 else gray.astype(np.uint16) * np.uint16(257)


def render_scenes(seed: int, count: int, side: int, lights: int | None = None) -> Scenes:
    """Return scenes that are rendered when they are asked for, each from a generator of its own.

    Parameters
    ----------
    seed : int
    count : int
        Number of scenes; more change nothing for the first ones.
    side : int
        Of pictures, in pixels.
    lights : int, optional
        8 or 40 (default), see `lutkit.relighting.lights.name_lights`.
    """
    named = name_lights(lights)
    surfaces = _Surfaces(seed, side)

    def expose(scene: int, name: str) -> Image8:
        return surfaces.find(scene).expose(named[name])

    return Scenes(
        tuple(f"scene_{number:04}" for number in range(count)),
        tuple(named),
        PictureCache([lambda scene=scene: quantise_depth(surfaces.find(scene).depth) for scene in range(count)]),
        PictureCache([lambda scene=scene, name=name: expose(scene, name) for scene in range(count) for name in named]),
        tuple(range(count)),
    )


def quantise_depth(depth: NDArray[np.float32]) -> Depth:
    """Return depth of 0 to 1 as it is stored, uint16."""
    return (depth * FARTHEST + 0.5).astype(np.uint16)


class _Surfaces:
    """Geometry of rendered scenes by number; the last few are kept."""

    def __init__(self, seed: int, side: int) -> None:
        self._seed, self._side = seed, side
        self._bytes = 0
        self._kept: OrderedDict[int, Surface] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, number: int) -> Surface:
        with self._lock:
            if number not in self._kept:
                surface = trace(draw_stage(np.random.default_rng([self._seed, number])), self._side)
                while self._kept and self._bytes + surface.nbytes > _SURFACE_BYTES:
                    self._bytes -= self._kept.popitem(last=False)[1].nbytes
                self._kept[number] = surface
                self._bytes += surface.nbytes
            self._kept.move_to_end(number)
            return self._kept[number]


def _find_lights(scene: Path) -> tuple[str, ...]:
    found = (path.name for path in scene.glob(f"{LIGHT_PREFIX}*{SUFFIX}") if path.is_file())
    return tuple(sorted(name.removeprefix(LIGHT_PREFIX).removesuffix(SUFFIX) for name in found))


def _compare_lights(scene: Path, own: Sequence[str], first: Path, lights: Sequence[str]) -> None:
    for missing, where, there in ((set(lights) - set(own), scene, first), (set(own) - set(lights), first, scene)):
        if missing:
            name = f"{LIGHT_PREFIX}{min(missing)}{SUFFIX}"
            raise DataError(f"{where} has no {name}, which {there} has: give all scenes the same lights")


def _find_depth(scene: Path) -> Path:
    found = sorted(path for path in scene.glob(f"{DEPTH_PREFIX}*{SUFFIX}") if path.is_file())
    if len(found) != 1:
        what = f"no {DEPTH_PREFIX}*{SUFFIX}" if not found else f"{found[0].name} and {found[1].name}"
        raise DataError(f"{scene} has {what}; a scene needs one picture of its depth, 16-bit gray")
    return found[0]


def _read_light(path: Path) -> Image8:
    try:
        return read_target(path)
    except ImageError as problem:
        raise DataError(str(problem)) from problem
