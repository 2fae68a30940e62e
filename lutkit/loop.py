"""The optimisation loop of `train` and `finetune`: steps, validation, checkpoints, log, progress, interruption.

Family-blind. Imports torch, the configuration and the checkpoint files.
"""

from __future__ import annotations

import importlib.util
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from tqdm import tqdm

from lutkit.checkpoints import load_checkpoint, save_checkpoint
from lutkit.objective import Objective
from lutkit.parallel import ALONE, Crew
from lutkit.recipe import Schedule
from lutkit.run import Log
from lutkit.threads import settle_threads
from lutkit_runtime.errors import DataError


class Interrupted(Exception):
    """The loop was asked to stop; its checkpoint is written."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


@dataclass
class Progress:
    """Where a loop stands; all of it is in the checkpoint.

    Parameters
    ----------
    step : int
        Steps done.
    best_psnr : float
        Highest validation PSNR so far among steps of the present phase's interval, dB: others do not compare.
    best_step : int
    best : dict
        Parameters at the best step.
    seconds : float
        Time spent in steps and validation, over all sessions of the run.
    losses : list of float
        Of the steps since the last validation.
    """

    step: int = 0
    best_psnr: float = -math.inf
    best_step: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Loop:
    """One optimisation.

    Parameters
    ----------
    objective : Objective
    recipe : Schedule
    unit : float
        What a change of 1 in an output in [-1, 1] is in the parameters; multiplies the learning rate.
    validate : callable
        Returns the PSNR in dB of the model as it stands on the validation pairs, given the step.
    seed : int
    checkpoint, log : Path
    belongs_to : mapping of str
        What else must be equal for a checkpoint to go on, name to value.
    tensorboard : Path or None
        Folder for TensorBoard's event files.
    show_progress : bool
    crew : Crew
        The processes that share every batch. The leader validates and writes.
    """

    objective: Objective
    recipe: Schedule
    unit: float
    validate: Callable[[int], float]
    seed: int
    checkpoint: Path
    log: Path
    belongs_to: Mapping[str, str] = field(default_factory=dict)
    tensorboard: Path | None = None
    show_progress: bool = False
    crew: Crew = ALONE

    def run(self, *, resume: bool) -> Progress:
        """Optimise from the start or from the checkpoint; the model ends with its best parameters.

        Raises Interrupted after SIGINT or SIGTERM, once the checkpoint is written, and DataError where a checkpoint
        does not belong to this run, the batch cannot be shared, or the loss is no finite number any more.
        """
        settle_threads()
        self.crew.check_batch(self.recipe.batch)
        module = self.objective.module
        self.crew.align(module.state_dict().values())
        optimiser = torch.optim.Adam(self.objective.parameter_groups(), lr=self.recipe.learning_rate, fused=True)
        rng = np.random.default_rng(self.seed)
        progress = Progress()
        average = _Average(module, self.recipe.average)
        if resume:
            self._restore(load_checkpoint(self.checkpoint), optimiser, rng, progress, average)
        log = Log(self.log)
        if self.crew.leads:
            log.cut(progress.step)
        losses: list[torch.Tensor] = []
        board_folder = self.tensorboard if self.crew.leads else None
        started = time.perf_counter() - progress.seconds
        with _stop_signals() as stop, self._bar(progress.step) as bar, _open_board(board_folder) as board:
            while progress.step < self.recipe.steps:
                loss, asked_to_stop = self._step(optimiser, rng, progress.step, stop)
                losses.append(loss)
                average.update()
                progress.step += 1
                progress.seconds = time.perf_counter() - started
                bar.update()
                if progress.step % self.recipe.validate_every == 0 or progress.step == self.recipe.steps:
                    self._read_losses(losses, progress)
                    if not math.isfinite(sum(progress.losses)):
                        raise DataError(
                            f"training has gone astray: the loss up to step {progress.step} is no finite number; lower "
                            "recipe.learning_rate and begin again"
                        )
                    entry = self._score(progress, average)
                    if self.crew.leads:
                        log.add(entry)
                        for name in ("loss", "psnr", "learning_rate"):
                            board(name, entry[name], progress.step)
                    bar.set_postfix_str(f"val {progress.best_psnr:.3f} dB at {progress.best_step}")
                    progress.losses.clear()
                    self._save(optimiser, rng, progress, average)
                if asked_to_stop and progress.step < self.recipe.steps:
                    self._read_losses(losses, progress)
                    self._save(optimiser, rng, progress, average)
                    raise Interrupted(progress.step)
        module.load_state_dict(progress.best)
        return progress

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step (from 0): linear warm-up times a cosine from first to final rate."""
        recipe = self.recipe
        warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        return warm * (recipe.final_rate + (recipe.learning_rate - recipe.final_rate) * fall)

    def _step(
        self, optimiser: torch.optim.Optimizer, rng: np.random.Generator, step: int, stop: threading.Event
    ) -> tuple[torch.Tensor, bool]:
        """Take a step; return this process's share of the loss, and whether any process has been asked to stop."""
        for group in optimiser.param_groups:
            group["lr"] = self.rate_at(step) * self.unit * group.get("share", 1.0)
        loss = self.objective.loss(rng, step, self.crew)
        if self.crew.size > 1:
            loss = loss * self.crew.share_of(self.recipe.batch)
        optimiser.zero_grad()
        loss.backward()
        trained = (parameter for group in optimiser.param_groups for parameter in group["params"])
        asked_to_stop = self.crew.add_up_gradients(trained, stop.is_set())
        optimiser.step()
        self.objective.confine()
        return loss.detach(), asked_to_stop

    def _read_losses(self, losses: list[torch.Tensor], progress: Progress) -> None:
        """Move losses from the device, where steps leave them so that none is waited for, into the progress."""
        if losses:
            progress.losses += self.crew.add_up(torch.stack(losses)).tolist()
            losses.clear()

    def _score(self, progress: Progress, average: _Average) -> dict[str, Any]:
        with average.in_place():
            psnr = self.crew.ask_leader(lambda: self.validate(progress.step))
            if psnr > progress.best_psnr or not progress.best or not self._is_comparable(progress):
                progress.best_psnr, progress.best_step = psnr, progress.step
                progress.best = {name: value.clone() for name, value in self.objective.module.state_dict().items()}
        return {
            "step": progress.step,
            "loss": float(np.mean(progress.losses)),
            "psnr": psnr,
            "learning_rate": self.rate_at(progress.step - 1) * self.unit,
            "seconds": round(progress.seconds, 3),
        }

    def _is_comparable(self, progress: Progress) -> bool:
        """Whether the best step was validated in the form that is validated now: tables of one interval, or networks."""
        before, now = (self.recipe.interval_at(step - 1) for step in (progress.best_step, progress.step))
        return before == now

    def _save(
        self, optimiser: torch.optim.Optimizer, rng: np.random.Generator, progress: Progress, average: _Average
    ) -> None:
        if self.crew.leads:
            save_checkpoint(
                self.checkpoint,
                {
                    "model": self.objective.module.state_dict(),
                    "average": average.values,
                    "optimiser": optimiser.state_dict(),
                    "patches": json.dumps(rng.bit_generator.state),
                    "progress": dict(vars(progress)),
                    "made_by": json.dumps(self._describe()),
                    "helpers": self.objective.helpers(),
                },
            )
        self.crew.meet()

    def _restore(
        self,
        state: dict[str, Any],
        optimiser: torch.optim.Optimizer,
        rng: np.random.Generator,
        progress: Progress,
        average: _Average,
    ) -> None:
        try:
            made_by = json.loads(state["made_by"])
            changed = [name for name, value in self._describe().items() if made_by[name] != value]
            if not changed:
                self.objective.module.load_state_dict(state["model"])
                optimiser.load_state_dict(state["optimiser"])
                rng.bit_generator.state = json.loads(state["patches"])
                average.restore(state["average"])
                self.objective.restore_helpers(state["helpers"])
                for name in vars(progress):
                    setattr(progress, name, state["progress"][name])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"checkpoint {self.checkpoint} is of another model: start anew with -y, not --resume"
            ) from error
        if changed:
            name = changed[0]
            raise DataError(
                f"checkpoint {self.checkpoint} was made with {name} = {made_by[name]}, not {self._describe()[name]}: "
                "resume with the options of its beginning, or start anew with -y"
            )

    def _describe(self) -> dict[str, Any]:
        """Return what must be equal for a checkpoint to go on as if nothing had happened, as JSON has it."""
        return json.loads(json.dumps({**msgspec.to_builtins(self.recipe), "seed": self.seed, **self.belongs_to}))

    def _bar(self, done: int) -> tqdm[Any]:
        return tqdm(
            total=self.recipe.steps,
            initial=done,
            unit="step",
            disable=not (self.show_progress and self.crew.leads),
            dynamic_ncols=True,
        )


class _Average:
    """Running average of a module's parameters; with decay 0 it is the parameters themselves."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self._module = module
        self._decay = decay
        self.values = {name: value.clone() for name, value in module.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters of one more step in."""
        for name, value in self._module.state_dict().items() if self._decay else ():
            self.values[name].lerp_(value, 1 - self._decay)

    @torch.no_grad()
    def restore(self, values: dict[str, torch.Tensor]) -> None:
        """Take averages from a checkpoint; raises KeyError where they are of another module."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Let the module hold the averages for a while."""
        if not self._decay:
            yield
            return
        current = {name: value.clone() for name, value in self._module.state_dict().items()}
        self._module.load_state_dict(self.values)
        try:
            yield
        finally:
            self._module.load_state_dict(current)


@contextmanager
def _stop_signals() -> Generator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event, so that a step is never cut in half; a second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _open_board(folder: Path | None) -> Generator[Callable[[str, float, int], None]]:
    """Give a function that writes a scalar for TensorBoard, or one that does nothing."""
    if folder is None:
        yield lambda _name, _value, _step: None
        return
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        yield writer.add_scalar


def check_tensorboard() -> None:
    """Raise DataError where TensorBoard's package is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise DataError("--tensorboard needs the package tensorboard: pip install 'lutkit[tensorboard]'")
