"""`lutkit distil`: make tables of any model that keeps the size of pictures. May import click; the rest inside functions."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import click

from lutkit.cli.options import PATH, LazyChoice, device_option, examples, overwrite_option, seed_option

DEFAULT_FOLDER = Path("runs") / "distil"
DEFAULT_TOLERANCE = 40.0
DEFAULT_SIDE = 512


def _list_rungs() -> Iterable[str]:
    from lutkit.distil.ladder import list_rungs

    return [rung.name for rung in list_rungs()]


def _list_kinds() -> Iterable[str]:
    from lutkit.formats import IMPORTERS

    return IMPORTERS


def _check_number(context: click.Context, option: click.Parameter, value: float) -> float:
    """Return a value that is a number: no comparison with a range refuses what is none."""
    if math.isnan(value):
        raise click.BadParameter(f"{value} is no number")
    return value


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit distil enhance.onnx --data photos",
        "lutkit distil retouch --data photos --val photos-val --tolerance 38",
        "lutkit distil enhance.onnx --data photos --to cube -o look.h5 && lutkit export look.h5 --to cube -o look.cube",
        "lutkit distil LUTs.pth classifier.pth --as adaptive-3dlut --data photos",
        "lutkit distil enhance.onnx --data photos --resume",
    ),
)
@click.argument("sources", nargs=-1, required=True, metavar="TEACHER...")
@click.option("--as", "kind", type=LazyChoice("kind", _list_kinds), help="What the files of a published model are.")
@click.option("--data", type=PATH, help="Folder of photos to ask the teacher about; generated images without it.")
@click.option("--val", type=PATH, help="Folder of photos to measure on; without it every tenth is held out.")
@click.option("--to", "highest", type=LazyChoice("rung", _list_rungs), help="Highest rung to climb; default: the last.")
@click.option(
    "--tolerance",
    type=click.FloatRange(1, 100),
    callback=_check_number,
    default=DEFAULT_TOLERANCE,
    show_default=True,
    help="Mean PSNR to the teacher on unseen photos that is near enough, in dB.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of training on each rung; default: the family's.")
@click.option(
    "--variants", type=click.IntRange(0, 100), default=3, show_default=True, help="Other versions made of each photo."
)
@click.option(
    "--longest-side",
    type=click.IntRange(16, 8192),
    default=DEFAULT_SIDE,
    show_default=True,
    help="Photos are reduced to this many pixels.",
)
@click.option(
    "--run", type=PATH, default=DEFAULT_FOLDER, show_default=True, help="Folder for pairs, rungs and reports."
)
@click.option("-o", "--output", type=PATH, help="Artefact to write; default: student.h5 in that folder.")
@seed_option
@device_option
@click.option("--resume", is_flag=True, help="Go on with an interrupted distillation.")
@overwrite_option
def command(
    sources: tuple[str, ...],
    kind: str | None,
    data: Path | None,
    val: Path | None,
    highest: str | None,
    tolerance: float,
    steps: int | None,
    variants: int,
    longest_side: int,
    run: Path,
    output: Path | None,
    seed: int,
    device: str,
    resume: bool,
    overwrite: bool,
) -> None:
    """Make tables of any model that keeps the size of pictures.

    TEACHER is a built-in name, an artefact, a run folder, a colour LUT, or an .onnx file that takes one float32 picture
    (1, 3, H, W) of 0 to 1 and gives one of the same size; with --as, the files of a published model. It is asked about
    photos, which need no answers of their own. Then students are fitted, the cheapest kind first (one colour LUT, a colour LUT
    for each picture, a grid of colour maps for each picture), until one is within the tolerance on photos that none has seen.
    The folder receives report.html and report.json. Next: lutkit apply -m runs/distil/student.h5.
    """
    from lutkit.cli.import_ import check_artefact_name
    from lutkit.cli.training import check_output, report_interruption
    from lutkit.distil.distillation import Job, distil
    from lutkit.distil.teacher import open_teacher
    from lutkit.workbench import Watch

    if len(sources) > 1 and kind is None:
        raise click.UsageError("TEACHER is one model; several files need --as, which says what they are together")
    if output is not None:
        check_artefact_name(output, "distil")
        check_output(output, overwrite=overwrite)
    highest = highest or list(_list_rungs())[-1]

    def choose() -> object:
        from lutkit.train import choose_device

        return choose_device(device)

    trains = highest != next(iter(_list_rungs()))
    if trains:
        choose()  # a missing torch or GPU shows now, not after the first rung
    job = Job(
        teacher=open_teacher(sources, kind),
        data=data,
        val=val,
        highest=highest,
        tolerance=tolerance,
        run=run,
        output=output,
        steps=steps,
        variants=variants,
        longest_side=longest_side,
        seed=seed,
    )
    watch = Watch(say=lambda line: click.echo(line, err=True), show_progress=sys.stderr.isatty())
    # training alone leaves a checkpoint, and alone needs torch
    with report_interruption("the same command and --resume") if trains else nullcontext():
        report = distil(job, choose, watch, resume=resume, overwrite=overwrite)
    for warning in report.outcome.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"wrote {report.output} ({report.outcome.chosen.name}) and {run / 'report.html'}", err=True)
