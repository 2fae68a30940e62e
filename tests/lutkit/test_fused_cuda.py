"""Fused stages on a GPU, in Numba's simulator: what torch is given equals what the CPU's kernels give it."""

from contextlib import contextmanager

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install numba-cuda")

from msgspec import structs  # noqa: E402

from lutkit import fused, fused_cuda  # noqa: E402
from lutkit.families import mulut  # noqa: E402
from lutkit.families.spatial import read_patterns  # noqa: E402
from lutkit_runtime.kernels.cuda.device import is_simulated  # noqa: E402
from lutkit_runtime.ops import ReconstructedConvolution  # noqa: E402


class SimulatedStages(fused_cuda.CudaStages):
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
    return SimulatedStages(device)


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
    assert isinstance(fused.find_stage_kernels(planes.device), SimulatedStages)
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
    assert isinstance(kernels, fused_cuda.CudaStages)
    assert kernels is fused.find_stage_kernels(torch.device("cuda", 1))
    assert kernels.device.index == 1
    assert not kernels.finds_touched
    fused_cuda._prepare_kernels.cache_clear()
