"""Ops: the steps of a program, one per file: fields, validation, extent and reference evaluation.

Floor 3: imports the primitives, interpolation and errors. An op is a frozen record. Single channels flow as planes of
shape (..., channels, H, W) held by name, colours as pictures, vectors and tables.
"""

from __future__ import annotations

from lutkit_runtime.ops.add import Add
from lutkit_runtime.ops.axis_lookup import AxisLookup, Tap
from lutkit_runtime.ops.base import CODES, Kind, Plane, Slot, Value
from lutkit_runtime.ops.bilateral_slice import BilateralSlice
from lutkit_runtime.ops.bit_field import BitField
from lutkit_runtime.ops.blend import Blend
from lutkit_runtime.ops.colour_lookup import ColourLookup
from lutkit_runtime.ops.colour_matrix import ColourMatrix
from lutkit_runtime.ops.ensemble import BodyOp, Ensemble, follow_planes
from lutkit_runtime.ops.grid_fusion import GridFusion
from lutkit_runtime.ops.illuminate import Illuminate
from lutkit_runtime.ops.lookup import Lookup
from lutkit_runtime.ops.network import Network
from lutkit_runtime.ops.pixel_shuffle import PixelShuffle
from lutkit_runtime.ops.predictor import Predictor
from lutkit_runtime.ops.reconstructed_convolution import ReconstructedConvolution
from lutkit_runtime.ops.requantise import Requantise
from lutkit_runtime.ops.select_planes import SelectPlanes
from lutkit_runtime.ops.table_fusion import TableFusion

ChannelOp = BodyOp | Ensemble
"""Ops of programs through which every channel goes by itself."""

PixelOp = ColourLookup | ColourMatrix | BilateralSlice | Illuminate | SelectPlanes | Blend
"""Ops that make a colour of what is known at one pixel."""

ColourOp = PixelOp | TableFusion | GridFusion | Predictor | Network
"""Ops of programs through which the three channels go together."""

Op = ChannelOp | ColourOp

__all__ = [
    "CODES",
    "Add",
    "AxisLookup",
    "BilateralSlice",
    "BitField",
    "Blend",
    "BodyOp",
    "ChannelOp",
    "ColourLookup",
    "ColourMatrix",
    "ColourOp",
    "Ensemble",
    "GridFusion",
    "Illuminate",
    "Kind",
    "Lookup",
    "Network",
    "Op",
    "PixelOp",
    "PixelShuffle",
    "Plane",
    "Predictor",
    "ReconstructedConvolution",
    "Requantise",
    "SelectPlanes",
    "Slot",
    "TableFusion",
    "Tap",
    "Value",
    "follow_planes",
]
