"""CITATION.cff: the fields that its format requires, and each paper whose method is here."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import distillkit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CITATION.cff").read_text()
HEAD, _, REFERENCES = TEXT.partition("references:\n")
ENTRIES = [entry for entry in re.split(r"^  - ", REFERENCES, flags=re.M) if entry]
LINE = re.compile(r'^ *((- )?[a-z-]+:( "[^"]+"| [\w.-]+)?|- "[^"]+")$')


def test_every_line_is_a_key_with_at_most_one_plain_or_quoted_value() -> None:
    assert [line for line in TEXT.splitlines() if not LINE.match(line)] == []


def test_the_software_has_what_the_format_requires() -> None:
    keys = dict(re.findall(r'^([a-z-]+): "?([^"\n]*)"?$', HEAD, re.M))
    assert (keys["cff-version"], keys["type"], keys["title"]) == ("1.2.0", "software", "distillkit")
    assert (keys["version"], keys["license"]) == (distillkit.__version__, "Apache-2.0") and keys["message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", keys["date-released"])
    assert 'authors:\n  - name: "the distillkit authors"\n' in HEAD


def test_every_reference_has_what_the_format_requires_and_its_number() -> None:
    for entry in ENTRIES:
        number = re.search(r'value: "arXiv:(\d{4}\.\d{5})"', entry)[1]
        assert entry.startswith("type: article\n    title: ") and f'url: "https://arxiv.org/abs/{number}"' in entry
        assert re.search(r'authors:\n      - (family-names: ".+"\n        given-names|name): ".+"', entry)
        assert re.search(r"^    year: 20\d\d$", entry, re.M)[0][-2:] == number[:2]


def test_every_method_has_a_paper_of_its_head_cited() -> None:
    cited = set(re.findall(r'value: "arXiv:([\d.]+)"', REFERENCES))
    for project in ROOT.glob("plugins/*/pyproject.toml"):
        groups = tomllib.loads(project.read_text())["project"].get("entry-points", {})
        for kind in ("generator_loss", "auxiliary_loss"):
            for name, target in groups.get(f"distillkit.{kind}", {}).items():
                path = project.parent / (target.partition(":")[0].replace(".", "/") + ".py")
                named = re.findall(r"arXiv:\s*(\d{4}\.\d{5})", ast.get_docstring(ast.parse(path.read_text())))
                assert cited & set(named), f"{kind} {name}: cite one of {', '.join(named)}"
