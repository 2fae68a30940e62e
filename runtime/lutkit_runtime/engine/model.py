"""Model: a program with its tables, ready to be applied to images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lutkit_runtime.bilateral import Place
from lutkit_runtime.engine.backends import Backend, Runner, find_backend
from lutkit_runtime.engine.colour import ColourRunner, ColoursOnHost, check_colours, gather_pictures
from lutkit_runtime.engine.conversion import Image, Piece, check_image, has_alpha, make_result, scale_alpha, to_codes
from lutkit_runtime.engine.streaming import AHEAD, apply_to_all
from lutkit_runtime.engine.tiling import cut_image
from lutkit_runtime.errors import InputError
from lutkit_runtime.kernels.cuda.device import is_device_array
from lutkit_runtime.ops import Network
from lutkit_runtime.ops.network import TILE_SIDE
from lutkit_runtime.program import Colour, Program, Tables

if TYPE_CHECKING:
    from lutkit_runtime.engine.cuda_colours import ColoursOnDevice
    from lutkit_runtime.engine.cuda_planes import ChannelsOnDevice

Progress = Callable[[int, int], None]
"""Called after every tile with the number of tiles done and in all."""


class Model:
    """A program with its tables; may be used from several threads.

    Parameters
    ----------
    program : Program
    tables : mapping of slot name to array (entries, outputs)
        One for every slot; they must not change while the model is in use.
    provenance : mapping, optional
        Where the tables come from; for people.

    Raises
    ------
    ProgramError
        Where the program is inconsistent or the tables do not fit it.
    """

    def __init__(self, program: Program, tables: Tables, provenance: Mapping[str, Any] | None = None) -> None:
        program.validate()
        program.validate_tables(tables)
        self.program = program
        self.tables: Tables = MappingProxyType({slot: tables[slot] for slot in program.slots})
        self.provenance: Mapping[str, Any] = MappingProxyType(dict(provenance or {}))
        self._runners: dict[str, Runner] = {}
        self._colour_runners: dict[str, ColourRunner] = {}
        self._preparing = threading.Lock()

    def __repr__(self) -> str:
        """Return family, task and scale."""
        return f"<Model {self.program.family} {self.program.task} x{self.program.scale}>"

    @property
    def scale(self) -> int:
        """Enlargement of the image in each direction."""
        return self.program.scale

    def prepare(self, backend: str = "auto") -> None:
        """Make ready what a backend needs, so that faults of the model show before a picture is there.

        Raises
        ------
        BackendError
            Where the backend is unknown or cannot run on this machine.
        ArtefactError
            Where a network of the model cannot be read.
        """
        chosen = find_backend(backend)
        if self.program.colour is Colour.RGB:
            self._prepare_colours(chosen)
        else:
            self._prepare(chosen)

    def apply(
        self,
        image: Image,
        *,
        threads: int | None = None,
        backend: str = "auto",
        tile: int | None = None,
        progress: Progress | None = None,
        on_compile: Callable[[], None] | None = None,
        out: Any = None,
        stream: Any = None,
        **named: Any,
    ) -> Any:
        """Run the model on an image.

        Parameters
        ----------
        image : uint8, uint16 or float32 array, (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)
            Gray, gray and alpha, RGB, or RGB and alpha. uint8 has codes 0 to 255, uint16 0 to 65535; float32 is
            clipped to 0 and 1. A program for each channel works in 8 bits: other depths are rounded to it and come
            back from it. A program for colours needs three of them and works at the image's own depth; floats may lie
            outside 0 to 1, in the result too, and not a number counts as the lowest colour.
            An image on the GPU, which is whatever has ``__cuda_array_interface__`` (torch, CuPy, numba-cuda; any
            strides), stays there, and so does the result.
        threads : int, optional
            How many threads may compute; all cores by default. More than there are count as all.
        backend : str
            ``auto``, ``numpy``, ``cpu`` or ``cuda``. All give the same bytes.
        tile : int, optional
            Side in pixels of the tiles that the image is cut into. The default keeps the scratch near 100 MB. The
            result does not depend on it.
        progress : callable, optional
            Called after every tile with the number of tiles done and in all.
        on_compile : callable, optional
            Called once, without arguments, before the first kernel that has to be compiled (a few seconds; later
            processes load it instead).
        out : array, optional
            Where the result goes: of its shape and type, in C order, and apart from `image` and what stands beside it; on
            the GPU where the image is, then with any strides.
        stream : stream or int, optional
            For images on the GPU: the CUDA stream of any library, or its address. By default the one that is current in
            torch or CuPy where the image is theirs, else the default stream. Nothing waits for the kernels, except that
            images of floats are looked through for what is no number, and pictures with a network or with an alpha to be
            enlarged are copied to this machine's memory.
        **named : float or array
            Parameters of the program by name, such as ``strength=0.5``; `Program.parameters` has defaults and ranges.
            What a program needs beside the image, such as ``depth=``; `Program.companions` names them: uint8, uint16 or
            float32, of the image's height and width, (H, W) or with as many channels as the program says; beside an image
            on the GPU they may lie there, too.

        Returns
        -------
        array of the same type and channels, (H * scale, W * scale[, channels])
            Alpha is enlarged bilinearly at its own depth. `out` where it is given; for an image on the GPU a torch tensor
            or CuPy array where the image is one, else a device array of numba-cuda.

        Raises
        ------
        InputError
            Where the image, what is given beside it, `threads`, `tile` or `out` cannot be used: wrong type or shape, no
            pixels; gray for a program for colours; NaN or infinity for one for each channel. Where something that the
            program needs beside the image is missing.
        BackendError
            Where the backend is unknown or cannot run on this machine.
        ProgramError
            Where the model has no such parameter, or not that value of it.
        ArtefactError
            Where a network of the model cannot be read, or cannot be run on the image.
        """
        for name, value in (("threads", threads), ("tile", tile)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; use 1 or more")
        if is_device_array(image):
            return self._apply_on_device(image, threads, backend, tile, progress, on_compile, out, stream, named)
        chosen = find_backend(backend)
        check_image(image, finite=self.program.colour is not Colour.RGB)
        parameters, companions = self._sort(named)
        if self.program.colour is Colour.RGB:
            check_colours(image.shape)
            pictures = gather_pictures(self.program, image, companions)
            return self._apply_colours(image, pictures, chosen, threads, tile, parameters, progress, on_compile, out)
        scale = self.scale
        height, width = image.shape[:2]
        out = make_result(image, scale, out)
        tiles = cut_image(height, width, self.program.halo, tile, chosen.pixels_per_tile)
        run = self._prepare(chosen)
        with chosen.announcing(on_compile):
            for done, (rows, columns) in enumerate(tiles, 1):
                run(to_codes(image[rows.read, columns.read]), threads, Piece(out, rows, columns, scale))
                if progress is not None:
                    progress(done, len(tiles))
        if has_alpha(image):
            scale_alpha(image, scale, out)
        return out

    def _sort(self, named: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
        """Return the value of every parameter, and what was given beside the image, by name.

        Raises ProgramError for what the program does not know.
        """
        companions = {each.name for each in self.program.companions}
        chosen = {name: value for name, value in named.items() if name not in companions}
        return self.program.fill_parameters(chosen), {name: named[name] for name in named if name in companions}

    def _apply_colours(
        self,
        image: Image,
        pictures: Mapping[str, Image],
        backend: Backend,
        threads: int | None,
        tile: int | None,
        parameters: Mapping[str, float],
        progress: Progress | None,
        on_compile: Callable[[], None] | None,
        out: Image | None,
    ) -> Image:
        out = make_result(image, 1, out)
        for name in sorted(pictures.keys() - {self.program.input}):
            if np.may_share_memory(pictures[name], out):  # networks read it while `out` is filled
                raise InputError(f"out overlaps {name}; give an array of its own")
        image = pictures[self.program.input]
        height, width = image.shape[:2]
        if tile is None and any(isinstance(op, Network) and not op.is_global for op in self.program.ops):
            tile = TILE_SIDE
        tiles = cut_image(height, width, 0, tile, backend.pixels_per_tile)
        with backend.announcing(on_compile):
            run = self._prepare_colours(backend).prepare(pictures, parameters)
            for done, (rows, columns) in enumerate(tiles, 1):
                place = Place(rows.first, columns.first, height, width)
                run(image[rows.read, columns.read], place, out[rows.read, columns.read], threads)
                if progress is not None:
                    progress(done, len(tiles))
        return out

    def stream(
        self,
        frames: Iterable[Image],
        *,
        threads: int | None = None,
        backend: str = "auto",
        tile: int | None = None,
        ahead: int = AHEAD,
        on_compile: Callable[[], None] | None = None,
        **named: Any,
    ) -> Generator[Image, None, None]:
        """Run the model on one image after another, such as the frames of a video, in constant memory.

        The result of every frame is what `apply` makes of it alone, byte for byte; a model that looks at the picture
        first looks at every frame. Frames may differ in size and type. Results are new arrays, the caller's own.

        Parameters
        ----------
        frames : iterable of arrays
            As for `apply`. A thread fetches (and so decodes) them ahead; the model runs in the caller's thread.
        ahead : int
            Frames that wait at most; 0 fetches each when its result is asked for, without a thread.
        threads, backend, tile, on_compile, **named
            As for `apply`; what is given beside the image is given beside every frame.

        Returns
        -------
        generator of arrays
            Closing it before its end (`contextlib.closing`) ends the thread.

        Raises
        ------
        InputError, BackendError, ProgramError
            As `apply`: at once where the backend, a parameter, `ahead` or `frames` cannot be used, otherwise with the
            result that it concerns. What `frames` raises is raised where the frame would have come.
        """
        self.prepare(backend)
        self._sort(named)
        run = partial(self.apply, threads=threads, backend=backend, tile=tile, on_compile=on_compile, **named)
        return apply_to_all(run, frames, ahead)

    def _apply_on_device(
        self,
        image: Any,
        threads: int | None,
        backend: str,
        tile: int | None,
        progress: Progress | None,
        on_compile: Callable[[], None] | None,
        out: Any,
        stream: Any,
        named: Mapping[str, Any],
    ) -> Any:
        """Run the model on an image that lies on the GPU, where what stands beside it may lie, too."""
        if backend not in ("auto", "cuda"):
            raise InputError(f"image lies on the GPU, where backend '{backend}' cannot read it: use the backend cuda")
        chosen = find_backend("cuda")
        from lutkit_runtime.engine.cuda_images import (
            ResultOnDevice,
            apply_channels,
            apply_colours,
            download_companion,
            download_image,
            use_gpu_of,
        )

        filled, companions = self._sort(named)
        scale = self.scale
        with use_gpu_of(image), chosen.announcing(on_compile):
            result = ResultOnDevice(image, scale, out, stream)
            if self.program.colour is Colour.RGB:
                check_colours(result.shape)
                beside = {name: download_companion(name, each, result.stream) for name, each in companions.items()}
                runner = self._prepare_colours(chosen)
                runs_on_host = isinstance(runner, ColoursOnHost)
                is_seen = runs_on_host or any(op.is_global for op in self.program.ops)
                seen = download_image(result.given, result.stream) if is_seen else result.given
                pictures = gather_pictures(self.program, seen, beside)
                if runs_on_host:
                    made = self._apply_colours(seen, pictures, chosen, threads, tile, filled, progress, None, None)
                    result.fill(made)
                else:
                    apply_colours(cast("ColoursOnDevice", runner), result, pictures, filled)
            else:
                channels = cast("ChannelsOnDevice", self._prepare(chosen))
                apply_channels(channels, result, scale, self.program.halo, tile, chosen.pixels_per_tile, progress)
            return result.hand_out()

    def adapt(self, image: Image, **companions: Image) -> dict[str, Any]:
        """Return what the model makes of a whole picture before it changes a pixel: predicted weights, fused tables, grids.

        Parameters
        ----------
        image : uint8, uint16 or float32 array, (H, W, 3) or (H, W, 4)
        **companions : array
            What the program needs beside the image, as for `apply`.

        Returns
        -------
        dict of name to float32 array
            Vectors (length,), tables (size**3, 3) and grids (rows, columns, depth, 12); empty for models that do not
            look at the picture first.

        Raises
        ------
        InputError
            Where the image cannot be used, or the model is not one for colours.
        """
        if self.program.colour is not Colour.RGB:
            raise InputError("the model works on each channel by itself; it adapts nothing to a picture")
        check_image(image, finite=False)
        check_colours(image.shape)
        pictures = gather_pictures(self.program, image, companions)
        return self._prepare_colours(find_backend("numpy")).evaluate_global(pictures)

    def _prepare(self, backend: Backend) -> Runner:
        with self._preparing:
            if backend.name not in self._runners:
                self._runners[backend.name] = backend.prepare(self.program, self.tables)
            return self._runners[backend.name]

    def _prepare_colours(self, backend: Backend) -> ColourRunner:
        with self._preparing:
            if backend.name not in self._colour_runners:
                self._colour_runners[backend.name] = backend.prepare_colours(self.program, self.tables)
            return self._colour_runners[backend.name]


def load(path: Path | str) -> Model:
    """Read the artefact at `path` and return its model.

    Raises
    ------
    ArtefactError
        Where the file is missing, damaged, hostile or from a newer schema.
    """
    from lutkit_runtime.artefact import read_artefact

    artefact = read_artefact(Path(path))
    return Model(artefact.program, artefact.tables, artefact.provenance)
