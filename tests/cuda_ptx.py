"""Compile gate for CUDA kernels: prints the PTX of every kernel as JSON; needs no driver, but must not be simulated.

Run as a program, in a process of its own: ``python tests/cuda_ptx.py [part of a name]``.
"""

import json
import sys
from types import SimpleNamespace
from unittest.mock import patch

TARGET = (9, 0)
"""Compute capability that is compiled for."""


def compile_to_ptx(declared, signature):
    """Return the PTX of a kernel of `lutkit_runtime.kernels.cuda` for one signature."""
    from numba import cuda
    from numba.cuda.core.sigutils import normalize_signature

    arguments, _ = normalize_signature(signature)
    # functions that kernels call are compiled for the current device; there is none
    device = SimpleNamespace(compute_capability=TARGET)
    with patch("numba.cuda.dispatcher.get_current_device", lambda: device):
        ptx, _ = cuda.compile(declared.function, arguments, device=False, cc=TARGET, abi="numba", output="ptx")
    return ptx


def main(wanted=""):
    """Print a list of [name, signature, PTX]."""
    from lutkit_runtime.kernels.cuda.catalogue import every_kernel

    found = [
        (declared.name, signature, compile_to_ptx(declared, signature))
        for declared in every_kernel()
        if wanted in declared.name
        for signature in declared.signatures
    ]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
