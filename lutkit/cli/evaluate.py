"""`lutkit eval`: score a model on pictures with known answers. May import click; everything else inside functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    ),
)
@model_argument
@click.option("--hr", type=PATH, required=True, help="Folder of pictures as they should come out.")
@click.option("--lr", type=PATH, help="Folder of degraded versions under the same names; made from --hr without it.")
@click.option(
    "--task", type=click.Choice(["sr", "denoise", "deblock"]), help="What the model undoes; default: its own."
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
    """
    import sys

    from lutkit.evaluate import mean_psnr, mean_ssim, plan_made_pairs, plan_read_pairs, score_pairs
    from lutkit.scoring import open_restorer

    restorer = open_restorer(model, task=task, sigma=sigma, quality=quality, backend=backend, threads=threads)
    plan = plan_read_pairs(hr, lr, restorer.task) if lr else plan_made_pairs(hr, restorer.task, seed)
    pairs = (read() for read in plan)
    scores = score_pairs(restorer.restore, pairs, restorer.task, total=len(plan), show_progress=sys.stderr.isatty())
    mean = {"psnr_y": mean_psnr(scores), "ssim_y": mean_ssim(scores)}
    if as_json:
        print_json({**_figures(**mean), "images": [_describe(score) for score in scores]})
        return
    width = max(len(score.name) for score in scores)
    click.echo(f"{restorer.description}, task {restorer.task.name}, {len(scores)} images", err=True)
    for score in scores:
        click.echo(f"{score.name:<{width}}  {score.psnr:8.4f} dB  {score.ssim:.5f}")
    click.echo(f"{'mean':<{width}}  {mean['psnr_y']:8.4f} dB  {mean['ssim_y']:.5f}")


def _describe(score: Score) -> dict[str, Any]:
    return {"name": score.name, **_figures(score.psnr, score.ssim)}


def _figures(psnr_y: float, ssim_y: float) -> dict[str, float | None]:
    """Return figures as JSON has them: an infinite PSNR or a missing SSIM is null."""
    return {
        name: value if abs(value) < float("inf") else None for name, value in (("psnr_y", psnr_y), ("ssim_y", ssim_y))
    }
