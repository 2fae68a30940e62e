"""`lutkit transfer`: turn trained networks into tables. May import click; the train side inside functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lutkit import DEFAULT_RUN
from lutkit.cli.options import PATH, examples, overwrite_option

if TYPE_CHECKING:
    from lutkit.workbench import Fidelity, TransferOptions
    from lutkit_runtime.artefact import Artefact

PUBLISHED_WIDTH = "2"
"""Nodes that are kept beside the diagonal where `--dfc` says no other number."""


class _OptionalWidth(click.Command):
    """A command with an option --dfc whose value may be left out, whatever follows it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a --dfc that no number follows the published one: the next word may be the run."""
        given = list(args)
        for place, word in enumerate(args):
            if word == "--":
                break
            following = args[place + 1 : place + 2]
            if word == "--dfc" and not (following and following[0].isdecimal()):
                given[place] = f"--dfc={PUBLISHED_WIDTH}"
        return super().parse_args(ctx, given)


@click.command(
    cls=_OptionalWidth,
    epilog=examples(
        "lutkit transfer",
        "lutkit transfer --interval 5",
        "lutkit transfer --dfc -o small.h5",
        "lutkit transfer model.h5 --dfc",
        "lutkit transfer runs/x2 -o x2.h5 --val photos-val",
        "lutkit transfer runs/retouch --storage int16",
        "lutkit transfer runs/lowlight --exact -o exact.h5",
    ),
)
@click.argument("source", metavar="[RUN]", default=str(DEFAULT_RUN))
@click.option(
    "--interval",
    type=click.IntRange(0, 8),
    help="Binary logarithm of the step between nodes: smaller is finer and larger. Default: the run's, which is 4; of "
    "tiny-lut 0, whose tables of single values take 0 to 4.",
)
@click.option(
    "--storage",
    type=click.Choice(["float32", "int16", "int8"]),
    help="Type of the tables of colours (default: float32; of pairlie and s3net int16), or of the windows of rclut and "
    "--rc (int16 or int8; default: int16). Smaller ones lose a little, which is measured.",
)
@click.option(
    "--dfc",
    type=click.IntRange(1, 4),
    metavar="[WIDTH]",
    help="Compress tables of four samples to about a tenth: near the diagonal, where most samples lie, every node is "
    "kept, elsewhere every second one of each axis. WIDTH is how many nodes beside the diagonal count as near, 1 to 4; "
    "default: 2, as published.",
)
@click.option(
    "-o", "--output", type=PATH, help="Artefact to write; default: lut.h5 in the run, of an artefact NAME-dfc.h5."
)
@click.option(
    "--val", type=PATH, help="Folder of photos on which networks and tables are compared; default: the run's."
)
@click.option("--lr", type=PATH, help="Degraded versions of these photos, made elsewhere.")
@click.option(
    "--exact",
    is_flag=True,
    help="pairlie, s3net: keep the network, which is slow but exact, in place of compiling it into bilateral grids.",
)
@click.option(
    "--data",
    type=PATH,
    help="pairlie, s3net: folder of pictures to which the grids learn the network's answers; default: the run's.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="pairlie, s3net: for how long they learn; default: the run's."
)
@overwrite_option
def command(
    source: str,
    interval: int | None,
    storage: str | None,
    dfc: int | None,
    output: Path | None,
    val: Path | None,
    lr: Path | None,
    exact: bool,
    data: Path | None,
    steps: int | None,
    overwrite: bool,
) -> None:
    """Turn trained networks into tables.

    RUN is a run folder, by default runs/default. Every network of a few samples is evaluated at every node of its
    lattice; one that looks at the whole picture goes into the artefact as it is; one that sees every pixel is compiled
    into bilateral grids, which learn its answers. What the tables lose against the
    networks is measured and written into the artefact. With --dfc, RUN may be an artefact or a built-in name, whose
    tables are compressed as they are. Next: lutkit finetune.
    """
    import sys

    from lutkit.cli.training import end_interrupted
    from lutkit.workbench import OptionError, TransferOptions

    if lr is not None and val is None:
        raise click.UsageError("--lr needs --val, the folder of the photos it was made from")
    options = TransferOptions(
        interval=interval,
        storage=storage,
        diagonal=dfc,
        val=val,
        degraded=lr,
        exact=exact,
        data=data,
        steps=steps,
        show_progress=sys.stderr.isatty(),
        say=lambda line: click.echo(line, err=True),
    )
    try:
        if _is_made_of_tables(source):
            if dfc is None:
                raise click.UsageError(f"{source} is no run folder: with --dfc its tables are compressed")
            _compress(source, options, output, overwrite=overwrite)
        else:
            with end_interrupted():
                _transfer(Path(source), options, output, overwrite=overwrite)
    except OptionError as error:
        raise click.UsageError(str(error)) from error


def _is_made_of_tables(source: str) -> bool:
    """Return whether an argument means an artefact or a built-in model rather than a run."""
    from lutkit.models import builtin_names

    path = Path(source)
    return path.is_file() or (not path.exists() and source in builtin_names())


def _transfer(run: Path, options: TransferOptions, output: Path | None, *, overwrite: bool) -> None:
    """Turn the networks of a run into an artefact."""
    from lutkit.cli.training import check_output
    from lutkit.run import Run
    from lutkit.transfer import transfer
    from lutkit_runtime.artefact import write_artefact
    from lutkit_runtime.errors import DataError

    folder = Run(run)
    config = folder.read_config()
    target = output or folder.table_file
    check_output(target, overwrite=overwrite)
    replaces = target.resolve() == folder.table_file.resolve()
    if replaces and folder.finetuned_file.exists() and not overwrite:
        raise DataError(
            f"{folder.finetuned_file} exists, finetuned from tables that would be replaced: remove it with -y, or name "
            "another file with -o"
        )
    artefact, fidelity = transfer(folder, config, options)
    write_artefact(target, artefact, overwrite=overwrite)
    if replaces and overwrite:
        folder.forget_finetuning()
    forms = ("network", "table" if options.diagonal is None else "compressed table")
    compared = _compare(fidelity, *forms) if fidelity.images else "there are no pairs to compare network and table on"
    if fidelity.full is not None:
        compared += f"; {'int16' if options.diagonal is None else 'uncompressed'} tables {fidelity.full:.3f} dB"
    if options.storage in ("int16", "int8") and fidelity.table_error is not None:
        compared += f"; {options.storage} moves table entries by up to {fidelity.table_error:.2g}"
    _report(artefact, compared, target)


def _compress(source: str, options: TransferOptions, output: Path | None, *, overwrite: bool) -> None:
    """Compress the tables of an artefact or of a built-in model."""
    from lutkit.cli.training import check_output
    from lutkit.compression import compress_artefact
    from lutkit.models import builtin_names
    from lutkit.resolve import find_model, open_model
    from lutkit_runtime.artefact import write_artefact

    found = find_model(source)
    folder = Path() if source in builtin_names() else found.path.parent
    target = output or folder / f"{found.path.stem}-dfc.h5"
    check_output(target, overwrite=overwrite)
    artefact, fidelity = compress_artefact(open_model(found), options)
    write_artefact(target, artefact, overwrite=overwrite)
    _report(artefact, _compare(fidelity, "table", "compressed table"), target)


def _compare(fidelity: Fidelity, before: str, after: str) -> str:
    return (
        f"{before} {fidelity.before:.3f} dB -> {after} {fidelity.after:.3f} dB ({fidelity.gain:+.3f} dB) on "
        f"{fidelity.images} {fidelity.pairs}"
    )


def _report(artefact: Artefact, compared: str, target: Path) -> None:
    """Say what was written and what it costs."""
    from lutkit.cli.table_info import tell_sizes

    for line in tell_sizes(artefact):
        click.echo(line, err=True)
    click.echo(f"{compared}; wrote {target}", err=True)
