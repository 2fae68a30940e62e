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
from bilateral_models import make_bilateral
from colour_models import make_adaptive, make_chain, make_look
from illumination_models import make_compiled, make_lit
from ptx_machine import run_kernel

from lutkit.families.mulut import build_program
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.cube import Arithmetic
from lutkit_runtime.engine import Model
from lutkit_runtime.kernels.cuda.device import SIMULATOR, is_simulated
from lutkit_runtime.pattern import NAMED_PATTERNS

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
found = [(each, signature) for each in every_kernel() for signature in each.signatures]
found = {f"{each.name}: {types}": (each, types) for each, types in found if f"{each.name}: {types}" in wanted}
json.dump({name: compile_to_ptx(*one) for name, one in found.items()}, sys.stdout)
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


def make_stages():
    """Return a model of two stages, the second of which is one of words."""
    program = build_program({"s": NAMED_PATTERNS["s"], "y": NAMED_PATTERNS["y"]}, stages=2, scale=2, interval=6)
    random = np.random.default_rng(0)
    slots = program.slots.items()
    tables = {name: random.integers(-127, 128, (slot.entries, slot.outputs), dtype=np.int8) for name, slot in slots}
    return Artefact(program, tables, {})


PACKED = make_look(np.random.default_rng(3).random((125, 3), np.float32), arithmetic=Arithmetic.PACKED)
LIT = make_lit(is_root=False)
RUNS = {
    "packed": (PACKED, make_picture("uint8", (5, 7, 3)), {"strength": 1.0}),
    "packed, with alpha": (PACKED, make_picture("uint8", (4, 5, 4)), {"strength": 1.0}),
    "blended": (PACKED, make_picture("uint8", (5, 7, 3)), {"strength": 0.3}),
    "deep": (PACKED, make_picture("uint16", (4, 5, 4)), {"strength": 1.7}),
    "a chain": (make_chain(), make_picture("uint8", (3, 7, 3)), {"strength": 0.6}),
    "a chain of floats": (make_chain(), make_picture("float32", (3, 5, 4)), {"strength": 0.6}),
    "adaptive": (make_adaptive(), make_picture("float32", (3, 7, 3)), {"strength": 1.0}),
    "bilateral": (make_bilateral(), make_picture("uint8", (3, 7, 3)), {"strength": 1.0}),
    "bilateral, with alpha": (make_bilateral(2, 3, 2), make_picture("uint16", (2, 7, 4)), {"strength": 0.4}),
    "bilateral, of floats": (make_bilateral(1, 1, 3), make_picture("float32", (3, 5, 3)), {"strength": 1.0}),
    "lit": (make_compiled(1, 2, 2), make_picture("uint8", (2, 7, 3)), {"strength": 0.4, "gamma": 0.2}),
    "lit, of floats with alpha": (LIT, make_picture("float32", (3, 5, 4)), {"gamma": 0.7}),
    "stages": (make_stages(), make_picture("uint8", (4, 5)), {}),
}


def apply_with(monkeypatch, launch, name):
    """Run a model on the GPU's path, with another way of launching kernels."""
    from lutkit_runtime.kernels.cuda.compiling import Kernel

    artefact, picture, parameters = RUNS[name]
    with monkeypatch.context() as patch:
        patch.setattr(Kernel, "launch", launch)
        return Model(artefact.program, artefact.tables).apply(picture, backend="cuda", **parameters)


def unwrap(argument):
    """Return what the machine takes for an argument of a launch, with its type in a kernel's declaration."""
    held = getattr(argument, "_ary", argument)
    if isinstance(held, np.ndarray):
        return held, f"{held.dtype}[::1]"
    if isinstance(held, tuple):
        return held, f"UniTuple(float32, {len(held)})"
    return (held, "float32") if isinstance(held, np.float32) else (np.int32(held), "int32")


def name_launch(kernel, arguments):
    """Return the name of a kernel and the types that it is launched with."""
    return f"{kernel.name}: void(int32, {', '.join(unwrap(each)[1] for each in arguments)})"


@pytest.fixture(scope="module")
def compiled():
    """PTX of the kernels that the runs launch, by name."""
    from lutkit_runtime.kernels.cuda.compiling import Kernel

    names, launch = set(), Kernel.launch

    def record(self, count, stream, *arguments):
        names.add(name_launch(self, arguments))
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
        launched.append(name_launch(self, arguments))
        threads = 4
        ready = [unwrap(each)[0] for each in arguments]
        run_kernel(compiled[launched[-1]], -(-count // threads), threads, [np.int32(count), *ready])

    found = apply_with(monkeypatch, launch, name)
    artefact, picture, parameters = RUNS[name]
    expected = Model(artefact.program, artefact.tables).apply(picture, backend="numpy", **parameters)
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
