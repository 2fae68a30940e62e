"""Encoders and what they can do, as data: which containers take them, how quality is said, which loses nothing.

Imports `library` and `suffixes`; PyAV where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from lutkit.video.library import VideoError
from lutkit.video.suffixes import CONTAINERS


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg that lutkit knows how to steer.

    Parameters
    ----------
    name : str
        FFmpeg's.
    containers : tuple of str
        FFmpeg's names of those that take its streams.
    lossy : bool
        Whether it serves where `lossless` is not wished.
    quality : int, optional
        Constant quality (``crf``) unless told otherwise; None where there is none to choose.
    worst : int
        Largest value of the quality.
    options : mapping
        What else it is told.
    lossless : mapping, optional
        What it is told to lose nothing of RGB frames; None where it cannot.
    lossless_formats : mapping of (deep, alpha) to str
        Pixel format that holds RGB frames of 8 or 16 bits, without or with alpha, exactly.
    takes_alpha : bool
        Whether players know its alpha.
    smallest : int
        Pixels that each side of a frame has at least.
    """

    name: str
    containers: tuple[str, ...]
    lossy: bool = True
    quality: int | None = None
    worst: int = 51
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    lossless: Mapping[str, str] | None = None
    lossless_formats: Mapping[tuple[bool, bool], str] = field(default_factory=dict[tuple[bool, bool], str])
    takes_alpha: bool = False
    smallest: int = 1


ENCODERS: Mapping[str, Encoder] = MappingProxyType(
    {
        encoder.name: encoder
        for encoder in (
            Encoder("libx264", ("mp4", "mov", "matroska"), quality=18, options={"preset": "veryfast"}),
            Encoder(
                "libx264rgb",
                ("mp4", "mov", "matroska"),
                lossy=False,
                lossless={"preset": "veryfast", "qp": "0"},
                lossless_formats={(False, False): "rgb24"},
            ),
            Encoder(
                "libx265",
                ("mp4", "mov", "matroska"),
                quality=20,
                options={"preset": "fast", "x265-params": "log-level=error"},
                smallest=64,  # of one coding unit; it writes beyond its memory for some sizes below
            ),
            Encoder(
                "libvpx-vp9",
                ("webm", "matroska", "mp4"),
                quality=24,
                worst=63,
                options={"b": "0", "row-mt": "1", "cpu-used": "4"},
                lossless={"lossless": "1", "row-mt": "1", "cpu-used": "4"},
                lossless_formats={(False, False): "gbrp"},
                takes_alpha=True,
            ),
            Encoder("prores_ks", ("mov", "matroska"), takes_alpha=True),
            Encoder(
                "ffv1",
                ("matroska",),
                options={"level": "3", "slices": "16", "slicecrc": "1"},
                lossless={"level": "3", "slices": "16", "slicecrc": "1"},
                lossless_formats={
                    (False, False): "bgr0",
                    (False, True): "bgra",
                    (True, False): "rgb48le",
                    (True, True): "rgba64le",
                },
                takes_alpha=True,
            ),
        )
    }
)
"""Encoders by name; the first that a container takes is its default."""

_FINER = ("420", "422", "444")


@dataclass(frozen=True)
class Choice:
    """How a video is encoded.

    Parameters
    ----------
    encoder : Encoder
    pixel_format : str
        FFmpeg's name.
    options : mapping
        For the encoder.
    notes : tuple of str
        What the result does not keep, for the user.
    """

    encoder: Encoder
    pixel_format: str
    options: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """How the user wants videos encoded.

    Parameters
    ----------
    codec : str, optional
        Name in `ENCODERS`; the container's default otherwise.
    quality : int, optional
    lossless : bool
        Decoded frames are the model's results, sample by sample.
    """

    codec: str | None = None
    quality: int | None = None
    lossless: bool = False


def choose_encoder(suffix: str, wish: Wish, *, deep: bool = False, alpha: bool = False) -> Encoder:
    """Return the encoder for a file.

    Parameters
    ----------
    suffix : str
        Of the file that is written, a key of `CONTAINERS`.
    wish : Wish
    deep, alpha : bool
        Whether frames have 16 bits or alpha, which only counts for lossless files.

    Raises
    ------
    VideoError
        Where the container does not take the encoder, the installed PyAV lacks it, or it cannot do what is wished.
    """
    container = CONTAINERS[suffix.lower()]
    able = [encoder for encoder in ENCODERS.values() if container in encoder.containers]
    if not wish.lossless:
        able = [encoder for encoder in able if encoder.lossy]
    if wish.codec is not None:
        able = [encoder for encoder in able if encoder.name == wish.codec]
        if not able:
            wanted = [encoder for encoder in ENCODERS.values() if container in encoder.containers]
            if wish.codec in [encoder.name for encoder in wanted]:
                raise VideoError(f"{wish.codec} is for --lossless: add that, or leave out --codec")
            names = ", ".join(encoder.name for encoder in wanted if encoder.lossy or wish.lossless)
            raise VideoError(f"{suffix} files take no {wish.codec}: use --codec {names}, or another suffix")
    if wish.lossless:
        exact = [encoder for encoder in able if (deep, alpha) in encoder.lossless_formats]
        if not exact:
            what = f"{'16' if deep else '8'}-bit {'RGBA' if alpha else 'RGB'} frames"
            by = f" by {wish.codec}" if wish.codec else ""
            raise VideoError(f"{suffix} files cannot hold {what} without loss{by}: use .mkv, or leave out --lossless")
        able = exact
    installed = [encoder for encoder in able if _is_installed(encoder.name)]
    if not installed:
        names = " or ".join(encoder.name for encoder in able)
        raise VideoError(f"the installed PyAV has no encoder {names}: use another --codec or suffix")
    return installed[0]


def choose_encoding(
    suffix: str, wish: Wish, *, size: tuple[int, int], depth: int, deep: bool, alpha: bool, sampling: str
) -> Choice:
    """Return how a video is encoded.

    Parameters
    ----------
    suffix : str
        Of the file that is written.
    wish : Wish
    size : (width, height)
        Of its frames.
    depth : int
        Bits per sample of the video that was read; kept where the encoder can.
    deep : bool
        Whether frames to encode have 16 bits.
    alpha : bool
        Whether they have alpha.
    sampling : str
        ``420``, ``422`` or ``444``; colour differences of the video that was read, kept where the encoder can and sizes
        are even.

    Raises
    ------
    VideoError
        As `choose_encoder`, and where a quality is out of range or not the encoder's to choose.
    """
    import av

    encoder = choose_encoder(suffix, wish, deep=deep, alpha=alpha)
    if min(size) < encoder.smallest:
        raise VideoError(
            f"{encoder.name} takes frames from {encoder.smallest}x{encoder.smallest} pixels, and these are "
            f"{size[0]}x{size[1]}: use --codec libx264"
        )
    if wish.lossless:
        return Choice(encoder, encoder.lossless_formats[deep, alpha], encoder.lossless or {})
    supported = {form.name for form in av.Codec(encoder.name, "w").video_formats or ()}
    name, kept_depth, kept_alpha, kept_sampling = _choose_format(supported, encoder, size, depth, alpha, sampling)
    notes: list[str] = []
    if kept_depth < depth:
        notes.append(f"{encoder.name} keeps {kept_depth} bits of {depth}")
    if alpha and not kept_alpha:
        notes.append(f"{encoder.name} keeps no transparency; --codec libvpx-vp9 with .webm or ffv1 with .mkv does")
    if kept_sampling != sampling and sampling != "444" and any(side % 2 for side in size):
        notes.append(
            f"{size[0]}x{size[1]} is odd, so colours are stored for every pixel, which some players do not show"
        )
    options = dict(encoder.options)
    quality = wish.quality if wish.quality is not None else encoder.quality
    if wish.quality is not None and (encoder.quality is None or wish.quality > encoder.worst):
        if encoder.quality is None:
            raise VideoError(f"{encoder.name} has no --crf: leave it out")
        raise VideoError(f"{encoder.name} takes a --crf from 0 to {encoder.worst}, not {wish.quality}: change it")
    if quality is not None:
        options["crf"] = str(quality)
    return Choice(encoder, name, options, tuple(notes))


def _choose_format(
    supported: set[str], encoder: Encoder, size: tuple[int, int], depth: int, alpha: bool, sampling: str
) -> tuple[str, int, bool, str]:
    """Return the closest pixel format, its depth, whether it has alpha, and its sampling.

    Alpha counts first, then the sampling, then the depth: colours that are blurred show more than bits that are lost.
    """
    for with_alpha in (True, False) if alpha and encoder.takes_alpha else (False,):
        for subsampling in _order_samplings(sampling, size):
            for bits in _order_depths(depth):
                name = f"yuv{'a' if with_alpha else ''}{subsampling}p{f'{bits}le' if bits > 8 else ''}"
                if name in supported:
                    return name, bits, with_alpha, subsampling
    raise VideoError(
        f"{encoder.name} cannot encode {size[0]}x{size[1]} frames, whose sides must be even: use --codec libx264"
    )


def _order_samplings(sampling: str, size: tuple[int, int]) -> Sequence[str]:
    """Return the samplings that a size allows, the best first: the same, finer ones, coarser ones."""
    place = _FINER.index(sampling)
    width, height = size
    odd = {"422"} if width % 2 else set()
    odd |= {"420"} if width % 2 or height % 2 else set()
    return [name for name in (*_FINER[place:], *reversed(_FINER[:place])) if name not in odd]


def _order_depths(depth: int) -> Sequence[int]:
    """Return depths, the best first: the same, deeper ones, then the ones that lose least."""
    known = (8, 10, 12, 16)
    return [*(bits for bits in known if bits >= depth), *reversed([bits for bits in known if bits < depth])]


def _is_installed(name: str) -> bool:
    import av

    return name in av.codecs_available
