"""The command line: thin commands over the library, one file each.

Nothing but click is imported before a command is chosen, and the train side only inside command bodies: `lutkit --help`
answers at once, and `lutkit apply` works where torch is not installed.
"""

from __future__ import annotations

import os

import click

from lutkit.cli.group import CommandGroup
from lutkit.cli.options import examples

# OpenMP's threads spin while they wait for each other. Torch and Numba bring one pool each, so on a busy machine the
# waiting ones take the cores from the working ones: the same training step took ten times as long. Sleeping at once
# (OMP_WAIT_POLICY=PASSIVE) doubled it on an idle machine, as training is many small steps; so they spin for a moment.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

EXAMPLES = examples(
    "lutkit apply photo.png",
    "lutkit apply photos -m model.h5 -o enlarged",
    "lutkit train && lutkit transfer --interval 4 && lutkit finetune && lutkit apply photo.png",
)


def _print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from lutkit_runtime import __version__

        click.echo(f"lutkit {__version__}")
        context.exit()


@click.group(cls=CommandGroup, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, envvar="LUTKIT_TRACEBACK", help="Show where an error arose.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main(traceback: bool) -> None:
    """Compile image networks into lookup tables and run them on pictures.

    \b
    Exit codes: 0 all done, 1 something failed (each named on stderr), 2 wrong usage, 130 interrupted.
    Data goes to stdout, everything else to stderr.
    """
