"""Read and write picture files with their metadata. Libraries that decode or encode are imported when first needed."""

from lutkit.images.picture import DEFAULT_MAX_PIXELS, Picture
from lutkit.images.reading import decode_picture, read_picture, readable_suffixes
from lutkit.images.writing import check_suffix, check_target, encode_picture, supported_suffixes, write_picture

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "Picture",
    "check_suffix",
    "check_target",
    "decode_picture",
    "encode_picture",
    "read_picture",
    "readable_suffixes",
    "supported_suffixes",
    "write_picture",
]
