"""Recipes: how parameters are optimised. Imports errors and msgspec; no torch."""

from __future__ import annotations

import math

import msgspec

from lutkit_runtime.errors import DataError


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every recipe says: Adam, with warm-up and a cosine schedule.

    Parameters
    ----------
    steps : int
    batch : int
        Patches or pictures per step.
    learning_rate, final_rate : float
        Adam's step size at the start and at the end.
    warmup : int
        Steps over which the step size rises linearly.
    validate_every : int
        Steps between validations, each of which writes a checkpoint too.
    average : float
        Decay of the running average of the parameters that is validated and kept; 0 keeps the parameters themselves.
    """

    steps: int
    batch: int
    learning_rate: float
    final_rate: float
    warmup: int = 0
    validate_every: int = 500
    average: float = 0.0

    def validate(self) -> None:
        """Raise DataError where a number is out of range."""
        for field in ("steps", "batch", "validate_every"):
            if getattr(self, field) < 1:
                raise DataError(f"recipe has {field} = {getattr(self, field)}; it must be at least 1")
        if self.warmup < 0:
            raise DataError(f"recipe has warmup = {self.warmup}; it must be at least 0")
        if not 0 < self.learning_rate <= 1 or not 0 <= self.final_rate <= self.learning_rate:
            raise DataError(
                f"recipe has learning rates {self.learning_rate} to {self.final_rate}; they must fall within 0 to 1"
            )
        if not 0 <= self.average < 1:
            raise DataError(f"recipe has average = {self.average}; it must be at least 0 and below 1")

    def interval_at(self, step: int) -> int | None:
        """Return the interval of the lattice that is trained at a step; None where there is none."""
        return None


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a training run.

    Parameters
    ----------
    share : float
        Part of all steps, relative to the other phases.
    interval : int or None
        The networks are evaluated at the nodes of a lattice of this interval, and the tables that result run in place
        of the networks, so that training sees what the table will do. None evaluates the networks at every sample.
    """

    share: float = 1.0
    interval: int | None = None


class Recipe(Schedule, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How spatial tables and the networks behind them are optimised: on the mean squared error, for values in [-1, 1].

    Parameters
    ----------
    crop : int
        Side of a patch before enlargement in pixels.
    phases : tuple of Phase
        For networks only.
    """

    crop: int
    phases: tuple[Phase, ...] = (Phase(),)

    def validate(self) -> None:
        """Raise DataError where a number is out of range."""
        Schedule.validate(self)
        if self.crop < 1:
            raise DataError(f"recipe has crop = {self.crop}; it must be at least 1")
        if not self.phases or not all(0 < phase.share < math.inf for phase in self.phases):
            raise DataError("recipe needs at least one phase, each with a finite share above 0")
        for phase in self.phases:
            if phase.interval is not None and not 0 <= phase.interval <= 8:
                raise DataError(f"recipe has a phase at interval {phase.interval}; 0 to 8 are possible")

    def interval_at(self, step: int) -> int | None:
        """Return the interval of the phase that a step (from 0) belongs to."""
        total = sum(phase.share for phase in self.phases)
        passed = 0.0
        for phase in self.phases:
            passed += phase.share / total * self.steps
            if step < round(passed):
                return phase.interval
        return self.phases[-1].interval


Range = tuple[float, float]


class ColourRecipe(Schedule, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How image-adaptive 3D LUTs are optimised (Zeng et al., TPAMI 2020, sections 3.3 and 4.1, and released code).

    Parameters
    ----------
    smoothness : float
        Weight of the total variation of the basis tables and of the mean square of the predicted weights.
    monotonicity : float
        Weight of decreasing steps in the basis tables.
    table_rate : float
        Learning rate of the basis tables as a part of the network's.
    longest_side : int
        Pictures with a longer side are reduced to it when they are read; 0 keeps them.
    crop_ratio : two floats
        Height and width of a crop, each as a part of the picture's, drawn between these.
    flip : float
        Probability of a mirrored crop.
    brightness, saturation : two floats
        Factors drawn between these for the input alone; saturation leaves XYZ pictures alone.
    content : float
        Unpaired: weight of the mean squared difference between output and *input*.
    gradient_penalty : float
        Unpaired: weight of the penalty of WGAN-GP (Gulrajani et al., NeurIPS 2017).
    critic_steps : int
        Unpaired: updates of the critic for one of the generator.
    """

    smoothness: float = 1e-4
    monotonicity: float = 10.0
    table_rate: float = 1.0
    longest_side: int = 0
    crop_ratio: Range = (0.6, 1.0)
    flip: float = 0.5
    brightness: Range = (0.8, 1.2)
    saturation: Range = (0.8, 1.2)
    content: float = 1000.0
    gradient_penalty: float = 10.0
    critic_steps: int = 1

    def validate(self) -> None:
        """Raise DataError where a number is out of range."""
        Schedule.validate(self)
        if not 0 < self.table_rate < math.inf:
            raise DataError(f"recipe has table_rate = {self.table_rate}; a finite number above 0 is needed")
        for field in ("smoothness", "monotonicity", "content", "gradient_penalty", "longest_side"):
            if not 0 <= getattr(self, field) < math.inf:
                raise DataError(f"recipe has {field} = {getattr(self, field)}; it must be finite and at least 0")
        for field in ("crop_ratio", "brightness", "saturation"):
            low, high = getattr(self, field)
            if not 0 < low <= high < math.inf:
                raise DataError(f"recipe has {field} from {low} to {high}; ascending numbers above 0 are needed")
        if self.crop_ratio[1] > 1 or not 0 <= self.flip <= 1:
            raise DataError(
                f"recipe has crop_ratio up to {self.crop_ratio[1]} and flip {self.flip}; at most 1 is possible"
            )
        if self.critic_steps < 1:
            raise DataError(f"recipe has critic_steps = {self.critic_steps}; it must be at least 1")


class ExposureRecipe(Schedule, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How networks learn from two exposures of a scene, and how grids learn from them (Fu et al., CVPR 2023, section 4.1).

    Parameters
    ----------
    crop : int
        Side of a crop in pixels, the same of both exposures.
    flip : float
        Probability that both are mirrored; published: none are.
    longest_side : int
        Pictures with a longer side are reduced to it when they are read; 0 keeps them.
    cleaning_rate, reflectance_rate : float
        Learning rates of the networks that clean and that find reflectance, as parts of `learning_rate`, which is that of
        the one that finds illumination.
    compiling : ColourRecipe
        How the grids of the compiled form learn what the networks answer.
    answers : int
        Dark pictures, at most, to which they learn the networks' answers.
    """

    crop: int
    compiling: ColourRecipe
    flip: float = 0.0
    longest_side: int = 640
    cleaning_rate: float = 0.02
    reflectance_rate: float = 0.2
    answers: int = 96

    def validate(self) -> None:
        """Raise DataError where a number is out of range."""
        Schedule.validate(self)
        self.compiling.validate()
        if self.crop < SMALLEST_CROP:
            raise DataError(f"recipe has crop = {self.crop}; it must be at least {SMALLEST_CROP}")
        if not 0 <= self.flip <= 1:
            raise DataError(f"recipe has flip = {self.flip}; 0 to 1 is needed")
        if not 0 <= self.longest_side < math.inf:
            raise DataError(
                f"recipe has longest_side = {self.longest_side}; it must be at least 0, which keeps the size"
            )
        for field in ("cleaning_rate", "reflectance_rate"):
            if not 0 < getattr(self, field) <= MOST_OF_RATE:
                raise DataError(
                    f"recipe has {field} = {getattr(self, field)}; above 0 to {MOST_OF_RATE} is possible, and 1 is "
                    "learning_rate itself"
                )
        if self.answers < 1:
            raise DataError(f"recipe has answers = {self.answers}; it must be at least 1")


SMALLEST_CROP = 8
MOST_OF_RATE = 100


class RelightingRecipe(Schedule, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a relighting network is trained, and how grids learn from it (Yang et al., CVPR workshops 2021, section 4).

    Parameters
    ----------
    side : int
        Of the pictures in pixels, a multiple of 32.
    compiling : ColourRecipe
        How the grid of the compiled form learns what the network answers.
    charbonnier, wavelet, perceptual : float
        Weights of the parts of the loss; the last one counts where `vgg` is given.
    vgg, encoder : str or None
        Files of weights, trained on ImageNet, of VGG19 and of Res2Net-101 v1b 26w 4s.
    smallest_share : float
        Squares of this share to all of a picture's shorter side are cut out.
    scenes : int
        How many are generated where no data are given.
    answers : int
        Pictures to which the network's answers are learned by the grid.
    """

    side: int
    compiling: ColourRecipe
    charbonnier: float = 1.0
    wavelet: float = 1.1
    perceptual: float = 0.1
    vgg: str | None = None
    encoder: str | None = None
    smallest_share: float = 1.0
    scenes: int = 80
    answers: int = 400

    def validate(self) -> None:
        """Raise DataError where a number is out of range."""
        Schedule.validate(self)
        self.compiling.validate()
        if self.side < 32 or self.side % 32:
            raise DataError(f"recipe has side = {self.side}; a multiple of 32 is needed")
        for field in ("charbonnier", "wavelet", "perceptual"):
            if not 0 <= getattr(self, field) < math.inf:
                raise DataError(f"recipe has {field} = {getattr(self, field)}; it must be finite and at least 0")
        if not 0 < self.smallest_share <= 1:
            raise DataError(f"recipe has smallest_share = {self.smallest_share}; above 0 to 1 is possible")
        if self.scenes < 4 or self.answers < 4:
            raise DataError(f"recipe has scenes = {self.scenes} and answers = {self.answers}; at least 4 are needed")
