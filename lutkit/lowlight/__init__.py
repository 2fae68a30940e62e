"""Low light: networks that take a picture apart into illumination and reflectance, and their compiled form. Imports torch."""
