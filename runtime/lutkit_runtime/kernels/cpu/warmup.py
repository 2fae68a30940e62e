"""The kernels of training, each run once on next to nothing, so that it is compiled and cached.

Floor 4: imports the ops and the kernels. `engine.warmup` has the kernels that `Model.apply` needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.bilateral import COEFFICIENTS, GuideTables
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.kernels.cpu.axis_gradient import network_gradient, trace_network
from lutkit_runtime.kernels.cpu.axis_layout import prepare_network
from lutkit_runtime.kernels.cpu.axis_network import claim_axis_network
from lutkit_runtime.kernels.cpu.bilateral_gradient import slice_and_apply_pictures, slice_gradient
from lutkit_runtime.kernels.cpu.cube_gradient import CubeLookup, cube_gradient, look_up_pictures, pad_cubes
from lutkit_runtime.kernels.cpu.gradient import stage_gradient
from lutkit_runtime.kernels.cpu.guide_gradient import evaluate_pictures, guide_gradient
from lutkit_runtime.kernels.cpu.reconstructed import code_maps_gradient
from lutkit_runtime.kernels.cpu.touched import touched_entries
from lutkit_runtime.kernels.stage_claim import Stage, claim_stage
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import AxisLookup, Ensemble, Lookup, ReconstructedConvolution, Requantise, Tap
from lutkit_runtime.pattern import IndexPattern

BLOCKS = range(1, 9)

PLANES = np.zeros((1, 3, 4), np.uint8)


def list_training_cases() -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Yield name, group (cases of one compile variants of the same functions) and what runs it."""
    for block, diagonal in itertools.product(BLOCKS, (False, True)):
        name = f"training of lookups, block {block}{', along the diagonal' if diagonal else ''}"
        yield name, "training of lookups", partial(_train_lookup, block, diagonal)
    for diagonal in (False, True):
        name = f"entries that lookups touch{', along the diagonal' if diagonal else ''}"
        yield name, "touched entries", partial(_touch, diagonal)
    yield "training of windows", "training of windows", _train_window
    # runs the kernel that applies, too, which another case may be compiling
    yield "training of one-dimensional tables", "axis lookups", _train_axis_lookup
    yield "training of cubes", "training of cubes", _train_cube
    yield "training of bilateral grids", "training of bilateral grids", _train_grid
    yield "training of guides", "training of guides", _train_guide


def _make_stage(block: int, diagonal: bool) -> Stage:
    lookup = Lookup(
        output="sum",
        input="image",
        slot="table",
        pattern=IndexPattern(((0, 0), (0, 1))),
        lattice=Lattice(2, 4),
        block=block,
        diagonal=Diagonal(1, 5) if diagonal else None,
    )
    turns = Ensemble(output="turns", input="image", body=(lookup,))
    stage = claim_stage(turns, Requantise(output="result", input="turns", bias=0, divisor=4 * lookup.step))
    assert stage is not None
    return stage


def _train_lookup(block: int, diagonal: bool) -> None:
    stage = _make_stage(block, diagonal)
    tables = [np.zeros((stage.lookups[0].entries, block**2), np.int8)]
    codes = np.zeros((1, 3 * block, 4 * block), np.uint8)
    stage_gradient(stage, tables, PLANES, codes, np.zeros(codes.shape, np.float32))


def _touch(diagonal: bool) -> None:
    touched_entries(_make_stage(1, diagonal), PLANES)


def _train_window() -> None:
    op = ReconstructedConvolution(output="map", input="image", slot="window", post="thresholds", window=3)
    maps = np.zeros((4, *PLANES.shape), np.uint8)
    table = np.zeros(op.slots[op.slot].shape, np.int16)
    code_maps_gradient(op, table, PLANES, maps, np.zeros(maps.shape, np.int32), np.zeros(maps.shape, np.float32))


def _train_axis_lookup() -> None:
    tables = AxisTables(0, 256, ((1,),))
    lookup = AxisLookup(output="sum", input="image", slot="table", taps=(Tap(),), tables=tables, outputs=1)
    codes = Requantise(output="codes", input="sum", bias=0, divisor=1)
    turns = Ensemble(output="turns", input="image", body=(lookup, codes))
    network = claim_axis_network(turns, Requantise(output="result", input="turns", bias=0, divisor=4))
    assert network is not None
    prepared = prepare_network(network, {"table": np.zeros((256, 1), np.int8)})
    trace = trace_network(prepared, PLANES, frozenset())
    network_gradient(trace, np.zeros(trace.result.shape, np.float32))


def _train_cube() -> None:
    lookup = CubeLookup(2, CubeInterpolation.TETRAHEDRAL)
    pictures = np.zeros((1, 3, 3, 4), np.float32)
    nodes = pad_cubes(np.zeros((1, 3, 2, 2, 2), np.float32))
    look_up_pictures(lookup, pictures, nodes)
    cube_gradient(lookup, pictures, nodes, pictures)


def _train_grid() -> None:
    pictures, guides = np.zeros((1, 3, 3, 4), np.float32), np.zeros((1, 3, 4), np.float32)
    grids = np.zeros((1, 2, 2, 2, COEFFICIENTS), np.float32)
    slice_and_apply_pictures(pictures, guides, grids)
    slice_gradient(pictures, guides, grids, pictures)


def _train_guide() -> None:
    pictures = np.zeros((1, 3, 3, 4), np.float32)
    tables = GuideTables(*(np.zeros(shape, np.float32) for shape in ((4, 1), (2, 1), (2, 1))))
    guide_gradient(pictures, tables, evaluate_pictures(pictures, tables))
