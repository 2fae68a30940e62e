"""The train side of PairLIE. Imports torch; see `lutkit.workbench.Workbench` for what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from tqdm import tqdm

from lutkit.bilateral.compiling import Answered, learn_answers
from lutkit.bilateral.lit import LitModel, LitModule, illuminate
from lutkit.bilateral.model import COLOURS
from lutkit.bilateral.workbench import fill_program, read_values
from lutkit.colour.pairs import gather_pictures
from lutkit.configuration import AnyConfig
from lutkit.evaluate import Pair
from lutkit.families.hdrnet import PREDICTOR, SIDE
from lutkit.families.pairlie import build_compiled
from lutkit.lowlight.exact import keep_exact
from lutkit.lowlight.exposures import Exposures, find_scene_pairs, gather_exposures
from lutkit.lowlight.networks import RetinexNetwork
from lutkit.lowlight.objective import ExposureObjective
from lutkit.lowlight.start import start_near_identity
from lutkit.network_workbench import Compiled, Materials, NetworkWorkbench
from lutkit.onnx_export import export_network
from lutkit.photos import GENERATED_NOTE
from lutkit.workbench import FinetuneJob, Training, Watch
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops.illuminate import ROOT
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import Storage, TableCoding

HELD_OUT_ANSWERS = 8
"""Pictures on which it is watched how closely the grids follow the networks."""

PARTS_WEIGHT = 0.25
"""Of the errors of reflectance and illumination beside that of the picture that they make."""


Reader = Callable[[], NDArray[np.uint8]]


class LowLightWorkbench(NetworkWorkbench):
    """Answers the four verbs for PairLIE."""

    @property
    def generated_note(self) -> str:
        """What is said where no data are given."""
        return GENERATED_NOTE

    def make_network(self, config: AnyConfig) -> RetinexNetwork:
        """Return networks to be trained, which start near what changes nothing."""
        network = RetinexNetwork(config.model.width)
        start_near_identity(network)
        return network

    def read_materials(self, config: AnyConfig) -> Materials:
        """Return exposures of scenes; raises DataError or ImageError where they cannot be used."""
        recipe = config.recipe
        exposures = gather_exposures(
            Path(config.data) if config.data else None,
            Path(config.val) if config.val else None,
            crop=recipe.crop,
            flip=recipe.flip,
            longest_side=recipe.longest_side,
            seed=config.seed,
        )
        return Materials(exposures, exposures.pairs, exposures.description, exposures.held_out_description)

    def watch_training(self, network: torch.nn.Module, config: AnyConfig, materials: Materials) -> Training:
        """Return the training of the networks, watched by its own loss: it needs no well lit pictures."""
        assert isinstance(network, RetinexNetwork)
        exposures: Exposures = materials.training
        objective = ExposureObjective(network, config.recipe, exposures.source)
        return Training(objective, lambda _step: objective.watch(exposures.held_out), measure="loss of held-out crops")

    def keep(self, network: torch.nn.Module, config: AnyConfig) -> tuple[Program, dict[str, NDArray[Any]]]:
        """Return the program that runs the networks at every pixel."""
        assert isinstance(network, RetinexNetwork)
        return keep_exact(network, config.model)

    def compile(
        self, network: torch.nn.Module, config: AnyConfig, materials: Materials, storage: Storage, watch: Watch
    ) -> Compiled:
        """Let two grids learn reflectance and illumination; gamma stays a parameter."""
        assert isinstance(network, RetinexNetwork)
        exposures: Exposures = materials.training
        answered = [
            _ask(network, dark, watch, what)
            for dark, what in (
                (spread(exposures.dark, config.recipe.answers), "asking the networks"),
                (spread(exposures.dark_held_out, HELD_OUT_ANSWERS), "asking them about held-out pictures"),
            )
        ]
        gamma = config.model.gamma
        smallest = config.model.grid.spatial
        for each in (*answered[0], *answered[1]):
            if min(each.given.shape[1:]) < smallest:
                height, width = each.given.shape[1:]
                raise DataError(
                    f"a picture has {width}x{height} pixels once it is reduced, and a grid of {smallest} x {smallest} "
                    "places needs as many: leave it out, or set model.grid.spatial in a --config file"
                )
        model = LitModel(LitModule(config.model.grid), gamma, shows_parts=True)

        def compare(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            lit = functional.mse_loss(_light(output, gamma), _light(target, gamma))
            return lit + PARTS_WEIGHT * functional.mse_loss(output, target)

        agreement = learn_answers(
            model,
            answered[0],
            answered[1],
            config.recipe.compiling,
            compare,
            measure=lambda parts: _light(parts, gamma),
            seed=config.seed,
            watch=watch,
        )
        assert isinstance(model.module, LitModule)
        graph, coding = export_network(model.module.network, (1, COLOURS, SIDE, SIDE)), TableCoding(storage)
        skeleton = build_compiled(
            config.model,
            graph_bytes=len(graph),
            reflectance=coding,
            illumination=coding,
            curves=coding,
            result=coding,
        )
        return Compiled(fill_program(skeleton, read_values(model), {PREDICTOR: graph}), agreement)

    def prepare_pairs(self, job: FinetuneJob, smallest: int) -> tuple[Any, list[Pair], str, str]:
        """Return dark pictures with their well lit versions: of scenes with a reference, of pairs, or of photos."""
        pictures = gather_pictures(
            job.data, job.val, job.task, job.recipe, job.seed, smallest=smallest, find_more=find_scene_pairs
        )
        return pictures.source, pictures.pairs, pictures.description, pictures.pairs_description


def spread(pictures: Sequence[Reader], most: int) -> list[Reader]:
    """Return so many pictures at most, at equal distances in their order."""
    return [pictures[round(number)] for number in np.linspace(0, len(pictures) - 1, min(most, len(pictures)))]


def _light(parts: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the picture (3, H, W) of reflectance and root of the illumination, (4, H, W)."""
    return illuminate(parts[:3], parts[3:], gamma)


@torch.no_grad()
def _ask(network: RetinexNetwork, pictures: Sequence[Reader], watch: Watch, what: str) -> list[Answered]:
    """Return what the networks answer to pictures: reflectance and the fourth root of the illumination."""
    answered: list[Answered] = []
    for read in tqdm(pictures, desc=what, unit="picture", disable=not watch.show_progress, leave=False):
        given = np.ascontiguousarray(read()[..., :3].transpose(2, 0, 1))
        _, illumination, reflectance = network.decompose(torch.from_numpy(given)[None].float() / 255)
        parts = torch.cat((reflectance, illumination ** (1 / ROOT)), dim=1)[0]
        answered.append(Answered(given, parts.numpy().astype(np.float16)))
    return answered
