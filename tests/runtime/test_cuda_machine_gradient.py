"""What the compiler makes of the kernels of training gives the gradients of the CPU: PTX, run without a GPU.

The simulator knows no types: whether sums have 64 bits is seen only here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="needs numba-cuda with a CUDA toolkit: pip install 'numba-cuda[cu13]'")

import test_cuda_axis_gradient as of_axes
import test_cuda_gradient as of_stages
from ptx_machine import run_kernel

from lutkit_runtime.kernels.cuda.device import SIMULATOR, is_simulated

pytestmark = [
    pytest.mark.skipif(not is_simulated(), reason="a GPU runs the kernels themselves"),
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
]

THREADS = 4

COMPILE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from cuda_ptx import compile_to_ptx
from lutkit_runtime.kernels.cuda.catalogue import every_kernel

wanted = {tuple(each) for each in json.loads(sys.argv[2])}
found = [
    (each.name, types, compile_to_ptx(each, types))
    for each in every_kernel() for types in each.signatures if (each.name, types) in wanted
]
json.dump(found, sys.stdout)
"""

RUNS = {
    "stage": lambda: of_stages.check_stage(
        of_stages.make_given(of_stages.STAGES["block 2, reflected"], size=(1, 1, 2))
    ),
    "diagonal-first": lambda: of_stages.check_stage(
        of_stages.make_given(of_stages.STAGES["diagonal-first"], size=(1, 1, 2))
    ),
    "windows only": lambda: of_stages.check_stage(
        of_stages.make_given(of_stages.STAGES["windows only"], size=(1, 2, 2))
    ),
    "window": lambda: of_stages.test_window_equals_that_of_the_cpu_forward_and_backward(3, -1, "int16", (1, 2, 2)),
    "axes": lambda: of_axes.test_lookup_equals_its_definition_forward_and_backward("dense, aside", (1, 2, 2)),
}


def choose_types(kernel, arguments):
    """Return those types of a kernel that fit the arguments."""

    def fits(types):
        declared = [each.strip() for each in types.removeprefix("void(").removesuffix(")").split(",")][1:]
        pairs = zip(declared, arguments, strict=True)
        return all(each == f"{given.dtype}[::1]" for each, given in pairs if isinstance(given, np.ndarray))

    return next(types for types in kernel.signatures if fits(types))


def unwrap(arguments):
    """Return arguments of a launch as the machine takes them."""
    held = [getattr(each, "_ary", each) for each in arguments]
    return [np.int32(each) if isinstance(each, int) else each for each in held]


@pytest.fixture(scope="module")
def compiled():
    """PTX of the kernels that the runs launch, by name and types."""
    from lutkit_runtime.kernels.cuda.compiling import Kernel

    launched, launch = set(), Kernel.launch

    def record(self, count, stream, *arguments):
        launched.add((self.name, choose_types(self, unwrap(arguments))))
        launch(self, count, stream, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, "launch", record)
        for run in RUNS.values():
            run()
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(Path(__file__).parents[1]), json.dumps(sorted(launched))],
        env={**os.environ, SIMULATOR: "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "NvvmSupportError" in done.stderr or "libNVVM" in done.stderr:
        pytest.skip("needs a CUDA toolkit: pip install 'numba-cuda[cu13]'")
    assert done.returncode == 0, done.stderr[-2000:]
    found = {(name, types): ptx for name, types, ptx in json.loads(done.stdout)}
    assert set(found) == launched
    return found


@pytest.mark.parametrize("name", RUNS)
def test_compiled_kernels_give_the_gradients_of_the_cpu(name, compiled, monkeypatch):
    from lutkit_runtime.kernels.cuda.compiling import Kernel

    launched = []

    def launch(self, count, stream, *arguments):
        ready = unwrap(arguments)
        launched.append(self.name)
        ptx = compiled[self.name, choose_types(self, ready)]
        run_kernel(ptx, -(-count // THREADS), THREADS, [np.int32(count), *ready])

    monkeypatch.setattr(Kernel, "launch", launch)
    RUNS[name]()
    assert launched
