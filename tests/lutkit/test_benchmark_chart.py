"""The chart of a benchmark: every row has a bar of its length, in a panel of its case."""

import io
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from lutkit.benchmark import Contender, Timing
from lutkit.benchmark.chart import render_chart
from lutkit.benchmark.rows import Case, Verdict, tabulate

pytest.importorskip("matplotlib")


def make_rows(title: str, medians: tuple[float, ...]) -> list:
    contenders = tuple(Contender(("lutkit", "Other & more")[number % 2], 1, int) for number in range(len(medians)))
    timings = [Timing(median, median, median, median, 1) for median in medians]
    case = Case(title, 1_000_000, contenders, lambda _contender, _result: Verdict(None, None))
    return tabulate(case, contenders, timings, [Verdict(None, None, "differs")] * len(medians), {}, "machine")


@pytest.mark.parametrize("medians", [(1.0, 2.0), (0.001, 4000.0), (3.0,)])
def test_svg_names_cases_engines_and_times(medians: tuple[float, ...]) -> None:
    data = render_chart(make_rows("a case <1>", medians) + make_rows("another", (5.0, 6.0)), ".svg")
    ElementTree.fromstring(data)
    # text is drawn as paths, with what it says in a comment
    text = data.decode()
    logarithmic = max(medians) > 12 * min(medians)
    assert ("a case &lt;1&gt; (logarithmic)" in text or "a case <1> (logarithmic)" in text) == logarithmic
    assert "another" in text
    assert "5 ms, 1 thr." in text


def test_png_is_a_picture_with_lutkit_in_blue() -> None:
    with Image.open(io.BytesIO(render_chart(make_rows("a case", (1.0, 2.0)), ".png"))) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
        assert picture.width > 600
    assert (0x9E, 0xCA, 0xE8) in colours
    assert (0xD4, 0xD4, 0xD4) in colours
