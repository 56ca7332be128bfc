"""Every method says which paper it is, and where in that paper, or in its code, its equations stand."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAPER = re.compile(r"arXiv:\d{4}\.\d{5}")
PLACE = re.compile(
    r"Eq\. \(\d+\)|Algorithm \d|Sec\. \d|Section \d|Table \d|Appendix [A-Z]|Theorem \d"
    r"|\(github\.com/[\w.-]+/[\w.-]+, [\w/]+\.py\)"
)
NUMBERED = re.compile(r"^    \((\d+)\) ", re.M)  # an equation line of a module's head
LETTERED = re.compile(r"^    \([a-z]\) ", re.M)


def methods() -> dict[str, Path]:
    """Name -> file of every generator_loss and auxiliary_loss that this repository offers."""
    found = {}
    for project in ROOT.glob("plugins/*/pyproject.toml"):
        groups = tomllib.loads(project.read_text())["project"].get("entry-points", {})
        for kind in ("generator_loss", "auxiliary_loss"):
            for name, target in groups.get(f"distillkit.{kind}", {}).items():
                found[f"{kind} {name}"] = project.parent / (target.partition(":")[0].replace(".", "/") + ".py")
    return found


METHODS = methods()


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_file_begins_with_its_paper_and_the_places_of_its_equations(name: str) -> None:
    head = ast.get_docstring(ast.parse(METHODS[name].read_text()), clean=False)
    prose = " ".join(head.split())
    assert PAPER.search(prose) and (PLACE.search(prose) or NUMBERED.search(head)), "name the paper, and where in it"
    assert re.search(r"^    \S.* = ", head, re.M), "write the equations down"
    if NUMBERED.search(head):
        assert re.search(r"numbers? (are|is) the paper's", prose), (
            "(1), (2) ... read as the paper's: use letters for your own"
        )
    if LETTERED.search(head):
        assert re.search(r"letters are ours|Letters as in", prose), "say whose the letters (a), (b) ... are"


def test_every_method_is_looked_at() -> None:
    names = "sid sida sid2a diff-instruct dmd dmd2 realuid cd ct ect pd tract gdd gdd-i edm edm2".split()
    names += "f-distill ladd ctm ctm-gan meanflow imf scd sct rcm imm".split()
    terms = "embedding regression adversarial frechet consistency".split()
    assert set(METHODS) >= {f"generator_loss {name}" for name in names} | {f"auxiliary_loss {name}" for name in terms}
