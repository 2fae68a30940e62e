"""Trained bilateral grids and guides: the fused form, torch's own operations, the runtime's definition and an oracle."""

import functools
import tracemalloc

import numpy as np
import pytest
from fresh_python import run_python

torch = pytest.importorskip("torch")

from lutkit.bilateral.slicing import (  # noqa: E402
    evaluate_guides,
    evaluate_guides_plainly,
    slice_and_apply,
    slice_and_apply_plainly,
    slice_plainly,
)
from lutkit_runtime.bilateral import GuideTables, Place, apply_affine, slice_grid  # noqa: E402
from lutkit_runtime.kernels.cpu.bilateral_gradient import slice_and_apply_pictures, slice_gradient  # noqa: E402
from lutkit_runtime.kernels.cpu.guide_gradient import evaluate_pictures, guide_gradient  # noqa: E402

SLICES = [slice_and_apply, slice_and_apply_plainly]
GUIDES = [evaluate_guides, evaluate_guides_plainly]
GRIDS = [(16, 16, 8), (5, 7, 3), (1, 1, 1), (1, 4, 2), (3, 1, 5), (2, 2, 1)]
SIZES = [(37, 29), (1, 1), (1, 9), (7, 1), (70, 300)]
TABLES = [(3, 257, 2), (16, 2, 257), (1, 2, 2), (2, 5, 9)]
JUMP = 3e-3
"""How close to a level the derivative along the levels is not compared with the published one.

There it jumps, and in the published slice it turns over: t is divided by the root of t² + 1e-8, which is 0.06 % more than t
so far away.
"""


def make_inputs(seed, count=2, size=(11, 13), shape=(4, 5, 3), shared=False):
    """Pictures of any range, guides from -0.1 to 1.1, some of them on levels and ends, and grids."""
    rng = np.random.default_rng(seed)
    pictures = rng.normal(size=(count, 3, *size))
    guides = rng.uniform(-0.1, 1.1, (count, *size))
    edges = [0, 1, 0.5 / shape[2], 1 - 0.5 / shape[2], 0.5, np.nan][: size[1] - 1]
    guides[:, 0, : len(edges)] = edges
    grids = rng.normal(size=(1 if shared else count, *shape, 12))
    return [torch.from_numpy(array.astype(np.float32)) for array in (pictures, guides, grids)]


def make_tables(seed, count, entries, results):
    """Mix, curves and result whose arguments and sums lie mostly, but not only, within 0 and 1."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(4, count)) * 0.6
    curves = rng.normal(size=(entries, count)) * 0.5 / count + 0.5 / count
    arrays = mix, curves, rng.uniform(size=(results, 1))
    return [torch.from_numpy(array.astype(np.float32)) for array in arrays]


def make_colours(seed, count=2, size=(11, 13)):
    """Pictures from -0.1 to 1.1, some samples on the ends."""
    rng = np.random.default_rng(seed)
    pictures = rng.uniform(-0.1, 1.1, (count, 3, *size)).astype(np.float32)
    pictures[:, :, 0, : size[1] - 1] = np.resize(np.float32([0, 1, np.nan]), size[1] - 1)
    return torch.from_numpy(pictures)


def make_gradient(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def differentiate(function, gradient, *tensors):
    """Return the value and the gradients to all tensors."""
    tensors = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    value = function(*tensors)
    value.backward(gradient.to(value.dtype))
    return value.detach(), *(tensor.grad for tensor in tensors)


def assert_close_to_largest(actual, expected, share):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= share * np.abs(expected).max()


@pytest.mark.parametrize("shape", GRIDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shared", [False, True])
def test_fused_slice_equals_plain_and_the_runtime(shape, size, shared):
    pictures, guides, grids = make_inputs(1, 3, size, shape, shared)
    gradient = make_gradient(pictures.shape)
    fused, plain = (differentiate(function, gradient, pictures, guides, grids) for function in SLICES)
    assert torch.equal(fused[0], plain[0])
    own = slice_grid(grids[-1].numpy(), guides[2].numpy(), Place(0, 0, *size))
    np.testing.assert_array_equal(slice_plainly(guides, grids)[2].permute(1, 2, 0).numpy(), own)
    runtime = apply_affine(own, pictures[2].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(fused[0][2].permute(1, 2, 0).numpy(), runtime)
    for mine, other in zip(fused[1:], plain[1:], strict=True):
        assert_close_to_largest(mine, other, 1e-5)
    assert plain[1].abs().max() > 0.1
    assert plain[3].abs().max() > 0.1


@pytest.mark.data
@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_slice_equals_the_published_one(shared_data, case):
    with np.load(shared_data / "oracles" / "hdrnet_slice.npz") as file:
        oracle = {name[2:]: file[name] for name in file.files if name.startswith(f"{case}_")}
    grids, guides = (torch.from_numpy(oracle[name])[None] for name in ("grid", "guide"))
    pictures, to_colours = (
        torch.from_numpy(oracle[name]).permute(2, 0, 1)[None] for name in ("input", "cotangent_apply")
    )
    to_maps = torch.from_numpy(oracle["cotangent_slice"]).permute(2, 0, 1)[None]
    level = guides[0].double() * grids.shape[3] - 0.5
    smooth = (level - level.round()).abs() > JUMP
    assert smooth.float().mean() > 0.98

    maps, to_guides, to_grids = differentiate(slice_plainly, to_maps, guides, grids)
    maps = maps[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(maps, oracle["slice_out_plain_tent"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(maps, oracle["slice_out"], rtol=0, atol=1.3e-4)
    assert_close_to_largest(to_grids[0], oracle["slice_vjp_grid"], 1e-3)
    assert_close_to_largest(to_guides[0][smooth], oracle["slice_vjp_guide"][smooth], 1e-3)

    for function in SLICES:
        colours, to_pictures, to_guides, to_grids = differentiate(function, to_colours, pictures, guides, grids)
        # four coefficients, each within 1.3e-4, times a colour
        np.testing.assert_allclose(colours[0].permute(1, 2, 0), oracle["apply_out"], rtol=0, atol=4 * 1.3e-4)
        assert_close_to_largest(to_pictures[0].permute(1, 2, 0), oracle["apply_vjp_input"], 1e-3)
        assert_close_to_largest(to_grids[0], oracle["apply_vjp_grid"], 1e-3)
        assert_close_to_largest(to_guides[0][smooth], oracle["apply_vjp_guide"][smooth], 1e-3)


@pytest.mark.data
@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_smoothed_slice_is_the_published_one_everywhere_but_at_the_jumps(shared_data, case):
    with np.load(shared_data / "oracles" / "hdrnet_slice.npz") as file:
        oracle = {name[2:]: file[name] for name in file.files if name.startswith(f"{case}_")}
    inputs = {name: torch.from_numpy(oracle[name])[None] for name in ("guide", "grid")}
    pictures = torch.from_numpy(oracle["input"]).permute(2, 0, 1)[None]
    place = inputs["guide"][0].double() * inputs["grid"].shape[3] - 0.5
    smooth = (place - place.round()).abs() > 1e-5
    for kind, function, given in (
        ("slice", slice_plainly, ()),
        ("apply", slice_and_apply_plainly, (pictures,)),
    ):
        cotangent = torch.from_numpy(oracle[f"cotangent_{kind}"]).permute(2, 0, 1)[None]
        made, *gradients = differentiate(
            functools.partial(function, smoothing=1e-8), cotangent, *given, *inputs.values()
        )
        np.testing.assert_allclose(made[0].permute(1, 2, 0), oracle[f"{kind}_out"], rtol=0, atol=1e-5)
        to_guides, to_grids = gradients[-2:]
        assert_close_to_largest(to_guides[0][smooth], oracle[f"{kind}_vjp_guide"][smooth], 1e-3)
        assert_close_to_largest(to_grids[0], oracle[f"{kind}_vjp_grid"], 1e-3)
        if given:
            assert_close_to_largest(gradients[0][0].permute(1, 2, 0), oracle["apply_vjp_input"], 1e-3)


@pytest.mark.parametrize("shared", [False, True])
def test_plain_slice_passes_gradcheck_in_float64(shared):
    generator = torch.Generator().manual_seed(5)
    places = torch.rand(2, 3, 2, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    level = torch.randint(-1, 3, (2, 3, 2), generator=generator)
    guides = ((level + places + 0.5) / 3).requires_grad_()  # off the levels; some beyond the end ones
    pictures, grids = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, 3, 3, 2), (1 if shared else 2, 2, 3, 3, 12))
    )
    assert torch.autograd.gradcheck(slice_and_apply_plainly, (pictures, guides, grids))


def differ(function, arrays, number, index, gradient, step):
    """Return the central difference of sum(gradient function(*arrays)) along one entry of one array."""
    values = []
    for sign in (1, -1):
        changed = [array.copy() for array in arrays]
        changed[number][index] += sign * step
        values.append((gradient * function(*changed)).sum())
    return (values[0] - values[1]) / (2 * step)


def compare_with_differences(function, arrays, gradient, found, chosen):
    """Compare gradients at the 15 largest entries of each array and at 15 random ones, of those that are chosen for it."""
    rng = np.random.default_rng(0)
    for number, (array, slope) in enumerate(zip(arrays, found, strict=True)):
        entries = np.argwhere(chosen.get(number, np.ones(array.shape, bool)))
        largest = np.argsort([-abs(slope[tuple(entry)]) for entry in entries])[:15]
        entries = entries[np.union1d(largest, rng.permutation(len(entries))[:15])]
        differences = [differ(function, arrays, number, tuple(entry), gradient, 1e-6) for entry in entries]
        bound = 1e-5 * np.abs(slope).max() + 1e-8
        np.testing.assert_allclose([slope[tuple(entry)] for entry in entries], differences, rtol=0, atol=bound)
        assert np.abs(differences).max() > 1e-2


def test_fused_slice_has_the_gradients_of_the_definition_in_float64():
    pictures, guides, grids = make_inputs(3, 1, (19, 23), (4, 5, 3))
    guides = guides.nan_to_num(0.3)
    gradient = make_gradient(pictures.shape)
    _, *found = differentiate(slice_and_apply, gradient, pictures, guides, grids)

    def slice_one(colours, guide, grid):
        return apply_affine(slice_grid(grid, guide, Place(0, 0, 19, 23)), colours)

    arrays = [array[0].double().numpy() for array in (pictures.permute(0, 2, 3, 1), guides, grids)]
    found = [array[0].numpy() for array in (found[0].permute(0, 2, 3, 1), found[1], found[2])]
    level = arrays[1] * 3 - 0.5
    slopes = gradient[0].permute(1, 2, 0).double().numpy()
    compare_with_differences(slice_one, arrays, slopes, found, {1: np.abs(level - level.round()) > 1e-4})


@pytest.mark.parametrize("tables", TABLES)
@pytest.mark.parametrize("size", SIZES)
def test_fused_guide_equals_plain_and_the_runtime(tables, size):
    pictures, tables = make_colours(2, 2, size), make_tables(3, *tables)
    gradient = make_gradient((2, *size))

    def evaluate(function):
        return lambda *tables: function(pictures, *tables)

    fused, plain = (differentiate(evaluate(function), gradient, *tables) for function in GUIDES)
    assert torch.equal(fused[0], plain[0])
    colours = pictures[1].permute(1, 2, 0).nan_to_num(0).clamp(0, 1).numpy()
    np.testing.assert_array_equal(fused[0][1], GuideTables(*(table.numpy() for table in tables)).evaluate(colours))
    for mine, other in zip(fused[1:], plain[1:], strict=True):
        assert_close_to_largest(mine, other, 1e-5)
    assert plain[3].abs().max() > 0.1


def test_plain_guide_passes_gradcheck_in_float64():
    generator = torch.Generator().manual_seed(6)
    pictures = (torch.rand(2, 3, 2, 3, generator=generator, dtype=torch.float64) * 1.2 - 0.1).requires_grad_()
    tables = [table.double().requires_grad_() for table in make_tables(7, 2, 5, 4)]
    assert torch.autograd.gradcheck(evaluate_guides_plainly, (pictures, *tables))


@pytest.mark.parametrize("tables", TABLES)
def test_fused_guide_has_the_gradients_of_the_definition_in_float64(tables):
    # few pixels, so that none lies where a derivative jumps
    pictures, tables = make_colours(8, 1, (5, 7)).nan_to_num(0.4).clamp(0, 1), make_tables(9, *tables)
    gradient = make_gradient((1, 5, 7))
    _, *found = differentiate(lambda *tables: evaluate_guides(pictures, *tables), gradient, *tables)
    colours = pictures[0].permute(1, 2, 0).double().numpy()
    compare_with_differences(
        lambda *tables: GuideTables(*tables).evaluate(colours),
        [table.double().numpy() for table in tables],
        gradient[0].double().numpy(),
        [slope.numpy() for slope in found],
        {},
    )


def test_a_grid_of_one_map_gives_that_map_everywhere():
    pictures, guides, _ = make_inputs(10)
    affine = torch.randn(12, generator=torch.Generator().manual_seed(1))
    gradient = make_gradient(pictures.shape)
    colours, to_pictures, to_guides, to_grids = differentiate(
        slice_and_apply, gradient, pictures, guides, affine.expand(2, 4, 5, 3, 12)
    )
    matrix = affine.reshape(3, 4)
    expected = torch.einsum("oi,nihw->nohw", matrix[:, :3], pictures) + matrix[:, 3, None, None]
    torch.testing.assert_close(colours, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(to_pictures, torch.einsum("oi,nohw->nihw", matrix[:, :3], gradient))
    assert to_guides.abs().max() < 1e-5
    # weights sum to one: all nodes together get what one map for the whole picture would
    ones = torch.ones(2, 1, *pictures.shape[2:])
    whole = torch.einsum("nohw,nihw->noi", gradient, torch.cat([pictures, ones], 1)).flatten(1)
    torch.testing.assert_close(to_grids.sum((1, 2, 3)), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("function", SLICES)
def test_gradient_to_the_guide_is_that_of_the_cell_in_which_the_value_is_taken(function):
    # the offset of red is the square of the level: its slope tells the cell
    grids = torch.zeros(1, 1, 1, 4, 12)
    grids[..., 3] = torch.arange(4.0) ** 2
    guides = torch.tensor([-0.5, 0.1, 0.125, 0.25, 0.375, 0.5, 0.625, 0.875, 0.9, 2.0, float("nan")])[None, None]
    gradient = torch.tensor([1.0, 0, 0])[:, None, None].expand(1, 3, 1, guides.shape[-1])
    _, _, slopes, _ = differentiate(function, gradient, torch.zeros(gradient.shape), guides, grids)
    assert (slopes / 4).flatten().tolist() == [0, 0, 1, 1, 3, 3, 5, 5, 0, 0, 0]


@pytest.mark.parametrize("function", GUIDES)
def test_gradient_through_a_curve_is_that_of_the_cell_in_which_the_value_is_taken(function):
    curves = torch.tensor([0.0, 0.1, 0.4, 0.9])[:, None]
    for offset, slope in {-0.1: 0, 0.0: 0.3, 0.2: 0.3, 2 / 3: 1.5, 0.9: 1.5, 1.0: 1.5, 1.1: 0}.items():
        mix = torch.tensor([0.0, 0, 0, offset])[:, None].requires_grad_()
        function(torch.zeros(1, 3, 1, 1), mix, curves, torch.tensor([[0.0], [1.0]])).sum().backward()
        assert mix.grad[3].item() == pytest.approx(slope, abs=1e-6)


def test_the_number_of_threads_changes_nothing():
    pictures, guides, grids = (array.numpy() for array in make_inputs(11, 2, (130, 70), (6, 5, 4), shared=True))
    tables = GuideTables(*(table.numpy() for table in make_tables(12, 3, 17, 5)))
    gradient = make_gradient(pictures.shape).numpy()
    one, more = (
        [
            slice_and_apply_pictures(pictures, guides, grids, threads),
            *slice_gradient(pictures, guides, grids, gradient, threads=threads),
            evaluate_pictures(pictures, tables, threads),
            *vars(guide_gradient(pictures, tables, gradient[:, 0], threads)).values(),
        ]
        for threads in (1, 8)
    )
    assert len(one) == 8
    for mine, other in zip(one, more, strict=True):
        assert mine.tobytes() == other.tobytes()


def test_a_batch_equals_its_pictures_one_by_one():
    inputs = make_inputs(13, 3, (40, 21))
    gradient = make_gradient(inputs[0].shape)
    batch = differentiate(slice_and_apply, gradient, *inputs)
    shared = differentiate(slice_and_apply, gradient, *inputs[:2], inputs[2][:1])
    same = differentiate(slice_and_apply, gradient, *inputs[:2], inputs[2][:1].expand(3, -1, -1, -1, -1))
    for k in range(3):
        single = differentiate(slice_and_apply, gradient[k : k + 1], *(array[k : k + 1] for array in inputs))
        for one, other in zip(single, batch, strict=True):
            assert torch.equal(one[0], other[k])
    for mine, other in zip(shared[:3], same[:3], strict=True):
        assert torch.equal(mine, other)
    assert_close_to_largest(shared[3], same[3].sum(0, keepdim=True), 1e-6)


def test_memory_order_changes_nothing():
    pictures, guides, grids = make_inputs(14)
    gradient = torch.ones(()).expand(pictures.shape)  # what .sum().backward() hands over
    expected = differentiate(slice_and_apply, gradient.contiguous(), pictures, guides, grids)
    turned = [
        pictures.contiguous(memory_format=torch.channels_last),
        guides.transpose(1, 2).contiguous().transpose(1, 2),
        grids.transpose(1, 4).contiguous().transpose(1, 4),
    ]
    for one, other in zip(differentiate(slice_and_apply, gradient, *turned), expected, strict=True):
        assert torch.equal(one, other)
    tables = make_tables(15, 3, 5, 2)
    turned = [table.T.contiguous().T for table in tables]
    assert torch.equal(evaluate_guides(pictures, *turned), evaluate_guides(pictures, *tables))


def test_gradients_come_only_where_they_are_asked_for():
    inputs = make_inputs(16)
    assert not slice_and_apply(*inputs).requires_grad
    for wanted in range(3):
        tensors = [tensor.clone().requires_grad_(k == wanted) for k, tensor in enumerate(inputs)]
        slice_and_apply(*tensors).sum().backward()
        assert [tensor.grad is not None for tensor in tensors] == [k == wanted for k in range(3)]
        everything = differentiate(slice_and_apply, torch.ones(inputs[0].shape), *inputs)
        assert torch.equal(tensors[wanted].grad, everything[1 + wanted])


def test_pictures_that_need_a_gradient_get_it_through_the_guide():
    pictures, tables = make_colours(17), make_tables(18, 2, 5, 2)
    gradient = make_gradient((2, 11, 13))
    both = [differentiate(function, gradient, pictures, *tables) for function in GUIDES]
    for mine, other in zip(*both, strict=True):
        assert torch.equal(mine, other)
    assert both[0][1].abs().max() > 0.01


def test_float64_stays_float64():
    inputs = [tensor.double() for tensor in make_inputs(19)]
    assert slice_and_apply(*inputs).dtype == torch.float64
    tables = [table.double() for table in make_tables(20, 2, 5, 2)]
    assert evaluate_guides(inputs[0], *tables).dtype == torch.float64


def test_what_is_changed_between_forward_and_backward_is_refused():
    inputs = [tensor.requires_grad_() for tensor in make_inputs(21)]
    colours = slice_and_apply(*inputs)
    with torch.no_grad():
        inputs[1].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        colours.sum().backward()


@pytest.mark.parametrize("function", SLICES)
@pytest.mark.parametrize(
    ("pictures", "guides", "grids", "named"),
    [
        ((2, 3, 4), (2, 4, 4), (1, 2, 2, 2, 12), r"pictures of shape \(2, 3, 4\)"),
        ((2, 1, 4, 4), (2, 4, 4), (1, 2, 2, 2, 12), r"pictures of shape \(2, 1, 4, 4\)"),
        ((2, 3, 4, 5), (2, 5, 4), (1, 2, 2, 2, 12), r"guides of shape \(2, 5, 4\)"),
        ((2, 3, 4, 5), (2, 1, 4, 5), (1, 2, 2, 2, 12), r"guides of shape \(2, 1, 4, 5\)"),
        ((3, 3, 4, 4), (3, 4, 4), (2, 2, 2, 2, 12), r"grids of shape \(2, 2, 2, 2, 12\)"),
        ((2, 3, 4, 4), (2, 4, 4), (2, 2, 2, 2, 9), r"grids of shape \(2, 2, 2, 2, 9\)"),
        ((2, 3, 4, 4), (2, 4, 4), (2, 0, 2, 2, 12), r"grids of shape \(2, 0, 2, 2, 12\)"),
    ],
)
def test_slices_of_shapes_that_do_not_fit_are_refused(function, pictures, guides, grids, named):
    with pytest.raises(ValueError, match=named):
        function(torch.zeros(pictures), torch.zeros(guides), torch.zeros(grids))


@pytest.mark.parametrize("function", GUIDES)
@pytest.mark.parametrize(
    ("mix", "curves", "result", "named"),
    [
        ((3, 2), (5, 2), (2, 1), r"shapes \(3, 2\), \(5, 2\) and \(2, 1\)"),
        ((4, 2), (5, 3), (2, 1), r"shapes \(4, 2\), \(5, 3\) and \(2, 1\)"),
        ((4, 0), (5, 0), (2, 1), r"shapes \(4, 0\), \(5, 0\) and \(2, 1\)"),
        ((4, 2), (5, 2), (2,), r"shapes \(4, 2\), \(5, 2\) and \(2,\)"),
        ((4, 2), (1, 2), (2, 1), r"curves of 1 and a result of 2 entries"),
        ((4, 2), (5, 2), (1, 1), r"curves of 5 and a result of 1 entries"),
    ],
)
def test_tables_of_shapes_that_do_not_fit_are_refused(function, mix, curves, result, named):
    with pytest.raises(ValueError, match=named):
        function(torch.zeros(1, 3, 2, 2), torch.zeros(mix), torch.zeros(curves), torch.zeros(result))


def test_coefficients_are_never_spread_over_a_picture():
    pictures, guides, grids = (array.numpy() for array in make_inputs(22, 1, (200, 300), (4, 4, 4)))
    spread = 12 * guides.nbytes
    peaks = []
    for run in (
        lambda: slice_and_apply_pictures(pictures, guides, grids, 2),
        lambda: slice_gradient(pictures, guides, grids, pictures, threads=2),
    ):
        run()  # compiles
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert guides.nbytes < min(peaks)
    assert max(peaks) < spread / 2


PLAIN = """
import torch
from lutkit.bilateral import slicing
from lutkit_runtime.kernels.cpu import bilateral_gradient_lines

assert isinstance(bilateral_gradient_lines.differ_map, type(lambda: None))
generator = torch.Generator().manual_seed(0)
pictures, guides = torch.rand(1, 3, 5, 4, generator=generator), torch.rand(1, 5, 4, generator=generator)
tensors = [pictures, guides, torch.randn(1, 2, 3, 3, 12, generator=generator)]
shapes = (4, 2), (3, 2), (2, 1), (2, 2), (4, 1)
mix, many, clip, few, result = (torch.rand(shape, generator=generator) * 0.4 for shape in shapes)


def agree(fused, plain, tensors):
    found = []
    for function in (fused, plain):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        value = function(*leaves)
        (value * pictures[0, 0]).sum().backward()
        found.append([value.detach(), *(leaf.grad for leaf in leaves)])
    return all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(*found))


print(agree(slicing.slice_and_apply, slicing.slice_and_apply_plainly, tensors))
for tables in ((mix, many, clip), (mix, few, result)):
    fused = lambda *tables: slicing.evaluate_guides(pictures, *tables)
    plain = lambda *tables: slicing.evaluate_guides_plainly(pictures, *tables)
    print(agree(fused, plain, tables))
"""


def test_kernels_are_the_same_without_the_compiler():
    assert run_python(PLAIN, NUMBA_DISABLE_JIT="1").split() == ["True"] * 3
