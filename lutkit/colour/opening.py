"""Open and save colour LUTs in any format, by suffix. Imports formats inside functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lutkit.colour.lut import ColourLut
from lutkit.lut_suffixes import OPENCOLORIO, PICTURES
from lutkit_runtime.atomic import check_target
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

if TYPE_CHECKING:
    from lutkit_runtime.artefact import Artefact


@dataclass(frozen=True, eq=False)
class OpenedLut:
    """A colour LUT and how its cube is interpolated.

    Attributes
    ----------
    lut : ColourLut
    interpolation : CubeInterpolation
        What was asked for, else what the file or the model says, else tetrahedral.
    """

    lut: ColourLut
    interpolation: CubeInterpolation


def _say_nothing(note: str) -> None:
    """Take a note for nobody."""


def open_lut(
    source: Path | str,
    note: Callable[[str], None] = _say_nothing,
    *,
    interpolation: CubeInterpolation | None = None,
) -> OpenedLut:
    """Return the colour LUT that a file or a model is, with its interpolation.

    Parameters
    ----------
    source : Path or str
        A .cube file, a Hald picture, a file that OpenColorIO reads, or a built-in name, an artefact or a run folder
        whose model is one colour LUT.
    note : callable
        Told in one line each what was not taken over exactly.
    interpolation : CubeInterpolation, optional
        How cubes are interpolated, whatever the file or the model says.

    Raises
    ------
    FormatError
        Where the file is none of these, cannot be read, or is more than a colour LUT.
    DataError, ArtefactError
        Where there is no such model, or its artefact cannot be read.
    """
    suffix = Path(source).suffix.lower()
    if suffix == ".cube":
        from lutkit.formats.cube import read_cube

        return OpenedLut(read_cube(source), interpolation or CubeInterpolation.TETRAHEDRAL)
    if suffix in PICTURES:
        from lutkit.formats.hald import read_hald

        return OpenedLut(read_hald(source), interpolation or CubeInterpolation.TETRAHEDRAL)
    if suffix in OPENCOLORIO:
        return _open_through_opencolorio(source, note, interpolation)
    from lutkit.resolve import find_model
    from lutkit_runtime.artefact import read_artefact

    return _open_artefact(read_artefact(find_model(source).path), source, interpolation)


def _open_artefact(artefact: Artefact, source: Path | str, interpolation: CubeInterpolation | None) -> OpenedLut:
    from lutkit.colour.baking import find_interpolation, needs_picture, refuse_places
    from lutkit.colour.programs import extract_lut
    from lutkit_runtime.program import Colour

    program = artefact.program
    if program.colour is not Colour.RGB:
        raise FormatError(
            f"{source} is a model of family {program.family}, which looks at a pixel's neighbours: no colour LUT can do "
            "that; name a LUT file or a look"
        )
    refuse_places(program)
    try:
        lut = extract_lut(artefact)
    except FormatError:
        image = " --image PICTURE" if needs_picture(program) else ""
        raise FormatError(
            f"{source} is a model of family {program.family} and no single colour LUT: lutkit export --to cube{image} "
            "makes one of it"
        ) from None
    return OpenedLut(lut, interpolation or find_interpolation(program))


def _open_through_opencolorio(
    source: Path | str, note: Callable[[str], None], interpolation: CubeInterpolation | None
) -> OpenedLut:
    from lutkit.colour.chain import flatten
    from lutkit.formats.opencolorio_luts import read_chain

    imported = read_chain(source)
    for each in imported.baked:
        note(f"{source}: approximated by curves: {each}")
    interpolation = interpolation or imported.interpolation
    lut, difference = flatten(imported.chain, interpolation)
    if difference:
        note(f"{source}: {len(imported.chain.steps)} steps became one LUT that differs by up to {difference:.2g}")
    return OpenedLut(lut, interpolation)


def find_fault_of_name(path: Path | str) -> str | None:
    """Return why a colour LUT cannot be saved under a name, by its suffix, or None where it can."""
    suffix = Path(path).suffix.lower()
    if suffix in (".cube", ".png"):
        return None
    shown = f"the suffix {suffix}" if suffix else "a name without suffix"
    return f"{path}: {shown} is no format for a colour LUT; use .cube, or .png for a Hald picture"


def check_lut_target(path: Path | str, *, overwrite: bool = False) -> None:
    """Raise FormatError unless a LUT can be saved there, by suffix and folder; before long work."""
    problem = find_fault_of_name(path)
    if problem:
        raise FormatError(problem)
    check_target(path, overwrite=overwrite, error=FormatError)


def save_lut(
    lut: ColourLut, path: Path | str, *, overwrite: bool = False, note: Callable[[str], None] = _say_nothing
) -> ColourLut:
    """Write a LUT as a .cube file or a Hald picture of 16 bits, by suffix, and return it as the file holds it.

    `note` is told in one line each what the format could not keep. Raises FormatError as `check_lut_target`, and where
    the format cannot hold the LUT.
    """
    check_lut_target(path, overwrite=overwrite)
    if Path(path).suffix.lower() == ".cube":
        from lutkit.formats.cube_writer import write_cube

        write_cube(lut, path, overwrite=overwrite)
        return lut  # nine digits are float32 without loss
    from lutkit.formats.hald import describe_lost_domain, read_hald, write_hald

    report = write_hald(lut, path, overwrite=overwrite)
    if report.resampled:
        note(f"{path}: resampled to {report.level**2} nodes per axis over 0..1")
    if report.clipped:
        note(f"{path}: {report.clipped} of {report.level**6} nodes clipped to 0..1")
    if lost := describe_lost_domain(*lut.domain):
        note(f"{path}: {lost}")
    return read_hald(path)
