"""HDRNet (Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement", SIGGRAPH 2017).

A network looks at a thumbnail and gives a bilateral grid of affine colour maps; every pixel takes the map of its place
and its brightness. The skeleton needs the runtime only; torch is imported when a network is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from lutkit.recipe import ColourRecipe
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import BilateralSlice, Blend, GridFusion, Predictor
from lutkit_runtime.ops.bilateral_slice import Guide, GuideCurves
from lutkit_runtime.ops.predictor import Sampling
from lutkit_runtime.program import STRENGTH, Colour, Program
from lutkit_runtime.table_coding import TableCoding

if TYPE_CHECKING:
    import torch

name = "hdrnet"

PREDICTOR = "predictor"
"""Slot of the network."""
COLUMNS = "grid/columns"
"""Slot of what the network's weights are multiplied with: its last, linear layer."""
GUIDE_MIX, GUIDE_CURVES, GUIDE_RESULT = "guide/mix", "guide/curves", "guide/result"

TERMS_PER_WIDTH = 8
"""Weights for each place of the grid, for each channel of the network's first layer."""

SIDE = 256
"""Of the thumbnail, in pixels."""

CURVE_ENTRIES = 257
RESULT_ENTRIES = 1025
"""Of the table that stands for the logistic function of a point-wise guide."""


class HdrnetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an HDRNet is made of.

    Parameters
    ----------
    guide : str
        ``curves``: the channels are mixed, and bent by a curve each, which are averaged. ``pointwise``: a small network
        of one pixel. Both as published.
    spatial : int
        Rows and columns of the grid: 4, 8, 16 or 32; published: 16.
    levels : int
        Depth of the grid; published: 8.
    width : int
        Channels of the network's first layer, which all others follow; published: 8.
    batch_norm : bool
        Normalise inside the coefficient network; published: no, for retouching.
    start : str
        ``published``: all maps start small and random. ``identity``: they start near the map that changes nothing,
        which learns faster.
    task : str
        ``retouch``, or ``detail``: local contrast.
    """

    guide: Literal["curves", "pointwise"] = "curves"
    spatial: Literal[4, 8, 16, 32] = 16
    levels: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    width: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    batch_norm: bool = False
    start: Literal["published", "identity"] = "published"
    task: Literal["retouch", "detail"] = "retouch"

    @property
    def scale(self) -> int:
        """Always 1."""
        return 1

    @property
    def terms(self) -> int:
        """Weights that the network gives for each place of the grid."""
        return TERMS_PER_WIDTH * self.width

    @property
    def guide_shape(self) -> tuple[int, int, int]:
        """Number of the guide's curves, entries of each, and entries of what their sum becomes."""
        return (3, CURVE_ENTRIES, 2) if self.guide == "curves" else (16, 2, RESULT_ENTRIES)


defaults = HdrnetConfig(guide="pointwise")

QUICK_DEFAULTS = HdrnetConfig(start="identity")
"""What `quick` trains: it starts where nothing changes, and learns from few pictures in minutes."""

QUICK = ColourRecipe(
    steps=1600,
    batch=4,
    learning_rate=1e-3,
    final_rate=1e-5,
    warmup=50,
    validate_every=200,
    smoothness=0.0,
    monotonicity=0.0,
    longest_side=256,
    crop_ratio=(0.6, 1.0),
    brightness=(1.0, 1.0),
    saturation=(1.0, 1.0),
)
"""Ends within ten minutes on two cores."""

PAPER = msgspec.structs.replace(
    QUICK,
    steps=1_000_000,
    batch=16,
    learning_rate=1e-4,
    final_rate=1e-4,
    warmup=0,
    validate_every=5000,
    longest_side=512,
    crop_ratio=(0.5, 0.5),
    flip=0.0,
)
"""The released training: crops of 256 pixels, none mirrored. How long it ran is not written anywhere."""

FINETUNE = msgspec.structs.replace(QUICK, steps=600, learning_rate=2e-4, final_rate=1e-6, warmup=0, validate_every=100)
"""The network stays as it is, so that a step costs less."""

presets = {"quick": QUICK, "paper": PAPER, "finetune": FINETUNE}
workbench = "lutkit.bilateral.workbench:BilateralWorkbench"


def configure(preset: str, task: str | None) -> HdrnetConfig:
    """Return the configuration, for quick training one that starts where nothing changes.

    Raises DataError for a task that is not the family's.
    """
    task = task or "retouch"
    if task not in ("retouch", "detail"):
        raise DataError(
            f"{name} changes colours and cannot learn task '{task}': leave --task out, use --task detail, or train mulut"
        )
    base = defaults if preset == "paper" else QUICK_DEFAULTS
    return msgspec.structs.replace(base, task=task)


def build_guide(config: HdrnetConfig, curves: TableCoding | None = None, result: TableCoding | None = None) -> Guide:
    """Return the guide that a configuration describes; its tables are stored as float32 without codings."""
    count, entries, result_entries = config.guide_shape
    return Guide(
        mix=GUIDE_MIX,
        count=count,
        curves=GuideCurves(GUIDE_CURVES, entries, curves or TableCoding()),
        result=GuideCurves(GUIDE_RESULT, result_entries, result or TableCoding()),
    )


def build_predictor(config: HdrnetConfig, graph_bytes: int, companions: tuple[str, ...] = ()) -> Predictor:
    """Return what predicts ``weights`` from a thumbnail of the picture, and of those beside it."""
    return Predictor(
        input="image",
        companions=companions,
        output="weights",
        slot=PREDICTOR,
        graph_bytes=graph_bytes,
        side=SIDE,
        outputs=config.terms * config.spatial**2,
        sampling=Sampling.NEAREST,
    )


def build_fusion(
    config: HdrnetConfig, coding: TableCoding | None = None, slot: str = COLUMNS, output: str = "grid"
) -> GridFusion:
    """Return what makes a grid of the weights; its columns are stored as float32 without a coding."""
    return GridFusion(
        weights="weights",
        slot=slot,
        terms=config.terms,
        rows=config.spatial,
        columns=config.spatial,
        depth=config.levels,
        coding=coding or TableCoding(),
        output=output,
    )


def build_program(
    config: HdrnetConfig,
    *,
    graph_bytes: int = 1,
    columns: TableCoding | None = None,
    curves: TableCoding | None = None,
    result: TableCoding | None = None,
) -> Program:
    """Return the skeleton: predictor, grid, slice, and how strongly it changes the picture.

    Parameters
    ----------
    config : HdrnetConfig
    graph_bytes : int
        Size of the ONNX file of the predictor, once it is known.
    columns, curves, result : TableCoding, optional
        How the tables of the grid and of the guide are stored; float32 without them.
    """
    guide = build_guide(config, curves, result)
    predictor = build_predictor(config, graph_bytes)
    fusion = build_fusion(config, columns)
    program = Program(
        family=name,
        task=config.task,
        ops=(
            predictor,
            fusion,
            BilateralSlice(input="image", grid="grid", guide=guide, output="changed"),
            Blend(base="image", changed="changed", amount=STRENGTH.name, output="result"),
        ),
        colour=Colour.RGB,
        parameters=(STRENGTH,),
    )
    program.validate()
    return program


def skeleton(config: HdrnetConfig) -> Program:
    """Return the program with open slots that a configuration describes."""
    return build_program(config)


def network(config: HdrnetConfig, samples: int, outputs: int, channels: int = 3) -> torch.nn.Module:
    """Return the filling of the predictor's slot, (N, channels, 256, 256) to (N, terms, spatial, spatial).

    `samples` is the thumbnail's side, `outputs` the terms times the places.
    """
    from lutkit.bilateral.networks import CoefficientNetwork

    assert outputs == config.terms * config.spatial**2
    return CoefficientNetwork(
        samples, config.spatial, width=config.width, batch_norm=config.batch_norm, channels=channels
    )


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error (Gharbi et al., section 3.5)."""
    from lutkit.losses import mean_squared_error

    return mean_squared_error(output, target)
