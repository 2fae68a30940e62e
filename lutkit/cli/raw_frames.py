"""`lutkit apply --rawvideo`: raw frames in, raw frames out. May import click; the rest inside functions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from lutkit.cli.batch import announce_compiling, make_bar, say
from lutkit.cli.companions import refuse_companions
from lutkit.cli.sources import STANDARD_STREAM

if TYPE_CHECKING:
    from lutkit.video.rawvideo import RawFormat
    from lutkit_runtime.engine import Model


def read_format(size: str, pixel_format: str | None) -> RawFormat:
    """Return what --rawvideo and --pix-fmt mean. Raises click.UsageError where the size is none."""
    from lutkit.video.rawvideo import RawFormat, parse_size

    try:
        width, height = parse_size(size)
    except ValueError as problem:
        raise click.UsageError(f"--rawvideo: {problem}") from None
    return RawFormat(width, height, pixel_format or "rgb24")


def run_frames(
    source: str,
    output: str,
    form: RawFormat,
    model: Model,
    *,
    backend: str,
    threads: int | None,
    tile: int | None,
    overwrite: bool,
    parameters: Mapping[str, float],
) -> None:
    """Run a model on every frame of a stream until it ends.

    Parameters
    ----------
    source, output : str
        Files, or ``-`` for stdin and stdout. Results have the pixel format of the frames.

    Raises
    ------
    click.UsageError
        Where the model makes RGB of gray frames.
    LutkitError
        Where the model needs something beside a frame, the stream breaks off, or a file cannot be read or written. What
        came before has been handed on to stdout; of a file nothing stays.
    """
    from lutkit.video.rawvideo import read_frames, write_frame
    from lutkit_runtime.engine.streaming import AHEAD
    from lutkit_runtime.program import Colour

    refuse_companions(model.program, "a stream of frames")
    if model.program.colour is Colour.RGB and len(form.shape) == 2:
        raise click.UsageError("this model changes colours and gray has none: send --pix-fmt rgb24")
    if form.dtype.itemsize * 8 > model.program.depth and model.program.colour is not Colour.RGB:
        say(f"This model works in {model.program.depth} bits; {form.pixel_format} is converted in and back.")
    name = "stdin" if source == STANDARD_STREAM else source
    with ExitStack() as cleanup:
        reading = _open_input(source, cleanup)
        writing = _open_output(output, overwrite, cleanup)
        bar = cleanup.enter_context(make_bar("frame"))
        stream = model.stream(
            read_frames(reading, form, name),
            backend=backend,
            threads=threads,
            tile=tile,
            ahead=AHEAD,
            on_compile=announce_compiling,
            **parameters,
        )
        for result in cleanup.enter_context(closing(stream)):
            write_frame(writing, result)
            bar.update()


def _open_input(source: str, cleanup: ExitStack) -> BinaryIO:
    """Return a stream without a buffer, because Python waits for those of other threads when it ends."""
    from lutkit.video.library import VideoError

    if source != STANDARD_STREAM:
        return cleanup.enter_context(Path(source).open("rb", buffering=0))  # type: ignore[return-value]
    if sys.stdin is None:
        raise VideoError("stdin is closed: send frames there, or name a file")
    try:
        return cleanup.enter_context(open(sys.stdin.fileno(), "rb", buffering=0, closefd=False))  # type: ignore[return-value]
    except (OSError, ValueError, AttributeError):  # no file behind it
        return sys.stdin.buffer


def _open_output(output: str, overwrite: bool, cleanup: ExitStack) -> BinaryIO:
    from lutkit.video.library import VideoError
    from lutkit_runtime.atomic import open_atomically

    if output == STANDARD_STREAM:
        if sys.stdout is None:
            raise VideoError("stdout is closed: give -o a file")
        return sys.stdout.buffer
    return cleanup.enter_context(open_atomically(output, overwrite=overwrite, error=VideoError))
