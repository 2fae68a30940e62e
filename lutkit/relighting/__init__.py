"""Relighting: a picture is lit as another one is, by networks that see both and their depths, and their compiled form."""
