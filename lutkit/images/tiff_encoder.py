"""Write TIFF of every depth, in strips. Imports Pillow, and tifffile above 4 GB, where they are used.

Uncompressed: compressing 16-bit and float noise gains little, and every program reads it. Pillow serialises the
directory, as tifffile writes no EXIF; the pixels do not pass through Pillow, which has no deep RGB.
Tags: TIFF 6.0, section 8.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

from lutkit.images.tiff_decoder import DESCRIPTIVE_TAGS, EXIF_POINTERS

if TYPE_CHECKING:
    from lutkit.images.picture import Picture

# Classic TIFF addresses 4 GB; leave room for everything that is not pixels.
_LARGEST_CLASSIC = (1 << 32) - (1 << 25)
_STRIP_BYTES = 1 << 20
_HEADER = b"II*\0\x08\0\0\0"
_OFFSETS, _LENGTHS, _LONG = 273, 279, 4
# A pointer inside the Exif directory to one more directory, which is left behind.
_INTEROPERABILITY = 40965


def encode_tiff(stream: BinaryIO, picture: Picture) -> tuple[str, ...]:
    """Write one uncompressed page with its profile and, below 4 GB, its EXIF."""
    if picture.pixels.nbytes > _LARGEST_CLASSIC:
        _encode_large(stream, picture)
        return ("EXIF is not written to TIFF files over 4 GB",) if picture.exif else ()
    notes: tuple[str, ...] = ()
    try:
        directory = _pack_directory(picture, _collect_tags(picture.exif) if picture.exif else {})
    except Exception:  # whatever damaged fields make Pillow raise: the picture is worth writing all the same
        directory = _pack_directory(picture, {})
        notes = ("EXIF is damaged and not written",)
    stream.write(_HEADER + directory)
    little = picture.pixels.dtype.newbyteorder("<")
    rows = _count_rows(picture)
    for top in range(0, picture.pixels.shape[0], rows):
        stream.write(picture.pixels[top : top + rows].astype(little, copy=False).tobytes())
    return notes


def _pack_directory(picture: Picture, described: dict[int, Any]) -> bytes:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    pixels, samples = picture.pixels, picture.channels
    height, width = pixels.shape[:2]
    rows = _count_rows(picture)
    lengths = [pixels[top : top + rows].nbytes for top in range(0, height, rows)]
    directory = ImageFileDirectory_v2(_HEADER)
    fields: dict[int, Any] = {
        **described,
        256: width,
        257: height,
        258: (8 * pixels.itemsize,) * samples,
        259: 1,
        262: 2 if samples > 2 else 1,
        277: samples,
        278: rows,
        284: 1,
        339: (3 if pixels.dtype.kind == "f" else 1,) * samples,
        # Counted from the end of the directory: Pillow adds where that is.
        _OFFSETS: (0, *accumulate(lengths[:-1])),
        _LENGTHS: tuple(lengths),
    }
    if picture.has_alpha:
        fields[338] = 2  # straight alpha
    if picture.icc:
        fields[34675] = picture.icc
    for tag, value in fields.items():
        directory[tag] = value
    for tag in (_OFFSETS, _LENGTHS):
        directory.tagtype[tag] = _LONG
    return directory.tobytes(len(_HEADER))


def _count_rows(picture: Picture) -> int:
    return min(picture.pixels.shape[0], max(1, _STRIP_BYTES // picture.pixels[0].nbytes))


def _collect_tags(exif: bytes) -> dict[int, Any]:
    """Return the descriptive texts and the inner directories of an EXIF block, by tag."""
    from PIL import Image

    found = Image.Exif()
    found.load(exif)
    tags: dict[int, Any] = {tag: found[tag] for tag in DESCRIPTIVE_TAGS if tag in found}
    for pointer in EXIF_POINTERS:
        inner = {tag: value for tag, value in found.get_ifd(pointer).items() if tag != _INTEROPERABILITY}
        if inner:
            tags[pointer] = inner
    return tags


def _encode_large(stream: BinaryIO, picture: Picture) -> None:
    import tifffile

    tifffile.imwrite(
        stream,
        picture.pixels,
        bigtiff=True,
        photometric="rgb" if picture.channels > 2 else "minisblack",
        planarconfig="contig" if picture.pixels.ndim == 3 else None,
        extrasamples=["unassalpha"] if picture.has_alpha else None,
        rowsperstrip=_count_rows(picture),
        iccprofile=picture.icc,
        metadata=None,
        software=False,
    )
