"""Programs for each channel on the GPU, for planes in this machine's memory. Imports the CUDA kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.engine.conversion import Piece
from lutkit_runtime.kernels.cuda.memory import PerGpu, Planes, Pool, download, upload
from lutkit_runtime.kernels.cuda.program import DeviceProgram
from lutkit_runtime.program import Program, Tables


class ChannelsOnDevice:
    """A program for each channel with its tables on the GPU; may be used from several threads.

    Parameters
    ----------
    program : Program
    tables : mapping of slot name to table
    """

    def __init__(self, program: Program, tables: Tables) -> None:
        self.pool = Pool()
        self._programs = PerGpu(lambda: DeviceProgram(program.ops, program.input, program.output, tables))
        self._programs.get()

    @property
    def program(self) -> DeviceProgram:
        """The program on the current GPU."""
        return self._programs.get()

    def __call__(self, codes: NDArray[np.uint8], threads: int | None, piece: Piece) -> None:
        """Run the program on planes of codes (colours, H, W) and fill the piece; `threads` are the GPU's own."""
        stream: Any = 0
        colours, height, width = codes.shape
        with self.pool.session(stream) as session:
            given = Planes(upload(codes, stream), colours, 1, height, width)
            made = self.program.run(session, given)
            result = download(made, stream)
        piece.store(result[:, 0])
