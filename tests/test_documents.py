"""The pages about families and training: their example runs, their tables say what the presets are."""

import itertools
import json
import re
import sys
import types
from pathlib import Path

import contract
import msgspec
import numpy as np
import pytest
from fast_backends import FAST_BACKENDS
from small_training import write_photos

from lutkit.configuration import RunConfig
from lutkit.families import FAMILIES, adaptive_3dlut, find_family
from lutkit_runtime.engine import Model

DOCS = Path(__file__).resolve().parents[1] / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.fixture
def example(monkeypatch):
    """The family of docs/adding-a-family.md, added as the page says."""
    code, *_ = re.findall(r"```python\n(\"\"\"Duo.*?)```", read("adding-a-family.md"), re.DOTALL)
    module = types.ModuleType("lutkit.families.duo")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "docs/adding-a-family.md", "exec"), module.__dict__)
    monkeypatch.setitem(FAMILIES, "duo", module.__name__)
    return module


def test_the_example_of_a_family_trains_transfers_and_runs(example, tmp_path, monkeypatch):
    """Its case for the contract tests is the one that the page gives."""
    torch = pytest.importorskip("torch")
    from lutkit.run import Run
    from lutkit.train import train
    from lutkit.transfer import transfer
    from lutkit.workbench import TransferOptions, Watch

    monkeypatch.setenv("LUTKIT_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    family = find_family("duo")
    assert family is example
    for recipe in family.presets.values():
        recipe.validate()
    entry = re.search(r'```python\n"duo": lambda: (.*?),\n```', read("adding-a-family.md"))[1]
    case = eval(entry, vars(contract))
    photos = write_photos(tmp_path / "photos", count=3, side=32)
    config = RunConfig(family="duo", model=case.config, recipe=case.recipe, data=str(photos))
    run = Run(tmp_path / "run")
    train(run, config, torch.device("cpu"), Watch(say=lambda _line: None))
    artefact, fidelity = transfer(run, run.read_config(), TransferOptions())
    assert fidelity.images == 1
    assert contract.bench_of(family.workbench).measure_transfer(run, config, artefact) <= 0.501
    model = Model(artefact.program, artefact.tables)
    picture = contract.make_picture(9, 7, "uint8")
    results = {model.apply(picture, backend=name).tobytes() for name in FAST_BACKENDS}
    assert len(results) == 1 and len(results.pop()) == 18 * 14 * 3


def test_the_list_of_families_in_the_example_is_the_one_in_use():
    block = re.search(r"FAMILIES: dict\[str, str\] = \{(.*?)\}", read("adding-a-family.md"), re.DOTALL)[1]
    listed = dict(re.findall(r'"([^"]+)": "([^"]+)"', block))
    assert listed.pop("duo") == "lutkit.families.duo"
    assert listed == FAMILIES


def say(value) -> str:
    """Return a field of a recipe as the table has it."""
    low, high = value if isinstance(value, tuple) else (value, None)
    shown = np.format_float_positional(low, trim="-")
    return shown if high is None else f"{shown} to {np.format_float_positional(high, trim='-')}"


def test_the_table_of_recipes_for_colours_says_what_the_presets_are():
    section = read("training.md").split("\n## Recipes for colours\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| ")]
    assert rows[0][0] == "field of `recipe`"
    names = ("quick", "quick-unpaired", "paper", "paper-unpaired", "finetune")
    presets = [adaptive_3dlut.presets[name] for name in names]
    seen = set()
    for first, *cells in rows[1:]:
        names = re.findall(r"`(\w+)`", first)
        for recipe, cell in zip(presets, cells, strict=False):
            values = [say(getattr(recipe, name)) for name in names]
            found = re.sub(r"(?<=\d) (?=\d{3})", "", cell).replace("the same", values[0])
            assert found in ("", ", ".join(values)), (first, cell)
        seen.update(names)
    assert seen >= set(adaptive_3dlut.QUICK.__struct_fields__) - {"warmup", "validate_every", "average"}


def read_table(page: str, first: str) -> list[list[str]]:
    """Return the rows of the table of a page whose head begins with a cell, without the head."""
    lines = iter(read(page).splitlines())
    head = next(line for line in lines if line.startswith(f"| {first} |"))
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines))[1:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in [head, *rows]]
    assert all(len(row) == len(cells[0]) for row in cells)
    return cells[1:]


def list_fields(config, under="") -> dict[str, object]:
    """Return the fields of a configuration; those of a record within it as `record.field`, the record itself as well."""
    fields = {}
    for field in config.__struct_fields__:
        value = getattr(config, field)
        fields[f"{under}{field}"] = value
        if isinstance(value, msgspec.Struct):
            fields |= list_fields(value, f"{under}{field}.")
    return fields


@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_of_a_familys_configuration_says_what_its_defaults_are(name):
    """Every field but the task has a row; a cell holds the default, and what `quick` has in its place."""
    family = find_family(name)
    defaults, quick = list_fields(family.defaults), list_fields(family.configure("quick", None))
    seen = set()
    for first, cell, _ in read_table(f"families/{name}.md", "field of `model`"):
        shown, _, aside = cell.partition(";")
        plain, among = re.split(r" \(", shown)[0].strip("`"), re.fullmatch(r" (\S.*) with `quick`", aside)
        for field in re.findall(r"`([\w.]+)`", first):
            seen.add(field)
            if isinstance(defaults[field], msgspec.Struct):
                assert plain == "as below", field
                continue
            default = msgspec.to_builtins(defaults[field])
            assert plain in (default, json.dumps(default), f"{default:g}" if isinstance(default, float) else None), (
                field
            )
            if among:
                assert among[1].strip("`()[]") == f"{quick[field]}".removesuffix(".0").strip("()"), field
                assert quick[field] != defaults[field], field
            else:
                assert not aside and quick[field] == defaults[field], field
    assert seen | {"scale"} == {field for field in defaults if field.split(".")[-1] != "task"} | {"scale"}


@pytest.mark.parametrize(
    ("name", "left_out"),
    [("tiny-lut", {"phases"}), ("hdrnet", {"content", "gradient_penalty", "critic_steps"})],
)
def test_the_table_of_a_familys_recipes_says_what_the_presets_are(name, left_out):
    presets = find_family(name).presets
    rows = read_table(f"families/{name}.md", "field of `recipe`")
    for first, *cells in rows:
        field = first.strip("`")
        for preset, cell in zip(("quick", "paper", "finetune"), cells, strict=True):
            assert cell.replace(" ", "") == say(getattr(presets[preset], field)).replace(" ", ""), (field, preset)
    assert {first.strip("`") for first, *_ in rows} == set(presets["quick"].__struct_fields__) - left_out


@pytest.mark.parametrize("name", ["pairlie", "s3net"])
def test_the_tables_of_recipes_of_networks_and_their_grids_say_what_the_presets_are(name):
    """`finetune` and what networks are compiled by are recipes for colours; the page names the fields that count there."""
    presets = find_family(name).presets
    quick, paper, finetune = (presets[key] for key in ("quick", "paper", "finetune"))
    rows = read_table(f"families/{name}.md", "field of `recipe`")
    for first, *cells, _ in rows:
        for recipe, cell in zip((quick, paper), cells, strict=True):
            value = getattr(recipe, first.strip("`"))
            assert cell == ("none" if value is None else say(value)), first
    assert {first.strip("`") for first, *_ in rows} == set(quick.__struct_fields__) - {"compiling"}
    assert quick.compiling == paper.compiling
    rows = read_table(f"families/{name}.md", "field of `recipe.compiling`")
    for first, *cells in rows:
        for recipe, cell in zip((quick.compiling, finetune), cells, strict=True):
            assert cell == say(getattr(recipe, first.strip("`"))), first
    named = {first.strip("`") for first, *_ in rows}
    silent = {
        "brightness": (1.0, 1.0),
        "saturation": (1.0, 1.0),
        "smoothness": 0.0,
        "monotonicity": 0.0,
        "average": 0.0,
    }
    for recipe in (quick.compiling, finetune):
        assert {field: getattr(recipe, field) for field in silent} == silent
    assert named | set(silent) | {"table_rate", "content", "gradient_penalty", "critic_steps"} == set(
        finetune.__struct_fields__
    )


def find_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as sites that render Markdown make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_to_pages_and_sections(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            name, _, section = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page.name} links {link}"
            assert not section or section in find_anchors(target), f"{page.name} links {link}"
