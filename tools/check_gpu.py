"""Check and time everything that runs on an NVIDIA GPU, in one go.

Example
-------
    python tools/check_gpu.py --json gpu.json --markdown gpu.md

The tests of the CUDA kernels come first, on the GPU instead of the simulator. Then models run on images that lie on the
GPU; every result is compared with the CPU's, and times are taken between CUDA events. A kernel that only waits goes
ahead, so that all launches are queued before the first one runs: what is measured is the GPU, not Python. Inputs and
results rotate through so many buffers that nothing stays in a cache. The ceiling is a copy kernel that moves as many
bytes. Steps of training are timed last, where torch can use the GPU. With NUMBA_ENABLE_CUDASIM=1 and --small the program
itself can be tried without a GPU; it then measures nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from gpu_low_light import make_low_light
from gpu_slices import SliceAlone
from numpy.typing import NDArray

from lutkit.benchmark import make_mulut
from lutkit.benchmark.spatial import make_rclut
from lutkit.colour.looks import make_look
from lutkit.colour.programs import make_lut_artefact
from lutkit.generated import render_dead_leaves
from lutkit.resolve import find_model, open_model
from lutkit_runtime.engine import Model, available_backends
from lutkit_runtime.kernels.cuda.device import describe_device, is_simulated

TESTS = ("tests/runtime/test_cuda_*.py", "tests/lutkit/test_fused_cuda.py", "tests/test_contract.py")
BEYOND_CACHE = 512 << 20
"""Bytes that inputs and results take together: more than any GPU's cache."""
LAUNCHES = 50
WAITING_TURNS = 1 << 22
"""How long the first kernel keeps the GPU busy, in turns of its loop: tens of milliseconds."""


@dataclass(frozen=True)
class Measurement:
    """One line of the report.

    Parameters
    ----------
    case : str
    milliseconds : float
        Per image, on the GPU.
    megapixels_per_second : float
        Of the result.
    copy_milliseconds : float
        Of a kernel that copies half as many bytes as the image and its result have, and so moves as many.
    share_of_copy : float
        Copy over model.
    identical : bool
        Whether the result has the CPU's bytes.
    """

    case: str
    milliseconds: float
    megapixels_per_second: float
    copy_milliseconds: float
    share_of_copy: float
    identical: bool


@dataclass(frozen=True)
class Case:
    """A model and the size and type of the images that it is run on."""

    name: str
    model: Model | SliceAlone
    height: int
    width: int
    depth: str = "uint8"
    channels: int = 3


def list_cases(*, small: bool) -> list[Case]:
    """Return what is measured; `small` is for trying the program."""
    high, wide = (2, 4) if small else (2160, 3840)
    low, narrow = (2, 3) if small else (540, 960)
    look = make_lut_artefact(make_look("warm-film"))
    lut = Model(look.program, look.tables)
    spatial = [("MuLUT-SDY-X2", make_mulut()), ("RCLUT", make_rclut())]
    names = ("sr-x4", "sr-x4-tiny", "denoise-25", "retouch")
    if small:
        spatial, names = spatial[:1], ()
    for name in names:
        artefact = open_model(find_model(name))
        spatial.append((name, Model(artefact.program, artefact.tables)))
    cases = [
        Case(f"3D LUT 33^3, {depth}, {channels} channels", lut, high, wide, depth, channels)
        for depth, channels in (("uint8", 3), ("uint8", 4), ("uint16", 3), ("float32", 3), ("float32", 4))
    ]
    curves, network = SliceAlone(3, 257, 2), SliceAlone(16, 2, 1025)
    cases += [
        Case(f"bilateral slice 16x16x8, {guide}, {depth}, {channels} channels", model, high, wide, depth, channels)
        for guide, model, depth, channels in (
            ("three curves", curves, "uint8", 3),
            ("three curves", curves, "uint8", 4),
            ("three curves", curves, "uint16", 3),
            ("three curves", curves, "float32", 3),
            ("sixteen lines", network, "uint8", 3),
        )
    ]
    cases += [
        Case(f"low light of two grids, {depth}", make_low_light(), high, wide, depth) for depth in ("uint8", "float32")
    ]
    for name, model in spatial:
        size = (low, narrow) if model.scale > 1 else (high, wide)
        cases.append(Case(name, model, *size))
    return cases


def make_image(case: Case, seed: int) -> NDArray[Any]:
    """Return a generated picture of a case's size and type."""
    side = max(16, min(270, case.height)), max(16, min(480, case.width))
    part = render_dead_leaves(np.random.default_rng(seed), *side)
    tiles = -(-case.height // side[0]), -(-case.width // side[1]), 1
    codes = np.tile(part, tiles)[: case.height, : case.width]
    if case.channels == 4:
        codes = np.concatenate([codes, codes[..., :1]], axis=2)
    if case.depth == "float32":
        return np.ascontiguousarray(codes / np.float32(255))
    return np.ascontiguousarray(codes.astype(case.depth) * np.array(257 if case.depth == "uint16" else 1, case.depth))


class Timer:
    """Times on the GPU, of launches that are queued behind a kernel that waits."""

    def __init__(self) -> None:
        from gpu_yardsticks import copy_words, cuda, wait

        self._cuda, self._wait, self._copy = cuda, wait, copy_words
        self._nothing = cuda.device_array(1, np.int32)

    def measure(self, launch: Callable[[int], Any], launches: int) -> float:
        """Return the milliseconds of one of `launch(0)`, `launch(1)`, ... on the GPU."""
        for number in range(3):
            launch(number)
        self._cuda.synchronize()
        start, stop = self._cuda.event(), self._cuda.event()
        self._wait.launch(1, 0, 1 if is_simulated() else WAITING_TURNS, self._nothing)
        start.record()
        for number in range(launches):
            launch(number)
        stop.record()
        stop.synchronize()
        return abs(start.elapsed_time(stop)) / launches

    def measure_copy(self, moved: int, launches: int) -> float:
        """Return the milliseconds of copying `moved` / 2 bytes from buffer to buffer."""
        words = max(1, moved // 8)
        count = 1 if is_simulated() else max(2, BEYOND_CACHE // (8 * words))
        pairs = [[self._cuda.device_array(words, np.uint32) for _ in range(2)] for _ in range(count)]
        return self.measure(lambda number: self._copy.launch(words, 0, *pairs[number % count]), launches)


def measure_case(case: Case, timer: Timer, launches: int) -> Measurement:
    """Check and time a case."""
    from lutkit_runtime.kernels.cuda.compiling import cuda

    images = [make_image(case, seed) for seed in range(2)]
    expected = [case.model.apply(image, backend="cpu") for image in images]
    moved = images[0].nbytes + expected[0].nbytes
    count = 2 if is_simulated() else max(2, BEYOND_CACHE // moved)
    given = [cuda.to_device(images[number % 2]) for number in range(count)]
    made = [cuda.device_array(expected[0].shape, expected[0].dtype) for _ in range(count)]
    for number in range(2):
        case.model.apply(given[number], out=made[number])
    identical = all(
        np.asarray(made[number].copy_to_host()).tobytes() == expected[number].tobytes() for number in range(2)
    )
    taken = timer.measure(lambda number: case.model.apply(given[number % count], out=made[number % count]), launches)
    copied = timer.measure_copy(moved, launches)
    pixels = expected[0].shape[0] * expected[0].shape[1]
    height, width = expected[0].shape[:2]
    return Measurement(
        f"{case.name}, {case.width}x{case.height} to {width}x{height}",
        round(taken, 4),
        round(pixels / taken / 1000, 1),
        round(copied, 4),
        round(copied / taken, 3),
        identical,
    )


TRAINING_BATCH, TRAINING_STEPS = 32, 50


def measure_training() -> list[dict[str, Any]]:
    """Return the times of training steps on the GPU, where torch can use it, and of the CPU beside them."""
    try:
        import torch
    except ModuleNotFoundError:
        return []
    if not torch.cuda.is_available():
        return []
    from gpu_training import time_training

    on_gpu = time_training(torch.device("cuda"), TRAINING_BATCH, TRAINING_STEPS)
    on_cpu = time_training(torch.device("cpu"), TRAINING_BATCH, TRAINING_STEPS // 10)
    return [{"device": name, **asdict(each)} for name, times in (("cuda", on_gpu), ("cpu", on_cpu)) for each in times]


def run_tests() -> bool:
    """Return whether the tests of the kernels hold on this machine."""
    root = Path(__file__).resolve().parents[1]
    found = sorted(str(path) for pattern in TESTS for path in root.glob(pattern))
    return (
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "2", *found], cwd=root, check=False).returncode == 0
    )


def tabulate(measurements: Sequence[Measurement]) -> str:
    """Return the measurements as a table in Markdown."""
    rows = [
        "| case | ms | megapixels/s | copy, ms | share of the copy's speed | the CPU's bytes |",
        "|---|--:|--:|--:|--:|---|",
    ]
    rows += [
        f"| {each.case} | {each.milliseconds:.3f} | {each.megapixels_per_second:.0f} | {each.copy_milliseconds:.3f} "
        f"| {each.share_of_copy:.0%} | {'yes' if each.identical else '**no**'} |"
        for each in measurements
    ]
    return "\n".join(rows)


@click.command()
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there.")
@click.option("--launches", default=LAUNCHES, show_default=True)
@click.option("--tests/--no-tests", default=True, help="Run the tests of the kernels first.")
@click.option("--small", is_flag=True, help="Tiny images and few cases, to try this program.")
def main(json_file: Path | None, markdown: Path | None, launches: int, tests: bool, small: bool) -> None:
    """Check and time everything that runs on a GPU."""
    if "cuda" not in available_backends():
        raise click.ClickException("this machine has no GPU that numba-cuda can use")
    click.echo(f"Device: {describe_device()}")
    passed = run_tests() if tests else None
    timer = Timer()
    measurements: list[Measurement] = []
    for case in list_cases(small=small):
        measurements.append(measure_case(case, timer, launches))
        click.echo(json.dumps(asdict(measurements[-1])))
    training = measure_training()
    for each in training:
        click.echo(json.dumps(each))
    table = f"Device: {describe_device()}\n\n{tabulate(measurements)}\n"
    click.echo(table)
    if markdown is not None:
        markdown.write_text(table, encoding="utf-8")
    if json_file is not None:
        report = {"device": describe_device(), "tests": passed, "measurements": [asdict(each) for each in measurements]}
        report["training"] = training
        json_file.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if passed is False or not all(each.identical for each in measurements):
        raise click.ClickException("the GPU does not give the CPU's bytes, or a test fails: see above")


if __name__ == "__main__":
    main()
