# pyright: basic
"""How threads walk over interleaved pictures, four samples at a time: pieces of kernels. Imports four_samples.

A picture of three samples per pixel is done four pixels at a time, which are three accesses; what is left, pixel by
pixel. One of four samples is done pixel by pixel; its alpha goes along. Every thread takes one piece after another, as
far apart as there are threads: what a block prepares for itself serves many pixels.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import device_function
from lutkit_runtime.kernels.cuda.four_samples import load_four, store_four

_I = np.int32


class Layout(enum.Enum):
    """Samples of a pixel."""

    RGB = 3
    RGBA = 4


def make_walk(layout: Layout, change: Any, pass_alpha: Any) -> Any:
    """Return a device function that changes a picture.

    It takes the thread's number and how many there are, the number of pixels, the samples, what else `change` needs (a
    tuple), and the result.

    Parameters
    ----------
    layout : Layout
        Of the picture and of the result.
    change : device function
        Takes the three samples of a pixel and the tuple; returns three samples of the result.
    pass_alpha : device function
        Returns a sample as one of the result.
    """

    @device_function
    def walk_quads(thread, threads, pixels, samples, rest, out):
        quads = _I(pixels >> _I(2))
        quad = thread
        while quad < quads:
            at = _I(quad * _I(12))
            r0, g0, b0, r1 = load_four(samples, at)
            g1, b1, r2, g2 = load_four(samples, _I(at + _I(4)))
            b2, r3, g3, b3 = load_four(samples, _I(at + _I(8)))
            x0, y0, z0 = change(r0, g0, b0, rest)
            x1, y1, z1 = change(r1, g1, b1, rest)
            x2, y2, z2 = change(r2, g2, b2, rest)
            x3, y3, z3 = change(r3, g3, b3, rest)
            store_four(out, at, x0, y0, z0, x1)
            store_four(out, _I(at + _I(4)), y1, z1, x2, y2)
            store_four(out, _I(at + _I(8)), z2, x3, y3, z3)
            quad = _I(quad + threads)
        pixel = _I(_I(quads << _I(2)) + thread)
        while pixel < pixels:
            at = _I(pixel * _I(3))
            x0, y0, z0 = change(samples[at], samples[_I(at + _I(1))], samples[_I(at + _I(2))], rest)
            out[at], out[_I(at + _I(1))], out[_I(at + _I(2))] = x0, y0, z0
            pixel = _I(pixel + threads)

    @device_function
    def walk_pixels(thread, threads, pixels, samples, rest, out):
        pixel = thread
        while pixel < pixels:
            at = _I(pixel << _I(2))
            r, g, b, alpha = load_four(samples, at)
            x, y, z = change(r, g, b, rest)
            store_four(out, at, x, y, z, pass_alpha(alpha))
            pixel = _I(pixel + threads)

    return walk_quads if layout is Layout.RGB else walk_pixels


def make_walk_over_two(layout: Layout, change: Any) -> Any:
    """Return a device function that makes one picture of two, as `make_walk`; alpha is that of the first.

    It takes the second picture, float32, after the samples. `change` takes three samples of each and the tuple.
    """

    @device_function
    def walk_quads(thread, threads, pixels, samples, others, rest, out):
        quads = _I(pixels >> _I(2))
        quad = thread
        while quad < quads:
            at = _I(quad * _I(12))
            second, third = _I(at + _I(4)), _I(at + _I(8))
            r0, g0, b0, r1 = load_four(samples, at)
            g1, b1, r2, g2 = load_four(samples, second)
            b2, r3, g3, b3 = load_four(samples, third)
            u0, v0, w0, u1 = load_four(others, at)
            v1, w1, u2, v2 = load_four(others, second)
            w2, u3, v3, w3 = load_four(others, third)
            x0, y0, z0 = change(r0, g0, b0, u0, v0, w0, rest)
            x1, y1, z1 = change(r1, g1, b1, u1, v1, w1, rest)
            x2, y2, z2 = change(r2, g2, b2, u2, v2, w2, rest)
            x3, y3, z3 = change(r3, g3, b3, u3, v3, w3, rest)
            store_four(out, at, x0, y0, z0, x1)
            store_four(out, second, y1, z1, x2, y2)
            store_four(out, third, z2, x3, y3, z3)
            quad = _I(quad + threads)
        pixel = _I(_I(quads << _I(2)) + thread)
        while pixel < pixels:
            at = _I(pixel * _I(3))
            green, blue = _I(at + _I(1)), _I(at + _I(2))
            x0, y0, z0 = change(
                samples[at], samples[green], samples[blue], others[at], others[green], others[blue], rest
            )
            out[at], out[green], out[blue] = x0, y0, z0
            pixel = _I(pixel + threads)

    @device_function
    def walk_pixels(thread, threads, pixels, samples, others, rest, out):
        pixel = thread
        while pixel < pixels:
            at = _I(pixel << _I(2))
            r, g, b, alpha = load_four(samples, at)
            u, v, w, _ = load_four(others, at)
            x, y, z = change(r, g, b, u, v, w, rest)
            store_four(out, at, x, y, z, alpha)
            pixel = _I(pixel + threads)

    return walk_quads if layout is Layout.RGB else walk_pixels
