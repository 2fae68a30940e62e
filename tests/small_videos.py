"""Tiny videos made on the spot, and videos read frame by frame, with PyAV alone."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np


def make_pixels(
    count: int = 6, width: int = 16, height: int = 12, channels: int = 3, dtype: Any = np.uint8
) -> np.ndarray:
    """Return frames of noise, (count, H, W, channels), no two alike."""
    random = np.random.default_rng(count * width * height)
    return random.integers(0, np.iinfo(dtype).max, (count, height, width, channels), dtype, endpoint=True)


def make_smooth(count: int = 6, width: int = 32, height: int = 24) -> np.ndarray:
    """Return frames of slow gradients, which encoders keep well, (count, H, W, 3) uint8."""
    rows, columns = np.mgrid[0:height, 0:width]
    frames = [
        np.stack(
            [20 + rows * 180 // height + i, 30 + columns * 180 // width, 200 - rows * 90 // height - i * 5], axis=2
        )
        for i in range(count)
    ]
    return np.array(frames).astype(np.uint8)


def write_video(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: list[int] | None = None,
    time_base: Fraction = Fraction(1, 10240),
    tags: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    rotation: int | None = None,
    audio: str | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    title: str | None = None,
) -> Path:
    """Write frames (count, H, W, 3 or 4) at 10 a second or at `times`, with a tone where a codec for audio is named."""
    with av.open(str(path), "w", container_options=container or {}) as output:
        stream = output.add_stream(codec, rate=10, options=options or {})
        context = stream.codec_context
        stream.time_base = context.time_base = time_base
        context.height, context.width = frames.shape[1:3]
        context.pix_fmt = pixels
        if tags:
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = tags
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if title:
            output.metadata["title"] = title
        tone = output.add_stream(audio, rate=8000, layout="mono") if audio else None
        if tone:
            tone.metadata["language"] = "nob"
        deep = frames.dtype.itemsize == 2
        form = ("rgba64le" if deep else "rgba") if frames.shape[3] == 4 else "rgb48le" if deep else "rgb24"
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=form)
            frame = frame.reformat(format=pixels, dst_colorspace=5)
            frame.pts = times[index] if times else index * int(Fraction(1, 10) / time_base)
            frame.time_base = time_base
            output.mux(stream.encode(frame))
            if tone:
                wave = (np.sin(np.arange(index * 800, (index + 1) * 800) / 3) * 9000).astype(np.int16)
                sound = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
                sound.sample_rate, sound.pts, sound.time_base = 8000, index * 800, Fraction(1, 8000)
                output.mux(tone.encode(sound))
        output.mux(stream.encode(None))
        if tone:
            output.mux(tone.encode(None))
    return path


def read_video(path: Path, form: str | None = None) -> SimpleNamespace:
    """Return what a video holds.

    `times` and `lengths` in seconds, `frames` as arrays of the pixel format `form` where one is named, `pixels`, `size`,
    `tags`, `aspect`, `rotation`, `codec`, `title`, and of other streams `others` (type, codec, language) and `packets`
    (stream, seconds, digest).
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        first = frames[0]
        found = SimpleNamespace(
            times=[frame.pts * frame.time_base for frame in frames],
            lengths=[frame.duration * frame.time_base for frame in frames],
            frames=[frame.to_ndarray(format=form) for frame in frames] if form else [],
            pixels=first.format.name,
            size=(first.width, first.height),
            tags=tuple(map(int, (first.colorspace, first.color_range, first.color_primaries, first.color_trc))),
            aspect=stream.sample_aspect_ratio,
            rotation=first.rotation,
            codec=stream.codec_context.name,
            title=container.metadata.get("title"),
        )
    with av.open(str(path)) as container:
        others = [stream for stream in container.streams if stream.type != "video"]
        found.others = [
            (other.type, other.codec_context and other.codec_context.name, other.language) for other in others
        ]
        found.packets = [
            (packet.stream.type, packet.pts * packet.time_base, hashlib.sha256(bytes(packet)).hexdigest())
            for packet in (container.demux(others) if others else ())
            if packet.pts is not None
        ]
    return found
