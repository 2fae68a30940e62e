"""Networks of full resolution: what they compute, in tiles or whole, on pictures of any size; what is refused."""

import threading
import time

import cv2
import msgspec
import numpy as np
import pytest
from colour_models import STRENGTH, expect_same, make_program
from fast_backends import FAST_BACKENDS
from hypothesis import given, settings
from hypothesis import strategies as st
from network_models import (
    DEPTH,
    Convolutions,
    add_companions,
    draw_convolutions,
    make_companions,
    make_network_op,
    make_planes_program,
)

from lutkit_runtime.engine import Model
from lutkit_runtime.errors import ArtefactError, InputError, ProgramError
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_network import ResizableNetwork
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import Blend, ColourMatrix, Illuminate, Network, SelectPlanes
from lutkit_runtime.ops.network import TILE_SIDE, PlanesOfPictures
from lutkit_runtime.ops.predictor import see_samples

ERROR = 2e-6
"""Of planes of 0 to 1, against float64."""


def make_image(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


def make_model(made: Convolutions, numbers=(0, 1, 2), **fields) -> Model:
    """Return a model whose result are planes of a network of the picture."""
    table = made.write()
    network = make_network_op(table, len(made.weights[-1]), **fields)
    return Model(make_planes_program(network, numbers=numbers), {"network": table})


@pytest.fixture(scope="module")
def wide():
    """A network of two windows of 5 x 5, whose reach is 4."""
    return draw_convolutions(np.random.default_rng(5), (3, 6, 3), (5, 5))


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(1, 30),
    st.lists(st.sampled_from((1, 3, 5)), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_a_network_convolves(seed, height, width, sides, is_mirrored, is_whole):
    """Whatever the size of the picture and of the file, also where windows are larger than the picture."""
    random = np.random.default_rng(seed)
    made = draw_convolutions(random, (3, *[4] * (len(sides) - 1), 2), sides, is_mirrored=is_mirrored)
    least = 1 + max(side // 2 for side in sides) if is_mirrored else 1
    image = make_image(height, width, seed=seed)
    file = made.write(*map(int, random.integers(5, 20, 2)))
    reach = None if is_whole else made.reach
    op = make_network_op(file, 2, reach=reach, smallest=least)
    found = op.run(op.open({"network": file}, 3), [image])
    larger = np.pad(image, ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0)), mode="edge")
    assert (found.dtype, found.shape) == (np.float32, (height, width, 2))
    assert np.abs(found - made.convolve(larger)[:height, :width]).max() < ERROR


@pytest.mark.parametrize("shape", [(2 * TILE_SIDE + 30, 20), (20, 2 * TILE_SIDE + 30), (300, 270)])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_no_seam_is_seen(shape, is_mirrored):
    """Tiles give what the whole picture gives, at the borders of tiles as elsewhere."""
    made = draw_convolutions(np.random.default_rng(1), (3, 5, 3), (5, 3), is_mirrored=is_mirrored)
    image = make_image(*shape)
    results = [make_model(made, reach=reach, smallest=3).apply(image) for reach in (made.reach, None)]
    assert np.abs(results[0] - results[1]).max() < ERROR
    assert np.abs(results[1] - made.convolve(image)).max() < ERROR


@pytest.mark.parametrize("shape", [(TILE_SIDE + 60, 9), (9, TILE_SIDE + 60)])
def test_no_side_that_is_long_enough_is_extended(wide, shape):
    """Whatever `smallest` is: windows of tiles that were shorter would end in repeated pixels beyond the border."""
    image, least = make_image(*shape), TILE_SIDE + 2 * wide.reach + 20
    larger = np.pad(image, [(0, max(0, least - side)) for side in shape] + [(0, 0)], mode="edge")
    expected = wide.convolve(larger)[: shape[0], : shape[1]]
    for reach in (wide.reach, None):
        assert np.abs(make_model(wide, reach=reach, smallest=least).apply(image) - expected).max() < ERROR


def test_a_reach_that_is_too_short_shows_at_the_border_of_tiles_alone(wide):
    """So the test before would see a seam."""
    image = make_image(20, TILE_SIDE + 100)
    expected = wide.convolve(image)
    difference = np.abs(make_model(wide, reach=1).apply(image) - expected).max(axis=(0, 2))
    near = np.abs(np.arange(image.shape[1]) - TILE_SIDE + 0.5) < wide.reach
    assert difference[near].max() > 1e-3
    assert difference[~near].max() < ERROR


@pytest.mark.parametrize("backend", FAST_BACKENDS)
def test_neither_tiles_nor_threads_nor_backends_change_a_byte(wide, backend):
    image = make_image(TILE_SIDE + 40, TILE_SIDE + 70)
    model = make_model(wide, reach=wide.reach)
    expected = model.apply(image, backend="numpy")
    for tile, threads in ((None, 2), (100, 1), (TILE_SIDE, 3), (300, None), (61, 2), (1000, 1)):
        expect_same(model.apply(image, backend=backend, tile=tile, threads=threads), expected)


@pytest.mark.parametrize("tile", [None, 40, 100, 300])
@pytest.mark.parametrize("reach", [4, None])
def test_every_tile_is_computed_once(wide, tile, reach, monkeypatch):
    sizes = []
    run = ResizableNetwork.run

    def count(self, blob, threads=None):
        sizes.append(blob.shape[2:])
        return run(self, blob, threads)

    monkeypatch.setattr(ResizableNetwork, "run", count)
    make_model(wide, reach=reach).apply(make_image(300, 2 * TILE_SIDE), tile=tile)
    assert sizes == ([(TILE_SIDE + 8, TILE_SIDE + 8)] * 4 if reach else [(300, 2 * TILE_SIDE)])


def test_parts_may_be_read_in_any_order(wide):
    table = wide.write()
    op = make_network_op(table, 3, reach=wide.reach)
    image = make_image(90, TILE_SIDE + 60)
    network = op.open({"network": table}, 3)
    expected = op.run(network, [image])
    planes = PlanesOfPictures(op, network, [image])
    random = np.random.default_rng(0)
    for _ in range(12):
        rows, columns = (slice(*sorted(random.choice(side + 1, 2, replace=False))) for side in image.shape[:2])
        np.testing.assert_array_equal(planes.read(rows, columns), expected[rows, columns])


def test_tiles_are_let_go_when_they_were_read(wide):
    """A strip may be any number of tiles wide."""
    table = wide.write()
    op = make_network_op(table, 3, reach=wide.reach)
    planes = PlanesOfPictures(op, op.open({"network": table}, 3), [make_image(4, 5 * TILE_SIDE)])
    held = []
    for left in range(0, 5 * TILE_SIDE, 100):
        planes.read(slice(0, 4), slice(left, min(left + 100, 5 * TILE_SIDE)))
        held.append(len(planes._tiles))
    assert max(held) == 1 and held[-1] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (1, 2 * TILE_SIDE + 9), (2 * TILE_SIDE + 9, 1)])
@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_pictures_of_a_row_a_column_or_a_pixel(wide, shape, depth):
    image = make_image(*shape)
    image = image if depth == "float32" else (image * np.iinfo(depth).max).astype(depth)
    expected = wide.convolve(see_samples(image))
    unit = 1.0 if depth == "float32" else float(np.iinfo(depth).max)
    for reach in (wide.reach, None):
        result = make_model(wide, reach=reach).apply(image)
        assert (result.dtype, result.shape) == (image.dtype, image.shape)
        assert np.abs(result / unit - expected).max() < ERROR + (0 if unit == 1 else 0.5001 / unit)


def test_alpha_goes_round_the_network(wide):
    image = make_image(9, 8, channels=4)
    for reach in (wide.reach, None):
        result = make_model(wide, reach=reach).apply(image)
        np.testing.assert_array_equal(result[..., 3], image[..., 3])
        assert np.abs(result[..., :3] - wide.convolve(image[..., :3])).max() < ERROR


def halve_and_double(factor=2):
    """Return the file of a network that averages blocks of pixels and repeats the mean: its sides must be multiples."""
    layers = (
        Layer("Conv", ("in", "weight"), "small", {"strides": (factor, factor), "group": 3}),
        Layer("Resize", ("small", "", "factors"), "out", RESIZE),
    )
    weight = np.full((3, 1, factor, factor), 1 / factor**2, np.float32)
    arrays = {"weight": weight, "factors": np.array([1, 1, factor, factor], np.float32)}
    shape = (1, 3, 4 * factor, 4 * factor)
    return np.frombuffer(write_graph(Graph(13, "in", shape, "out", layers, arrays), shape), np.uint8)[:, None].copy()


RESIZE = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@pytest.mark.parametrize("shape", [(32, 64), (33, 31), (1, 5), (70, 1)])
def test_sides_become_multiples_and_what_is_added_is_cut_off(shape):
    table, image = halve_and_double(32), make_image(*shape)
    op = make_network_op(table, 3, multiple=32, smallest=5)
    found = op.run(op.open({"network": table}, 3), [image])
    height, width = (-(-side // 32) * 32 for side in shape)
    larger = np.pad(image, ((0, height - shape[0]), (0, width - shape[1]), (0, 0)), mode="edge").astype(np.float64)
    means = larger.reshape(height // 32, 32, width // 32, 32, 3).mean(axis=(1, 3))
    expected = means.repeat(32, axis=0).repeat(32, axis=1)[: shape[0], : shape[1]]
    assert np.abs(found - expected).max() < 3e-5  # sums of a thousand


def test_several_pictures_arrive_in_the_order_of_the_op():
    made = draw_convolutions(np.random.default_rng(2), (4, 3), (3,))
    table = made.write()
    network = make_network_op(table, 3, ("image", "depth"), reach=1)
    model = Model(make_planes_program(network, DEPTH, numbers=(0, 1, 2)), {"network": table})
    image = make_image(TILE_SIDE + 20, 30)
    beside = make_companions(model.program, *image.shape[:2])
    expected = made.convolve(np.concatenate([image, see_samples(beside["depth"])], axis=2))
    assert np.abs(model.apply(image, **beside) - expected).max() < ERROR


def test_planes_may_stand_several_times_and_in_any_order(wide):
    image = make_image(6, 7)
    expected = make_model(wide, reach=4).apply(image)
    for numbers in ((2, 0, 1), (1, 1, 1), (0, 2, 0)):
        expect_same(make_model(wide, numbers, reach=4).apply(image), expected[..., list(numbers)].copy())


def test_two_networks_stand_side_by_side(wide):
    """One in tiles, one whole, of one slot and of two."""
    other = draw_convolutions(np.random.default_rng(6), (3, 3), (3,))
    tables = {"network": wide.write(), "other": other.write()}
    image = make_image(20, TILE_SIDE + 30)
    for slot, made in (("other", other), ("network", wide)):
        first = make_network_op(tables["network"], 3, reach=wide.reach)
        second = make_network_op(tables[slot], 3, slot=slot, output="more")
        ops = (
            first,
            second,
            SelectPlanes(input="planes", planes=(0, 1, 2), output="one"),
            SelectPlanes(input="more", planes=(0, 1, 2), output="two"),
            Blend(base="one", changed="two", amount="strength", output="result"),
        )
        program = make_program(*ops, parameters=(STRENGTH,))
        model = Model(program, {name: tables[name] for name in program.slots})
        result = model.apply(image, strength=0.5)
        assert np.abs(result - (wide.convolve(image) + made.convolve(image)) / 2).max() < ERROR


def blend_network(table, **fields) -> Model:
    select = SelectPlanes(input="planes", planes=(0, 0, 0), output="one")
    blend = Blend(base="image", changed="one", amount="strength", output="result")
    program = make_program(make_network_op(table, 1, **fields), select, blend, parameters=(STRENGTH,))
    return Model(program, {"network": table})


@pytest.mark.parametrize("reach", [0, None])
def test_a_network_that_the_result_does_not_need_does_not_run(reach, monkeypatch):
    """And one that gives what is no number is refused where it is needed."""
    weights = {"huge": np.full((1, 3, 1, 1), 3e38, np.float32)}
    layers = Layer("Conv", ("in", "huge"), "sum"), Layer("Relu", ("sum",), "same"), Layer("Add", ("sum", "same"), "out")
    table = write_layers(*layers, arrays=weights, given=(1, 1, 8, 8))
    model, image = blend_network(table, reach=reach), make_image(4, 5)
    with pytest.raises(ArtefactError, match="network 'network' gives values that are not finite: make the model anew"):
        model.apply(image)
    monkeypatch.setattr(ResizableNetwork, "run", None)
    expect_same(model.apply(image, strength=0.0), image)


@pytest.mark.parametrize("reach", [4, None])
def test_threads_limit_the_library_and_are_given_back(wide, reach, monkeypatch):
    set_to, before = [], cv2.getNumThreads()
    change = cv2.setNumThreads
    monkeypatch.setattr(cv2, "setNumThreads", lambda count: (set_to.append(count), change(count)))
    model = make_model(wide, reach=reach)
    model.apply(make_image(9, 9), threads=1)
    assert set_to == [1, before] and cv2.getNumThreads() == before
    model.apply(make_image(9, 9))
    assert len(set_to) == 2
    model.apply(make_image(9, 9), threads=2**40)  # more than there are count as all
    assert set_to[2:] == [max(before, cv2.getNumberOfCPUs()), before]


def test_pictures_that_are_too_large_for_the_memory_are_told_from_bad_networks(wide, monkeypatch):
    class Greedy:
        def setInput(self, blob):
            pass

        def forward(self):
            problem = cv2.error("Failed to allocate 4096000000 bytes")
            problem.code = cv2.Error.STS_NO_MEM
            raise problem

    monkeypatch.setattr(ResizableNetwork, "_fit", lambda self, shape: Greedy())
    with pytest.raises(InputError, match="image is too large for network 'network', which sees 7x5 pixels") as refusal:
        make_model(wide, reach=None).apply(make_image(5, 7))
    assert "\n" not in str(refusal.value)


def test_several_threads_may_use_one_model(wide):
    model = make_model(wide, reach=wide.reach)
    images = [make_image(20 + number % 3, 30, seed=number) for number in range(12)]
    results = [None] * len(images)

    def work(first):
        for number in range(first, len(images), 3):
            results[number] = model.apply(images[number], threads=1 + first)

    workers = [threading.Thread(target=work, args=(first,)) for first in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for image, result in zip(images, results, strict=True):
        assert np.abs(result - wide.convolve(image)).max() < ERROR


def write_layers(*layers, arrays=None, taken=(1, 3, 8, 8), given=(1, 3, 8, 8)):
    graph = Graph(13, "in", taken, layers[-1].output, layers, arrays or {})
    return np.frombuffer(write_graph(graph, given), np.uint8)[:, None].copy()


ONES = np.ones((3, 3, 1, 1), np.float32)
RELU = Layer("Relu", ("in",), "out")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (write_layers(RELU, taken=(1, 4, 8, 8), given=(1, 4, 8, 8)), r"takes \(1, 4, 8, 8\) and gives \(1, 4, 8, 8\)"),
        (write_layers(RELU, taken=(2, 3, 8, 8), given=(2, 3, 8, 8)), "where 3 channels and 3 planes of one size"),
        (write_layers(RELU, taken=(1, 192), given=(1, 192)), r"takes \(1, 192\)"),
        (
            write_layers(Layer("Conv", ("in", "ones"), "out"), arrays={"ones": ONES[:2]}, given=(1, 2, 8, 8)),
            r"gives \(1, 2, 8, 8\)",
        ),
        (
            write_layers(
                Layer("Conv", ("in", "ones"), "out", {"strides": (2, 2)}), arrays={"ones": ONES}, given=(1, 3, 4, 4)
            ),
            r"gives \(1, 3, 4, 4\)",
        ),
        (
            write_layers(  # keeps a size of 8, and no other
                Layer("Reshape", ("in", "flat"), "row"),
                Layer("Reshape", ("row", "shape"), "out"),
                arrays={"flat": np.array([1, 192], np.int64), "shape": np.array([1, 3, 8, 8], np.int64)},
            ),
            "takes no 64x64 pixels",
        ),
        (
            write_layers(  # keeps a single pixel, and shrinks all else
                Layer("GlobalAveragePool", ("in",), "out"), taken=(1, 3, 1, 1), given=(1, 3, 1, 1)
            ),
            "changes the size of a picture of 64x64",
        ),
        (np.zeros((40, 1), np.uint8), "cannot be used"),
        (write_layers(Layer("Loop", ("in",), "out")), "a layer 'Loop'"),
        (write_layers(RELU)[:-3], "cannot be used"),
    ],
)
def test_files_that_are_no_such_network_are_refused(table, told):
    model = Model(make_planes_program(make_network_op(table, 3, reach=1)), {"network": table})
    for use in (model.prepare, lambda: model.apply(make_image(4, 4))):
        with pytest.raises(ArtefactError, match=told) as refusal:
            use()
        assert "make" in str(refusal.value) and "\n" not in str(refusal.value)


def test_sides_that_are_no_multiples_are_refused_where_a_network_needs_them():
    """A file can promise too little: then a size shows it."""
    table = halve_and_double(2)
    model = Model(make_planes_program(make_network_op(table, 3), numbers=(0, 1, 2)), {"network": table})
    model.apply(make_image(6, 8))
    with pytest.raises(ArtefactError, match="rows and columns must stay: make it anew"):
        model.apply(make_image(7, 8))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (write_layers(RELU, taken=(1, 3, 1 << 20, 1 << 20), given=(1, 3, 1 << 20, 1 << 20)), "cannot be used"),
        (
            Convolutions(
                (np.zeros((200_000, 3, 1, 1), np.float32), np.zeros((3, 200_000, 1, 1), np.float32)),
                (np.zeros(200_000, np.float32), np.zeros(3, np.float32)),
            ).write(1, 1),
            "takes no 64x64 pixels",
        ),
        (
            Convolutions(
                (np.zeros((9_000, 3, 1, 1), np.float32), np.zeros((3, 9_000, 1, 1), np.float32)),
                (np.zeros(9_000, np.float32), np.zeros(3, np.float32)),
            ).write(1, 1),
            "its layers make 18009 values of every pixel; 16384 are allowed",
        ),
        (
            write_layers(
                Layer("Conv", ("in", "far"), "shrunk", {"dilations": (63, 63)}),
                Layer("Conv", ("shrunk", "near"), "mixed"),
                Layer("Pad", ("mixed", "pads"), "out"),
                arrays={
                    "far": np.zeros((40_000, 3, 2, 2), np.float32),
                    "near": np.zeros((3, 40_000, 1, 1), np.float32),
                    "pads": np.array((0, 0, 32, 32, 0, 0, 31, 31)),
                },
                taken=(1, 3, 64, 64),
                given=(1, 3, 64, 64),
            ),
            "takes no 1024x1024 pixels",
        ),
    ],
    ids=[
        "a huge picture",
        "a single pixel of many channels",
        "a little too many channels",
        "one pixel of a small picture",
    ],
)
@pytest.mark.parametrize("reach", [0, None])
def test_networks_that_would_take_all_memory_are_refused_at_once(table, told, reach):
    model = Model(make_planes_program(make_network_op(table, 3, reach=reach)), {"network": table})
    begin = time.perf_counter()
    with pytest.raises(ArtefactError, match=told):
        model.apply(make_image(2, 2))
    assert time.perf_counter() - begin < 5


PLANES = Network(sources=("image",), slot="network", graph_bytes=9, planes=4, output="planes")
SELECT = SelectPlanes(input="planes", planes=(1, 2, 3), output="one")
MATRIX = ColourMatrix(input="image", matrix=((1.0, 0.0, 0.0),) * 3, output="mixed")
LIGHT = Illuminate(reflectance="one", illumination="image", gamma="strength", output="lit")


@pytest.mark.parametrize(
    ("ops", "told"),
    [
        ((PLANES,), "reads 'planes', which is a set of planes; a picture is needed"),
        (
            (MATRIX, msgspec.structs.replace(PLANES, sources=("mixed",)), SELECT),
            "op 'planes' sees more than one pixel; it must read 'image' itself",
        ),
        (
            (msgspec.structs.replace(PLANES, sources=("depth", "image")), SELECT),
            "reads 'depth', which is a companion; a picture is needed",
        ),
        (
            (msgspec.structs.replace(PLANES, sources=("depth",)), SELECT),
            "reads 'depth', which is a companion; a picture is needed",
        ),
        (
            (MATRIX, msgspec.structs.replace(PLANES, sources=("image", "mixed")), SELECT),
            "reads 'mixed', which is a picture; a companion is needed",
        ),
        (
            (PLANES, msgspec.structs.replace(SELECT, planes=(0, 1, 4))),
            r"selects the planes (0, 1, 4), but 'planes' has 4",
        ),
        (
            (msgspec.structs.replace(SELECT, input="image"),),
            "reads 'image', which is a picture; a set of planes is needed",
        ),
        (
            (PLANES, SELECT, msgspec.structs.replace(LIGHT, reflectance="planes")),
            "reads 'planes', which is a set of planes",
        ),
        (
            (PLANES, SELECT, msgspec.structs.replace(LIGHT, gamma="image")),
            "reads 'image', which is a picture; a scalar",
        ),
        ((PLANES, SELECT, msgspec.structs.replace(LIGHT, illumination="depth")), "reads 'depth', which is a companion"),
        (
            (PLANES, msgspec.structs.replace(PLANES, output="more", graph_bytes=8), SELECT),
            "slot 'network' is used as (9, 1) uint8 and as (8, 1) uint8",
        ),
    ],
)
def test_programs_that_do_not_connect_are_refused(ops, told):
    program = add_companions(make_program(*ops, parameters=(STRENGTH,)), DEPTH)
    with pytest.raises(ProgramError) as refusal:
        program.validate()
    assert told in str(refusal.value) and "\n" not in str(refusal.value)


def test_halo_is_the_reach_of_what_runs_in_tiles(wide):
    assert make_model(wide, reach=7).program.halo == 7
    assert make_model(wide).program.halo == 0
