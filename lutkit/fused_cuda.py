"""Kernels of NVIDIA GPUs for fused stages and axis lookups that are trained: the runtime's, on torch tensors where they lie.

Imports torch and the runtime; numba-cuda only where there is a GPU. See `lutkit.fused.StageKernels` and
`lutkit.fused_lookup.LookupKernels` for what each function is given and returns. All work is put on torch's current stream;
nothing is copied to the host, and nothing waited for.

Sums of gradients are exact (`lutkit_runtime.kernels.cuda.fixed_point`): they are the same in every run, and for every
order of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from lutkit.fused import StageSlopes
from lutkit_runtime.kernels.cuda.device import find_obstacle, is_simulated
from lutkit_runtime.kernels.stage_claim import Stage
from lutkit_runtime.ops import AxisLookup, ReconstructedConvolution
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.ops.reconstructed_convolution import CENTRE, HIGHEST

if TYPE_CHECKING:
    from lutkit_runtime.kernels.cuda.axis_gradient import TrainableAxisLookup
    from lutkit_runtime.kernels.cuda.memory import Planes, Session
    from lutkit_runtime.kernels.cuda.stage_gradient import TrainableStage
    from lutkit_runtime.kernels.cuda.window_gradient import TrainableWindow

STAGES_KEPT = 64
"""Stages whose layouts are on the GPU, and windows and axis lookups, of each; a program of several lattices in training
needs a dozen.
"""


def find_kernels(device: torch.device) -> CudaKernels | None:
    """Return the kernels of a GPU; None where numba-cuda is missing or does not know it."""
    if is_simulated() or find_obstacle() is not None:
        return None
    return _prepare_kernels(device.index if device.index is not None else torch.cuda.current_device())


@lru_cache
def _prepare_kernels(index: int) -> CudaKernels:
    """Return the kernels of the GPU of an index: there is one for each, with what it keeps there."""
    return CudaKernels(torch.device("cuda", index))


class CudaKernels:
    """Fused stages and axis lookups on a GPU.

    Parameters
    ----------
    device : torch.device
        With an index.
    """

    finds_touched = False
    """A GPU evaluates a network at all nodes faster than the processor would learn which are touched."""

    def __init__(self, device: torch.device) -> None:
        from lutkit_runtime.kernels.cuda.memory import Pool

        self.device = device
        self.pool = Pool()
        self._find_stage = lru_cache(STAGES_KEPT)(self._prepare_stage)
        self._find_window = lru_cache(STAGES_KEPT)(self._prepare_window)
        self._find_lookup = lru_cache(STAGES_KEPT)(self._prepare_lookup)

    def find_touched(self, stage: Stage, planes: torch.Tensor, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return all rows: nobody has looked which are touched."""
        return [torch.arange(op.entries, device=planes.device) for op in stage.lookups]

    def run(
        self, stage: Stage, tables: Sequence[torch.Tensor], planes: torch.Tensor, maps: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Return the codes."""
        count, height, width = planes.shape
        result = planes.new_empty(count, height * stage.block, width * stage.block)
        with self.open_session() as session:
            self._find_stage(stage).run(
                session, self._view_all(tables), self._view_planes(planes), self._view_all(maps), self.view(result)
            )
        return result

    def differentiate(
        self,
        stage: Stage,
        tables: Sequence[torch.Tensor],
        planes: torch.Tensor,
        maps: Sequence[torch.Tensor],
        result: torch.Tensor,
        gradient: torch.Tensor,
        *,
        with_planes: bool,
    ) -> StageSlopes:
        """Return the gradients."""
        slopes = StageSlopes(
            [torch.empty_like(table, dtype=torch.float32) for table in tables],
            torch.empty_like(planes, dtype=torch.float32) if with_planes else None,
            [torch.empty_like(part, dtype=torch.float32) for part in maps],
        )
        with self.open_session() as session:
            self._find_stage(stage).differentiate(
                session,
                self._view_all(tables),
                self._view_planes(planes),
                self._view_all(maps),
                self.view(result),
                self.view(gradient),
                self._view_all(slopes.tables),
                None if slopes.planes is None else self.view(slopes.planes),
                self._view_all(slopes.maps),
            )
        return slopes

    def make_maps(
        self, op: ReconstructedConvolution, table: torch.Tensor, planes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return maps and sums."""
        maps = planes.new_empty(TURNS, *planes.shape)
        sums = torch.empty_like(maps, dtype=torch.int32)
        with self.open_session() as session:
            self._find_window(op).run(
                session, self.view(table), self._view_planes(planes), self.view(maps), self.view(sums)
            )
        return maps, sums

    def differentiate_maps(
        self,
        op: ReconstructedConvolution,
        table: torch.Tensor,
        planes: torch.Tensor,
        maps: torch.Tensor,
        sums: torch.Tensor,
        gradient: torch.Tensor,
        *,
        with_planes: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the gradients to table and planes."""
        slopes = find_slopes(op, maps, sums, gradient)
        to_table = torch.empty_like(table, dtype=torch.float32)
        to_planes = torch.empty_like(planes, dtype=torch.float32) if with_planes else None
        with self.open_session() as session:
            self._find_window(op).differentiate(
                session,
                self.view(table),
                self._view_planes(planes),
                self.view(slopes),
                self.view(to_table),
                None if to_planes is None else self.view(to_planes),
            )
        return to_table, to_planes

    def sum_taps(self, op: AxisLookup, values: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
        """Return the sums of an axis lookup: see `lutkit.fused_lookup.LookupKernels`."""
        count, _, height, width = planes.shape
        sums = planes.new_empty(count, op.outputs, height, width)
        with self.open_session() as session:
            self._find_lookup(op).run(session, self.view(values), self._view_planes(planes), self.view(sums))
        return sums

    def differentiate_taps(
        self, op: AxisLookup, values: torch.Tensor, planes: torch.Tensor, gradient: torch.Tensor, *, with_planes: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the gradients to the values and the planes of an axis lookup."""
        to_values = torch.empty_like(values, dtype=torch.float32)
        to_planes = torch.empty_like(planes, dtype=torch.float32) if with_planes else None
        with self.open_session() as session:
            self._find_lookup(op).differentiate(
                session,
                self.view(values),
                self._view_planes(planes),
                self.view(gradient),
                self.view(to_values),
                None if to_planes is None else self.view(to_planes),
            )
        return to_values, to_planes

    def view(self, tensor: torch.Tensor) -> Any:
        """Return a contiguous tensor as a device array of one dimension: the same memory."""
        from lutkit_runtime.kernels.cuda.compiling import cuda

        return cuda.as_cuda_array(tensor.detach().reshape(-1), sync=False)

    @contextmanager
    def open_session(self) -> Iterator[Session]:
        """Yield what hands out buffers and has torch's current stream."""
        from lutkit_runtime.kernels.cuda.memory import open_stream

        with torch.cuda.device(self.device):
            stream = open_stream(torch.cuda.current_stream(self.device))
            with self.pool.session(stream) as session:
                yield session

    def _view_all(self, tensors: Sequence[torch.Tensor]) -> list[Any]:
        return [self.view(tensor) for tensor in tensors]

    def _view_planes(self, planes: torch.Tensor) -> Planes:
        from lutkit_runtime.kernels.cuda.memory import Planes

        height, width = planes.shape[-2:]
        channels = planes.shape[1] if planes.ndim == 4 else 1
        return Planes(self.view(planes), len(planes), channels, height, width)

    def _prepare_stage(self, stage: Stage) -> TrainableStage:
        from lutkit_runtime.kernels.cuda.stage_gradient import TrainableStage

        return TrainableStage(stage)

    def _prepare_window(self, op: ReconstructedConvolution) -> TrainableWindow:
        from lutkit_runtime.kernels.cuda.window_gradient import TrainableWindow

        return TrainableWindow(op)

    def _prepare_lookup(self, op: AxisLookup) -> TrainableAxisLookup:
        from lutkit_runtime.kernels.cuda.axis_gradient import TrainableAxisLookup

        return TrainableAxisLookup(op)


def find_slopes(
    op: ReconstructedConvolution, maps: torch.Tensor, sums: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    """Return the gradient to the sums of a convolution from that to its codes, as the kernels of the CPU do.

    A code is 127 tanh(sum / unit) + 127 but for its rounding; one at 0 or 254 passes only what would move it back inside.
    """
    steep = torch.tanh(sums.to(torch.float32) * (1 / op.unit)).square_().neg_().add_(1).mul_(CENTRE / op.unit)
    outward = ((maps == 0) & (gradient > 0)) | ((maps == HIGHEST) & (gradient < 0))
    return steep.mul_(gradient).masked_fill_(outward, 0)
