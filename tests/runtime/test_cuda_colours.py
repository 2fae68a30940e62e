"""Programs for colours on GPUs give the bytes of the definition; in Numba's simulator where there is no GPU."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from colour_models import (
    STRENGTH,
    TETRAHEDRAL,
    TRILINEAR,
    colour_programs,
    expect_same,
    make_adaptive,
    make_chain,
    make_look,
    make_program,
    pictures,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.bilateral import Place
from lutkit_runtime.cube import Arithmetic, scale_to_depth
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import ArtefactError
from lutkit_runtime.kernels.cuda.device import SIMULATOR, is_simulated
from lutkit_runtime.ops import Blend, ColourLookup, ColourMatrix, TableFusion
from lutkit_runtime.ops.blend import bound_base, to_unit
from lutkit_runtime.ops.colour_lookup import BoundLookup, Cube, Curves, Domain
from lutkit_runtime.ops.table_fusion import BasisTable

pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install 'lutkit[cuda]'")

# what a GPU does silently: floats may be anything
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")

DEPTHS = ("uint8", "uint16", "float32")
SHAPES = ((5, 7, 3), (4, 9, 4), (1, 1, 3), (1, 2, 4), (1, 3, 3))
STRENGTHS = (0.0, 0.3, 1.0, 1.7)


def make_picture(depth, shape, seed=0):
    """Return a picture with ties and, in floats, with what is no colour."""
    random = np.random.default_rng(seed)
    if depth != "float32":
        picture = random.integers(0, np.iinfo(depth).max, shape, depth, endpoint=True)
        picture[0, 0] = np.iinfo(depth).max
        return picture
    picture = random.uniform(-0.2, 1.2, shape).astype(depth)
    odd = random.choice(np.array([np.nan, np.inf, -np.inf, 0, 1, 0.5, 1e30, -0.0], depth), shape)
    return np.where(random.random(shape) < 0.2, odd, picture)


@settings(max_examples=20)
@given(drawn=colour_programs(), picture=pictures(largest=5), strength=st.sampled_from(STRENGTHS))
def test_any_program_gives_the_bytes_of_the_definition(drawn, picture, strength):
    model = Model(drawn.program, drawn.tables)
    expected = model.apply(picture, backend="numpy", strength=strength)
    expect_same(model.apply(picture, backend="cuda", strength=strength), expected)


MODELS = {
    "tetrahedral": make_look(np.random.default_rng(1).uniform(-0.2, 1.2, (64, 3)).astype(np.float32)),
    "trilinear": make_look(np.random.default_rng(2).random((27, 3), np.float32), TRILINEAR, stretch=1.000001),
    "packed": make_look(np.random.default_rng(3).random((125, 3), np.float32), arithmetic=Arithmetic.PACKED),
    "chain": make_chain(),
    "adaptive": make_adaptive(),
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_at_every_strength(name, depth):
    model = Model(MODELS[name].program, MODELS[name].tables)
    for seed, (shape, strength) in enumerate(zip(SHAPES, (0.3, 1.0, 0.0, 1.0, 1.7), strict=True)):
        picture = make_picture(depth, shape, seed)
        expected = model.apply(picture, backend="numpy", strength=strength)
        expect_same(model.apply(picture, backend="cuda", strength=strength), expected)


def test_tiles_and_views_change_nothing():
    model = Model(MODELS["chain"].program, MODELS["chain"].tables)
    picture = make_picture("uint8", (6, 18, 4))[:, ::2, :3]
    expected = model.apply(picture, backend="numpy", strength=0.4)
    expect_same(model.apply(picture, backend="cuda", strength=0.4, tile=4), expected)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_pictures_that_lie_askew_are_moved(strength, monkeypatch):
    from lutkit_runtime.engine import cuda_colours

    model = Model(MODELS["packed"].program, MODELS["packed"].tables)
    picture = make_picture("uint8", (3, 5, 3))
    asked = []
    monkeypatch.setattr(cuda_colours, "fit_four", lambda flat: bool(asked.append(flat)))
    expect_same(
        model.apply(picture, backend="cuda", strength=strength),
        model.apply(picture, backend="numpy", strength=strength),
    )
    assert len(asked) == (2 if strength else 0)


@pytest.mark.parametrize("name", ["tetrahedral", "chain"])
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_a_picture_on_the_gpu_may_be_its_own_result(name, strength):
    from lutkit_runtime.engine.cuda_colours import ColoursOnDevice
    from lutkit_runtime.kernels.cuda.memory import Picture, upload

    artefact = MODELS[name]
    runner = ColoursOnDevice(artefact.program, artefact.tables)
    run = runner.prepare_on_device(None, {"strength": strength})
    picture = make_picture("uint16", (5, 7, 3))
    held = Picture(upload(picture), 5, 7, 3)
    with runner.pool.session(0) as session:
        run(session, held, Place(0, 0, 5, 7), held)
    expected = Model(artefact.program, artefact.tables).apply(picture, backend="numpy", strength=strength)
    expect_same(held.flat.copy_to_host().reshape(picture.shape), expected)


def test_blends_of_any_two_pictures():
    """Of the picture with itself, of floats with the picture, and of floats with floats."""
    matrix = ColourMatrix(input="image", matrix=((0.9, 0.2, 0.0), (0.0, 1.1, 0.0), (-0.3, 0.0, 1.0)), output="mixed")
    blends = [("image", "mixed"), ("mixed", "image"), ("mixed", "half"), ("half", "mixed"), ("image", "half")]
    for base, changed in blends:
        ops = [matrix, Blend(base="image", changed="mixed", amount="strength", output="half")]
        ops.append(Blend(base=base, changed=changed, amount="strength", output="result"))
        model = Model(make_program(*ops, parameters=(STRENGTH,)), {})
        for depth in DEPTHS:
            picture = make_picture(depth, (3, 3, 4))
            expected = model.apply(picture, backend="numpy", strength=0.6)
            expect_same(model.apply(picture, backend="cuda", strength=0.6), expected)


@dataclass(frozen=True)
class Variant:
    """What decides which kernel runs."""

    depth: str
    way: object
    curved: bool
    arithmetic: Arithmetic = Arithmetic.FLOAT32

    def __str__(self):
        """Return the name of the test."""
        return f"{self.depth} {self.way.value if self.way else 'no cube'}{' curves' if self.curved else ''}"


VARIANTS = [
    Variant(depth, way, curved)
    for depth, way, curved in itertools.product(DEPTHS, (TETRAHEDRAL, TRILINEAR, None), (False, True))
    if way or curved
]
VARIANTS += [Variant("uint8", TETRAHEDRAL, curved, Arithmetic.PACKED) for curved in (False, True)]


def make_bound(variant, seed):
    """Return a lookup with odd domains and, where they may be, nodes outside 0 to 1."""
    random = np.random.default_rng(seed)
    domains = (Domain(), Domain((-0.3, 0.0, 0.1), (1.0, 1.5, 0.8)), Domain((0.4, -3.0, 0.0), (0.5, 7.0, 1e-3)))
    low, high = (0.0, 1.0) if variant.arithmetic is Arithmetic.PACKED else (-0.5, 1.5)
    curves = cube = values = nodes = None
    if variant.curved:
        curves = Curves("curves", 7 + seed, domains[seed % 3])
        values = random.uniform(-0.2, 1.2, (curves.entries, 3)).astype(np.float32)
    if variant.way:
        stretch = (1.0, 1.000001, 1.001)[seed % 3]
        cube = Cube("cube", 2 + seed, domain=domains[(seed + 1) % 3], interpolation=variant.way, stretch=stretch)
        nodes = random.uniform(low, high, (cube.size**3, 3)).astype(np.float32)
        nodes[random.random(nodes.shape) < 0.2] = 0.0
    op = ColourLookup(input="image", curves=curves, cube=cube, arithmetic=variant.arithmetic, output="result")
    op.validate()
    return BoundLookup(op, values, nodes)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_lookups_finish_look_up_and_blend_as_they_are_defined(variant):
    from lutkit_runtime.kernels.cuda.colour import LookupOnDevice, make_like
    from lutkit_runtime.kernels.cuda.memory import Picture, Pool, upload

    for seed, shape in enumerate(SHAPES[:3]):
        bound = make_bound(variant, seed)
        picture = make_picture(variant.depth, shape, seed)
        colours, alpha = picture[..., :3], picture[..., 3:]
        looked_up = bound.look_up(colours)
        start = bound_base(colours)
        mixed = scale_to_depth(start + np.float32(0.7) * (looked_up - start), picture.dtype)
        looker = LookupOnDevice(bound)
        with Pool().session(0) as session:
            given = Picture(upload(picture), *shape)

            def read(made, shape=shape):
                return made.flat[: np.prod(shape)].copy_to_host().reshape(shape)

            out = make_like(session, given, picture.dtype)
            looker.finish(session, given, out)
            expect_same(read(out), np.concatenate([bound.finish(colours), alpha], axis=-1))
            looker.finish(session, given, out, amount=0.7)
            expect_same(read(out), np.concatenate([mixed, alpha], axis=-1))
            expect_same(read(looker.look_up(session, given))[..., :3], looked_up)


@pytest.mark.skipif(not is_simulated(), reason="calls a function of the GPU")
@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_every_code_is_divided_exactly_without_a_division(depth):
    from lutkit_runtime.kernels.cuda.colour_places import Depth, make_unit

    codes = np.arange(np.iinfo(depth).max + 1, dtype=depth)
    found = make_unit(Depth(depth))(codes)
    assert found.tobytes() == to_unit(codes).tobytes()


def make_fusion(terms, size=2):
    """Return a fusion of stored floats."""
    return TableFusion(
        weights="weights", bases=tuple(BasisTable(str(term)) for term in range(terms)), size=size, output="cube"
    )


def fuse_on_device(weights, tables):
    """Return what the kernel makes of tables (terms, entries), and whether it is in doubt."""
    from lutkit_runtime.kernels.cuda.memory import upload
    from lutkit_runtime.kernels.cuda.table_fusion import fuse_tables

    terms, entries = tables.shape
    out, doubts = upload(np.zeros(entries, np.float32)), upload(np.zeros(1, np.int32))
    bound = np.float32(1.5 * (terms - 1) * 2**-53)
    fuse_tables.launch(entries, 0, terms, upload(weights), upload(tables), bound, out, doubts)
    return out.copy_to_host(), bool(doubts.copy_to_host()[0])


def sum_in_double(weights, tables):
    """Return the sum as it is defined."""
    total = np.zeros(tables.shape[1])
    for weight, table in zip(weights, tables, strict=True):
        total += float(weight) * table.astype(np.float64)
    return total


@settings(max_examples=40)
@given(
    terms=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["any", "near ties", "cancelling", "of all sizes"]),
)
def test_a_fused_entry_is_that_of_the_definition_or_in_doubt(terms, seed, kind):
    random = np.random.default_rng(seed)
    tables = random.normal(0.3, 0.5, (terms, 24)).astype(np.float32)
    weights = random.normal(0.5, 1, terms).astype(np.float32)
    if kind == "near ties":  # a sum halfway between two floats, and a hair beside
        weights[:] = 1
        tables[0] = random.uniform(1, 2, 24).astype(np.float32)
        tables[1:] = 0
        if terms > 1:
            tables[1] = random.choice(np.array([2**-24, -(2**-24), 2**-23 * 1.5], np.float32), 24)
            tables[-1] += random.choice(np.array([0, 2**-52, -(2**-60), 2**-76], np.float32), 24)
    elif kind == "cancelling" and terms > 1:
        tables[-1] = -tables[0] * np.float32(1 + 2**-20)
        weights[-1] = weights[0]
    elif kind == "of all sizes":
        tables *= np.exp2(random.integers(-140, 60, tables.shape)).astype(np.float32)
    found, in_doubt = fuse_on_device(weights, tables)
    expected = sum_in_double(weights, tables).astype(np.float32)
    assert in_doubt or found.tobytes() == expected.tobytes()


def test_the_kernel_alone_decides_what_is_clear():
    random = np.random.default_rng(0)
    tables = random.random((3, 200), dtype=np.float32)
    tables[:, 0] = 0
    weights = np.array([0.9, 0.2, -0.1], np.float32)
    found, in_doubt = fuse_on_device(weights, tables)
    assert not in_doubt
    assert found.tobytes() == sum_in_double(weights, tables).astype(np.float32).tobytes()


def test_the_kernel_doubts_a_tie_a_tiny_product_and_a_huge_sum():
    ones = np.ones((2, 3), np.float32)
    for weights, tables in (
        ([1, 2**-24], ones),
        ([1, 2**-90], ones),
        ([9e29, 2e29], ones),
        ([3e38, 3e38], ones),
        ([np.inf, 1], ones),
        ([np.nan, 1], ones),
    ):
        assert fuse_on_device(np.array(weights, np.float32), tables)[1], weights


@pytest.mark.parametrize("weights", [[0.7, 0.4], [1.0, 2**-24], [0.0, 0.0]])
def test_fused_nodes_are_those_of_the_definition(weights):
    from lutkit_runtime.kernels.cuda.table_fusion import FusionOnDevice

    op = make_fusion(2)
    fill = {"0": np.ones((8, 3), np.float32), "1": np.random.default_rng(0).random((8, 3), np.float32)}
    fill["1"][0] = 1
    given = np.array(weights, np.float32)
    found = FusionOnDevice(op, fill).fuse(given).copy_to_host().reshape(-1, 4)
    assert found[:, :3].tobytes() == op.fuse(given, [fill["0"], fill["1"]]).tobytes()
    assert not found[:, 3].any()


def test_weights_that_are_too_large_are_refused():
    from lutkit_runtime.kernels.cuda.table_fusion import FusionOnDevice

    fusion = FusionOnDevice(make_fusion(1), {"0": np.ones((8, 3), np.float32)})
    with pytest.raises(ArtefactError, match="weights up to 2e"):
        fusion.fuse(np.array([2e30], np.float32))


def test_memory_is_reached_four_samples_at_a_time():
    """What makes the kernels fast, as far as it can be seen in their code."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "cuda_ptx.py"), "packed colour lookup"],
        env={**os.environ, SIMULATOR: "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "NvvmSupportError" in done.stderr or "libNVVM" in done.stderr:
        pytest.skip("needs a CUDA toolkit: pip install 'numba-cuda[cu13]'")
    assert done.returncode == 0, done.stderr[-2000:]
    code = {name.rpartition(" ")[2]: ptx for name, _, ptx in json.loads(done.stdout)}
    assert set(code) == {"RGB", "RGBA"}
    for layout, accesses in (("RGB", 3), ("RGBA", 1)):
        assert code[layout].count("ld.global.v4.u8") == accesses
        assert code[layout].count("st.global.v4.u8") == accesses
        assert "div." not in code[layout]
        assert "ld.shared" in code[layout]
    # four pixels at a time and one of the rest, of four nodes each
    assert code["RGB"].count("ld.global.u64") == 20


NAME_KERNELS = """
import hashlib
from numba.cuda.core.caching import dumps
from lutkit_runtime.kernels.cuda.catalogue import every_kernel

for kernel in every_kernel():
    held = tuple(cell.cell_contents for cell in kernel.function.__closure__ or ())
    print(kernel.name, hashlib.sha256(dumps(held)).hexdigest())
"""
"""What numba-cuda looks compiled kernels up by, as far as two processes may differ in it."""


def test_kernels_are_found_again_in_the_cache():
    pytest.importorskip("numba_cuda.numba.cuda.core.caching", reason="this numba-cuda keeps its cache elsewhere")
    environment = {**os.environ, SIMULATOR: "0"}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", NAME_KERNELS], env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    )
    assert len(first.stdout.splitlines()) > 50
    assert first.stdout == second.stdout
