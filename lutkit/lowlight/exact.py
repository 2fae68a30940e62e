"""PairLIE's networks as the exact program that runs them at every pixel. Imports torch and the export of networks."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from lutkit.families.pairlie import NETWORK, PairlieConfig, build_exact
from lutkit.lowlight.networks import RetinexNetwork
from lutkit.onnx_export import export_network
from lutkit_runtime.program import Program

NOMINAL_SIDE = 32
"""Of the pictures for which the network's file is written; other sizes are derived."""


def keep_exact(network: RetinexNetwork, config: PairlieConfig) -> tuple[Program, dict[str, NDArray[Any]]]:
    """Return the program and its table, the networks' ONNX file."""
    graph = export_network(network, (1, 3, NOMINAL_SIDE, NOMINAL_SIDE))
    return build_exact(config, graph_bytes=len(graph)), {NETWORK: graph}
