"""Train the networks of a family: writes a run folder. Imports torch; family-blind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.allocator import keep_large_buffers
from lutkit.checkpoints import load_checkpoint, load_networks, save_networks
from lutkit.configuration import RunConfig
from lutkit.degradation import Task
from lutkit.evaluate import Pair, mean_finite_psnr, score_pairs, validate_size
from lutkit.families import find_family
from lutkit.loop import Loop, Progress, check_tensorboard
from lutkit.photos import GENERATED_NOTE, gather_photos
from lutkit.run import Run
from lutkit.trainable import NetworkModel, round_tables
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError
from lutkit_runtime.program import Program, Tables

NETWORK_VALIDATION_SIDE = 48
"""Networks are validated on crops of this side (before enlargement): evaluating them at every sample is slow."""


@dataclass(frozen=True)
class Watch:
    """What a caller sees of a long task.

    Parameters
    ----------
    say : callable
        Takes one line for people.
    show_progress : bool
        Draw a progress bar on stderr.
    tensorboard : bool
        Write TensorBoard's event files into the run folder.
    """

    say: Callable[[str], None]
    show_progress: bool = False
    tensorboard: bool = False


def choose_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` means; raises DataError where there is no GPU for `cuda`."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DataError("--device cuda: torch sees no GPU here; use --device cpu or install a CUDA build of torch")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes bfloat16 matrix products in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    return bool(features.get("avx512bf16") or features.get("amx-bf16"))


def train(run: Run, config: RunConfig, device: torch.device, watch: Watch, *, resume: bool = False) -> Progress:
    """Train networks from scratch or from the run's checkpoint; writes the best ones into the run.

    Nothing is written before configuration and photos have been found usable; then a run that starts anew takes the
    place of what the folder holds of an earlier one.

    Raises
    ------
    Interrupted
        After SIGINT or SIGTERM; the checkpoint is written.
    DataError
        Where configuration, photos or checkpoint cannot be used.
    """
    if resume:
        load_checkpoint(run.checkpoint_file)  # refused before photos are read, which takes long
    config.recipe.validate()
    if watch.tensorboard:
        check_tensorboard()
    task = config.task
    family = find_family(config.family)
    for phase in config.recipe.phases:
        interval = config.model.interval if phase.interval is None else phase.interval
        family.skeleton(msgspec.structs.replace(config.model, interval=interval))
    keep_large_buffers()
    photos = gather_photos(_path(config.data), _path(config.val), task, config.seed)
    photos.source.validate_crop(config.recipe.crop)
    for pair in photos.pairs:
        validate_size(pair.name, pair.target, task)
    if config.data is None:
        watch.say(GENERATED_NOTE)
    watch.say(f"training on {photos.description}, validating on {len(photos.pairs)} {photos.pairs_description}")
    last = config.recipe.phases[-1].interval
    if last not in (None, config.model.interval):
        watch.say(
            f"training ends at interval {last}, but lutkit transfer makes tables of interval {config.model.interval}"
        )
    if not resume:
        run.clear()
        run.write_config(config)
    torch.manual_seed(config.seed)
    model = NetworkModel(family, config.model, low_precision=has_fast_bfloat16(device))
    model.module.to(device)
    crops = [_crop_pair(pair, task, NETWORK_VALIDATION_SIDE) for pair in photos.pairs]

    def validate(step: int) -> float:
        interval = config.recipe.interval_at(step - 1)
        if interval is None:
            return mean_finite_psnr(score_pairs(model.restore, crops, task))
        with torch.no_grad():
            tables = round_tables(model.tables(interval))
        return validate_tables(model.program_at(interval), tables, photos.pairs, task)

    loop = Loop(
        model=model,
        recipe=config.recipe,
        unit=1.0,
        source=photos.source,
        validate=validate,
        seed=config.seed,
        checkpoint=run.checkpoint_file,
        log=run.log_file,
        tensorboard=run.folder / "tensorboard" if watch.tensorboard else None,
        show_progress=watch.show_progress,
    )
    try:
        progress = loop.run(resume=resume)
    except BaseException:
        # A new run without a checkpoint cannot be resumed: what is left would only keep the next one from starting.
        if not resume and not run.checkpoint_file.exists():
            run.clear()
        raise
    save_networks(run.network_file, model.module.state_dict())
    return progress


def load_model(run: Run, config: RunConfig) -> NetworkModel:
    """Return the run's best networks; raises DataError where there are none or they do not fit the configuration."""
    model = NetworkModel(find_family(config.family), config.model)
    try:
        model.load(load_networks(run.network_file))
    except RuntimeError as error:
        raise DataError(f"networks {run.network_file} do not fit {run.config_file}: train again") from error
    return model


def validate_tables(program: Program, tables: Tables, pairs: Sequence[Pair], task: Task) -> float:
    """Return the mean PSNR of tables, applied as the runtime applies them, in dB."""
    model = Model(program, tables)
    return mean_finite_psnr(score_pairs(lambda image: restore_with(model, image), pairs, task))


def restore_with(model: Model, image: NDArray[np.uint8]) -> NDArray[Any]:
    """Apply an artefact's model to an image with as many threads as torch uses."""
    return model.apply(image, threads=torch.get_num_threads())


def _crop_pair(pair: Pair, task: Task, side: int) -> Pair:
    """Return the middle of a pair."""
    height, width = (min(side, length) for length in pair.degraded.shape[:2])
    top, left = (pair.degraded.shape[0] - height) // 2, (pair.degraded.shape[1] - width) // 2
    scale = task.scale
    return Pair(
        pair.name,
        pair.degraded[top : top + height, left : left + width],
        pair.target[top * scale : (top + height) * scale, left * scale : (left + width) * scale],
    )


def _path(folder: str | None) -> Path | None:
    return Path(folder) if folder is not None else None
