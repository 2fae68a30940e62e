"""`lutkit train`: train the networks of a model. May import click; the train side inside functions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from lutkit import DEFAULT_RUN
from lutkit.cli.options import PATH, LazyChoice, device_option, examples, optional_seed_option, overwrite_option


def _list_families() -> Iterable[str]:
    from lutkit.families import FAMILIES

    return FAMILIES


class _Windows(click.ParamType):
    """Sizes of windows, such as 3,5,7."""

    name = "windows"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return an example, which says more than a name."""
        return "3,5,7"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the sizes, else fail as wrong usage."""
        from lutkit_runtime.ops.reconstructed_convolution import WINDOWS

        known = {str(size): size for size in WINDOWS}
        parts = [part.strip() for part in value.split(",")]
        if not all(part in known for part in parts):
            self.fail(f"'{value}' is not sizes of windows, each {', '.join(known)}, joined by commas", param, ctx)
        return tuple(known[part] for part in parts)


@click.command(
    epilog=examples(
        "lutkit train",
        "lutkit train --data photos --val photos-val --scale 2 --run runs/x2",
        "lutkit train sr-lut --task denoise --sigma 15",
        "lutkit train mulut --rc 5,7,3 --run runs/windows",
        "lutkit train tiny-lut --run runs/tiny",
        "lutkit train adaptive-3dlut --data pairs --run runs/retouch",
        "lutkit train hdrnet --task detail --data photos --run runs/detail",
        "lutkit train pairlie --data scenes --run runs/lowlight",
        "lutkit train s3net --data scenes-lit --run runs/relight",
        "lutkit train --resume",
    ),
)
@click.argument("family", required=False, type=LazyChoice("family", _list_families), metavar="[FAMILY]")
@click.option(
    "--data",
    type=PATH,
    help="Folder of photos to train on, of two folders of pairs, or of a folder for each scene; generated images without "
    "it.",
)
@click.option("--val", type=PATH, help="Folder of photos to validate on; without it some of the data are held out.")
@click.option(
    "--task",
    type=click.Choice(["sr", "denoise", "deblock", "retouch", "detail", "lowlight", "relight"]),
    help="What the model undoes; default: what its family is for, such as sr or retouch.",
)
@click.option("--scale", type=click.IntRange(1, 4), help="Enlargement; default: 4 for sr, else 1.")
@click.option(
    "--sigma", type=click.FloatRange(0, 255, min_open=True), help="Noise to remove, in 8-bit codes; default: 25."
)
@click.option("--quality", type=click.IntRange(1, 100), help="JPEG quality to repair; default: 10.")
@click.option(
    "--rc",
    type=_Windows(),
    help="mulut, sr-lut: read codes that a window of so many pixels a side makes (3, 5, 7 or 9); one window for all "
    "patterns, or one for each. rclut: the windows of its stages; default: 3,5,7.",
)
@click.option(
    "--unpaired", is_flag=True, default=None, help="adaptive-3dlut: learn from two sets of pictures that are no pairs."
)
@click.option("--run", "run", type=PATH, default=DEFAULT_RUN, show_default=True, help="Folder of the run.")
@click.option(
    "--preset",
    type=click.Choice(["quick", "paper"]),
    help="quick (default): within ten minutes on 2 cores; paper: as published.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimisation steps; default: the preset's.")
@click.option("--start", type=PATH, help="Run whose networks training starts from.")
@click.option("--config", type=PATH, help="JSON or TOML file of fields that differ from the preset.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "tf32", "bf16"]),
    help="Numbers in which networks are computed while training; default: auto, what the device does fast and the family "
    "bears.",
)
@optional_seed_option
@device_option
@click.option("--tensorboard", is_flag=True, help="Write event files for TensorBoard into the run.")
@click.option("--resume", is_flag=True, help="Go on from the run's checkpoint.")
@overwrite_option
def command(run: Path, device: str, tensorboard: bool, resume: bool, overwrite: bool, **choices: Any) -> None:
    """Train the networks of a model.

    FAMILY is mulut (the default: tables of several pixels, in stages), sr-lut (one such table), rclut (wide windows of
    small tables before them), tiny-lut (tables of single values, the smallest and fastest), adaptive-3dlut
    (retouching), hdrnet (retouching by place and brightness, or local contrast), pairlie (dark photos) or s3net (the
    light of another picture). The run folder receives the networks, a log and checkpoints; stopping with Ctrl-C leaves a
    checkpoint, from which --resume goes on as if nothing had happened. For adaptive-3dlut and hdrnet, --data is a folder
    with the folder input and one other, which hold pictures of the same names before and after, or a folder of good
    photos, of which the task makes pairs. For pairlie it holds a folder for each scene with two or more dark exposures
    (one named ref shows the scene well lit), or good photos; for s3net a folder for each scene with depth.png and a
    light_NAME.png for every light. Next: lutkit transfer.
    """
    from lutkit.cli.training import make_config, report_interruption, watch_of
    from lutkit.parallel import join_crew
    from lutkit.run import Run
    from lutkit.train import choose_device, train

    folder = Run(run)
    torch_device = choose_device(device)
    with report_interruption(f"lutkit train --run {run} --resume"), join_crew(torch_device) as crew:
        if resume:
            given = [_name_option(name) for name, value in choices.items() if value is not None]
            if given:
                raise click.UsageError(f"--resume goes on as the run began: leave {', '.join(given)} out")
            config = folder.read_config()
        else:
            if crew.leads:  # the others may look when it has written already
                folder.check_free(overwrite=overwrite, option="--run", resumable=True)
            config = make_config(**choices)
        crew.meet()
        watch = watch_of(crew, tensorboard=tensorboard)
        train(folder, config, torch_device, watch, resume=resume, crew=crew)
        watch.say(f"next: lutkit transfer{'' if run == DEFAULT_RUN else f' {run}'}")


def _name_option(name: str) -> str:
    return "FAMILY" if name == "family" else f"--{name}"
