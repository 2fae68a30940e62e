"""Distillation: any model that keeps the size of pictures becomes tables, the cheapest that come near enough.

A teacher is asked about photos, rungs of a ladder (one colour LUT, LUTs that adapt to the picture, bilateral grids) are
fitted to its answers one after the other, and what each is worth on photos that none has seen is measured and reported.
"""
