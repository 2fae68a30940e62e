"""Numba kernels for the CPU, forward and backward. Floor 4: imports the ops, the primitives and Numba.

Every kernel names the reference that it must equal bit for bit.
"""
