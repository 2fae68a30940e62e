"""Import colour LUT files as artefacts: .cube, Hald pictures, and what OpenColorIO reads. Imports modules when used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lutkit_runtime
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError


def import_cube(sources: Sequence[Path], *, interpolation: str | None = None) -> Artefact:
    """Return the artefact of one .cube file.

    Parameters
    ----------
    sources : sequence of one Path
    interpolation : str, optional
        ``tetrahedral``, which is the default, or ``trilinear``.

    Raises
    ------
    FormatError
        Where the file cannot be read, or there are several.
    """
    from lutkit.colour.programs import make_lut_artefact
    from lutkit.formats.cube import read_cube

    path = _require_one(sources, "a .cube file")
    lut = read_cube(path)
    return make_lut_artefact(lut, interpolation=_choose(interpolation), provenance=_describe("cube", path))


def import_hald(sources: Sequence[Path], *, interpolation: str | None = None) -> Artefact:
    """Return the artefact of one Hald picture; parameters and errors as in `import_cube`."""
    from lutkit.colour.programs import make_lut_artefact
    from lutkit.formats.hald import read_hald

    path = _require_one(sources, "a Hald picture")
    lut = read_hald(path)
    return make_lut_artefact(lut, interpolation=_choose(interpolation), provenance=_describe("hald", path))


def import_ocio(
    sources: Sequence[Path], *, interpolation: str | None = None, correction: str | None = None
) -> Artefact:
    """Return the artefact of one file that OpenColorIO reads.

    Parameters
    ----------
    sources : sequence of one Path
    interpolation : str, optional
        ``tetrahedral`` or ``trilinear``; otherwise what the file asks for.
    correction : str, optional
        Which of the corrections of a .ccc or .cdl file is meant: its id, or its number from 0.

    Raises
    ------
    FormatError
        Where the file cannot be read, or there are several.
    """
    from lutkit.colour.chain_programs import make_chain_artefact
    from lutkit.formats.opencolorio_luts import read_chain

    path = _require_one(sources, "a colour LUT file")
    imported = read_chain(path, correction=correction)
    origin = _describe("ocio", path)
    if imported.baked:
        origin["imported"]["baked"] = list(imported.baked)
    if correction is not None:
        origin["imported"]["correction"] = correction
    chosen = _choose(interpolation, imported.interpolation)
    return make_chain_artefact(imported.chain, interpolation=chosen, provenance=origin)


def list_approximations(artefact: Artefact) -> list[str]:
    """Return a sentence for each operator that became curves when the model's file was read."""
    imported = artefact.provenance.get("imported")
    baked = imported.get("baked", []) if isinstance(imported, Mapping) else []
    return [f"approximated by curves: {each}" for each in baked]


def _require_one(sources: Sequence[Path], what: str) -> Path:
    if len(sources) != 1:
        raise FormatError(f"a colour LUT is one file but {len(sources)} sources are given: name {what}")
    return Path(sources[0])


def _choose(interpolation: str | None, usual: CubeInterpolation = CubeInterpolation.TETRAHEDRAL) -> CubeInterpolation:
    if interpolation is None:
        return usual
    names = [each.value for each in CubeInterpolation]
    if interpolation not in names:
        raise FormatError(f"unknown interpolation '{interpolation}': use one of {', '.join(names)}")
    return CubeInterpolation(interpolation)


def _describe(kind: str, path: Path) -> dict[str, Any]:
    """Return where an artefact comes from."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    imported = {"kind": kind, "file": path.name, "sha256": digest}
    return {"imported": imported, "lutkit_version": lutkit_runtime.__version__}
