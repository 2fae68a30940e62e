"""The fused axis network: equal to the references of its ops, whatever the shape; what it claims; how it rounds."""

import platform

import numpy as np
import pytest
from axis_programs import axis_networks
from fresh_python import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from strategies import fill_tables, images

from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.engine import Model
from lutkit_runtime.kernels.cpu.axis_layout import Prepared, prepare_network
from lutkit_runtime.kernels.cpu.axis_network import claim_axis_network
from lutkit_runtime.kernels.cpu.axis_planes import run_network
from lutkit_runtime.ops import Add, AxisLookup, BitField, Ensemble, PixelShuffle, Requantise, Tap
from lutkit_runtime.padding import Padding
from lutkit_runtime.program import Program

WINDOW = tuple(Tap(0, row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))


def make_steps(low: int, size: int, taps: int, outputs: int, step: int) -> AxisTables:
    """Return tables whose nodes are `step` apart, the last output's twice as far."""
    steps = (*(step,) * (outputs - 1), 2 * step)
    return AxisTables(low=low, size=size, steps=(steps,) * taps)


def build_program(
    *,
    block: int = 4,
    channels: int = 16,
    step: int = 2,
    padding: Padding = Padding.EDGE,
    depthwise: bool = False,
    split: bool = False,
    added: bool = False,
    seed: int = 0,
) -> Program:
    """Return a program as families build them: bits apart, 3 x 3 and shifted pointwise layers, a block per pixel.

    With `split` the two branches stay apart to the end, with `added` the sum over turns is added to the image.
    """
    random = np.random.default_rng(seed)
    fields = {
        "high": BitField(output="high", input="image", shift=2, bits=6, offset=-32),
        "low": BitField(output="low", input="image", shift=0, bits=2),
    }
    bounds = {"high": (-32, 31), "low": (0, 3)}
    body = [*fields.values()]

    def shift() -> tuple[Tap, ...]:
        return tuple(Tap(channel, *map(int, random.integers(-2, 3, 2))) for channel in range(channels))

    def add(output: str, source: str, taps: tuple[Tap, ...], outputs: int, **fields: object) -> AxisLookup:
        low, high = bounds[source]
        tables = make_steps(low, high - low + 1, len(taps), 1 if fields else outputs, step)
        op = AxisLookup(
            output=output,
            input=source,
            slot=output,
            taps=taps,
            tables=tables,
            outputs=outputs,
            padding=padding,
            **fields,
        )
        body.append(op)
        return op

    def requantise(output: str, source: str, terms: int, residual: str | None, low: int, high: int) -> str:
        bounds[output] = (low, high)
        op = Requantise(
            output=output, input=source, bias=0, divisor=terms * 2 * step, residual=residual, low=low, high=high
        )
        body.append(op)
        return output

    first = {name: add(f"{name}1", name, WINDOW, channels) for name in fields}
    if split:
        lasts = {name: requantise(f"{name}2", op.output, 9, name, *bounds[name]) for name, op in first.items()}
    else:
        body.append(Add(output="sum1", terms=tuple(op.output for op in first.values()), weights=(1, 3)))
        lasts = {"": requantise("map1", "sum1", 9, "high", -32, 31)}
    ends = []
    for branch, last in lasts.items():
        low, high = bounds[last]
        if depthwise:
            # five offsets of all channels, and some of single channels
            taps = tuple(Tap(channel, tap.row, tap.column) for channel in range(channels) for tap in WINDOW[::2])
            taps += tuple(tap for tap in shift() if tap.channel % 3)
            add(f"depthwise{branch}", last, taps, channels, depthwise=True)
            last = requantise(f"map2{branch}", f"depthwise{branch}", 9, last, low, high)
        add(f"pointwise{branch}", last, shift(), channels)
        last = requantise(f"map3{branch}", f"pointwise{branch}", channels, last, low, high)
        add(f"up{branch}", last, shift(), block**2)
        residual = last if block**2 == channels else None
        ends.append(
            requantise(
                f"end{branch}", f"up{branch}", channels, residual, -256 if split else -100, 255 if split else 100
            )
        )
    last = ends[0]
    if split:
        body.append(Add(output="both", terms=tuple(ends)))
        body.append(Requantise(output="end", input="both", bias=0, divisor=1, low=-128, high=127))
        last = "end"
    if block > 1:
        body.append(PixelShuffle(output="turn", input=last, block=block))
    result = Requantise(
        output="result", input="sum", bias=0 if added else 128, divisor=1, residual="image" if added else None
    )
    return Program(family="test", task="sr", ops=(Ensemble(output="sum", input="image", body=tuple(body)), result))


def prepare(program: Program, tables: dict[str, np.ndarray]) -> Prepared:
    """Return the network of a program, which the kernel has to claim."""
    program.validate()
    ensemble, requantise = program.ops
    assert isinstance(ensemble, Ensemble)
    assert isinstance(requantise, Requantise)
    network = claim_axis_network(ensemble, requantise)
    assert network is not None
    return prepare_network(network, tables)


def refer(program: Program, tables: dict[str, np.ndarray], planes: np.ndarray) -> np.ndarray:
    """Return what the references of the ops make of planes (N, H, W)."""
    named = {program.input: planes[:, None]}
    for op in program.ops:
        named[op.output] = op.reference(named, tables)
    return named[program.output][:, 0]


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=150)
@given(axis_networks(), images(), st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 2]))
def test_equals_the_references(ops: tuple, image: np.ndarray, seed: int, threads: int | None) -> None:
    """Slow because every block size, with 16 and with 32 bits, is a kernel to compile."""
    program = Program(family="test", task="sr", ops=ops)
    network = claim_axis_network(*ops)
    if network is None:
        assert any(op.divisor > 2048 for op in program.inner_ops() if isinstance(op, Requantise))
        return
    tables = fill_tables(program, seed)
    planes = np.ascontiguousarray(np.moveaxis(image, 2, 0))
    result = run_network(prepare_network(network, tables), planes, threads)
    np.testing.assert_array_equal(result, refer(program, tables, planes))


@pytest.mark.parametrize("shape", [(2, 7, 9), (1, 1, 1), (1, 1, 300), (1, 70, 5)])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"padding": Padding.REFLECT, "depthwise": True},
        {"split": True, "padding": Padding.REFLECT},
        {"block": 1, "added": True, "step": 1},
        {"block": 1, "channels": 20, "depthwise": True, "step": 4},
        {"channels": 33, "step": 16},
        {"block": 1, "channels": 5, "split": True, "depthwise": True, "added": True},
    ],
    ids=str,
)
def test_networks_of_families_equal_the_references(fields: dict, shape: tuple[int, int, int]) -> None:
    program = build_program(**fields, seed=sum(shape))
    tables = fill_tables(program, 1)
    planes = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    result = run_network(prepare(program, tables), planes)
    np.testing.assert_array_equal(result, refer(program, tables, planes))


@pytest.mark.slow
@pytest.mark.parametrize("block", [2, 3])
def test_other_block_sizes(block: int) -> None:
    """Slow because every block size is a kernel to compile."""
    program = build_program(block=block, channels=block**2)
    tables = fill_tables(program, block)
    planes = np.random.default_rng(block).integers(0, 256, (2, 8, 140), dtype=np.uint8)
    np.testing.assert_array_equal(run_network(prepare(program, tables), planes), refer(program, tables, planes))


def test_narrow_sums_are_those_that_fit_16_bits() -> None:
    """Entries of -128 and 127 everywhere: the largest sums that there can be, in 16 and in 32 bits."""
    found = set()
    planes = np.random.default_rng(3).integers(0, 256, (1, 9, 9), dtype=np.uint8)
    for step in (2, 8, 32):
        program = build_program(step=step, split=True)
        for entries in ([-128], [127], [-128, 127]):
            random = np.random.default_rng(4)
            tables = {name: random.choice(entries, slot.shape) for name, slot in program.slots.items()}
            tables = {name: table.astype(np.int8) for name, table in tables.items()}
            prepared = prepare(program, tables)
            found.add(prepared.table.dtype.name)
            np.testing.assert_array_equal(run_network(prepared, planes), refer(program, tables, planes))
    assert found == {"int16", "int32"}


def build_rounding(divisor: int, bias: int, inner: bool) -> Program:
    """Return a program whose sum is any of 8192 integers, rounded in the ensemble or after it."""
    fields = [BitField(output=f"bits{shift}", input="image", shift=shift, bits=4) for shift in (0, 4)]
    tables = AxisTables(low=0, size=16, steps=((1,),))
    lookups = [
        AxisLookup(output=f"sum{each.shift}", input=each.output, slot="t", taps=(Tap(),), tables=tables, outputs=1)
        for each in fields
    ]
    total = Add(output="turn", terms=("sum0", "sum4"), weights=(1, 16))
    low, high = (-128, 127) if inner else (-255, 0)
    ends = Requantise(
        output="end", input="turn", bias=bias if inner else 0, divisor=divisor if inner else 1, low=low, high=high
    )
    last = Requantise(output="result", input="sum", bias=512 if inner else bias + 600, divisor=4 if inner else divisor)
    return Program(
        family="test",
        task="sr",
        ops=(Ensemble(output="sum", input="image", body=(*fields, *lookups, total, ends)), last),
    )


@pytest.mark.parametrize("inner", [True, False])
def test_rounds_ties_to_even_at_every_bias(inner: bool) -> None:
    """All bytes, each a sum of its own; the bias shifts them through ties and what is beside them."""
    planes = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    table = np.arange(-8, 8, dtype=np.int8)[:, None]
    for divisor in (1, 2, 3, 7, 9, 10, 18, 144, 576, 1000, 2047, 2048):
        for bias in {0, 1, divisor // 2, divisor, -divisor // 2, 3 * divisor // 2, 17 * divisor // 2, 200 * divisor}:
            program = build_rounding(divisor, bias, inner)
            np.testing.assert_array_equal(
                run_network(prepare(program, {"t": table}), planes), refer(program, {"t": table}, planes)
            )


def test_every_sum_is_rounded_as_the_definition_rounds_it() -> None:
    """The arithmetic of the kernel in NumPy, for every sum below 2**19 and every divisor that is claimed."""
    from lutkit_runtime.kernels.cpu.axis_sums import LARGEST_DIVISOR, LARGEST_QUOTIENT, SNAP

    random = np.random.default_rng(0)
    for divisor in (*range(1, 130), *random.integers(130, LARGEST_DIVISOR, 60), LARGEST_DIVISOR - 1, LARGEST_DIVISOR):
        bound = (LARGEST_QUOTIENT - 1) * int(divisor)
        halves = (np.arange(-LARGEST_QUOTIENT, LARGEST_QUOTIENT - 1) * 2 + 1) * int(divisor)
        sums = np.concatenate([halves // 2, halves // 2 + 1, random.integers(-bound, bound, 5000)]).clip(-bound, bound)
        quotients = sums.astype(np.float32) * np.float32(1 / divisor)
        rounded = np.rint((quotients + SNAP) - SNAP).astype(np.int64)
        op = Requantise(output="r", input="s", bias=0, divisor=int(divisor), low=-32768, high=32767)
        np.testing.assert_array_equal(rounded, op.codes(sums))


def test_out_is_filled_and_may_not_overlap() -> None:
    program = build_program(block=1, added=True)
    tables = fill_tables(program, 3)
    planes = np.random.default_rng(3).integers(0, 256, (2, 5, 6), dtype=np.uint8)
    out = np.empty_like(planes)
    prepared = prepare(program, tables)
    assert run_network(prepared, planes, out=out) is out
    np.testing.assert_array_equal(out, refer(program, tables, planes))
    with pytest.raises(ValueError, match="overlaps"):
        run_network(prepared, planes, out=planes)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_the_engine_runs_it_on_any_tile(depth: type, monkeypatch: pytest.MonkeyPatch) -> None:
    program = build_program(padding=Padding.REFLECT, depthwise=True)
    tables = fill_tables(program, 6)
    image = np.random.default_rng(6).integers(0, np.iinfo(depth).max, (21, 19, 4), dtype=depth, endpoint=True)
    model = Model(program, tables)
    expected = model.apply(image, backend="numpy")
    for op in (Ensemble, AxisLookup, Requantise):
        monkeypatch.setattr(op, "reference", None)  # the kernel does it all
    for tile in (None, 5, 16):
        np.testing.assert_array_equal(model.apply(image, backend="cpu", tile=tile), expected)


BODY = build_program(block=1).ops[0].body


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (BODY, {"input": "other"}),
        (BODY, {"low": -3}),
        (BODY, {"residual": "other"}),
        (BODY, {"divisor": 2049}),
        (BODY, {"bias": 1 << 24}),
        (BODY[:-1], {}),  # ends in a sum
        (BODY[:1], {}),  # ends in bits
        ((*BODY[:-1], structs.replace(BODY[-1], divisor=2049)), {}),
        ((*BODY[:-1], structs.replace(BODY[-1], low=-300)), {}),
        ((*BODY[:-1], structs.replace(BODY[-1], low=-600, high=-400)), {}),
        ((*BODY[:2], structs.replace(BODY[2], padding=Padding.REFLECT), *BODY[3:]), {}),
        (build_program(block=4, channels=3).ops[0].body[:-1], {}),  # sixteen channels that are no block
        ((*BODY, PixelShuffle(output="turn", input=BODY[-1].output, block=1), BODY[-1]), {}),
    ],
)
def test_claims_nothing_that_the_kernel_cannot_do(body: tuple, fields: dict) -> None:
    def claim(body: tuple, fields: dict) -> object:
        last = Requantise(output="result", **{"input": "sum", "bias": 0, "divisor": 1, **fields})
        return claim_axis_network(Ensemble(output="sum", input="image", body=body), last)

    assert claim(BODY, {}) is not None
    assert claim(body, fields) is None


SMALL_CASE = """
import numpy as np
from runtime.test_axis_network import build_program, fill_tables, prepare, refer, run_network
program = build_program(block=2, channels=3, depthwise=True)
tables = fill_tables(program, 5)
planes = np.random.default_rng(5).integers(0, 256, (2, 3, 4), dtype=np.uint8)
"""


def test_kernel_in_plain_python_stays_inside_its_arrays() -> None:
    """Without compilation every index is checked, and integers that wrap around warn."""
    code = SMALL_CASE + (
        "import warnings; warnings.simplefilter('error')\n"
        "print(np.array_equal(run_network(prepare(program, tables), planes), refer(program, tables, planes)))"
    )
    assert run_python(code, NUMBA_DISABLE_JIT="1").split() == ["True"]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of instructions of x86")
def test_taps_are_added_as_vectors(tmp_path) -> None:
    code = (
        "from lutkit_runtime.kernels.cpu.axis_lines import run_network_lines\n"
        "run_network(prepare(program, tables), planes)\n"
        "assembly = ''.join(run_network_lines.inspect_asm().values())\n"
        "import re\n"
        "print(assembly.count('paddw') >= 16, bool(re.search(r'\\bi?div[bwlq]?\\s', assembly)))"
    )
    assert run_python(SMALL_CASE + code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["True", "False"]
