"""What a video is: facts that reading and writing need, from a stream and its first frame. Imports `colours`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from lutkit.video.colours import RGB_MATRIX, ColourTags, complete_tags

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PQ, _HLG = 16, 18


@dataclass(frozen=True)
class Turn:
    """How decoded frames become upright: rows and columns change places first, then flips.

    Parameters
    ----------
    transposed, mirrored, upside_down : bool
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return upright pixels, (H, W, channels), C-contiguous."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        if self.mirrored:
            pixels = pixels[:, ::-1]
        if self.upside_down:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class VideoFacts:
    """A video stream as its frames come out of the reader.

    Parameters
    ----------
    width, height : int
        Of upright frames, pixels.
    depth : int
        Bits per sample.
    alpha : bool
    sampling : str
        ``420``, ``422`` or ``444``: how many colour differences are stored.
    tags : ColourTags
        Complete: what the stream leaves open is filled in.
    turn : Turn
        Has been done to the frames.
    pixel_aspect : Fraction or None
        Width to height of a pixel.
    rate : Fraction
        Frames per second on average, 25 where the file does not say.
    time_base : Fraction
        Seconds per unit of times.
    frames : int or None
        How many there are, where the file says or its duration tells.
    notes : tuple of str
        What is worth saying to the user.
    """

    width: int
    height: int
    depth: int
    alpha: bool
    sampling: str
    tags: ColourTags
    turn: Turn
    pixel_aspect: Fraction | None
    rate: Fraction
    time_base: Fraction
    frames: int | None
    notes: tuple[str, ...]


def describe_video(stream: Any, frame: Any, duration: Fraction | None) -> VideoFacts:
    """Return the facts of a stream.

    Parameters
    ----------
    stream : av.VideoStream
    frame : av.VideoFrame
        The first one.
    duration : Fraction or None
        Seconds of the file, where the stream does not say its own.

    Raises
    ------
    VideoError
        Where colours are coded in a way that is not supported.
    """
    form = frame.format
    turn, notes = _read_turn(frame)
    is_rgb = form.is_rgb or form.has_palette
    tags = complete_tags(
        frame.colorspace,
        frame.color_range,
        frame.color_primaries,
        frame.color_trc,
        is_rgb=is_rgb,
        size=(frame.width, frame.height),
    )
    aspect = stream.sample_aspect_ratio or None
    if aspect is not None and turn.transposed:
        aspect = 1 / aspect
    sides = (frame.height, frame.width) if turn.transposed else (frame.width, frame.height)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    if frame.interlaced_frame:
        notes.append("frames are interlaced; both fields are treated as one picture")
    if stream.metadata.get("alpha_mode") == "1":
        notes.append("transparency of VP8 and VP9 is not read")
    if tags.transfer in (_PQ, _HLG):
        notes.append("HDR: values are used as they stand; mastering metadata is not carried over")
    return VideoFacts(
        *sides,
        depth=max(component.bits for component in form.components),
        alpha=any(component.is_alpha for component in form.components),
        sampling="444" if is_rgb else _find_sampling(form),
        tags=tags,
        turn=turn,
        pixel_aspect=aspect,
        rate=rate,
        time_base=stream.time_base,
        frames=_count_frames(stream, rate, duration),
        notes=tuple(notes),
    )


def tags_of_result(facts: VideoFacts, *, lossless: bool) -> ColourTags:
    """Return the tags of a result: those of the video, or RGB where nothing may be lost.

    RGB videos become luma and colour differences by BT.709, limited, as players expect.
    """
    tags = facts.tags
    if lossless:
        return ColourTags(RGB_MATRIX, 2, tags.primaries, tags.transfer)
    if tags.matrix == RGB_MATRIX:
        return ColourTags(1, 1, tags.primaries, tags.transfer)
    return tags


def _count_frames(stream: Any, rate: Fraction, duration: Fraction | None) -> int | None:
    if stream.frames:
        return stream.frames
    seconds = stream.duration * stream.time_base if stream.duration else duration
    return round(seconds * rate) if seconds else None


def _find_sampling(form: Any) -> str:
    """Return the sampling of luma and colour differences; gray, and anything coarser, counts as 420."""
    if sum(not component.is_alpha for component in form.components) == 1:
        return "420"
    width, height = form.chroma_width(16), form.chroma_height(16)
    return {(16, 16): "444", (8, 16): "422"}.get((width, height), "420")


def _read_turn(frame: Any) -> tuple[Turn, list[str]]:
    """Return what the display matrix asks for; anything but right angles is left out, which is noted.

    The matrix holds (a b u; c d v; x y w) as 16.16 and 2.30 fixed point numbers of 4 bytes; a pixel at (x, y) is shown
    at (a x + c y, b x + d y) (ISO/IEC 14496-12, section 8.3.2; FFmpeg hands it out in the machine's byte order).
    """
    sides = {data.type.name: data for data in frame.side_data}
    if "DISPLAYMATRIX" not in sides:
        return Turn(), []
    a, b, _, c, d = (int(number) for number in np.frombuffer(bytes(sides["DISPLAYMATRIX"]), np.int32)[:5])
    if (b, c) == (0, 0) and a and d:
        return Turn(False, a < 0, d < 0), []
    if (a, d) == (0, 0) and b and c:
        return Turn(True, c < 0, b < 0), []
    return Turn(), ["the file asks for a rotation that is no right angle; frames stay as they are stored"]
