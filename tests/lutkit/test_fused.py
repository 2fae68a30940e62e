"""Fused stages against automatic differentiation of the same program, and against the runtime."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lutkit.families import mulut, srlut  # noqa: E402
from lutkit.families.spatial import read_patterns  # noqa: E402
from lutkit.fused import claim_program, run_stages  # noqa: E402
from lutkit.skeleton import TableFilling, run_program  # noqa: E402

PROGRAMS = {
    "mulut-x2": mulut.build_program(read_patterns("sdy"), stages=2, scale=2, interval=5),
    "mulut-x4": mulut.build_program(read_patterns("s"), stages=2, scale=4, interval=6),
    "mulut-x1-mixed": mulut.build_program(
        read_patterns(["f", [[0, 0], [-1, 2], [1, -1]]]), stages=3, scale=1, interval=5
    ),
    "sr-lut-v": srlut.build_program("v", scale=3, interval=0),
    "sr-lut-compat": srlut.build_program("s", scale=2, interval=6, compat=True),
}


def make_tables(program, seed):
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(rng.uniform(-135, 135, (slot.entries, slot.outputs)).astype(np.float32))
        for name, slot in program.slots.items()
    }


@pytest.mark.parametrize("name", PROGRAMS)
def test_fused_equals_ops_forward_and_backward(name):
    program = PROGRAMS[name]
    stages = claim_program(program)
    assert stages is not None
    rng = np.random.default_rng(7)
    planes = torch.from_numpy(rng.integers(0, 256, (3, 6, 5)).astype(np.float32))
    tables = make_tables(program, 3)
    fillings = {name: TableFilling(table.clone().requires_grad_()) for name, table in tables.items()}
    weights = torch.from_numpy(rng.normal(size=(3, 6 * program.scale, 5 * program.scale)).astype(np.float32))

    expected = run_program(program, planes, fillings)
    (expected * weights).sum().backward()
    parameters = {name: table.requires_grad_() for name, table in tables.items()}
    result = run_stages(stages, planes, parameters)
    (result * weights).sum().backward()

    assert torch.equal(result, expected)
    for slot, filling in fillings.items():
        slope = filling.values.grad
        # Beyond the levels a trainable value is clamped; automatic differentiation stops there, the trainer clamps values.
        inside = tables[slot].detach().abs() <= 127
        scale = slope.abs().max()
        assert scale > 0
        torch.testing.assert_close(parameters[slot].grad[inside] / scale, slope[inside] / scale, rtol=1e-4, atol=1e-6)


def test_gradient_does_not_depend_on_the_number_of_parts_beyond_rounding():
    program = PROGRAMS["mulut-x2"]
    stages = claim_program(program)
    planes = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 8, 8)).astype(np.float32))
    slopes = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        tables = {name: table.requires_grad_() for name, table in make_tables(program, 5).items()}
        run_stages(stages, planes, tables).square().mean().backward()
        slopes.append(tables["stage1/d"].grad)
    torch.set_num_threads(before)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-6)
