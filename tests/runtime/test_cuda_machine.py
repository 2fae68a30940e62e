"""What the compiler makes of CUDA kernels gives the bytes of the definition: PTX, run without a GPU.

The simulator runs kernels as Python: it knows no types. Here the compiled code runs, instruction by instruction.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from colour_models import make_adaptive, make_chain, make_look
from ptx_machine import run_kernel

from lutkit_runtime.cube import Arithmetic
from lutkit_runtime.engine import Model
from lutkit_runtime.kernels.cuda.device import SIMULATOR, is_simulated

pytest.importorskip("numba_cuda", reason="needs numba-cuda with a CUDA toolkit: pip install 'numba-cuda[cu13]'")

pytestmark = [
    pytest.mark.skipif(not is_simulated(), reason="a GPU runs the kernels themselves"),
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
]

COMPILE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from cuda_ptx import compile_to_ptx
from lutkit_runtime.kernels.cuda.catalogue import every_kernel

wanted = set(sys.argv[2:])
found = {each.name: compile_to_ptx(each, each.signatures[0]) for each in every_kernel() if each.name in wanted}
json.dump(found, sys.stdout)
"""


def make_picture(depth, shape):
    """Return a picture and, in floats, what is no colour."""
    random = np.random.default_rng(0)
    if depth != "float32":
        return random.integers(0, np.iinfo(depth).max, shape, depth, endpoint=True)
    picture = random.uniform(-0.2, 1.2, shape).astype(depth)
    picture.reshape(-1)[::9] = np.resize(
        np.array([np.nan, np.inf, -np.inf, -0.0], depth), picture.reshape(-1)[::9].size
    )
    return picture


PACKED = make_look(np.random.default_rng(3).random((125, 3), np.float32), arithmetic=Arithmetic.PACKED)
RUNS = {
    "packed": (PACKED, make_picture("uint8", (5, 7, 3)), 1.0),
    "packed, with alpha": (PACKED, make_picture("uint8", (4, 5, 4)), 1.0),
    "blended": (PACKED, make_picture("uint8", (5, 7, 3)), 0.3),
    "deep": (PACKED, make_picture("uint16", (4, 5, 4)), 1.7),
    "a chain": (make_chain(), make_picture("uint8", (3, 7, 3)), 0.6),
    "a chain of floats": (make_chain(), make_picture("float32", (3, 5, 4)), 0.6),
    "adaptive": (make_adaptive(), make_picture("float32", (3, 7, 3)), 1.0),
}


def apply_with(monkeypatch, launch, name):
    """Run a model on the GPU's path, with another way of launching kernels."""
    from lutkit_runtime.kernels.cuda.compiling import Kernel

    artefact, picture, strength = RUNS[name]
    with monkeypatch.context() as patch:
        if launch is not None:
            patch.setattr(Kernel, "launch", launch)
        return Model(artefact.program, artefact.tables).apply(picture, backend="cuda", strength=strength)


@pytest.fixture(scope="module")
def compiled():
    """PTX of the kernels that the runs launch, by name."""
    from lutkit_runtime.kernels.cuda.compiling import Kernel

    names, launch = set(), Kernel.launch

    def record(self, count, stream, *arguments):
        names.add(self.name)
        launch(self, count, stream, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        for name in RUNS:
            apply_with(patch, record, name)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(Path(__file__).parents[1]), *names],
        env={**os.environ, SIMULATOR: "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "NvvmSupportError" in done.stderr or "libNVVM" in done.stderr:
        pytest.skip("needs a CUDA toolkit: pip install 'numba-cuda[cu13]'")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert set(found) == names
    return found


@pytest.mark.parametrize("name", RUNS)
def test_compiled_kernels_give_the_bytes_of_the_definition(name, compiled, monkeypatch):
    launched = []

    def launch(self, count, stream, *arguments):
        launched.append(self.name)
        held = [getattr(each, "_ary", each) for each in arguments]
        ready = [np.int32(each) if isinstance(each, int) else each for each in held]
        threads = 4
        run_kernel(compiled[self.name], -(-count // threads), threads, [np.int32(count), *ready])

    found = apply_with(monkeypatch, launch, name)
    artefact, picture, strength = RUNS[name]
    expected = Model(artefact.program, artefact.tables).apply(picture, backend="numpy", strength=strength)
    assert launched
    faulty = np.isnan(expected)
    assert np.array_equal(np.isnan(found), faulty)
    assert found[~faulty].tobytes() == expected[~faulty].tobytes()


def test_the_machine_fails_on_what_is_out_of_reach():
    ptx = """
    .entry it(
        .param .u64 it_param_0
    )
    {
        ld.param.u64 %rd1, [it_param_0];
        ld.global.u32 %r1, [%rd1+-4096];
        ret;
    }
    """
    with pytest.raises(AssertionError, match="outside of memory"):
        run_kernel(ptx, 1, 1, [np.int32(0)])
    with pytest.raises(AssertionError, match="misaligned"):
        run_kernel(ptx.replace("+-4096", "+6"), 1, 1, [np.int32(0)])
