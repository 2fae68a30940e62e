"""Colour LUTs as values: curves, cubes, chains of them, and the algebra on them."""
