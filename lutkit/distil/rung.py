"""What a rung of the ladder is, and what it gives. Imports the runtime's artefacts and pairs."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lutkit.distil.pairs import Pairs
from lutkit.run import Run
from lutkit.workbench import Watch
from lutkit_runtime.artefact import Artefact


class Scope(enum.Enum):
    """What a student can tell apart besides colours, and so treat differently."""

    SET = "set"
    """Nothing: one colour map for all pictures."""
    PICTURE = "picture"
    """Pictures: a colour map for each."""
    PLACE = "place"
    """Places in a picture."""


@dataclass(frozen=True)
class Work:
    """What a rung is given.

    Parameters
    ----------
    pairs : Pairs
    run : Run
        The rung's own folder, in which it may keep what it needs to go on after an interruption.
    resume : bool
        Go on with what lies there.
    steps : int or None
        Of training; None is the family's own number.
    seed : int
    choose_device : callable
        Returns the torch device to train on.
    watch : Watch
    """

    pairs: Pairs
    run: Run
    resume: bool
    steps: int | None
    seed: int
    choose_device: Callable[[], Any]
    watch: Watch


@dataclass(frozen=True)
class Fitted:
    """A student.

    Parameters
    ----------
    artefact : Artefact
    notes : mapping
        What is worth knowing about the fit, as JSON values; of cubes, cells that no photo visited.
    """

    artefact: Artefact
    notes: Mapping[str, Any] = field(default_factory=dict)


class Rung(Protocol):
    """A kind of student."""

    @property
    def name(self) -> str:
        """As people choose it."""
        ...

    @property
    def scope(self) -> Scope:
        """What its students can tell apart."""
        ...

    def fit(self, work: Work) -> Fitted:
        """Return the student that comes nearest to the teacher's answers."""
        ...
