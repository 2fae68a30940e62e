"""Decide whether an ICC profile describes the pixels it came with. Imports the standard library only."""

from __future__ import annotations

# Channels of a picture without its alpha to the colour space in a profile's header (ICC.1:2022, section 7.2.6).
_SPACES = {1: b"GRAY", 3: b"RGB "}
_HEADER = 128


def matching_profile(icc: bytes | None, channels: int) -> tuple[bytes | None, tuple[str, ...]]:
    """Return the profile if it is one for pixels of this many channels (alpha counted), else None and a note on why."""
    if not icc:
        return None, ()
    if not is_profile(icc):
        return None, ("unusable colour profile dropped",)
    colours = 1 if channels < 3 else 3
    if icc[16:20] != _SPACES[colours]:
        space = icc[16:20].decode("ascii", "replace").strip()
        return None, (f"colour profile for {space} dropped: the pixels are {'gray' if colours == 1 else 'RGB'}",)
    return icc, ()


def is_profile(icc: bytes) -> bool:
    """Tell whether the bytes have the header of an ICC profile and are as long as it says."""
    return len(icc) >= _HEADER and icc[36:40] == b"acsp" and _HEADER <= int.from_bytes(icc[:4], "big") <= len(icc)
