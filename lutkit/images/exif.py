"""Read and set the few EXIF fields that must agree with the pixels. Imports the standard library only.

Every other byte stays: re-serialising EXIF through a library moves maker notes, whose inner offsets then point nowhere.
So fields are changed where they stand. Layout: TIFF 6.0, section 2; tags: Exif 2.32, section 4.6.
"""

from __future__ import annotations

import struct

_PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_WIDTH = 0xA002
_HEIGHT = 0xA003
# Field type to struct format, for the unsigned integer types.
_INTEGERS = {1: "B", 3: "H", 4: "I"}


def tidy_exif(raw: bytes) -> tuple[bytes | None, int]:
    """Return the EXIF block with orientation 1 and without thumbnail, and the orientation it had.

    The thumbnail goes (its directory is unlinked): it shows the picture before processing, in its old orientation.

    Parameters
    ----------
    raw
        EXIF as a TIFF structure, with or without the `Exif` prefix of JPEG files.

    Returns
    -------
    block
        The tidied TIFF structure; None where its first directory cannot be read to its end.
    orientation
        1 to 8; 1 where there is none.
    """
    try:
        block = _Block(raw.removeprefix(_PREFIX))
        entries, link = block.directory(block.first)
    except (struct.error, ValueError):
        return None, 1
    orientation = 1
    if _ORIENTATION in entries:
        found = block.integer(entries[_ORIENTATION]) or 1
        orientation = found if found <= 8 else 1
        block.set_integer(entries[_ORIENTATION], 1)
    if link is None:
        return None, orientation
    block.put(link, "I", 0)
    return bytes(block.data), orientation


def resize_exif(raw: bytes, width: int, height: int) -> bytes | None:
    """Return the EXIF block tidied and, where it states the picture's size, with this one; None where it is damaged."""
    tidied, _ = tidy_exif(raw)
    if tidied is None:
        return None
    block = _Block(tidied)
    entries, _ = block.directory(block.first)
    try:
        inner, _ = block.directory(block.integer(entries[_EXIF_IFD]) or 0)
    except (KeyError, struct.error, ValueError):
        return tidied
    for tag, size in ((_WIDTH, width), (_HEIGHT, height)):
        if tag in inner:
            block.set_integer(inner[tag], size)
    return bytes(block.data)


class _Block:
    """A TIFF structure whose integers are changed in place. Methods raise struct.error where the data end too early."""

    def __init__(self, raw: bytes) -> None:
        orders = {b"II*\0": "<", b"MM\0*": ">"}
        if raw[:4] not in orders:
            raise ValueError("no TIFF header")
        self.data = bytearray(raw)
        self._order = orders[raw[:4]]
        self.first = self._get(4, "I")

    def directory(self, offset: int) -> tuple[dict[int, int], int | None]:
        """Return tag to position of its 12-byte entry, and the position of the link to the next directory.

        Where the data end too early: those entries that are whole, and None.
        """
        if offset < 8:
            raise ValueError("directory inside the header")
        link = offset + 2 + 12 * self._get(offset, "H")
        end = min(link, len(self.data) - 11)
        entries = {self._get(place, "H"): place for place in range(offset + 2, end, 12)}
        return entries, link if link + 4 <= len(self.data) else None

    def integer(self, entry: int) -> int | None:
        """Return the value of an entry that holds one unsigned integer, else None."""
        kind, count = self._get(entry + 2, "H"), self._get(entry + 4, "I")
        return self._get(entry + 8, _INTEGERS[kind]) if kind in _INTEGERS and count == 1 else None

    def set_integer(self, entry: int, value: int) -> None:
        """Make the entry one LONG with this value, or one SHORT where it fits, as Exif wants for orientation."""
        short = value <= 0xFFFF
        self.put(entry + 2, "H", 3 if short else 4)
        self.put(entry + 4, "I", 1)
        self.put(entry + 8, "I", 0)
        self.put(entry + 8, "H" if short else "I", value)

    def put(self, offset: int, form: str, value: int) -> None:
        struct.pack_into(self._order + form, self.data, offset, value)

    def _get(self, offset: int, form: str) -> int:
        return int(struct.unpack_from(self._order + form, self.data, offset)[0])
