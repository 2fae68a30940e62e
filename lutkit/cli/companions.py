"""What `lutkit apply` is given beside pictures, such as their depth: which file belongs to which picture, and reading it.

Imports the rest when used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lutkit.cli.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lutkit.images import Picture
    from lutkit_runtime.program import Companion, Program

OPTIONS = {"depth": "--depth", "guide": "--guide", "guide_depth": "--guide-depth"}
"""Options by the name that programs give to what they are for."""


@dataclass(frozen=True)
class Companions:
    """Files or folders that are given beside the pictures, checked against what the model needs.

    Parameters
    ----------
    needed : sequence of Companion
        Of the program.
    given : mapping of name to Path
        A file that belongs to the one picture, or a folder of files with the stems of the pictures.
    """

    needed: Sequence[Companion] = ()
    given: Mapping[str, Path] = field(default_factory=dict[str, Path])

    def find(self, source: Source) -> dict[str, Path]:
        """Return the files that belong to a picture, by name.

        Raises DataError where one is missing or it is not clear which it is, or the source is a video.
        """
        from lutkit_runtime.errors import DataError

        if self.needed and source.is_video:
            names = ", ".join(each.name for each in self.needed)
            raise DataError(f"the model needs {names} beside a picture, and a video has none; it is for pictures only")
        return {each.name: _find_file(each.name, self.given[each.name], source) for each in self.needed}

    def read(self, source: Source, picture: Picture, max_pixels: int) -> dict[str, NDArray[Any]]:
        """Return what belongs to a picture, by name: (H, W) for one channel, (H, W, 3) for colours.

        Raises DataError as `find`, or where a file has another size than the picture or colours where gray is needed;
        ImageError where it cannot be read.
        """
        from lutkit.images import read_picture

        found = self.find(source)
        return {
            each.name: _fit(each, found[each.name], read_picture(found[each.name], max_pixels), picture)
            for each in self.needed
        }


def match_companions(
    program: Program, given: Mapping[str, Path | None], sources: Sequence[Source], model: str
) -> Companions:
    """Return what is given beside the pictures; `model` says in messages which model it is.

    Raises DataError where something that the model needs is not given, something is given that it does not take, or one
    file for several pictures.
    """
    from lutkit_runtime.errors import DataError

    chosen = {name: path for name, path in given.items() if path is not None}
    pictures = [source for source in sources if not source.is_video]
    names = [each.name for each in program.companions]
    for name in chosen:
        if name not in names:
            takes = f"it takes {_list_options(names)}" if names else "it takes the picture alone"
            raise DataError(f"{model} takes no {OPTIONS[name]}: leave it out; {takes}")
    missing = [name for name in names if name not in chosen]
    if missing and pictures:
        alone = len(pictures) == 1
        whose = f"{pictures[0].label}: the model needs" if alone else f"{model} needs"
        wanted = _list_options(missing, " FILE" if alone else " FOLDER")
        raise DataError(f"{whose} {', '.join(missing)} beside {'the' if alone else 'each'} picture: give {wanted}")
    for name in names:
        if len(pictures) > 1 and not chosen[name].is_dir():
            what = f"{OPTIONS[name]} {chosen[name]} is no folder, but there are {len(pictures)} pictures"
            raise DataError(f"{what}: give a folder with a file of the same name for each")
    return Companions(program.companions, chosen)


def refuse_companions(program: Program, where: str) -> None:
    """Raise DataError for a model that needs something beside the picture; `where` says what has no place for it."""
    from lutkit_runtime.errors import DataError

    if program.companions:
        names = ", ".join(each.name for each in program.companions)
        raise DataError(
            f"the model needs {names} beside a picture, for which {where} has no place; it is for pictures only"
        )


def _list_options(names: Sequence[str], value: str = "") -> str:
    known = [OPTIONS[name] + value for name in names if name in OPTIONS]
    return " ".join(known) if known else "it by name in Python, as lutkit_runtime.load(...).apply(image, ...) takes it"


def _find_file(name: str, given: Path, source: Source) -> Path:
    from lutkit.images import readable_suffixes
    from lutkit_runtime.errors import DataError

    if not given.is_dir():
        return given
    suffixes = readable_suffixes()
    folder = given / source.subfolder
    found = sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.stem == source.stem and path.suffix.lower() in suffixes
    )
    if len(found) != 1:
        what = (
            f"{found[0].name} and {found[1].name} in {folder}" if found else f"no picture {source.stem}.* in {folder}"
        )
        raise DataError(f"there {'are' if found else 'is'} {what} for {OPTIONS[name]}; one for each picture is needed")
    return found[0]


def _fit(companion: Companion, path: Path, given: Picture, picture: Picture) -> NDArray[Any]:
    """Return the samples of a picture beside the picture as the program takes them."""
    from lutkit.images.expansion import as_gray, expand_gray
    from lutkit_runtime.errors import DataError

    option = OPTIONS[companion.name]
    (height, width), (own_height, own_width) = given.pixels.shape[:2], picture.pixels.shape[:2]
    if (height, width) != (own_height, own_width):
        raise DataError(
            f"{path} ({option}) has {width}x{height} pixels and the picture {own_width}x{own_height}; they must be of one "
            "size: resize or crop one"
        )
    if companion.channels == 3:
        return expand_gray(given).pixels[..., :3]
    gray = as_gray(given.pixels)
    if gray is None:
        raise DataError(f"{path} ({option}) has colours; a gray picture is needed, dark where it is near: convert it")
    return gray
