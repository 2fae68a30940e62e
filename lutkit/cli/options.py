"""Options that several commands share, so that one name means one thing everywhere. May import click only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

BACKENDS = ("auto", "numpy", "cpu", "cuda")


PATH = click.Path(path_type=Path)
"""A path; the code that uses it says in its own sentence when it cannot."""

model_argument = click.argument("model")

backend_option = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="What computes: numpy is slow and the reference, cpu is compiled, cuda is an NVIDIA GPU.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads that work at once; default: all cores."
)
tile_option = click.option(
    "--tile", type=click.IntRange(min=1), help="Work in squares of this many input pixels; the result is the same."
)
overwrite_option = click.option("-y", "--yes", "overwrite", is_flag=True, help="Overwrite files that exist.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where torch computes.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random."
)
optional_seed_option = click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of everything random; default: the run's, else 0."
)


def examples(*lines: str) -> str:
    """Return an epilog that shows commands line by line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(value: Any) -> None:
    """Print one JSON value on stdout, indented for people, in ASCII so that any name can be printed anywhere."""
    click.echo(json.dumps(value, indent=2))


class LazyChoice(click.ParamType):
    """A choice whose values are looked up when they are needed, so that listing commands imports nothing.

    Parameters
    ----------
    name : str
        What is chosen.
    list_values : callable
        Returns the values.
    """

    def __init__(self, name: str, list_values: Callable[[], Iterable[str]]) -> None:
        self.name = name
        self._list_values = list_values

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the values as click shows those of a choice."""
        return f"[{'|'.join(self._list_values())}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value where it is one of the choices, else fail as wrong usage."""
        values = list(self._list_values())
        if value not in values:
            self.fail(f"'{value}' is not one of {', '.join(values)}", param, ctx)
        return value
