"""The train side of networks of full resolution, which `transfer` compiles into bilateral grids, or keeps as they are.

Imports torch; see `lutkit.workbench.Workbench` for what it answers. A family's own workbench says what its network is
trained on and what its grids learn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from numpy.typing import NDArray

from lutkit.bilateral.workbench import reopen_grids
from lutkit.checkpoints import load_networks
from lutkit.colour.objectives import PairedObjective
from lutkit.colour.picture_workbench import Filled, apply_here, score
from lutkit.configuration import AnyConfig, describe_training
from lutkit.evaluate import Pair, mean_finite_psnr, score_pairs
from lutkit.families import Family
from lutkit.objective import Objective
from lutkit.recipe import Schedule
from lutkit.run import Run
from lutkit.workbench import (
    Fidelity,
    FinetuneJob,
    Finetuning,
    OptionError,
    Trained,
    Training,
    TransferOptions,
    Watch,
)
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import Network
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import Storage

NOTHING_TO_COMPILE = "--exact keeps the networks as they are: leave {} out"


@dataclass(frozen=True)
class Materials:
    """What a network is trained and compared on.

    Parameters
    ----------
    training : object
        What the family's objective draws from.
    pairs : list of Pair
        With known answers; not trained on. There may be none.
    description, pairs_description : str
        What they are, for people and for the provenance.
    """

    training: Any
    pairs: list[Pair]
    description: str
    pairs_description: str


@dataclass(frozen=True)
class Compiled:
    """Grids that learned what a network answers.

    Parameters
    ----------
    filled : Filled
        As a program with tables.
    agreement : float
        PSNR in dB to the network, of pictures that were held out.
    """

    filled: Filled
    agreement: float


class NetworkWorkbench(ABC):
    """Answers the four verbs for networks of full resolution.

    Parameters
    ----------
    family : Family
    """

    def __init__(self, family: Family) -> None:
        self._family = family

    @abstractmethod
    def make_network(self, config: AnyConfig) -> torch.nn.Module:
        """Return a network to be trained, drawn from torch's generator."""

    @abstractmethod
    def read_materials(self, config: AnyConfig) -> Materials:
        """Return what a configuration is trained and compared on; raises DataError where it cannot be used."""

    @abstractmethod
    def watch_training(self, network: torch.nn.Module, config: AnyConfig, materials: Materials) -> Training:
        """Return the training of a network."""

    @abstractmethod
    def keep(self, network: torch.nn.Module, config: AnyConfig) -> tuple[Program, dict[str, NDArray[Any]]]:
        """Return the exact program with its network."""

    @abstractmethod
    def compile(
        self, network: torch.nn.Module, config: AnyConfig, materials: Materials, storage: Storage, watch: Watch
    ) -> Compiled:
        """Let grids learn what a network answers; raises Interrupted where that is stopped."""

    @abstractmethod
    def prepare_pairs(self, job: FinetuneJob, smallest: int) -> tuple[Any, list[Pair], str, str]:
        """Return a source of pairs, pairs to validate on, and what both are; raises DataError where there are none."""

    def check(self, config: AnyConfig) -> None:
        """Raise DataError or ProgramError where a configuration cannot be trained."""
        self._family.configure("quick", config.model.task)
        self._family.skeleton(config.model)

    def gather(self, config: AnyConfig, watch: Watch) -> Materials:
        """Read what a run is trained on and say what it is; raises DataError where it cannot be used."""
        materials = self.read_materials(config)
        if config.data is None:
            watch.say(self.generated_note)
        watched = f"{len(materials.pairs)} {materials.pairs_description}" if materials.pairs else "the loss of others"
        watch.say(f"training on {materials.description}, validating on {watched}")
        return materials

    @property
    @abstractmethod
    def generated_note(self) -> str:
        """What is said where no data are given."""

    def build(self, config: AnyConfig, materials: Materials, device: torch.device) -> Training:
        """Return the run's network with what `gather` gave."""
        return self.watch_training(self.make_network(config).to(device), config, materials)

    def load_network(self, run: Run, config: AnyConfig) -> torch.nn.Module:
        """Return a run's best network; raises DataError where there is none or it does not fit."""
        network = self.make_network(config)
        try:
            network.load_state_dict(load_networks(run.network_file))
        except RuntimeError as error:
            raise DataError(f"networks {run.network_file} do not fit {run.config_file}: train again") from error
        return network.eval()

    def load(self, run: Run, config: AnyConfig) -> Trained:
        """Return the run's best network, as the exact program runs it."""
        return Trained(apply_here(Model(*self.keep(self.load_network(run, config), config))))

    def transfer(self, run: Run, config: AnyConfig, options: TransferOptions) -> tuple[Artefact, Fidelity]:
        """Compile the network into grids, or keep it, and measure what that costs."""
        self._refuse(options)
        network = self.load_network(run, config)
        provenance = describe_training(config)
        data = options.data or (Path(config.data) if config.data else None)
        val = options.val or (Path(config.val) if config.val and not options.data else None)
        config = msgspec.structs.replace(
            config, data=str(data.resolve()) if data else None, val=str(val.resolve()) if val else None
        )
        materials = self.read_materials(config)
        exact = self.keep(network, config)
        before = score(apply_here(Model(*exact)), materials.pairs, config) if materials.pairs else float("nan")
        step: dict[str, Any] = {"step": "transfer", "form": "exact" if options.exact else "compiled"}
        if options.exact:
            program, tables = exact
            after, error = before, None
        else:
            if data is None:
                options.say(self.generated_note)
            options.say(f"compiling: grids learn what the networks answer to {materials.description}")
            storage = Storage(options.storage or "int16")
            watch = Watch(say=options.say, show_progress=options.show_progress)
            torch.manual_seed(config.seed)
            compiled = self.compile(network, _shorten(config, options.steps), materials, storage, watch)
            program, tables, error = compiled.filled.program, compiled.filled.tables, compiled.filled.table_error
            options.say(f"grids and networks agree to {compiled.agreement:.2f} dB on pictures that were held out")
            after = score(apply_here(Model(program, tables)), materials.pairs, config) if materials.pairs else before
            step |= {
                "storage": storage.value,
                "largest_table_error": error,
                "data": materials.description,
                "agreement_psnr": round(compiled.agreement, 4),
                **compiled.filled.details,
            }
        if materials.pairs:
            step |= {
                "images": len(materials.pairs),
                "on": materials.pairs_description,
                "network_psnr": round(before, 4),
                "table_psnr": round(after, 4),
            }
        provenance["history"].append(step)
        fidelity = Fidelity(before, after, len(materials.pairs), materials.pairs_description, error)
        return Artefact(program, tables, provenance), fidelity

    def _refuse(self, options: TransferOptions) -> None:
        """Raise OptionError where an option is given that means nothing here."""
        name = self._family.name
        if options.interval is not None:
            raise OptionError(f"{name} has no lattice of samples: leave --interval out")
        if options.diagonal is not None:
            raise OptionError(f"{name} has no tables of samples, which --dfc compresses: leave it out")
        if options.degraded is not None:
            raise OptionError("--lr belongs to other families: give --val a folder of scenes")
        if options.exact:
            for option, value in (("--storage", options.storage), ("--steps", options.steps)):
                if value is not None:
                    raise OptionError(NOTHING_TO_COMPILE.format(option))

    def finetuning_recipe(self, config: AnyConfig | None, recipe: Schedule, crop: int | None) -> Schedule:
        """Return the recipe as it is; raises OptionError for an option that belongs to other families."""
        if crop is not None:
            raise OptionError(f"{self._family.name} finetunes on crops of random size: leave --crop out")
        return recipe

    def prepare_finetuning(self, job: FinetuneJob, device: torch.device, watch: Watch) -> Finetuning:
        """Return a compiled artefact's tables as parameters with pairs; the predictor stays as it is."""
        if job.teacher is not None:
            raise OptionError(f"{self._family.name} finetunes on pairs: leave --teacher out")
        if any(isinstance(op, Network) for op in job.artefact.program.ops):
            raise DataError(
                "finetuning changes tables, and this model keeps its network as it is: run lutkit transfer without --exact"
            )
        reopened = reopen_grids(job.artefact, device)
        source, pairs, described, pairs_described = self.prepare_pairs(job, reopened.smallest)
        if not pairs:
            raise DataError("finetuning needs pairs to validate on: give --val DIR")
        if job.data is None:
            watch.say(self.generated_note)
        watch.say(f"finetuning on {described}, validating on {len(pairs)} {pairs_described}")

        def validate(_step: int) -> float:
            return mean_finite_psnr(score_pairs(apply_here(Model(*reopened.store())), pairs, job.task))

        objective: Objective = PairedObjective(reopened.model, job.recipe, source, self._family.loss)
        return Finetuning(
            Training(objective, validate),
            unit=1.0,
            tables=lambda: reopened.store()[1],
            program=lambda: reopened.store()[0],
            data=described,
            images=len(pairs),
            pairs=pairs_described,
        )


def _shorten(config: AnyConfig, steps: int | None) -> AnyConfig:
    """Return a configuration whose grids learn for so many steps."""
    if steps is None:
        return config
    recipe = config.recipe
    compiling = msgspec.structs.replace(
        recipe.compiling, steps=steps, validate_every=min(steps, recipe.compiling.validate_every)
    )
    return msgspec.structs.replace(config, recipe=msgspec.structs.replace(recipe, compiling=compiling))
