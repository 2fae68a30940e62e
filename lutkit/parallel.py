"""Several processes that train one model together: who does what, and how gradients are added up.

Imports torch, and its process groups only where there are several processes. Family-blind.

Every process holds the whole model and draws the same random numbers; of every batch it works on a part of its own. The
gradients of the parts, each weighted by its share of the batch, are added up, so that every process takes the step that
one process with the whole batch would take. What people see and what is written comes from the first process alone.

Before anything is sent, all processes tell each other whether they are well. So a process that fails ends the others at
their next meeting, whatever they meet for, and none waits for one that is gone.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch

from lutkit_runtime.errors import DataError, LutkitError

PATIENCE = timedelta(hours=12)
"""How long processes wait for each other: one validates while the others wait. One that dies is noticed at once."""

FAREWELL = timedelta(seconds=10)
"""How long a process that has nothing to say waits for the end of one that has."""


class CrewError(LutkitError):
    """The connection between processes is lost."""


class Deserted(Exception):
    """Another process has failed, and says why; this one has nothing to add."""


@dataclass(frozen=True)
class Crew:
    """The processes that train together, as one of them sees it.

    Parameters
    ----------
    rank : int
        Number of this process, from 0; the one of number 0 leads.
    size : int
        How many there are. One process alone sends nothing and computes as if there were no crew.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process speaks, validates and writes for all."""
        return self.rank == 0

    def part_of(self, batch: int) -> slice:
        """Return which samples of a batch this process works on; parts differ by one sample at most."""
        return slice(batch * self.rank // self.size, batch * (self.rank + 1) // self.size)

    def share_of(self, batch: int) -> float:
        """Return this process's part of a batch, 0 to 1."""
        part = self.part_of(batch)
        return (part.stop - part.start) / batch

    def check_batch(self, batch: int) -> None:
        """Raise DataError where there are more processes than samples in a batch."""
        if batch < self.size:
            raise DataError(
                f"recipe has batch = {batch}, which {self.size} processes cannot share: choose a batch of at least "
                f"{self.size}, or start fewer processes"
            )

    def meet(self, value: float = 0.0) -> list[float]:
        """Return what all processes say, in the order of their numbers; all wait for the last one.

        Raises
        ------
        Deserted
            Where another process has failed.
        CrewError
            Where the connection is lost: one ended without a word.
        """
        if self.size == 1:
            return [value]
        values, failed = self._exchange(value, failed=False)
        if any(failed):
            raise Deserted("another process has failed")
        return values

    def ask_leader(self, answer: Callable[[], float]) -> float:
        """Return what the leader's function returns; the others wait for it. Raises as `meet`."""
        return self.meet(answer() if self.leads else 0.0)[0]

    def align(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give all processes the leader's values, in place. Raises as `meet`."""
        if self.size == 1:
            return
        self.meet()
        for tensor in tensors:
            with _connected():
                torch.distributed.broadcast(tensor.detach(), src=0)

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the processes; the tensor itself may change. Raises as `meet`."""
        if self.size > 1:
            self.meet()
            with _connected():
                torch.distributed.all_reduce(values)
        return values

    def add_up_gradients(self, parameters: Iterable[torch.nn.Parameter], flag: bool = False) -> bool:
        """Replace the gradients of parameters by their sums over the processes; return whether any process set its flag.

        The same parameters must have gradients everywhere. All go in one message: the tables or networks of a model
        are some MB together. Raises as `meet`.
        """
        if self.size == 1:
            return flag
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # before the meeting: where memory runs out after it, the others would wait for what is never sent
        joined = torch.cat([gradient.reshape(-1) for gradient in gradients])
        flags = self.meet(float(flag))
        with _connected():
            torch.distributed.all_reduce(joined)
        for gradient, total in zip(gradients, joined.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))
        return any(flags)

    def _exchange(self, value: float, *, failed: bool) -> tuple[list[float], list[float]]:
        """Return what all processes say, and which of them have failed.

        Goes from processor to processor: no GPU is waited for. Every meeting is such an exchange, and nothing is sent
        without one, so that those of a failed process and of the others always belong together.
        """
        told = torch.zeros(2, self.size, dtype=torch.float64)
        told[0, self.rank], told[1, self.rank] = value, failed
        # each number is added to zeros only, which leaves it as it is
        with _connected():
            torch.distributed.all_reduce(told)
        values, failures = told.tolist()
        return values, failures

    def _speaks(self) -> bool:
        """Tell the others that this process has failed; return whether it is the first one that has."""
        try:
            _, failed = self._exchange(0.0, failed=True)
        except CrewError:
            return True
        return not any(failed[: self.rank])

    def _see_off(self) -> None:
        """Wait until the process that has failed is gone: torchrun ends all when one ends, even one about to speak."""
        with suppress(RuntimeError):
            torch.distributed.all_reduce(torch.zeros(1), async_op=True).wait(FAREWELL)  # pyright: ignore[reportOptionalMemberAccess]


ALONE = Crew()
"""One process that trains by itself."""


@contextmanager
def _connected() -> Generator[None]:
    try:
        yield
    except RuntimeError as error:
        raise CrewError(
            "the processes that train together have lost each other: one was ended from outside, perhaps for want of "
            "memory; go on with --resume, or anew where no checkpoint has been written yet"
        ) from error


def find_place(environment: Mapping[str, str] = os.environ) -> tuple[Crew, int]:
    """Return the crew that torchrun has put this process into, and its number on this machine; not connected yet.

    Raises DataError where the variables of torchrun are no numbers that fit each other.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(name in environment for name in names):
        return ALONE, 0
    try:
        rank, size, local = (int(environment[name]) for name in names)
    except ValueError:
        rank, size, local = 0, 0, 0
    if not (0 <= rank < size and 0 <= local <= rank):
        told = ", ".join(f"{name}={environment[name]}" for name in names)
        raise DataError(f"the environment says {told}, which is no process among several: start with torchrun")
    return Crew(rank, size), local


@contextmanager
def join_crew(device: torch.device) -> Generator[Crew]:
    """Connect this process to those that torchrun started with it; a process by itself is `ALONE`.

    Inside, an error of one process ends all: it is raised where it happened (where it happened in several, in the first
    of them), and the others raise Deserted.

    Parameters
    ----------
    device : torch.device
        Where tensors lie that are sent; gloo sends those of the CPU, NCCL those of GPUs.

    Raises
    ------
    DataError
        Where the others cannot be reached.
    """
    crew, _ = find_place()
    if crew.size == 1:
        yield ALONE
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"process {crew.rank} of {crew.size} cannot reach the others ({error}): start all with one torchrun"
        ) from error
    # A process that ends while threads of its group run is aborted. One that failed closes the connection at its very end,
    # as the others end when they see that, and torchrun all when one ends: by then it has spoken.
    atexit.register(_disconnect)
    try:
        yield crew
        crew.meet()  # the leader may still have been writing
    except Deserted:
        crew._see_off()
        atexit.register(_leave)
        raise
    except CrewError:
        raise
    except Exception as error:
        if not crew._speaks():
            crew._see_off()
            atexit.register(_leave)
            raise Deserted("another process has failed") from error
        raise
    atexit.unregister(_disconnect)
    _disconnect()


def _disconnect() -> None:
    with suppress(RuntimeError):
        torch.distributed.destroy_process_group()


def _leave() -> None:
    """End this process, which has spoken, as one that failed: taking down connections whose other end is gone may abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
