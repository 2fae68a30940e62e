"""`lutkit import`: read tables or networks that others published. May import click; the rest inside functions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from lutkit.cli.options import PATH, LazyChoice, examples, overwrite_option

NETWORK_SUFFIXES = frozenset({".pth", ".pt", ".npz", ".safetensors"})
"""What holds networks rather than tables."""
NETWORK_KINDS = frozenset({"mulut", "sr-lut", "pairlie"})
"""Kinds whose networks become a run folder, to be transferred; of others such files hold the model itself."""


def _list_kinds() -> Iterable[str]:
    from lutkit.formats import IMPORTERS

    return IMPORTERS


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit import Model_S_x4_4bit_int8.npy --as sr-lut -o sr-lut.h5",
        "lutkit import models/sr_x4sdy --as mulut -o mulut.h5",
        "lutkit import Model_200000.state.npz --as mulut -o runs/published",
        "lutkit import my_tables --as mulut --pattern q=0,0:0,1:2,0:1,2 -o mine.h5",
        "lutkit import TinyLUT_LUT --as tinylut -o tinylut.h5",
        "lutkit import LUTs/ShiftLUT_sr_s0_int --as shiftlut -o shiftlut.h5",
        "lutkit import LUTs.pth classifier.pth --as adaptive-3dlut -o retouch.h5",
        "lutkit import PairLIE.pth --as pairlie -o runs/lowlight",
        "lutkit import look.cube --as cube -o look.h5",
        "lutkit import shots.ccc --as ocio --correction shot-7 -o look.h5",
    ),
)
@click.argument("sources", nargs=-1, required=True, type=PATH, metavar="SOURCE...")
@click.option("--as", "kind", type=LazyChoice("kind", _list_kinds), required=True, help="What the source is.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    help="Artefact to write (.h5); for networks, run folder. pairlie takes either.",
)
@click.option("--pattern", "patterns", multiple=True, help="Published name, or NAME=ROW,COLUMN:ROW,COLUMN:...")
@click.option("--scale", type=click.IntRange(min=1), help="Enlargement; default: what the table's shape says.")
@click.option(
    "--interval", type=click.IntRange(0, 8), help="Binary logarithm of the step between nodes; default: same."
)
@click.option(
    "--task",
    type=click.Choice(["sr", "denoise", "deblock"]),
    help="What the model undoes; default: sr where it enlarges, else denoise.",
)
@click.option("--compat", is_flag=True, help="Interpolate as the script published with SR-LUT does.")
@click.option("--colour-space", type=click.Choice(["sRGB", "XYZ"]), help="What the weights were trained for.")
@click.option(
    "--interpolation",
    type=click.Choice(["trilinear", "tetrahedral"]),
    help="How colours between the nodes of a cube are formed; default for colour LUTs: as the file says, else tetrahedral.",
)
@click.option(
    "--correction", metavar="ID", help="Which correction of a .ccc or .cdl file is meant: its id, or its number from 0."
)
@overwrite_option
def command(
    sources: tuple[Path, ...],
    kind: str,
    output: Path,
    patterns: tuple[str, ...],
    scale: int | None,
    interval: int | None,
    task: str | None,
    compat: bool,
    colour_space: str | None,
    interpolation: str | None,
    correction: str | None,
    overwrite: bool,
) -> None:
    """Read tables or networks that others published.

    SOURCE is the file or files of a model, or its folder. What does not follow from them can be said by options.
    """
    from lutkit.formats import import_tables
    from lutkit.formats.colour_luts import list_approximations
    from lutkit_runtime.artefact import write_artefact
    from lutkit_runtime.program import Colour

    is_network = len(sources) == 1 and sources[0].suffix.lower() in NETWORK_SUFFIXES and kind in NETWORK_KINDS
    if is_network and not (kind == "pairlie" and output.suffix == ".h5"):
        if patterns or scale or interval is not None or compat or colour_space or interpolation or correction:
            raise click.UsageError("networks tell pattern and scale themselves; --interval belongs to lutkit transfer")
        _import_network(kind, sources[0], output, task, overwrite=overwrite)
        return
    name, offsets = read_patterns(patterns)
    check_artefact_name(output)
    options: dict[str, Any] = {
        "pattern": name,
        "patterns": offsets or None,
        "scale": scale,
        "interval": interval,
        "compat": compat or None,
        "task": task,
        "colour_space": colour_space,
        "interpolation": interpolation,
        "correction": correction,
    }
    artefact = import_tables(kind, sources, options)
    write_artefact(output, artefact, overwrite=overwrite)
    for approximation in list_approximations(artefact):
        click.echo(f"{output}: {approximation}", err=True)
    program = artefact.program
    enlarging = f", scale {program.scale}" if program.colour is Colour.EACH_CHANNEL else ""
    click.echo(f"{output}: {program.family} for {program.task}{enlarging}", err=True)


def check_artefact_name(path: Path, command: str = "import") -> None:
    """Raise FormatError where the suffix of an artefact stands for a colour LUT or a picture, which it is not."""
    from lutkit.images import readable_suffixes, supported_suffixes
    from lutkit.lut_suffixes import LUT_KINDS
    from lutkit_runtime.errors import FormatError

    suffix = path.suffix.lower()
    if suffix in {*LUT_KINDS, *readable_suffixes(), *supported_suffixes()}:
        what = "a colour LUT" if LUT_KINDS.get(suffix) in ("cube", "ocio") else "a picture"
        raise FormatError(
            f"{path}: {command} writes an artefact, and {suffix} files hold {what}: name it {path.with_suffix('.h5').name}"
        )


def _import_network(kind: str, source: Path, folder: Path, task: str | None, *, overwrite: bool) -> None:
    from lutkit.formats.networks import import_network
    from lutkit.run import Run

    if kind == "pairlie":
        from lutkit.formats.pairlie_networks import import_run

        if task is not None:
            raise click.UsageError("pairlie is for low light: leave --task out")
        import_run(source, Run(folder), overwrite=overwrite)
        click.echo(f"{folder}: networks of pairlie; next: lutkit transfer {folder} --data DIR, or --exact", err=True)
        return
    model = import_network(kind, source, Run(folder), task=task, overwrite=overwrite).model
    click.echo(
        f"{folder}: networks of {kind}, {model.stages} stage(s), scale {model.scale}; next: lutkit transfer {folder}",
        err=True,
    )


def read_patterns(entries: tuple[str, ...]) -> tuple[str | None, dict[str, list[tuple[int, int]]]]:
    """Split --pattern into the one published name and the patterns given by their offsets.

    Raises click.UsageError where an entry is malformed or two names are given.
    """
    names = [entry for entry in entries if "=" not in entry]
    if len(names) > 1:
        raise click.UsageError(f"--pattern names {' and '.join(names)}; one published name is possible")
    offsets: dict[str, list[tuple[int, int]]] = {}
    for entry in entries:
        name, separator, text = entry.partition("=")
        if separator:
            try:
                pairs = [tuple(int(number) for number in pair.split(",")) for pair in text.split(":")]
                offsets[name] = [(row, column) for row, column in pairs]
            except ValueError:
                raise click.UsageError(
                    f"--pattern '{entry}' is malformed; an example is q=0,0:0,1:2,0:1,2 (rows, columns)"
                ) from None
    return (names[0] if names else None), offsets
