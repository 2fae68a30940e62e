"""`lutkit verify`: check that a model is intact and runs as it should. May import click; the rest inside functions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lutkit.cli.options import examples, model_argument

if TYPE_CHECKING:
    from lutkit_runtime.engine import Model

HEIGHT, WIDTH = 37, 45
TILE = 16


@click.command(
    no_args_is_help=True, epilog=examples("lutkit verify sr-x4", "lutkit verify model.h5", "lutkit verify look.cube")
)
@model_argument
def command(model: str) -> None:
    """Check that a model is intact and runs as it should.

    MODEL is a built-in name, an artefact, a run folder or a colour LUT file. Its hash and structure are checked, and
    every backend of this machine runs it on a small picture, models of colours at every depth: all must give the bytes
    of the reference, whole and in tiles.
    """
    from lutkit.resolve import find_model, open_model
    from lutkit_runtime.engine import Model, suitable_backends

    source = find_model(model)
    path = source.path
    artefact = open_model(source)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    count = len(artefact.tables)
    click.echo(f"{path}: intact, {count} table{'s' if count != 1 else ''}, sha256 {digest}")
    backends = [name for name in suitable_backends() if name != "numpy"]
    samples = compare_backends(Model(artefact.program, artefact.tables), backends)
    click.echo(f"{path}: {' and '.join(['numpy', *backends])} agree on {samples:,} samples")


def compare_backends(model: Model, backends: list[str]) -> int:
    """Run backends on noise and on a ramp, and return how many samples of the reference each of them met.

    Raises BackendError where a single sample differs.
    """
    import numpy as np

    from lutkit_runtime.errors import BackendError

    samples = 0
    for image, named in _make_cases(model):
        expected = model.apply(image, backend="numpy", **named)
        samples += expected.size
        for backend in backends:
            for tile in (None, TILE):
                found = model.apply(image, backend=backend, tile=tile, **named)
                # as bytes: floats that are not numbers are equal too
                different = int(
                    np.count_nonzero(found.view(f"u{found.itemsize}") != expected.view(f"u{found.itemsize}"))
                )
                if different:
                    raise BackendError(
                        f"backend '{backend}' differs from the reference in {different} of {expected.size} samples "
                        f"({image.dtype}, tile {tile}): use --backend numpy, and report it"
                    )
    return samples


def _make_cases(model: Model) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield pictures with what is handed in by name: parameters, and noise for what a model needs beside the picture.

    8 bits for models of single channels, else every depth, alpha and half strength.
    """
    import numpy as np

    from lutkit_runtime.program import Colour

    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    ramp = np.add.outer(np.arange(HEIGHT) * 5, np.arange(WIDTH)).astype(np.uint8)
    if model.program.colour is not Colour.RGB:
        yield from ((noise, {}), (ramp, {}))
        return
    wide = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
    beyond = wide.astype(np.float32) / np.float32(40000) - np.float32(0.3)
    beside = {
        each.name: np.random.default_rng([2, place]).integers(0, 65536, (HEIGHT, WIDTH, each.channels), dtype=np.uint16)
        for place, each in enumerate(model.program.companions)
    }
    halves: dict[str, Any] = {each.name: (each.low + each.default) / 2 for each in model.program.parameters}
    for image in (noise, np.dstack([ramp] * 3), wide, beyond):
        yield image, beside
        if halves:
            yield image, {**beside, **halves}
