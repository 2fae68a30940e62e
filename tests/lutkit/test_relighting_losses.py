"""Losses of relighting: against an independent computation in float64, and the laws that they follow."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lutkit.metrics import ssim
from lutkit.relighting.losses import LossWeights, charbonnier_loss, relighting_loss
from lutkit.relighting.vgg import DEVIATION, MEAN, VGG, PerceptualLoss
from lutkit.relighting.wavelet import BEST, measure_similarity, split_bands, wavelet_loss

TOLERANCE = 2e-6


def make_pair(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(*shape, generator=generator, dtype=dtype)
    return first, (first + 0.2 * torch.rand(*shape, generator=generator, dtype=dtype)) / 1.2


@pytest.mark.data
@pytest.mark.parametrize("pair", ["a", "b", "c"])
def test_losses_agree_with_an_independent_computation(shared_data: Path, pair: str):
    oracle = np.load(shared_data / "oracles" / "wavelet_ssim.npz")
    x, y = (torch.from_numpy(oracle[f"{pair}_{name}"])[None] for name in "xy")
    assert wavelet_loss(x, y).item() == pytest.approx(float(oracle[f"{pair}_wssim_loss"]), abs=TOLERANCE)
    assert measure_similarity(x, y).item() == pytest.approx(float(oracle[f"{pair}_ssim_zero_pad"]), abs=TOLERANCE)
    for epsilon, name in ((1e-3, "1e-6"), (1e-6, "1e-12")):
        expected = float(oracle[f"{pair}_charbonnier_eps2_{name}"])
        assert charbonnier_loss(x, y, epsilon).item() == pytest.approx(expected, abs=TOLERANCE)
    terms = [measure_similarity(x, y)]
    for _ in range(2):
        mine, theirs = split_bands(x), split_bands(y)
        terms += [measure_similarity(mine.middle, theirs.middle), measure_similarity(mine.high, theirs.high)]
        x, y = mine.low, theirs.low
    terms.append(measure_similarity(x, y))
    assert [term.item() for term in terms] == pytest.approx(oracle[f"{pair}_terms"].tolist(), abs=TOLERANCE)


def test_similarity_is_that_of_the_measurement_where_zeros_lie_around():
    """The measurement leaves the border out, where pictures within a frame of zeros are equal."""
    first, second = (each.numpy() for each in make_pair(0, 32, 40, dtype=torch.float64))
    framed = [torch.nn.functional.pad(torch.from_numpy(each), (10, 10, 10, 10))[None, None] for each in (first, second)]
    measured = ssim(*(255 * each[0, 0].numpy() for each in framed))
    inside, all_pixels = (32 + 10) * (40 + 10), (32 + 20) * (40 + 20)
    assert measure_similarity(*framed).item() == pytest.approx(
        (measured * inside + all_pixels - inside) / all_pixels, abs=1e-9
    )


def test_bands_are_an_orthonormal_transform():
    picture, other = make_pair(1, 2, 3, 16, 24, dtype=torch.float64)
    bands = split_bands(picture)
    assert [each.shape[1] for each in bands] == [3, 6, 3]
    assert torch.allclose(bands.low, 2 * torch.nn.functional.avg_pool2d(picture, 2))
    products = sum((a * b).sum() for a, b in zip(bands, split_bands(other), strict=True))
    assert torch.allclose(torch.as_tensor(products), (picture * other).sum())
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert torch.equal(split_bands(ramp).middle.abs().amax(dim=(0, 2, 3)), torch.tensor([1.0, 0.0]))
    assert not split_bands(ramp).high.any()


def test_equal_pictures_give_the_best_loss():
    picture, other = make_pair(2, 2, 3, 32, 40)
    assert wavelet_loss(picture, picture).item() == pytest.approx(BEST, abs=1e-6)
    assert wavelet_loss(picture, other).item() > BEST + 0.01
    assert wavelet_loss(picture, other).item() == pytest.approx(wavelet_loss(other, picture).item(), abs=1e-6)
    for ratio in (0.2, 0.5):
        assert wavelet_loss(picture, picture, levels=3, ratio=ratio).item() == pytest.approx(BEST, abs=1e-6)


@pytest.mark.parametrize(("sides", "other"), [((30, 32), (30, 32)), ((32, 30), (32, 30)), ((32, 32), (32, 36))])
def test_sides_that_cannot_be_halved_are_refused(sides: tuple[int, int], other: tuple[int, int]):
    with pytest.raises(ValueError, match="multiples of 4"):
        wavelet_loss(torch.zeros(1, 3, *sides), torch.zeros(1, 3, *other))


def test_gradients_agree_with_differences():
    output, target = make_pair(3, 1, 2, 8, 4, dtype=torch.float64)
    output.requires_grad_()
    assert torch.autograd.gradcheck(lambda each: wavelet_loss(each, target), output)
    for epsilon in (1e-3, 1e-1):
        assert torch.autograd.gradcheck(lambda each, epsilon=epsilon: charbonnier_loss(each, target, epsilon), output)
    colours, wanted = make_pair(4, 1, 3, 4, 4, dtype=torch.float64)
    colours.requires_grad_()
    torch.manual_seed(0)
    perceptual = PerceptualLoss(VGG(), normalise=True).double()
    assert torch.autograd.gradcheck(lambda each: relighting_loss(each, wanted, perceptual), colours)


def test_charbonnier_in_both_readings():
    output, target = torch.tensor([[0.0, 3e-3]]), torch.tensor([[0.0, -1e-3]])
    assert charbonnier_loss(output, target).item() == pytest.approx((1e-3 + 17**0.5 * 1e-3) / 2, rel=1e-5)
    assert charbonnier_loss(output, target, 1e-6).item() == pytest.approx((1e-6 + 4e-3) / 2, rel=1e-5)
    equal = torch.zeros(3, requires_grad=True)
    charbonnier_loss(equal, torch.zeros(3), 1e-6).backward()
    assert equal.grad is not None and torch.equal(equal.grad, torch.zeros(3))


def test_perceptual_loss_of_random_weights():
    torch.manual_seed(1)
    network = VGG()
    output, target = make_pair(5, 2, 3, 16, 20)
    loss = PerceptualLoss(network)
    first = loss(output, target)
    assert torch.equal(first, loss(output, target))
    assert loss(output, output).item() == 0
    # layer by layer, as the list of them is published
    kernels = [network.features[number] for number in (0, 2, 5, 7, 10)]
    expected = 0.0
    seen = [output, target]
    for number, (kernel, share) in enumerate(zip(kernels, (1 / 32, 0, 1 / 16, 0, 1 / 8), strict=True)):
        if number in (2, 4):
            seen = [torch.nn.functional.max_pool2d(each, 2) for each in seen]
        seen = [torch.conv2d(each, kernel.weight, kernel.bias, padding=1).relu() for each in seen]
        expected += share * (seen[0] - seen[1]).abs().mean().item()
    assert first.item() == pytest.approx(expected, rel=1e-5)


def test_perceptual_loss_normalises_where_asked():
    torch.manual_seed(2)
    network = VGG()
    output, target = make_pair(6, 1, 3, 8, 8)
    mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, DEVIATION))
    by_hand = PerceptualLoss(network)((output - mean) / deviation, (target - mean) / deviation)
    assert torch.equal(PerceptualLoss(network, normalise=True)(output, target), by_hand)
    assert by_hand.item() != pytest.approx(PerceptualLoss(network)(output, target).item(), rel=1e-3)


def test_gradients_reach_the_output_only():
    torch.manual_seed(3)
    perceptual = PerceptualLoss(VGG())
    output, target = (each.requires_grad_() for each in make_pair(7, 1, 3, 8, 8))
    perceptual(output, target).backward()
    assert output.grad is not None and output.grad.abs().max() > 0
    assert target.grad is None
    assert all(each.grad is None and not each.requires_grad for each in perceptual.parameters())


def test_total_is_the_weighed_sum():
    torch.manual_seed(4)
    perceptual = PerceptualLoss(VGG())
    output, target = make_pair(8, 1, 3, 16, 16)
    parts = [charbonnier_loss(output, target), wavelet_loss(output, target), perceptual(output, target)]
    values = [part.item() for part in parts]
    published = values[0] + 1.1 * values[1] + 0.1 * values[2]
    assert relighting_loss(output, target, perceptual).item() == pytest.approx(published, abs=1e-6)
    assert relighting_loss(output, target).item() == pytest.approx(values[0] + 1.1 * values[1], abs=1e-6)
    own = relighting_loss(output, target, perceptual, LossWeights(2.0, 3.0, 4.0), epsilon=0.1).item()
    expected = 2 * charbonnier_loss(output, target, 0.1).item() + 3 * values[1] + 4 * values[2]
    assert own == pytest.approx(expected, abs=1e-5)
