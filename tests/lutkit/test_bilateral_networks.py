"""The trainable parts of HDRNet: sizes, paddings, first values, guides as tables, and export."""

import copy

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lutkit.bilateral.networks import (  # noqa: E402
    CoefficientNetwork,
    CurveGuide,
    PointwiseGuide,
    measure_colours,
    start_columns,
)
from lutkit.colour.predictor import export_onnx  # noqa: E402
from lutkit_runtime.bilateral import GuideTables, apply_affine  # noqa: E402
from lutkit_runtime.errors import DataError  # noqa: E402
from lutkit_runtime.onnx_network import OnnxNetwork  # noqa: E402
from lutkit_runtime.ops import GridFusion  # noqa: E402

try:
    import onnxruntime
except ImportError:
    onnxruntime = None


def random_pictures(*sizes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    tint = torch.tensor([1.0, 0.7, 0.3], dtype=dtype)[:, None, None]
    return [torch.rand(3, *size, generator=generator, dtype=dtype) * tint for size in sizes]


def move_parameters(module, amount, seed=0):
    """Move every parameter, so that none has a special value; returns the module."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return module


def evaluate(tables, colours):
    """Return the guide (M,) of colours (M, 3) in the precision of the tables, which keep their gradients."""
    mix, curves, result = tables
    total = interpolate(colours @ mix[:3] + mix[3], curves).sum(1, keepdim=True)
    return interpolate(total, result)[:, 0]


def interpolate(arguments, curves):
    position = arguments.clamp(0, 1) * (len(curves) - 1)
    cell = position.detach().long().clamp(max=len(curves) - 2)
    below, above = curves.gather(0, cell), curves.gather(0, cell + 1)
    return below + (position - cell) * (above - below)


def count_parameters(*parts):
    """Return how many numbers are trained in modules and tensors."""
    tensors = [tensor for part in parts for tensor in (part.parameters() if isinstance(part, nn.Module) else [part])]
    return sum(tensor.numel() for tensor in tensors)


def test_there_are_as_many_parameters_as_published():
    network, columns, guide = CoefficientNetwork(), start_columns(64, 8).requires_grad_(), CurveGuide()
    assert count_parameters(network, columns, guide) == 482_080
    assert count_parameters(network.splat) == 24_528
    convolutions = [layer for layer in network.whole if isinstance(layer, nn.Conv2d)]
    assert (count_parameters(*convolutions), count_parameters(network.whole)) == (73_856, 73_856 + 303_552)
    assert (count_parameters(network.local), count_parameters(columns), count_parameters(guide)) == (73_792, 6240, 112)


def test_layers_of_stride_2_are_padded_at_the_end_alone():
    """A kernel whose middle is 1 picks the odd rows and columns; padded on both sides it would pick the even ones."""
    network = CoefficientNetwork(8, 4, width=1)
    picture = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        network.splat[1].weight.zero_()
        network.splat[1].weight[0, 1, 1, 1] = 1
        assert torch.equal(network.splat(picture)[0, 0], picture[0, 1, 1::2, 1::2])
        network.splat[1].weight.zero_()
        network.splat[1].weight[0, 1, 2, 2] = 1
        expected = torch.zeros(4, 4)
        expected[:3, :3] = picture[0, 1, 2::2, 2::2]
        assert torch.equal(network.splat(picture)[0, 0], expected)


def test_the_network_computes_what_the_paper_says():
    torch.manual_seed(0)
    network = move_parameters(CoefficientNetwork(64, 16, width=4), 0.05).double()
    thumbnails = torch.rand(2, 3, 64, 64, dtype=torch.float64)

    def halve(layer, value):
        kernel = nn.functional.pad(layer.weight, (1, 0, 1, 0))  # a row and a column of zeros in front
        return nn.functional.conv2d(value, kernel, layer.bias, stride=2, padding=1).clamp(min=0)

    first, second = (layer for layer in network.splat if isinstance(layer, nn.Conv2d))
    features = halve(second, halve(first, thumbnails))
    third, fourth = (layer for layer in network.whole if isinstance(layer, nn.Conv2d))
    whole = halve(fourth, halve(third, features)).reshape(2, -1)
    layers = [layer for layer in network.whole if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in layers] == [128, 64, 32]
    for layer in layers:
        whole = whole @ layer.weight.T + layer.bias
        whole = whole if layer is layers[-1] else whole.clamp(min=0)
    local = nn.functional.conv2d(features, network.local[0].weight, network.local[0].bias, padding=1).clamp(min=0)
    local = nn.functional.conv2d(local, network.local[2].weight, padding=1)
    expected = (local + whole[..., None, None]).clamp(min=0)
    found = network(thumbnails)
    assert found.shape == (2, 32, 16, 16) and network.terms == 32
    assert (found > 0).any() and (found == 0).any()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_first_weights_have_the_published_spread_and_no_constants():
    torch.manual_seed(0)
    for layer in CoefficientNetwork().modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            inputs = layer.weight[0].numel()
            assert abs(layer.weight.std().item() * (inputs / 2) ** 0.5 - 1) < 4 / (2 * layer.weight.numel()) ** 0.5
            assert layer.bias is None or not layer.bias.any()
    columns = start_columns(64, 8)
    assert columns.shape == (65, 96) and columns.dtype == torch.float32
    assert not columns[0].any() and abs(columns[1:].std().item() * 32**0.5 - 1) < 0.04


def test_batch_normalisation_stands_neither_first_nor_before_the_sum():
    def normalised(layers):
        layers = [layer for layer in layers if not isinstance(layer, nn.ZeroPad2d | nn.Flatten)]
        followers = [*layers[1:], None]
        return [
            isinstance(follower, nn.BatchNorm1d | nn.BatchNorm2d)
            for layer, follower in zip(layers, followers, strict=True)
            if isinstance(layer, nn.Conv2d | nn.Linear)
        ]

    network = CoefficientNetwork(batch_norm=True)
    assert normalised(network.splat) == [False, True, True, True]
    assert normalised(network.whole) == [True, True, True, True, False]
    assert normalised(network.local) == [True, False]
    plain = CoefficientNetwork()
    assert not any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in plain.modules())


@pytest.mark.parametrize(
    ("side", "spatial"), [(256, 6), (256, 0), (256, -16), (16, 16), (8, 16), (96, 16), (255, 16), (0, 16)]
)
def test_sizes_that_do_not_fit_are_refused(side, spatial):
    with pytest.raises(DataError, match=f"a grid of {spatial} x {spatial} places .* thumbnails of {side} pixels: take"):
        CoefficientNetwork(side, spatial)


@pytest.mark.parametrize(("side", "spatial"), [(256, 16), (256, 8), (64, 4), (48, 12), (32, 16)])
def test_sizes_that_fit_give_a_weight_for_every_place(side, spatial):
    assert CoefficientNetwork(side, spatial, width=2)(torch.rand(1, 3, side, side)).shape == (1, 16, spatial, spatial)


def test_columns_start_at_the_identity_where_asked():
    fusion = GridFusion(weights="w", slot="s", terms=16, rows=2, columns=3, depth=4, output="g")
    colours = np.random.default_rng(0).random((50, 3), np.float32)
    weights = np.random.default_rng(1).random(16 * 6, np.float32)
    grid = fusion.fuse(weights, start_columns(16, 4, identity=True, spread=0.0).numpy())
    assert grid.shape == (2, 3, 4, 12)
    for place in np.ndindex(2, 3, 4):
        np.testing.assert_array_equal(apply_affine(np.tile(grid[place], (50, 1)), colours), colours)
    torch.manual_seed(0)
    near = start_columns(16, 4, identity=True, spread=0.1)
    torch.manual_seed(0)
    torch.testing.assert_close(near[1:], start_columns(16, 4)[1:] * 0.1)


def sum_curves(guide, colours):
    """The published formulas, all but the last."""
    mixed = colours @ guide.matrix.T + guide.offset
    return (guide.slopes * (mixed[:, None] - guide.shifts).clamp(min=0)).sum(1) @ guide.weights + guide.bias


def compute_curve_guide(guide, colours):
    return sum_curves(guide, colours).clamp(0, 1)


def centre(guide, colours):
    """Have the guide use what lies between 0 and 1, and a little more; returns the guide."""
    with torch.no_grad():
        sums = sum_curves(guide, colours)
        guide.weights.mul_(0.3 / sums.std())
        guide.bias.add_(0.5 - sum_curves(guide, colours).mean())
    return guide


def bound_rounding(guide, entries):
    """How far tables may be off: each bend is rounded off by its change of slope times a quarter of a cell."""
    reach = guide.matrix.abs().sum(1)
    return (guide.weights.abs() * guide.slopes.abs().sum(0) * reach).sum().item() / (4 * (entries - 1))


def test_the_guide_of_curves_starts_as_published():
    torch.manual_seed(3)
    guide = CurveGuide().double()
    added = guide.matrix.detach() - torch.eye(3)
    assert (added - added[0, 0]).abs().max() < 1e-7 and 0 < added[0, 0].abs() < 5e-4 and not guide.offset.any()
    assert guide.slopes.shape == (16, 3) and guide.slopes[0].tolist() == [1, 1, 1] and not guide.slopes[1:].any()
    assert guide.shifts.tolist() == [[number / 16] * 3 for number in range(16)]
    assert guide.weights.tolist() == pytest.approx([1 / 3] * 3) and guide.bias.item() == 0
    colours = random_pictures((40, 50))[0].flatten(1).T
    torch.testing.assert_close(evaluate(guide.tables(), colours), colours.mean(1), rtol=0, atol=2e-3)


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.5])
def test_the_guide_of_curves_is_what_is_published(amount):
    torch.manual_seed(3)
    colours = random_pictures((40, 50))[0].flatten(1).T
    guide = centre(move_parameters(CurveGuide().double(), amount), colours)
    expected = compute_curve_guide(guide, colours)
    assert expected.std() > 0.1
    errors = []
    for entries in (257, 1025):
        tables = CurveGuide(entries=entries).double()
        tables.load_state_dict(guide.state_dict())
        found = evaluate(tables.tables(), colours)
        assert (found - expected).abs().max() <= bound_rounding(guide, entries) + 1e-12
        errors.append((found - expected).abs().mean().item())
        stored = GuideTables(*(table.detach().float().numpy() for table in tables.tables()))
        assert np.abs(stored.evaluate(colours.float().numpy()) - found.detach().numpy()).max() < 1e-5
    # fewer pixels lie in cells with a bend, and are less far off
    assert errors[1] < errors[0] / 8 or errors[0] < 1e-7


def test_arguments_of_curves_are_never_cut_off():
    """Where the matrix has negative entries and bends lie below 0, too."""
    guide = move_parameters(CurveGuide().double(), 0.7)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    mix = guide.tables()[0]
    arguments = corners @ mix[:3] + mix[3]
    torch.testing.assert_close(arguments.amin(0), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(arguments.amax(0), torch.ones(3, dtype=torch.float64))
    with torch.no_grad():
        guide.matrix.zero_()
    assert all(table.isfinite().all() for table in guide.tables())


def make_plain(guide):
    """The published layers, as torch has them."""
    hidden = guide.norm.num_features
    plain = nn.Sequential(
        nn.Conv2d(3, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, 1, 1), nn.Sigmoid()
    ).to(guide.last.bias.dtype)
    plain[0].weight = nn.Parameter(guide.first.weight.detach()[:, :, None, None].clone())
    plain[1].load_state_dict(guide.norm.state_dict())
    plain[3].weight = nn.Parameter(guide.last.weight.detach()[:, :, None, None].clone())
    plain[3].bias = nn.Parameter(guide.last.bias.detach().clone())
    return plain.train(guide.training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("amount", [0.0, 0.3])
def test_the_pointwise_guide_is_what_is_published(training, amount):
    torch.manual_seed(0)
    guide = move_parameters(PointwiseGuide().double(), amount)
    for seed in range(3):
        guide.tables(random_pictures((20, 20), seed=seed))
    guide.train(training)
    plain = make_plain(guide)
    pictures = random_pictures((30, 20), (11, 7), (1, 40))
    pixels = torch.cat([picture.flatten(1) for picture in pictures], dim=1)
    expected = plain(pixels[None, :, None])[0, 0, 0]
    found = evaluate(guide.tables(pictures), pixels.T)
    assert expected.std() > 0.01
    # the curve between two of 1025 entries over -8 to 8: a step squared / 8 times the largest second derivative, 0.0963
    assert (found - expected).abs().max() <= 0.0963 / 64**2 / 8 + 1e-12
    for name, running in plain[1].state_dict().items():
        torch.testing.assert_close(guide.norm.state_dict()[name], running, rtol=1e-12, atol=1e-12)
    before = copy.deepcopy(guide.norm.state_dict())
    guide.eval()
    stored = GuideTables(*(table.detach().float().numpy() for table in guide.tables()))
    single = stored.evaluate(pixels.T.float().numpy())
    expected = plain.eval()(pixels[None, :, None])[0, 0, 0].detach().numpy()
    assert np.abs(single - expected).max() < 1e-5
    assert all(torch.equal(before[name], value) for name, value in guide.norm.state_dict().items())


def test_gradients_of_the_pointwise_guide_are_those_of_its_layers():
    torch.manual_seed(1)
    guide = move_parameters(PointwiseGuide(8).double(), 0.2)
    plain = make_plain(guide)
    pictures = random_pictures((40, 30), (25, 25))
    pixels = torch.cat([picture.flatten(1) for picture in pictures], dim=1)
    targets = torch.rand(pixels.shape[1], dtype=torch.float64)
    evaluate(guide.tables(pictures), pixels.T).sub(targets).square().mean().backward()
    plain(pixels[None, :, None])[0, 0, 0].sub(targets).square().mean().backward()
    ours = [guide.first.weight, guide.norm.weight, guide.norm.bias, guide.last.weight, guide.last.bias]
    theirs = [plain[0].weight, plain[1].weight, plain[1].bias, plain[3].weight, plain[3].bias]
    for one, other in zip(ours, theirs, strict=True):
        assert other.grad.abs().max() > 1e-5
        # slopes of the stored sigmoid stand still between entries: off by half a step times the second derivative
        scale = other.grad.abs().max().item()
        torch.testing.assert_close(one.grad.flatten(), other.grad.flatten(), rtol=0, atol=5e-3 * scale)


def test_gradients_of_the_guide_of_curves_are_those_of_its_formulas():
    colours = random_pictures((60, 50))[0].flatten(1).T
    guide = centre(move_parameters(CurveGuide(entries=4096).double(), 0.1), colours)
    targets = torch.rand(len(colours), dtype=torch.float64)
    gradients = []
    for values in (evaluate(guide.tables(), colours), compute_curve_guide(guide, colours)):
        loss = values.sub(targets).square().mean()
        gradients.append(torch.autograd.grad(loss, list(guide.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert other.abs().max() > 1e-4
        torch.testing.assert_close(one, other, rtol=0, atol=2e-2 * other.abs().max().item())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [lambda: CurveGuide(4, 9), lambda: PointwiseGuide(4)], ids=["curves", "pointwise"])
def test_tables_carry_exact_gradients(kind, training):
    torch.manual_seed(2)
    guide = move_parameters(kind().double(), 0.2).train(training)
    pictures = random_pictures((9, 8), (5, 4))
    names = [name for name, _ in guide.named_parameters()]

    def make(*values):
        return torch.func.functional_call(
            Tables(guide), {f"guide.{n}": v for n, v in zip(names, values, strict=True)}, (pictures,)
        )

    class Tables(nn.Module):
        def __init__(self, guide):
            super().__init__()
            self.guide = guide

        def forward(self, pictures):
            return self.guide.tables(pictures)[:2]

    values = [parameter.detach().clone().requires_grad_() for parameter in guide.parameters()]
    assert torch.autograd.gradcheck(make, values, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_the_pointwise_guide_says_what_it_needs():
    guide = PointwiseGuide()
    for nothing in (None, []):
        with pytest.raises(ValueError, match="needs the pictures"):
            guide.tables(nothing)
    assert [table.shape for table in guide.eval().tables()] == [(4, 16), (2, 16), (1025, 1)]
    assert [table.shape for table in CurveGuide(entries=33).tables()] == [(4, 3), (33, 3), (2, 1)]
    assert [table.dtype for table in (*guide.tables(), *CurveGuide().tables())] == [torch.float32] * 6


def test_units_that_never_speak_stay_silent():
    guide = PointwiseGuide(2).eval()
    with torch.no_grad():
        guide.norm.bias.copy_(torch.tensor([-100.0, 0.5]))
        guide.last.weight.fill_(1.0)
        guide.norm.weight.copy_(torch.tensor([1.0, 0.0]))
    tables = guide.tables()
    assert all(table.isfinite().all() for table in tables)
    found = evaluate(tables, torch.rand(20, 3))
    torch.testing.assert_close(found, torch.full((20,), 0.5).sigmoid(), rtol=0, atol=1e-5)


def test_low_precision_elsewhere_does_not_reach_the_guides():
    pictures = random_pictures((30, 30), dtype=torch.float32)
    torch.manual_seed(0)
    for guide in (PointwiseGuide(), CurveGuide()):
        expected = guide.tables(pictures)
        with torch.autocast("cpu", torch.bfloat16):
            found = guide.tables(pictures)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)


def test_colours_are_measured_over_all_pixels_of_pictures_of_any_size():
    pictures = random_pictures((300, 200), (3, 1), (64, 64), dtype=torch.float32)
    pictures[2] = pictures[2] * 0.01 + 0.9
    count, mean, covariance = measure_colours(pictures)
    pixels = torch.cat([picture.flatten(1) for picture in pictures], dim=1).double()
    assert count == pixels.shape[1]
    torch.testing.assert_close(mean, pixels.mean(1), rtol=0, atol=1e-7)
    torch.testing.assert_close(covariance, torch.cov(pixels, correction=0), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("sizes", "batch_norm"), [((256, 16, 8), False), ((64, 8, 4), True)])
def test_exported_networks_compute_the_same(sizes, batch_norm):
    pytest.importorskip("onnxscript")
    side, spatial, width = sizes
    torch.manual_seed(0)
    network = move_parameters(CoefficientNetwork(side, spatial, width=width, batch_norm=batch_norm), 0.02)
    if batch_norm:
        for _ in range(3):
            network(torch.rand(4, 3, side, side))
    file = export_onnx(network, side)
    thumbnail = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(thumbnail)).numpy()
    runtime = OnnxNetwork(file, "test")
    assert runtime.output_shape == (1, network.terms, spatial, spatial)
    found = [runtime.run(thumbnail)]
    # other readers are given the file itself
    plain = cv2.dnn.readNetFromONNX(file.reshape(-1))
    plain.setInput(thumbnail)
    found.append(np.array(plain.forward()))
    if onnxruntime:
        session = onnxruntime.InferenceSession(file.tobytes(), providers=["CPUExecutionProvider"])
        found += session.run(None, {"thumbnail": thumbnail})
    assert expected.std() > 0.01
    for each in found:
        np.testing.assert_allclose(each, expected, rtol=0, atol=1e-5 * expected.max())
