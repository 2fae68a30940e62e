"""Rungs that are trained: families of colour models, by the same commands' functions as `train` and `transfer`.

Family-blind. Imports torch when a rung is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from lutkit.configuration import RunConfig
from lutkit.distil.rung import Fitted, Scope, Work
from lutkit.families import find_family
from lutkit.recipe import ColourRecipe
from lutkit.workbench import TransferOptions
from lutkit_runtime.artefact import read_artefact, write_artefact
from lutkit_runtime.errors import DataError


@dataclass(frozen=True)
class TrainedRung:
    """A model of a family, trained on the pairs with the family's quick recipe.

    Parameters
    ----------
    name : str
        Of the family.
    scope : Scope
    """

    name: str
    scope: Scope

    def fit(self, work: Work) -> Fitted:
        """Train and transfer; raises Interrupted where training is stopped, and DataError as these do."""
        if work.resume and work.run.table_file.is_file():
            return Fitted(read_artefact(work.run.table_file))
        from lutkit.train import train
        from lutkit.transfer import transfer

        config = self._configure(work)
        begun = work.resume and work.run.checkpoint_file.is_file() and work.run.is_run()
        if begun and work.run.read_config() != config:
            raise DataError(
                f"{work.run.folder} was begun by another version of lutkit: start anew with -y, not --resume"
            )
        if not (work.resume and work.run.network_file.is_file()):
            train(work.run, config, work.choose_device(), work.watch, resume=begun)
        artefact, _ = transfer(work.run, config, TransferOptions(say=work.watch.say))
        write_artefact(work.run.table_file, artefact, overwrite=True)
        return Fitted(artefact)

    def _configure(self, work: Work) -> RunConfig:
        """Return a run on the pairs as they are.

        The input alone must not be changed, nor may pairs be cut or mirrored: what the teacher would have answered then is
        not known. It was asked about such versions before. Held-out pairs are looked at once, when training ends: a step
        that was chosen on them would flatter the figures.
        """
        family = find_family(self.name)
        recipe = family.presets["quick"]
        if not isinstance(recipe, ColourRecipe):
            raise DataError(f"family {self.name} does not learn from pairs of pictures: choose another rung")
        steps = work.steps or recipe.steps
        recipe = msgspec.structs.replace(
            recipe,
            steps=steps,
            validate_every=steps,
            brightness=(1.0, 1.0),
            saturation=(1.0, 1.0),
            crop_ratio=(1.0, 1.0),
            flip=0.0,
            # what depends on the place is another thing in a reduced picture
            longest_side=0 if self.scope is Scope.PLACE else recipe.longest_side,
        )
        fitted, held_out = (pairs[0].input.parents[1] for pairs in (work.pairs.fitted, work.pairs.held_out))
        return RunConfig(
            family=self.name,
            model=family.configure("quick", None),
            recipe=recipe,
            seed=work.seed,
            data=str(fitted.resolve()),
            val=str(held_out.resolve()),
        )
