"""The fused stage: equal to the references of its ops, whatever the shape; what it claims; how it is compiled."""

import os
import platform
import shutil
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from fresh_python import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import fill_tables, images, stages

from lutkit.families import mulut, srlut
from lutkit.families.spatial import read_patterns
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.cpu import compiling
from lutkit_runtime.kernels.cpu.stage import run_stage
from lutkit_runtime.kernels.stage_claim import Stage, claim_stage
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, Ensemble, Lookup, Requantise
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern
from lutkit_runtime.program import Program


def claim(program: Program) -> Stage:
    """Return the first stage of a program."""
    ensemble, requantise = program.ops[:2]
    assert isinstance(ensemble, Ensemble)
    assert isinstance(requantise, Requantise)
    stage = claim_stage(ensemble, requantise)
    assert stage is not None
    return stage


def refer(program: Program, tables: dict[str, np.ndarray], planes: np.ndarray) -> np.ndarray:
    """Return what the references of the first two ops make."""
    named = {program.input: planes}
    for op in program.ops[:2]:
        named[op.output] = op.reference(named, tables)
    return named[program.ops[1].output]


@settings(max_examples=120)
@given(stages(), images(), st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 2]))
def test_equals_the_references(
    ops: tuple[Ensemble, Requantise], image: np.ndarray, seed: int, threads: int | None
) -> None:
    program = Program(family="test", task="sr", ops=ops)
    tables = fill_tables(program, seed)
    planes = np.ascontiguousarray(np.moveaxis(image, 2, 0))
    result = run_stage(claim(program), tables, planes, threads)
    np.testing.assert_array_equal(result, refer(program, tables, planes))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(1, 9))
@pytest.mark.parametrize("padding", Padding)
def test_every_block_size(block: int, padding: Padding) -> None:
    """Slow because every block size is a kernel to compile."""
    lookups = tuple(
        Lookup(
            output=name,
            input="image",
            slot=name,
            pattern=NAMED_PATTERNS[name],
            lattice=Lattice(NAMED_PATTERNS[name].samples, 6),
            block=block,
            padding=padding,
        )
        for name in "ofv"
    )
    ops = (
        Ensemble(output="sum", input="image", body=(*lookups, Add(output="turn", terms=tuple("ofv")))),
        Requantise(output="result", input="sum", bias=127 * 768, divisor=768),
    )
    program = Program(family="test", task="sr", ops=ops)
    tables = fill_tables(program, block)
    planes = np.random.default_rng(block).integers(0, 256, (2, 7, 9), dtype=np.uint8)
    np.testing.assert_array_equal(run_stage(claim(program), tables, planes), refer(program, tables, planes))


@pytest.mark.parametrize("width", [127, 128, 129, 300])
def test_chunks_of_a_line_join(width: int) -> None:
    program = srlut.build_program("s", scale=2, interval=5)
    tables = fill_tables(program, 1)
    planes = np.random.default_rng(width).integers(0, 256, (2, 3, width), dtype=np.uint8)
    np.testing.assert_array_equal(run_stage(claim(program), tables, planes), refer(program, tables, planes))


@pytest.mark.parametrize("interpolation", Interpolation)
def test_extreme_tables_do_not_overflow_narrow_sums(interpolation: Interpolation) -> None:
    """Entries of -128 and 127 everywhere: the largest sums that there can be, in 16 and in 32 bits."""
    random = np.random.default_rng(2)
    for names in (("s",), ("s", "d", "y"), ("s", "d", "y", "e", "h", "o")):
        for interval in (4, 8):
            lookups = tuple(
                Lookup(
                    output=name,
                    input="image",
                    slot=name,
                    pattern=NAMED_PATTERNS[name],
                    lattice=Lattice(4, interval),
                    interpolation=interpolation,
                )
                for name in names
            )
            divisor = (4 * len(names)) << interval
            ops = (
                Ensemble(output="sum", input="image", body=(*lookups, Add(output="turn", terms=names))),
                Requantise(output="result", input="sum", bias=127 * divisor, divisor=divisor),
            )
            program = Program(family="test", task="sr", ops=ops)
            planes = random.integers(0, 256, (1, 12, 12), dtype=np.uint8)
            for entries in (np.array([-128]), np.array([127]), np.array([-128, 127])):
                tables = {name: random.choice(entries, (slot.entries, 1)) for name, slot in program.slots.items()}
                tables = {name: table.astype(np.int8) for name, table in tables.items()}
                result = run_stage(claim(program), tables, planes)
                np.testing.assert_array_equal(result, refer(program, tables, planes))


def test_published_branch_makes_sums_that_no_correct_weights_make() -> None:
    """Its weights 1, 14, -13, 14, 0 sum to 16, their magnitudes to 42: three such lookups leave 16 bits."""
    pattern = IndexPattern(((0, 1), (0, 2), (1, 2), (2, 1)))
    plane = np.zeros((5, 5), np.uint8)
    for (row, column), code in zip(pattern.offsets, (1, 0, 15, 14), strict=True):
        for turns in range(4):
            turned_row, turned_column = IndexPattern(((row, column),)).rotated(turns).offsets[0]
            plane[2 + turned_row, 2 + turned_column] = code
    names = ("a", "b", "c")
    lookups = tuple(
        Lookup(
            output=name,
            input="image",
            slot=name,
            pattern=pattern,
            lattice=Lattice(4, 4),
            interpolation=Interpolation.SRLUT,
        )
        for name in names
    )
    ops = (
        Ensemble(output="sum", input="image", body=(*lookups, Add(output="turn", terms=names))),
        Requantise(output="result", input="sum", bias=0, divisor=400),
    )
    table = np.full((17**4, 1), 127, np.int8)
    table[17 + 17**3] = -128  # the vertex of the negative weight
    program = Program(family="test", task="sr", ops=ops)
    tables = dict.fromkeys(names, table)
    wide = ops[0].reference({"image": plane}, tables)
    assert wide[2, 2] == 12 * (29 * 127 + 13 * 128)
    np.testing.assert_array_equal(run_stage(claim(program), tables, plane[None]), refer(program, tables, plane[None]))


def test_rounds_ties_to_even_at_every_bias() -> None:
    """One sample, interval 0: the sum is four times an entry, and the bias shifts it through all ties."""
    codes = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    table = np.r_[np.arange(-128, 128), 0].astype(np.int8)[:, None]
    anchor = Lookup(output="wide", input="image", slot="t", pattern=IndexPattern(((0, 0),)), lattice=Lattice(1, 0))
    for divisor in (1, 3, 8, 16, 48, 192):
        for bias in range(0, 2 * divisor):
            ops = (
                Ensemble(output="sum", input="image", body=(anchor,)),
                Requantise(output="result", input="sum", bias=bias, divisor=divisor),
            )
            program = Program(family="test", task="sr", ops=ops)
            result = run_stage(claim(program), {"t": table}, codes)
            np.testing.assert_array_equal(result, refer(program, {"t": table}, codes))


def test_out_is_filled_and_may_not_overlap() -> None:
    program = srlut.build_program("s", scale=1, interval=6)
    tables = fill_tables(program, 3)
    planes = np.random.default_rng(3).integers(0, 256, (2, 5, 6), dtype=np.uint8)
    out = np.empty_like(planes)
    assert run_stage(claim(program), tables, planes, out=out) is out
    np.testing.assert_array_equal(out, refer(program, tables, planes))
    with pytest.raises(ValueError, match="overlaps"):
        run_stage(claim(program), tables, planes, out=planes)


def test_threads_are_limited_and_restored() -> None:
    program = srlut.build_program("s", scale=1, interval=6)
    tables = fill_tables(program, 4)
    planes = np.zeros((1, 4, 4), np.uint8)
    before = numba.get_num_threads()
    for threads in (1, before, 10_000):
        run_stage(claim(program), tables, planes, threads)
        assert numba.get_num_threads() == before
    with compiling.limit_threads(1) as workers:
        assert (workers, numba.get_num_threads()) == (1, 1)


def build_stage(**changes: object) -> tuple[Ensemble, Requantise]:
    """Return a small stage with changes to the ensemble's body, terms or the requantisation."""
    a, b = (
        Lookup(output=name, input="image", slot=name, pattern=NAMED_PATTERNS["v"], lattice=Lattice(2, 4))
        for name in "ab"
    )
    body = changes.get("body", (a, b, Add(output="turn", terms=("a", "b"))))
    assert isinstance(body, tuple)
    fields = {"input": "sum", "bias": 0, "divisor": 16, **changes}
    fields.pop("body", None)
    return Ensemble(output="sum", input="image", body=body), Requantise(output="result", **fields)


def look_up(output: str, **fields: object) -> Lookup:
    settled = {"input": "image", "pattern": NAMED_PATTERNS["v"], "lattice": Lattice(2, 4), **fields}
    return Lookup(output=output, slot=output, **settled)


both = Add(output="turn", terms=("a", "b"))


@pytest.mark.parametrize(
    "changes",
    [
        {"input": "other"},
        {"divisor": 2**15 + 1},
        {"bias": 2**24},
        {"body": (look_up("a"), look_up("b"))},
        {"body": (look_up("a"), look_up("b"), Add(output="turn", terms=("a",)))},
        {"body": (look_up("a"), look_up("b"), Add(output="turn", terms=("a", "b", "b")))},
        {"body": (look_up("a"), look_up("b", padding=Padding.REFLECT), both)},
        {"body": (look_up("a"), look_up("b", lattice=Lattice(2, 5)), both)},
        {"body": (look_up("a"), Requantise(output="b", input="a", bias=0, divisor=1))},
        {"body": (look_up("a"), Requantise(output="c", input="a", bias=0, divisor=16), look_up("b", input="c"))},
    ],
)
def test_claims_nothing_that_the_kernel_cannot_do(changes: dict[str, object]) -> None:
    assert claim_stage(*build_stage()) is not None
    assert claim_stage(*build_stage(**changes)) is None


def test_claims_published_models() -> None:
    claim(srlut.build_program("s", scale=4, interval=4, compat=True))
    claim(srlut.build_program("v", scale=4, interval=0))
    claim(mulut.build_program(read_patterns("sdyeho"), stages=2, scale=4, interval=4))


SMALL_CASE = """
import numpy as np
from lutkit.families import mulut
from lutkit.families.spatial import read_patterns
from lutkit_runtime.kernels.cpu import stage
from lutkit_runtime.kernels.stage_claim import claim_stage
from strategies import fill_tables
program = mulut.build_program(read_patterns("sy"), stages=1, scale=2, interval=4)
tables = fill_tables(program, 5)
planes = np.random.default_rng(5).integers(0, 256, (2, 3, 4), dtype=np.uint8)
named = {"image": planes}
for op in program.ops:
    named[op.output] = op.reference(named, tables)
claimed = claim_stage(*program.ops)
"""


def test_kernel_in_plain_python_stays_inside_its_arrays() -> None:
    """Without compilation every index is checked, and integers that wrap around warn."""
    code = SMALL_CASE + (
        "import warnings; warnings.simplefilter('error')\n"
        "assert not hasattr(stage.run_lines, 'signatures')\n"
        "print(np.array_equal(stage.run_stage(claimed, tables, planes), named['result']))"
    )
    assert run_python(code, NUMBA_DISABLE_JIT="1").split() == ["True"]


def test_first_run_announces_its_compilation_and_the_second_loads_vector_code(tmp_path: Path) -> None:
    code = SMALL_CASE + (
        "from lutkit_runtime.kernels.cpu.compiling import announce_compilation\n"
        "calls = []\n"
        "with announce_compilation(lambda: calls.append(1)):\n"
        "    for _ in range(2):\n"
        "        assert np.array_equal(stage.run_stage(claimed, tables, planes), named['result'])\n"
        "assembly = ''.join(stage.run_lines.inspect_asm().values())\n"
        "import re\n"
        "divides = bool(re.search(r'\\bi?div[bwlq]?\\s', assembly))\n"
        "print(len(calls), 'pmaxsd' in assembly, 'pmullw' in assembly, divides)"
    )
    first = run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).split()
    assert first[0] == "1"
    if platform.machine() in ("x86_64", "AMD64"):
        # minima and maxima of many pixels at once: addresses are vectorised; products of 16 bits: so are the blocks;
        # integers are divided nowhere
        assert first[1:] == ["True", "True", "False"]
    assert list(tmp_path.rglob("*.nbc"))
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).split()[0] == "0"


def test_cache_folder_is_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    folder = compiling.find_cache_folder()
    assert folder is not None
    if os.name == "posix":
        assert folder.stat().st_mode & 0o077 == 0
        folder.chmod(0o755)
        assert compiling.find_cache_folder() == folder
        assert folder.stat().st_mode & 0o077 == 0


def test_kernels_follow_changes_of_what_they_inline(tmp_path: Path) -> None:
    """Numba itself looks at the file of a kernel only, not at those of the functions that it inlines."""
    sources = tmp_path / "package" / "kernels" / "cpu"
    sources.mkdir(parents=True)
    version = tmp_path / "package" / "__init__.py"
    version.write_text("__version__ = '1'")
    shutil.copy(compiling.__file__, sources / "compiling.py")
    (sources / "caller.py").write_text(
        "from compiling import compile_kernel\nfrom inlined import answer\n"
        "@compile_kernel()\ndef ask():\n    return answer()\n"
    )
    code = (
        f"import sys, platformdirs; sys.path.insert(0, {str(sources)!r})\n"
        f"platformdirs.user_cache_dir = lambda *_, **__: {str(tmp_path / 'cache')!r}\n"
        "import caller; print(caller.ask(), sum(caller.ask.stats.cache_hits.values()))"
    )

    def ask(answer: int, **environment: str) -> list[str]:
        text = f"from numba import njit\n@njit(inline='always')\ndef answer():\n    return {answer}\n"
        (sources / "inlined.py").write_text(text)
        return run_python(code, **environment).split()

    assert ask(1, NUMBA_CACHE_DIR="") == ["1", "0"]
    assert ask(1, NUMBA_CACHE_DIR="") == ["1", "1"]
    assert ask(2, NUMBA_CACHE_DIR="") == ["2", "0"]
    version.write_text("__version__ = '2'")
    assert ask(2, NUMBA_CACHE_DIR="") == ["2", "0"]
    chosen = tmp_path / "chosen"
    assert [ask(answer, NUMBA_CACHE_DIR=str(chosen)) for answer in (1, 2)] == [["1", "0"], ["2", "0"]]


def test_a_new_cache_folder_removes_those_out_of_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path))
    now = time.time()
    for name, age in (("long-unused", compiling.UNUSED_SECONDS + 60), ("in-use", compiling.UNUSED_SECONDS - 60)):
        folder = tmp_path / "numba" / name
        folder.mkdir(parents=True)
        (folder / "kernel.nbc").touch()
        os.utime(folder, (now - age, now - age))
    folder = compiling.find_cache_folder()
    assert folder is not None
    assert {path.name for path in folder.parent.iterdir()} == {"in-use", compiling.digest_sources()}
    os.utime(folder, (0, 0))
    assert compiling.find_cache_folder() == folder
    assert folder.stat().st_mtime >= now - 1


def test_no_cache_folder_where_none_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(compiling.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "file"))
    assert compiling.find_cache_folder() is None

    @compiling.compile_kernel()
    def double(value: int) -> int:
        return 2 * value

    assert double(4) == 8


@pytest.mark.data
@pytest.mark.parametrize("kind", ["random", "smooth"])
def test_published_first_stage_equals_the_independent_results(shared_data: Path, kind: str) -> None:
    stored = np.load(shared_data / "oracles" / "mulut_stage.npz")
    program = mulut.build_program(read_patterns("sdy"), stages=2, scale=4, interval=4)
    folder = shared_data / "published" / "mulut-x4-sdy-x2"
    tables = {f"stage1/{name}": np.load(folder / f"LUT_ft_x4_4bit_int8_s1_{name}.npy") for name in "sdy"}
    planes = np.ascontiguousarray(np.moveaxis(stored[f"input_{kind}"], 2, 0))
    result = run_stage(claim(program), {name: it.reshape(17**4, 1) for name, it in tables.items()}, planes)
    np.testing.assert_array_equal(np.moveaxis(result, 0, 2), stored[f"stage1_{kind}"])
