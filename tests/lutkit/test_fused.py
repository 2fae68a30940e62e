"""Fused stages against automatic differentiation of the same program, and against the runtime."""

import numpy as np
import pytest
from msgspec import structs

torch = pytest.importorskip("torch")

from lutkit.families import mulut, rclut, srlut  # noqa: E402
from lutkit.families.spatial import read_patterns  # noqa: E402
from lutkit.fillings import TableFilling  # noqa: E402
from lutkit.fused import claim_program, run_stages, run_touched  # noqa: E402
from lutkit.skeleton import run_program  # noqa: E402
from lutkit_runtime.diagonal import Diagonal  # noqa: E402
from lutkit_runtime.ops import Add, Lookup, ReconstructedConvolution, Requantise  # noqa: E402
from lutkit_runtime.program import Program  # noqa: E402


def settle(program: Program) -> Program:
    """Give reconstructed convolutions units at which random tables make all codes."""

    def change(op):
        return structs.replace(op, unit=45000.0) if isinstance(op, ReconstructedConvolution) else op

    return program.replace_ops(change)


def compress(program: Program, diagonal: Diagonal) -> Program:
    """Make tables of several samples diagonal-first; sums are in the larger unit of the coarse lattice."""
    finer = 1 << (diagonal.coarse - next(op.lattice.interval for op in program.lookups() if op.lattice.axes > 1))

    def change(op):
        match op:
            case Lookup() if op.lattice.axes > 1:
                return structs.replace(op, diagonal=diagonal)
            case Add() if op.weights:
                weights = tuple(weight * (finer if weight > 1 else 1) for weight in op.weights)
                return structs.replace(op, weights=weights)
            case Requantise():
                return structs.replace(op, bias=op.bias * finer, divisor=op.divisor * finer)
            case _:
                return op

    return program.replace_ops(change)


PROGRAMS = {
    "mulut-x2": mulut.build_program(read_patterns("sdy"), stages=2, scale=2, interval=5),
    "mulut-x4": mulut.build_program(read_patterns("s"), stages=2, scale=4, interval=6),
    "mulut-x1-mixed": mulut.build_program(
        read_patterns(["f", [[0, 0], [-1, 2], [1, -1]]]), stages=3, scale=1, interval=5
    ),
    "sr-lut-v": srlut.build_program("v", scale=3, interval=0),
    "sr-lut-compat": srlut.build_program("s", scale=2, interval=6, compat=True),
    "rclut": settle(rclut.skeleton(rclut.RclutConfig(scale=2, interval=5))),
    "rclut-x1": settle(rclut.skeleton(rclut.RclutConfig(rc=(3, 7), wide=7, scale=1, interval=6, compat=True))),
    "mulut-mixed-windows": settle(
        mulut.build_program(read_patterns("sy"), stages=2, scale=2, interval=6, windows=(3, None))
    ),
    "mulut-diagonal": compress(
        mulut.build_program(read_patterns("sdy"), stages=2, scale=2, interval=5), Diagonal(2, 6)
    ),
    "mulut-diagonal-mixed": compress(
        settle(
            mulut.build_program(
                read_patterns(["f", "s", [[0, 0], [-1, 2]]]), stages=2, scale=1, interval=4, windows=(None, 3, None)
            )
        ),
        Diagonal(3, 6),
    ),
    "rclut-diagonal": compress(settle(rclut.skeleton(rclut.RclutConfig(scale=2, interval=5))), Diagonal(1, 6)),
}


def make_tables(program, seed):
    """Return random tables, some entries of which lie beyond the levels of their slots."""
    rng = np.random.default_rng(seed)
    slots = {op.slot: program.slots[op.slot] for op in program.table_ops()}
    return {
        name: torch.from_numpy((rng.uniform(-1.06, 1.06, slot.shape) * slot.quantiser.levels).astype(np.float32))
        for name, slot in slots.items()
    }


def make_fillings(program, tables):
    return {name: TableFilling(table, program.slots[name].quantiser) for name, table in tables.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_fused_equals_ops_forward_and_backward(name):
    program = PROGRAMS[name]
    stages = claim_program(program)
    assert stages is not None
    rng = np.random.default_rng(7)
    planes = torch.from_numpy(rng.integers(0, 256, (3, 6, 5)).astype(np.float32))
    tables = make_tables(program, 3)
    fillings = make_fillings(program, {name: table.clone().requires_grad_() for name, table in tables.items()})
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
        inside = tables[slot].detach().abs() <= filling.quantiser.levels
        scale = slope.abs().max()
        assert scale > 0
        torch.testing.assert_close(parameters[slot].grad[inside] / scale, slope[inside] / scale, rtol=1e-4, atol=1e-6)


def make_shared() -> Program:
    """A stage whose two lookups read one table at different offsets."""
    program = mulut.build_program(read_patterns(["s", "d"]), stages=1, scale=2, interval=5)
    ensemble, requantise = program.ops
    body = tuple(structs.replace(op, slot="shared") if isinstance(op, Lookup) else op for op in ensemble.body)
    return structs.replace(program, ops=(structs.replace(ensemble, body=body), requantise))


@pytest.mark.parametrize("name", [*PROGRAMS, "shared"])
def test_touched_entries_equal_whole_tables_forward_and_backward(name):
    program = make_shared() if name == "shared" else PROGRAMS[name]
    program.validate()
    stages = claim_program(program)
    assert stages is not None
    rng = np.random.default_rng(11)
    planes = torch.from_numpy(rng.integers(0, 256, (2, 5, 4)).astype(np.float32))
    weights = torch.from_numpy(rng.normal(size=(2, 5 * program.scale, 4 * program.scale)).astype(np.float32))
    whole = {
        slot: program.slots[slot].quantiser.confine(table).requires_grad_()
        for slot, table in make_tables(program, 3).items()
    }
    some = {slot: table.detach().clone().requires_grad_() for slot, table in whole.items()}
    asked = []

    def entries(lookup, rows):
        asked.append(len(rows) / lookup.entries)
        return some[lookup.slot][rows]

    expected = run_program(program, planes, make_fillings(program, whole))
    (expected * weights).sum().backward()
    result = run_touched(stages, planes, entries, some)
    (result * weights).sum().backward()

    assert torch.equal(result, expected)
    assert min(asked) < 1
    for slot, table in whole.items():
        scale = table.grad.abs().max()
        assert scale > 0
        torch.testing.assert_close(some[slot].grad / scale, table.grad / scale, rtol=1e-4, atol=1e-6)


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
