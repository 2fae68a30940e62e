"""What relighting is learned from and scored on: a scene under one light, a guide under another, the answer.

May import scenes, the evaluation's pairs and the error tree; no torch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.evaluate import Pair, ReadPair
from lutkit.relighting.scenes import Scenes
from lutkit_runtime.errors import DataError

Float32 = NDArray[np.float32]

SAME_LIGHT = 0.05
"""How often a step of training asks for the light that a picture has already: then nothing must change."""


class RelightingSource:
    """Random steps of training. Mirroring or turning would change where light comes from, so there is none.

    Parameters
    ----------
    scenes : Scenes
    side : int
        Of the pictures that are handed out.
    smallest_share : float
        Squares of this share to all of a picture's shorter side are cut out, anywhere, and brought to `side`; 0 to 1.

    Raises
    ------
    DataError
        Where there are fewer than two scenes, or the share is impossible.
    """

    def __init__(self, scenes: Scenes, side: int, smallest_share: float = 1.0) -> None:
        check_guides(scenes, scenes)
        if not 0 < smallest_share <= 1:
            raise DataError(f"the smallest share of a picture is {smallest_share}; above 0 to 1 is possible")
        self._scenes = scenes
        self._side = side
        self._smallest_share = smallest_share

    def sample(self, rng: np.random.Generator) -> tuple[Float32, Float32]:
        """Draw one step: a scene, another one as the guide, and two lights.

        Returns
        -------
        float32, (8, side, side), 0 to 1
            Image RGB, guide RGB, the image's depth, the guide's depth.
        float32, (3, side, side), 0 to 1
            The scene of the image under the light of the guide.

        Raises
        ------
        DataError
            Where a picture cannot be used.
        """
        scenes = self._scenes
        scene, guide = (int(number) for number in rng.choice(len(scenes), 2, replace=False))
        light, asked = (int(number) for number in rng.choice(len(scenes.lights), 2, replace=False))
        if rng.random() < SAME_LIGHT:
            asked = light
        own = self._cut(rng, scenes.picture(scene, light), scenes.depth(scene), scenes.picture(scene, asked))
        other = self._cut(rng, scenes.picture(guide, asked), scenes.depth(guide))
        return np.concatenate((own[0], other[0], own[1], other[1])), own[2]

    def _cut(self, rng: np.random.Generator, *pictures: NDArray[Any]) -> list[Float32]:
        """Return one square of pictures (H, W[, 3]) of one size, as planes (channels, side, side)."""
        height, width = pictures[0].shape[:2]
        edge = max(1, round(min(height, width) * rng.uniform(self._smallest_share, 1)))
        top, left = (int(rng.integers(length - edge + 1)) for length in (height, width))
        planes: list[Float32] = []
        for picture in pictures:
            square = _to_unit(picture[top : top + edge, left : left + edge])
            square = _resize(square, self._side, self._side)
            planes.append(np.ascontiguousarray(np.moveaxis(square.reshape(self._side, self._side, -1), 2, 0)))
        return planes


def make_pairs(scenes: Scenes, seed: int, limit: int | None = None, guides: Scenes | None = None) -> list[Pair]:
    """Return what `plan_pairs` plans."""
    return [read() for read in plan_pairs(scenes, seed, limit, guides)]


def plan_pairs(scenes: Scenes, seed: int, limit: int | None = None, guides: Scenes | None = None) -> list[ReadPair]:
    """Plan one pair for every scene and every light it can be brought to, or some of them, as steps that read them.

    The light it comes from and the guide's scene are drawn from the seed; a pair is the same whatever the limit.
    Companions are as a program takes them: guide (H, W, 3) uint8, depth and guide_depth (H, W) uint16, all of the
    picture's size.

    Parameters
    ----------
    scenes : Scenes
    seed : int
    limit : int, optional
        How many pairs at most; which, is drawn from the seed, too.
    guides : Scenes, optional
        Of the same lights, where guides are taken from; the scenes themselves by default. A scene is never its own guide,
        which would be the answer.

    Raises
    ------
    DataError
        Where there are no two scenes.
    """
    guides = guides or scenes
    check_guides(scenes, guides)
    count = len(scenes.lights)
    chosen = np.random.default_rng(seed).permutation(len(scenes) * count)[:limit]
    return [partial(_make_pair, scenes, guides, *divmod(int(number), count), seed) for number in np.sort(chosen)]


def check_guides(scenes: Scenes, guides: Scenes) -> None:
    """Raise DataError where a scene could only be its own guide, or the guides' lights are others."""
    if guides.lights != scenes.lights:
        raise DataError("the scenes and those of the guides have different lights: give all scenes the same lights")
    if len(guides) < 2 and set(guides.names) == set(scenes.names):
        raise DataError(
            f"there is one scene only, {guides.names[0]}: its guide would be the answer; relighting needs two or more"
        )


def fit_picture(picture: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return the middle of a picture (H, W[, C]) in another size and shape, of the same type; nothing is stretched."""
    own_height, own_width = picture.shape[:2]
    share = min(own_height / height, own_width / width)
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = (own_height - rows) // 2, (own_width - columns) // 2
    return _resize(picture[top : top + rows, left : left + columns], height, width)


def _make_pair(scenes: Scenes, guides: Scenes, scene: int, asked: int, seed: int) -> Pair:
    rng = np.random.default_rng([seed, scene, asked])
    light = (asked + int(rng.integers(1, len(scenes.lights)))) % len(scenes.lights)
    others = [number for number, name in enumerate(guides.names) if name != scenes.names[scene]]
    guide = others[int(rng.integers(len(others)))]
    image = scenes.picture(scene, light)
    height, width = image.shape[:2]
    return Pair(
        f"{scenes.names[scene]}-{scenes.lights[light]}-to-{scenes.lights[asked]}",
        image,
        scenes.picture(scene, asked),
        {
            "guide": fit_picture(guides.picture(guide, asked), height, width),
            "depth": scenes.depth(scene),
            "guide_depth": fit_picture(guides.depth(guide), height, width),
        },
    )


def _resize(picture: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture)
    shrinks = picture.shape[0] > height or picture.shape[1] > width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=way), picture.dtype)


def _to_unit(picture: NDArray[Any]) -> Float32:
    return picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)
