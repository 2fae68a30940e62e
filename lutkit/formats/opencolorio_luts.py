"""Read the colour LUT formats of others through OpenColorIO, as chains that no longer need it. Imports it when used.

What OpenColorIO understands is taken over operator by operator where lutkit has an equal one. Others that treat every
channel by itself become fine curves where these are as good; the rest is refused. Every chain is compared with
OpenColorIO's own result before it is handed out.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lutkit.colour.chain import ColourChain, simplify
from lutkit.colour.lut import ONES, ZEROS
from lutkit.formats.files import read_file
from lutkit.formats.opencolorio_ops import REMEDY, TOLERANCE, Bounds, convert_op, measure, run_transform
from lutkit.lut_suffixes import OPENCOLORIO
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

COLLECTIONS = (".ccc", ".cdl")
"""Files that may hold several corrections, each with an id."""
MAX_BYTES = 256 << 20
"""Larger files are not handed to OpenColorIO."""


@dataclass(frozen=True)
class ImportedChain:
    """A chain from a file.

    Attributes
    ----------
    chain : ColourChain
        Merged as far as possible.
    interpolation : CubeInterpolation
        What the file asks for; tetrahedral where its format cannot say.
    baked : tuple of str
        Operators that have become curves, each with the range of inputs and the largest difference; for the first
        operators this range follows from pictures of 0..1.
    difference : float
        The largest one from OpenColorIO, relative to values above 1, at random and extreme inputs of the domain.
    """

    chain: ColourChain
    interpolation: CubeInterpolation
    baked: tuple[str, ...]
    difference: float


def read_chain(path: Path | str, *, correction: str | None = None) -> ImportedChain:
    """Read a colour LUT file through OpenColorIO.

    Parameters
    ----------
    path : Path or str
        Its suffix, one of `OPENCOLORIO`, says the format.
    correction : str, optional
        Which of the corrections of a .ccc or .cdl file is meant: its id, or its number from 0.

    Raises
    ------
    FormatError
        Where OpenColorIO is not installed, refuses the file or warns of something in it, or where an operator has no
        equal here; the sentence names the operator.
    """
    path = Path(path)
    if path.suffix.lower() not in OPENCOLORIO:
        raise FormatError(
            f"{path}: the suffix stands for no colour LUT format; known are .cube, {', '.join(OPENCOLORIO)}"
        )
    ocio = _load(path)
    data = read_file(path, MAX_BYTES)
    _check_content(data, path, correction)
    with tempfile.TemporaryDirectory(prefix="lutkit-") as folder:
        # In a folder of its own, as OpenColorIO remembers files by their names; without what it would expand in a
        # name, but otherwise under its own, because .lut files say their depth there (12to16fp).
        copy = Path(folder) / (re.sub(r"[^A-Za-z0-9_.+-]", "_", path.stem)[-80:] + path.suffix.lower())
        copy.write_bytes(data)
        with _warnings(ocio) as warnings:
            transform = ocio.FileTransform(src=str(copy), cccId=correction or "")
            try:
                transforms = list(ocio.Config.CreateRaw().getProcessor(transform).createGroupTransform())
            except ocio.Exception as problem:
                raise FormatError(f"{path}: OpenColorIO refuses it: {_find_reason(str(problem), folder)}") from None
        if warnings:
            raise FormatError(f"{path}: OpenColorIO warns: {_tidy(warnings[0], folder)}")
    if not transforms:
        raise FormatError(f"{path} changes nothing: it holds no operator")
    return _convert(ocio, path, transforms)


def _convert(ocio: Any, path: Path, transforms: list[Any]) -> ImportedChain:
    """Return the chain of OpenColorIO's operators, compared with its result."""
    interpolation = _find_interpolation(ocio, path, transforms)
    bounds = Bounds(ZEROS, ONES)
    steps: list[Any] = []
    baked: list[str] = []
    for transform in transforms:
        converted = convert_op(ocio, transform, bounds, str(path))
        steps += converted.steps
        baked += converted.baked
        for step in converted.steps:
            bounds = bounds.after(step)
    chain = ColourChain(tuple(steps), path.stem)
    chain.validate()
    whole = simplify(chain)
    difference, excess = _compare(ocio, transforms, whole, interpolation)
    if not excess <= TOLERANCE:
        raise FormatError(
            f"{path}: its operators here differ from OpenColorIO's result by {difference:.2g}, more than "
            f"{TOLERANCE:g}; {REMEDY}"
        )
    return ImportedChain(whole, interpolation, tuple(baked), difference)


def _compare(
    ocio: Any, transforms: list[Any], chain: ColourChain, interpolation: CubeInterpolation
) -> tuple[float, float]:
    """Return the largest difference from OpenColorIO's unoptimised result within the domain.

    Then the same less what single precision makes of the inputs alone: how far the results move where an input does
    by a part in 2**22 of its domain. OpenColorIO computes in float32, so steep places cannot agree any better.
    """
    group = ocio.GroupTransform()
    for transform in transforms:
        if isinstance(transform, ocio.Lut3DTransform):
            tetrahedral = interpolation is CubeInterpolation.TETRAHEDRAL
            transform.setInterpolation(ocio.INTERP_TETRAHEDRAL if tetrahedral else ocio.INTERP_LINEAR)
        group.appendTransform(transform)
    low, high = (np.array(end) for end in chain.domain)
    colours = np.random.default_rng(0).uniform(low, high, (20000, 3))
    corners = np.stack(np.meshgrid(*([0.0, 0.5, 1.0],) * 3), axis=-1).reshape(-1, 3) * (high - low) + low
    inputs = np.concatenate([colours, corners]).astype(np.float32)
    expected = run_transform(ocio, group, inputs)
    result = chain.evaluate(inputs, interpolation)
    spread = np.zeros_like(result)
    for step in np.eye(3) * np.maximum(np.abs(low), np.abs(high)) / 2**22:
        for moved in (inputs + step, inputs - step):
            spread = np.maximum(spread, np.abs(chain.evaluate(moved, interpolation) - result))
    nearer = result + np.clip(expected - result, -spread, spread)
    return measure(result, expected), measure(nearer, expected)


def _find_interpolation(ocio: Any, path: Path, transforms: list[Any]) -> CubeInterpolation:
    """Return how the file wants its cubes interpolated; where it does not say, what its format prescribes, if any."""
    tetrahedral = {ocio.INTERP_TETRAHEDRAL, ocio.INTERP_BEST}
    if path.suffix.lower() not in (".clf", ".ctf"):  # these mean trilinear where they do not say
        tetrahedral.add(ocio.INTERP_DEFAULT)
    kinds = {each.getInterpolation() in tetrahedral for each in transforms if isinstance(each, ocio.Lut3DTransform)}
    if len(kinds) > 1:
        raise FormatError(f"{path}: one of its cubes is trilinear and one tetrahedral; convert it to one LUT first")
    return CubeInterpolation.TRILINEAR if kinds == {False} else CubeInterpolation.TETRAHEDRAL


def _load(path: Path) -> Any:
    try:
        import PyOpenColorIO  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise FormatError(f"{path.suffix} files are read through OpenColorIO: pip install 'lutkit[ocio]'") from None
    return PyOpenColorIO


def _check_content(data: bytes, path: Path, correction: str | None) -> None:
    """Raise FormatError where a file would say less, or more, than one look."""
    if not data or data.isspace():
        raise FormatError(f"{path} is empty: get a new copy of it")
    if path.suffix.lower() == ".ctf" and b"<Reference" in data:
        raise FormatError(f"{path} refers to another file, which is not followed: merge them first")
    count = data.count(b"<ColorCorrection ") + data.count(b"<ColorCorrection>")
    if correction is not None and path.suffix.lower() not in COLLECTIONS:
        raise FormatError(f"{path} is no collection of corrections ({', '.join(COLLECTIONS)}): leave --correction out")
    if path.suffix.lower() in (*COLLECTIONS, ".cc") and count > 1 and correction is None:
        found = re.findall(rb'<ColorCorrection\s[^>]*?\bid\s*=\s*"([^"]{1,60})"', data)
        names = ["".join(filter(str.isprintable, name.decode("utf-8", "replace"))) for name in found[:6]] + ["..."] * (
            len(found) > 6
        )
        shown = f" ({', '.join(names)})" if names else ""
        raise FormatError(
            f"{path} holds {count} corrections{shown}: choose one with lutkit import --as ocio "
            "--correction ID, or its number from 0"
        )


@contextlib.contextmanager
def _warnings(ocio: Any) -> Iterator[list[str]]:
    """Collect what OpenColorIO says meanwhile instead of printing it."""
    messages: list[str] = []
    level = ocio.GetLoggingLevel()
    ocio.SetLoggingLevel(ocio.LOGGING_LEVEL_WARNING)
    ocio.SetLoggingFunction(messages.append)
    try:
        yield messages
    finally:
        ocio.ResetToDefaultLoggingFunction()  # else the interpreter never ends
        ocio.SetLoggingLevel(level)


def _find_reason(text: str, folder: str) -> str:
    """Return what the readers for the suffix said, of a message that names them all."""
    reasons = re.findall(r"failed with: (.*?)(?=\s{4}'|$)", text, re.DOTALL)
    return _tidy("; ".join(reason.rpartition("Error is: ")[2] for reason in reasons) or text, folder)


def _tidy(text: str, folder: str) -> str:
    """Return a message without the name of the copy, fit for one line."""
    text = text.replace(folder + "/", "").replace("[OpenColorIO Warning]: ", "")[:2000]
    tidy = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return tidy if len(tidy) <= 160 else f"{tidy[:157]}..."
