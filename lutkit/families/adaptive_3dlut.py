"""Image-adaptive 3D LUT (Zeng et al., "Learning Image-Adaptive 3D Lookup Tables", TPAMI 2020).

A network looks at a thumbnail and gives weights; basis tables are summed with them; the picture is looked up in the
sum. The skeleton needs the runtime only; torch is imported when a network is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from lutkit.recipe import ColourRecipe
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import Blend, ColourLookup, Predictor, TableFusion
from lutkit_runtime.ops.colour_lookup import Cube
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.program import STRENGTH, Colour, Program
from lutkit_runtime.table_coding import TableCoding

if TYPE_CHECKING:
    import torch

name = "adaptive-3dlut"

PREDICTOR = "predictor"
"""Slot of the network."""

PUBLISHED_STRETCH = 1.000001
"""Ratio of the node distance in the published kernels to 1 / (size - 1)."""


class AdaptiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an image-adaptive 3D LUT is made of.

    Parameters
    ----------
    luts : int
        Basis tables, 1 to 64; published: 3.
    size : int
        Nodes per axis, 2 to 129; published: 33.
    training : str
        ``paired`` learns from pictures with their retouched versions, ``unpaired`` from two sets of pictures. The
        predictors differ a little, as published.
    colour_space : str
        Of the pictures that go in: ``sRGB`` (8 or 16 bits), or ``XYZ`` (16 bits, as cameras' raw converters give it).
    interpolation : str
        ``trilinear`` (published) or ``tetrahedral``.
    predictor : str
        ``published``, or ``pooled``: our own, which sees how bright a picture is and learns faster from few pictures.
    dropout : float
        In the predictor for pairs while training; published: 0.5.
    spread : float
        Scale of the predictor's last layer at the start; published: 1. Near 0, training starts at the identity.
    task : str
        Always ``retouch``.
    """

    luts: Annotated[int, msgspec.Meta(ge=1, le=64)] = 3
    size: Annotated[int, msgspec.Meta(ge=2, le=129)] = 33
    training: Literal["paired", "unpaired"] = "paired"
    colour_space: Literal["sRGB", "XYZ"] = "sRGB"
    interpolation: Literal["trilinear", "tetrahedral"] = "trilinear"
    predictor: Literal["published", "pooled"] = "published"
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    spread: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    task: Literal["retouch"] = "retouch"

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1


defaults = AdaptiveConfig()

QUICK_DEFAULTS = AdaptiveConfig(predictor="pooled", dropout=0.0, spread=0.1)
"""What `quick` trains: a predictor that learns from few pictures in minutes."""

QUICK = ColourRecipe(
    steps=2000,
    batch=4,
    learning_rate=1e-3,
    final_rate=5e-6,
    warmup=50,
    validate_every=200,
    monotonicity=1.0,
    longest_side=256,
)
"""Ends within ten minutes on two cores."""

QUICK_UNPAIRED = ColourRecipe(
    steps=1200,
    batch=4,
    learning_rate=3e-4,
    final_rate=1e-5,
    warmup=50,
    validate_every=100,
    monotonicity=1.0,
    longest_side=256,
    brightness=(0.8, 1.2),
    content=3.0,
)
"""For two sets of pictures. Outputs are held less closely to their inputs than published: few steps must do."""

PAPER = ColourRecipe(steps=1_800_000, batch=1, learning_rate=1e-4, final_rate=1e-4, validate_every=4500)
"""The published recipe for pairs, 400 epochs of 4500 pictures; with `unpaired` see `UNPAIRED`."""

UNPAIRED = ColourRecipe(
    steps=3_600_000, batch=1, learning_rate=2e-4, final_rate=2e-4, validate_every=4500, brightness=(0.6, 1.4)
)
"""The published recipe for two sets of pictures: 800 epochs."""

PAPER_XYZ = msgspec.structs.replace(PAPER, brightness=(0.6, 1.4))
UNPAIRED_XYZ = msgspec.structs.replace(UNPAIRED, content=10.0, monotonicity=100.0)
"""The published recipes for XYZ pictures, whose saturation is never changed."""

FINETUNE = ColourRecipe(
    steps=1000,
    batch=4,
    learning_rate=1e-4,
    final_rate=1e-6,
    validate_every=100,
    monotonicity=1.0,
    longest_side=256,
)
"""The predictor stays as it is, so that a step costs little."""

presets = {
    "quick": QUICK,
    "quick-unpaired": QUICK_UNPAIRED,
    "paper": PAPER,
    "paper-unpaired": UNPAIRED,
    "paper-xyz": PAPER_XYZ,
    "paper-unpaired-xyz": UNPAIRED_XYZ,
    "finetune": FINETUNE,
}
workbench = "lutkit.colour.workbench:ColourWorkbench"


def check_task(task: str) -> None:
    """Raise DataError for a task other than retouching."""
    if task != "retouch":
        other = "hdrnet" if task == "detail" else "mulut"
        raise DataError(f"{name} retouches pictures and cannot learn task '{task}': leave --task out, or train {other}")


def configure(preset: str, task: str | None) -> AdaptiveConfig:
    """Return the configuration, for quick training one that starts at the identity.

    Raises DataError for a task other than retouching.
    """
    check_task(task or "retouch")
    return defaults if preset == "paper" else QUICK_DEFAULTS


def name_basis(number: int) -> str:
    """Return the slot of a basis table, counted from 0."""
    return f"basis/{number}"


def build_program(
    config: AdaptiveConfig, *, graph_bytes: int = 1, codings: tuple[TableCoding, ...] | None = None
) -> Program:
    """Return the skeleton: predictor, fusion, one lookup, and how strongly it changes the picture.

    Parameters
    ----------
    config : AdaptiveConfig
    graph_bytes : int
        Size of the ONNX file of the predictor, once it is known.
    codings : tuple of TableCoding, optional
        How the basis tables are stored; float32 without it.
    """
    codings = codings or (TableCoding(),) * config.luts
    bases = tuple(BasisTable(name_basis(number), coding) for number, coding in enumerate(codings))
    # The side is the network's own: its last convolution covers what is left of 256 pixels.
    predictor = Predictor(
        input="image", output="weights", slot=PREDICTOR, graph_bytes=graph_bytes, side=256, outputs=config.luts
    )
    cube = Cube(
        "cube",
        config.size,
        fused=True,
        interpolation=CubeInterpolation(config.interpolation),
        stretch=PUBLISHED_STRETCH,
    )
    program = Program(
        family=name,
        task=config.task,
        ops=(
            predictor,
            TableFusion(weights="weights", bases=bases, size=config.size, output="cube"),
            ColourLookup(input="image", cube=cube, output="retouched"),
            Blend(base="image", changed="retouched", amount=STRENGTH.name, output="result"),
        ),
        colour=Colour.RGB,
        colour_space=config.colour_space,
        parameters=(STRENGTH,),
    )
    program.validate()
    return program


def skeleton(config: AdaptiveConfig) -> Program:
    """Return the program with open slots that a configuration describes."""
    return build_program(config)


def network(config: AdaptiveConfig, samples: int, outputs: int) -> torch.nn.Module:
    """Return the trainable filling of the predictor's slot, (N, 3, 256, 256) to (N, outputs); `samples` is the side."""
    from lutkit.colour.predictor import make_pooled_predictor, make_predictor

    if config.predictor == "pooled":
        return make_pooled_predictor(outputs, dropout=config.dropout, spread=config.spread)
    return make_predictor(outputs, paired=config.training == "paired", dropout=config.dropout, spread=config.spread)


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error; the workbench adds smoothness and monotonicity of the tables."""
    from lutkit.losses import mean_squared_error

    return mean_squared_error(output, target)
