"""Encode JPEG, WebP and BMP with Pillow, which is imported where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from lutkit.images.picture import Picture

# A JPEG segment's length has 16 bits; EXIF takes one segment, and its prefix 6 bytes of it.
_LARGEST_JPEG_EXIF = 0xFFFF - 2 - 6
# A profile is cut into at most 255 segments.
_LARGEST_JPEG_ICC = 255 * (0xFFFF - 2 - 14)


def encode_jpeg(stream: BinaryIO, picture: Picture) -> tuple[str, ...]:
    """Write a JPEG of quality 95 that keeps colour at full resolution."""
    notes: list[str] = []
    metadata: dict[str, bytes] = {}
    for key, block, largest in (
        ("exif", picture.exif, _LARGEST_JPEG_EXIF),
        ("icc_profile", picture.icc, _LARGEST_JPEG_ICC),
    ):
        if block and len(block) <= largest:
            metadata[key] = b"Exif\0\0" + block if key == "exif" else block
        elif block:
            notes.append(f"{key.replace('_', ' ')} of {len(block)} bytes is too large for a JPEG file and was dropped")
    _save(stream, picture, "JPEG", quality=95, subsampling=0, **metadata)
    return tuple(notes)


def encode_webp(stream: BinaryIO, picture: Picture) -> tuple[str, ...]:
    """Write a lossless WebP, with the colour under transparent pixels kept."""
    # Where the effort is put: more of it takes much longer and saves next to nothing on photographs.
    _save(
        stream,
        picture,
        "WEBP",
        lossless=True,
        exact=True,
        quality=25,
        method=1,
        exif=picture.exif or b"",
        icc_profile=picture.icc or b"",
    )
    return ()


def encode_bmp(stream: BinaryIO, picture: Picture) -> tuple[str, ...]:
    """Write an uncompressed BMP."""
    _save(stream, picture, "BMP")
    return ()


class _Plain:
    """A stream without file number: Pillow then writes through Python, where a full disk raises OSError."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def _save(stream: BinaryIO, picture: Picture, form: str, **options: Any) -> None:
    from PIL import Image

    Image.fromarray(picture.pixels).save(_Plain(stream), form, **options)  # pyright: ignore[reportArgumentType]
