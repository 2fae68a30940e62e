"""Suffixes of colour LUT files: the one place that knows which reader takes which. Imports nothing."""

from __future__ import annotations

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Taken for Hald pictures; all but .png are refused with the reason."""

OPENCOLORIO = (
    *(".clf", ".ctf", ".3dl", ".csp", ".spi1d", ".spi3d", ".spimtx"),
    *(".vf", ".m3d", ".itx", ".lut", ".cdl", ".cc", ".ccc"),
)
"""What is read through OpenColorIO; .cube files lutkit reads itself."""

LUT_KINDS: dict[str, str] = {".cube": "cube", **dict.fromkeys(PICTURES, "hald"), **dict.fromkeys(OPENCOLORIO, "ocio")}
"""Suffixes of colour LUT files to the kind of their importer."""
