"""Images that lie on the GPU stay there: the bytes are those of images in this machine's memory."""

import numpy as np
import pytest
from contract import make_picture
from strategies import fill_tables

from lutkit.families.mulut import build_program
from lutkit_runtime.engine import Model, available_backends, load
from lutkit_runtime.errors import InputError
from lutkit_runtime.kernels.cuda.device import is_device_array, is_simulated
from lutkit_runtime.pattern import NAMED_PATTERNS

if "cuda" not in available_backends():
    pytest.skip("needs numba-cuda", allow_module_level=True)

from numba import cuda

DEPTHS = ("uint8", "uint16", "float32")


@pytest.fixture(scope="module")
def model(tiny_model) -> Model:
    return load(tiny_model)


def on_host(array):
    return np.asarray(array.copy_to_host())


def interleave(planar):
    """Return planes (channels, H, W) as (H, W, channels) over the same memory; numba-cuda turns no three axes itself."""
    if is_simulated():
        return planar.transpose((1, 2, 0))
    description = dict(planar.__cuda_array_interface__)
    for field in ("shape", "strides"):
        plane, row, column = getattr(planar, field)
        description[field] = (row, column, plane)
    return cuda.from_cuda_array_interface(description, owner=planar)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("channels", [3, 4])
def test_an_image_on_the_gpu_gives_the_bytes_of_one_on_the_host(model, depth, channels):
    picture = make_picture(3, 4, depth, channels=channels)
    result = model.apply(cuda.to_device(picture))
    assert is_device_array(result)
    assert on_host(result).tobytes() == model.apply(picture, backend="numpy").tobytes()


def test_gray_images_tiles_and_strides(model):
    picture = make_picture(4, 5, "uint8")
    gray = np.ascontiguousarray(picture[..., 0])
    expected = model.apply(gray, backend="numpy")
    assert on_host(model.apply(cuda.to_device(gray), tile=3)).tobytes() == expected.tobytes()
    planar = cuda.to_device(np.ascontiguousarray(picture.transpose(2, 0, 1)))
    expected = model.apply(picture, backend="numpy")
    assert on_host(model.apply(interleave(planar))).tobytes() == expected.tobytes()
    seen = []
    model.apply(cuda.to_device(picture), tile=3, progress=lambda done, tiles: seen.append((done, tiles)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_result_goes_where_it_is_wanted(model):
    picture = make_picture(2, 3, "uint8")
    out = cuda.device_array((4, 6, 3), np.uint8)
    assert model.apply(cuda.to_device(picture), out=out) is out
    assert on_host(out).tobytes() == model.apply(picture, backend="numpy").tobytes()
    planar = cuda.device_array((3, 4, 6), np.uint8)
    model.apply(cuda.to_device(picture), out=interleave(planar))
    assert on_host(planar).transpose(1, 2, 0).tobytes() == on_host(out).tobytes()


def test_the_image_is_not_overwritten():
    program = build_program({"s": NAMED_PATTERNS["s"]}, stages=1, scale=1, interval=6)
    model = Model(program, fill_tables(program, 0))
    memory = cuda.to_device(make_picture(4, 5, "uint8").reshape(-1))
    image = memory[:30].reshape((2, 5, 3))
    with pytest.raises(InputError, match="overlaps"):
        model.apply(image, out=memory[27:57].reshape((2, 5, 3)))
    out = memory[30:].reshape((2, 5, 3))
    expected = model.apply(on_host(image), backend="numpy")
    assert on_host(model.apply(image, out=out)).tobytes() == expected.tobytes()


def test_images_on_the_gpu_that_cannot_be_used_are_refused(model):
    picture = make_picture(2, 3, "float32")
    given = cuda.to_device(picture)
    with pytest.raises(InputError, match="use the backend cuda"):
        model.apply(given, backend="cpu")
    with pytest.raises(InputError, match="out is of type ndarray"):
        model.apply(given, out=np.empty((4, 6, 3), np.float32))
    with pytest.raises(InputError, match="out has uint8 samples"):
        model.apply(given, out=cuda.device_array((4, 6, 3), np.uint8))
    with pytest.raises(InputError, match="samples of type float64"):
        model.apply(cuda.to_device(picture.astype(np.float64)))
    picture[1, 2, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        model.apply(cuda.to_device(picture))


class Foreign:
    """An array of another library: nothing but the interface."""

    def __init__(self, array):
        self.array = array
        self.__cuda_array_interface__ = array.__cuda_array_interface__


@pytest.mark.skipif(is_simulated(), reason="the simulator has no memory that another library could name")
def test_arrays_of_other_libraries_are_read_by_their_interface(model):
    picture = make_picture(20, 30, "uint8")
    result = model.apply(Foreign(cuda.to_device(picture)), stream=cuda.stream())
    cuda.synchronize()
    assert on_host(result).tobytes() == model.apply(picture, backend="numpy").tobytes()
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        tensor = torch.from_numpy(picture).cuda()
        with torch.cuda.stream(torch.cuda.Stream()):
            made = model.apply(tensor)
            assert made.device == tensor.device
            assert np.array_equal(made.cpu().numpy(), model.apply(picture, backend="numpy"))
