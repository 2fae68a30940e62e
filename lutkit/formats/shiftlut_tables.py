"""Tables as Sailor-t/ShiftLUT publishes them: pairs of .npz and JSON files, and the shifts. Imports the runtime."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lutkit_runtime
from lutkit.degradation import choose_task
from lutkit.formats.axis_files import (
    MAX_CHANNELS,
    Files,
    find_files,
    read_archive,
    read_array_file,
    read_steps,
    require_files,
    require_integers,
)
from lutkit.formats.axis_ops import (
    FAMILY,
    HIGH,
    LARGEST,
    LOW,
    MIDDLE,
    WINDOW,
    Half,
    Steps,
    lay_out,
    look_around,
    map_channels,
    mix_channels,
    sum_turns,
)
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import FormatError, ProgramError
from lutkit_runtime.ops import BodyOp, Requantise
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import MAX_REACH
from lutkit_runtime.program import Program

KIND = "shiftlut"
SHIFTS = "offset.npy"
MAX_STACKS = 8
"""The published script shifts before the first eight pointwise layers only."""

_WANTED = f"the folder with DW0_MSB.npz, DW0_MSB.json and so on, and {SHIFTS}"
_NAME = re.compile(rf"(?:(?:DW|PW)\d{{1,3}}_(?:MSB|LSB)|UP_(?:MSB|LSB))\.(?:npz|json)|{re.escape(SHIFTS)}", re.ASCII)

ENTRY = "depthwise0/both"
ENTRY_HIGH = "depthwise0/high"
ENTRY_LOW = "depthwise0/low"

Shifts = list[list[tuple[int, int]]]
"""(row, column) of every channel before every pointwise layer."""


@dataclass(frozen=True)
class _Layer:
    """Tables of one file.

    Parameters
    ----------
    path : Path
    steps : tuple of tuple of int
        For every input and output.
    tables : list of list of int64 array
        For every input and output.
    origin : dict
        What provenance says of the files.
    """

    path: Path
    steps: Steps
    tables: list[list[NDArray[np.int64]]]
    origin: dict[str, Any]

    @property
    def inputs(self) -> int:
        """How many inputs there are: pixels of a window, or channels."""
        return len(self.steps)

    @property
    def outputs(self) -> int:
        """How many outputs there are."""
        return len(self.steps[0])

    @property
    def denominator(self) -> int:
        """By how much sums of a lookup are larger than entries."""
        return max(map(max, self.steps))


@dataclass(frozen=True)
class _Model:
    """All tables, by file name without MSB or LSB where there is one; `low` is that of the lower bits."""

    depthwise: list[_Layer]
    pointwise: list[_Layer]
    low: _Layer
    up: _Layer
    shifts: Shifts

    @property
    def channels(self) -> int:
        """Channels between the layers."""
        return self.depthwise[0].outputs

    @property
    def scale(self) -> int:
        """Output pixels per input pixel in each direction."""
        return math.isqrt(self.up.outputs)

    def layers(self) -> dict[str, _Layer]:
        """Return every layer by its slot."""
        layers = {_name_depthwise(number): layer for number, layer in enumerate(self.depthwise)}
        layers |= {f"pointwise{number}": layer for number, layer in enumerate(self.pointwise)}
        return {**layers, ENTRY_LOW: self.low, "up": self.up}


def import_tables(sources: Sequence[Path], *, task: str | None = None) -> Artefact:
    """Read the tables of one model: stacks of a depthwise and a pointwise layer, and an enlarging layer.

    Stacks follow from the files that are there, channels from the depthwise tables, the scale from the outputs of the
    last layer. Models that enlarge make a picture, others what is added to one.

    Parameters
    ----------
    sources : sequence of Path
        The folder, or the files: ``DW{n}_MSB``, ``PW{n}_MSB`` for every stack n from 0, ``DW0_LSB`` and ``UP_MSB``, each
        as .npz with arrays ``i{input}o{output}`` and as .json with their steps, and ``offset.npy`` of (stacks, 2,
        channels): rows and columns by which channels are shifted before each pointwise layer.
    task : str, optional
        What the tables undo; ``sr`` where they enlarge, else ``denoise``.

    Raises
    ------
    FormatError
        Where files are missing, hold anything but small integers, or do not fit each other.
    DataError
        Where the task does not fit the scale.
    """
    files = find_files([Path(source) for source in sources], _NAME, _WANTED)
    model, origin = _read_model(files)
    program = _build_program(model, choose_task(task, model.scale))
    tables = {slot: lay_out([table for row in layer.tables for table in row]) for slot, layer in model.layers().items()}
    for number, layer in enumerate(model.depthwise[1:], 1):
        # taps go channel by channel, the files pixel by pixel
        tables[_name_depthwise(number)] = lay_out(
            [table for column in zip(*layer.tables, strict=True) for table in column]
        )
    for number in range(len(model.shifts)):
        tables[f"shift{number}"] = lay_out([np.array([HIGH.low, HIGH.high + 1])] * model.channels)
    provenance = {"imported": {"kind": KIND, "files": origin}, "lutkit_version": lutkit_runtime.__version__}
    artefact = Artefact(program, tables, provenance)
    try:
        artefact.validate()
    except ProgramError as problem:
        raise FormatError(f"these tables cannot be used: {problem}") from None
    return artefact


def _name_depthwise(number: int) -> str:
    """Return the slot of a depthwise layer."""
    return f"depthwise{number}" if number else ENTRY_HIGH


def _read_model(files: Files) -> tuple[_Model, dict[str, Any]]:
    stacks = sum(name.startswith("DW") and name.endswith("_MSB.npz") for name in files)
    if not 1 <= stacks <= MAX_STACKS:
        raise FormatError(
            f"{next(iter(files.values())).parent} has {stacks} files DW..._MSB.npz; 1 to {MAX_STACKS} are read"
        )
    depthwise, pointwise = ([f"{kind}{number}_MSB" for number in range(stacks)] for kind in ("DW", "PW"))
    names = [*depthwise, *pointwise, "DW0_LSB", "UP_MSB"]
    why = f"a model of {stacks} stack(s) is {', '.join(names)} as .npz and .json each, and {SHIFTS}"
    require_files(files, [*(f"{name}.{end}" for name in names for end in ("npz", "json")), SHIFTS], why)
    layers = {name: _read_layer(files, name, LOW if name == "DW0_LSB" else HIGH) for name in names}
    shifts = read_array_file(files[SHIFTS])
    model = _Model(
        depthwise=[layers[name] for name in depthwise],
        pointwise=[layers[name] for name in pointwise],
        low=layers["DW0_LSB"],
        up=layers["UP_MSB"],
        shifts=_read_shifts(files[SHIFTS], shifts.arrays[""], stacks, layers["DW0_MSB"].outputs),
    )
    _check_sizes(model)
    return model, {**{slot: layer.origin for slot, layer in model.layers().items()}, "shifts": shifts.describe()}


def _read_layer(files: Files, name: str, half: Half) -> _Layer:
    """Return the tables of a pair of files; raises FormatError unless they are of the length that their steps say."""
    steps, sha256 = read_steps(files[f"{name}.json"])
    read = read_archive(files[f"{name}.npz"])
    expected = {f"i{number}o{output}" for number, row in enumerate(steps) for output in range(len(row))}
    for extra in sorted(read.arrays.keys() ^ expected):
        problem = "has no array" if extra in expected else "has the array"
        raise FormatError(f"{read.path} {problem} {extra[:80]!r}, other than {name}.json says: copy both files again")
    nodes = half.tables(steps).nodes
    tables: list[list[NDArray[np.int64]]] = []
    for number, row in enumerate(steps):
        tables.append([])
        for output, step in enumerate(row):
            place = f"{read.path}: i{number}o{output}"
            table = require_integers(place, read.arrays[f"i{number}o{output}"])
            if table.shape != (nodes[number, output],):
                raise FormatError(f"{place} has shape {table.shape}; step {step} needs ({nodes[number, output]},)")
            tables[-1].append(table)
    return _Layer(read.path, steps, tables, {**read.describe(), "steps_sha256": sha256})


def _read_shifts(path: Path, array: NDArray[Any], stacks: int, channels: int) -> Shifts:
    if array.shape != (stacks, 2, channels):
        raise FormatError(
            f"{path} has shape {array.shape}; {stacks} stack(s) of {channels} channels need {(stacks, 2, channels)}"
        )
    shifts = require_integers(str(path), array, -MAX_REACH, MAX_REACH)
    return [[(int(row), int(column)) for row, column in zip(*each, strict=True)] for each in shifts]


def _check_sizes(model: _Model) -> None:
    """Raise FormatError unless inputs and outputs of the layers agree."""
    channels = model.channels
    if not 2 <= channels <= MAX_CHANNELS:
        raise FormatError(
            f"{model.depthwise[0].path} has {channels} outputs; 2 to {MAX_CHANNELS} channels are possible"
        )
    for layer in (*model.depthwise, model.low):
        _require_size(layer, WINDOW, channels)
    for layer in model.pointwise:
        _require_size(layer, channels, channels)
    _require_size(model.up, channels, model.scale**2)


def _require_size(layer: _Layer, inputs: int, outputs: int) -> None:
    if (layer.inputs, layer.outputs) != (inputs, outputs):
        raise FormatError(
            f"{layer.path} has {layer.inputs} inputs and {layer.outputs} outputs; {inputs} and {outputs} fit the others"
        )


def _build_program(model: _Model, task: str) -> Program:
    """Return the skeleton (Sailor-t/ShiftLUT, model_LUT.py of each task)."""
    channels = model.channels
    body = _build_entry(model)
    end = ENTRY
    for number, pointwise in enumerate(model.pointwise):
        if number:
            body += _build_depthwise(model.depthwise[number], number, end, channels)
            end = _name_depthwise(number)
        shift, name = f"shift{number}", f"pointwise{number}"
        # two nodes, at both ends, make a table that returns its value: what is added after the layer is shifted, too
        body.append(map_channels(end, shift, HIGH, ((HIGH.size,),) * channels, model.shifts[number]))
        body.append(HIGH.clamp(f"{shift}/sum", shift, HIGH.size))
        body.append(mix_channels(shift, name, HIGH, pointwise.steps))
        body.append(HIGH.clamp(f"{name}/sum", name, channels * pointwise.denominator, residual=shift))
        end = name
    body.append(mix_channels(end, "up", HIGH, model.up.steps))
    enlarges = model.scale > 1
    body.append(
        Requantise(
            input="up/sum",
            output="up",
            bias=0,
            divisor=channels * model.up.denominator,
            residual=end if model.up.outputs == channels else None,
            low=-MIDDLE,
            high=LARGEST,
        )
    )
    return Program(family=FAMILY, task=task, ops=sum_turns(body, model.scale, onto_image=not enlarges))


def _build_entry(model: _Model) -> list[BodyOp]:
    """Return the ops from the image to the first channels: the only ones in which the lower bits take part."""
    high, low = model.depthwise[0], model.low
    return [
        HIGH.split(),
        LOW.split(),
        look_around("high", ENTRY_HIGH, HIGH, high.steps, first=-1, padding=Padding.EDGE),
        # three numbers are added before the clamp, so the first two must not meet one: these are their own bounds
        Requantise(
            input=f"{ENTRY_HIGH}/sum",
            output=ENTRY_HIGH,
            bias=0,
            divisor=WINDOW * high.denominator,
            residual="high",
            low=-MIDDLE + HIGH.low,
            high=LARGEST + HIGH.high,
        ),
        look_around("low", ENTRY_LOW, LOW, low.steps, first=-1, padding=Padding.EDGE),
        LOW.clamp(f"{ENTRY_LOW}/sum", ENTRY_LOW, WINDOW * low.denominator, residual="low"),
        HIGH.clamp(ENTRY_HIGH, ENTRY, residual=ENTRY_LOW),
    ]


def _build_depthwise(layer: _Layer, number: int, source: str, channels: int) -> list[BodyOp]:
    name = _name_depthwise(number)
    steps = tuple((layer.steps[pixel][channel],) for channel in range(channels) for pixel in range(WINDOW))
    return [
        look_around(source, name, HIGH, steps, first=-1, channels=channels, padding=Padding.EDGE),
        HIGH.clamp(f"{name}/sum", name, WINDOW * layer.denominator, residual=source),
    ]
