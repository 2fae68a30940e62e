"""Warming up: it asks for every kernel that models ask for, in the types that they have, and keeps what it compiles."""

import ast
import json
from pathlib import Path

import numba
import numpy as np
from fresh_python import run_python

from lutkit_runtime.engine import warmup
from lutkit_runtime.kernels import cpu
from lutkit_runtime.kernels.cpu.compiling import pass_as_writable

RECORD = """
import json, numba
from lutkit_runtime.kernels.cpu import compiling

asked = set()

def compile_kernel(**options):
    def decorate(function):
        def record(*arguments):
            types = ", ".join(str(numba.typeof(argument)) for argument in arguments)
            asked.add(f"{function.__module__}.{function.__name__}({types})")
        return record
    return decorate

compiling.compile_kernel = compile_kernel  # nothing is compiled, nothing runs
from lutkit_runtime.engine import warmup
for case in warmup.list_cases("cpu"):
    case.run("cpu")
warmed = set(asked)
"""

APPLY = """
import itertools
import numpy as np
from bilateral_models import make_bilateral
from colour_models import make_adaptive, make_chain
from illumination_models import make_compiled, make_exact
from lutkit.models import builtin_names, find_builtin
from lutkit.resolve import find_model, open_model
from lutkit_runtime.engine import Model
from lutkit_runtime.program import Colour

asked.clear()
artefacts = [open_model(find_model(name)) for name in builtin_names()]
artefacts += [open_model(find_model(path)) for path in LUTS]
artefacts += [make_adaptive(), make_chain(), make_bilateral(), make_compiled(), make_exact()]
for artefact in artefacts:
    model = Model(artefact.program, artefact.tables)
    colour = model.program.colour is Colour.RGB
    sizes = ((5, 6), (90, 100)) if colour else ((5, 6),)
    for depth, channels, size in itertools.product(("u1", "u2", "f4"), (3, 4), sizes):
        picture = np.zeros((*size, channels), depth)
        picture.flags.writeable = channels == 3  # as Pillow gives them away
        beside = {
            each.name: np.zeros((*size, each.channels), np.uint8) for each in model.program.companions
        }
        for strength in (1.0, 0.3) if model.program.parameters else (None,):
            given = beside if strength is None else {"strength": strength, **beside}
            model.apply(picture, backend="cpu", tile=4 if size == (5, 6) else None, threads=1, **given)
missing = asked - warmed
print(json.dumps([sorted(warmed), len(asked), sorted(missing)]))
"""


def write_luts(folder: Path) -> list[str]:
    """Write LUT files: a cube, a one-dimensional LUT, and a shaper before a cube."""
    cube = "\n".join(f"{red} {green} {blue}" for blue in (0, 1) for green in (0, 1) for red in (0, 0.7))
    ramp = "\n".join(f"{value} {value**2} {value}" for value in (0, 0.3, 1))
    texts = {
        "cube": f"LUT_3D_SIZE 2\n{cube}\n",
        "curves": f"LUT_1D_SIZE 3\n{ramp}\n",
        "shaped": f"LUT_1D_SIZE 3\nLUT_3D_SIZE 2\n{ramp}\n{cube}\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.cube").write_text(text)
    return [str(folder / f"{name}.cube") for name in texts]


def test_every_kernel_is_warmed_up_in_all_its_types(tmp_path: Path) -> None:
    """The types of what kernels are called with decide whether one has to be compiled."""
    warmed, asked, missing = json.loads(run_python(f"{RECORD}\nLUTS = {write_luts(tmp_path)!r}\n{APPLY}"))
    assert missing == []
    assert 30 < asked < len(warmed)
    kernels = list_kernels()
    assert len(kernels) > 10
    assert {call.partition("(")[0].rpartition("cpu.")[2] for call in warmed} == kernels


def list_kernels() -> set[str]:
    """Return module and name of every function that is decorated as a kernel."""
    return {
        f"{path.stem}.{node.name}"
        for path in Path(cpu.__path__[0]).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(each).startswith("compile_kernel(") for each in node.decorator_list)
    }


FIRST = """
import json
from lutkit_runtime.engine import warmup
every = warmup.list_cases("cpu")
chosen = tuple(case for case in every if case.name in ("colours, curves, uint8, 3 channels",))
warmup.list_cases = lambda backend: chosen
outcomes = warmup.warm_up("cpu")
print(json.dumps([warmup.find_cache("cpu"), [(each.case, each.compiled) for each in outcomes]]))
"""


def test_what_is_compiled_is_kept(tmp_path: Path) -> None:
    folder, outcomes = json.loads(run_python(FIRST, NUMBA_CACHE_DIR=str(tmp_path)))
    assert Path(folder).parent == tmp_path
    assert outcomes == [["colours, curves, uint8, 3 channels", True]]
    assert list(Path(folder).rglob("*.nbc"))
    assert json.loads(run_python(FIRST, NUMBA_CACHE_DIR=str(tmp_path)))[1] == [[outcomes[0][0], False]]


def test_other_processes_run_the_cases_of_a_group_one_after_the_other() -> None:
    every = warmup.list_cases("numpy")
    assert {case.group for case in every} < {case.group for case in warmup.list_cases("cpu")}
    few = [case for case in every if case.group == "lookups"][:3]
    assert every[:3] == tuple(few)
    outcomes = list(warmup._run_apart("numpy", few, 2))
    assert [outcome.case for outcome in outcomes] == [case.name for case in few]
    assert all(outcome.backend == "numpy" and outcome.seconds > 0 and not outcome.compiled for outcome in outcomes)


def test_names_of_cases_differ() -> None:
    names = [case.name for case in warmup.list_cases("cpu")]
    assert len(set(names)) == len(names)
    assert len(names) > 100


def test_arrays_that_may_not_be_written_are_passed_on_without_a_copy() -> None:
    given = np.arange(5, dtype=np.uint16)
    assert pass_as_writable(given) is given
    given.flags.writeable = False
    passed = pass_as_writable(given)
    assert passed.flags.writeable
    assert numba.typeof(passed) == numba.typeof(given.copy())
    assert np.shares_memory(passed, given)
    assert passed.tolist() == [0, 1, 2, 3, 4]
