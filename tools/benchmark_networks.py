"""Measure table networks against other programs: RCLUT against a plain MuLUT, sr-x4-tiny against FSRCNN.

Example
-------
    python tools/benchmark_networks.py IMAGE --rclut MODEL --yardsticks FOLDER --tables FOLDER

IMAGE is a photo, of which a 320 x 180 crop is enlarged to 1280 x 720, all taking turns on two threads. FSRCNN (Dong et
al., ECCV 2016, with 56, 12 and 4 layers) runs in ONNX Runtime on the three channels as a batch; its weights are random,
which does not change its time. MODEL is an RCLUT artefact, by default one with random tables. FOLDER of yardsticks holds
plain_mulut.py with ``run(image, first, last)``, whose bytes are checked, that of tables the six published ones of
ddlee-cn/MuLUT (MIT), in place of random ones; without yardsticks RCLUT is measured beside
this runtime's own MuLUT only. Look at the ratios: figures of a busy machine are noisy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numba
import numpy as np
from benchmark_runtime import PATTERNS, import_file, read_crop, read_model
from numpy.typing import NDArray

from lutkit.benchmark import Contender, make_mulut, measure_interleaved
from lutkit.benchmark.networks import make_fsrcnn, make_onnxruntime
from lutkit.benchmark.spatial import SCALE, make_rclut
from lutkit.resolve import find_model, open_model
from lutkit_runtime.engine import Model

RATIO_OF_RCLUT = 1.2
"""At most so many times the plain loop's."""
RATIO_OF_MULUT = 1.0
"""At most so many times the plain loop's."""
RATIO_OF_TINY = 0.5
"""At most so many times FSRCNN's."""


def make_plain(folder: Path, mulut: Model, image: NDArray[np.uint8]) -> Contender:
    """Return the plain loop in `folder`, on the threads that Numba has; raises where its bytes differ from the model's."""
    plain = import_file(folder / "plain_mulut.py")
    first = np.stack([mulut.tables[f"stage1/{name}"].reshape(-1) for name in PATTERNS])
    last = np.stack([mulut.tables[f"stage2/{name}"] for name in PATTERNS])
    if not np.array_equal(plain.run(image, first, last), mulut.apply(image)):
        raise click.ClickException("the plain MuLUT gives other bytes")
    return Contender("plain mulut", numba.get_num_threads(), lambda: plain.run(image, first, last))


@click.command()
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rclut", help="RCLUT artefact; one with random tables without it.")
@click.option("--tiny", default="sr-x4-tiny", show_default=True, help="Network of one-dimensional tables.")
@click.option("--yardsticks", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--tables", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=25, show_default=True)
def main(
    photo: Path, rclut: str | None, tiny: str, yardsticks: Path | None, tables: Path | None, threads: int, rounds: int
) -> None:
    """Print the medians of all, and the two ratios with their bounds."""
    image = read_crop(photo)
    numba.set_num_threads(threads)

    def contend(name: str, model: Model) -> Contender:
        return Contender(name, threads, lambda: model.apply(image, backend="cpu", threads=threads))

    convolved = Model(*_parts(rclut)) if rclut else make_rclut()
    mulut = read_model(tables) if tables else make_mulut()
    contenders = [contend("lutkit rclut", convolved), contend("lutkit mulut", mulut)]
    if yardsticks:
        contenders.append(make_plain(yardsticks, mulut, image))
    contenders.append(contend(f"lutkit {tiny}", Model(*_parts(tiny))))
    enlarge = make_onnxruntime(make_fsrcnn, SCALE)(image, threads)
    contenders.append(Contender("FSRCNN, ONNX Runtime", threads, enlarge))
    medians = dict(zip([each.engine for each in contenders], measure_interleaved(contenders, rounds), strict=True))
    for name, milliseconds in medians.items():
        click.echo(f"{name:<24}{milliseconds:8.2f} ms")
    if "plain mulut" in medians:
        click.echo("the plain mulut gives the bytes of lutkit mulut")
        _tell("mulut / plain mulut", medians["lutkit mulut"] / medians["plain mulut"], RATIO_OF_MULUT)
        _tell("rclut / plain mulut", medians["lutkit rclut"] / medians["plain mulut"], RATIO_OF_RCLUT)
    _tell(f"{tiny} / FSRCNN", medians[f"lutkit {tiny}"] / medians["FSRCNN, ONNX Runtime"], RATIO_OF_TINY)


def _parts(name: str) -> tuple[Any, Any]:
    artefact = open_model(find_model(name))
    return artefact.program, artefact.tables


def _tell(what: str, ratio: float, bound: float) -> None:
    click.echo(f"{what}: {ratio:.3f} (at most {bound})")


if __name__ == "__main__":
    main()
