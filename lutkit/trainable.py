"""What a training loop trains: programs whose slots are filled by networks or by tables. Imports torch and the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.degradation import Task
from lutkit.evaluate import Pair, mean_finite_psnr, score_pairs
from lutkit.families import Family
from lutkit.families.spatial import SpatialConfig
from lutkit.fused import claim_program, run_stages, run_touched
from lutkit.skeleton import NetworkFilling, TableFilling, quantise_entries, run_program
from lutkit_runtime.engine import Model
from lutkit_runtime.ops import Lookup
from lutkit_runtime.program import Program, Tables

ROWS_TOGETHER = 4096


class Trainable(Protocol):
    """A model as the training loop sees it."""

    @property
    def module(self) -> torch.nn.Module:
        """What holds the parameters."""
        ...

    def run(self, planes: torch.Tensor, interval: int | None) -> torch.Tensor:
        """Return codes (N, H * scale, W * scale) for codes (N, H, W), float32, differentiable in the parameters."""
        ...

    def confine(self) -> None:
        """Bring the parameters back into their range after a step."""
        ...


def name_in_module(slot: str) -> str:
    """Return a slot's name as a torch module may be called."""
    return slot.replace("/", "-")


class NetworkModel:
    """Slots filled by networks.

    Parameters
    ----------
    family : Family
    config : SpatialConfig
    low_precision : bool
        Let training compute the networks in bfloat16; evaluation and transfer never do.
    """

    def __init__(self, family: Family, config: SpatialConfig, *, low_precision: bool = False) -> None:
        self._family = family
        self._config = config
        self._low_precision = low_precision
        self.program = family.skeleton(config)
        self.fillings = {
            op.slot: NetworkFilling(
                family.network(config, op.pattern.samples, op.block**2), self.program.slots[op.slot].quantiser
            )
            for op in self.program.lookups()
        }
        self.module: torch.nn.Module = torch.nn.ModuleDict(
            {name_in_module(slot): fill for slot, fill in self.fillings.items()}
        )
        self._programs: dict[int, Program] = {}

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.module.parameters()).device

    def program_at(self, interval: int) -> Program:
        """Return the program with lattices of another interval."""
        if interval not in self._programs:
            plain = {field: getattr(self._config, field) for field in self._config.__struct_fields__}
            self._programs[interval] = self._family.skeleton(SpatialConfig(**{**plain, "interval": interval}))
        return self._programs[interval]

    def run(self, planes: torch.Tensor, interval: int | None) -> torch.Tensor:
        """Run with the networks at every sample, or with the tables they make at an interval."""
        if interval is None:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._low_precision):
                return run_program(self.program, planes, self.fillings)
        program = self.program_at(interval)
        stages = claim_program(program) if planes.device.type == "cpu" else None
        if stages is None:
            return run_tables(program, planes, self.tables(interval))
        return run_touched(stages, planes, self._entries)

    def _entries(self, lookup: Lookup, rows: NDArray[np.int64]) -> torch.Tensor:
        """Evaluate a slot's network at some nodes of its lattice."""
        # A few sizes that return at every step: torch prepares a matrix product anew for each size it meets.
        padded = np.resize(rows, -(-len(rows) // ROWS_TOGETHER) * ROWS_TOGETHER)
        samples = torch.from_numpy(lookup.lattice.samples_of(padded)).float()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._low_precision):
            return self.fillings[lookup.slot].entries(samples)[: len(rows)]

    def tables(self, interval: int) -> dict[str, torch.Tensor]:
        """Return the tables at an interval, differentiable, (entries, outputs) float32 in units of entries."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._low_precision and torch.is_grad_enabled()):
            return {op.slot: self.fillings[op.slot].table(op) for op in self.program_at(interval).lookups()}

    def confine(self) -> None:
        """Do nothing: networks have no range."""

    @torch.no_grad()
    def restore(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Run the networks at every sample of an image (h, w) or (h, w, 3) uint8."""
        low, self._low_precision = self._low_precision, False
        try:
            planes = torch.from_numpy(np.atleast_3d(image).transpose(2, 0, 1).astype(np.float32))
            result = torch.cat([self.run(plane[None].to(self.device), None) for plane in planes])
        finally:
            self._low_precision = low
        pixels = result.to(torch.uint8).cpu().numpy().transpose(1, 2, 0)
        return np.ascontiguousarray(pixels[:, :, 0] if image.ndim == 2 else pixels)

    def load(self, parameters: dict[str, torch.Tensor]) -> None:
        """Take parameters named ``{slot}.{parameter}``; raises RuntimeError where they do not fit."""
        self.module.load_state_dict(parameters)


class TableModel:
    """Slots filled by trainable tables.

    Parameters
    ----------
    program : Program
    tables : mapping of slot name to int8 (entries, outputs)
    """

    def __init__(self, program: Program, tables: Tables) -> None:
        self.program = program
        self.tables = {
            slot: torch.nn.Parameter(torch.from_numpy(tables[slot].astype(np.float32))) for slot in program.slots
        }
        self.module: torch.nn.Module = torch.nn.ParameterDict(
            {name_in_module(slot): table for slot, table in self.tables.items()}
        )

    def run(self, planes: torch.Tensor, interval: int | None) -> torch.Tensor:
        """Run with the tables; the interval is the program's own."""
        return run_tables(self.program, planes, self.tables)

    @torch.no_grad()
    def confine(self) -> None:
        """Clamp the tables to the levels of their slots."""
        for slot, table in self.tables.items():
            table.copy_(self.program.slots[slot].quantiser.confine(table))

    def entries(self) -> dict[str, NDArray[np.int8]]:
        """Return the tables as the artefact stores them."""
        return round_tables(self.tables)


@torch.no_grad()
def round_tables(tables: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.int8]]:
    """Return tables in units of entries as int8 arrays."""
    return {slot: quantise_entries(table).to(torch.int8).cpu().numpy() for slot, table in tables.items()}


def run_tables(program: Program, planes: torch.Tensor, tables: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run trainable tables: fused kernels where the CPU has them, else the ops one by one; the same codes either way."""
    stages = claim_program(program) if planes.device.type == "cpu" else None
    if stages is not None:
        return run_stages(stages, planes, tables)
    return run_program(program, planes, {slot: TableFilling(table) for slot, table in tables.items()})


def validate_tables(program: Program, tables: Tables, pairs: Sequence[Pair], task: Task) -> float:
    """Return the mean PSNR of tables, applied as the runtime applies them, in dB."""
    model = Model(program, tables)
    return mean_finite_psnr(score_pairs(lambda image: restore_with(model, image), pairs, task))


def restore_with(model: Model, image: NDArray[np.uint8]) -> NDArray[Any]:
    """Apply an artefact's model to an image with as many threads as torch uses."""
    return model.apply(image, threads=torch.get_num_threads())
