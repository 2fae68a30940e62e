"""Measure image-adaptive 3D LUTs on few pairs: overfitting, and cross-validation beside the best static LUT.

Example
-------
    python tools/crossvalidate_retouch.py PAIRS --folds 8 --start runs/retouch

PAIRS is a folder with the folder ``input`` and one other, as `lutkit train adaptive-3dlut --data` reads it. Every pair
is left out once. Scores are those of `lutkit eval`, on whole pictures.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.colour.lookup import look_up
from lutkit.colour.model import start_tables
from lutkit.colour.pictures import find_pair_folders, match_pairs, read_colours, read_target
from lutkit.colour.workbench import load_model
from lutkit.configuration import RunConfig, override, read_config
from lutkit.degradation import Retouch
from lutkit.evaluate import Pair, Score, mean_delta_e, mean_psnr, mean_ssim, score_pairs
from lutkit.families import adaptive_3dlut
from lutkit.losses import measure_decreases, measure_smoothness
from lutkit.run import Run
from lutkit.threads import settle_threads
from lutkit.train import train
from lutkit.workbench import Watch
from lutkit_runtime.cube import CubeInterpolation, scale_to_depth
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops.blend import to_unit

TASK = Retouch()
STATIC_SAMPLES = 16384
STATIC_STEPS = 300


def link_pairs(paths: list[tuple[Path, Path]], folder: Path) -> Path:
    """Return a folder of links to pairs."""
    for name in ("input", "target"):
        (folder / name).mkdir(parents=True)
    for before, after in paths:
        (folder / "input" / before.name).symlink_to(before.resolve())
        (folder / "target" / after.name).symlink_to(after.resolve())
    return folder


def read_pairs(paths: list[tuple[Path, Path]]) -> list[Pair]:
    """Return pairs at their full size."""
    return [Pair(after.stem, read_colours(before), read_target(after)) for before, after in paths]


def fit_static(pairs: list[Pair], weight: float) -> torch.Tensor:
    """Return the one cube (1, 3, 33, 33, 33) that maps inputs to targets best, by least squares, smooth."""
    rng = np.random.default_rng(0)
    rows: list[list[NDArray[np.float32]]] = [[], []]
    for pair in pairs:
        chosen = rng.choice(pair.target.size // 3, STATIC_SAMPLES)
        for side, image in zip(rows, (pair.degraded, pair.target), strict=True):
            side.append(to_unit(image).reshape(-1, 3)[chosen])
    inputs, targets = (torch.from_numpy(np.stack(side).transpose(0, 2, 1)[:, :, None].copy()) for side in rows)
    cube = torch.nn.Parameter(start_tables(1, 33))
    optimiser = torch.optim.Adam([cube], lr=5e-3)
    for step in range(STATIC_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - step / STATIC_STEPS)
        error = (look_up(inputs, cube, CubeInterpolation.TRILINEAR) - targets).square().mean()
        loss = error + weight * measure_smoothness(cube) + measure_decreases(cube)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return cube.detach()


def apply_static(cube: torch.Tensor, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture looked up in a cube."""
    planes = torch.from_numpy(np.ascontiguousarray(to_unit(image).transpose(2, 0, 1)))[None]
    out = look_up(planes, cube, CubeInterpolation.TRILINEAR)[0].numpy().transpose(1, 2, 0)
    return scale_to_depth(np.ascontiguousarray(out), image.dtype)


def describe(name: str, scores: list[Score]) -> str:
    """Return the means of scores as a line."""
    return f"{name:<28} {mean_psnr(scores):7.3f} dB  {mean_ssim(scores):.4f}  {mean_delta_e(scores):6.3f} dE"


@click.command()
@click.argument("pairs", type=click.Path(path_type=Path, exists=True))
@click.option("--folds", default=8, show_default=True, help="1 trains and scores on all pairs: overfitting.")
@click.option("--config", type=click.Path(path_type=Path), help="Fields that differ from the quick preset.")
@click.option("--start", help="Run whose networks training starts from.")
@click.option("--static-smoothness", default=1e-2, show_default=True)
def main(pairs: Path, folds: int, config: Path | None, start: str | None, static_smoothness: float) -> None:
    """Train on all folds but one, score on that one, and print the means."""
    settle_threads()
    folders = find_pair_folders(pairs)
    if folders is None:
        raise DataError(f"{pairs} holds no pairs: it needs the folder input and one with targets")
    paths = match_pairs(folders)
    made = RunConfig(
        family="adaptive-3dlut",
        model=adaptive_3dlut.configure("quick", None),
        recipe=adaptive_3dlut.QUICK,
        start=start,
    )
    if config:
        made = override(made, read_config(config), str(config))
    totals: dict[str, list[Score]] = {"identity": [], "best static LUT": [], "adaptive 3D LUT": []}
    for fold in range(folds):
        held = [path for number, path in enumerate(paths) if number % folds == fold]
        kept = [path for path in paths if folds == 1 or path not in held]
        folder = Path(tempfile.mkdtemp())
        try:
            run = Run(folder / "run")
            data = str(link_pairs(kept, folder / "train"))
            # The last step is kept: choosing a step by the fold that is held out would score it too well.
            recipe = msgspec.structs.replace(made.recipe, validate_every=made.recipe.steps)
            chosen = msgspec.structs.replace(made, recipe=recipe, data=data, val=data)
            train(run, chosen, torch.device("cpu"), Watch(say=lambda _line: None))
            adaptive = load_model(run, chosen.model)
            cube = fit_static(read_pairs(kept), static_smoothness)
            scored = read_pairs(held)
            totals["identity"] += score_pairs(lambda image: image, scored, TASK)
            totals["best static LUT"] += score_pairs(lambda image, cube=cube: apply_static(cube, image), scored, TASK)
            totals["adaptive 3D LUT"] += score_pairs(adaptive.restore, scored, TASK)
        finally:
            shutil.rmtree(folder)
        click.echo(f"fold {fold + 1} of {folds}: " + ", ".join(f"{mean_psnr(each):.2f}" for each in totals.values()))
    for name, scores in totals.items():
        click.echo(describe(name, scores))


if __name__ == "__main__":
    main()
