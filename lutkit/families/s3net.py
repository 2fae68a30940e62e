"""S3Net (Yang et al., "S3Net: A Single Stream Structure for Depth Guided Image Relighting", CVPR workshops 2021).

A picture is shown as the light of a guide picture would show it; both come with their depth. The exact program runs one
large network on all of the picture; the compiled one slices a bilateral grid. Both need the runtime only; torch is
imported when a network is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from lutkit.families.hdrnet import QUICK as GRID_RECIPE
from lutkit.families.hdrnet import HdrnetConfig, build_fusion, build_guide, build_predictor
from lutkit.recipe import ColourRecipe, RelightingRecipe
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import BilateralSlice, Blend, GridFusion, Network, Predictor, SelectPlanes
from lutkit_runtime.program import STRENGTH, Colour, Companion, Program
from lutkit_runtime.table_coding import TableCoding

if TYPE_CHECKING:
    import torch

name = "s3net"

NETWORK = "network"
"""Slot of the network, of the exact program."""

COMPANIONS = (
    Companion(name="guide", channels=3),
    Companion(name="depth", channels=1),
    Companion(name="guide_depth", channels=1),
)
"""What stands beside the picture: another one in the light that is wanted, and the depth of both."""
SOURCES = ("image", *(each.name for each in COMPANIONS))
CHANNELS = 8
MULTIPLE = 32
"""Sides of what the network sees are multiples of this; other pictures are extended, and the result is cropped."""


class S3netConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an S3Net is made of.

    Parameters
    ----------
    depths : three int
        Blocks of the encoder's stages; published: 3, 4, 23.
    width : int
        Channels of the first stage, which all others follow, a multiple of 16; published: 64.
    grid : HdrnetConfig
        What `transfer` compiles the network into: places, levels, guide and predictor of the bilateral grid.
    task : str
        ``relight``.
    """

    depths: tuple[int, int, int] = (3, 4, 23)
    width: Annotated[int, msgspec.Meta(ge=16, le=256, multiple_of=16)] = 64
    grid: HdrnetConfig = HdrnetConfig(guide="pointwise", start="identity")
    task: Literal["relight"] = "relight"

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1


defaults = S3netConfig()

QUICK_DEFAULTS = S3netConfig(depths=(3, 4, 6), width=32)
"""What `quick` trains: an eighth of the published network, which learns on a processor in minutes."""

COMPILING: ColourRecipe = msgspec.structs.replace(
    GRID_RECIPE, steps=2400, validate_every=400, crop_ratio=(1.0, 1.0), flip=0.0
)
"""How the grid learns what the network answers. Nothing is cut or mirrored: light comes from somewhere."""

QUICK = RelightingRecipe(
    steps=1000,
    batch=8,
    side=64,
    learning_rate=1e-3,
    final_rate=1e-5,
    warmup=30,
    validate_every=100,
    charbonnier=8.0,
    scenes=200,
    compiling=COMPILING,
)
"""Ends within ten minutes on two cores: small pictures, and colours count more than published."""

PAPER = msgspec.structs.replace(
    QUICK,
    steps=10_000,
    batch=3,
    side=1024,
    charbonnier=1.0,
    learning_rate=1e-4,
    final_rate=1e-5,
    warmup=0,
    validate_every=500,
)
"""100 epochs of 300 scenes. Published: AdamW, whose rate falls to a tenth after 20 epochs; here Adam, and a cosine."""

FINETUNE: ColourRecipe = msgspec.structs.replace(
    COMPILING, steps=600, learning_rate=2e-4, final_rate=1e-6, warmup=0, validate_every=100, longest_side=64
)
"""The predictor stays as it is; the tables learn from the scenes under the light that is asked for."""

presets = {"quick": QUICK, "paper": PAPER, "finetune": FINETUNE}
workbench = "lutkit.relighting.workbench:RelightingWorkbench"


def configure(preset: str, task: str | None) -> S3netConfig:
    """Return the configuration, for quick training a smaller one; raises DataError for a task other than relighting."""
    if task not in (None, "relight"):
        raise DataError(f"{name} relights pictures and cannot learn task '{task}': leave --task out, or train hdrnet")
    return defaults if preset == "paper" else QUICK_DEFAULTS


def build_exact(config: S3netConfig, *, graph_bytes: int = 1) -> Program:
    """Return the program that runs the network on all of the picture.

    Parameters
    ----------
    config : S3netConfig
    graph_bytes : int
        Size of the ONNX file, once it is known.
    """
    network = Network(
        sources=SOURCES, output="planes", slot=NETWORK, graph_bytes=graph_bytes, planes=3, multiple=MULTIPLE
    )
    return _complete(config, network, SelectPlanes(input="planes", planes=(0, 1, 2), output="changed"))


def build_compiled(
    config: S3netConfig,
    *,
    graph_bytes: int = 1,
    columns: TableCoding | None = None,
    curves: TableCoding | None = None,
    result: TableCoding | None = None,
) -> Program:
    """Return the program whose predictor sees all eight channels in small, and gives a grid of colour maps.

    Parameters
    ----------
    config : S3netConfig
    graph_bytes : int
        Size of the predictor's ONNX file, once it is known.
    columns, curves, result : TableCoding, optional
        How the tables of the grid and of the guide are stored; float32 without them.
    """
    grid = config.grid
    predictor = build_predictor(grid, graph_bytes, SOURCES[1:])
    fusion = build_fusion(grid, columns)
    guide = build_guide(grid, curves, result)
    return _complete(
        config, predictor, fusion, BilateralSlice(input="image", grid="grid", guide=guide, output="changed")
    )


def _complete(config: S3netConfig, *ops: Network | SelectPlanes | Predictor | GridFusion | BilateralSlice) -> Program:
    """Return a program of ops that make `changed`, and of how strongly it is mixed in."""
    program = Program(
        family=name,
        task=config.task,
        ops=(*ops, Blend(base="image", changed="changed", amount=STRENGTH.name, output="result")),
        colour=Colour.RGB,
        parameters=(STRENGTH,),
        companions=COMPANIONS,
    )
    program.validate()
    return program


def skeleton(config: S3netConfig) -> Program:
    """Return the program with open slots that `transfer` fills unless it is asked for the exact network."""
    return build_compiled(config)


def network(config: S3netConfig, samples: int, outputs: int) -> torch.nn.Module:
    """Return the network, (N, 8, H, W) to (N, 3, H, W)."""
    from lutkit.relighting.networks import RelightingNetwork

    return RelightingNetwork(config.depths, config.width)


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error, with which grids learn; the network has a loss of its own."""
    from lutkit.losses import mean_squared_error

    return mean_squared_error(output, target)
