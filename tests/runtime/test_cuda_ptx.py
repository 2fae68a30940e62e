"""Every CUDA kernel is compiled for a GPU, without one: what its code may not hold."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lutkit_runtime.kernels.cuda.device import SIMULATOR

pytest.importorskip("numba_cuda", reason="needs numba-cuda with a CUDA toolkit: pip install 'numba-cuda[cu13]'")

PROGRAM = Path(__file__).parents[1] / "cuda_ptx.py"

LARGE_BLOCK = re.compile(r"stage of [5-8] x")
"""Blocks of so many values do not fit the registers of a thread."""


@pytest.fixture(scope="module")
def kernels():
    """Name, types and PTX of every kernel, compiled in a process that does not simulate a GPU."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**os.environ, SIMULATOR: "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "NvvmSupportError" in done.stderr or "libNVVM" in done.stderr:
        pytest.skip("needs a CUDA toolkit: pip install 'numba-cuda[cu13]'")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.timeout(900)  # all kernels are compiled first
def test_every_file_of_kernels_is_in_the_catalogue(kernels):
    folder = Path(__file__).parents[2] / "runtime" / "lutkit_runtime" / "kernels" / "cuda"
    declared = {path.stem for path in folder.glob("*.py") if "\n@kernel(" in path.read_text(encoding="utf-8")}
    declared |= {path.stem for path in folder.glob("*.py") if "\n    @kernel(" in path.read_text(encoding="utf-8")}
    listed = set(re.findall(r"\w+", (folder / "catalogue.py").read_text(encoding="utf-8")))
    assert declared - {"compiling"} - listed == set()
    assert len(kernels) > 40


def test_no_kernel_computes_in_double_precision(kernels):
    assert [(name, types) for name, types, ptx in kernels if ".f64" in ptx] == []


def test_no_kernel_rounds_once_where_the_definition_rounds_twice(kernels):
    assert [(name, types) for name, types, ptx in kernels if re.search(r"fma\.rn|mad\.f32|\.ftz|\.approx", ptx)] == []


def test_kernels_keep_their_values_in_registers(kernels):
    """Arrays that are indexed by what is not known beforehand would lie in memory."""
    spilled = [(name, types) for name, types, ptx in kernels if ".local" in ptx and not LARGE_BLOCK.match(name)]
    assert spilled == []
