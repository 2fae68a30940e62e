"""What a training loop trains: programs whose slots are filled by networks or by tables. Imports torch and the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.degradation import Task
from lutkit.devices import send
from lutkit.evaluate import Pair, mean_finite_psnr, score_pairs
from lutkit.families import Family
from lutkit.fillings import AnyFilling, AxisFilling, NetworkFilling, TableFilling, WindowFilling
from lutkit.fused import claim_program, find_stage_kernels, run_stages, run_touched
from lutkit.fused_axis import find_axis_kernels, run_axis_ensemble
from lutkit.networks import AxisFunctions, WindowFunctions
from lutkit.skeleton import quantise_entries, run_program
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError
from lutkit_runtime.kernels.cpu.axis_network import AxisNetwork, claim_axis_network
from lutkit_runtime.ops import AxisLookup, Ensemble, Lookup, ReconstructedConvolution, Requantise
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds
from lutkit_runtime.program import Program, TableOp, Tables

ROWS_TOGETHER = 4096
LEVELS = 127
SHIFT_SHARE = 10.0


class Trainable(Protocol):
    """A model as the training loop sees it."""

    @property
    def module(self) -> torch.nn.Module:
        """What holds the parameters."""
        ...

    def run(self, planes: torch.Tensor, interval: int | None) -> torch.Tensor:
        """Return codes (N, H * scale, W * scale) for codes (N, H, W), float32, differentiable in the parameters."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters for Adam; a group's ``share`` multiplies its learning rate."""
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
    config : record of the family's
        With ``interval``.
    low_precision : bool
        Let training compute the networks of lookups in bfloat16; evaluation and transfer never do.
    """

    def __init__(self, family: Family, config: Any, *, low_precision: bool = False) -> None:
        self._family = family
        self._config = config
        self._low_precision = low_precision
        self._skeletons: dict[int, Program] = {}
        self.fillings = make_fillings(family, config, family.skeleton(config))
        self._samples_together = any(isinstance(filling, NetworkFilling) for filling in self.fillings.values())
        self.module: torch.nn.Module = torch.nn.ModuleDict(
            {name_in_module(slot): fill for slot, fill in self.fillings.items()}
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.module.parameters()).device

    @property
    def program(self) -> Program:
        """The program of the configuration, for the networks as they stand."""
        return self.program_at(self._config.interval)

    def program_at(self, interval: int, storage: str | None = None) -> Program:
        """Return the program with nodes of another interval, its ops adapted to the networks as they stand.

        Parameters
        ----------
        interval : int
        storage : str, optional
            Type of the tables of reconstructed convolutions; the family's own without it.
        """
        if interval not in self._skeletons:
            self._skeletons[interval] = self._family.skeleton(msgspec.structs.replace(self._config, interval=interval))
        program = self._skeletons[interval]

        def settle(op: Any) -> Any:
            if isinstance(op, ReconstructedConvolution) and storage is not None:
                op = msgspec.structs.replace(op, storage=storage)
            filling = self.fillings[op.slot] if isinstance(op, TableOp) else None
            return filling.settle(op) if isinstance(filling, WindowFilling | AxisFilling) else op  # pyright: ignore[reportArgumentType]

        settled = any(not isinstance(op, Lookup) for op in program.table_ops())
        return program.replace_ops(settle) if settled else program

    def table_interval(self, interval: int | None) -> int | None:
        """Return the interval of the tables that run where a phase names this one; None where networks run.

        Networks of single samples always run as tables, which hold all that they can give.
        """
        return self._config.interval if interval is None and not self._samples_together else interval

    def run(self, planes: torch.Tensor, interval: int | None) -> torch.Tensor:
        """Run with the networks at every sample, or with the tables they make at an interval."""
        interval = self.table_interval(interval)
        if interval is None:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._low_precision):
                return run_program(self.program, planes, self.fillings)
        program = self.program_at(interval)
        kernels = find_stage_kernels(planes.device)
        stages = None if kernels is None else claim_program(program)
        if kernels is not None and stages is not None:
            if kernels.finds_touched:
                return run_touched(stages, planes, self._entries, self._windows(program))
            return run_stages(stages, planes, self._tables(program))
        network = None if find_axis_kernels(planes.device) is None else claim_axes(program)
        if network is not None:
            return run_axis_ensemble(network, planes, self._tables(program), self._shifts())
        shifts = self._shifts()
        tables = self._tables(program)
        return run_program(program, planes, {slot: _Fixed(table, shifts.get(slot)) for slot, table in tables.items()})

    def _entries(self, lookup: Lookup, rows: torch.Tensor) -> torch.Tensor:
        """Evaluate a slot's network at some nodes of its lattice."""
        # A few sizes that return at every step: torch prepares a matrix product anew for each size it meets.
        padded = np.resize(rows.cpu().numpy(), -(-len(rows) // ROWS_TOGETHER) * ROWS_TOGETHER)
        samples = send(lookup.samples_of(padded), self.device).float()
        filling = self.fillings[lookup.slot]
        assert isinstance(filling, NetworkFilling)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._low_precision):
            return filling.entries(samples)[: len(rows)]

    def _windows(self, program: Program) -> dict[str, torch.Tensor]:
        """Return the tables of reconstructed convolutions."""
        return {
            op.slot: self.fillings[op.slot].table(op)  # pyright: ignore[reportArgumentType]
            for op in program.table_ops()
            if isinstance(op, ReconstructedConvolution)
        }

    def _shifts(self) -> dict[str, torch.Tensor]:
        """Return the shifts that are learned, (taps, 2), by slot."""
        return {
            slot: filling.shifts
            for slot, filling in self.fillings.items()
            if isinstance(filling, AxisFilling) and filling.shifts is not None
        }

    def _tables(self, program: Program) -> dict[str, torch.Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._low_precision and torch.is_grad_enabled()):
            return {op.slot: self.fillings[op.slot].table(op) for op in program.table_ops()}  # type: ignore[arg-type]

    def tables(self, interval: int) -> dict[str, torch.Tensor]:
        """Return the tables at an interval, differentiable, (entries, outputs) float32 in units of entries."""
        return self._tables(self.program_at(interval))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters for Adam: shifts, whose unit is a pixel, in steps ten times as large."""
        shifts = list(self._shifts().values())
        known = set(map(id, shifts))
        others = [parameter for parameter in self.module.parameters() if id(parameter) not in known]
        return [{"params": others}, *([{"params": shifts, "share": SHIFT_SHARE}] if shifts else [])]

    def confine(self) -> None:
        """Bring shifts back into their range; networks have none."""
        for filling in self.fillings.values():
            if isinstance(filling, AxisFilling):
                filling.confine()

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


def make_fillings(family: Family, config: Any, program: Program) -> dict[str, AnyFilling]:
    """Return the networks, drawn at random, of every slot of a program that is trained, by slot.

    A lookup's network is the family's; those of windows and of single samples are the same in all families.
    """
    convolved = {op.output for op in program.inner_ops() if isinstance(op, ReconstructedConvolution)}
    fillings: dict[str, AnyFilling] = {}
    for op in program.table_ops():
        quantiser = program.slots[op.slot].quantiser
        match op:
            case Lookup():
                network = family.network(config, op.pattern.samples, op.block**2)
                squash = op.input in convolved and config.squash
                fillings[op.slot] = NetworkFilling(network, quantiser, squash=squash)
            case ReconstructedConvolution():
                anchor = op.offsets.index((0, 0))
                fillings[op.slot] = WindowFilling(
                    WindowFunctions(op.positions, config.window_width, activation=config.activation, anchor=anchor)
                )
            case AxisLookup():
                functions = AxisFunctions(len(op.taps), op.outputs_per_tap, op.tables.low, op.tables.size, config.width)
                shifts = None
                if config.reach and not op.depthwise and len({tap.channel for tap in op.taps}) > 1:
                    shifts = np.array([(tap.row, tap.column) for tap in op.taps], np.float32)
                fillings[op.slot] = AxisFilling(functions, quantiser, shifts, config.reach)
    return fillings


@dataclass(frozen=True)
class _Fixed:
    """A slot filled by entries that are integers already.

    Attributes
    ----------
    values : float32, (entries, outputs)
    shifts : float32, (taps, 2), optional
        Where taps stand, if that is learned.
    """

    values: torch.Tensor
    shifts: torch.Tensor | None = None

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Interpolate the table."""
        return TableFilling(self.values).sums(lookup, samples)

    def table(self, op: Any) -> torch.Tensor:
        """Return the table."""
        return self.values


class TableModel:
    """Slots filled by trainable tables.

    Parameters
    ----------
    program : Program
    tables : mapping of slot name to array (entries, outputs)

    Raises
    ------
    DataError
        Where thresholds do not follow from their ops: training computes them anew.
    """

    def __init__(self, program: Program, tables: Tables) -> None:
        self.program = program
        slots = {op.slot: op for op in program.table_ops()}
        self.tables = {slot: torch.nn.Parameter(torch.from_numpy(tables[slot].astype(np.float32))) for slot in slots}
        self._quantisers = {slot: program.slots[slot].quantiser for slot in slots}
        self._shares = {slot: _share_of(op) for slot, op in slots.items()}
        self._fixed = {slot: np.asarray(tables[slot]) for slot in program.slots if slot not in slots}
        for slot, thresholds in add_thresholds(program, {}).items():
            if not np.array_equal(self._fixed[slot], thresholds):
                raise DataError(
                    f"slot '{slot}' holds thresholds that do not follow from the unit of its window, so that training "
                    "would not compute what they do: transfer the model again"
                )
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
            table.copy_(self._quantisers[slot].confine(table))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the tables for Adam, in groups of the same share of the learning rate."""
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for slot, table in self.tables.items():
            groups.setdefault(self._shares[slot], []).append(table)
        return [{"params": tables, "share": share} for share, tables in groups.items()]

    def entries(self) -> dict[str, NDArray[Any]]:
        """Return the tables as the artefact stores them."""
        return {**round_tables(self.program, self.tables), **self._fixed}


def _share_of(op: TableOp) -> float:
    """Return how much larger than an int8 table's an op's steps are in units of entries."""
    if not isinstance(op, ReconstructedConvolution):
        return 1.0
    # a change of 1 in the argument of tanh is `unit` in a sum, one of 1 in an output of a network 127 in an entry; the
    # steps of the N x N tables that a sum reads add up, like N where they are independent
    return op.unit / (LEVELS * op.window)


@torch.no_grad()
def round_tables(program: Program, tables: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """Return tables in units of entries as arrays of their slots' types."""
    slots = program.slots
    return {
        slot: quantise_entries(table, slots[slot].quantiser).cpu().numpy().astype(slots[slot].dtype)
        for slot, table in tables.items()
    }


def add_thresholds(program: Program, tables: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return tables with those that follow from the ops: the thresholds of reconstructed convolutions."""
    posts = {
        op.post: find_thresholds(op.unit) for op in program.inner_ops() if isinstance(op, ReconstructedConvolution)
    }
    return {**tables, **posts}


def run_tables(program: Program, planes: torch.Tensor, tables: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run trainable tables: fused kernels where the device has them, else the ops one by one; the same codes either way."""
    stages = None if find_stage_kernels(planes.device) is None else claim_program(program)
    if stages is not None:
        return run_stages(stages, planes, tables)
    network = None if find_axis_kernels(planes.device) is None else claim_axes(program)
    if network is not None:
        return run_axis_ensemble(network, planes, tables, None)
    slots = program.slots
    return run_program(
        program, planes, {slot: TableFilling(table, slots[slot].quantiser) for slot, table in tables.items()}
    )


def claim_axes(program: Program) -> AxisNetwork | None:
    """Return the program as one network of one-dimensional tables, or None where it is anything else."""
    match program.ops:
        case (Ensemble() as ensemble, Requantise() as requantise) if ensemble.input == program.input:
            return claim_axis_network(ensemble, requantise)
        case _:
            return None


def validate_tables(program: Program, tables: Tables, pairs: Sequence[Pair], task: Task) -> float:
    """Return the mean PSNR of tables, applied as the runtime applies them, in dB."""
    model = Model(program, tables)
    return mean_finite_psnr(score_pairs(lambda image: restore_with(model, image), pairs, task))


def restore_with(model: Model, image: NDArray[np.uint8]) -> NDArray[Any]:
    """Apply an artefact's model to an image with as many threads as torch uses."""
    return model.apply(image, threads=torch.get_num_threads())
