"""Write models of colours as .cube files and Hald pictures. Imports the formats and the baking when used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lutkit.colour.lut import ColourLut


def export_cube(
    artefact: Artefact,
    target: Path,
    *,
    overwrite: bool = False,
    image: NDArray[Any] | None = None,
    size: int | None = None,
) -> list[Path]:
    """Write a model as a .cube file with unclipped values, and return its path.

    Parameters
    ----------
    artefact : Artefact
    target : Path
    overwrite : bool
    image : uint8, uint16 or float32, (H, W, 3) or (H, W, 4), optional
        The picture for which a model that adapts to pictures makes its LUT.
    size : int, optional
        Nodes per axis; a model of another size is sampled.

    Raises
    ------
    FormatError
        Where the model is no LUT, the picture is missing, or the file exists or cannot be written.
    """
    from lutkit.colour.baking import bake_lut
    from lutkit.formats.cube_writer import write_cube

    if target.suffix.lower() != ".cube":
        raise FormatError(f"{target} is no name of a colour LUT: let it end in .cube")
    write_cube(bake_lut(artefact, image, size=size), target, overwrite=overwrite)
    return [target]


def export_hald(
    artefact: Artefact,
    target: Path,
    *,
    overwrite: bool = False,
    image: NDArray[Any] | None = None,
    size: int | None = None,
) -> list[Path]:
    """Write a model as a Hald picture of 16 bits, which clips values to 0..1, and return its path.

    Parameters and errors as in `export_cube`; nodes per axis are a square number from 4 to 121.
    """
    from lutkit.colour.baking import bake_lut
    from lutkit.formats.hald import MAX_LEVEL, MIN_LEVEL, choose_level, write_hald

    levels = {level**2: level for level in range(MIN_LEVEL, MAX_LEVEL + 1)}
    if size is not None and size not in levels:
        raise FormatError(f"a Hald picture has {', '.join(map(str, levels))} nodes per axis, not {size}: choose one")
    lut = bake_lut(artefact, image)
    level = levels[size] if size else choose_level(lut)
    if lut.cube is None or lut.cube.size != level**2:
        lut = bake_lut(artefact, image, size=level**2)  # sampled as the model interpolates, not as the writer would
    write_hald(lut, target, level=level, overwrite=overwrite)
    return [target]


def read_back(kind: str, path: Path) -> ColourLut:
    """Return the LUT of a file that was written; `kind` is ``cube`` or ``hald``."""
    from lutkit.formats.cube import read_cube
    from lutkit.formats.hald import read_hald

    return read_cube(path) if kind == "cube" else read_hald(path)
