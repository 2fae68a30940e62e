"""`lutkit verify`: check that a model is intact and runs as it should. May import click; the rest inside functions."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import click

from lutkit.cli.options import examples, model_argument

if TYPE_CHECKING:
    from lutkit_runtime.engine import Model

HEIGHT, WIDTH = 37, 45
TILE = 16


@click.command(no_args_is_help=True, epilog=examples("lutkit verify sr-x4", "lutkit verify model.h5"))
@model_argument
def command(model: str) -> None:
    """Check that a model is intact and runs as it should.

    MODEL is a built-in name, an artefact or a run folder. Its hash and structure are checked, and every backend of this
    machine runs it on a small picture: all must give the bytes of the reference, whole and in tiles.
    """
    from lutkit.resolve import find_model
    from lutkit_runtime.artefact import read_artefact
    from lutkit_runtime.engine import Model, available_backends

    path = find_model(model).path
    artefact = read_artefact(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    click.echo(f"{path}: intact, {len(artefact.tables)} tables, sha256 {digest}")
    backends = [name for name in available_backends() if name != "numpy"]
    samples = compare_backends(Model(artefact.program, artefact.tables), backends)
    click.echo(f"{path}: {' and '.join(['numpy', *backends])} agree on {samples:,} samples")


def compare_backends(model: Model, backends: list[str]) -> int:
    """Run backends on noise and on a ramp, and return how many samples of the reference each of them met.

    Raises BackendError where a single sample differs.
    """
    import numpy as np

    from lutkit_runtime.errors import BackendError

    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    ramp = np.add.outer(np.arange(HEIGHT) * 5, np.arange(WIDTH)).astype(np.uint8)
    samples = 0
    for image in (noise, ramp):
        expected = model.apply(image, backend="numpy")
        samples += expected.size
        for backend in backends:
            for tile in (None, TILE):
                found = model.apply(image, backend=backend, tile=tile)
                different = int(np.count_nonzero(found != expected))
                if different:
                    raise BackendError(
                        f"backend '{backend}' differs from the reference in {different} of {expected.size} samples "
                        f"(tile {tile}): use --backend numpy, and report it"
                    )
    return samples
