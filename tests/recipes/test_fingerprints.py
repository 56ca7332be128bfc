"""Shipped recipes stay what they are, or the CHANGELOG says that they changed.

fingerprints.json has a section for each time that any changed: name -> fingerprint and hash of the resolved tables. The
first is never edited. To change a recipe on purpose, add what the first test prints to the section "Unreleased", and to
the CHANGELOG, under the heading of that name, a line `- Fingerprints: NAME, NAME ...` (`*` stands for anything).
"""

from __future__ import annotations

import hashlib
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from distillkit.recipe import Recipe, fingerprint, used_numerics
from distillkit.recipe.fingerprint import decisive
from distillkit.registry import Catalog

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("fingerprints.json")
SHOWN = ("device", "threads", "keep_checkpoints", "checkpoint_kimg", "tick_kimg", "grid")  # of [run]
FIRST = "8d0c7b7011c84bec"  # of the first section


def sections() -> dict[str, dict[str, str]]:
    return json.loads(FILE.read_text())


def expected() -> dict[str, str]:
    """What each recipe is now: as the last section says that names it."""
    return {name: entry for section in sections().values() for name, entry in section.items()}


def digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The tables as they were in the first release, what is in no fingerprint included."""
    shown = {key: getattr(recipe.run, key) for key in SHOWN if getattr(recipe.run, key) is not None}
    found = decisive(recipe)
    return {**found, "run": {**found["run"], **shown}}


def entries(shipped: dict[str, Recipe]) -> dict[str, str]:
    """Name -> fingerprint and hash of the resolved tables."""
    catalog, prints = Catalog.installed(), {}

    def print_of(name: str) -> str:
        if name not in prints:
            recipe = shipped[name]
            parents = {file: print_of(Path(file).stem) for file in recipe.starts_from.values()}
            prints[name] = fingerprint(recipe, parents, used_numerics(recipe, catalog))
        return prints[name]

    return {name: f"{print_of(name)} {digest(resolved(recipe))}" for name, recipe in shipped.items()}


def missing_lines(sections: dict[str, dict[str, str]], changelog: str) -> list[str]:
    """`section: name` of every later entry that no line `- Fingerprints:` under that heading names."""
    found = []
    for title, section in list(sections.items())[1:]:
        _, _, rest = changelog.partition(f"\n## [{title}]")
        lines = re.findall(r"^- Fingerprints: (.*(?:\n  .*)*)", rest.partition("\n## [")[0], re.M)
        patterns = re.findall(r"[\w*]+", " ".join(lines))
        found += [f"{title}: {name}" for name in section if not any(fnmatchcase(name, one) for one in patterns)]
    return found


def test_every_shipped_recipe_is_what_it_was(shipped: dict[str, Recipe]) -> None:
    now, before = entries(shipped), expected()
    assert set(before) <= set(now), "a shipped recipe is gone"
    changed = {name: entry for name, entry in now.items() if before.get(name) != entry}
    assert not changed, f'by accident, or a new line of the section "Unreleased": {json.dumps(changed, indent=2)}'


def test_the_first_section_is_the_one_of_the_first_release() -> None:
    title, section = next(iter(sections().items()))
    assert (title, len(section), digest(section)) == ("0.1.0", 180, FIRST), "changes go into a section of their own"


def test_what_changed_is_named_in_the_changelog() -> None:
    assert not missing_lines(sections(), (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("changelog", "missing"),
    [
        ("\n## [0.2.0]\n- Fingerprints: digits_a,\n  afhq_*: because\n", []),
        ("\n## [0.2.0]\n- Fingerprints: digits_a\n", ["0.2.0: afhq_b"]),
        ("\n## [0.2.0]\n- digits_a and afhq_b are faster\n", ["0.2.0: digits_a", "0.2.0: afhq_b"]),
        ("\n## [0.2.0]\n## [0.1.0]\n- Fingerprints: *\n", ["0.2.0: digits_a", "0.2.0: afhq_b"]),
    ],
)
def test_a_change_without_its_line_is_found(changelog: str, missing: list[str]) -> None:
    assert missing_lines({"0.1.0": {"x": ""}, "0.2.0": {"digits_a": "", "afhq_b": ""}}, changelog) == missing
