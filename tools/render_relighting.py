"""Render a folder of scenes under several lights, to train and score relighting on: nothing in it is anyone's photo.

``python tools/render_relighting.py OUT`` writes OUT/scene_0000/depth.png (16-bit gray, 0 nearest, 65535 farthest) and
OUT/scene_0000/light_NE_4500.png and so on: eight directions, N from behind the scene, by five colour temperatures. The
same seed gives the same bytes. May import lutkit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from lutkit.images import Picture, write_picture
from lutkit.relighting.scenes import DEPTH_PREFIX, LIGHT_PREFIX, SUFFIX, Scenes, render_scenes
from lutkit_runtime.errors import LutkitError


def write_scenes(scenes: Scenes, folder: Path, *, overwrite: bool = False) -> None:
    """Write scenes as a folder that `lutkit.relighting.scenes.read_scenes` reads; raises ImageError where files exist."""
    for number, name in enumerate(tqdm(scenes.names, unit="scene", disable=None)):
        scene = folder / name
        scene.mkdir(parents=True, exist_ok=True)
        write_picture(scene / f"{DEPTH_PREFIX}{SUFFIX}", Picture(scenes.depth(number)), overwrite)
        for light, own in enumerate(scenes.lights):
            write_picture(scene / f"{LIGHT_PREFIX}{own}{SUFFIX}", Picture(scenes.picture(number, light)), overwrite)


def main() -> None:
    """Render what the options say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--scenes", type=int, default=100, metavar="N", help="number of scenes (default: 100)")
    parser.add_argument("--side", type=int, default=256, metavar="S", help="side of the pictures (default: 256)")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="default: 0; others give other scenes")
    parser.add_argument("--lights", choices=["all", "8"], default="all", help="all forty, or eight of 4500 K")
    parser.add_argument("-y", "--yes", action="store_true", help="overwrite files that exist")
    options = parser.parse_args()
    if options.scenes < 1 or options.side < 16 or options.seed < 0:
        parser.error("--scenes is 1 or more, --side 16 or more, --seed 0 or more")
    lights = 8 if options.lights == "8" else None
    try:
        write_scenes(
            render_scenes(options.seed, options.scenes, options.side, lights), options.out, overwrite=options.yes
        )
    except (LutkitError, OSError) as error:
        parser.exit(1, f"Error: {error}\n")


if __name__ == "__main__":
    main()
