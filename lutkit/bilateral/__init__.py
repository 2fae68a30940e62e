"""Bilateral grids of affine colour maps, predicted and trained."""
