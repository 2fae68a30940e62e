"""`lutkit transfer`: turn trained networks into tables. May import click; the train side inside functions."""

from __future__ import annotations

from pathlib import Path

import click

from lutkit import DEFAULT_RUN
from lutkit.cli.options import PATH, examples, overwrite_option


@click.command(
    epilog=examples(
        "lutkit transfer",
        "lutkit transfer --interval 5",
        "lutkit transfer runs/x2 -o x2.h5 --val photos-val",
        "lutkit transfer runs/retouch --storage int16",
    ),
)
@click.argument("run", type=PATH, default=DEFAULT_RUN)
@click.option(
    "--interval",
    type=click.IntRange(0, 8),
    help="Binary logarithm of the step between nodes: smaller is finer and larger; default: the run's, 4.",
)
@click.option(
    "--storage",
    type=click.Choice(["float32", "int16", "int8"]),
    help="Type of the tables of colours; default: float32. Smaller ones lose a little, which is measured.",
)
@click.option("-o", "--output", type=PATH, help="Artefact to write; default: lut.h5 in the run.")
@click.option(
    "--val", type=PATH, help="Folder of photos on which networks and tables are compared; default: the run's."
)
@click.option("--lr", type=PATH, help="Degraded versions of these photos, made elsewhere.")
@overwrite_option
def command(
    run: Path,
    interval: int | None,
    storage: str | None,
    output: Path | None,
    val: Path | None,
    lr: Path | None,
    overwrite: bool,
) -> None:
    """Turn trained networks into tables.

    RUN is a run folder, by default runs/default. Every network of a few samples is evaluated at every node of its
    lattice; one that looks at the whole picture goes into the artefact as it is. What the tables lose against the
    networks is measured and written into the artefact. Next: lutkit finetune.
    """
    import sys

    from lutkit.cli.training import check_output
    from lutkit.run import Run
    from lutkit.transfer import transfer
    from lutkit.workbench import OptionError, TransferOptions
    from lutkit_runtime.artefact import write_artefact
    from lutkit_runtime.errors import DataError

    if lr is not None and val is None:
        raise click.UsageError("--lr needs --val, the folder of the photos it was made from")
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
    options = TransferOptions(
        interval, storage, val, lr, show_progress=sys.stderr.isatty(), say=lambda line: click.echo(line, err=True)
    )
    try:
        artefact, fidelity = transfer(folder, config, options)
    except OptionError as error:
        raise click.UsageError(str(error)) from error
    write_artefact(target, artefact, overwrite=overwrite)
    if replaces and overwrite:
        folder.forget_finetuning()
    compared = (
        f"network {fidelity.before:.3f} dB -> table {fidelity.after:.3f} dB ({fidelity.gain:+.3f} dB) on "
        f"{fidelity.images} {fidelity.pairs}"
        if fidelity.images
        else "there are no pairs to compare network and table on"
    )
    if storage in ("int16", "int8") and fidelity.table_error is not None:
        compared += f"; {storage} moves table entries by up to {fidelity.table_error:.2g}"
    click.echo(f"{compared}; wrote {target}", err=True)
