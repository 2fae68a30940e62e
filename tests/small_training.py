"""Photos, scenes, configurations and commands so small that a training run takes a second; shared by the train side's tests."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import msgspec

from lutkit.configuration import RunConfig
from lutkit.families.spatial import SpatialConfig
from lutkit.generated import render_collection
from lutkit.recipe import Phase, Recipe
from lutkit.relighting.scenes import render_scenes

LUTKIT = (sys.executable, "-c", "from lutkit.cli import main; main(prog_name='lutkit')")

ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

RECIPE = Recipe(
    steps=8, batch=2, crop=8, learning_rate=5e-3, final_rate=1e-3, validate_every=3, phases=(Phase(interval=6),)
)


def write_photos(folder: Path, *, count: int, side: int, seed: int = 3) -> Path:
    """Write generated photos as PNG files and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, photo in enumerate(render_collection(seed, count, side)):
        cv2.imwrite(str(folder / f"photo{number}.png"), photo[:, :, ::-1])
    return folder


def write_exposures(
    folder: Path, count: int, *, exposures: int = 2, reference: str | None = "ref", side: int = 32, seed: int = 3
) -> Path:
    """Write scenes of so many dark exposures each, and the photo that they were made of as the reference."""
    photos = write_photos(folder / ".photos", count=count, side=side, seed=seed)
    for number, path in enumerate(sorted(photos.iterdir())):
        (folder / f"scene{number}").mkdir()
        photo = cv2.imread(str(path))
        for exposure in range(exposures):
            dark = (photo * (0.15 + 0.1 * exposure)).astype("uint8")
            cv2.imwrite(str(folder / f"scene{number}" / f"{exposure}.png"), dark)
        if reference:
            cv2.imwrite(str(folder / f"scene{number}" / f"{reference}.png"), photo)
    return folder


def write_scenes(folder: Path, *, count: int, side: int, seed: int = 3, lights: int = 3) -> Path:
    """Write rendered scenes under a few lights, with their depth, and return their folder."""
    scenes = render_scenes(seed, count, side, 8)
    for scene, name in enumerate(scenes.names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name / "depth.png"), scenes.depth(scene))
        for light, lit in enumerate(scenes.lights[:lights]):
            cv2.imwrite(str(folder / name / f"light_{lit}.png"), scenes.picture(scene, light)[:, :, ::-1])
    return folder


def make_config(photos: Path | None, *, task: str = "sr", recipe: Recipe = RECIPE, **model: object) -> RunConfig:
    """Return a run of a tiny MuLUT on a folder of photos."""
    plain = SpatialConfig(patterns=("s",), stages=1, scale=2 if task == "sr" else 1, interval=6, width=8, task=task)
    return RunConfig(
        family="mulut",
        model=msgspec.structs.replace(plain, **model),
        recipe=recipe,
        data=str(photos) if photos else None,
    )


def run_lutkit(*arguments: object, folder: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command of lutkit in a process and a folder of its own."""
    return subprocess.run(
        [*LUTKIT, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **ONE_THREAD},
    )
