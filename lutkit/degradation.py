"""What a restoration network has to undo: shrinking, noise, compression, too little light. One frozen class per task.

May import `resize` and the error tree; numpy and Pillow only.
"""

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lutkit.resize import crop_to_multiple, resize_bicubic
from lutkit_runtime.errors import DataError

Image8 = NDArray[np.uint8]


class Task(Protocol):
    """A degradation with its parameters; equal tasks degrade equally."""

    cacheable: ClassVar[bool]
    """Whether `degrade` is deterministic, so that its result can be computed once and kept."""

    scores_luma: ClassVar[bool]
    """Whether the task's benchmarks are gray images."""

    scores_colour: ClassVar[bool]
    """Whether the task is scored on all three channels together: PSNR, SSIM and colour difference."""

    @property
    def scale(self) -> int:
        """Ratio of the target's size to the degraded image's."""
        ...

    @property
    def name(self) -> str:
        """Task and parameters in a word; differs whenever `degrade` does."""
        ...

    def degrade(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Degrade an image, uint8 (H, W) or (H, W, 3); sides are cropped to multiples of `scale` first."""
        ...

    def aim(self, image: Image8) -> Image8:
        """Return what a model should make of the degraded version of an image: mostly the image itself."""
        ...


@dataclass(frozen=True)
class Downscale:
    """Super-resolution: the image shrunk by the bicubic filter of the published benchmarks.

    Attributes
    ----------
    scale
        Whole ratio by which both sides shrink, at least 2.

    Raises
    ------
    DataError
        If the scale is below 2.
    """

    scale: int
    cacheable: ClassVar[bool] = True
    scores_luma: ClassVar[bool] = False
    scores_colour: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse scales that do not shrink."""
        if self.scale < 2:
            raise DataError(
                f"scale is {self.scale}; super-resolution needs a scale of 2 or more: pass --scale 2, 3 or 4"
            )

    @property
    def name(self) -> str:
        """For example ``sr-x4``."""
        return f"sr-x{self.scale}"

    def degrade(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Return uint8 (H // scale, W // scale) or with 3 appended; the generator is not used."""
        return resize_bicubic(crop_to_multiple(image, self.scale), Fraction(1, self.scale))

    def aim(self, image: Image8) -> Image8:
        """Return the image itself."""
        return image


@dataclass(frozen=True)
class AddNoise:
    """Denoising: Gaussian noise added to the 8-bit values, rounded to the nearest and clipped.

    Attributes
    ----------
    sigma
        Standard deviation in 8-bit levels, above 0.

    Raises
    ------
    DataError
        If sigma is not a finite number above 0.
    """

    sigma: float
    cacheable: ClassVar[bool] = False
    scores_luma: ClassVar[bool] = True
    scores_colour: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what is no standard deviation."""
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise DataError(f"sigma is {self.sigma}; denoising needs a noise level above 0: pass --sigma 15, 25 or 50")

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1

    @property
    def name(self) -> str:
        """For example ``denoise-s25``."""
        return f"denoise-s{float(self.sigma)!r}".removesuffix(".0")

    def degrade(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Return uint8 of the image's shape (any number of axes), with noise from the generator."""
        noisy = rng.standard_normal(image.shape, dtype=np.float32)
        noisy *= np.float32(self.sigma)
        noisy += image
        return np.clip(np.rint(noisy, out=noisy), 0, 255, out=noisy).astype(np.uint8)

    def aim(self, image: Image8) -> Image8:
        """Return the image itself."""
        return image


@dataclass(frozen=True)
class CompressJpeg:
    """Deblocking: the image after JPEG compression, gray as gray, RGB with halved chroma (4:2:0) as most files have it.

    Attributes
    ----------
    quality
        The encoder's quality, 1 to 100.

    Raises
    ------
    DataError
        If the quality is out of range.
    """

    quality: int
    cacheable: ClassVar[bool] = True
    scores_luma: ClassVar[bool] = True
    scores_colour: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse qualities that the encoder does not know."""
        if not 1 <= self.quality <= 100:
            raise DataError(f"quality is {self.quality}; JPEG knows 1 to 100: pass --quality 10, 20, 30 or 40")

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1

    @property
    def name(self) -> str:
        """For example ``deblock-q10``."""
        return f"deblock-q{self.quality}"

    def degrade(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Return uint8 of the image's shape; the generator is not used."""
        with io.BytesIO() as file:
            Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
            with Image.open(file) as compressed:
                return np.array(compressed)

    def aim(self, image: Image8) -> Image8:
        """Return the image itself."""
        return image


@dataclass(frozen=True)
class Retouch:
    """Retouching: exposure, white balance, contrast and saturation that are off, as cameras and people get them wrong."""

    cacheable: ClassVar[bool] = False
    scores_luma: ClassVar[bool] = False
    scores_colour: ClassVar[bool] = True

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1

    @property
    def name(self) -> str:
        """Always ``retouch``."""
        return "retouch"

    def degrade(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Return uint8 (H, W, 3) with faults drawn from the generator; a gray image counts as three equal channels."""
        from lutkit.colour.defects import random_defect

        return random_defect(rng).apply(_make_colours(image))

    def aim(self, image: Image8) -> Image8:
        """Return the image developed plainly, see `lutkit.colour.develop`."""
        from lutkit.colour.develop import develop

        return develop(_make_colours(image))


@dataclass(frozen=True)
class Detail:
    """Local contrast: photos as they are, whose detail is to be brought out and whose light is to be evened out."""

    cacheable: ClassVar[bool] = True
    scores_luma: ClassVar[bool] = False
    scores_colour: ClassVar[bool] = True

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1

    @property
    def name(self) -> str:
        """Always ``detail``."""
        return "detail"

    def degrade(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Return the image itself, uint8 (H, W, 3); a gray image counts as three equal channels."""
        return _make_colours(image)

    def aim(self, image: Image8) -> Image8:
        """Return the image as `lutkit.colour.local_contrast` changes it."""
        from lutkit.colour.local_contrast import enhance_detail

        return enhance_detail(_make_colours(image))


@dataclass(frozen=True)
class Darken:
    """Low light: photos exposed two to five stops too short, with the noise and the white balance that come with it."""

    cacheable: ClassVar[bool] = False
    scores_luma: ClassVar[bool] = False
    scores_colour: ClassVar[bool] = True

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1

    @property
    def name(self) -> str:
        """Always ``lowlight``."""
        return "lowlight"

    def degrade(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Return uint8 (H, W, 3), an exposure drawn from the generator; gray counts as three equal channels."""
        from lutkit.colour.exposures import draw_exposure

        return draw_exposure(rng).take(_make_colours(image), rng)

    def expose_twice(self, image: Image8, rng: np.random.Generator) -> tuple[Image8, Image8]:
        """Return two different dark exposures of one photo, uint8 (H, W, 3): for learning without a reference."""
        from lutkit.colour.exposures import draw_two_exposures

        one, other = draw_two_exposures(rng)
        photo = _make_colours(image)
        return one.take(photo, rng), other.take(photo, rng)

    def aim(self, image: Image8) -> Image8:
        """Return the image itself, (H, W, 3)."""
        return _make_colours(image)


@dataclass(frozen=True)
class Relight:
    """Relighting: a picture as it looks under the light of another one. Its pairs come from scenes, not from photos."""

    cacheable: ClassVar[bool] = False
    scores_luma: ClassVar[bool] = False
    scores_colour: ClassVar[bool] = True

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1

    @property
    def name(self) -> str:
        """Always ``relight``."""
        return "relight"

    def degrade(self, image: Image8, rng: np.random.Generator) -> Image8:
        """Raise DataError: one photo does not tell what another light makes of it."""
        raise DataError(
            "task relight needs scenes under several lights, not photos: give a folder with SCENE/depth.png and "
            "SCENE/light_NAME.png, several lights for each of several scenes"
        )

    def aim(self, image: Image8) -> Image8:
        """Return the image itself: it is the scene under the light that is asked for."""
        return image


def _make_colours(image: Image8) -> Image8:
    """Return a picture (H, W, 3); gray ones as three equal channels."""
    return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)


TASKS = ("sr", "denoise", "deblock", "retouch", "detail", "lowlight", "relight")
"""Tasks by the name that programs, options and configurations give them."""

_PLAIN: dict[str, Callable[[], Task]] = {"retouch": Retouch, "detail": Detail, "lowlight": Darken, "relight": Relight}
"""Tasks without parameters."""

DEFAULT_SIGMA = 25.0
DEFAULT_QUALITY = 10


def make_task(kind: str, scale: int, sigma: float = DEFAULT_SIGMA, quality: int = DEFAULT_QUALITY) -> Task:
    """Return the degradation that a task name and its options mean.

    Parameters
    ----------
    kind
        One of `TASKS`.
    scale
        1 for tasks that keep the size.
    sigma, quality
        Of `AddNoise` and `CompressJpeg`.

    Raises
    ------
    DataError
        If the task is unknown or the scale does not fit it.
    """
    if kind not in TASKS:
        raise DataError(f"unknown task '{kind}': use one of {', '.join(TASKS)}")
    if kind == "sr":
        return Downscale(scale)
    if scale != 1:
        raise DataError(f"task {kind} keeps the size, but scale {scale} is given: leave --scale out")
    if kind in _PLAIN:
        return _PLAIN[kind]()
    return AddNoise(sigma) if kind == "denoise" else CompressJpeg(quality)


def choose_task(asked: str | None, scale: int) -> str:
    """Return the task of a foreign model, by its scale where none is asked for; raises DataError where it cannot be."""
    if asked is None:
        return "sr" if scale > 1 else "denoise"
    if (asked == "sr") != (scale > 1):
        raise DataError(f"task {asked} does not fit a model of scale {scale}: leave --task out or choose another")
    return asked


def find_task(kind: str, scale: int, known: str | None, sigma: float | None, quality: int | None) -> Task:
    """Return the task of a model; what the options leave open comes from the name of the task it was made for.

    Parameters
    ----------
    kind, scale
        As in `make_task`.
    known
        `Task.name` from the model's provenance, such as "denoise-s25", or None.
    sigma, quality
        Options, or None.

    Raises
    ------
    DataError
        As `make_task`, or if an option belongs to another task.
    """
    for option, value, needed in (("--sigma", sigma, "denoise"), ("--quality", quality, "deblock")):
        if value is not None and kind != needed:
            raise DataError(f"{option} belongs to task {needed}, but the model's task is {kind}: leave it out")
    match = re.fullmatch(r"(?:denoise-s|deblock-q)(\d+(?:\.\d+)?)", known or "")
    level = float(match[1]) if match else None
    if kind == "denoise":
        return make_task(kind, scale, sigma=sigma or level or DEFAULT_SIGMA)
    return make_task(kind, scale, quality=quality or int(level or DEFAULT_QUALITY))
