"""Tables as Jonas-KD/TinyLUT publishes them: six .npy files, and the gains of the channels. Imports the runtime."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lutkit_runtime
from lutkit.formats.axis_files import (
    MAX_CHANNELS,
    Files,
    ReadFile,
    find_files,
    read_archive,
    read_array_file,
    require_files,
    require_integers,
)
from lutkit.formats.axis_ops import (
    FAMILY,
    HALVES,
    LARGEST,
    LOW,
    MIDDLE,
    WINDOW,
    Half,
    every_value,
    lay_out,
    look_around,
    map_channels,
    mix_channels,
    sum_turns,
)
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import FormatError, ProgramError
from lutkit_runtime.ops import Add, BodyOp, Requantise
from lutkit_runtime.padding import Padding
from lutkit_runtime.program import Program

KIND = "tinylut"
GAINS = "clips.npz"
MAX_GAIN = 16

_WANTED = f"the folder with ..._L1_Depth_x4_H6.npy and so on, and {GAINS}"
_NAME = re.compile(
    r"(?:(?P<model>.*)_)?(?P<layer>L\d{1,3}_Depth|L\d{1,3}_Point|UP)_x(?P<scale>\d{1,2})_(?P<half>H6|L2)\.npy"
    rf"|{re.escape(GAINS)}",
    re.ASCII,
)
_LAYERS = ("L1_Depth", "L1_Point", "UP")
_HALF_NAMES = {"high": "H6", "low": "L2"}
_GAIN_NAMES = {"high": "hh", "low": "hl"}

Tables = dict[str, NDArray[np.int8]]


def import_tables(sources: Sequence[Path]) -> Artefact:
    """Read the tables of one model: a depthwise, a pointwise and an enlarging layer, each for upper and lower bits.

    The number of channels follows from the depthwise tables, the scale from the outputs of the last. Rows of the
    pointwise and enlarging tables stand for what can come out of the multiplication by the gains, channel by channel.

    Parameters
    ----------
    sources : sequence of Path
        The folder, or the files: ``..._{L1_Depth,L1_Point,UP}_x{scale}_{H6,L2}.npy`` of (rows, outputs[, 1, 1]) and
        ``clips.npz`` with one gain for each channel in ``hh1``, ``hl1`` (before the pointwise layer, upper and lower
        bits), ``hh2``, ``hl2`` (before the enlarging one).

    Raises
    ------
    FormatError
        Where files are missing, hold anything but small integers, or do not fit each other.
    """
    files = find_files([Path(source) for source in sources], _NAME, _WANTED)
    names = _name_files(files)
    if GAINS not in files:
        raise FormatError(
            f"{GAINS} is missing beside {next(iter(files.values()))}: save clip_hh1, clip_hl1, clip_hh2 and clip_hl2 of the "
            "published weights as hh1, hl1, hh2 and hl2 with numpy.savez"
        )
    require_files(files, [*names.values(), GAINS], f"a model is {', '.join(names.values())} and {GAINS}")
    read = {slot: read_array_file(files[name]) for slot, name in names.items()}
    gains = read_archive(files[GAINS])
    tables: Tables = {}
    channels, scale = _agree_on_sizes(read)
    for half in HALVES:
        tables |= _read_half(half, channels, read, gains)
    origin = {"kind": KIND, "files": {slot: each.describe() for slot, each in {**read, "gains": gains}.items()}}
    provenance = {"imported": origin, "lutkit_version": lutkit_runtime.__version__}
    artefact = Artefact(_build_program(channels, scale), tables, provenance)
    try:
        artefact.validate()
    except ProgramError as problem:
        raise FormatError(f"these tables cannot be used: {problem}") from None
    return artefact


def _name_files(files: Files) -> dict[str, str]:
    """Return the names that the six tables of the model have, by their slots; raises FormatError for several models."""
    matches = [match for name in files if name != GAINS and (match := _NAME.fullmatch(name))]
    if not matches:
        raise FormatError(f"{files[GAINS]} has no tables beside it: name {_WANTED}")
    models = sorted({f"{match['model'] or ''} x{match['scale']}".strip() for match in matches})
    if len(models) > 1:
        raise FormatError(f"these are tables of {len(models)} models ({', '.join(models)}): name the files of one")
    prefix = f"{matches[0]['model']}_" if matches[0]["model"] is not None else ""
    return {
        f"{slot}/{half.name}": f"{prefix}{layer}_x{matches[0]['scale']}_{_HALF_NAMES[half.name]}.npy"
        for layer, slot in zip(_LAYERS, ("depthwise", "pointwise", "up"), strict=True)
        for half in HALVES
    }


def _agree_on_sizes(read: Mapping[str, ReadFile]) -> tuple[int, int]:
    """Return channels and scale; raises FormatError unless the tables agree on them."""
    outputs: dict[str, int] = {}
    for slot, each in read.items():
        shape = each.arrays[""].shape
        if len(shape) not in (2, 4) or shape[2:] not in ((), (1, 1)):
            raise FormatError(f"{each.path} has shape {shape}; a table is (rows, outputs) or (rows, outputs, 1, 1)")
        outputs[slot] = shape[1]
    channels = outputs["depthwise/high"]
    scale = math.isqrt(channels)
    # what comes out of the last lookup is added to what went in, so there are as many channels as pixels of a block
    if scale**2 != channels or not 2 <= scale <= math.isqrt(MAX_CHANNELS):
        raise FormatError(
            f"{read['depthwise/high'].path} has {channels} outputs; a model enlarges s times in s x s channels, 2 to 8"
        )
    for slot, count in outputs.items():
        if count != channels:
            raise FormatError(
                f"{read[slot].path} has {count} outputs; {read['depthwise/high'].path.name} has {channels}"
            )
    return channels, scale


def _read_half(half: Half, channels: int, read: Mapping[str, ReadFile], gains: ReadFile) -> Tables:
    """Return the tables of one half by their slots."""
    depthwise = _read_rows(read[f"depthwise/{half.name}"], channels)
    _require_rows(read[f"depthwise/{half.name}"], depthwise, WINDOW * half.size, f"9 pixels of {half.size} values")
    tables = {f"depthwise/{half.name}": lay_out(_split_outputs(depthwise, [half.size] * WINDOW))}
    for number, layer in enumerate(("pointwise", "up"), 1):
        scaled = _Scaled.read(half, gains, f"{_GAIN_NAMES[half.name]}{number}", channels)
        each = read[f"{layer}/{half.name}"]
        rows = _read_rows(each, channels)
        _require_rows(each, rows, sum(scaled.lengths), f"what the gains in {gains.path.name} make")
        tables[f"gain{number}/{half.name}"] = lay_out(list(scaled.clamped))
        tables[f"{layer}/{half.name}"] = lay_out(_split_outputs(scaled.spread(rows), [half.size] * channels))
    return tables


def _read_rows(each: ReadFile, outputs: int) -> NDArray[np.int64]:
    return require_integers(str(each.path), each.arrays[""]).reshape(-1, outputs)


def _require_rows(each: ReadFile, rows: NDArray[np.int64], needed: int, why: str) -> None:
    if len(rows) != needed:
        raise FormatError(f"{each.path} has {len(rows)} rows; {why} need {needed}")


def _split_outputs(rows: NDArray[np.int64], lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return one table for each tap and output of rows (taps end to end, outputs)."""
    return [tap[:, output] for tap in np.split(rows, np.cumsum(lengths)[:-1]) for output in range(rows.shape[1])]


@dataclass(frozen=True)
class _Scaled:
    """What the values of a half become when each channel is multiplied by its gain and rounded.

    Parameters
    ----------
    half : Half
    values : int64, (channels, size)
        Before they are clamped.
    """

    half: Half
    values: NDArray[np.int64]

    @classmethod
    def read(cls, half: Half, gains: ReadFile, name: str, channels: int) -> _Scaled:
        """Multiply as published, in float32; raises FormatError where the gains cannot be used."""
        if name not in gains.arrays:
            raise FormatError(f"{gains.path} has no array {name}: save the gains as hh1, hl1, hh2 and hl2")
        factors = gains.arrays[name]
        if factors.size != channels:
            raise FormatError(f"{gains.path} has {factors.size} gains in {name}; the tables have {channels} channels")
        # of what is no number both comparisons are false
        if not bool(((factors >= -MAX_GAIN) & (factors <= MAX_GAIN)).all()):
            raise FormatError(f"{gains.path} has gains in {name} that are no numbers of at most {MAX_GAIN}")
        each = np.arange(half.low, half.high + 1, dtype=np.float32)
        values = np.rint(factors.reshape(-1, 1).astype(np.float32) * each).astype(np.int64)
        # published, the lower bits are looked up from the first row on, which then must be that of 0
        if half is LOW and values.min() < 0:
            raise FormatError(f"{gains.path} has gains below 0 in {name}, which make values that have no rows")
        return cls(half, values)

    @property
    def lengths(self) -> list[int]:
        """How many rows of the file stand for each channel: from its smallest to its largest value."""
        return [int(each.max() - each.min()) + 1 for each in self.values]

    @property
    def clamped(self) -> NDArray[np.int64]:
        """The values that flow on, (channels, size)."""
        return self.values.clip(self.half.low, self.half.high)

    def spread(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return rows for every value of the half; those for which the file has none are never read, and zero."""
        spread = np.zeros((len(self.values), self.half.size, rows.shape[1]), np.int64)
        for channel, run in enumerate(np.split(rows, np.cumsum(self.lengths)[:-1])):
            first = int(self.values[channel].min())
            low, high = max(first, self.half.low), min(first + len(run) - 1, self.half.high)
            spread[channel, low - self.half.low : high - self.half.low + 1] = run[low - first : high - first + 1]
        return spread.reshape(-1, rows.shape[1])


def _build_program(channels: int, scale: int) -> Program:
    """Return the skeleton: both halves go their own ways and are added at the end (Jonas-KD/TinyLUT, test script)."""
    body: list[BodyOp] = []
    for half in HALVES:
        body += _build_half(half, channels)
    ends = tuple(f"up/{half.name}" for half in HALVES)
    body.append(Add(terms=ends, output="halves/sum"))
    body.append(_clamp_signed("halves/sum", "halves"))
    return Program(family=FAMILY, task="sr", ops=sum_turns(body, scale, onto_image=False))


def _build_half(half: Half, channels: int) -> list[BodyOp]:
    end = half.name
    depthwise, pointwise, up, gain1, gain2 = (
        f"{layer}/{end}" for layer in ("depthwise", "pointwise", "up", "gain1", "gain2")
    )
    each, window, square = (
        every_value(taps, outputs) for taps, outputs in ((channels, 1), (WINDOW, channels), (channels,) * 2)
    )
    return [
        half.split(),
        # the pixel itself is the bottom right one of the nine
        look_around(half.name, depthwise, half, window, first=-2, padding=Padding.REFLECT),
        half.clamp(f"{depthwise}/sum", depthwise, WINDOW, residual=half.name),
        # what is added after a layer is what has been multiplied before it
        map_channels(depthwise, gain1, half, each),
        half.clamp(f"{gain1}/sum", gain1),
        mix_channels(gain1, pointwise, half, square),
        half.clamp(f"{pointwise}/sum", pointwise, channels, residual=gain1),
        map_channels(pointwise, gain2, half, each),
        half.clamp(f"{gain2}/sum", gain2),
        mix_channels(gain2, up, half, square),
        _clamp_signed(f"{up}/sum", up, channels, residual=gain2),
    ]


def _clamp_signed(source: str, output: str, divisor: int = 1, residual: str | None = None) -> Requantise:
    """Return the op that divides, rounds, adds a plane and clamps to 8 signed bits."""
    return Requantise(
        input=source, output=output, bias=0, divisor=divisor, residual=residual, low=-MIDDLE, high=LARGEST
    )
