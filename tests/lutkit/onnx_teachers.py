"""ONNX files for tests of distilling: good networks of a few operators, and one bad one for each fault."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FREE = ["N", 3, "H", "W"]
FLOAT = TensorProto.FLOAT


def save(path: Path, nodes, arrays=(), *, inputs=None, outputs=None) -> Path:
    """Write a graph from 'image' to 'result'."""
    graph = helper.make_graph(
        nodes,
        "teacher",
        inputs or [helper.make_tensor_value_info("image", FLOAT, FREE)],
        outputs or [helper.make_tensor_value_info("result", FLOAT, FREE)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(arrays).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def save_gamma(path: Path, power: float = 0.7) -> Path:
    """A colour map: the same power of every sample."""
    return save(path, [helper.make_node("Pow", ["image", "power"], ["result"])], {"power": np.float32(power)})


def save_exposure(path: Path) -> Path:
    """Adapts to the picture: brings its mean to the middle."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=1),
        helper.make_node("Div", ["half", "mean"], ["gain"]),
        helper.make_node("Mul", ["image", "gain"], ["bright"]),
        helper.make_node("Clip", ["bright", "low", "high"], ["result"]),
    ]
    return save(path, nodes, {"half": np.float32(0.4), "low": np.float32(0), "high": np.float32(1)})


def save_blur(path: Path) -> Path:
    """Looks at neighbours."""
    return save(
        path,
        [
            helper.make_node(
                "AveragePool", ["image"], ["result"], kernel_shape=[5, 5], pads=[2] * 4, count_include_pad=0
            )
        ],
    )


def save_halving(path: Path) -> Path:
    """Averages squares of two by two and enlarges them again: sides must be even, else the size changes."""
    nodes = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["small", "", "scales"], ["result"], mode="nearest"),
    ]
    return save(path, nodes, {"scales": np.array([1, 1, 2, 2], np.float32)})


def identity_between(path: Path, taken, given=None, *, kind=FLOAT, given_kind=None) -> Path:
    """A network that declares these shapes and does nothing."""
    return save(
        path,
        [helper.make_node("Identity", ["image"], ["result"])],
        inputs=[helper.make_tensor_value_info("image", kind, taken)],
        outputs=[helper.make_tensor_value_info("result", given_kind or kind, given or taken)],
    )


def _two_inputs(path: Path) -> Path:
    ends = [helper.make_tensor_value_info(name, FLOAT, FREE) for name in ("image", "guide")]
    return save(path, [helper.make_node("Add", ["image", "guide"], ["result"])], inputs=ends)


def _two_outputs(path: Path) -> Path:
    nodes = [helper.make_node("Identity", ["image"], [name]) for name in ("result", "mask")]
    ends = [helper.make_tensor_value_info(name, FLOAT, FREE) for name in ("result", "mask")]
    return save(path, nodes, outputs=ends)


def _doubling(path: Path) -> Path:
    node = helper.make_node("Resize", ["image", "", "scales"], ["result"], mode="nearest")
    return save(
        path,
        [node],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
        outputs=[helper.make_tensor_value_info("result", FLOAT, ["N", 3, "h", "w"])],
    )


def _in_levels(path: Path) -> Path:
    return save(path, [helper.make_node("Mul", ["image", "peak"], ["result"])], {"peak": np.float32(255)})


def _dividing(path: Path) -> Path:
    return save(path, [helper.make_node("Div", ["image", "zero"], ["result"])], {"zero": np.float32(0)})


def _failing(path: Path) -> Path:
    return save(
        path, [helper.make_node("Add", ["image", "row"], ["result"])], {"row": np.zeros((1, 3, 7, 9), np.float32)}
    )


def _corrupt(path: Path) -> Path:
    path.write_bytes(b"\x08\x08 this is no network " * 9)
    return path


def _cut(path: Path) -> Path:
    save_blur(path)
    path.write_bytes(path.read_bytes()[:60])
    return path


def _without_weights(path: Path) -> Path:
    onnx.save_model(
        onnx.load(str(save_gamma(path))),
        str(path),
        save_as_external_data=True,
        location="gone.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    (path.parent / "gone.bin").unlink()
    return path


def _from_the_future(path: Path) -> Path:
    model = onnx.load(str(save_gamma(path)))
    model.opset_import[0].version = 99
    onnx.save(model, str(path))
    return path


BAD = {
    "one channel": (lambda path: identity_between(path, [1, 1, "H", "W"]), "takes 1 channel, 3 are needed"),
    "channels last": (lambda path: identity_between(path, [1, "H", "W", 3]), "it has the channels last"),
    "channels last, fixed": (lambda path: identity_between(path, [1, 64, 64, 3]), "it has the channels last"),
    "weights gone": (_without_weights, "which is not there: copy both together"),
    "newer operators": (_from_the_future, "is till opset"),
    "fixed size": (
        lambda path: identity_between(path, [1, 3, 256, 192]),
        "takes pictures of 192x256 (width x height) only",
    ),
    "fixed width": (lambda path: identity_between(path, [1, 3, "H", 192]), "export it with dynamic height and width"),
    "batch": (lambda path: identity_between(path, [8, 3, "H", "W"]), "takes 8 pictures at once"),
    "three axes": (lambda path: identity_between(path, [3, "H", "W"]), "arrays of 3 axes"),
    "bytes": (lambda path: identity_between(path, FREE, kind=TensorProto.UINT8), "takes tensor(uint8)"),
    "half": (lambda path: identity_between(path, FREE, kind=TensorProto.FLOAT16), "takes tensor(float16)"),
    "two inputs": (_two_inputs, "has 2 inputs (image, guide)"),
    "two outputs": (_two_outputs, "has 2 outputs (result, mask)"),
    "other size": (_doubling, "must keep the size"),
    "levels": (_in_levels, "gives values of"),
    "not finite": (_dividing, "not finite"),
    "fails": (_failing, "fails on a picture of"),
    "corrupt": (_corrupt, "is no ONNX network that ONNX Runtime reads"),
    "cut short": (_cut, "is no ONNX network that ONNX Runtime reads"),
    "empty": (lambda path: path.touch() or path, "is no ONNX network that ONNX Runtime reads"),
    "missing": (lambda path: path, "there is no file"),
}
"""Faults by name: what makes the file, and what is said of it."""
