"""README and its neighbours: what they name exists, and the two commands of a newcomer stand first."""

import re
from pathlib import Path

import pytest

from lutkit.cli.group import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_first_two_blocks_are_the_commands_of_a_newcomer():
    first, second = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[:2]
    picture = re.search(r"lutkit apply (\S+)", first)[1]
    assert (ROOT / picture).is_file()
    assert "train" not in first
    assert "[train,dev]" in second
    assert "constraints.txt" in second
    assert "pytest" in second


def test_every_command_that_is_named_exists():
    named = set(re.findall(r"lutkit ([a-z]+)\b", "\n".join(re.findall(r"```.*?```|`[^`]+`", README, re.DOTALL))))
    assert {"train", "transfer", "finetune", "apply"} <= named
    assert named <= COMMANDS.keys()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
