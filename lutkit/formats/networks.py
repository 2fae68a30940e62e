"""Published networks of SR-LUT and MuLUT: arrays of a state dict to a run folder, ready for transfer.

Layouts: ddlee-cn/MuLUT (``s{stage}_{pattern}.model.conv1.conv.weight`` ...) and yhjo09/SR-LUT (``conv1.weight`` ...).
Files are read without running anything in them: a pickled module is refused. Imports torch.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch

from lutkit.checkpoints import save_networks
from lutkit.configuration import AnyConfig, Origin, RunConfig
from lutkit.degradation import choose_task
from lutkit.families import find_family
from lutkit.families.spatial import SpatialConfig
from lutkit.formats.arrays import read_arrays
from lutkit.run import Run
from lutkit.trainable import NetworkModel, name_in_module
from lutkit_runtime.errors import FormatError

Arrays = Mapping[str, torch.Tensor]

_SLOT = re.compile(r"s(?P<stage>\d)_(?P<pattern>[a-z]+)\.model\.(?P<rest>.+)")
_DENSE_LAYERS = {
    "enter": "conv1.conv",
    **{f"hidden.{depth}": f"conv{depth + 2}.conv1.conv" for depth in range(4)},
    "leave": "conv6.conv",
}
_PLAIN_LAYERS = {"enter": "conv1", **{f"hidden.{depth}": f"conv{depth + 2}" for depth in range(4)}, "leave": "conv6"}
_PATTERN_OF_SAMPLES = {4: "s", 3: "f", 2: "v"}


def import_network(kind: str, source: Path, run: Run, *, task: str | None = None, overwrite: bool = False) -> AnyConfig:
    """Write a published network as a run folder and return its configuration.

    Parameters
    ----------
    kind : str
        ``mulut`` or ``sr-lut``.
    source : Path
        State dict (.pth, .pt, .safetensors) or arrays (.npz).
    run : Run
        Where to write it.
    task : str, optional
        What the networks undo; ``sr`` where they enlarge, else ``denoise``.
    overwrite : bool
        Replace a run that is there.

    Raises
    ------
    FormatError
        Where the file cannot be read safely or is no such network.
    DataError
        Where the run exists or cannot be written, or the task does not fit the scale.
    """
    if kind not in ("mulut", "sr-lut"):
        raise FormatError(f"networks of kind '{kind}' are not read: the kinds are mulut, sr-lut")
    run.check_free(overwrite=overwrite, option="-o")
    arrays = {name.removeprefix("module."): array for name, array in read_arrays(source).items()}
    model, slots = _read_mulut(arrays, source) if kind == "mulut" else _read_srlut(arrays, source)
    model = msgspec.structs.replace(model, task=choose_task(task, model.scale))
    with source.open("rb") as file:
        origin = Origin(kind=kind, file=source.name, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    config = RunConfig(family=kind, model=model, recipe=find_family(kind).presets["paper"], origin=origin)
    parameters = {
        f"{name_in_module(slot)}.network.{name}": value
        for slot, values in slots.items()
        for name, value in values.items()
    }
    try:
        NetworkModel(find_family(kind), model).load(parameters)
    except RuntimeError as error:
        raise FormatError(f"{source} is no {kind} network that lutkit knows: its layers have other shapes") from error
    run.clear()
    run.write_config(config)
    save_networks(run.network_file, parameters)
    return config


def _read_mulut(arrays: Arrays, source: Path) -> tuple[SpatialConfig, dict[str, dict[str, torch.Tensor]]]:
    blocks: dict[tuple[int, str], dict[str, torch.Tensor]] = {}
    for name, array in arrays.items():
        match = _SLOT.fullmatch(name)
        if not match:
            raise FormatError(f"{source} holds '{name}', which no MuLUT network has: is it of another kind?")
        blocks.setdefault((int(match["stage"]), match["pattern"]), {})[match["rest"]] = array
    stages = sorted({stage for stage, _ in blocks})
    patterns = tuple(dict.fromkeys(pattern for _, pattern in blocks))
    missing = [f"s{stage}_{pattern}" for stage in stages for pattern in patterns if (stage, pattern) not in blocks]
    if not stages or stages != list(range(1, len(stages) + 1)) or missing:
        raise FormatError(
            f"{source} holds stages {stages} with {', '.join(missing) or 'none'} missing: every stage is needed"
        )
    slots = {
        f"stage{stage}/{pattern}": _read_layers(block, _DENSE_LAYERS, source)
        for (stage, pattern), block in blocks.items()
    }
    return _describe(slots, stages[-1], patterns, source), slots


def _read_srlut(arrays: Arrays, source: Path) -> tuple[SpatialConfig, dict[str, dict[str, torch.Tensor]]]:
    layers = _read_layers(arrays, _PLAIN_LAYERS, source)
    samples = layers["enter.weight"].shape[1]
    if samples not in _PATTERN_OF_SAMPLES:
        raise FormatError(f"{source} reads {samples} samples; SR-LUT networks read 2 (v), 3 (f) or 4 (s)")
    pattern = _PATTERN_OF_SAMPLES[samples]
    slots = {f"stage1/{pattern}": layers}
    return _describe(slots, 1, (pattern,), source), slots


def _read_layers(arrays: Arrays, layers: Mapping[str, str], source: Path) -> dict[str, torch.Tensor]:
    """Return the arrays under lutkit's names; convolutions over a pattern become linear layers of its samples."""
    found: dict[str, torch.Tensor] = {}
    for own, published in layers.items():
        for part in ("weight", "bias"):
            array = arrays.get(f"{published}.{part}")
            if array is None:
                raise FormatError(f"{source} lacks '{published}.{part}': is the file complete and of this kind?")
            if array.ndim < 1 or not array.is_floating_point() or not torch.isfinite(array).all():
                raise FormatError(f"{source} has '{published}.{part}' that is no array of finite numbers")
            # A kernel of one input channel covers the samples in row-major order, which is their index order.
            found[f"{own}.{part}"] = array.float().reshape(array.shape[0], -1) if part == "weight" else array.float()
    return found


def _describe(
    slots: Mapping[str, Mapping[str, torch.Tensor]], stages: int, patterns: tuple[str, ...], source: Path
) -> SpatialConfig:
    last = next(layers for slot, layers in slots.items() if slot.startswith(f"stage{stages}/"))
    outputs, scale = last["leave.bias"].shape[0], math.isqrt(last["leave.bias"].shape[0])
    if scale * scale != outputs:
        raise FormatError(f"{source} gives {outputs} values per pixel, which is no square block")
    return SpatialConfig(patterns=patterns, stages=stages, scale=scale, width=last["enter.bias"].shape[0])
