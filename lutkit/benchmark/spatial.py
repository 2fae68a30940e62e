"""Cases of planes: pictures enlarged or denoised by models of tables, beside networks in other programs.

Imports the runtime, the families of the models and `networks`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark import networks
from lutkit.benchmark.colour_engines import prepare_model, settle_opencv
from lutkit.benchmark.measuring import Contender
from lutkit.benchmark.network_reference import evaluate_network
from lutkit.benchmark.pictures import Picture
from lutkit.benchmark.plan import Doer, Plan
from lutkit.benchmark.rows import CUDA, LUTKIT, REFERENCE, Case, Verdict
from lutkit.families import find_family
from lutkit.families.mulut import build_program
from lutkit.families.spatial import read_patterns
from lutkit.resolve import find_model, open_model
from lutkit_runtime.engine import Model
from lutkit_runtime.ops import ReconstructedConvolution
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds
from lutkit_runtime.program import Colour

HEIGHT, WIDTH = 180, 320
"""Size of the picture that is enlarged, to 1280 x 720 at scale 4, or denoised."""

COLOUR_HEIGHT, COLOUR_WIDTH = 720, 1280
"""Size of the picture that a model of colours is given."""

CHECKED_ROWS = 16
"""So many rows of the picture, from the top, are evaluated in NumPy."""

NETWORK_HALO = 12
"""Rows below those that the networks look at, at most."""

ENLARGERS = ("sr-x4", "rclut", "sr-x4-tiny")
SCALE = 4


def make_mulut(seed: int = 0, scale: int = 4) -> Model:
    """Return a MuLUT of the published size, patterns s, d and y in two stages, with tables filled at random.

    How long it takes does not depend on what stands in the tables.
    """
    program = build_program(read_patterns(("s", "d", "y")), stages=2, scale=scale, interval=4)
    rng = np.random.default_rng(seed)
    tables = {
        name: rng.integers(-127, 128, (slot.entries, slot.outputs), dtype=np.int8)
        for name, slot in program.slots.items()
    }
    return Model(program, tables)


def make_rclut(seed: int = 0) -> Model:
    """Return an RCLUT of the published size with tables filled at random."""
    family = find_family("rclut")
    program = family.skeleton(family.defaults)
    rng = np.random.default_rng(seed)
    tables: dict[str, NDArray[Any]] = {}
    for name, slot in program.slots.items():
        limit = 127 if slot.dtype == "int8" else 32767
        tables[name] = rng.integers(-limit, limit + 1, slot.shape).astype(slot.dtype)
    for op in program.inner_ops():
        if isinstance(op, ReconstructedConvolution):
            tables[op.post] = find_thresholds(32767.0 * op.window)
    return Model(program, tables)


def open_builtin(name: str) -> Model:
    """Return a built-in model, or one of random tables where none of the family is built in."""
    if name == "rclut":
        return make_rclut()
    artefact = open_model(find_model(name))
    return Model(artefact.program, artefact.tables)


def make_contenders(model: Model, image: NDArray[np.uint8], threads: Sequence[int] = (1, 2)) -> list[Contender]:
    """Return NumPy and the compiled kernels, as ``numpy`` and ``cpu``; `threads` beyond the machine's cores are left out."""

    def contend(engine: str, count: int) -> Contender:
        return Contender(engine, count, lambda: model.apply(image, backend=engine, threads=count))

    usable = sorted({min(count, os.cpu_count() or 1) for count in threads})
    return [contend("numpy", 1), *(contend("cpu", count) for count in usable)]


def make_model_case(plan: Plan, model: Model) -> Case:
    """Return the case of one model, which lutkit's backends run."""
    in_colour = model.program.colour is Colour.RGB
    usual = (COLOUR_HEIGHT, COLOUR_WIDTH) if in_colour else (HEIGHT, WIDTH)
    picture = plan.make_picture(usual, model.scale)
    title = f"{model.program.family} x{model.scale}, {picture.shape[1]}x{picture.shape[0]} RGB"
    return _make_case(title, plan, picture, model.scale, _list_own(model, ""), {"": model})


def make_enlarging_case(plan: Plan) -> Case:
    """Return the case of enlarging four times: models of tables, networks, and bicubic interpolation."""
    picture = plan.make_picture((HEIGHT, WIDTH), SCALE)
    models = {name: open_builtin(name) for name in ENLARGERS}

    def list_doers() -> Iterator[tuple[Doer, int]]:
        for number, (name, model) in enumerate(models.items()):
            # the definitions take seconds for one picture: those of one model show it
            yield from _list_own(model, name, with_reference=number == 0)
        for name, make in networks.NETWORKS.items():
            weights = networks.count_bytes(make(1, 1, SCALE))
            yield Doer("onnxruntime", "ONNX Runtime", networks.make_onnxruntime(make, SCALE), model=name), weights
            prepare = networks.make_opencv_network(make, SCALE)
            yield Doer("opencv", "OpenCV", prepare, settle_opencv, model=name, patient=False), weights
        yield Doer("opencv", "OpenCV", _prepare_bicubic, settle_opencv, model="bicubic"), 0

    title = f"enlarge x{SCALE}, {picture.shape[1]}x{picture.shape[0]} RGB uint8"
    return _make_case(title, plan, picture, SCALE, list_doers(), models)


def make_denoising_case(plan: Plan) -> Case:
    """Return the case of denoising: a model of tables, and non-local means."""
    clean = plan.make_picture((HEIGHT, WIDTH))
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    picture = np.rint(np.clip(clean + noise, 0, 255)).astype(np.uint8)
    model = open_builtin("denoise-25")

    def list_doers() -> Iterator[tuple[Doer, int]]:
        yield from _list_own(model, "denoise-25")
        yield Doer("opencv", "OpenCV", _prepare_means, settle_opencv, model="non-local means", patient=False), 0

    title = f"denoise, {picture.shape[1]}x{picture.shape[0]} RGB uint8"
    return _make_case(title, plan, picture, 1, list_doers(), {"denoise-25": model})


def judge_models(picture: Picture, models: dict[str, Model]) -> Callable[[Contender, Any], Verdict]:
    """Return what compares the upper rows of a result with what NumPy computes: backend ``numpy``, float64 for networks.

    A model that looks at the whole picture first gives other rows to a part of it, so it is evaluated everywhere.
    """
    rows = min(CHECKED_ROWS, len(picture))

    @cache
    def expect(name: str) -> NDArray[Any] | None:
        if name in models:
            model = models[name]
            is_global = any(op.is_global for op in model.program.ops)
            part = picture if is_global else picture[: rows + model.program.halo]
            return model.apply(np.ascontiguousarray(part), backend="numpy")[: rows * model.scale]
        if name in networks.NETWORKS:
            part = np.ascontiguousarray(picture[: rows + NETWORK_HALO])
            graph = networks.NETWORKS[name](part.shape[0], part.shape[1], SCALE)
            planes = evaluate_network(graph, part.transpose(2, 0, 1)[:, None] / np.float64(255))
            levels = np.floor(np.clip(planes * 255, 0, 255) + 0.5)
            return levels[:, 0].transpose(1, 2, 0)[: rows * SCALE]
        return None

    def judge(contender: Contender, result: Any) -> Verdict:
        expected = expect(contender.model)
        if expected is None:
            return Verdict(None, None, "another method")
        off = np.abs(result[: len(expected)].astype(np.float64) - expected)
        # integer ops are exact; colours and networks are rounded from float32
        model = models.get(contender.model)
        allowed = 0 if model is not None and model.program.colour is not Colour.RGB else 1
        return Verdict(float(off.max()), float((off == 0).mean()), "differs" if off.max() > allowed else "")

    return judge


def _list_own(model: Model, name: str, with_reference: bool = True) -> Iterator[tuple[Doer, int]]:
    size = sum(table.nbytes for table in model.tables.values())
    numpy, cpu, cuda = (prepare_model(model, backend) for backend in ("numpy", "cpu", "cuda"))
    if with_reference:
        yield Doer("numpy", REFERENCE, numpy, parallel=False, model=name, patient=False), size
    yield Doer("lutkit", LUTKIT, cpu, model=name), size
    yield Doer("cuda", CUDA, cuda, parallel=False, model=name), size


def _make_case(
    title: str, plan: Plan, picture: Picture, scale: int, doers: Iterator[tuple[Doer, int]], models: dict[str, Model]
) -> Case:
    moved = picture.nbytes * (1 + scale**2)
    contenders = tuple(each for doer, size in doers for each in doer.contend(plan, picture, moved + size))
    pixels = picture.shape[0] * picture.shape[1] * scale**2
    return Case(title, pixels, contenders, judge_models(picture, models))


def _prepare_bicubic(picture: Picture, _threads: int) -> Callable[[], Picture]:
    import cv2

    size = (picture.shape[1] * SCALE, picture.shape[0] * SCALE)
    return lambda: np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC))


def _prepare_means(picture: Picture, _threads: int) -> Callable[[], Picture]:
    import cv2

    return lambda: np.asarray(cv2.fastNlMeansDenoisingColored(picture, None, 10, 10, 7, 21))
