"""What kernels are compiled to: instructions that work on many values at once, and none that divides integers.

Compiled for a processor with AVX2 and nothing newer, whichever one the tests run on. Kernels of fused stages, of
one-dimensional tables and of colour cubes are looked at in their own tests.
"""

import json
import platform

import pytest
from fresh_python import run_python
from llvmlite import binding

IDLE = {
    "windows": "stage.run_lines",
    "colours, curves, uint8, 3 channels, blended": "colour_curves.replace_codes",
    "colours, curves, float32, 4 channels, blended": "colour_curves.bend_colours",
}
"""By case: a kernel that runs before or after the one that is looked at, and is not compiled for it: that takes seconds."""

HAS_AVX2 = platform.machine() in ("x86_64", "AMD64") and bool(binding.get_host_cpu_features().get("avx2"))

pytestmark = pytest.mark.skipif(not HAS_AVX2, reason="needs a processor with AVX2")

RUN = """
import contextlib, importlib, json, re
from unittest import mock
from lutkit_runtime.engine import warmup

def count(pattern, kernel):
    return len(re.findall(pattern, "".join(kernel.inspect_asm().values())))

cases = {case.name: case for case in warmup.list_cases("cpu")}
found = {}
for case, wanted in WANTED.items():
    idle = IDLE.get(case)
    with mock.patch(f"lutkit_runtime.kernels.cpu.{idle}") if idle else contextlib.nullcontext() as left_out:
        cases[case].run("cpu")
    assert idle is None or left_out.called, idle
    for name, patterns in wanted.items():
        module, kernel = name.split(".")
        compiled = getattr(importlib.import_module(f"lutkit_runtime.kernels.cpu.{module}"), kernel)
        found[name] = [count(pattern, compiled) for pattern in (r"\\bi?div[bwlq]?\\s", *patterns)]
print(json.dumps(found))
"""


def inspect(cache, wanted: dict[str, dict[str, tuple[str, ...]]]) -> dict[str, list[int]]:
    """Run cases and return, for every kernel, how many divisions and how many of each of some instructions it has."""
    code = f"WANTED = {wanted!r}\nIDLE = {IDLE!r}\n{RUN}"
    printed = run_python(code, NUMBA_CACHE_DIR=str(cache), NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="")
    return json.loads(printed)


def test_kernels_that_apply_work_on_many_values_and_divide_none(tmp_path) -> None:
    floats = (r"mulps\s.*ymm", r"maxps\s.*ymm", r"cvttps2dq\s.*ymm")
    found = inspect(
        tmp_path,
        {
            "windows": {"reconstructed_lines.reconstruct_lines": (r"paddq\s.*ymm",)},
            "colours, curves, float32, 3 channels": {"colour_curves.bend_colours": floats[:1]},
            "colours, curves, uint8, 3 channels, blended": {"blending._blend_codes": floats},
            "colours, curves, float32, 4 channels, blended": {"blending._blend_floats": floats[:2]},
        },
    )
    for name, (divisions, *counts) in found.items():
        assert divisions == 0, name
        assert min(counts) > 0, (name, counts)
    assert len(found) == 4


def test_kernels_of_training_work_on_many_values(tmp_path) -> None:
    """Those of cubes on rows of four, which is what a node has; those of lookups also on addresses."""
    found = inspect(
        tmp_path,
        {
            "training of lookups, block 4": {
                "gradient_lines.accumulate_lines": (r"pmaxsd\s.*ymm", r"fmadd\w*ps|mulps")
            },
            "training of windows": {"reconstructed_gradient_lines.scatter_lines": (r"addps\s.*ymm",)},
            "training of cubes": {
                "cube_lookup_lines.look_up_lines": (r"maxps\s.*ymm|minps\s.*ymm", r"mulps\s.*xmm"),
                "cube_gradient_lines.accumulate_lines": (r"maxps\s.*ymm|minps\s.*ymm", r"fmadd\w*ps\s.*xmm"),
            },
        },
    )
    for name, (_, *counts) in found.items():
        assert min(counts) > 0, (name, counts)
    assert len(found) == 4


@pytest.mark.slow
def test_kernel_that_trains_one_dimensional_tables_works_on_many_values(tmp_path) -> None:
    case = "training of one-dimensional tables"
    name = "axis_gradient_lines.accumulate_network_lines"
    found = inspect(tmp_path, {case: {name: (r"fmadd\w*ps|mulps",)}})
    assert found[name][1] > 8
