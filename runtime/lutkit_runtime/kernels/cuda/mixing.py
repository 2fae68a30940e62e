# pyright: basic
"""Running matrix, blend and conversion on pictures on the GPU. Imports colour, memory and colour_mixing.

References: `ColourMatrix.transform`, `Blend.mix`, `to_unit` and `scale_to_depth`.
"""

from __future__ import annotations

import numpy as np

from lutkit_runtime.kernels.cuda.colour import count_threads, find_depth, make_like
from lutkit_runtime.kernels.cuda.colour_mixing import make_blend, make_conversion, make_matrix
from lutkit_runtime.kernels.cuda.colour_places import Depth
from lutkit_runtime.kernels.cuda.memory import Picture, Session
from lutkit_runtime.kernels.cuda.picture_walk import Layout
from lutkit_runtime.ops import ColourMatrix


def transform(session: Session, op: ColourMatrix, picture: Picture) -> Picture:
    """Return the mixed colours, float32."""
    out = make_like(session, picture)
    rows = (tuple(np.float32(number) for number in row) for row in (*op.matrix, op.offset))
    run = make_matrix(find_depth(picture), Layout(picture.channels))
    run.launch(count_threads(picture), session.stream, picture.pixels, picture.flat, *rows, out.flat)
    return out


def convert(session: Session, picture: Picture, out: Picture) -> None:
    """Write a picture at another depth: float32 as codes, or codes as float32; alpha keeps its number."""
    made, given = find_depth(out), find_depth(picture)
    if made is given:
        size = picture.pixels * picture.channels
        out.flat[:size].copy_to_device(picture.flat[:size], stream=session.stream)
        return
    run = make_conversion(given, made, Layout(picture.channels))
    run.launch(count_threads(picture), session.stream, picture.pixels, picture.flat, out.flat)


def widen(session: Session, picture: Picture) -> Picture:
    """Return a picture as float32."""
    if find_depth(picture) is Depth.FLOAT32:
        return picture
    out = make_like(session, picture)
    convert(session, picture, out)
    return out


def blend(session: Session, base: Picture, changed: Picture, amount: float) -> Picture:
    """Return base + amount (changed - base), float32."""
    # codes as float32 lie within the bounds that floats of a base are put in
    start = widen(session, base)
    out = make_like(session, start)
    finish_blend(session, start, changed, amount, out)
    return out


def finish_blend(session: Session, base: Picture, changed: Picture, amount: float, out: Picture) -> None:
    """Write base + amount (changed - base) at the depth of the base, with its alpha."""
    run = make_blend(find_depth(base), Layout(base.channels))
    run.launch(
        count_threads(base),
        session.stream,
        base.pixels,
        base.flat,
        widen(session, changed).flat,
        np.float32(amount),
        out.flat,
    )
