"""Published weights of PairLIE, zhenqifu/PairLIE: to a run folder, ready for transfer, or to the exact artefact.

Files are read without running anything in them. Imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lutkit.checkpoints import save_networks
from lutkit.configuration import AnyConfig, Origin, RunConfig, describe_training
from lutkit.families.pairlie import PairlieConfig, presets
from lutkit.formats.arrays import read_arrays
from lutkit.lowlight.exact import keep_exact
from lutkit.lowlight.networks import RetinexNetwork
from lutkit.run import Run
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import FormatError


def import_model(sources: Sequence[Path]) -> Artefact:
    """Read weights into the exact artefact, which runs the networks at every pixel.

    Raises FormatError where the file cannot be read safely or is no such model.
    """
    if len(sources) != 1:
        raise FormatError(f"pairlie is one file of weights, not {len(sources)}: name PairLIE.pth")
    config, network = _read(sources[0])
    return Artefact(*keep_exact(network, config.model), describe_training(config))


def import_run(source: Path, run: Run, *, overwrite: bool = False) -> AnyConfig:
    """Read weights into a run folder.

    Raises
    ------
    FormatError
        Where the file cannot be read safely or is no such model.
    DataError
        Where the run exists or cannot be written.
    """
    run.check_free(overwrite=overwrite, option="-o")
    config, network = _read(source)
    run.clear()
    run.write_config(config)
    save_networks(run.network_file, network.state_dict())
    return config


def _read(source: Path) -> tuple[AnyConfig, RetinexNetwork]:
    """Return the weights of a file as networks, with the configuration of a run that they stand for."""
    arrays = {name.removeprefix("module."): array for name, array in read_arrays(source).items()}
    width = _find_width(arrays, source)
    network = RetinexNetwork(width)
    own = network.state_dict()
    missing = sorted(own.keys() - arrays.keys())
    if missing:
        raise FormatError(
            f"{source} lacks {len(missing)} of {len(own)} weights, the first '{missing[0]}': name the complete PairLIE.pth"
        )
    unknown = sorted(arrays.keys() - own.keys())
    if unknown:
        raise FormatError(f"{source} holds '{unknown[0]}', which no PairLIE has: is it of another kind?")
    for name, array in arrays.items():
        if array.shape != own[name].shape or not array.is_floating_point() or not torch.isfinite(array).all():
            raise FormatError(
                f"{source} has '{name}' of {tuple(array.shape)}; {tuple(own[name].shape)} finite numbers are needed"
            )
    network.load_state_dict({name: array.float() for name, array in arrays.items()})
    with source.open("rb") as file:
        origin = Origin(kind="pairlie", file=source.name, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    recipe: Any = presets["quick"]
    config = RunConfig(family="pairlie", model=PairlieConfig(width=width), recipe=recipe, origin=origin)
    return config, network.eval()


def _find_width(arrays: dict[str, torch.Tensor], source: Path) -> int:
    """Return the channels between convolutions."""
    first = "L_net.L_net.1.weight"
    if first not in arrays or arrays[first].ndim != 4 or not 4 <= arrays[first].shape[0] <= 256:
        raise FormatError(f"{source} has no '{first}' of 4 to 256 channels: is it PairLIE.pth?")
    return arrays[first].shape[0]
