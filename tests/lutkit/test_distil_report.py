"""Figures and the report: what they are, that names are escaped, and that students who learn by heart are found out."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

from lutkit.colour.lut import ColourLut, identity_cube
from lutkit.colour.programs import make_lut_artefact
from lutkit.colour_metrics import delta_e76, psnr_rgb
from lutkit.distil.explained import Explained
from lutkit.distil.fidelity import Figures, PictureFigures, compare, measure
from lutkit.distil.folder import Settings
from lutkit.distil.ladder import Climbed, Outcome, Survey, climb, explain, sign
from lutkit.distil.pairs import PairFile, Pairs
from lutkit.distil.report import Report, render_json
from lutkit.distil.report_page import SCALES, Shown, choose_scale, draw_error, render_html
from lutkit.distil.rung import Fitted, Scope, Work
from lutkit.distil.teacher import Teacher
from lutkit.images import Picture, write_picture
from lutkit.run import Run
from lutkit.workbench import Watch
from lutkit_runtime.artefact import read_artefact, write_artefact

EVIL = "<script>alert('&')</script>@protocol@.png"


def draw(seed=0, shape=(40, 50, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def make_figures(*errors, name="photo"):
    return Figures(tuple(PictureFigures(f"{name}{i}", 100, error, 1.0, 2.0, 3) for i, error in enumerate(errors)))


def make_climbed(name="cube", held=4.0, seen=4.0, scope=Scope.SET):
    fitted = Fitted(make_lut_artefact(ColourLut(cube=identity_cube(3))))
    return Climbed(name, scope, fitted, make_figures(held), make_figures(seen), 1000, 1.0)


def make_survey(share=0.871, ceiling=33.0):
    one = Explained(share, ceiling, 0.9, 100)
    return Survey(one, (one, Explained(1.0, math.inf, 0.9, 10)), make_figures(100.0))


def test_figures_are_those_of_the_metrics():
    result, answer = draw(0), draw(1)
    found = compare("photo", result, answer)
    assert found.psnr == pytest.approx(psnr_rgb(result, answer))
    assert found.delta_e == pytest.approx(delta_e76(result, answer))
    assert found.largest_error == np.abs(result.astype(int) - answer).max()
    assert found.largest_delta_e > found.delta_e
    same = compare("same", result, result)
    assert same.psnr == math.inf and same.describe()["psnr"] is None and same.largest_delta_e == 0
    both = measure(lambda photo: photo, [("a", result, answer), ("b", result, result)])
    assert both.psnr == pytest.approx((found.psnr + 100) / 2)
    assert both.psnr_of_all == pytest.approx(found.psnr + 10 * math.log10(2))
    assert both.largest_error == found.largest_error
    with pytest.raises(ValueError, match="came out as"):
        compare("photo", result[:-1], answer)


def test_reasons_name_figures_and_the_next_rung():
    known = make_survey()
    low = make_climbed(held=40.0)
    line = explain(low, known, 40, "adaptive-3dlut")
    assert line == (
        f"cube: {low.held_out.psnr:.1f} dB on 1 unseen photo, 40 dB are wanted; a colour map for the whole set can explain "
        "87.1% of the variance, at best 33.0 dB over all pixels: climbing to adaptive-3dlut"
    )
    adaptive = make_climbed("adaptive-3dlut", held=40.0, scope=Scope.PICTURE)
    assert f"a colour map for each picture can reach {(33 + 100) / 2:.1f} dB at best" in explain(
        adaptive, known, 40, None
    )
    assert explain(make_climbed(held=0.1), known, 40, "more").endswith("within the tolerance of 40 dB: done")
    unknown = Survey(Explained(None, None, 0.0, 0), (), make_figures(100.0))
    assert explain(low, unknown, 40, "more").endswith("40 dB are wanted; climbing to more")


class _Rung:
    """A rung whose student does nothing."""

    def __init__(self, name):
        self.name, self.scope = name, Scope.SET

    def fit(self, work):
        artefact = make_lut_artefact(ColourLut(cube=identity_cube(3)))
        work.run.folder.mkdir(exist_ok=True)
        write_artefact(work.run.table_file, artefact, overwrite=True)
        return Fitted(artefact)


def write_pair(folder, name, photo, answer):
    pair = PairFile(name, folder / f"{name}-in.png", folder / f"{name}-out.png")
    for path, pixels in ((pair.input, photo), (pair.target, answer)):
        write_picture(path, Picture(pixels.astype(np.uint16) * np.uint16(257)))
    return pair


def test_a_student_that_knows_its_photos_by_heart_is_warned_of(tmp_path):
    """The identity meets the fitted photos exactly and the unseen one not at all."""
    fitted = write_pair(tmp_path, "seen", draw(0), draw(0))
    unseen = write_pair(tmp_path, "unseen", draw(0), draw(1))
    pairs = Pairs((fitted,), (), (unseen,), "1 photo", "1 photo")
    lines = []

    def work_on(rung):
        return Work(pairs, Run(tmp_path / rung.name), False, None, 0, lambda: None, Watch(lines.append))

    outcome = climb([_Rung("low"), _Rung("high")], work_on, make_survey(), 30, lines.append)
    assert [each.name for each in outcome.climbed] == ["low", "high"] and outcome.chosen.name == "low"
    assert lines == list(outcome.reasons)
    missed, by_heart = outcome.warnings
    assert missed.startswith("no rung is within the tolerance of 30 dB: low")
    assert "those that it was fitted to (100.0 dB)" in by_heart and "--data" in by_heart
    pairs = Pairs((fitted,), (), (fitted,), "1 photo", "1 photo")
    outcome = climb([_Rung("low"), _Rung("high")], work_on, make_survey(), 30, lines.append)
    assert [each.name for each in outcome.climbed] == ["low"] and outcome.warnings == ()


def make_report(name=EVIL):
    chosen = make_climbed()
    outcome = Outcome((chosen,), chosen, 40.0, (f"reason {name}",), (f"warning {name}",))
    teacher = Teacher(name, name, "ONNX Runtime <1>", 5, "00", lambda picture, threads: picture)
    settings = Settings(
        teacher=name, sha256="00", data=name, val=None, photos="", variants=3, longest_side=512, steps=None, seed=0
    )
    pairs = Pairs((), (), (), f"1 photos of {name}", f"1 photos of {name}")
    return Report(teacher, settings, pairs, make_survey(), outcome, name, {"teacher": None, "cube": 12.3})


def test_the_page_escapes_names_and_loads_nothing():
    photo = draw()
    figures = PictureFigures(EVIL, 2000, 3.0, 1.0, 2.0, 7)
    page = render_html(make_report(), [Shown(figures, photo, photo, photo)])
    assert "<script" not in page and page.count("&lt;script&gt;") >= 6
    # what a name holds is not taken for a word to fill, and every word is filled
    assert "&lt;/script&gt;@protocol@.png" in page
    assert not re.search(r"@[a-z]+@", page.replace("@protocol@.png", ""))
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "default-src 'none'" in page
    assert page.count("<img") == 4 + 1
    assert "87.1%" in page and "33.0 dB" in page


def test_json_is_strict_and_endless_figures_are_null():
    report = make_report()
    text = render_json(report)
    found = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert found["teacher"]["milliseconds"] is None and found["rungs"][0]["milliseconds"] == 12.3
    assert found["explained"]["by_one_map"] == {
        "share": 0.871,
        "ceiling_psnr": 33.0,
        "pixels_counted": 0.9,
        "colours": 100,
    }
    assert found["warnings"] == [f"warning {EVIL}"]


def test_the_artefact_tells_where_it_comes_from(tmp_path):
    report = make_report("teacher")
    student = sign(report.outcome.chosen, report.teacher, report.settings, report.pairs, 40.0)
    write_artefact(tmp_path / "student.h5", student)
    step = read_artefact(tmp_path / "student.h5").provenance["history"][-1]
    assert step["step"] == "distil" and step["rung"] == "cube" and step["teacher_sha256"] == "00"
    assert step["held_out_psnr"] == pytest.approx(report.outcome.chosen.held_out.psnr, abs=1e-4)


def test_error_maps_share_a_scale_that_nearly_all_errors_fit():
    small = np.zeros((20, 20), np.uint8)
    assert choose_scale([small]) == SCALES[0] == choose_scale([])
    assert choose_scale([small, small + 9]) == 16 and choose_scale([small + 255]) == 255
    outlier = small.copy()
    outlier[0, 0] = 200
    assert choose_scale([outlier]) == SCALES[0]
    drawn = draw_error(np.array([[0, 4, 8, 100]]), 8).astype(int)
    brightness = drawn.sum(axis=2)[0]
    assert brightness[0] < 30 and (np.diff(brightness[:3]) > 0).all() and brightness[3] == brightness[2]


def test_the_template_is_where_the_page_looks_for_it():
    assert (Path(render_html.__code__.co_filename).parent / "report.html").is_file()
