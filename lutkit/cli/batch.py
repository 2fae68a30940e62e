"""Run a model on one picture or video after another: what fails is named, the rest goes on.

Imports the rest when used.
"""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lutkit.cli.companions import Companions
from lutkit.cli.group import describe_error, one_line
from lutkit.cli.targets import Job, check_folders

if TYPE_CHECKING:
    from lutkit.images import Picture
    from lutkit.video.processing import VideoSettings
    from lutkit_runtime.engine import Model


class Status(enum.StrEnum):
    """What can become of an input."""

    DONE = "done"
    PLANNED = "planned"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Parameters
    ----------
    input : str
    output : str or None
        None where there is none.
    status : Status
    message : str, optional
        Why it failed.
    milliseconds : float, optional
        Time for reading, computing and writing.
    """

    input: str
    output: str | None
    status: Status
    message: str | None = None
    milliseconds: float | None = None


@dataclass(frozen=True)
class Settings:
    """How pictures and videos are read, computed and written; fields as the options of `lutkit apply`.

    `parameters` holds those of the model that are chosen, such as the strength; `companions` what is given beside the
    pictures. `codec`, `crf`, `lossless`, `start` and `frames` are for videos.
    """

    backend: str
    threads: int | None
    tile: int | None
    overwrite: bool
    max_pixels: int
    strip: bool
    skip_existing: bool
    dry_run: bool
    traceback: bool
    parameters: Mapping[str, float] = field(default_factory=dict[str, float])
    companions: Companions = field(default_factory=Companions)
    codec: str | None = None
    crf: int | None = None
    lossless: bool = False
    start: float | None = None
    frames: int | None = None

    def for_videos(self) -> VideoSettings:
        """Return what concerns videos."""
        from lutkit.video.encoders import Wish
        from lutkit.video.processing import VideoSettings
        from lutkit.video.reading import Cut

        return VideoSettings(
            backend=self.backend,
            threads=self.threads,
            tile=self.tile,
            overwrite=self.overwrite,
            max_pixels=self.max_pixels,
            strip=self.strip,
            wish=Wish(self.codec, self.crf, self.lossless),
            cut=Cut(self.start, self.frames),
            parameters=self.parameters,
        )


def say(text: str) -> None:
    """Print one line on stderr, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(one_line(text), file=sys.stderr)


def announce_compiling() -> None:
    """Say why the first result takes longer."""
    say("Compiling kernels; this happens once and takes some seconds.")


def print_data(text: str) -> None:
    """Print one line on stdout, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(one_line(text), file=sys.stdout)


def make_bar(unit: str, total: int | None = None, *, shown: bool = True) -> Any:
    """Return a tqdm progress bar on stderr; it shows nothing where that is no terminal, or `shown` is not set."""
    from tqdm import tqdm

    # disable=None: off where the stream is no terminal.
    return tqdm(unit=unit, total=total, file=sys.stderr, leave=False, disable=None if shown else True)


def run_jobs(jobs: Sequence[Job], model: Model, settings: Settings) -> Iterator[Outcome]:
    """Check every target, then work on one picture after another; yields what became of each.

    An error belongs to its picture and does not stop the others; with `settings.traceback` it is raised.
    """
    waiting: list[Job] = []
    for job in jobs:
        if settings.skip_existing and not job.to_stdout and job.target.exists():
            yield Outcome(job.source.label, str(job.target), Status.SKIPPED)
            continue
        failure = _attempt(job, settings, lambda job=job: check_target_of(job, settings))
        if failure:
            yield failure
        elif settings.dry_run:
            yield Outcome(job.source.label, str(job.target), Status.PLANNED)
        else:
            waiting.append(job)
    worker = Worker(model, settings, show_tiles=len(jobs) == 1)
    for job in waiting:
        start = time.perf_counter()
        failure = _attempt(job, settings, lambda job=job: worker.work_on(job))
        elapsed = round((time.perf_counter() - start) * 1000, 1)
        yield failure or Outcome(job.source.label, str(job.target), Status.DONE, milliseconds=elapsed)


def _attempt(job: Job, settings: Settings, action: Callable[[], None]) -> Outcome | None:
    try:
        action()
    except BrokenPipeError:
        raise
    except Exception as problem:
        if settings.traceback:
            raise
        return Outcome(job.source.label, None, Status.FAILED, describe_error(problem, "apply"))
    return None


def check_target_of(job: Job, settings: Settings) -> None:
    """Raise LutkitError unless a job has what it needs and its result can be written, as far as can be told before."""
    from lutkit.images import check_target

    settings.companions.find(job.source)
    if job.to_stdout:
        return
    if job.source.is_video:
        from lutkit.video.processing import check_encoding

        check_encoding(job.target, settings.for_videos())
    if job.makes_folders and not job.target.parent.exists():
        check_folders(job.target)
    elif job.source.is_video:
        from lutkit.video.processing import check_video_target

        check_video_target(job.target, settings.for_videos())
    else:
        check_target(job.target, settings.overwrite)


class Worker:
    """Reads, computes and writes single pictures and videos, and says once what is worth saying once."""

    def __init__(self, model: Model, settings: Settings, *, show_tiles: bool) -> None:
        self._model = model
        self._settings = settings
        self._show_tiles = show_tiles
        self._told_depth = False
        self._told_gray = False

    def work_on(self, job: Job) -> None:
        """Do one job. Raises LutkitError or OSError."""
        if job.source.is_video:
            self._work_on_video(job)
            return
        picture = self._read(job)
        name = job.source.label
        if self._takes_colours:
            picture = self._expand_gray(name, picture)
        else:
            self._tell_depth(name, picture)
        beside = self._settings.companions.read(job.source, picture, self._settings.max_pixels)
        result = picture.with_pixels(self._compute(picture, beside))
        if self._settings.strip:
            result = replace(result, exif=None)
        for note in (*picture.notes, *self._write(job, result)):
            say(f"{name}: {note}")

    def _work_on_video(self, job: Job) -> None:
        from lutkit.video.processing import Reporter, process_video

        name = job.source.label
        with ExitStack() as cleanup:
            bars: list[Any] = []
            reporter = Reporter(
                note=lambda text: say(f"{name}: {text}"),
                begin=lambda total: bars.append(cleanup.enter_context(make_bar("frame", total))),
                advance=lambda: bars[0].update(),
                on_compile=announce_compiling,
            )
            if job.makes_folders:
                job.target.parent.mkdir(parents=True, exist_ok=True)
            process_video(job.source.path, job.target, self._model, self._settings.for_videos(), reporter)

    def _read(self, job: Job) -> Picture:
        from lutkit.images import decode_picture, read_picture

        if job.source.is_stdin:
            return decode_picture(sys.stdin.buffer.read(), job.source.label, self._settings.max_pixels)
        return read_picture(job.source.path, self._settings.max_pixels)

    @property
    def _takes_colours(self) -> bool:
        from lutkit_runtime.program import Colour

        return self._model.program.colour is Colour.RGB

    def _expand_gray(self, name: str, picture: Picture) -> Picture:
        """Return an RGB picture, with alpha where there is one, whatever it was."""
        from lutkit.images.expansion import expand_gray

        if picture.channels > 2:
            return picture
        if not self._told_gray:
            self._told_gray = True
            say(f"{name}: this model changes colours; gray pictures become RGB")
        return expand_gray(picture)

    def _tell_depth(self, name: str, picture: Picture) -> None:
        bits = picture.pixels.dtype.itemsize * 8
        depth = self._model.program.depth
        if bits > depth and not self._told_depth:
            self._told_depth = True
            kind = "float" if picture.pixels.dtype.kind == "f" else f"{bits}-bit"
            say(f"{name}: this model works in {depth} bits; {kind} pixels are converted in and back")

    def _compute(self, picture: Picture, companions: Mapping[str, Any]) -> Any:
        settings = self._settings
        with make_bar("tile", shown=self._show_tiles) as bar:

            def advance(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            return self._model.apply(
                picture.pixels,
                threads=settings.threads,
                backend=settings.backend,
                tile=settings.tile,
                progress=advance,
                **settings.parameters,
                **companions,
                on_compile=announce_compiling,
            )

    def _write(self, job: Job, picture: Picture) -> tuple[str, ...]:
        from lutkit.images import encode_picture, write_picture

        if job.to_stdout:
            data, notes = encode_picture(picture, ".png")
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return notes
        if job.makes_folders:
            job.target.parent.mkdir(parents=True, exist_ok=True)
        return write_picture(job.target, picture, self._settings.overwrite)
