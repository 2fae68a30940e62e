"""Run lookup-table models on images, without torch."""

__version__ = "0.1.0"
