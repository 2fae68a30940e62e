"""Trained colour lookups: the fused form against torch's own operations, and those against independent ones."""

import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lutkit.colour.lookup import fuse, look_up, look_up_plainly  # noqa: E402
from lutkit_runtime.cube import CubeInterpolation, interpolate_cube, locate  # noqa: E402
from lutkit_runtime.ops.colour_lookup import Domain  # noqa: E402
from lutkit_runtime.ops.table_fusion import BasisTable, TableFusion  # noqa: E402

KINDS = list(CubeInterpolation)
BOTH = [look_up, look_up_plainly]


def make_pictures(seed, count=2, height=11, width=13):
    """Samples from -0.1 to 1.1, some of them on nodes and ends, away from ties between channels."""
    rng = np.random.default_rng(seed)
    pictures = rng.uniform(-0.1, 1.1, (count, 3, height, width)).astype(np.float32)
    pictures[:, :, 0, :5] = np.float32([0, 1, 0.5, 0.25, np.nan])
    return torch.from_numpy(pictures)


def make_cubes(seed, count, size):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 3, size, size, size)).astype(np.float32))


def differentiate(function, pictures, cubes, kind, gradient, stretch=1.0):
    pictures, cubes = pictures.clone().requires_grad_(), cubes.clone().requires_grad_()
    colours = function(pictures, cubes, kind, stretch)
    colours.backward(gradient)
    return colours.detach(), pictures.grad, cubes.grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 5, 33, 65])
@pytest.mark.parametrize("stretch", [1.0, 1.000001])
@pytest.mark.parametrize("shared", [False, True])
def test_fused_equals_plain_and_the_runtime(kind, size, stretch, shared):
    pictures, cubes = make_pictures(size), make_cubes(1, 1 if shared else 2, size)
    gradient = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    fused, plain = (differentiate(function, pictures, cubes, kind, gradient, stretch) for function in BOTH)
    cell, fraction = locate(pictures[1].permute(1, 2, 0).numpy(), *Domain().place(size - 1, stretch, 1.0), size - 1)
    runtime = interpolate_cube(cell, fraction, cubes[-1].reshape(3, -1).T.contiguous().numpy(), size, kind)
    assert torch.equal(fused[0], plain[0])
    np.testing.assert_array_equal(fused[0][1].permute(1, 2, 0).numpy(), runtime)
    for mine, other in zip(fused[1:], plain[1:], strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4 * size)


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("shared", [False, True])
def test_trilinear_equals_grid_sample_forward_and_backward(function, shared):
    size = 7
    pictures = make_pictures(4).nan_to_num(0.3)
    pictures = pictures + (pictures * 6 % 1 < 0.01) * 0.005  # off the nodes and ends, where conventions differ
    cubes = make_cubes(2, 1 if shared else 2, size)
    gradient = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(3))

    def sample_grid(pictures, cubes, kind, stretch):
        grid = (pictures * 2 - 1).permute(0, 2, 3, 1)[:, None]  # the grid's x is the last axis: red
        cubes = cubes.expand(len(pictures), -1, -1, -1, -1)
        sampled = torch.nn.functional.grid_sample(
            cubes, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        return sampled[:, :, 0]

    expected = differentiate(sample_grid, pictures, cubes, None, gradient)
    result = differentiate(function, pictures, cubes, CubeInterpolation.TRILINEAR, gradient)
    for mine, other in zip(result, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [False, True])
def test_plain_form_passes_gradcheck_in_float64(kind, shared):
    generator = torch.Generator().manual_seed(5)
    # Fractions 0.1, 0.4, 0.8 in a random order: off the borders of cells and of tetrahedra.
    order = torch.rand(2, 3, 3, 2, generator=generator).argsort(1)
    fraction = torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64)[order]
    cell = torch.randint(0, 3, (2, 3, 3, 2), generator=generator)
    pictures = ((cell + fraction) / 3).requires_grad_()
    cubes = torch.randn(1 if shared else 2, 3, 4, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, c: look_up_plainly(p, c, kind), (pictures, cubes))


@pytest.mark.parametrize("kind", KINDS)
def test_one_cube_for_all_equals_the_same_cube_for_each(kind):
    pictures, cube = make_pictures(6, count=3), make_cubes(7, 1, 9)
    gradient = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    shared = differentiate(look_up, pictures, cube, kind, gradient)
    each = differentiate(look_up, pictures, cube.expand(3, -1, -1, -1, -1), kind, gradient)
    assert torch.equal(shared[0], each[0])
    assert torch.equal(shared[1], each[1])
    torch.testing.assert_close(shared[2], each[2].sum(0, keepdim=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_its_pictures_one_by_one(kind):
    pictures, cubes = make_pictures(8, count=3), make_cubes(9, 3, 6)
    gradient = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(2))
    batch = differentiate(look_up, pictures, cubes, kind, gradient)
    for k in range(3):
        single = differentiate(look_up, pictures[k : k + 1], cubes[k : k + 1], kind, gradient[k : k + 1])
        for one, other in zip(single, batch, strict=True):
            torch.testing.assert_close(one[0], other[k], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_order_changes_nothing(kind):
    pictures, cubes = make_pictures(10), make_cubes(11, 2, 5)
    gradient = torch.ones(()).expand(pictures.shape)  # what .sum().backward() hands over
    expected = differentiate(look_up, pictures, cubes, kind, gradient.contiguous())
    turned = pictures.contiguous(memory_format=torch.channels_last)
    result = differentiate(
        look_up, turned, cubes.permute(0, 1, 4, 3, 2).contiguous().permute(0, 1, 4, 3, 2), kind, gradient
    )
    for one, other in zip(result, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_come_only_where_they_are_asked_for(kind):
    pictures, cubes = make_pictures(12), make_cubes(13, 2, 5)
    assert not look_up(pictures, cubes, kind).requires_grad
    cubes.requires_grad_()
    look_up(pictures, cubes, kind).sum().backward()
    assert pictures.grad is None
    torch.testing.assert_close(cubes.grad.sum((2, 3, 4)), torch.full((2, 3), 143.0))
    cubes = cubes.detach()
    pictures.requires_grad_()
    look_up(pictures, cubes, kind).sum().backward()
    assert cubes.grad is None
    assert pictures.grad.abs().max() > 0


def test_a_picture_changed_between_forward_and_backward_is_refused():
    pictures, cubes = make_pictures(14), make_cubes(15, 2, 5).requires_grad_()
    colours = look_up(pictures, cubes, CubeInterpolation.TRILINEAR)
    pictures.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        colours.sum().backward()


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize(
    ("pictures", "cubes", "named"),
    [
        ((2, 3, 4), (1, 3, 2, 2, 2), r"\(2, 3, 4\)"),
        ((2, 1, 4, 4), (1, 3, 2, 2, 2), r"\(2, 1, 4, 4\)"),
        ((3, 3, 4, 4), (2, 3, 2, 2, 2), r"\(2, 3, 2, 2, 2\)"),
        ((2, 3, 4, 4), (2, 3, 2, 3, 2), r"\(2, 3, 2, 3, 2\)"),
        ((2, 3, 4, 4), (1, 3, 1, 1, 1), r"\(1, 3, 1, 1, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(function, pictures, cubes, named):
    with pytest.raises(ValueError, match=named):
        function(torch.zeros(pictures), torch.zeros(cubes), CubeInterpolation.TRILINEAR)


def test_fused_form_is_much_faster_than_the_plain_one():
    pictures, cubes = torch.rand(1, 3, 200, 300), make_cubes(16, 1, 17)
    least = []
    for function in BOTH:
        taken = []
        for _ in range(6):
            start = time.perf_counter()
            differentiate(function, pictures, cubes, CubeInterpolation.TETRAHEDRAL, pictures)
            taken.append(time.perf_counter() - start)
        least.append(min(taken[1:]))
    assert least[1] > 2 * least[0]  # about ten times


def test_weights_for_another_number_of_tables_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 2\) were given for 3 tables"):
        fuse(torch.zeros(4, 2), torch.zeros(3, 3, 2, 2, 2))


@pytest.mark.parametrize("tables", [1, 3, 8])
def test_fused_cubes_are_those_of_the_op_bit_for_bit(tables):
    rng = np.random.default_rng(tables)
    weights = rng.normal(size=(4, tables)).astype(np.float32)
    bases = rng.normal(size=(tables, 3, 5, 5, 5)).astype(np.float32)
    op = TableFusion(
        output="cube", weights="weights", bases=tuple(BasisTable(f"basis{k}") for k in range(tables)), size=5
    )
    fused = fuse(torch.from_numpy(weights), torch.from_numpy(bases))
    for mine, row in zip(fused.numpy(), weights, strict=True):
        np.testing.assert_array_equal(mine, op.fuse(row, list(bases)))


def test_fusing_passes_gradients_as_a_sum_of_products_does():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    bases = torch.randn(3, 3, 2, 2, 2, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(fuse, (weights, bases))
