"""Run a model on one picture after another: what fails is named, the rest goes on. May import click, the rest when used."""

from __future__ import annotations

import contextlib
import enum
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from lutkit.cli.group import describe_error
from lutkit.cli.targets import Job, check_folders

if TYPE_CHECKING:
    from lutkit.images import Picture
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
    """How pictures are read, computed and written; fields as the options of `lutkit apply`."""

    backend: str
    threads: int | None
    tile: int | None
    overwrite: bool
    max_pixels: int
    strip: bool
    skip_existing: bool
    dry_run: bool
    traceback: bool


def say(text: str) -> None:
    """Print a line on stderr, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


@contextlib.contextmanager
def show_progress(total: int, unit: str, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr where that is a terminal; yields what moves it on by a number of units."""
    from tqdm import tqdm

    # disable=None: off where the stream is no terminal.
    with tqdm(total=total, unit=unit, file=sys.stderr, leave=False, disable=None if shown else True) as bar:
        yield lambda count: bar.update(count) and None


def run_jobs(jobs: Sequence[Job], model: Model, settings: Settings) -> Iterator[Outcome]:
    """Check every target, then work on one picture after another; yields what became of each.

    An error belongs to its picture and does not stop the others; with `settings.traceback` it is raised.
    """
    waiting: list[Job] = []
    for job in jobs:
        if settings.skip_existing and not job.to_stdout and job.target.exists():
            yield Outcome(str(job.source.path), str(job.target), Status.SKIPPED)
            continue
        failure = _attempt(job, settings, lambda job=job: check_target_of(job, settings.overwrite))
        if failure:
            yield failure
        elif settings.dry_run:
            yield Outcome(str(job.source.path), str(job.target), Status.PLANNED)
        else:
            waiting.append(job)
    worker = Worker(model, settings, show_tiles=len(jobs) == 1)
    for job in waiting:
        start = time.perf_counter()
        failure = _attempt(job, settings, lambda job=job: worker.work_on(job))
        elapsed = round((time.perf_counter() - start) * 1000, 1)
        yield failure or Outcome(str(job.source.path), str(job.target), Status.DONE, milliseconds=elapsed)


def _attempt(job: Job, settings: Settings, action: Callable[[], None]) -> Outcome | None:
    try:
        action()
    except Exception as problem:
        if settings.traceback:
            raise
        return Outcome(str(job.source.path), None, Status.FAILED, describe_error(problem, "apply"))
    return None


def check_target_of(job: Job, overwrite: bool) -> None:
    """Raise ImageError unless the result of a job can be written, as far as can be told before the work."""
    from lutkit.images import check_target

    if job.to_stdout:
        return
    if job.makes_folders and not job.target.parent.exists():
        check_folders(job.target)
    else:
        check_target(job.target, overwrite)


class Worker:
    """Reads, computes and writes single pictures, and says once what is worth saying once."""

    def __init__(self, model: Model, settings: Settings, *, show_tiles: bool) -> None:
        self._model = model
        self._settings = settings
        self._show_tiles = show_tiles
        self._told_depth = False

    def work_on(self, job: Job) -> None:
        """Do one job. Raises LutkitError or OSError."""
        picture = self._read(job)
        name = str(job.source.path)
        self._tell_depth(name, picture)
        result = picture.with_pixels(self._compute(picture))
        if self._settings.strip:
            result = replace(result, exif=None)
        for note in (*picture.notes, *self._write(job, result)):
            say(f"{name}: {note}")

    def _read(self, job: Job) -> Picture:
        from lutkit.images import decode_picture, read_picture

        if job.source.is_stdin:
            return decode_picture(click.get_binary_stream("stdin").read(), "stdin", self._settings.max_pixels)
        return read_picture(job.source.path, self._settings.max_pixels)

    def _tell_depth(self, name: str, picture: Picture) -> None:
        bits = picture.pixels.dtype.itemsize * 8
        depth = self._model.program.depth
        if bits > depth and not self._told_depth:
            self._told_depth = True
            kind = "float" if picture.pixels.dtype.kind == "f" else f"{bits}-bit"
            say(f"{name}: this model works in {depth} bits; {kind} pixels are converted in and back")

    def _compute(self, picture: Picture) -> Any:
        settings = self._settings
        with show_progress("tile", None if self._show_tiles else 0) as advance:
            return self._model.apply(
                picture.pixels,
                threads=settings.threads,
                backend=settings.backend,
                tile=settings.tile,
                progress=advance,
            )

    def _write(self, job: Job, picture: Picture) -> tuple[str, ...]:
        from lutkit.images import encode_picture, write_picture

        if job.to_stdout:
            data, notes = encode_picture(picture, ".png")
            stream = click.get_binary_stream("stdout")
            stream.write(data)
            stream.flush()
            return notes
        if job.makes_folders:
            job.target.parent.mkdir(parents=True, exist_ok=True)
        return write_picture(job.target, picture, self._settings.overwrite)
