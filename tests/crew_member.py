"""What one process does in tests/lutkit/test_parallel.py, by itself or as one of several: ``FOLDER PHOTOS CASE…``.

Every case trains into a folder of its name. What is said lies there, too, with the number of the process that says it.
"""

import signal
import sys
from pathlib import Path

import msgspec
import numpy as np
import torch
from small_training import RECIPE, make_config

from lutkit.configuration import RunConfig
from lutkit.data import PatchSource
from lutkit.degradation import Downscale
from lutkit.families import mulut
from lutkit.families.adaptive_3dlut import AdaptiveConfig
from lutkit.families.spatial import read_patterns
from lutkit.finetune import finetune
from lutkit.loop import Interrupted
from lutkit.parallel import Crew, join_crew
from lutkit.recipe import ColourRecipe, Phase, Recipe
from lutkit.run import Run
from lutkit.train import train
from lutkit.workbench import FinetuneJob, Watch
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import DataError

CPU = torch.device("cpu")


def make_spatial(photos: Path) -> RunConfig:
    """Return networks that see two phases, an average, noise, and a batch that two processes cannot halve."""
    phases = (Phase(interval=6), Phase(interval=None))
    recipe = msgspec.structs.replace(
        RECIPE, steps=7, batch=3, crop=12, average=0.5, phases=phases, learning_rate=1e-3, final_rate=1e-4
    )
    # in bfloat16 networks are apart by more than the order of additions
    made = make_config(photos, task="denoise", recipe=recipe, stages=2, width=16)
    return msgspec.structs.replace(made, precision="fp32")


def make_colours(photos: Path, training: str) -> RunConfig:
    """Return a small adaptive model with dropout, or with a critic, for one step: every further one has Adam's noise."""
    recipe = ColourRecipe(
        steps=1, batch=3, learning_rate=1e-4, final_rate=1e-5, validate_every=1, longest_side=48, critic_steps=2
    )
    model = AdaptiveConfig(luts=2, size=5, spread=0.5, dropout=0.3, training=training)
    return RunConfig(family="adaptive-3dlut", model=model, recipe=recipe, data=str(photos))


def make_tables(folder: Path, photos: Path, batch: int) -> FinetuneJob:
    """Return tables of two stages that repeat the pixel, not very exactly, to be finetuned."""
    program = mulut.build_program(read_patterns("s"), stages=2, scale=2, interval=6)
    nodes = next(program.lookups()).lattice.node_samples().astype(float)[:, :1]
    tables = {"stage1/s": np.rint(nodes / 2) - 64, "stage2/s": np.rint(nodes / 4).repeat(4, axis=1)}
    artefact = Artefact(program, {slot: table.astype(np.int8) for slot, table in tables.items()}, {"task": "sr-x2"})
    recipe = Recipe(steps=7, batch=batch, crop=9, learning_rate=1e-2, final_rate=1e-3, validate_every=3)
    return FinetuneJob(artefact, Downscale(2), recipe, photos, None, 3, folder / "tables.h5")


def act_at(step: int, action) -> None:
    """Let something happen, once, when the patches of a step are drawn."""
    sample, drawn = PatchSource.sample, []

    def sample_and_act(self, *arguments):
        drawn.append(None)
        if len(drawn) == step:
            PatchSource.sample = sample
            action()
        return sample(self, *arguments)

    PatchSource.sample = sample_and_act


def fail() -> None:
    raise DataError("this process has had enough")


def run_case(case: str, folder: Path, photos: Path, crew: Crew) -> None:
    """Train one case into a folder."""
    folder.mkdir(exist_ok=True)

    def say(line: str) -> None:
        with (folder / "said.txt").open("a") as stream:
            stream.write(f"{crew.rank}: {line}\n")

    watch = Watch(say)
    run = Run(folder / "run")
    last = crew.rank == crew.size - 1
    match case:
        case "spatial":
            train(run, make_spatial(photos), CPU, watch, crew=crew)
        case "cut and resumed":
            if last:
                act_at(3, lambda: signal.raise_signal(signal.SIGINT))
            try:
                train(run, make_spatial(photos), CPU, watch, crew=crew)
            except Interrupted as stop:
                say(str(stop))
            train(run, make_spatial(photos), CPU, watch, resume=True, crew=crew)
        case "tables" | "tables halved":
            halved = case == "tables halved"
            # two threads add gradients up in two parts, as two processes of one thread do
            torch.set_num_threads(2 // crew.size if halved else 1)
            result = finetune(make_tables(folder, photos, 4 if halved else 5), CPU, watch, crew=crew)
            torch.set_num_threads(1)
            np.savez(folder / f"tables-{crew.rank}.npz", **result.best.tables)
        case "paired" | "unpaired":
            train(run, make_colours(photos, case), CPU, watch, crew=crew)
        case "failing":
            if last:
                act_at(3, fail)
            train(run, make_spatial(photos), CPU, watch, crew=crew)


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, images = map(Path, sys.argv[1:3])
    with join_crew(CPU) as together:
        for name in sys.argv[3:]:
            run_case(name, place / name, images, together)
