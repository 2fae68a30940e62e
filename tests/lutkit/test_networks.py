"""Networks of slots against the sentences that describe them, written plainly."""

import pytest

torch = pytest.importorskip("torch")

import lutkit.networks  # noqa: E402
from lutkit.networks import DenseBlock, PlainBlock  # noqa: E402


def run_plainly(block, samples):
    """Every layer sees the concatenation of all features before it."""
    features = torch.relu(block.enter(samples))
    for layer in block.hidden:
        features = torch.cat((features, torch.relu(layer(features))), dim=1)
    return torch.tanh(block.leave(features))


def make_block(kind, samples=4, outputs=4, width=8):
    torch.manual_seed(1)
    block = kind(samples, outputs, width).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return block


def differentiate(run, block, samples, slopes):
    """Return outputs and the gradients to samples and parameters."""
    block.zero_grad()
    leaf = samples.clone().requires_grad_()
    outputs = run(leaf)
    outputs.backward(slopes)
    return [outputs.detach(), leaf.grad, *(parameter.grad.clone() for parameter in block.parameters())]


@pytest.mark.parametrize("rows", [1, 5, 7, 21])
def test_dense_block_is_its_description(monkeypatch, rows):
    """Values and gradients, also where the rows are worked on in several parts."""
    monkeypatch.setattr(lutkit.networks, "ROWS_IN_CACHE", 7)
    block = make_block(DenseBlock)
    samples, slopes = torch.rand(rows, 4).double(), torch.randn(rows, 4).double()
    expected = differentiate(lambda leaf: run_plainly(block, leaf), block, samples, slopes)
    for value, wanted in zip(differentiate(block, block, samples, slopes), expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-14)


def test_dense_block_in_low_precision_errs_as_torch_does(monkeypatch):
    monkeypatch.setattr(lutkit.networks, "ROWS_IN_CACHE", 100)
    block = make_block(DenseBlock, width=16).float()
    samples, slopes = torch.rand(300, 4), torch.randn(300, 4)
    exact = differentiate(block, block, samples, slopes)
    with torch.autocast("cpu", torch.bfloat16):
        low = differentiate(lambda leaf: block(leaf).float(), block, samples, slopes)
        plain = differentiate(lambda leaf: run_plainly(block, leaf).float(), block, samples, slopes)
    for value, usual, wanted in zip(low, plain, exact, strict=True):
        assert value.dtype == torch.float32
        assert 0 < (value - wanted).norm() < 1.2 * (usual - wanted).norm()


def test_samples_without_gradient_and_no_rows(monkeypatch):
    block = make_block(DenseBlock)
    block(torch.rand(3, 4).double()).sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())
    assert block(torch.rand(0, 4).double()).shape == (0, 4)


@pytest.mark.parametrize(("kind", "shapes"), [(DenseBlock, [8, 16, 24, 32]), (PlainBlock, [8, 8, 8, 8])])
def test_parameters_are_those_of_the_papers(kind, shapes):
    torch.manual_seed(0)
    block = kind(4, 16, 8)
    assert [tuple(layer.weight.shape) for layer in block.hidden] == [(8, inputs) for inputs in shapes]
    assert block.leave.weight.shape == (16, 40 if kind is DenseBlock else 8)
    assert all(parameter.abs().max() == 0 for name, parameter in block.named_parameters() if "bias" in name)
    large = kind(4, 16, 256).hidden[1].weight
    assert float(large.detach().std()) == pytest.approx((2 / large.shape[1]) ** 0.5, rel=0.02)


def test_plain_block_is_a_stack_of_layers():
    block = make_block(PlainBlock)
    samples = torch.rand(9, 4).double()
    features = torch.relu(block.enter(samples))
    for layer in block.hidden:
        features = torch.relu(layer(features))
    assert torch.equal(block(samples), block.leave(features))
