"""Ops: the steps of a program, one per file: fields, validation, extent and reference evaluation.

Floor 3: imports the primitives, interpolation and errors. An op is a frozen record; the arrays that flow through it are
planes of shape (..., H, W) held by name.
"""

from __future__ import annotations

from lutkit_runtime.ops.add import Add
from lutkit_runtime.ops.ensemble import BodyOp, Ensemble
from lutkit_runtime.ops.lookup import Lookup
from lutkit_runtime.ops.requantise import Requantise

Op = Lookup | Add | Requantise | Ensemble

__all__ = ["Add", "BodyOp", "Ensemble", "Lookup", "Op", "Requantise"]
