"""Run a model on a video, frame by frame, into another video. Imports reading, encoders, writing and the runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lutkit.allocator import keep_large_buffers
from lutkit.video.encoders import Wish, choose_encoder, choose_encoding
from lutkit.video.library import VideoError, import_av
from lutkit.video.probing import VideoFacts, tags_of_result
from lutkit.video.reading import Cut, VideoReader
from lutkit.video.writing import VideoWriter
from lutkit_runtime.atomic import check_target, open_atomically
from lutkit_runtime.engine.streaming import fetch_ahead
from lutkit_runtime.program import Colour

if TYPE_CHECKING:
    from lutkit_runtime.engine import Model


@dataclass(frozen=True)
class VideoSettings:
    """How a video is read, computed and written; fields as the options of `lutkit apply`."""

    backend: str
    threads: int | None
    tile: int | None
    overwrite: bool
    max_pixels: int
    strip: bool
    wish: Wish = field(default_factory=Wish)
    cut: Cut = field(default_factory=Cut)
    parameters: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Reporter:
    """Whom to tell what.

    Parameters
    ----------
    note : callable
        Takes a line that is worth saying once for this video.
    begin : callable
        Takes the number of frames, None where it is not known.
    advance : callable
        Called after every frame.
    on_compile : callable
        Called before kernels are compiled.
    """

    note: Callable[[str], None]
    begin: Callable[[int | None], None]
    advance: Callable[[], None]
    on_compile: Callable[[], None]


def check_encoding(target: Path, settings: VideoSettings) -> None:
    """Raise VideoError unless a video of this name can be encoded, as far as can be told without reading the other."""
    import_av()
    choose_encoder(target.suffix, settings.wish)


def check_video_target(target: Path, settings: VideoSettings) -> None:
    """Raise VideoError unless a file can be written there, by its folder and permissions."""
    check_target(target, overwrite=settings.overwrite, error=VideoError)


def process_video(source: Path, target: Path, model: Model, settings: VideoSettings, reporter: Reporter) -> int:
    """Write the video that a model makes of another, whole or not at all.

    Every frame becomes one frame, at its own time; other streams are copied as they are. Memory does not grow with the
    number of frames.

    Returns
    -------
    int
        How many frames were written.

    Raises
    ------
    VideoError
        Where the video cannot be read to its end, or the other one not be written.
    LutkitError
        Where the model cannot be applied.
    """
    keep_large_buffers()  # a new frame in fresh memory costs page faults, a tenth of the time
    deep = model.program.colour is Colour.RGB
    with VideoReader(
        source, max_pixels=settings.max_pixels, deep=deep, cut=settings.cut, threads=settings.threads
    ) as reader:
        facts = reader.facts
        size = (facts.width * model.scale, facts.height * model.scale)
        choice = choose_encoding(
            target.suffix,
            settings.wish,
            size=size,
            depth=facts.depth,
            deep=reader.is_deep,
            alpha=facts.alpha,
            sampling=facts.sampling,
        )
        for note in (*facts.notes, *_describe_depth(facts, model), *choice.notes):
            reporter.note(note)
        reporter.begin(facts.frames)
        with open_atomically(target, overwrite=settings.overwrite, error=VideoError) as stream:
            writer = VideoWriter(
                Path(stream.name),
                target,
                choice,
                size=size,
                tags=tags_of_result(facts, lossless=settings.wish.lossless),
                time_base=facts.time_base,
                rate=facts.rate,
                pixel_aspect=facts.pixel_aspect,
                threads=settings.threads,
            )
            with writer:
                return _copy_through(reader, writer, model, settings, reporter)


def _copy_through(
    reader: VideoReader, writer: VideoWriter, model: Model, settings: VideoSettings, reporter: Reporter
) -> int:
    if not settings.strip:
        writer.describe(reader.container.metadata, reader.stream.metadata)
    for note in (*writer.copy(reader.copied), *map(_describe_left_out, reader.left_out)):
        reporter.note(note)
    count = 0
    with closing(fetch_ahead(reader.steps())) as steps:
        for step in steps:
            writer.add_packets(step.packets)
            if step.frame is None:
                continue
            result = model.apply(
                step.frame.pixels,
                threads=settings.threads,
                backend=settings.backend,
                tile=settings.tile,
                progress=None,
                on_compile=reporter.on_compile,
                **settings.parameters,
            )
            writer.add_frame(result, step.frame.time, step.frame.duration)
            count += 1
            reporter.advance()
    return count


def _describe_depth(facts: VideoFacts, model: Model) -> tuple[str, ...]:
    if facts.depth <= model.program.depth or model.program.colour is Colour.RGB:
        return ()
    return (f"this model works in {model.program.depth} bits; {facts.depth}-bit frames are converted in and back",)


def _describe_left_out(stream: Any) -> str:
    reason = "only the first video is worked on" if stream.type == "video" else "streams of this kind are not copied"
    return f"stream {stream.index} ({stream.type}) is left out: {reason}"
