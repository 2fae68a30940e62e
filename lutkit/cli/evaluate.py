"""`lutkit eval`: score a model on pictures with known answers. May import click; everything else inside functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lutkit.cli.options import (
    PATH,
    backend_option,
    examples,
    json_option,
    model_argument,
    print_json,
    seed_option,
    threads_option,
)

if TYPE_CHECKING:
    from lutkit.evaluate import Score


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit eval sr-x4 --hr Set5/HR --lr Set5/LR_bicubic/X4",
        "lutkit eval denoise-25 --hr photos --sigma 25",
        "lutkit eval runs/default --hr photos --json",
        "lutkit eval runs/retouch --hr pairs/target --lr pairs/input",
        "lutkit eval runs/relight --hr scenes",
    ),
)
@model_argument
@click.option("--hr", type=PATH, required=True, help="Folder of pictures as they should come out, or of scenes.")
@click.option("--lr", type=PATH, help="Folder of degraded versions under the same names; made from --hr without it.")
@click.option(
    "--task",
    type=click.Choice(["sr", "denoise", "deblock", "retouch", "detail", "lowlight", "relight"]),
    help="What the model undoes; default: its own.",
)
@click.option("--sigma", type=click.FloatRange(0, 255, min_open=True), help="Noise level; default: the model's.")
@click.option("--quality", type=click.IntRange(1, 100), help="JPEG quality; default: the model's.")
@seed_option
@backend_option
@threads_option
@json_option
def command(
    model: str,
    hr: Path,
    lr: Path | None,
    task: str | None,
    sigma: float | None,
    quality: int | None,
    seed: int,
    backend: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Score a model on pictures with known answers.

    MODEL is a built-in name, an artefact or a run folder. Super-resolution: PSNR and SSIM of the luma (BT.601, 16 to
    235), pictures cropped to a multiple of the scale, PSNR without a border as wide as the scale; degraded versions are
    made as MATLAB's bicubic makes them. Denoising and deblocking: gray pictures of 8 bits, noise of a fixed seed.
    Retouching, looks, low light and relighting: 8-bit RGB, PSNR over all channels, SSIM, and the mean CIE 1976 colour
    difference. Relighting reads scenes: --hr holds a folder for each, with depth.png (16-bit gray, dark where it is near)
    and a light_NAME.png for every light; every scene is brought to every light by the guide of another scene.
    """
    import sys

    from lutkit.evaluate import score_pairs
    from lutkit.scoring import open_restorer, plan_pairs

    restorer = open_restorer(model, task=task, sigma=sigma, quality=quality, backend=backend, threads=threads)
    in_colour = restorer.task.scores_colour
    plan = plan_pairs(hr, lr, restorer.task, seed)
    pairs = (read() for read in plan)
    scores = score_pairs(restorer.restore, pairs, restorer.task, total=len(plan), show_progress=sys.stderr.isatty())
    mean = _mean(scores)
    if as_json:
        images = [{"name": score.name, **_figures(score, in_colour=in_colour)} for score in scores]
        print_json({**_figures(mean, in_colour=in_colour), "images": images})
        return
    width = max(len(score.name) for score in scores)
    click.echo(f"{restorer.description}, task {restorer.task.name}, {len(scores)} images", err=True)
    for score in (*scores, mean):
        colour = "" if score.delta_e is None else f"  {score.delta_e:7.3f} dE"
        click.echo(f"{score.name:<{width}}  {score.psnr:8.4f} dB  {score.ssim:.5f}{colour}")


def _mean(scores: Sequence[Score]) -> Score:
    from lutkit.evaluate import Score, mean_delta_e, mean_psnr, mean_ssim

    delta_e = mean_delta_e(scores) if scores[0].delta_e is not None else None
    return Score("mean", mean_psnr(scores), mean_ssim(scores), delta_e)


def _figures(score: Score, *, in_colour: bool) -> dict[str, float | None]:
    """Return figures as JSON has them: an infinite PSNR or a missing SSIM is null."""
    if in_colour:
        figures: dict[str, float | None] = {"psnr": score.psnr, "ssim": score.ssim, "delta_e": score.delta_e}
    else:
        figures = {"psnr_y": score.psnr, "ssim_y": score.ssim}
    finite = {name: value for name, value in figures.items() if value is not None and abs(value) < float("inf")}
    return {name: finite.get(name) for name in figures}
