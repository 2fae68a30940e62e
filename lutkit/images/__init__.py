"""Read and write picture files with their metadata. Libraries that decode are imported when first needed."""

from lutkit.images.picture import DEFAULT_MAX_PIXELS, Picture
from lutkit.images.reading import decode_picture, read_picture

__all__ = ["DEFAULT_MAX_PIXELS", "Picture", "decode_picture", "read_picture"]
