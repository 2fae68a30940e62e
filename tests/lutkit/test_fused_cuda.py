"""Fused stages on a GPU, in Numba's simulator: what torch is given equals what the CPU's kernels give it."""

from contextlib import contextmanager

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install numba-cuda")

from msgspec import structs  # noqa: E402

from lutkit import fused, fused_cuda, fused_lookup  # noqa: E402
from lutkit.families import mulut  # noqa: E402
from lutkit.families.spatial import read_patterns  # noqa: E402
from lutkit.fillings import TableFilling  # noqa: E402
from lutkit.skeleton import run_program  # noqa: E402
from lutkit_runtime.axis_tables import AxisTables  # noqa: E402
from lutkit_runtime.kernels.cuda.device import is_simulated  # noqa: E402
from lutkit_runtime.ops import (  # noqa: E402
    AxisLookup,
    Ensemble,
    PixelShuffle,
    ReconstructedConvolution,
    Requantise,
    Tap,
)
from lutkit_runtime.padding import Padding  # noqa: E402
from lutkit_runtime.program import Program  # noqa: E402


class SimulatedKernels(fused_cuda.CudaKernels):
    """The simulator computes in the memory of the CPU's tensors."""

    def view(self, tensor):
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        return FakeCUDAArray(tensor.detach().reshape(-1).numpy())

    @contextmanager
    def open_session(self):
        with self.pool.session(0) as session:
            yield session


def find_kernels(device):
    """Stand in for `lutkit.fused_cuda`."""
    return SimulatedKernels(device)


PROGRAMS = {
    "two stages": mulut.build_program(read_patterns("sd"), stages=2, scale=2, interval=7),
    "windows": mulut.build_program(
        read_patterns([[[0, 0], [0, 1]], [[0, 0], [1, -1]]]), stages=2, scale=2, interval=6, windows=(3, None)
    ).replace_ops(lambda op: structs.replace(op, unit=45000.0) if isinstance(op, ReconstructedConvolution) else op),
}


def train(program, tables, planes, weights):
    """Return what a program makes of planes, and the gradients to its tables and to the planes."""
    given = {name: table.clone().requires_grad_() for name, table in tables.items()}
    planes = planes.clone().requires_grad_()
    result = fused.run_stages(fused.claim_program(program), planes, given)
    (result * weights).sum().backward()
    return result.detach(), {**{name: table.grad for name, table in given.items()}, "planes": planes.grad}


@pytest.mark.skipif(not is_simulated(), reason="runs in the simulator")
@pytest.mark.parametrize("name", PROGRAMS)
def test_training_on_a_gpu_equals_training_on_the_cpu(name, monkeypatch):
    program = PROGRAMS[name]
    rng = np.random.default_rng(5)
    tables = {
        op.slot: torch.from_numpy(
            (rng.uniform(-1.06, 1.06, program.slots[op.slot].shape) * program.slots[op.slot].quantiser.levels).astype(
                np.float32
            )
        )
        for op in program.table_ops()
    }
    planes = torch.from_numpy(rng.integers(0, 256, (2, 2, 3)).astype(np.float32))
    weights = torch.from_numpy(rng.normal(size=(2, 2 * program.scale, 3 * program.scale)).astype(np.float32))
    expected, expected_slopes = train(program, tables, planes, weights)
    monkeypatch.setitem(fused.STAGE_KERNELS, "cpu", __name__)
    result, slopes = train(program, tables, planes, weights)
    assert isinstance(fused.find_stage_kernels(planes.device), SimulatedKernels)
    assert torch.equal(result, expected)
    assert slopes.keys() == expected_slopes.keys()
    for slot, slope in expected_slopes.items():
        scale = slope.abs().max()
        assert scale > 0
        torch.testing.assert_close(slopes[slot] / scale, slope / scale, rtol=0, atol=4e-6)


def test_without_a_gpu_there_are_no_kernels(monkeypatch):
    monkeypatch.setattr(fused_cuda, "find_obstacle", lambda: "the NVIDIA driver finds no GPU: use the backend cpu")
    monkeypatch.setattr(fused_cuda, "is_simulated", lambda: False)
    assert fused.find_stage_kernels(torch.device("cuda")) is None


def test_the_simulator_has_no_tensors(monkeypatch):
    monkeypatch.setattr(fused_cuda, "is_simulated", lambda: True)
    assert fused.find_stage_kernels(torch.device("cuda", 0)) is None


def test_every_gpu_has_kernels_of_its_own(monkeypatch):
    monkeypatch.setattr(fused_cuda, "find_obstacle", lambda: None)
    monkeypatch.setattr(fused_cuda, "is_simulated", lambda: False)
    fused_cuda._prepare_kernels.cache_clear()
    kernels = fused.find_stage_kernels(torch.device("cuda", 1))
    assert isinstance(kernels, fused_cuda.CudaKernels)
    assert kernels is fused.find_stage_kernels(torch.device("cuda", 1))
    assert kernels.device.index == 1
    assert not kernels.finds_touched
    fused_cuda._prepare_kernels.cache_clear()


def test_all_rows_count_as_touched_where_nobody_looks():
    program = mulut.build_program(read_patterns("s"), stages=1, scale=2, interval=6)
    (stage,) = fused.claim_program(program)
    (rows,) = fused_cuda.CudaKernels(torch.device("cpu")).find_touched(stage, torch.zeros(1, 2, 2), ())
    assert torch.equal(rows, torch.arange(5**4))


def make_network():
    """Return a small network of one-dimensional tables: dense from the codes, then depthwise, beside a residual."""

    def tables(low, size, shape, step):
        return AxisTables(low=low, size=size, steps=((step,) * shape[1],) * shape[0])

    body = (
        AxisLookup(
            output="first", input="image", slot="dense", taps=(Tap(0, 0, 1), Tap(0, -1, 0)), tables=tables(0, 256, (2, 4), 32),
            outputs=4, padding=Padding.REFLECT,
        ),
        Requantise(output="small", input="first", bias=0, divisor=700, low=-8, high=7),
        AxisLookup(
            output="second", input="small", slot="depthwise", taps=tuple(Tap(channel, channel % 2) for channel in range(4)),
            tables=tables(-8, 16, (4, 1), 1), outputs=4, depthwise=True,
        ),
        Requantise(output="wide", input="second", bias=0, divisor=1, low=-128, high=127, residual="small"),
        PixelShuffle(output="pixels", input="wide", block=2),
    )  # fmt: skip
    return Program(
        family="test",
        task="sr",
        ops=(
            Ensemble(output="sum", input="image", body=body),
            Requantise(output="result", input="sum", bias=250, divisor=2),
        ),
    )


@pytest.mark.skipif(not is_simulated(), reason="runs in the simulator")
def test_axis_lookups_on_a_gpu_equal_those_in_torch(monkeypatch):
    program = make_network()
    program.validate()
    rng = np.random.default_rng(2)
    planes = torch.from_numpy(rng.integers(0, 256, (2, 3, 2)).astype(np.float32))
    weights = torch.from_numpy(rng.normal(size=(2, 6, 4)).astype(np.float32))
    tables = {
        slot: torch.from_numpy(rng.uniform(-127, 127, (it.entries, 1)).astype(np.float32))
        for slot, it in program.slots.items()
    }

    def train():
        given = {slot: table.clone().requires_grad_() for slot, table in tables.items()}
        seen = planes.clone().requires_grad_()
        fillings = {slot: TableFilling(table, program.slots[slot].quantiser) for slot, table in given.items()}
        result = run_program(program, seen, fillings)
        (result * weights).sum().backward()
        return result.detach(), {**{slot: table.grad for slot, table in given.items()}, "planes": seen.grad}

    expected, expected_slopes = train()
    monkeypatch.setitem(fused_lookup.LOOKUP_KERNELS, "cpu", __name__)
    result, slopes = train()
    assert torch.equal(result, expected)
    for name, slope in expected_slopes.items():
        scale = slope.abs().max()
        assert scale > 0
        torch.testing.assert_close(slopes[name] / scale, slope / scale, rtol=0, atol=2e-6)
