"""What the teacher makes of photos, computed once and kept as pairs of 16-bit PNG files. Imports the teacher and photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lutkit.colour.pictures import INPUT_FOLDER
from lutkit.distil.folder import Folder
from lutkit.distil.photos import Image8, Image16, Photos, make_variant, read_all
from lutkit.distil.teacher import Teacher
from lutkit.images import Picture, read_picture, write_picture
from lutkit_runtime.engine.conversion import halve_depth
from lutkit_runtime.errors import DataError

TARGET_FOLDER = "target"


@dataclass(frozen=True)
class PairFile:
    """A photo and the teacher's answer to it.

    Parameters
    ----------
    name : str
        The photo's.
    input, target : Path
        16-bit RGB PNG files of one size.
    """

    name: str
    input: Path
    target: Path

    def read(self) -> tuple[Image16, Image16]:
        """Return photo and answer; raises ImageError where a file is damaged."""
        return read_picture(self.input).pixels, read_picture(self.target).pixels

    def read_8_bits(self) -> tuple[Image8, Image8]:
        """Return photo and answer in 8 bits, as figures are taken."""
        photo, answer = self.read()
        return halve_depth(photo), halve_depth(answer)


@dataclass(frozen=True)
class Pairs:
    """All pairs of a distillation.

    Parameters
    ----------
    fitted, variants, held_out : tuple of PairFile
        Photos that are fitted to, their other versions, and photos that nothing is fitted to.
    description, held_out_description : str
    """

    fitted: tuple[PairFile, ...]
    variants: tuple[PairFile, ...]
    held_out: tuple[PairFile, ...]
    description: str
    held_out_description: str


def read_photos(chosen: tuple[Photos, Photos], *, show_progress: bool = False) -> None:
    """Read all photos once, before the teacher is asked; raises DataError where one cannot be used."""
    with _bar("reading", sum(map(len, chosen)), show_progress) as bar:
        for photos in chosen:
            read_all(photos, bar.update)


def ask_teacher(
    teacher: Teacher,
    folder: Folder,
    chosen: tuple[Photos, Photos],
    *,
    variants: int,
    seed: int,
    show_progress: bool = False,
) -> Pairs:
    """Ask a teacher about all photos and their versions, and keep its answers; what was kept before is not asked again.

    Raises
    ------
    DataError
        Where the teacher fails.
    """
    fitted, held = chosen
    with _bar("asking the teacher", len(fitted) * (1 + variants) + len(held), show_progress) as bar:

        def keep(where: Path, name: str, stem: str, make: Callable[[], Image16]) -> PairFile:
            pair = PairFile(name, *(where / kind / f"{stem}.png" for kind in (INPUT_FOLDER, TARGET_FOLDER)))
            if not pair.target.is_file():  # it is written last
                _write(pair, make(), teacher)
            bar.update()
            return pair

        held_pairs = [
            keep(folder.held_out, name, f"{number:05d}", lambda number=number: _widen(held.read(number)))
            for number, name in enumerate(held.names)
        ]
        fitted_pairs: list[PairFile] = []
        variant_pairs: list[PairFile] = []
        for number, name in enumerate(fitted.names):
            photo = fitted.read(number)
            fitted_pairs.append(keep(folder.pairs, name, f"{number:05d}", lambda photo=photo: _widen(photo)))
            for version in range(1, variants + 1):

                def make(photo: Image8 = photo, number: int = number, version: int = version) -> Image16:
                    return make_variant(photo, seed, number, version, teacher.multiple)

                variant_pairs.append(keep(folder.pairs, f"{name} ({version})", f"{number:05d}-{version}", make))
    return Pairs(tuple(fitted_pairs), tuple(variant_pairs), tuple(held_pairs), fitted.description, held.description)


def _write(pair: PairFile, photo: Image16, teacher: Teacher) -> None:
    try:
        answer = teacher.answer(photo, None)
    except DataError as problem:
        raise DataError(f"the teacher fails on {pair.name}: {problem}") from problem
    for path, pixels in ((pair.input, photo), (pair.target, answer)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{path.parent} cannot be made ({error.strerror}): choose another --run") from error
        write_picture(path, Picture(np.ascontiguousarray(pixels)), overwrite=True)


def _widen(photo: Image8) -> Image16:
    return photo.astype(np.uint16) * np.uint16(257)


def _bar(what: str, total: int, show: bool) -> Any:
    return tqdm(total=total, desc=what, unit="photo", disable=not show, dynamic_ncols=True, leave=False)
