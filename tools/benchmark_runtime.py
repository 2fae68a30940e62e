"""Measure the runtime's MuLUT against independent implementations, all taking turns on one image.

Example
-------
    python tools/benchmark_runtime.py IMAGE TABLES --yardsticks FOLDER

IMAGE is a photo, of which a 320 x 180 crop is enlarged to 1280 x 720. TABLES holds the six published tables of
ddlee-cn/MuLUT (MIT). FOLDER holds plain_mulut.py and numpy_mulut.py, each with ``run(image, first, last)``; without it
only the runtime's own engines are measured. Figures of a busy machine are noisy: the ratios are what to look at.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import click
import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark import HEIGHT, WIDTH, Contender, make_contenders, make_mulut, measure_interleaved
from lutkit_runtime.engine import Model

PATTERNS = "sdy"


def read_model(folder: Path) -> Model:
    """Return MuLUT-SDY-X2 at scale 4 with the published tables."""
    tables = {
        f"stage{stage}/{pattern}": np.load(folder / f"LUT_ft_x4_4bit_int8_s{stage}_{pattern}.npy").reshape(17**4, -1)
        for stage in (1, 2)
        for pattern in PATTERNS
    }
    return Model(make_mulut().program, tables)


def read_crop(path: Path) -> NDArray[np.uint8]:
    """Return the middle of a photo, (180, 320, 3)."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None or image.shape[0] < HEIGHT or image.shape[1] < WIDTH:
        raise click.BadParameter(f"{path} is no picture of at least {WIDTH} x {HEIGHT} pixels")
    top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH], dtype=np.uint8)


def import_file(path: Path) -> ModuleType:
    """Import a Python file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise click.BadParameter(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_yardsticks(folder: Path, model: Model, image: NDArray[np.uint8]) -> list[Contender]:
    """Return the independent implementations in `folder`; raises where their bytes differ from the model's."""
    first = np.stack([model.tables[f"stage1/{pattern}"][:, 0] for pattern in PATTERNS])
    last = np.stack([model.tables[f"stage2/{pattern}"] for pattern in PATTERNS])
    plain = import_file(folder / "plain_mulut.py")
    vectorised = import_file(folder / "numpy_mulut.py")

    def run_plain(threads: int) -> NDArray[np.uint8]:
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        result = plain.run(image, first, last)
        numba.set_num_threads(before)
        return result

    def run_vectorised() -> NDArray[np.uint8]:
        return vectorised.run(image, first[..., None], last)

    expected = model.apply(image)
    for result in (run_plain(1), run_vectorised()):
        if not np.array_equal(result, expected):
            raise click.ClickException("an independent implementation gives other bytes")
    return [
        Contender("plain Numba loop", 1, lambda: run_plain(1)),
        Contender("plain Numba loop", 2, lambda: run_plain(2)),
        Contender("vectorised NumPy", 1, run_vectorised),
    ]


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("tables", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--yardsticks", type=click.Path(file_okay=False, path_type=Path), help="Independent implementations.")
@click.option("--rounds", default=31, show_default=True, help="Measurements of each, of which the median counts.")
def main(image: Path, tables: Path, yardsticks: Path | None, rounds: int) -> None:
    """Print milliseconds and ratios."""
    model, crop = read_model(tables), read_crop(image)
    contenders = make_contenders(model, crop)
    if yardsticks is not None and yardsticks.is_dir():
        contenders += make_yardsticks(yardsticks, model, crop)
    load = os.getloadavg()[0]
    medians = measure_interleaved(contenders, rounds)
    named = {(it.engine, it.threads): taken for it, taken in zip(contenders, medians, strict=True)}
    click.echo(
        f"{WIDTH}x{HEIGHT} RGB to {WIDTH * 4}x{HEIGHT * 4}; {os.cpu_count()} cores, load {load:.1f} at the start"
    )
    for (engine, threads), taken in named.items():
        click.echo(f"{engine:18} {threads} thread{'s' if threads > 1 else ' '} {taken:9.2f} ms")
    pairs = (
        (("plain Numba loop", 1), ("cpu", 1)),
        (("plain Numba loop", 2), ("cpu", 2)),
        (("vectorised NumPy", 1), ("cpu", 1)),
        (("cpu", 1), ("cpu", 2)),
    )
    for slow, fast in pairs:
        if slow in named and fast in named:
            ratio = named[slow] / named[fast]
            click.echo(f"{slow[0]} ({slow[1]}) / {fast[0]} ({fast[1]}) = {ratio:.2f}")


if __name__ == "__main__":
    main()
