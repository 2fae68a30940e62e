# pyright: basic
"""The CUDA kernels of a bilateral slice. Imports bilateral_guide, bilateral_cells, colour_places and four_samples.

The reference is `BoundSlice.finish` and `BoundSlice.slice`, with `Blend.mix` after them on demand. A block takes a few
rows of a run: neighbouring columns of the picture that lie between the same two columns of the grid. It mixes the grid
along rows once for each row and keeps that run's cells in its own memory; then its threads do four pixels at a time.
`VARIANTS` makes the kernels of all kinds.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.bilateral_cells import ALIGNMENT, CELL, ROOM, join_cells, map_four
from lutkit_runtime.kernels.cuda.bilateral_guide import find_guides, find_level, saturate
from lutkit_runtime.kernels.cuda.colour_places import Depth, make_alpha, make_base, make_finish, mix
from lutkit_runtime.kernels.cuda.compiling import Kernel, cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.four_samples import load_four, store_four
from lutkit_runtime.kernels.cuda.picture_walk import Layout

RUN_FIELDS = 3
"""Of a run: the column of the grid before it, its first column of the picture, and the one after its last."""

MARGIN = 3
"""Fractions before and after those of a row: four pixels that are read at once may begin or end in another row."""

_I, _U, _W = np.int32, np.uint32, np.uint64


def _make_change(depth: Depth, made: Depth) -> Any:
    """Return a device function: what becomes of four pixels, given as samples of red, of green and of blue."""
    base, finish = make_base(depth), make_finish(made)
    is_bounded = depth is not Depth.FLOAT32

    @device_function
    def start_four(samples):
        return base(samples[0]), base(samples[1]), base(samples[2]), base(samples[3])

    @device_function
    def see_four(units):
        if is_bounded:
            return units
        return saturate(units[0]), saturate(units[1]), saturate(units[2]), saturate(units[3])

    @device_function
    def finish_four(start, values, amount, blends):
        one, two, three, four = values
        if blends:
            one, two = mix(start[0], one, amount), mix(start[1], two, amount)
            three, four = mix(start[2], three, amount), mix(start[3], four, amount)
        return finish(one), finish(two), finish(three), finish(four)

    @device_function
    def change(reds, greens, blues, xs, row, rest):
        cells, depth, guide, amount, blends = rest
        reds, greens, blues = start_four(reds), start_four(greens), start_four(blues)
        guides = find_guides(see_four(reds), see_four(greens), see_four(blues), guide)
        level0, z0 = find_level(guides[0], depth)
        level1, z1 = find_level(guides[1], depth)
        level2, z2 = find_level(guides[2], depth)
        level3, z3 = find_level(guides[3], depth)
        first, size = _I(_I(row * max(_I(depth - _I(1)), _I(1))) * _I(CELL)), _I(CELL)
        spots = (
            _I(first + _I(level0 * size)),
            _I(first + _I(level1 * size)),
            _I(first + _I(level2 * size)),
            _I(first + _I(level3 * size)),
        )
        zs = z0, z1, z2, z3
        return (
            finish_four(reds, map_four(cells, spots, _I(0), xs, zs, reds, greens, blues), amount, blends),
            finish_four(greens, map_four(cells, spots, _I(1), xs, zs, reds, greens, blues), amount, blends),
            finish_four(blues, map_four(cells, spots, _I(2), xs, zs, reds, greens, blues), amount, blends),
        )

    return change


def _make_walk_over_quads(change: Any) -> Any:
    """Return a device function that does a run of a row, four neighbouring pixels at a time: three samples each.

    Memory is reached at multiples of four pixels from the first of the picture. Where a run begins or ends between two
    of them, both runs compute these four, and each keeps its own.
    """

    @device_function
    def load_twelve(samples, pixel, pixels):
        at = _I(pixel * _I(3))
        if _I(pixel + _I(4)) <= pixels:
            r0, g0, b0, r1 = load_four(samples, at)
            g1, b1, r2, g2 = load_four(samples, _I(at + _I(4)))
            b2, r3, g3, b3 = load_four(samples, _I(at + _I(8)))
        else:
            last = _I(_I(pixels - _I(1)) * _I(3))
            next_at, third_at = min(_I(at + _I(3)), last), min(_I(at + _I(6)), last)
            r0, g0, b0 = samples[_U(at)], samples[_U(at + _I(1))], samples[_U(at + _I(2))]
            r1, g1, b1 = samples[_U(next_at)], samples[_U(next_at + _I(1))], samples[_U(next_at + _I(2))]
            r2, g2, b2 = samples[_U(third_at)], samples[_U(third_at + _I(1))], samples[_U(third_at + _I(2))]
            r3, g3, b3 = r2, g2, b2
        return (r0, r1, r2, r3), (g0, g1, g2, g3), (b0, b1, b2, b3)

    @device_function
    def store_pixel(out, pixel, begin, end, red, green, blue):
        if begin <= pixel and pixel < end:
            at = _I(pixel * _I(3))
            out[_U(at)], out[_U(at + _I(1))], out[_U(at + _I(2))] = red, green, blue

    @device_function
    def walk(samples, pixels, width, fractions, top, count, first, last, rest, out):
        misfit = _I(3) if width & _I(3) else first & _I(3)
        quads = _I(_I(_I(last - first) + _I(misfit + _I(3))) >> _I(2))
        row, place = _I(0), _I(cuda.threadIdx.x)
        while True:
            while place >= quads and row < count:
                row, place = _I(row + _I(1)), _I(place - quads)
            if row >= count:
                break
            line = _I(_I(top + row) * width)
            begin, end = _I(line + first), _I(line + last)
            pixel = _I(_I(_I(begin >> _I(2)) + place) << _I(2))
            if pixel < end:
                reds, greens, blues = load_twelve(samples, pixel, pixels)
                at = _W(_I(_I(pixel - line) + _I(MARGIN)))
                xs = (
                    fractions[at],
                    fractions[_W(at + _W(1))],
                    fractions[_W(at + _W(2))],
                    fractions[_W(at + _W(3))],
                )
                reds, greens, blues = change(reds, greens, blues, xs, row, rest)
                if begin <= pixel and _I(pixel + _I(4)) <= end:
                    to = _I(pixel * _I(3))
                    store_four(out, to, reds[0], greens[0], blues[0], reds[1])
                    store_four(out, _I(to + _I(4)), greens[1], blues[1], reds[2], greens[2])
                    store_four(out, _I(to + _I(8)), blues[2], reds[3], greens[3], blues[3])
                else:
                    store_pixel(out, pixel, begin, end, reds[0], greens[0], blues[0])
                    store_pixel(out, _I(pixel + _I(1)), begin, end, reds[1], greens[1], blues[1])
                    store_pixel(out, _I(pixel + _I(2)), begin, end, reds[2], greens[2], blues[2])
                    store_pixel(out, _I(pixel + _I(3)), begin, end, reds[3], greens[3], blues[3])
            place = _I(place + _I(cuda.blockDim.x))

    return walk


def _make_walk_over_pixels(change: Any, pass_alpha: Any) -> Any:
    """Return a device function that does a run of a row, four pixels at a time: four samples each, alpha last.

    The four lie a quarter of the run apart, so that neighbouring threads reach neighbouring pixels.
    """

    @device_function
    def walk(samples, pixels, width, fractions, top, count, first, last, rest, out):
        length = _I(last - first)
        quarter = _I(_I(length + _I(3)) >> _I(2))
        row, place = _I(0), _I(cuda.threadIdx.x)
        while True:
            while place >= quarter and row < count:
                row, place = _I(row + _I(1)), _I(place - quarter)
            if row >= count:
                break
            second, third = _I(place + quarter), _I(_I(place + quarter) + quarter)
            fourth, most = _I(third + quarter), _I(length - _I(1))
            begin = _I(_I(_I(top + row) * width) + first)
            r0, g0, b0, alpha0 = load_four(samples, _I(_I(begin + place) << _I(2)))
            # what is beyond the run is read as its last pixel, and not kept
            r1, g1, b1, alpha1 = load_four(samples, _I(_I(begin + min(second, most)) << _I(2)))
            r2, g2, b2, alpha2 = load_four(samples, _I(_I(begin + min(third, most)) << _I(2)))
            r3, g3, b3, alpha3 = load_four(samples, _I(_I(begin + min(fourth, most)) << _I(2)))
            at = _I(first + _I(MARGIN))
            xs = (
                fractions[_U(at + place)],
                fractions[_U(at + min(second, most))],
                fractions[_U(at + min(third, most))],
                fractions[_U(at + min(fourth, most))],
            )
            reds, greens, blues = change((r0, r1, r2, r3), (g0, g1, g2, g3), (b0, b1, b2, b3), xs, row, rest)
            store_four(out, _I(_I(begin + place) << _I(2)), reds[0], greens[0], blues[0], pass_alpha(alpha0))
            if second < length:
                store_four(out, _I(_I(begin + second) << _I(2)), reds[1], greens[1], blues[1], pass_alpha(alpha1))
            if third < length:
                store_four(out, _I(_I(begin + third) << _I(2)), reds[2], greens[2], blues[2], pass_alpha(alpha2))
            if fourth < length:
                store_four(out, _I(_I(begin + fourth) << _I(2)), reds[3], greens[3], blues[3], pass_alpha(alpha3))
            place = _I(place + _I(cuda.blockDim.x))

    return walk


@functools.cache
def make_slice(depth: Depth, layout: Layout, finishes: bool) -> Kernel:
    """Return the kernel of a bilateral slice; its blocks take one task after another, however many there are.

    Its arguments, after the number of threads: samples, rows and columns of the piece; the grid, its rows, columns and
    depth; for every row of the piece the row of the grid before it, and the fraction; runs, see `RUN_FIELDS`, and how
    many; for every column the fraction, between two `MARGIN`; how many rows a task has; of the guide, four numbers for
    each curve, the rows of the curves, how many curves and of how many entries, the rows of the last curve and its
    entries; a share of the result, the
    rest being what the samples were, and whether that is so; the result.

    Parameters
    ----------
    depth : Depth
        Of the samples.
    layout : Layout
    finishes : bool
        The result has the depth of the samples; else it is float32, with the alpha as it was.
    """
    made = depth if finishes else Depth.FLOAT32
    change = _make_change(depth, made)
    walk = _make_walk_over_quads(change) if layout is Layout.RGB else _make_walk_over_pixels(change, make_alpha(made))

    @kernel(
        f"{depth.value}[::1], int32, int32, float32[::1], int32, int32, int32, int32[::1], float32[::1], int32[::1], "
        "int32, float32[::1], int32, float32[::1], float32[::1], int32, int32, float32[::1], int32, float32, int32, "
        f"{made.value}[::1]",
        name=f"bilateral slice, {layout.name} {depth.value} to {made.value}",
    )
    def slice_colours(
        count,
        samples,
        height,
        width,
        grid,
        rows,
        columns,
        depth,
        row_cells,
        row_fractions,
        runs,
        run_count,
        fractions,
        rows_at_once,
        mix,
        curves,
        curve_count,
        entries,
        result,
        result_entries,
        amount,
        blends,
        out,
    ):
        cells = cuda.shared.array(ROOM, np.float32, ALIGNMENT)
        rest = (cells, depth, (mix, curves, curve_count, entries, result, result_entries), amount, blends)
        pixels = _I(height * width)
        tasks = _U(_U(_U(_I(height + rows_at_once) - _I(1)) // _U(rows_at_once)) * _U(run_count))
        task = _U(cuda.blockIdx.x)
        while task < tasks:
            band = _U(task // _U(run_count))
            run = _U(_U(task - _U(band * _U(run_count))) * _U(RUN_FIELDS))
            column, first, last = runs[run], runs[_U(run + _U(1))], runs[_U(run + _U(2))]
            top = _I(_I(band) * rows_at_once)
            here = min(rows_at_once, _I(height - top))
            join_cells(grid, (rows, columns, depth), row_cells, row_fractions, top, here, column, cells)
            cuda.syncthreads()
            walk(samples, pixels, width, fractions, top, here, first, last, rest, out)
            cuda.syncthreads()
            task = _U(task + _U(cuda.gridDim.x))

    return slice_colours


VARIANTS = tuple(
    functools.partial(make_slice, depth, layout, finishes)
    for depth, layout, finishes in itertools.product(Depth, Layout, (True, False))
    if finishes or depth is not Depth.FLOAT32
)
