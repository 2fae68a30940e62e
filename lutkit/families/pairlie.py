"""PairLIE (Fu et al., "Learning a Simple Low-Light Image Enhancer from Paired Low-Light Instances", CVPR 2023).

Three networks take a picture apart into illumination and reflectance; a power of the illumination brightens it. The
exact program runs them at every pixel; the compiled one slices two bilateral grids. Both need the runtime only; torch is
imported when a network is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from lutkit.families.hdrnet import QUICK as GRID_RECIPE
from lutkit.families.hdrnet import HdrnetConfig, build_fusion, build_guide, build_predictor
from lutkit.recipe import ColourRecipe, ExposureRecipe
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import BilateralSlice, Blend, Illuminate, Network, SelectPlanes
from lutkit_runtime.program import STRENGTH, Colour, Parameter, Program
from lutkit_runtime.table_coding import TableCoding

if TYPE_CHECKING:
    import torch

name = "pairlie"

NETWORK = "network"
"""Slot of the three networks, of the exact program."""
REFLECTANCE, ILLUMINATION = "reflectance/columns", "illumination/columns"
"""Slots of what the predictor's weights are multiplied with."""

REACH = 10
"""Pixels around a pixel that its result depends on: twice five windows of 3 x 3."""
SMALLEST = 2
"""Sides of a picture that can be mirrored at its border."""


class PairlieConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a PairLIE is made of.

    Parameters
    ----------
    width : int
        Channels between the convolutions of each network; published: 64.
    gamma : float
        Power of the illumination where nobody chooses another; published: 0.2, for the LOL pictures 0.14.
    grid : HdrnetConfig
        What `transfer` compiles the networks into: places, levels, guide and predictor of the bilateral grids.
    task : str
        ``lowlight``.
    """

    width: Annotated[int, msgspec.Meta(ge=4, le=256)] = 64
    gamma: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    grid: HdrnetConfig = HdrnetConfig(guide="pointwise", start="identity")
    task: Literal["lowlight"] = "lowlight"

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1


defaults = PairlieConfig()

COMPILING = msgspec.structs.replace(GRID_RECIPE, steps=2400, validate_every=400)
"""How the grids learn what the networks answer."""

QUICK = ExposureRecipe(
    flip=0.5,
    steps=1500,
    batch=2,
    crop=64,
    reflectance_rate=0.2,
    learning_rate=5e-4,
    final_rate=1e-5,
    warmup=100,
    validate_every=250,
    compiling=COMPILING,
)
"""Ends within ten minutes on two cores.

Reflectance starts as local contrast, which it would forget at the full rate; cleaning, whose loss weighs 500 times as
much as the others', starts where it must end, near what changes nothing.
"""

PAPER = msgspec.structs.replace(
    QUICK,
    steps=129_600,
    batch=1,
    flip=0.0,
    crop=128,
    reflectance_rate=1.0,
    learning_rate=1e-4,
    final_rate=1.25e-5,
    warmup=0,
    validate_every=3240,
)
"""400 epochs of 324 pairs. Published: the rate is halved three times; here it falls as a cosine to the same end."""

FINETUNE: ColourRecipe = msgspec.structs.replace(
    GRID_RECIPE, steps=600, learning_rate=2e-4, final_rate=1e-6, warmup=0, validate_every=100
)
"""The predictor stays as it is; the tables learn from pictures whose well lit version is known."""

presets = {"quick": QUICK, "paper": PAPER, "finetune": FINETUNE}
workbench = "lutkit.lowlight.workbench:LowLightWorkbench"


def configure(preset: str, task: str | None) -> PairlieConfig:
    """Return the configuration; raises DataError for a task other than low light."""
    if task not in (None, "lowlight"):
        raise DataError(
            f"{name} brightens dark pictures and cannot learn task '{task}': leave --task out, or train hdrnet"
        )
    return defaults


def choose_gamma(config: PairlieConfig) -> Parameter:
    """Return the power of the illumination as a parameter of programs."""
    return Parameter(name="gamma", default=config.gamma, low=0.0, high=1.0)


def build_exact(config: PairlieConfig, *, graph_bytes: int = 1) -> Program:
    """Return the program that runs the three networks at every pixel, in tiles.

    Parameters
    ----------
    config : PairlieConfig
    graph_bytes : int
        Size of the ONNX file, once it is known.
    """
    gamma = choose_gamma(config)
    network = Network(
        sources=("image",),
        output="parts",
        slot=NETWORK,
        graph_bytes=graph_bytes,
        planes=4,
        reach=REACH,
        smallest=SMALLEST,
    )
    program = Program(
        family=name,
        task=config.task,
        ops=(
            network,
            SelectPlanes(input="parts", planes=(0, 0, 0), output="illumination"),
            SelectPlanes(input="parts", planes=(1, 2, 3), output="reflectance"),
            Illuminate(reflectance="reflectance", illumination="illumination", gamma=gamma.name, output="lit"),
            Blend(base="image", changed="lit", amount=STRENGTH.name, output="result"),
        ),
        colour=Colour.RGB,
        parameters=(gamma, STRENGTH),
    )
    program.validate()
    return program


def build_compiled(
    config: PairlieConfig,
    *,
    graph_bytes: int = 1,
    reflectance: TableCoding | None = None,
    illumination: TableCoding | None = None,
    curves: TableCoding | None = None,
    result: TableCoding | None = None,
) -> Program:
    """Return the program that slices two grids: one maps colours to reflectance, one to the root of the illumination.

    Parameters
    ----------
    config : PairlieConfig
    graph_bytes : int
        Size of the predictor's ONNX file, once it is known.
    reflectance, illumination, curves, result : TableCoding, optional
        How the columns of both grids and the tables of the guide are stored; float32 without them.
    """
    gamma, grid = choose_gamma(config), config.grid
    guide = build_guide(grid, curves, result)
    predictor = build_predictor(grid, graph_bytes)
    program = Program(
        family=name,
        task=config.task,
        ops=(
            predictor,
            build_fusion(grid, reflectance, REFLECTANCE, "reflectance_grid"),
            build_fusion(grid, illumination, ILLUMINATION, "illumination_grid"),
            BilateralSlice(input="image", grid="reflectance_grid", guide=guide, output="reflectance"),
            BilateralSlice(input="image", grid="illumination_grid", guide=guide, output="illumination"),
            Illuminate(
                reflectance="reflectance", illumination="illumination", gamma=gamma.name, is_root=True, output="lit"
            ),
            Blend(base="image", changed="lit", amount=STRENGTH.name, output="result"),
        ),
        colour=Colour.RGB,
        parameters=(gamma, STRENGTH),
    )
    program.validate()
    return program


def skeleton(config: PairlieConfig) -> Program:
    """Return the program with open slots that `transfer` fills unless it is asked for the exact network."""
    return build_compiled(config)


def network(config: PairlieConfig, samples: int, outputs: int) -> torch.nn.Module:
    """Return the networks, (N, 3, H, W) to illumination and reflectance (N, 4, H, W)."""
    from lutkit.lowlight.networks import RetinexNetwork

    return RetinexNetwork(config.width)


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error, with which tables are finetuned; networks learn without targets."""
    from lutkit.losses import mean_squared_error

    return mean_squared_error(output, target)
