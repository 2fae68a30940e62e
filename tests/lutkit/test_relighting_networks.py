"""The network of relighting: its size, its keys, its sides, and weights that are loaded whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lutkit.relighting.losses import relighting_loss
from lutkit.relighting.networks import (
    ChannelAttention,
    DecoderBlock,
    Enhancer,
    PixelAttention,
    RelightingNetwork,
    crop_to_size,
    pad_to_multiple,
)
from lutkit.relighting.res2net import Res2Net, Res2NetBlock
from lutkit.relighting.vgg import VGG
from lutkit.relighting.weights import load_encoder_weights, load_vgg_weights
from lutkit_runtime.errors import DataError, FormatError

SMALL = (1, 2, 1)
State = dict[str, torch.Tensor]


def count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


@pytest.fixture(scope="module")
def full() -> RelightingNetwork:
    with torch.device("meta"):
        return RelightingNetwork()


@pytest.fixture(scope="module")
def small() -> RelightingNetwork:
    torch.manual_seed(0)
    return RelightingNetwork(SMALL, width=16).eval()


def test_published_size(full: RelightingNetwork):
    assert count(full.encoder) == 28_180_056
    assert count(full.decoder_sixteenth) == 19_271_041
    assert count(full.decoder_eighth) == 1_205_089
    assert count(full.decoder_quarter) == 678_025
    assert count(full.enhancer) == 15_040
    assert count(full.tail) == 4_119
    assert count(full) == 49_353_370


def test_encoder_has_the_keys_of_published_files(full: RelightingNetwork):
    """Written out from the layout of such files: 2 or 3 groups of convolution and norm for each part."""

    def norm(name: str) -> list[str]:
        return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]

    def block(name: str, first: bool) -> list[str]:
        keys = [f"{name}.conv1.weight", *norm(f"{name}.bn1")]
        keys += [f"{name}.convs.{number}.weight" for number in range(3)]
        keys += [key for number in range(3) for key in norm(f"{name}.bns.{number}")]
        keys += [f"{name}.conv3.weight", *norm(f"{name}.bn3")]
        return keys + ([f"{name}.downsample.1.weight", *norm(f"{name}.downsample.2")] if first else [])

    keys = ["conv1.0.weight", *norm("conv1.1"), "conv1.3.weight", *norm("conv1.4"), "conv1.6.weight", *norm("bn1")]
    for layer, blocks in (("layer1", 3), ("layer2", 4), ("layer3", 23)):
        for number in range(blocks):
            keys += block(f"{layer}.{number}", number == 0)
    state = full.encoder.state_dict()
    assert set(keys) == set(state)
    shapes = {
        "conv1.0.weight": (32, 8, 3, 3),
        "conv1.6.weight": (64, 32, 3, 3),
        "layer1.0.conv1.weight": (104, 64, 1, 1),
        "layer1.2.convs.2.weight": (26, 26, 3, 3),
        "layer2.0.downsample.1.weight": (512, 256, 1, 1),
        "layer3.22.conv3.weight": (1024, 416, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_channels_follow_the_width(small: RelightingNetwork):
    assert count(RelightingNetwork(SMALL, width=32)) == pytest.approx(4 * count(small), rel=0.05)
    for width in (0, 8, 24):
        with pytest.raises(ValueError, match=f"a width of {width} is no multiple of 16"):
            RelightingNetwork(SMALL, width=width)


@pytest.mark.parametrize("sides", [(32, 32), (96, 64)])
def test_sides_of_multiples_of_32(small: RelightingNetwork, sides: tuple[int, int]):
    pictures = torch.rand(2, 8, *sides, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        made = small(pictures)
        stages = small.encoder(pictures)
    assert made.shape == (2, 3, *sides)
    assert made.abs().max() <= 1 and made.std() > 0
    assert [tuple(each.shape[1:]) for each in stages] == [
        (channels, sides[0] // part, sides[1] // part) for channels, part in ((64, 4), (128, 8), (256, 16))
    ]


def test_other_sides_are_extended_and_cropped(small: RelightingNetwork):
    pictures = torch.rand(1, 8, 33, 50, generator=torch.Generator().manual_seed(2))
    with pytest.raises(ValueError, match="pictures of 50x33 pixels: sides must be multiples of 32"):
        small(pictures)
    with torch.no_grad():
        made = small.relight(pictures)
        whole = small(pad_to_multiple(pictures))
    assert made.shape == (1, 3, 33, 50)
    assert torch.equal(made, whole[..., :33, :50])


@settings(max_examples=25)
@given(height=st.integers(1, 70), width=st.integers(1, 70), multiple=st.sampled_from([1, 4, 32]))
def test_padding_repeats_the_last_row_and_column(height: int, width: int, multiple: int):
    pictures = torch.arange(2.0 * height * width).view(1, 2, height, width)
    padded = pad_to_multiple(pictures, multiple)
    rows, columns = padded.shape[-2:]
    assert rows % multiple == columns % multiple == 0
    assert 0 <= rows - height < multiple and 0 <= columns - width < multiple
    expected = pictures[..., torch.arange(rows).clamp(max=height - 1), :]
    assert torch.equal(padded, expected[..., torch.arange(columns).clamp(max=width - 1)])
    assert torch.equal(crop_to_size(padded, height, width), pictures)


def test_every_parameter_but_the_unused_learns(small: RelightingNetwork):
    torch.manual_seed(3)
    network = RelightingNetwork(SMALL, width=16)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.5, 0.999))
    before = {name: each.detach().clone() for name, each in network.named_parameters()}
    pictures, target = torch.rand(2, 8, 64, 64), torch.rand(2, 3, 64, 64)
    loss = relighting_loss(network(pictures), target)
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    same = {name for name, each in network.named_parameters() if torch.equal(each, before[name])}
    assert same == {"enhancer.unused.weight", "enhancer.unused.bias"}


def test_training_lowers_the_loss():
    torch.manual_seed(4)
    network = RelightingNetwork((1, 1, 1), width=16)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
    pictures = torch.rand(2, 8, 32, 32)
    target = (pictures[:, :3] * torch.tensor([0.9, 0.6, 0.3]).view(1, 3, 1, 1)).detach()
    losses: list[float] = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = relighting_loss(network(pictures), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


@pytest.mark.slow
def test_one_step_of_the_published_size():
    torch.manual_seed(5)
    network = RelightingNetwork()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.5, 0.999))
    loss = relighting_loss(network(torch.rand(1, 8, 64, 64)), torch.rand(1, 3, 64, 64))
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(each).all() for each in network.parameters())


def test_first_block_of_a_stage_keeps_its_groups_apart():
    """The last group of a first block is averaged; of another block it passes; the others feed each other there only."""
    torch.manual_seed(6)
    first, other = Res2NetBlock(64, 16, begins=True).eval(), Res2NetBlock(64, 16, begins=False).eval()
    for block, fed in ((first, False), (other, True)):
        seen: list[torch.Tensor] = []
        block.conv3.register_forward_pre_hook(lambda _, taken, seen=seen: seen.append(taken[0].detach()))
        features = torch.rand(1, 64, 8, 8)
        block(features)
        nn.init.zeros_(block.convs[0].weight)
        block(features)
        reached = [part.abs().max().item() > 0 for part in (seen[0] - seen[1]).split(block.width, dim=1)]
        assert reached == [True, fed, fed, False]
        passed = torch.relu(block.bn1(block.conv1(features)))[:, -block.width :]
        expected = passed if fed else nn.functional.avg_pool2d(passed, 3, stride=1, padding=1)
        assert torch.equal(seen[0][:, -block.width :], expected)


def test_decoder_block_with_closed_attention_passes_its_input():
    torch.manual_seed(7)
    block = DecoderBlock(16)
    features = torch.rand(2, 16, 8, 8)
    assert not torch.equal(block(features), features)
    nn.init.constant_(block.pixels.weights[2].bias, -200.0)
    assert torch.equal(block(features), features)


def test_attention_is_one_weight_for_each_channel_or_pixel():
    torch.manual_seed(8)
    features = torch.rand(2, 16, 5, 7) + 0.5
    channels = ChannelAttention(16)(features) / features
    assert torch.allclose(channels, channels[..., :1, :1].expand_as(channels))
    assert channels[0, :, 0, 0].std() > 0
    pixels = PixelAttention(16)(features) / features
    assert torch.allclose(pixels, pixels[:, :1].expand_as(pixels))
    assert pixels[0, 0].std() > 0
    for weights in (channels, pixels):
        assert weights.min() > 0 and weights.max() < 1


def test_averages_of_the_enhancer_reach_their_window():
    """With the direct way shut, a changed pixel is seen by the whole of its largest window, and by no other window."""
    torch.manual_seed(9)
    enhancer = Enhancer(7, 5)
    with torch.no_grad():
        enhancer.last.weight[:, 4:] = 0
        features = torch.rand(1, 7, 64, 96)
        changed = features.clone()
        changed[..., 45, 45] += 10
        difference = (enhancer(changed) - enhancer(features)).abs().amax(dim=(0, 1)) > 0
    assert difference[32:, 32:64].all()
    # the last convolution looks one pixel over the border of the window
    assert not difference[:31].any() and not difference[:, :31].any() and not difference[:, 65:].any()


def save(folder: Path, state: State) -> Path:
    path = folder / "weights.pth"
    torch.save(state, path)
    return path


def imagenet_state() -> State:
    """State of a small encoder of pictures, with what a classifier has beside it."""
    torch.manual_seed(10)
    state = Res2Net(SMALL, width=16, channels=3).state_dict()
    return {**state, "fc.weight": torch.rand(10, 4), "layer4.0.conv1.weight": torch.rand(3, 3, 1, 1)}


def test_weights_of_an_encoder_are_loaded(tmp_path: Path):
    state = imagenet_state()
    encoder = Res2Net(SMALL, width=16, channels=3)
    load_encoder_weights(encoder, save(tmp_path, state))
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_stem_of_eight_channels_is_not_loaded(tmp_path: Path):
    state = imagenet_state()
    encoder = Res2Net(SMALL, width=16, channels=8)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    older = {f"module.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    load_encoder_weights(encoder, save(tmp_path, older))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name] if name.startswith("conv1.") else state[name])


def drop(state: State) -> None:
    del state["layer2.1.bns.0.weight"], state["layer3.0.conv3.weight"]


def reshape(state: State) -> None:
    state["layer1.0.conv1.weight"] = torch.zeros(16, 16, 3, 3)


def deepen(state: State) -> None:
    state["layer3.1.conv1.weight"] = torch.zeros(1)


def damage(state: State) -> None:
    state["bn1.weight"][3] = torch.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop, "lacks 2 of [0-9]+ weights, the first 'layer2.1.bns.0.weight': name a file"),
        (
            reshape,
            r"1 weights of another shape, the first 'layer1.0.conv1.weight' of \(16, 16, 3, 3\), not \(24, 16, 1, 1\)",
        ),
        (deepen, "holds 1 weights that Res2Net-101 v1b .* has not, the first 'layer3.1.conv1.weight'"),
        (damage, "has 1 weights that are not finite, the first 'bn1.weight'"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path: Path, change: Callable[[State], None], words: str):
    state = imagenet_state()
    change(state)
    torch.manual_seed(11)
    encoder = Res2Net(SMALL, width=16, channels=8)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    path = save(tmp_path, state)
    with pytest.raises(DataError, match=words) as caught:
        load_encoder_weights(encoder, path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_files_that_run_code_are_refused(tmp_path: Path):
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(1, 1), path)
    with pytest.raises(FormatError, match="could run code"):
        load_encoder_weights(Res2Net(SMALL, width=16), path)


def test_weights_of_vgg19(tmp_path: Path):
    torch.manual_seed(12)
    state = VGG().state_dict()
    assert sorted(state) == sorted(
        f"features.{number}.{part}" for number in (0, 2, 5, 7, 10) for part in ("weight", "bias")
    )
    rest = {"features.12.weight": torch.rand(2), "features.34.bias": torch.rand(2), "classifier.6.bias": torch.rand(2)}
    network = VGG()
    load_vgg_weights(network, save(tmp_path, {**state, **rest}))
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shallow = {name: value for name, value in state.items() if not name.startswith("features.10.")}
    with pytest.raises(DataError, match=r"lacks 2 of 10 weights, the first 'features.10.weight': name a file .* VGG19"):
        load_vgg_weights(network, save(tmp_path, shallow))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
