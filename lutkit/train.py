"""Train the networks of a family: writes a run folder. Imports torch; family-blind."""

from __future__ import annotations

from pathlib import Path

import torch

from lutkit.allocator import keep_large_buffers
from lutkit.checkpoints import load_checkpoint, load_networks, save_networks
from lutkit.configuration import AnyConfig
from lutkit.families import find_family
from lutkit.loop import Loop, Progress, check_tensorboard
from lutkit.parallel import ALONE, Crew, find_place
from lutkit.precision import check_precision, multiply_in
from lutkit.run import Run
from lutkit.workbench import Watch, find_workbench
from lutkit_runtime.errors import DataError


def choose_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` means; raises DataError where there is no GPU for `cuda`.

    Of several processes on a machine, each has a GPU of its own.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DataError("--device cuda: torch sees no GPU here; use --device cpu or install a CUDA build of torch")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    crew, number = find_place()
    if crew.size == 1:
        return torch.device("cuda")
    if number >= torch.cuda.device_count():
        raise DataError(
            f"process {number} of this machine finds {torch.cuda.device_count()} GPUs: start as many processes as there "
            "are GPUs, or train with --device cpu"
        )
    return torch.device("cuda", number)


def train(
    run: Run, config: AnyConfig, device: torch.device, watch: Watch, *, resume: bool = False, crew: Crew = ALONE
) -> Progress:
    """Train networks from scratch or from the run's checkpoint; writes the best ones into the run.

    Nothing is written before configuration and photos have been found usable; then a run that starts anew takes the
    place of what the folder holds of an earlier one. The processes of a crew do this together, each with the same
    arguments; one writes.

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
    crew.check_batch(config.recipe.batch)
    check_precision(config.precision, device)  # before photos are read, which takes long
    if watch.tensorboard:
        check_tensorboard()
    workbench = find_workbench(find_family(config.family))
    workbench.check(config)
    start = load_networks(Run(Path(config.start)).network_file) if config.start else None
    keep_large_buffers()
    materials = workbench.gather(config, watch)
    torch.manual_seed(config.seed)
    training = workbench.build(config, materials, device)
    if start is not None and not resume:
        try:
            training.objective.module.load_state_dict(start)
        except RuntimeError as error:
            raise DataError(f"networks of {config.start} are of another shape: start from a run made alike") from error
    if not resume and crew.leads:
        run.clear()
        run.write_config(config)

    def validate(step: int) -> float:
        with multiply_in("fp32"):
            return training.validate(step)

    loop = Loop(
        objective=training.objective,
        recipe=config.recipe,
        unit=1.0,
        validate=validate,
        seed=config.seed,
        checkpoint=run.checkpoint_file,
        log=run.log_file,
        tensorboard=run.folder / "tensorboard" if watch.tensorboard else None,
        show_progress=watch.show_progress,
        crew=crew,
    )
    try:
        with multiply_in(config.precision):
            progress = loop.run(resume=resume)
    except BaseException:
        # A new run without a checkpoint cannot be resumed: what is left would only keep the next one from starting.
        if crew.leads and not resume and not run.checkpoint_file.exists():
            run.clear()
        raise
    if crew.leads:
        save_networks(run.network_file, training.objective.module.state_dict())
        if training.count_visits is not None:
            run.write_visits(training.count_visits())
    watch.say(
        f"best of {progress.step} steps: step {progress.best_step}, {training.measure} {progress.best_psnr:.3f} dB, "
        f"{progress.seconds / 60:.1f} minutes"
    )
    return progress
