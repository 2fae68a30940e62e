"""Measure table networks against other programs: RCLUT against a plain MuLUT, sr-x4-tiny against FSRCNN.

Example
-------
    python tools/benchmark_networks.py IMAGE --rclut MODEL --yardsticks FOLDER --tables FOLDER

IMAGE is a photo, of which a 320 x 180 crop is enlarged to 1280 x 720, all taking turns on two threads. FSRCNN (Dong et
al., ECCV 2016, with 56, 12 and 4 layers) runs in ONNX Runtime on the three channels as a batch; its weights are random,
which does not change its time. MODEL is an RCLUT artefact, by default one with random tables. FOLDER of yardsticks holds
plain_mulut.py with ``run(image, first, last)``, that of tables the six published ones of ddlee-cn/MuLUT (MIT); without
them RCLUT is measured beside this runtime's own MuLUT only. Look at the ratios: figures of a busy machine are noisy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numba
import numpy as np
from benchmark_runtime import PATTERNS, import_file, read_crop, read_model
from numpy.typing import NDArray

from lutkit.benchmark import Contender, make_mulut, measure_interleaved
from lutkit.families import find_family
from lutkit.resolve import find_model, open_model
from lutkit_runtime.engine import Model
from lutkit_runtime.ops import ReconstructedConvolution
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds

RATIO_OF_RCLUT = 1.2
"""At most so many times the plain loop's."""
RATIO_OF_TINY = 0.5
"""At most so many times FSRCNN's."""


def make_fsrcnn(details: int = 56, shrunk: int = 12, layers: int = 4, scale: int = 4) -> bytes:
    """Return the ONNX file of an FSRCNN with random weights for a batch (N, 1, H, W)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    arrays: list[Any] = []
    nodes: list[Any] = []

    def add(kind: str, source: str, shapes: list[tuple[int, ...]], **attributes: Any) -> str:
        names = [f"{kind}{len(nodes)}-{number}" for number in range(len(shapes))]
        for name, shape in zip(names, shapes, strict=True):
            values = (random.standard_normal(shape) * 0.05).astype(np.float32)
            arrays.append(numpy_helper.from_array(values, name))
        target = f"value{len(nodes)}"
        nodes.append(helper.make_node(kind, [source, *names], [target], **attributes))
        return target

    def convolve(source: str, inputs: int, outputs: int, side: int) -> str:
        shapes = [(outputs, inputs, side, side), (outputs,)]
        value = add("Conv", source, shapes, kernel_shape=[side, side], pads=[side // 2] * 4)
        return add("PRelu", value, [(outputs, 1, 1)])

    value = convolve("in", 1, details, 5)
    value = convolve(value, details, shrunk, 1)
    for _ in range(layers):
        value = convolve(value, shrunk, shrunk, 3)
    value = convolve(value, shrunk, details, 1)
    value = add(
        "ConvTranspose",
        value,
        [(details, 1, 9, 9), (1,)],
        kernel_shape=[9, 9],
        strides=[scale, scale],
        pads=[4] * 4,
        output_padding=[scale - 1, scale - 1],
    )
    size = ["batch", 1, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "fsrcnn",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["batch", 1, "tall", "wide"])],
        arrays,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def run_fsrcnn(image: NDArray[np.uint8], threads: int) -> Callable[[], Any]:
    """Return what enlarges the three planes of an image once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(make_fsrcnn(), options, providers=["CPUExecutionProvider"])
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)[:, None].astype(np.float32) / 255)
    (result,) = session.run(None, {"in": planes})
    assert result.shape == (3, 1, image.shape[0] * 4, image.shape[1] * 4)
    return lambda: session.run(None, {"in": planes})


def make_rclut() -> Model:
    """Return an RCLUT of the published size with random tables."""
    family = find_family("rclut")
    program = family.skeleton(family.defaults)
    random = np.random.default_rng(0)
    tables: dict[str, NDArray[Any]] = {}
    for name, slot in program.slots.items():
        limit = 127 if slot.dtype == "int8" else 32767
        tables[name] = random.integers(-limit, limit + 1, slot.shape).astype(slot.dtype)
    for op in program.inner_ops():
        if isinstance(op, ReconstructedConvolution):
            tables[op.post] = find_thresholds(32767.0 * op.window)
    return Model(program, tables)


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
    if yardsticks and tables:
        plain = import_file(yardsticks / "plain_mulut.py")
        first = np.stack([mulut.tables[f"stage1/{name}"].reshape(-1) for name in PATTERNS])
        last = np.stack([mulut.tables[f"stage2/{name}"] for name in PATTERNS])
        contenders.append(Contender("plain mulut", threads, lambda: plain.run(image, first, last)))
    contenders.append(contend(f"lutkit {tiny}", Model(*_parts(tiny))))
    contenders.append(Contender("FSRCNN, ONNX Runtime", threads, run_fsrcnn(image, threads)))
    medians = dict(zip([each.engine for each in contenders], measure_interleaved(contenders, rounds), strict=True))
    for name, milliseconds in medians.items():
        click.echo(f"{name:<24}{milliseconds:8.2f} ms")
    if "plain mulut" in medians:
        _tell("rclut / plain mulut", medians["lutkit rclut"] / medians["plain mulut"], RATIO_OF_RCLUT)
    _tell(f"{tiny} / FSRCNN", medians[f"lutkit {tiny}"] / medians["FSRCNN, ONNX Runtime"], RATIO_OF_TINY)


def _parts(name: str) -> tuple[Any, Any]:
    artefact = open_model(find_model(name))
    return artefact.program, artefact.tables


def _tell(what: str, ratio: float, bound: float) -> None:
    click.echo(f"{what}: {ratio:.3f} (at most {bound})")


if __name__ == "__main__":
    main()
