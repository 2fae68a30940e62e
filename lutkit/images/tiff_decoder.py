"""Decode the first page of a TIFF file. Imports tifffile and Pillow where they are used.

No one library does it all: Pillow has every 8-bit kind and reduces the deeper ones; OpenCV has libtiff for 16-bit and
float samples, but mixes up planes stored apart, and refuses turned pages. So tifffile reads the header, pixels that
stand uncompressed in one piece are read as they are, Pillow decodes the rest of 8 bits, and deeper pages go to OpenCV
plane by plane under a fresh minimal header. Tags: TIFF 6.0, sections 8, 14, 15 and 18.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.images.opencv_decoder import decode_by_opencv
from lutkit.images.picture import DAMAGED, Decoded, RefusalError, check_size
from lutkit.images.pillow_decoder import decode_image
from lutkit.images.quiet import quiet_descriptor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONVERT = "convert it to 8 or 16 bits or 32-bit float, gray or RGB"
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PLAIN_COLOURS = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
_ORIENTATION, _ICC, _DNG_VERSION, _SUBFILE = 274, 34675, 50706, 254
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_KINDS = {(_UNSIGNED, 8): "u1", (_UNSIGNED, 16): "u2", (_FLOAT, 32): "f4", (_FLOAT, 64): "f8"}
_STORED_APART = 2
_ASSOCIATED, _UNSPECIFIED = 1, 0
_INTEROPERABILITY = 40965
# Description, make, model, software, date, artist, copyright: what of a TIFF directory is worth calling EXIF.
DESCRIPTIVE_TAGS = (270, 271, 272, 305, 306, 315, 33432)
# Pointers to the inner directories of EXIF: camera settings, position.
EXIF_POINTERS = (0x8769, 0x8825)


@dataclass(frozen=True)
class _Page:
    """What the first page's tags say, in TIFF's numbers."""

    order: str
    width: int
    height: int
    bits: int
    samples: int
    sample_format: int
    photometric: int
    compression: int
    predictor: int
    apart: bool
    extra: tuple[int, ...]
    orientation: int
    rows_per_strip: int
    tile: tuple[int, int] | None
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    start: int | None
    icc: bytes | None
    notes: tuple[str, ...]


def decode_tiff(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode the first page: 8-bit of any kind; 12-bit gray; 16-bit or float, gray or RGB.

    Raises RefusalError, or what the libraries raise.
    """
    page = _read_page(stream)
    check_size(page.width, page.height, max_pixels)
    exif = _collect_exif(stream)
    plain = page.start is not None and page.bits == 8 and page.photometric in _PLAIN_COLOURS
    if not plain and (page.bits <= 8 or (page.bits == 12 and page.samples == 1)):
        return _decode_shallow(stream, page, exif)
    pixels, notes = _finish_colours(_decode_deep(stream, page), page)
    return Decoded(pixels, exif, page.icc, page.orientation, page.notes + notes)


def _read_page(stream: BinaryIO) -> _Page:
    import tifffile

    with tifffile.TiffFile(stream) as file:
        page = file.pages.first
        tags = page.tags
        if _DNG_VERSION in tags or (_SUBFILE in tags and int(tags[_SUBFILE].value) & 1):
            raise RefusalError(
                "this is a camera raw file or its first page is a thumbnail", "develop or export it first"
            )
        count = len(file.pages)
        orientation = int(tags[_ORIENTATION].value) if _ORIENTATION in tags else 1
        return _Page(
            order=file.byteorder,
            width=int(page.imagewidth),
            height=int(page.imagelength),
            bits=int(page.bitspersample),
            samples=int(page.samplesperpixel),
            sample_format=int(page.sampleformat),
            photometric=int(page.photometric),
            compression=int(page.compression),
            predictor=int(page.predictor),
            apart=int(page.planarconfig) == _STORED_APART and int(page.samplesperpixel) > 1,
            extra=tuple(int(kind) for kind in page.extrasamples),
            orientation=orientation if 1 <= orientation <= 8 else 1,
            rows_per_strip=int(page.rowsperstrip),
            tile=(int(page.tilewidth), int(page.tilelength)) if page.is_tiled else None,
            offsets=tuple(page.dataoffsets),
            lengths=tuple(page.databytecounts),
            start=page.dataoffsets[0] if page.is_contiguous else None,
            icc=bytes(tags[_ICC].value) if _ICC in tags else None,
            notes=(f"first of {count} pages",) if count > 1 else (),
        )


def _decode_shallow(stream: BinaryIO, page: _Page, exif: bytes | None) -> Decoded:
    from PIL.TiffImagePlugin import TiffImageFile

    if page.sample_format == _SIGNED or (page.apart and page.samples == 2):  # Pillow misreads both
        raise RefusalError("a TIFF page of signed samples, or of gray and alpha apart, is not supported", _CONVERT)
    stream.seek(0)
    with quiet_descriptor():
        image = TiffImageFile(stream)
        image.load()
    if (image.width, image.height) not in ((page.width, page.height), (page.height, page.width)):
        raise RefusalError("the header gives two sizes", DAMAGED)
    if page.bits == 12:
        samples = np.asarray(image).astype(np.uint16)
        note = "12 bits per sample scaled to 16"
        return Decoded(samples << 4 | samples >> 8, exif, page.icc, 1, (*page.notes, note))
    decoded = decode_image(image)
    # Pillow turns TIFF pages upright by itself.
    return Decoded(decoded.pixels, exif, page.icc, 1, page.notes + decoded.notes)


def _decode_deep(stream: BinaryIO, page: _Page) -> NDArray[Any]:
    """Return the samples as stored, (H, W, samples), of native byte order."""
    kind = _KINDS.get((page.sample_format, page.bits))
    if kind is None or page.samples > 4 or page.photometric not in _PLAIN_COLOURS:
        what = f"a TIFF page of {page.samples} samples of {page.bits} bits and this kind of colour is not supported"
        raise RefusalError(what, _CONVERT)
    if page.start is not None:
        return _read_plain(stream, page, page.order + kind)
    if page.apart:
        per_plane = len(page.offsets) // page.samples
        ranges = [slice(plane * per_plane, (plane + 1) * per_plane) for plane in range(page.samples)]
        return np.stack([_decode_plane(stream, page, part, 1, kind) for part in ranges], axis=2)
    if page.samples == 2:
        what = "compressed TIFF of deep gray with alpha is not supported"
        raise RefusalError(what, "store it uncompressed, or as PNG")
    decoded = _decode_plane(stream, page, slice(None), page.samples, kind)
    return decoded.reshape(page.height, page.width, page.samples)


def _read_plain(stream: BinaryIO, page: _Page, kind: str) -> NDArray[Any]:
    """Read samples that stand uncompressed in one piece."""
    planes, samples = (page.samples, 1) if page.apart else (1, page.samples)
    stream.seek(page.start or 0)
    pixels = np.empty((planes, page.height, page.width, samples), np.dtype(kind).newbyteorder("="))
    for plane in pixels:
        for row in plane:
            body = stream.read(row.nbytes)
            if len(body) < row.nbytes:
                raise RefusalError("the file ends before the picture does", DAMAGED)
            row[...] = np.frombuffer(body, kind).reshape(row.shape)
    return np.moveaxis(pixels[..., 0], 0, 2) if page.apart else pixels[0]


def _decode_plane(stream: BinaryIO, page: _Page, part: slice, samples: int, kind: str) -> NDArray[Any]:
    """Decode some of the page's strips or tiles as a picture of its own."""
    found = decode_by_opencv(_wrap_segments(stream, page, part, samples))
    wanted = (page.height, page.width) if samples == 1 else (page.height, page.width, samples)
    if found is None or found.shape != wanted or found.dtype != np.dtype(kind):
        what = f"the TIFF pixel data is damaged or its compression ({page.compression}) is not supported"
        raise RefusalError(what, "store it uncompressed, or as PNG")
    return found


def _wrap_segments(stream: BinaryIO, page: _Page, part: slice, samples: int) -> bytes:
    """Return a TIFF file that holds nothing but these strips or tiles, upright and black is zero."""
    segments: list[bytes] = []
    for offset, length in zip(page.offsets[part], page.lengths[part], strict=True):
        stream.seek(offset)
        segments.append(stream.read(length))
        if length < 1 or len(segments[-1]) < length:
            raise RefusalError("the file ends before the picture does", DAMAGED)
    fields: dict[int, tuple[int, ...]] = {
        256: (page.width,),
        257: (page.height,),
        258: (page.bits,) * samples,
        259: (page.compression,),
        262: (_RGB if samples >= 3 else _BLACK_IS_ZERO,),
        277: (samples,),
        284: (1,),
        317: (page.predictor,),
        339: (page.sample_format,) * samples,
    }
    if samples == 4:
        fields[338] = (2,)
    lengths = tuple(len(segment) for segment in segments)
    where, sizes = (324, 325) if page.tile else (273, 279)
    if page.tile:
        fields[322], fields[323] = (page.tile[0],), (page.tile[1],)
    else:
        fields[278] = (min(page.rows_per_strip, page.height),)
    fields[where] = fields[sizes] = lengths
    directory = 8 + 2 + 12 * len(fields) + 4
    body = directory + 4 * sum(len(values) for values in fields.values() if len(values) > 1)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) + body
    if body + sum(lengths) > 0xFFFFFFFF:
        raise RefusalError("the TIFF pixel data is larger than 4 GB", "store it uncompressed")
    fields[where] = tuple(int(start) for start in starts)
    return _pack_directory(page.order, fields, directory) + b"".join(segments)


def _pack_directory(order: str, fields: dict[int, tuple[int, ...]], place: int) -> bytes:
    """Return header, directory and the values that do not fit into it; all values as LONG, which readers accept."""
    entries, values = b"", b""
    for tag, numbers in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entry = packed if len(numbers) == 1 else struct.pack(order + "I", place + len(values))
        values += b"" if len(numbers) == 1 else packed
        entries += struct.pack(order + "HHI", tag, 4, len(numbers)) + entry
    magic = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    return magic + struct.pack(order + "H", len(fields)) + entries + bytes(4) + values


def _finish_colours(samples: NDArray[Any], page: _Page) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return samples as pixels: gray from black to white, alpha straight, doubles as float32; and notes on that."""
    notes: list[str] = []
    colours = 3 if page.photometric == _RGB else 1
    if page.samples not in (colours, colours + 1):
        raise RefusalError(f"a TIFF page of {page.samples} samples for {colours} colours is not supported", _CONVERT)
    if samples.dtype == np.float64:
        with np.errstate(over="ignore"):
            samples = samples.astype(np.float32)
        notes.append("64-bit float reduced to 32")
    if page.photometric == _WHITE_IS_ZERO:
        samples = samples.copy()
        white = 1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max
        samples[..., 0] = white - samples[..., 0]
    if page.samples == colours + 1 and page.extra[:1] == (_UNSPECIFIED,):
        samples = samples[..., :colours]
        notes.append("an extra channel without meaning was dropped")
    elif page.samples == colours + 1 and page.extra[:1] == (_ASSOCIATED,):
        samples = _divide_alpha_out(samples)
        notes.append("premultiplied alpha divided out")
    return (samples[..., 0] if samples.shape[2] == 1 else np.ascontiguousarray(samples)), tuple(notes)


def _divide_alpha_out(samples: NDArray[Any]) -> NDArray[Any]:
    alpha = samples[..., -1:].astype(np.float64)
    full = 1.0 if samples.dtype == np.float32 else float(np.iinfo(samples.dtype).max)
    colours = samples[..., :-1] * np.divide(full, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    if samples.dtype != np.float32:
        colours = np.minimum(np.rint(colours), full)
    return np.concatenate([colours.astype(samples.dtype), samples[..., -1:]], axis=2)


def _collect_exif(stream: BinaryIO) -> bytes | None:
    """Return what the first page has of EXIF as a block of its own, or None."""
    from PIL import Image

    stream.seek(0)
    found, kept = Image.Exif(), Image.Exif()
    try:
        found.load_from_fp(stream)
        for tag in DESCRIPTIVE_TAGS:
            if tag in found:
                kept[tag] = found[tag]
        for pointer in EXIF_POINTERS:
            inner = {tag: value for tag, value in found.get_ifd(pointer).items() if tag != _INTEROPERABILITY}
            if inner:
                kept[pointer] = inner
        return kept.tobytes() if len(kept) else None
    except Exception:  # whatever damaged tags make Pillow raise: the pixels may be fine all the same
        return None
