"""Open and save colour LUTs in any format, by suffix. Imports formats inside functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lutkit.colour.lut import ColourLut
from lutkit_runtime.atomic import check_target
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
"""Taken for Hald pictures; all but .png are refused with the reason."""


def _say_nothing(note: str) -> None:
    """Take a note for nobody."""


def open_lut(
    source: Path | str,
    note: Callable[[str], None] = _say_nothing,
    *,
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL,
) -> ColourLut:
    """Return the colour LUT that a file or a model is.

    Parameters
    ----------
    source : Path or str
        A .cube file, a Hald picture, a file that OpenColorIO reads, or a built-in name, an artefact or a run folder
        whose model is one colour LUT.
    note : callable
        Told in one line each what was not taken over exactly.
    interpolation : CubeInterpolation
        How cubes are interpolated where several steps of a file become one LUT.

    Raises
    ------
    FormatError
        Where the file is none of these, cannot be read, or is more than a colour LUT.
    DataError, ArtefactError
        Where there is no such model, or its artefact cannot be read.
    """
    from lutkit.formats.opencolorio_luts import SUFFIXES

    suffix = Path(source).suffix.lower()
    if suffix == ".cube":
        from lutkit.formats.cube import read_cube

        return read_cube(source)
    if suffix in PICTURES:
        from lutkit.formats.hald import read_hald

        return read_hald(source)
    if suffix in SUFFIXES:
        return _open_through_opencolorio(source, note, interpolation)
    from lutkit.colour.programs import extract_lut
    from lutkit.resolve import find_model
    from lutkit_runtime.artefact import read_artefact

    return extract_lut(read_artefact(find_model(source).path))


def _open_through_opencolorio(
    source: Path | str, note: Callable[[str], None], interpolation: CubeInterpolation
) -> ColourLut:
    from lutkit.colour.chain import flatten
    from lutkit.formats.opencolorio_luts import read_chain

    imported = read_chain(source)
    for each in imported.baked:
        note(f"{source}: {each}")
    lut, difference = flatten(imported.chain, interpolation)
    if difference:
        note(f"{source}: {len(imported.chain.steps)} steps became one LUT that differs by up to {difference:.2g}")
    return lut


def check_lut_target(path: Path | str, *, overwrite: bool = False) -> None:
    """Raise FormatError unless a LUT can be saved there, by suffix and folder; before long work."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".cube", ".png"):
        shown = f"the suffix {suffix}" if suffix else "a name without suffix"
        raise FormatError(f"{path}: {shown} is no format for a colour LUT; use .cube, or .png for a Hald picture")
    check_target(path, overwrite=overwrite, error=FormatError)


def save_lut(
    lut: ColourLut, path: Path | str, *, overwrite: bool = False, note: Callable[[str], None] = _say_nothing
) -> None:
    """Write a LUT as a .cube file or a Hald picture of 16 bits, by suffix.

    `note` is told in one line each what the format could not keep. Raises FormatError as `check_lut_target`, and where
    the format cannot hold the LUT.
    """
    check_lut_target(path, overwrite=overwrite)
    if Path(path).suffix.lower() == ".cube":
        from lutkit.formats.cube_writer import write_cube

        write_cube(lut, path, overwrite=overwrite)
        return
    from lutkit.formats.hald import write_hald

    report = write_hald(lut, path, overwrite=overwrite)
    if report.resampled:
        note(f"{path}: resampled to {report.level**2} nodes per axis over 0..1")
    if report.clipped:
        note(f"{path}: {report.clipped} of {report.level**6} nodes clipped to 0..1")
