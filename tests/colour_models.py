"""Models of colours for tests: builders of small ones, hypothesis strategies for any, and what equal pictures are."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from lutkit_runtime.artefact import Artefact
from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.ops import Blend, ColourLookup, ColourMatrix, Op, Predictor, TableFusion
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.program import Colour, Parameter, Program
from lutkit_runtime.table_coding import Storage, TableCoding, encode_table

THUMBNAIL_NETWORK = Path(__file__).parent / "runtime" / "thumbnail.onnx"
"""Takes (1, 3, 4, 4) and gives two numbers that `expect_weights` computes in other words."""

STRENGTH = Parameter(name="strength", default=1.0, low=0.0, high=2.0)

TRILINEAR, TETRAHEDRAL = CubeInterpolation.TRILINEAR, CubeInterpolation.TETRAHEDRAL


def expect_weights(thumbnail: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what the network in thumbnail.onnx gives for a thumbnail (4, 4, 3)."""
    red, green, blue = np.asarray(thumbnail, np.float64).mean(axis=(0, 1))
    return np.array([0.75 + red - green / 2, -0.25 + green + blue / 4])


def identity_nodes(size: int) -> NDArray[np.float32]:
    """Return the nodes (size**3, 3) of a cube that changes nothing, red fastest."""
    blue, green, red = np.indices((size, size, size)).reshape(3, -1) / (size - 1)
    return np.stack([red, green, blue], axis=-1).astype(np.float32)


def make_program(*ops: Op, parameters: tuple[Parameter, ...] = ()) -> Program:
    """Return a program for colours, whose last op makes the result."""
    return Program(family="test", task="look", ops=ops, output=ops[-1].output, colour=Colour.RGB, parameters=parameters)


def make_look(
    nodes: NDArray[np.float32],
    interpolation: CubeInterpolation = TETRAHEDRAL,
    arithmetic: Arithmetic = Arithmetic.FLOAT32,
    storage: Storage = Storage.FLOAT32,
    stretch: float = 1.0,
) -> Artefact:
    """Return a model of one cube (size**3, 3) and a strength."""
    coding, table = encode_table(nodes, storage)
    cube = Cube("cube", round(len(nodes) ** (1 / 3)), interpolation=interpolation, coding=coding, stretch=stretch)
    program = make_program(
        ColourLookup(input="image", cube=cube, arithmetic=arithmetic, output="graded"),
        Blend(base="image", changed="graded", amount="strength", output="result"),
        parameters=(STRENGTH,),
    )
    return Artefact(program, {"cube": table}, {"title": "a look"})


def make_adaptive(size: int = 3, interpolation: CubeInterpolation = TRILINEAR) -> Artefact:
    """Return a tiny image-adaptive model: two basis tables, the second one of int16."""
    graph = np.frombuffer(THUMBNAIL_NETWORK.read_bytes(), np.uint8)[:, None]
    places = np.arange(size**3 * 3).reshape(-1, 3)
    wave = ((places * 37 % 101 - 50) / 200).astype(np.float32)
    coding, codes = encode_table(wave, Storage.INT16)
    program = make_program(
        Predictor(input="image", output="weights", slot="predictor", graph_bytes=len(graph), side=4, outputs=2),
        TableFusion(
            weights="weights",
            bases=(BasisTable("basis/0"), BasisTable("basis/1", coding)),
            size=size,
            output="cube",
        ),
        ColourLookup(
            input="image",
            cube=Cube("cube", size, fused=True, interpolation=interpolation, stretch=1.000001),
            output="retouched",
        ),
        Blend(base="image", changed="retouched", amount="strength", output="result"),
        parameters=(STRENGTH,),
    )
    tables = {"predictor": graph.copy(), "basis/0": identity_nodes(size), "basis/1": codes}
    return Artefact(program, tables, {"licence": "MIT"})


def break_network(artefact: Artefact) -> Artefact:
    """Return the model with a network of zeros in place of its own."""
    graph = np.zeros_like(artefact.tables["predictor"])
    return Artefact(artefact.program, {**artefact.tables, "predictor": graph})


def make_chain(arithmetic: Arithmetic = Arithmetic.FLOAT32) -> Artefact:
    """Return a model of curves, a matrix, and a cube of int8 entries after them."""
    ramp = np.linspace(0, 1, 17)[:, None]
    curves = (ramp ** np.array([0.5, 1.0, 1.8])).astype(np.float32)
    places = np.arange(4**3 * 3).reshape(-1, 3)
    coding, codes = encode_table((places * 53 % 97 / 96).astype(np.float32), Storage.INT8)
    domain = Domain((-0.1, 0.0, 0.0), (1.2, 1.0, 1.5))
    program = make_program(
        ColourLookup(input="image", curves=Curves("curves", 17), output="curved"),
        ColourMatrix(
            input="curved",
            matrix=((0.9, 0.1, 0.0), (0.05, 0.9, 0.05), (-0.1, 0.2, 0.9)),
            offset=(0.01, 0.0, -0.02),
            output="mixed",
        ),
        ColourLookup(
            input="mixed", cube=Cube("cube", 4, domain=domain, coding=coding), arithmetic=arithmetic, output="graded"
        ),
        Blend(base="mixed", changed="graded", amount="strength", output="result"),
        parameters=(STRENGTH,),
    )
    return Artefact(program, {"curves": curves, "cube": codes})


@dataclass(frozen=True)
class FilledColours:
    """A program for colours with its tables."""

    program: Program
    tables: dict[str, NDArray[np.generic]] = field(repr=False)


def pictures(largest: int = 12) -> st.SearchStrategy[NDArray[np.generic]]:
    """Draw small RGB and RGBA pictures of every depth; a third of them have few different samples."""

    def make(height: int, width: int, channels: int, depth: str, seed: int) -> NDArray[np.generic]:
        random = np.random.default_rng(seed)
        shape = (height, width, channels)
        if depth == "float32":
            floats = random.uniform(-0.5, 1.5, shape).astype(np.float32)
            special = np.array([0, 1, 0.5, 0.25, -7, 9, np.nan, np.inf, -np.inf], np.float32)
            return floats if seed % 3 else random.choice(special, shape)
        peak = np.iinfo(depth).max
        if seed % 3 == 0:
            return random.choice(np.array([0, 1, peak // 3, peak // 2, peak - 1, peak], depth), shape)
        return random.integers(0, peak, shape, depth, endpoint=True)

    side = st.integers(1, largest)
    depths = st.sampled_from(("uint8", "uint16", "float32"))
    return st.builds(make, side, side, st.sampled_from((3, 4)), depths, st.integers(0, 2**32 - 1))


def _domains() -> st.SearchStrategy[Domain]:
    low = st.tuples(*[st.sampled_from((-0.5, 0.0, 0.1))] * 3)
    high = st.tuples(*[st.sampled_from((0.7, 1.0, 3.0))] * 3)
    return st.one_of(st.just(Domain()), st.builds(Domain, low, high))


@st.composite
def colour_programs(draw: st.DrawFn) -> FilledColours:
    """Draw runs of lookups, matrices and blends, and often the tiny image-adaptive model before them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tables: dict[str, NDArray[np.generic]] = {}
    ops: list[Op] = []
    pictures = ["image"]
    if draw(st.booleans()):
        adaptive = make_adaptive(draw(st.integers(2, 5)))
        ops += adaptive.program.ops[:3]
        tables |= adaptive.tables
        pictures.append("retouched")

    def store(slot: str, nodes: NDArray[np.float32]) -> TableCoding:
        coding, tables[slot] = encode_table(nodes, draw(st.sampled_from(Storage)))
        return coding

    for number in range(draw(st.integers(0 if ops else 1, 3))):
        source, name = draw(st.sampled_from(pictures)), f"op{number}"
        kind = draw(st.sampled_from(("lookup", "lookup", "lookup", "matrix", "blend")))
        if kind == "matrix":
            matrix = random.uniform(-1, 2, (3, 3))
            ops.append(
                ColourMatrix(
                    input=source,
                    matrix=tuple(tuple(map(float, row)) for row in matrix),
                    offset=tuple(map(float, random.uniform(-0.2, 0.2, 3))),
                    output=name,
                )
            )
        elif kind == "blend" and len(pictures) > 1:
            base, changed = draw(st.permutations(pictures))[:2]
            ops.append(Blend(base=base, changed=changed, amount="strength", output=name))
        else:
            ops.append(_draw_lookup(draw, random, store, source, name))
        pictures.append(name)
    program = make_program(*ops, parameters=(STRENGTH,))
    program.validate()
    return FilledColours(program, tables)


def _draw_lookup(draw, random, store, source, name) -> ColourLookup:
    packed = draw(st.booleans())
    spread = (0.0, 1.0) if packed or draw(st.booleans()) else (-0.6, 1.7)
    curves = cube = None
    if draw(st.booleans()):
        entries = draw(st.sampled_from((2, 3, 17, 300)))
        coding = store(f"{name}/curves", random.uniform(-0.2, 1.2, (entries, 3)).astype(np.float32))
        curves = Curves(f"{name}/curves", entries, draw(_domains()), coding)
    if curves is None or packed or draw(st.booleans()):
        size = draw(st.integers(2, 9))
        nodes = random.uniform(*spread, (size**3, 3)).astype(np.float32)
        if packed:  # integers of a step may end a hair outside
            nodes = nodes * np.float32(0.98) + np.float32(0.01)
        coding = store(f"{name}/cube", nodes)
        interpolation = TETRAHEDRAL if packed else draw(st.sampled_from(CubeInterpolation))
        stretch = draw(st.sampled_from((1.0, 1.000001, 1.001)))
        cube = Cube(
            f"{name}/cube", size, domain=draw(_domains()), interpolation=interpolation, coding=coding, stretch=stretch
        )
    arithmetic = Arithmetic.PACKED if packed else Arithmetic.FLOAT32
    return ColourLookup(input=source, curves=curves, cube=cube, arithmetic=arithmetic, output=name)


def expect_same(found, expected):
    """Fail unless two pictures have the same bytes; what is no number may be any that is none."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if expected.dtype.kind == "f":
        faulty = np.isnan(expected)
        assert np.array_equal(np.isnan(found), faulty)
        found, expected = found[~faulty], expected[~faulty]
    assert found.tobytes() == expected.tobytes()
