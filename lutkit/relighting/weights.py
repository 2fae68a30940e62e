"""ImageNet weights for the encoder and for VGG19, from files of state dicts: all that is needed, or one line why not.

Files are read without running anything in them. Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from lutkit.formats.arrays import read_arrays
from lutkit.relighting.res2net import Res2Net
from lutkit.relighting.vgg import VGG
from lutkit_runtime.errors import DataError

ENCODER_NAME = "Res2Net-101 v1b (26w x 4s)"
VGG_NAME = "VGG19"

_STEM = "conv1."
_COUNTER = "num_batches_tracked"
_PICTURE_CHANNELS = 3


def load_encoder_weights(encoder: Res2Net, source: Path) -> None:
    """Load ImageNet weights of Res2Net-101 v1b into an encoder; its last stage and its classifier are left in the file.

    A stem that reads other than 3 channels stays as it is, with all of its convolutions, and is trained from the
    beginning.

    Parameters
    ----------
    encoder : Res2Net
        Unchanged where an error is raised.
    source : Path
        State dict (.pth, .safetensors) or arrays (.npz).

    Raises
    ------
    FormatError
        Where the file cannot be read, or holds more than arrays.
    DataError
        Where weights are missing, have other shapes or are not finite, or the file is of a larger network.
    """
    own_stem = encoder.channels != _PICTURE_CHANNELS

    def is_left(name: str) -> bool:
        return name.startswith(("fc.", "layer4.")) or (own_stem and name.startswith(_STEM))

    _load(encoder, source, ENCODER_NAME, is_left)


def load_vgg_weights(network: VGG, source: Path) -> None:
    """Load ImageNet weights of VGG19 into its first five convolutions; the rest is left in the file.

    Parameters
    ----------
    network : VGG
        Unchanged where an error is raised.
    source : Path
        State dict (.pth, .safetensors) or arrays (.npz).

    Raises
    ------
    FormatError
        Where the file cannot be read, or holds more than arrays.
    DataError
        Where weights are missing, have other shapes or are not finite.
    """
    depth = len(network.features)

    def is_left(name: str) -> bool:
        group, _, rest = name.partition(".")
        number = rest.partition(".")[0]
        return group == "classifier" or (group == "features" and number.isdecimal() and int(number) >= depth)

    _load(network, source, VGG_NAME, is_left)


def _load(network: nn.Module, source: Path, name: str, is_left: Callable[[str], bool]) -> None:
    """Load what is not left out, after everything has been checked."""
    arrays = {key.removeprefix("module."): array for key, array in read_arrays(source).items()}
    wanted = {key: value for key, value in network.state_dict().items() if not is_left(key)}
    found = {key: value for key, value in arrays.items() if not is_left(key)}
    _check_arrays(found, wanted, source, name)
    # older files have no counters of batches, which only a norm without momentum reads
    network.load_state_dict({key: found[key] for key in wanted if key in found}, strict=False)


def _check_arrays(
    found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], source: Path, name: str
) -> None:
    remedy = f"name a file of ImageNet weights of {name}"
    missing = [key for key in wanted if key not in found and not key.endswith(_COUNTER)]
    if missing:
        raise DataError(f"{source} lacks {len(missing)} of {len(wanted)} weights, the first '{missing[0]}': {remedy}")
    unknown = [key for key in found if key not in wanted]
    if unknown:
        raise DataError(
            f"{source} holds {len(unknown)} weights that {name} has not, the first '{unknown[0]}': {remedy}"
        )
    other = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    if other:
        shapes = f"'{other[0]}' of {tuple(found[other[0]].shape)}, not {tuple(wanted[other[0]].shape)}"
        raise DataError(f"{source} has {len(other)} weights of another shape, the first {shapes}: {remedy}")
    damaged = [key for key, value in found.items() if value.is_complex() or not torch.isfinite(value).all()]
    if damaged:
        raise DataError(
            f"{source} has {len(damaged)} weights that are not finite, the first '{damaged[0]}': get the file again"
        )
