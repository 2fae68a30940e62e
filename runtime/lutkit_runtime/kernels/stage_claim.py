"""What one kernel can do at once: a stage of parallel lookups under the rotation ensemble, summed and requantised.

Floor 4: imports the ops, the primitives and stage_bands. The reference is `Ensemble.reference` followed by
`Requantise.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.stage_bands import count_rows
from lutkit_runtime.ops import Add, Ensemble, Lookup, ReconstructedConvolution, Requantise
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.padding import Padding

MAX_LOOKUPS = 16

LARGEST_UNIT = 256
"""Sort keys hold fractions of a unit in 8 bits."""

EXACT_SUM = 1 << 24
EXACT_DIVISOR = 1 << 15
"""The kernel divides in float32 and rounds half to even. That is exact while sum and bias are float32 integers and no
quotient below 256 can fall onto a tie: it lies 1 / (2 divisor) or more from the next one, and float32 errs by 2**-17.
"""


@dataclass(frozen=True)
class Stage:
    """A run of two ops that one kernel can do: an ensemble of lookups, and the requantisation of its sum.

    The lookups read the ensemble's plane, or the codes that a reconstructed convolution makes of it.

    Parameters
    ----------
    input, output : str
        Names of the plane that the ensemble reads and of the one that the requantisation makes.
    lookups : tuple of Lookup
        1 to 16 of one block size, padding and interpolation; patterns, lattices and inputs may differ.
    factors : tuple of int
        What each lookup is multiplied by in the sum: powers of two that bring all steps to one unit.
    convolutions : tuple of ReconstructedConvolution
        Those that lookups read.
    requantise : Requantise
    """

    input: str
    output: str
    lookups: tuple[Lookup, ...]
    factors: tuple[int, ...]
    convolutions: tuple[ReconstructedConvolution, ...]
    requantise: Requantise

    @property
    def block(self) -> int:
        """Output pixels per input pixel in each direction."""
        return self.lookups[0].block

    @property
    def unit(self) -> int:
        """Sum of the weights of every lookup."""
        return self.factors[0] * self.lookups[0].step

    @property
    def padding(self) -> Padding:
        """What the patterns see outside the plane."""
        return self.lookups[0].padding

    @property
    def interpolation(self) -> Interpolation:
        """How values between nodes are formed."""
        return self.lookups[0].interpolation

    @property
    def largest_sum(self) -> int:
        """Bound of the magnitude of the sum over lookups and turns."""
        return TURNS * sum(factor * op.largest for factor, op in zip(self.factors, self.lookups, strict=True))

    @property
    def reach(self) -> int:
        """Largest distance of any sample from its pixel under any rotation, in the plane that the lookup reads."""
        return max(lookup.pattern.reach for lookup in self.lookups)

    @property
    def reads_input(self) -> bool:
        """Whether a lookup reads the ensemble's plane itself."""
        return any(lookup.input == self.input for lookup in self.lookups)

    @property
    def sources(self) -> int:
        """Number of planes that lookups read for each plane of the input: a convolution makes one per turn."""
        return int(self.reads_input) + TURNS * len(self.convolutions)

    def source(self, lookup: Lookup, turns: int) -> int:
        """Return which of the `sources` a lookup reads under a turn: the input comes first, then map after map."""
        if lookup.input == self.input:
            return 0
        maps = [op.output for op in self.convolutions]
        return int(self.reads_input) + TURNS * maps.index(lookup.input) + turns


def claim_stage(ensemble: Ensemble, requantise: Requantise) -> Stage | None:
    """Return the fused stage that equals these two ops, or None where the kernel cannot do them."""
    lookups = tuple(op for op in ensemble.body if isinstance(op, Lookup))
    convolutions = tuple(op for op in ensemble.body if isinstance(op, ReconstructedConvolution))
    rest = [op for op in ensemble.body if not isinstance(op, Lookup | ReconstructedConvolution)]
    plain = requantise.makes_codes and (requantise.low, requantise.high, requantise.residual) == (0, 255, None)
    if not plain or requantise.input != ensemble.output or not 1 <= len(lookups) <= MAX_LOOKUPS:
        return None
    if any(op.input != ensemble.input for op in convolutions):
        return None
    if {op.input for op in lookups} - {ensemble.input} != {op.output for op in convolutions}:
        return None
    last = ensemble.body[-1]
    match rest:
        case [] if last is lookups[0]:
            factors = {last.output: 1}
        case [Add() as add] if add is last and sorted(add.terms) == sorted(op.output for op in lookups):
            factors = dict(zip(add.terms, add.factors, strict=True))
        case _:
            return None
    if len(factors) != len(lookups) or not _are_alike(lookups, factors):
        return None
    ordered = tuple(factors[op.output] for op in lookups)
    stage = Stage(ensemble.input, requantise.output, lookups, ordered, convolutions, requantise)
    fits = (
        stage.largest_sum + abs(requantise.bias) <= EXACT_SUM
        and requantise.divisor <= EXACT_DIVISOR
        and all(count_rows(op) * op.block**2 < 2**31 for op in lookups)
    )
    return stage if fits else None


def _are_alike(lookups: tuple[Lookup, ...], factors: dict[str, int]) -> bool:
    """Return whether one pass can do all lookups."""
    kinds = {(op.block, op.padding, op.interpolation) for op in lookups}
    units = {factors[op.output] * op.step for op in lookups}
    powers = all(factor.bit_count() == 1 for factor in factors.values())
    # a vertex of SR-LUT's branch may have a weight where the band ends
    apart = all(op.diagonal is None or op.interpolation is Interpolation.SIMPLEX for op in lookups)
    return apart and powers and len(kinds) == len(units) == 1 and units.pop() <= LARGEST_UNIT
