"""The train side of S3Net. Imports torch; see `lutkit.workbench.Workbench` for what it answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from tqdm import tqdm

from lutkit.bilateral.compiling import Answered, learn_answers
from lutkit.bilateral.model import BilateralModel, BilateralModule
from lutkit.bilateral.workbench import fill_program, read_values
from lutkit.configuration import AnyConfig
from lutkit.evaluate import Pair, mean_finite_psnr, score_pairs
from lutkit.families.hdrnet import PREDICTOR, SIDE
from lutkit.families.s3net import CHANNELS, MULTIPLE, NETWORK, build_compiled, build_exact
from lutkit.network_workbench import Compiled, Materials, NetworkWorkbench
from lutkit.onnx_export import export_network
from lutkit.photos import VALIDATION_PHOTOS
from lutkit.recipe import RelightingRecipe, Schedule
from lutkit.relighting.networks import RelightingNetwork
from lutkit.relighting.objective import RelightingObjective
from lutkit.relighting.pairs import RelightingSource, plan_pairs
from lutkit.relighting.scenes import Scenes, read_scenes, render_scenes
from lutkit.relighting.start import start_with_picture
from lutkit.relighting.vgg import VGG, PerceptualLoss
from lutkit.relighting.weights import load_encoder_weights, load_vgg_weights
from lutkit.workbench import FinetuneJob, Training, Watch
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops.blend import to_unit
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import Storage, TableCoding

GENERATED_NOTE = "rendered scenes are used; --data DIR trains on your scenes instead"

HELD_OUT_ANSWERS = 16
"""Pictures on which it is watched how closely the grid follows the network."""

PAIRS = 2 * VALIDATION_PHOTOS
"""At most so many pairs are validated on."""


@dataclass(frozen=True)
class SceneMaterials:
    """Scenes to train on and scenes that are held out.

    Parameters
    ----------
    fitted, held_out : Scenes
    """

    fitted: Scenes
    held_out: Scenes


class RelightingWorkbench(NetworkWorkbench):
    """Answers the four verbs for S3Net."""

    @property
    def generated_note(self) -> str:
        """What is said where no data are given."""
        return GENERATED_NOTE

    def make_network(self, config: AnyConfig) -> RelightingNetwork:
        """Return a network to be trained."""
        network = RelightingNetwork(config.model.depths, config.model.width)
        start_with_picture(network)
        return network

    def check(self, config: AnyConfig) -> None:
        """Raise DataError or ProgramError where a configuration cannot be trained, before scenes are read."""
        super().check(config)
        for name in ("encoder", "vgg"):
            path = getattr(config.recipe, name)
            if path is not None and not Path(path).is_file():
                raise DataError(f"recipe.{name}: {path} cannot be read (No such file): name a file of weights")

    def read_materials(self, config: AnyConfig) -> Materials:
        """Return scenes; raises DataError or ImageError where they cannot be used."""
        return gather_scenes(
            Path(config.data) if config.data else None,
            Path(config.val) if config.val else None,
            config.recipe.scenes,
            config.recipe.side,
            config.seed,
        )

    def watch_training(self, network: torch.nn.Module, config: AnyConfig, materials: Materials) -> Training:
        """Return the training of the network, validated on scenes that it has not seen."""
        assert isinstance(network, RelightingNetwork)
        recipe: RelightingRecipe = config.recipe
        if recipe.encoder is not None:
            load_encoder_weights(network.encoder, Path(recipe.encoder))
        perceptual = None
        if recipe.vgg is not None:
            perceptual = PerceptualLoss(VGG())
            load_vgg_weights(perceptual.network, Path(recipe.vgg))
            perceptual = perceptual.to(next(network.parameters()).device)
        scenes: SceneMaterials = materials.training
        source = RelightingSource(scenes.fitted, recipe.side, recipe.smallest_share)
        objective = RelightingObjective(network, recipe, source, perceptual)

        def validate(_step: int) -> float:
            return mean_finite_psnr(score_pairs(restore_with(network), materials.pairs, config.task))

        return Training(objective, validate)

    def keep(self, network: torch.nn.Module, config: AnyConfig) -> tuple[Program, dict[str, NDArray[Any]]]:
        """Return the program that runs the network on all of a picture."""
        graph = export_network(network, (1, CHANNELS, 2 * MULTIPLE, 2 * MULTIPLE))
        return build_exact(config.model, graph_bytes=len(graph)), {NETWORK: graph}

    def compile(
        self, network: torch.nn.Module, config: AnyConfig, materials: Materials, storage: Storage, watch: Watch
    ) -> Compiled:
        """Let a grid learn what the network answers."""
        assert isinstance(network, RelightingNetwork)
        recipe: RelightingRecipe = config.recipe
        scenes: SceneMaterials = materials.training
        source = RelightingSource(scenes.fitted, recipe.side, recipe.smallest_share)
        rng = np.random.default_rng(config.seed)
        drawn = (source.sample(rng)[0] for _ in range(recipe.answers))
        held = [stack_channels(pair) for pair in materials.pairs[:HELD_OUT_ANSWERS]]
        answered = [_ask(network, each, count, watch) for each, count in ((drawn, recipe.answers), (held, len(held)))]
        model = BilateralModel(BilateralModule(config.model.grid, CHANNELS))
        agreement = learn_answers(
            model,
            answered[0],
            answered[1],
            recipe.compiling,
            functional.mse_loss,
            measure=lambda picture: picture,
            seed=config.seed,
            watch=watch,
        )
        assert isinstance(model.module, BilateralModule)
        graph, coding = export_network(model.module.network, (1, CHANNELS, SIDE, SIDE)), TableCoding(storage)
        skeleton = build_compiled(config.model, graph_bytes=len(graph), columns=coding, curves=coding, result=coding)
        return Compiled(fill_program(skeleton, read_values(model), {PREDICTOR: graph}), agreement)

    def finetuning_recipe(self, config: AnyConfig | None, recipe: Schedule, crop: int | None) -> Schedule:
        """Return the recipe with the side of the run's pictures; raises OptionError for --crop."""
        recipe = super().finetuning_recipe(config, recipe, crop)
        return recipe if config is None else msgspec.structs.replace(recipe, longest_side=config.recipe.side)

    def prepare_pairs(self, job: FinetuneJob, smallest: int) -> tuple[Any, list[Pair], str, str]:
        """Return scenes under the light that is asked for, in squares of the recipe's `longest_side`."""
        recipe = self._family.presets["quick"]
        assert isinstance(recipe, RelightingRecipe)
        side = job.recipe.longest_side or recipe.side
        materials = gather_scenes(job.data, job.val, recipe.scenes, side, job.seed)
        scenes: SceneMaterials = materials.training
        source = RelightingSource(scenes.fitted, side, recipe.smallest_share)
        return source, materials.pairs, materials.description, materials.pairs_description


def gather_scenes(data: Path | None, val: Path | None, count: int, side: int, seed: int) -> Materials:
    """Return scenes to train on, and pairs of others; without `val`, every tenth scene of `data` is held out.

    Without `data`, `count` scenes are rendered. Raises DataError where folders cannot be used.
    """
    if data is None:
        scenes, described = render_scenes(seed, count, side), f"rendered scenes (seed {seed})"
    else:
        scenes, described = read_scenes(data), f"scenes of {data.name or data}"
    if val is None:
        fitted, held = scenes.hold_out()
        held_described = f"{described} that were held out"
    else:
        if data is not None and data.resolve() == val.resolve():
            raise DataError(
                f"every scene of {data} lies in {val} too, which leaves none to train on: name another --val"
            )
        fitted, held = scenes, read_scenes(val)
        held_described = f"scenes of {val.name or val}"
    guides = held if len(held) > 1 else fitted
    pairs = [read() for read in plan_pairs(held, seed, PAIRS, guides)]
    return Materials(SceneMaterials(fitted, held), pairs, f"{len(fitted)} {described}", f"pairs of {held_described}")


def stack_channels(pair: Pair) -> NDArray[np.float32]:
    """Return a pair's image, guide and both depths as (8, H, W) float32 of 0 to 1."""
    pictures = [pair.degraded, *(pair.companions[name] for name in ("guide", "depth", "guide_depth"))]
    height, width = pair.degraded.shape[:2]
    stacked = np.concatenate([to_unit(each).reshape(height, width, -1) for each in pictures], axis=2)
    return np.ascontiguousarray(stacked.transpose(2, 0, 1))


def restore_with(network: RelightingNetwork) -> Any:
    """Return what relights an 8-bit picture (H, W, 3) with the companions of a pair, by the network as it stands."""

    @torch.no_grad()
    def restore(image: NDArray[np.uint8], **companions: NDArray[Any]) -> NDArray[np.uint8]:
        training = network.training
        network.eval()
        try:
            given = stack_channels(Pair("", image, image, companions))
            made = network.relight(torch.from_numpy(given)[None].to(next(network.parameters()).device))[0]
        finally:
            network.train(training)
        return np.rint(made.clamp(0, 1).permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)

    return restore


@torch.no_grad()
def _ask(
    network: RelightingNetwork, pictures: Iterable[NDArray[np.float32]], count: int, watch: Watch
) -> list[Answered]:
    """Return what the network answers to so many pictures (8, H, W), each of which is let go once it is answered."""
    network.eval()
    answered: list[Answered] = []
    for given in tqdm(
        pictures,
        total=count,
        desc="asking the network",
        unit="picture",
        disable=not watch.show_progress,
        leave=False,
    ):
        answer = network.relight(torch.from_numpy(given)[None])[0].clamp(0, 1)
        answered.append(Answered(np.rint(given * 255).astype(np.uint8), answer.numpy().astype(np.float16)))
    return answered
