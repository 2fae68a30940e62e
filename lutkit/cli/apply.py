"""`lutkit apply`: run a model on pictures and videos. May import click; the rest inside functions."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from lutkit.cli.batch import Outcome, Settings, Status, make_bar, print_data, run_jobs, say
from lutkit.cli.companions import match_companions
from lutkit.cli.group import FAILED
from lutkit.cli.options import (
    PATH,
    LazyChoice,
    backend_option,
    examples,
    json_option,
    overwrite_option,
    threads_option,
    tile_option,
)
from lutkit.cli.sources import find_sources, name_kind
from lutkit.cli.targets import STANDARD_STREAM, plan_jobs, read_destination

if TYPE_CHECKING:
    from pathlib import Path

    from lutkit.resolve import ModelSource
    from lutkit_runtime.engine import Model

INTERPOLATIONS = ("trilinear", "tetrahedral")
LATEST = 10**7
"""Seconds: more than any video lasts."""


def _check_number(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Return a value that is a number: no comparison with a range refuses what is none."""
    if value is not None and math.isnan(value):
        raise click.BadParameter(f"{value} is no number")
    return value


def _list_encoders() -> list[str]:
    from lutkit.video.encoders import ENCODERS

    return list(ENCODERS)


def _list_pixel_formats() -> list[str]:
    from lutkit.video.rawvideo import PIXEL_FORMATS

    return list(PIXEL_FORMATS)


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit apply photo.png",
        "lutkit apply photos -m sr-x4 -o enlarged",
        "lutkit apply 'scans/**/*.tif' -m runs/default -o 'out/{stem}_{model}{ext}' --skip-existing",
        "lutkit apply photo.png -m look.cube --strength 0.5",
        "lutkit apply dark.png -m runs/lowlight --gamma 0.14",
        "lutkit apply a.png -m runs/relight --guide b.png --depth a_depth.png --guide-depth b_depth.png",
        "cat photo.jpg | lutkit apply - > enlarged.png",
        "lutkit apply holiday.mp4 -m retouch",
        "lutkit apply clip.mov -o clip-x4.mkv --lossless --start 12.5 --frames 100",
        "decode | lutkit apply - -o - --rawvideo 1280x720 --pix-fmt rgb24 | encode",
    ),
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-m",
    "--model",
    help="Built-in name, artefact, run folder or colour LUT (.cube, Hald .png); default: runs/default, else sr-x4.",
)
@click.option("-o", "--output", help="File, folder or template; default: '{stem}_{model}{ext}' beside the input.")
@overwrite_option
@click.option("--skip-existing", is_flag=True, help="Leave out pictures whose output exists.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.option("--strip", is_flag=True, help="Leave EXIF out of the results; colour profiles stay.")
@click.option(
    "--max-pixels", type=click.IntRange(min=1), help="Refuse larger pictures; default: 128 times 1024 x 1024."
)
@click.option("--strength", type=float, help="How much of a look is mixed in; 0 is nothing, 1 all of it (default).")
@click.option("--gamma", type=float, help="Power that light is raised to by low-light models; smaller is brighter.")
@click.option("--depth", type=PATH, help="Depth of the picture, gray and dark where it is near; or a folder.")
@click.option("--guide", type=PATH, help="Picture whose light is taken over; or a folder.")
@click.option("--guide-depth", type=PATH, help="Depth of the guide; or a folder.")
@click.option(
    "--interpolation",
    type=click.Choice(INTERPOLATIONS),
    help="How colours between the nodes of a cube are formed; default: as the model says.",
)
@click.option("--codec", type=LazyChoice("codec", _list_encoders), help="Encoder of videos; default: libx264, or vp9.")
@click.option(
    "--crf", type=click.IntRange(min=0), help="Quality of videos, smaller is better; default: 18 for libx264."
)
@click.option("--lossless", is_flag=True, help="Write videos whose frames are exactly the model's results.")
@click.option("--start", type=click.FloatRange(0, LATEST), callback=_check_number, help="Begin videos at this second.")
@click.option("--frames", type=click.IntRange(min=1), help="Take this many frames of videos at most.")
@click.option("--rawvideo", metavar="WxH", help="Input and output are raw frames of this size, such as 1280x720.")
@click.option(
    "--pix-fmt",
    type=LazyChoice("format", _list_pixel_formats),
    help="What raw frames are made of; default: rgb24. Results are of the same.",
)
@backend_option
@threads_option
@tile_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    inputs: tuple[str, ...],
    model: str | None,
    output: str | None,
    overwrite: bool,
    skip_existing: bool,
    dry_run: bool,
    strip: bool,
    max_pixels: int | None,
    strength: float | None,
    gamma: float | None,
    depth: Path | None,
    guide: Path | None,
    guide_depth: Path | None,
    interpolation: str | None,
    codec: str | None,
    crf: int | None,
    lossless: bool,
    start: float | None,
    frames: int | None,
    rawvideo: str | None,
    pix_fmt: str | None,
    backend: str,
    threads: int | None,
    tile: int | None,
    as_json: bool,
) -> None:
    """Run a model on pictures and videos.

    INPUT is a file, a folder (with its subfolders), a pattern, or - for stdin. A template for -o may use {stem}, {name}
    (with suffix), {model} and {ext}; without a folder in it, results lie beside their inputs. Results keep depth,
    transparency and metadata. What fails is named on stderr, the others go on, and the exit code is 1. With --json,
    one line of JSON per input is printed.

    Videos keep the times of their frames, their sound and subtitles; they need pip install 'lutkit[video]'. --codec, --crf,
    --lossless, --start and --frames are for them.

    Looks and retouching change colours as the values stand, whatever the colour profile, and keep it; gray pictures
    become RGB.

    Some models need pictures beside the picture, of the same size: relighting takes --guide, --depth and --guide-depth.
    Each is a file, or a folder that has a file with the stem of every INPUT.
    """
    from lutkit.images import DEFAULT_MAX_PIXELS, readable_suffixes, supported_suffixes
    from lutkit.resolve import find_default_model, find_model
    from lutkit.video.suffixes import VIDEO_SUFFIXES
    from lutkit_runtime.engine.backends import find_backend
    from lutkit_runtime.program import Colour

    if model == "":
        raise click.UsageError("-m is empty: give it a built-in name, an artefact, a run folder or a colour LUT")
    if lossless and crf is not None:
        raise click.UsageError("--lossless and --crf exclude each other: leave one out")
    chosen = {"strength": strength, "gamma": gamma}
    parameters = {name: value for name, value in chosen.items() if value is not None}
    of_videos = {"codec": codec, "crf": crf, "lossless": lossless or None, "start": start, "frames": frames}
    if rawvideo is not None:
        of_pictures = {"skip-existing": skip_existing or None, "strip": strip or None, "max-pixels": max_pixels}
        beside = {"depth": depth, "guide": guide, "guide-depth": guide_depth}
        others = {"json": as_json or None, "dry-run": dry_run or None}
        _refuse_options({**of_videos, **of_pictures, **beside, **others}, "is not for --rawvideo")
        found = find_model(model) if model is not None else find_default_model()
        _run_raw(inputs, output, rawvideo, pix_fmt, found, backend, threads, tile, overwrite, parameters, interpolation)
        return
    _refuse_options({"pix-fmt": pix_fmt}, "is for --rawvideo")
    suffixes = supported_suffixes()
    sources, problems = find_sources(inputs, {*readable_suffixes(), *VIDEO_SUFFIXES})
    if sources and not any(source.is_video for source in sources):
        _refuse_options(of_videos, "is for videos, and no input is one")
    destination = read_destination(output, sources, suffixes)
    found = find_model(model) if model is not None else find_default_model()
    jobs, results = plan_jobs(sources, destination, found.label, suffixes)
    if as_json and any(job.to_stdout for job in jobs):
        raise click.UsageError("--json and a picture cannot both go to stdout: give -o a file")
    find_backend(backend)  # a backend that cannot run is one error, not one per picture
    given = {"depth": depth, "guide": guide, "guide_depth": guide_depth}
    loaded = _load_model(found, parameters, interpolation, backend, dry_run=dry_run)
    companions = match_companions(loaded.program, given, sources, found.description)
    if model is None:
        say(f"Using {found.description}.")
    if loaded.program.colour is Colour.RGB:
        planned = jobs
        jobs, results = plan_jobs(sources, destination, found.label, suffixes, in_colour=True)
        for job in [job for job in jobs if job not in planned]:
            say(f"{job.source.label}: becomes {job.target}, because {job.source.path.suffix} files hold no colours")
    for source in results:
        say(f"{source.path}: left out, because it is the result of another input")
    settings = Settings(
        backend=backend,
        threads=threads,
        tile=tile,
        overwrite=overwrite,
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
        strip=strip,
        skip_existing=skip_existing,
        dry_run=dry_run,
        traceback=context.find_root().params["traceback"],
        parameters=parameters,
        companions=companions,
        codec=codec,
        crf=crf,
        lossless=lossless,
        start=start,
        frames=frames,
    )
    outcomes = [Outcome(problem.source, None, Status.FAILED, problem.message) for problem in problems]
    for outcome in outcomes:
        _report(outcome, as_json=as_json)
    worked = run_jobs(jobs, loaded, settings)
    with make_bar(name_kind(job.source for job in jobs), len(jobs), shown=len(jobs) > 1) as bar:
        for outcome in worked:
            bar.update()
            _report(outcome, as_json=as_json)
            outcomes.append(outcome)
    if len(outcomes) > 1 or outcomes[0].status is not Status.FAILED:
        say(_summarise(outcomes, name_kind(sources)))
    if any(outcome.status is Status.FAILED for outcome in outcomes):
        context.exit(FAILED)


def _load_model(
    source: ModelSource, parameters: dict[str, float], interpolation: str | None, backend: str, *, dry_run: bool
) -> Model:
    """Return the model as options change it; whatever is wrong with it or them is one error, not one per picture.

    Raises LutkitError where the model cannot be used, or an option does not belong to it.
    """
    from lutkit.formats.colour_luts import list_approximations
    from lutkit.resolve import open_model
    from lutkit_runtime.engine import Model
    from lutkit_runtime.errors import DataError

    artefact = open_model(source)
    if source.lut_kind:
        for approximation in list_approximations(artefact):
            say(f"{source.path}: {approximation}")
    known = [parameter.name for parameter in artefact.program.parameters]
    for name in parameters:
        if name not in known:
            takes = f"it takes --{' and --'.join(known)}" if known else "it is for colour models"
            raise DataError(f"{source.description} has no --{name}: leave it out; {takes}")
    artefact.program.fill_parameters(parameters)
    if interpolation is not None:
        from lutkit.colour.programs import change_interpolation
        from lutkit_runtime.cube import CubeInterpolation

        artefact = change_interpolation(artefact, CubeInterpolation(interpolation))
    model = Model(artefact.program, artefact.tables, artefact.provenance)
    if not dry_run:
        model.prepare(backend)
        _say_device(backend)
    return model


def _say_device(backend: str) -> None:
    """Say which GPU computes, or why one that is there does not, where nobody has asked for either."""
    from lutkit_runtime.engine.backends import find_backend
    from lutkit_runtime.kernels.cuda.device import describe_device, find_misfit

    if backend != "auto":
        return
    misfit = find_misfit()
    if misfit is not None:
        say(f"The GPU is not used: {misfit}")
    elif find_backend(backend).name == "cuda":
        say(f"Computing on {describe_device()}; --backend cpu does not.")


def _refuse_options(options: Mapping[str, object], reason: str) -> None:
    """Raise click.UsageError where one of the options is given."""
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(f"--{name} {reason}: leave it out")


def _run_raw(
    inputs: Sequence[str],
    output: str | None,
    size: str,
    pixel_format: str | None,
    found: ModelSource,
    backend: str,
    threads: int | None,
    tile: int | None,
    overwrite: bool,
    parameters: dict[str, float],
    interpolation: str | None,
) -> None:
    """Run a model on raw frames, from one file or stdin to one file or stdout."""
    from lutkit.cli.raw_frames import read_format, run_frames
    from lutkit_runtime.engine.backends import find_backend

    if len(inputs) != 1:
        raise click.UsageError(f"--rawvideo takes one INPUT, not {len(inputs)}: a file of frames, or - for stdin")
    form = read_format(size, pixel_format)
    find_backend(backend)
    run_frames(
        inputs[0],
        output or STANDARD_STREAM,
        form,
        _load_model(found, parameters, interpolation, backend, dry_run=False),
        backend=backend,
        threads=threads,
        tile=tile,
        overwrite=overwrite,
        parameters=parameters,
    )


def _report(outcome: Outcome, *, as_json: bool) -> None:
    """Say at once what became of an input, where there is something to say."""
    if outcome.status is Status.FAILED:
        message = outcome.message or ""
        say(message if message.startswith(outcome.input) else f"{outcome.input}: {message}")
    if as_json:
        print_data(json.dumps(dataclasses.asdict(outcome)))
    elif outcome.status is Status.PLANNED:
        print_data(f"{outcome.input} -> {outcome.output}")


def _summarise(outcomes: Sequence[Outcome], kind: str) -> str:
    """Return one line such as ``2 pictures written, 1 failed``, or where the one picture went."""
    if len(outcomes) == 1 and outcomes[0].status is Status.DONE:
        (outcome,) = outcomes
        return f"{outcome.input} -> {'stdout' if outcome.output == STANDARD_STREAM else outcome.output}"
    counts = Counter(outcome.status for outcome in outcomes)
    parts = [f"{counts[status]} {status.value}" for status in Status if counts[status]]
    return f"{len(outcomes)} {kind}{'s' if len(outcomes) != 1 else ''}: {', '.join(parts)}"
