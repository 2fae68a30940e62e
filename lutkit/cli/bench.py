"""`lutkit bench`: measure how fast models run on this machine. May import click; the rest inside functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lutkit.cli.options import PATH, examples, json_option, overwrite_option, print_json

if TYPE_CHECKING:
    from lutkit_runtime.cube import CubeInterpolation
    from lutkit_runtime.engine import Model


class NameList(click.ParamType):
    """Names with commas between them, each of which may stand for all that begin with it.

    Parameters
    ----------
    name : str
        What they name.
    list_known : callable
        Returns the names, when they are needed.
    """

    def __init__(self, name: str, list_known: Callable[[], Iterable[str]]) -> None:
        self.name = name
        self._list_known = list_known

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names that are meant, in the order of all names, else fail as wrong usage."""
        if isinstance(value, tuple):
            return value
        known = tuple(self._list_known())
        wanted = [name.strip().lower() for name in value.split(",")]
        meant: set[str] = set()
        for name in wanted:
            # a whole name means itself alone: cube-float32 is no wish for cube-float32-rgba
            found = {name} if name in known else {each for each in known if name and each.startswith(name)}
            if not found:
                self.fail(f"'{name}' is not one of {', '.join(known)}", param, ctx)
            meant |= found
        return tuple(name for name in known if name in meant)


class CountList(click.ParamType):
    """Numbers of threads with commas between them."""

    name = "N,N"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the numbers, else fail as wrong usage."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() and int(part) >= 1 for part in parts):
            self.fail(f"'{value}' is no list of threads such as 1,2", param, ctx)
        return tuple(map(int, parts))


class PictureSize(click.ParamType):
    """Width and height with an x between them."""

    name = "WxH"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return (height, width), else fail as wrong usage."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{0,5})[x×]([1-9]\d{0,5})", value.strip().lower())
        if match is None:
            self.fail(f"'{value}' is no size such as 1920x1080", param, ctx)
        return int(match[2]), int(match[1])


def _list_cases() -> Iterable[str]:
    from lutkit.benchmark.running import CASES

    return CASES


def _list_engines() -> Iterable[str]:
    from lutkit.benchmark.engines import ENGINES

    return ENGINES


@click.command(
    epilog=examples(
        "lutkit bench",
        "lutkit bench --cases cube --size 3840x2160 --threads 1 --engines lutkit,opencolorio",
        "lutkit bench --cases enlarge,denoise --engines lutkit,onnxruntime --image photo.png",
        "lutkit bench -m sr-x4 --rounds 5",
        "lutkit bench --plot speed.svg --json > speed.json",
    )
)
@click.option(
    "-m", "--model", help="Built-in name, artefact, run folder or colour LUT, measured in place of the cases."
)
@click.option(
    "--cases",
    type=NameList("NAMES", _list_cases),
    help="cube-uint8, cube-uint16, cube-float32, cube-float32-rgba, curves-uint8, enlarge, denoise; cube means all four. "
    "Default: all.",
)
@click.option(
    "--engines",
    type=NameList("NAMES", _list_engines),
    help="lutkit, cuda, numpy, opencolorio, pillow, opencv, ffmpeg, torch, onnxruntime. Default: all that are installed.",
)
@click.option(
    "--threads",
    type=CountList(),
    default="1,2",
    show_default=True,
    help="How many, for every engine; no more than cores.",
)
@click.option("--size", type=PictureSize(), help="Of the result; default: 1920x1080 for colours, 1280x720 enlarged.")
@click.option("--image", type=PATH, help="Picture to measure with, in place of a generated one.")
@click.option(
    "--interpolation",
    type=click.Choice(["tetrahedral", "trilinear"]),
    help="Of cubes; engines that have one way only keep to it, and their rows say so. Default: tetrahedral, with -m as the "
    "model says.",
)
@click.option("--rounds", type=click.IntRange(1, 1000), default=15, show_default=True, help="Runs per engine, at most.")
@click.option("--seconds", type=click.FloatRange(min=0.01), help="Time for each engine in a case; default: 0.4.")
@json_option
@click.option("--plot", type=PATH, help="Draw the speeds: .png or .svg.")
@overwrite_option
def command(
    model: str | None,
    cases: tuple[str, ...] | None,
    engines: tuple[str, ...] | None,
    threads: tuple[int, ...],
    size: tuple[int, int] | None,
    image: Path | None,
    interpolation: str | None,
    rounds: int,
    seconds: float | None,
    as_json: bool,
    plot: Path | None,
    overwrite: bool,
) -> None:
    """Measure how fast models run on this machine, beside other programs.

    All engines get the same picture, the same LUT and the same number of threads, take turns, and give a new picture each
    time; the median counts. Every result is compared with a reference in float64.

    Columns: milliseconds with their quartiles; megapixels of the result per second; the time in which this machine copies
    the same bytes, in percent of the time taken (roofline); the time in times that of lutkit with the same threads; the
    largest difference from the reference in levels (floats: in units of 1), and the share of identical samples.
    """
    from lutkit.benchmark.chart import SUFFIXES, render_chart
    from lutkit.benchmark.engines import ENGINES, find_present, list_obstacles
    from lutkit.benchmark.machine import describe_machine
    from lutkit.benchmark.running import CASES, SECONDS, run_cases
    from lutkit.benchmark.table import format_table
    from lutkit_runtime.atomic import check_target, write_atomically
    from lutkit_runtime.cube import CubeInterpolation
    from lutkit_runtime.errors import LutkitError

    if model is not None and cases is not None:
        raise click.UsageError("--model is measured in place of the cases: leave --cases out")
    if plot is not None:
        if plot.suffix.lower() not in SUFFIXES:
            raise click.UsageError(f"--plot is '{plot}'; name a file that ends in {' or '.join(SUFFIXES)}")
        check_target(plot, overwrite=overwrite)
    photo = None
    if image is not None:
        from lutkit.benchmark.pictures import read_photo

        photo = read_photo(image)
    way = CubeInterpolation(interpolation) if interpolation else None
    chosen = None if model is None else _open_model(model, way)
    wanted = engines or tuple(ENGINES)
    versions = ", ".join(f"{ENGINES[key].title} {version}" for key, version in find_present(wanted).items())
    click.echo(f"{describe_machine()}; {versions}" if versions else describe_machine(), err=True)
    obstacles = list_obstacles(wanted)
    if obstacles:
        click.echo(f"Not measured: {'; '.join(obstacles)}.", err=True)
    rows = run_cases(
        cases or tuple(CASES),
        model=chosen,
        engines=wanted,
        threads=threads,
        size=size,
        photo=photo,
        interpolation=way or CubeInterpolation.TETRAHEDRAL,
        rounds=rounds,
        seconds=seconds or SECONDS,
        announce=lambda line: click.echo(line, err=True),
    )
    if as_json:
        print_json(rows)
    else:
        for line in format_table(rows):
            click.echo(line)
    if not rows:
        nothing = "nothing was measured: none of these engines does any of these cases"
        if plot is not None:
            raise LutkitError(f"{nothing}, so {plot} is not written: choose others with --engines or --cases")
        click.echo(nothing, err=True)
    elif plot is not None:
        write_atomically(plot, render_chart(rows, plot.suffix.lower()), overwrite=overwrite)
        click.echo(f"wrote {plot}", err=True)


def _open_model(name: str, interpolation: CubeInterpolation | None) -> Model:
    from lutkit.colour.programs import change_interpolation
    from lutkit.resolve import find_model, open_model
    from lutkit_runtime.engine import Model
    from lutkit_runtime.errors import DataError

    artefact = open_model(find_model(name))
    if artefact.program.companions:
        names = ", ".join(each.name for each in artefact.program.companions)
        raise DataError(f"{name} needs {names} beside a picture, which bench has not: measure another model")
    if interpolation is not None:
        artefact = change_interpolation(artefact, interpolation)
    return Model(artefact.program, artefact.tables)
