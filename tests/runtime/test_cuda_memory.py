"""Buffers on the GPU: whose they are, what is kept, and what becomes of those that do not fit."""

from types import SimpleNamespace

import numpy as np
import pytest
from contract import make_picture

from lutkit_runtime.engine import Model, available_backends, load
from lutkit_runtime.errors import BackendError, InputError

if "cuda" not in available_backends():
    pytest.skip("needs numba-cuda", allow_module_level=True)

from colour_models import make_chain
from numba import cuda

from lutkit_runtime.engine import cuda_images
from lutkit_runtime.kernels.cuda import memory
from lutkit_runtime.kernels.cuda.memory import KEPT_BYTES, RECENT, PerGpu, Pool, open_stream
from lutkit_runtime.kernels.cuda.padding import find_sources
from lutkit_runtime.padding import Padding


class FakeStream:
    def __init__(self, handle):
        self.handle = handle


@pytest.fixture
def allocated(monkeypatch):
    """Let the pool allocate names of buffers, and list their sizes."""
    sizes = []

    def allocate(size, dtype, stream):
        sizes.append(size)
        return SimpleNamespace(size=size, dtype=np.dtype(dtype))

    monkeypatch.setattr(memory, "allocate", allocate)
    return sizes


def use(pool, stream, size, dtype=np.uint8):
    with pool.session(stream) as session:
        return session.empty(size, dtype)


def test_a_buffer_serves_its_stream_its_gpu_and_its_type_again(allocated, monkeypatch):
    pool = Pool()
    first = use(pool, 0, 1000)
    assert use(pool, 0, 1010) is first
    assert use(pool, FakeStream(7), 1000) is not first
    assert use(pool, 0, 1000, np.int8) is not first
    monkeypatch.setattr(memory, "find_gpu", lambda: 1)
    assert use(pool, 0, 1000) is not first


@pytest.mark.parametrize("handle", [0, 2])
def test_a_stream_that_is_another_in_every_thread_shares_no_buffers(allocated, monkeypatch, handle):
    monkeypatch.setattr(memory.config, "CUDA_PER_THREAD_DEFAULT_STREAM", int(handle == 0))
    pool, stream = Pool(), FakeStream(handle)
    first = use(pool, stream, 1000)
    assert use(pool, stream, 1000) is first
    monkeypatch.setattr(memory.threading, "get_ident", lambda: -1)
    assert use(pool, stream, 1000) is not first


def test_pictures_of_many_sizes_do_not_fill_the_gpu(allocated):
    pool = Pool()
    largest = KEPT_BYTES // 8
    for size in range(KEPT_BYTES // 1024, largest, KEPT_BYTES // 1024):
        use(pool, 0, size, np.uint8)
        use(pool, 0, size, np.int8)
    kept = sum(each.size for free in pool._free.values() for buffers in free.values() for each in buffers)
    assert kept <= KEPT_BYTES + 2 * largest < sum(allocated)
    # a size that comes again and again is allocated once, however much it is
    del allocated[:]
    for _ in range(3 * RECENT):
        use(pool, 0, 2 * KEPT_BYTES)
    assert allocated == [2 * KEPT_BYTES]


def test_a_full_gpu_is_emptied_of_what_is_kept_and_then_told(monkeypatch):
    free = 1000

    def allocate(shape, dtype, stream):
        if not room:
            raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
        return SimpleNamespace(size=shape, dtype=np.dtype(dtype))

    room = [True]
    monkeypatch.setattr(memory.cuda, "device_array", allocate)
    pool = Pool()
    use(pool, 0, free)
    room.clear()
    with pytest.raises(BackendError, match="the GPU has no 2 MB left"):
        use(pool, 0, 2_000_000)
    assert not pool._free


def test_planes_of_more_samples_than_int32_can_number_are_refused():
    with Pool().session(0) as session, pytest.raises(BackendError, match="4294967296 samples at once"):
        session.empty_planes(1, 1, 1 << 16, 1 << 16, np.uint8)


def test_every_gpu_has_tables_of_its_own(monkeypatch):
    made = []
    held = PerGpu(lambda: made.append(memory.find_gpu()) or len(made))
    assert (held.get(), held.get()) == (1, 1)
    monkeypatch.setattr(memory, "find_gpu", lambda: 3)
    assert (held.get(), held.get()) == (2, 2)
    assert made == [0, 3]


def test_every_gpu_is_sent_which_pixels_pad_a_plane(monkeypatch):
    def find():
        with Pool().session(0) as session:
            return find_sources(session, Padding.REFLECT, 7, 2)

    first = find()
    assert find() is first
    monkeypatch.setattr(memory, "find_gpu", lambda: 1)
    assert find() is not first


def test_a_tensor_is_computed_on_the_gpu_where_it_lies(monkeypatch, tiny_model):
    entered = []

    class OnDevice:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            entered.append(self.device)

        def __exit__(self, *_):
            entered.append(None)

    library = SimpleNamespace(
        __name__="torch",
        cuda=SimpleNamespace(device=OnDevice, current_stream=lambda device: 0),
        as_tensor=lambda result, device: (entered.append("made"), result)[1],
    )
    monkeypatch.setattr(cuda_images, "_find_library", lambda image: library)
    image = cuda.to_device(make_picture(2, 3, "uint8"))
    image.device = "cuda:1"
    load(tiny_model).apply(image)
    assert entered == ["cuda:1", "made", None]


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_huge_pictures_are_done_strip_by_strip(monkeypatch, channels):
    artefact = make_chain()
    model = Model(artefact.program, artefact.tables)
    picture = make_picture(10, 3, "uint16", channels=channels)
    monkeypatch.setattr(cuda_images, "MOST_PIXELS", 13)
    strips = list(cuda_images._cut_strips(cuda.to_device(picture)))
    assert [strip.height for strip in strips] == [4, 4, 2]
    assert [strip.flat.size for strip in strips] == [strip.pixels * channels for strip in strips]
    result = model.apply(cuda.to_device(picture))
    assert np.asarray(result.copy_to_host()).tobytes() == model.apply(picture, backend="numpy").tobytes()


@pytest.mark.parametrize("stream", ["x", True, -1, 0.5])
def test_what_is_no_stream_is_refused(monkeypatch, stream):
    monkeypatch.setattr(memory, "is_simulated", lambda: False)
    with pytest.raises(InputError, match="give a CUDA stream"):
        open_stream(stream)
    assert open_stream(0) == 0 and open_stream(None) == 0


@pytest.mark.parametrize(
    ("shape", "strides", "bounds"),
    [((2, 3), None, (1000, 1024)), ((2, 3), (-12, 4), (988, 1012)), ((2, 3, 1), (40, 8, 4), (1000, 1060))],
)
def test_bounds_of_foreign_arrays_follow_their_strides(monkeypatch, shape, strides, bounds):
    monkeypatch.setattr(memory, "is_simulated", lambda: False)
    description = {"shape": shape, "strides": strides, "typestr": "<f4", "data": (1000, False), "version": 3}
    one = SimpleNamespace(__cuda_array_interface__=description)
    for start, overlaps in ((bounds[0] - 4, False), (bounds[0] - 3, True), (bounds[1] - 1, True), (bounds[1], False)):
        other = SimpleNamespace(
            __cuda_array_interface__={**description, "shape": (1,), "strides": None, "data": (start, False)}
        )
        assert memory.may_overlap(one, other) is overlaps
