"""Fused networks of tables of one sample against automatic differentiation of the same program, and the runtime."""

import numpy as np
import pytest
from axis_programs import axis_networks
from fresh_python import run_python
from hypothesis import assume, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from runtime.test_axis_network import build_program  # noqa: E402

from lutkit.fused_axis import run_axis_ensemble  # noqa: E402
from lutkit.skeleton import quantise_entries, run_program  # noqa: E402
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.kernels.cpu.axis_network import claim_axis_network  # noqa: E402
from lutkit_runtime.ops import AxisLookup  # noqa: E402
from lutkit_runtime.padding import Padding  # noqa: E402
from lutkit_runtime.program import Program  # noqa: E402


class Filling:
    """A table, with the shifts of its taps where they are learned."""

    def __init__(self, values, shifts=None):
        self.values = values
        self.shifts = shifts

    def table(self, _op):
        return quantise_entries(self.values)


def draw_tables(program, seed, spread):
    rng = np.random.default_rng(seed)
    return {
        slot: torch.from_numpy(rng.uniform(-spread, spread, (it.entries, 1)).astype(np.float32))
        for slot, it in program.slots.items()
    }


def shifts_of(program, slots):
    return {
        op.slot: torch.tensor([[tap.row, tap.column] for tap in op.taps], dtype=torch.float32)
        for op in program.inner_ops()
        if isinstance(op, AxisLookup) and op.slot in slots
    }


def assert_alike(found, expected):
    """Compare gradients by name; a gradient that cancels out may be noise in one order of additions and 0 in another."""
    found = {name: 0 * expected[name] if slope is None else slope for name, slope in found.items()}
    largest = max(slope.abs().max().item() for slope in expected.values())
    for name, slope in expected.items():
        scale = max(slope.abs().max().item(), largest / 1000, 1e-6)
        torch.testing.assert_close(found[name] / scale, slope / scale, rtol=1e-3, atol=1e-4)


def compare(program, seed, size, spread=127.0, shifted=()):
    """Assert that fused and plain results and gradients agree; returns the plain gradients by name."""
    network = claim_axis_network(*program.ops)
    if network is None:
        return None
    rng = np.random.default_rng(seed)
    planes = torch.from_numpy(rng.integers(0, 256, size).astype(np.float32))
    weights = torch.from_numpy(
        rng.normal(size=(size[0], size[1] * program.scale, size[2] * program.scale)).astype(np.float32)
    )
    tables = draw_tables(program, seed, spread)
    ours, theirs = ({slot: table.clone().requires_grad_() for slot, table in tables.items()} for _ in range(2))
    our_shifts, their_shifts = (
        {slot: shift.requires_grad_() for slot, shift in shifts_of(program, shifted).items()} for _ in range(2)
    )
    expected = run_program(
        program, planes, {slot: Filling(table, their_shifts.get(slot)) for slot, table in theirs.items()}
    )
    result = run_axis_ensemble(network, planes, ours, our_shifts or None)
    assert torch.equal(result, expected)
    (result * weights).sum().backward()
    if expected.requires_grad:
        (expected * weights).sum().backward()
    slopes = [
        {
            **{slot: table.grad for slot, table in tables.items()},
            **{f"{slot} shift": shift.grad for slot, shift in shifts.items()},
        }
        for tables, shifts in ((ours, our_shifts), (theirs, their_shifts))
    ]
    reached = {name: slope for name, slope in slopes[1].items() if slope is not None}
    if reached:
        assert_alike({name: slopes[0][name] for name in reached}, reached)
    assert all(slopes[0][name] is None or not slopes[0][name].any() for name in slopes[1].keys() - reached.keys())
    return reached


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=60)
@given(
    axis_networks(),
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from((5.0, 40.0, 140.0)),
)
def test_drawn_networks_equal_the_ops_forward_and_backward(ops, seed, height, width, spread):
    program = Program(family="test", task="sr", ops=ops)
    for op in program.inner_ops():
        if isinstance(op, AxisLookup) and op.depthwise:
            assume({tap.channel for tap in op.taps} == set(range(op.outputs)))
    compare(program, seed, (2, height, width), spread)


@pytest.mark.parametrize(
    ("fields", "shifted"),
    [
        ({}, ("pointwise", "up")),
        ({"padding": Padding.REFLECT, "depthwise": True}, ("up",)),
        ({"split": True}, ("uphigh", "uplow", "pointwiselow")),
        ({"block": 1, "added": True, "channels": 20, "depthwise": True}, ()),
        ({"channels": 33, "step": 16}, ("pointwise",)),
    ],
    ids=str,
)
def test_networks_of_families_equal_the_ops_forward_and_backward(fields, shifted):
    program = build_program(**fields)
    slopes = compare(program, 5, (3, 7, 8), spread=60.0, shifted=shifted)
    assert len(slopes) == len(program.slots) + len(shifted)
    assert all(slope.abs().max() > 0 for slope in slopes.values())


def test_the_forward_pass_is_the_runtime():
    program = build_program(depthwise=True)
    tables = draw_tables(program, 2, 127.0)
    image = np.random.default_rng(2).integers(0, 256, (9, 140, 3), dtype=np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1).float()
    entries = {slot: table.round().to(torch.int8).numpy() for slot, table in tables.items()}
    expected = Model(program, entries).apply(image)
    network = claim_axis_network(*program.ops)
    for needed in (False, True):
        given = {slot: table.clone().requires_grad_(needed) for slot, table in tables.items()}
        result = run_axis_ensemble(network, planes, given)
        assert result.requires_grad == needed
        np.testing.assert_array_equal(result.detach().permute(1, 2, 0).numpy(), expected)


def test_gradients_are_the_same_at_every_run_and_nearly_for_every_number_of_threads():
    program = build_program()
    network = claim_axis_network(*program.ops)
    planes = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, 8, 8)).astype(np.float32))
    before = torch.get_num_threads()
    slopes = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        tables = {slot: table.requires_grad_() for slot, table in draw_tables(program, 5, 50.0).items()}
        run_axis_ensemble(network, planes, tables).square().mean().backward()
        slopes.append(tables["pointwise"].grad)
    torch.set_num_threads(before)
    assert torch.equal(slopes[1], slopes[2])
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-5)


def test_shifts_of_the_picture_are_refused():
    program = build_program()
    tables = {slot: table.requires_grad_() for slot, table in draw_tables(program, 5, 50.0).items()}
    with pytest.raises(ValueError, match="high1"):
        run_axis_ensemble(
            claim_axis_network(*program.ops), torch.zeros(1, 3, 3), tables, shifts_of(program, ("high1",))
        )


def test_backward_kernel_in_plain_python_stays_inside_its_arrays():
    """Without compilation every index is checked, and integers that wrap around warn."""
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "import numpy as np\n"
        "from runtime.test_axis_network import build_program, fill_tables\n"
        "from lutkit_runtime.kernels.cpu.axis_gradient import network_gradient, trace_network\n"
        "from lutkit_runtime.kernels.cpu.axis_layout import prepare_network\n"
        "from lutkit_runtime.kernels.cpu.axis_network import claim_axis_network\n"
        "program = build_program(block=2, channels=3, depthwise=True)\n"
        "tables, shifted = fill_tables(program, 5), frozenset(['up'])\n"
        "planes = np.random.default_rng(5).integers(0, 256, (2, 3, 4), dtype=np.uint8)\n"
        "prepared = prepare_network(claim_axis_network(*program.ops), tables, shifted)\n"
        "trace = trace_network(prepared, planes, shifted)\n"
        "slopes = network_gradient(trace, np.ones(trace.result.shape, np.float32))\n"
        "print(sorted(slopes.tables) == sorted(tables), slopes.shifts['up'].shape)"
    )
    assert run_python(code, NUMBA_DISABLE_JIT="1").split() == ["True", "(3,", "2)"]
