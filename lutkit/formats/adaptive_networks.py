"""Published weights of image-adaptive 3D LUTs to an artefact: LUTs.pth and classifier.pth of HuiZeng/Image-Adaptive-3DLUT.

Files are read without running anything in them. Imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from lutkit.colour.predictor import ThumbnailNetwork, export_onnx, make_predictor
from lutkit.families.adaptive_3dlut import PREDICTOR, AdaptiveConfig, build_program, name_basis
from lutkit.formats.arrays import read_arrays
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import FormatError

FILES = ("LUTs.pth", "classifier.pth")
"""Names of the two files in a published folder."""

_NORMS_PAIRED = 4


def import_model(sources: Sequence[Path], *, colour_space: str | None = None) -> Artefact:
    """Read basis tables and predictor into an artefact, which computes as the published kernel does.

    Parameters
    ----------
    sources : two Paths, or one
        ``LUTs.pth`` and ``classifier.pth``, in either order, or the folder that holds both.
    colour_space : str, optional
        ``sRGB`` (the default) or ``XYZ``: what the weights were trained for; the files do not say.

    Raises
    ------
    FormatError
        Where the files cannot be read safely or are no such model.
    """
    if len(sources) == 1 and sources[0].is_dir():
        sources = [sources[0] / name for name in FILES]
    if len(sources) != 2:
        raise FormatError(
            f"adaptive-3dlut has 2 files, {' and '.join(FILES)}, not {len(sources)}: name both, or their folder"
        )
    if colour_space not in (None, "sRGB", "XYZ"):
        raise FormatError(f"colour space '{colour_space}' is unknown: use sRGB or XYZ")
    contents = {path: read_arrays(path) for path in sources}
    tables_file = next((path for path, content in contents.items() if "0.LUT" in content), None)
    if tables_file is None:
        raise FormatError(f"neither {sources[0]} nor {sources[1]} holds basis tables ('0' with 'LUT'): name LUTs.pth")
    predictor_file = next((path for path in sources if path != tables_file), None)
    if predictor_file is None:
        raise FormatError(f"{tables_file} is given twice: name LUTs.pth and classifier.pth")
    tables = _read_tables(contents[tables_file], tables_file)
    network, paired = _read_predictor(contents[predictor_file], predictor_file)
    if network.last.out_channels != len(tables):
        raise FormatError(
            f"{predictor_file} gives {network.last.out_channels} weights, but {tables_file} holds {len(tables)} tables"
        )
    config = AdaptiveConfig(
        luts=len(tables),
        size=tables[0].shape[-1],
        training="paired" if paired else "unpaired",
        colour_space="XYZ" if colour_space == "XYZ" else "sRGB",
    )
    graph = export_onnx(network)
    filled = {name_basis(number): table.reshape(3, -1).T.contiguous().numpy() for number, table in enumerate(tables)}
    step = {
        "step": "import",
        "kind": "adaptive-3dlut",
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources},
        "training": config.training,
    }
    provenance = {"task": "retouch", "data": "unknown", "history": [step]}
    return Artefact(build_program(config, graph_bytes=len(graph)), {**filled, PREDICTOR: graph}, provenance)


def _read_tables(arrays: dict[str, torch.Tensor], source: Path) -> list[torch.Tensor]:
    """Return the basis tables (3, n, n, n) [channel][blue][green][red]."""
    names = sorted(arrays, key=lambda name: (len(name), name))
    if names != [f"{number}.LUT" for number in range(len(names))]:
        raise FormatError(f"{source} holds {', '.join(names)[:80]}; basis tables 0, 1, ... each with 'LUT' are needed")
    tables = [arrays[name].float() for name in names]
    shape = tables[0].shape
    if len(shape) != 4 or shape[0] != 3 or len(set(shape[1:])) != 1 or not 2 <= shape[1] <= 129:
        raise FormatError(f"{source} holds a table of shape {tuple(shape)}; (3, n, n, n) with n of 2 to 129 is needed")
    if any(table.shape != shape or not torch.isfinite(table).all() for table in tables):
        raise FormatError(f"{source} holds tables of different shapes, or values that are not finite")
    return tables


def _read_predictor(arrays: dict[str, torch.Tensor], source: Path) -> tuple[ThumbnailNetwork, bool]:
    """Return the predictor and whether it is the one for paired training: layers are matched by their order."""
    convolutions = [name for name, array in arrays.items() if name.endswith(".weight") and array.ndim == 4]
    norms = [name for name, array in arrays.items() if name.endswith(".weight") and array.ndim == 1]
    if not convolutions:
        raise FormatError(f"{source} holds no convolutions: name classifier.pth")
    paired = len(norms) == _NORMS_PAIRED
    network = make_predictor(arrays[convolutions[-1]].shape[0], paired=paired)
    own = network.state_dict()
    pairs = list(zip((n for n in own if own[n].ndim == 4), convolutions, strict=False))
    pairs += list(zip((n for n in own if own[n].ndim == 1 and n.endswith(".weight")), norms, strict=False))
    loaded: dict[str, torch.Tensor] = {}
    for mine, theirs in pairs:
        for part in ("weight", "bias"):
            array = arrays.get(f"{theirs.removesuffix('.weight')}.{part}")
            if array is None or not array.is_floating_point() or not torch.isfinite(array).all():
                raise FormatError(f"{source} has no finite '{theirs.removesuffix('.weight')}.{part}'")
            loaded[f"{mine.removesuffix('.weight')}.{part}"] = array.float()
    try:
        network.load_state_dict(loaded)
    except RuntimeError:
        raise FormatError(f"{source} is no weight predictor that lutkit knows: its layers are others") from None
    if len(loaded) != len(arrays):
        raise FormatError(f"{source} holds {len(arrays)} arrays; the predictor has {len(loaded)}")
    return network, paired
