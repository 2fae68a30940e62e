"""Models: every backend, tile and thread count gives the same bytes; depths, channels, alpha; refusals."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from fast_backends import FAST_BACKENDS
from fresh_python import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Filled, fill_tables, filled_programs, images

import lutkit_runtime
from lutkit.families import mulut
from lutkit.families.spatial import read_patterns
from lutkit_runtime.engine import Model, available_backends, backends
from lutkit_runtime.errors import BackendError, InputError, ProgramError
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, Ensemble, Lookup, Requantise
from lutkit_runtime.pattern import NAMED_PATTERNS
from lutkit_runtime.program import Program


def make_model(scale: int = 2, seed: int = 0, stages: int = 2) -> Model:
    program = mulut.build_program({"y": NAMED_PATTERNS["y"]}, stages=stages, scale=scale, interval=6)
    return Model(program, fill_tables(program, seed))


def draw_image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def deepen(codes: np.ndarray, dtype: type) -> np.ndarray:
    """Return 8-bit codes at another depth."""
    if dtype is np.float32:
        return codes / np.float32(255)
    return codes.astype(dtype) * np.array(257 if dtype is np.uint16 else 1, dtype)


@settings(max_examples=60)
@given(
    filled_programs(),
    images(largest=8),
    st.integers(1, 9),
    st.sampled_from([None, 1, 2, 7]),
    st.sampled_from(["auto", *FAST_BACKENDS]),
)
def test_same_bytes_from_every_backend_tile_and_thread_count(
    filled: Filled, image: np.ndarray, tile: int, threads: int | None, backend: str
) -> None:
    model = Model(filled.program, filled.tables)
    named = {filled.program.input: np.moveaxis(image, 2, 0)[:, None]}
    for op in filled.program.ops:
        named[op.output] = op.reference(named, filled.tables)
    expected = np.moveaxis(named[filled.program.output][:, 0], 0, 2)
    np.testing.assert_array_equal(model.apply(image, tile=tile, threads=threads, backend=backend), expected)
    np.testing.assert_array_equal(model.apply(image, threads=threads, backend=backend), expected)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 2), (6, 7, 3), (6, 7, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_type_and_channels_stay(shape: tuple[int, ...], dtype: type, backend: str) -> None:
    """Other depths give the codes of 8 bits, spread over their own range; gray equals each channel by itself."""
    model = make_model()
    codes = draw_image(*shape)
    image = deepen(codes, dtype)
    result = model.apply(image, backend=backend)
    assert result.dtype == dtype
    assert result.shape == (12, 14, *shape[2:])
    colours = [codes] if len(shape) == 2 else list(np.moveaxis(codes, 2, 0)[: 1 if shape[2] == 2 else 3])
    made = [result] if len(shape) == 2 else list(np.moveaxis(result, 2, 0)[: len(colours)])
    for source, plane in zip(colours, made, strict=True):
        expected = model.apply(source, backend="numpy")
        np.testing.assert_array_equal(plane, deepen(expected, dtype))
    if len(shape) == 3 and shape[2] in (2, 4):
        expected = cv2.resize(np.ascontiguousarray(image[..., -1]), (14, 12), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(result[..., -1], expected)


def test_alpha_is_copied_at_scale_1() -> None:
    image = draw_image(5, 6, 4)
    result = make_model(scale=1).apply(image)
    np.testing.assert_array_equal(result[..., 3], image[..., 3])


def test_views_and_other_byte_orders_are_read_as_their_values() -> None:
    model = make_model()
    image = draw_image(9, 8, 3)
    np.testing.assert_array_equal(model.apply(image[::-1, ::2]), model.apply(image[::-1, ::2].copy()))
    deep = image.astype(np.uint16) * 201
    swapped = deep.astype(deep.dtype.newbyteorder(">"))
    result = model.apply(swapped)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, model.apply(deep))


def test_input_is_not_changed() -> None:
    image = draw_image(9, 8, 4)
    before = image.copy()
    image.flags.writeable = False
    make_model().apply(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([[1, 2]], "list"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4), np.int8), "int8"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((4, 4, 1), np.uint8), r"\(4, 4, 1\)"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint16), "no pixels"),
    ],
)
def test_refuses_what_is_no_image(image: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        make_model().apply(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_no_number_and_says_where(value: float) -> None:
    image = np.zeros((300, 5, 4), np.float32)
    image[280, 3, 1] = image[281, 0, 0] = value
    with pytest.raises(InputError, match=r"2 samples .* row 280, column 3, channel 1"):
        make_model().apply(image)
    gray = np.zeros((4, 5), np.float32)
    gray[3, 2] = value
    with pytest.raises(InputError, match=r"1 sample .* row 3, column 2;"):
        make_model().apply(gray)


@pytest.mark.parametrize("fields", [{"threads": 0}, {"tile": 0}, {"tile": -3}])
def test_refuses_counts_below_one(fields: dict[str, int]) -> None:
    with pytest.raises(InputError, match="use 1 or more"):
        make_model().apply(draw_image(4, 4), **fields)


def test_backends_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_obstacle", lambda: "this machine has no NVIDIA driver: use the backend cpu")
    assert available_backends() == ("numpy", "cpu")
    with pytest.raises(BackendError, match="'quantum' is unknown; use auto, numpy, cpu"):
        make_model().apply(draw_image(4, 4), backend="quantum")
    with pytest.raises(BackendError, match=r"'cuda' cannot be used: .*use the backend cpu"):
        make_model().apply(draw_image(4, 4), backend="cuda")


def test_the_simulator_of_a_gpu_is_used_where_it_is_asked_for_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_obstacle", lambda: None)
    for simulated, chosen in ((True, "cpu"), (False, "cuda")):
        monkeypatch.setattr(backends, "is_simulated", lambda simulated=simulated: simulated)
        assert backends.find_backend("auto").name == chosen
        assert backends.find_backend("cuda").name == "cuda"


def test_a_machine_without_a_gpu_never_imports_its_kernels() -> None:
    code = (
        "import sys, numpy, lutkit_runtime\n"
        "from lutkit_runtime.engine.backends import find_backend\n"
        "from lutkit_runtime.kernels.cuda import device\n"
        "device.find_gpu_obstacle = lambda: 'there is none'\n"
        "print(find_backend('auto').name, 'numba_cuda' in sys.modules, 'numba.cuda' in sys.modules)"
    )
    assert run_python(code, NUMBA_ENABLE_CUDASIM="0").split() == ["cpu", "False", "False"]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_the_result_goes_where_it_is_wanted(depth: type) -> None:
    image = deepen(draw_image(5, 6, 4), depth)
    out = np.empty((10, 12, 4), depth)
    assert make_model().apply(image, out=out) is out
    assert out.tobytes() == make_model().apply(image).tobytes()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((8, 8, 3), np.uint16), "out has uint16 samples"),
        (np.empty((8, 7, 3), np.uint8), r"shape \(8, 7, 3\)"),
        (np.empty((8, 16, 3), np.uint8)[:, ::2], "in C order"),
        ([1], "of type list"),
    ],
)
def test_refuses_to_fill_what_is_no_result(out: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_model().apply(draw_image(4, 4, 3), out=out)


def test_refuses_to_overwrite_the_image() -> None:
    memory = np.zeros(2 * 48, np.uint8)
    with pytest.raises(InputError, match="overlaps"):
        make_model(scale=1).apply(memory[:48].reshape(4, 4, 3), out=memory[3:51].reshape(4, 4, 3))


def test_progress_counts_the_tiles() -> None:
    calls: list[tuple[int, int]] = []
    make_model().apply(draw_image(10, 7), tile=4, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 6) for done in range(1, 7)]


def test_refuses_programs_that_cannot_run() -> None:
    lookup = Lookup(output="result", input="image", slot="t", pattern=NAMED_PATTERNS["v"], lattice=Lattice(2, 4))
    program = Program(family="test", task="sr", ops=(lookup,))
    with pytest.raises(ProgramError, match="requantise"):
        Model(program, fill_tables(program, 0))
    with pytest.raises(ProgramError, match="has no table"):
        Model(make_model().program, {})


def test_stages_that_share_their_sum_and_planes_that_are_no_bytes_are_left_to_the_references() -> None:
    """The fused kernel never makes the wide sum, so it may not run where somebody else reads it."""

    def look_up(output: str, source: str, slot: str) -> Lookup:
        pattern = NAMED_PATTERNS["v"]
        return Lookup(output=output, input=source, slot=slot, pattern=pattern, lattice=Lattice(2, 5))

    program = Program(
        family="test",
        task="denoise",
        ops=(
            Ensemble(output="sum", input="image", body=(look_up("a", "image", "t"),)),
            Requantise(output="codes", input="sum", bias=100 * 128, divisor=128),
            Ensemble(output="more", input="codes", body=(look_up("b", "codes", "u"),)),
            Requantise(output="side", input="more", bias=0, divisor=64),
            Add(output="both", terms=("sum", "more")),
            Requantise(output="result", input="both", bias=128 * 128, divisor=128),
        ),
    )
    model = Model(program, fill_tables(program, 1))
    image = draw_image(12, 9, 3)
    np.testing.assert_array_equal(model.apply(image, backend="cpu"), model.apply(image, backend="numpy"))


def test_load_reads_an_artefact(tiny_model: Path) -> None:
    model = lutkit_runtime.load(tiny_model)
    assert model.provenance == {"made": "at random, for tests"}
    assert repr(model) == "<Model mulut sr x2>"
    assert model.apply(draw_image(5, 4, 3)).shape == (10, 8, 3)


def test_runners_are_prepared_once() -> None:
    model = make_model()
    image = draw_image(8, 8)
    results: list[np.ndarray] = []
    workers = [threading.Thread(target=lambda: results.append(model.apply(image))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({result.tobytes() for result in results}) == 1
    assert list(model._runners) == ["cpu"]


def read_published(shared_data: Path) -> Model:
    """Return ddlee-cn/MuLUT's model (MIT) for scale 4."""
    folder = shared_data / "published" / "mulut-x4-sdy-x2"
    program = mulut.build_program(read_patterns("sdy"), stages=2, scale=4, interval=4)
    tables = {
        f"stage{stage}/{name}": np.load(folder / f"LUT_ft_x4_4bit_int8_s{stage}_{name}.npy").reshape(17**4, -1)
        for stage in (1, 2)
        for name in "sdy"
    }
    return Model(program, tables)


@pytest.mark.data
@pytest.mark.parametrize("backend", FAST_BACKENDS)
def test_published_set5_bit_for_bit(shared_data: Path, backend: str) -> None:
    folder = shared_data / "published" / "mulut-x4-sdy-x2"
    model = read_published(shared_data)
    published = sorted((folder / "results-Set5").glob("*.png"))
    assert len(published) == 5
    for path in published:
        name = path.name.partition("_")[0]
        (source,) = (shared_data / "benchmarks" / "Set5" / "LR_bicubic" / "X4").glob(f"{name}*.png")
        image, expected = (cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in (source, path))
        np.testing.assert_array_equal(model.apply(image, backend=backend), expected)


@pytest.mark.data
@pytest.mark.parametrize("kind", ["random", "smooth"])
def test_published_stages_equal_the_independent_results(shared_data: Path, kind: str) -> None:
    stored = np.load(shared_data / "oracles" / "mulut_stage.npz")
    model = read_published(shared_data)
    for backend in FAST_BACKENDS:
        result = model.apply(stored[f"input_{kind}"], backend=backend)
        np.testing.assert_array_equal(result, stored[f"stage2_{kind}"])
