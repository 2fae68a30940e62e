"""Kernels: fast twins of the ops, one package per kind of machine. Floor 4: imports the ops and the primitives."""
