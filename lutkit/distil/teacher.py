"""What is distilled: any model that keeps the size of pictures, as a function from pictures to pictures.

Imports the runtime; torch only for networks of a run, ONNX Runtime only for ONNX files.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.resolve import find_model, newest_artefact, open_model
from lutkit.run import Run
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.engine.conversion import halve_depth
from lutkit_runtime.errors import DataError
from lutkit_runtime.program import Program

Image = NDArray[Any]
Answer = Callable[[Image, int | None], Image]
"""Takes a picture, uint8 or uint16 (H, W, 3), and how many threads may compute (None: all); returns one of that type."""

ONNX_SUFFIX = ".onnx"
NETWORK_SUFFIXES = frozenset({".pth", ".pt", ".npz", ".safetensors"})
NETWORK_KINDS = frozenset({"mulut", "sr-lut"})
"""Published kinds whose files hold networks, which become a run; of other kinds files hold the model itself."""


@dataclass(frozen=True)
class Teacher:
    """A model whose answers are distilled.

    Parameters
    ----------
    label : str
        Short name.
    description : str
        What it is, for people.
    engine : str
        What computes its answers.
    bytes : int
        Of its files.
    sha256 : str
        Of its files one after the other, hexadecimal.
    answer : callable
        See `Answer`.
    multiple : int
        Sides of pictures must be multiples of it.
    files : tuple of Path
    """

    label: str
    description: str
    engine: str
    bytes: int
    sha256: str
    answer: Answer
    multiple: int = 1
    files: tuple[Path, ...] = ()


def open_teacher(sources: Sequence[str], kind: str | None = None) -> Teacher:
    """Open a teacher and make sure that it keeps the size of pictures.

    Parameters
    ----------
    sources : sequence of str
        One MODEL (a built-in name, an artefact, a run folder, a colour LUT file) or ONNX file; with `kind` the files of a
        published model.
    kind : str, optional
        What these files are, as `lutkit import --as` has it.

    Raises
    ------
    DataError
        Where there is no such model, it changes the size of pictures, or it does not work on sRGB pictures.
    FormatError, ArtefactError
        Where its files cannot be read.
    """
    if kind is not None:
        return _open_published([Path(source) for source in sources], kind)
    (source,) = sources
    path = Path(source)
    if path.suffix.lower() == ONNX_SUFFIX and not path.is_dir():
        from lutkit.distil.onnx_teacher import describe_engine, open_network

        network = open_network(path)
        files = (path, *network.weight_files)
        size, digest = _identify(files)
        return Teacher(
            path.stem,
            f"the ONNX network {path}",
            describe_engine(),
            size,
            digest,
            network.answer,
            network.multiple,
            files,
        )
    if path.is_dir() and newest_artefact(path) is None and Run(path).is_run():
        return _open_run(Run(path), path.resolve().name, f"the networks of the run {path}")
    found = find_model(source)
    return _open_artefact(open_model(found), found.label, found.description, [found.path])


def _open_published(sources: Sequence[Path], kind: str) -> Teacher:
    from lutkit.formats import import_tables

    names = ", ".join(str(path) for path in sources)
    label, description = sources[0].stem, f"{names} ({kind})"
    if len(sources) == 1 and sources[0].suffix.lower() in NETWORK_SUFFIXES and kind in NETWORK_KINDS:
        from lutkit.formats.networks import import_network

        with tempfile.TemporaryDirectory(prefix="lutkit-") as folder:
            run = Run(Path(folder) / "teacher")
            import_network(kind, sources[0], run)
            return _open_run(run, label, f"the networks of {description}", [sources[0]])
    files = [file for path in sources for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    artefact = import_tables(kind, sources)
    return _open_artefact(artefact, label, description, [file for file in files if file.is_file()])


def _open_artefact(artefact: Artefact, label: str, description: str, files: Sequence[Path]) -> Teacher:
    model = Model(artefact.program, artefact.tables)
    _check_program(model.program, description)
    model.prepare()
    size, digest = _identify(files)

    def answer(picture: Image, threads: int | None) -> Image:
        return model.apply(picture, threads=threads)

    return Teacher(label, description, "lutkit, fused kernels", size, digest, answer, files=tuple(files))


def _open_run(run: Run, label: str, description: str, files: Sequence[Path] | None = None) -> Teacher:
    """Return the networks of a run as they were trained."""
    import torch

    from lutkit.families import find_family
    from lutkit.workbench import find_workbench

    config = run.read_config()
    family = find_family(config.family)
    _check_program(family.skeleton(config.model), description)
    trained = find_workbench(family).load(run, config)
    files = tuple(files or [run.network_file])
    size, digest = _identify(files)

    def answer(picture: Image, threads: int | None) -> Image:
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        try:
            if picture.dtype == np.uint8:
                return trained.restore(picture)
            # networks of a run are asked in 8 bits, as validation does
            return trained.restore(halve_depth(picture)).astype(np.uint16) * np.uint16(257)
        finally:
            torch.set_num_threads(before)

    return Teacher(label, description, f"torch {torch.__version__}, CPU", size, digest, answer, files=files)


def _check_program(program: Program, description: str) -> None:
    """Raise DataError for a model that changes the size of pictures, needs more than them, or works on others than sRGB."""
    if program.scale != 1:
        raise DataError(
            f"{description}: pictures come out {program.scale} times as large, but distilling needs a teacher that keeps their "
            "size; name a model that retouches, denoises or deblocks"
        )
    if program.companions:
        names = ", ".join(each.name for each in program.companions)
        raise DataError(
            f"{description} needs {names} beside a picture, but distilling shows photos alone: name another teacher"
        )
    if program.colour_space != "sRGB":
        raise DataError(
            f"{description} works on {program.colour_space} pictures, but distilling reads sRGB photos: name another teacher"
        )


def _identify(files: Sequence[Path]) -> tuple[int, str]:
    """Return how many bytes files have together, and the digest of their contents one after the other."""
    digest, size = hashlib.sha256(), 0
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}): check the name and the permissions") from error
        size += len(content)
        digest.update(content)
    return size, digest.hexdigest()
