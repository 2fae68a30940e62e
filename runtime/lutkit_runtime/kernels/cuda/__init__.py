"""Numba kernels for NVIDIA GPUs. Floor 4: imports the ops, the primitives and, beside `device`, numba-cuda.

Every kernel names the reference that it must equal bit for bit. `device` says whether anything here can run and imports
nothing; the other modules are imported once it has said so.
"""
