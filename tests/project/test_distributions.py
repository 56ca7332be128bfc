"""What every distribution must have before it is published, in its folder; `tox -e build` looks into what was built."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import distillkit

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
THEIR_OWN = {"name", "version", "description", "readme", "dynamic", "keywords", "dependencies"}  # what may differ
THEIR_OWN |= {"optional-dependencies", "scripts", "entry-points"}


def metadata(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text())["project"]


def names(project: Path) -> str:
    return metadata(project)["name"]


def tox() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read(ROOT / "tox.ini")
    return found


each = pytest.mark.parametrize("project", PROJECTS, ids=names)


def test_there_are_twenty_three_distributions_and_their_folders_have_their_names() -> None:
    assert len(PROJECTS) == 23
    assert [project.name for project in PROJECTS[1:]] == [names(project) for project in PROJECTS[1:]]


@each
def test_a_distribution_says_who_made_it_under_which_licence_and_what_it_is(project: Path) -> None:
    found = metadata(project)
    assert found["authors"] == [{"name": "the distillkit authors"}]
    assert (found["license"], found["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert 20 < len(found["description"]) < 130 and not found["description"].endswith(".")
    assert {"diffusion", "distillation"} < set(found["keywords"]) and len(set(found["keywords"])) > 3
    assert "readme" in [*found, *found.get("dynamic", [])] and (project / "README.md").is_file()


@each
def test_what_is_no_distributions_own_is_the_same_everywhere(project: Path) -> None:
    shared = [{key: value for key, value in metadata(one).items() if key not in THEIR_OWN} for one in (ROOT, project)]
    assert shared[0] == shared[1]


@each
def test_type_checkers_are_told_that_a_package_is_typed(project: Path) -> None:
    assert (project / names(project).replace("-", "_") / "py.typed").is_file()
    assert "Typing :: Typed" in metadata(project)["classifiers"]


@each
def test_a_distribution_carries_the_licence_of_the_repository(project: Path) -> None:
    text = (ROOT / "LICENSE").read_text()
    assert (project / "LICENSE").read_text() == text
    assert "Apache License" in text and "Version 2.0, January 2004" in text and len(text) > 11_000


@each
def test_versions_are_in_lockstep(project: Path) -> None:
    version = distillkit.__version__
    major, minor = map(int, version.split(".")[:2])
    assert metadata(project)["version"] == version
    for needed in metadata(project)["dependencies"]:
        if needed.startswith("distillkit"):
            assert needed.partition(">=")[2] == f"{major}.{minor},<{major}.{minor + 1}", needed


@each
def test_a_readme_has_no_picture_or_link_that_an_index_cannot_follow(project: Path) -> None:
    text = (project / "README.md").read_text()
    if project == ROOT:  # what hatch-fancy-pypi-readme makes of it
        tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
        for rule in tables["fancy-pypi-readme"]["substitutions"]:
            text = re.sub(rule["pattern"], rule["replacement"], text)
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    assert re.findall(r"!?\[[^\]]*\]\((?!https?://|#)[^)]*\)", text) == []


def test_tox_installs_every_distribution_and_nothing_that_is_not_pinned() -> None:
    lines = tox()["testenv"]["deps"].split("\n")
    editable = {line.removeprefix("-e ") for line in lines if line.startswith("-e ")}
    assert editable == {str(project.relative_to(ROOT)) for project in PROJECTS}
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text(), re.M))
    assert {line for line in lines if line and line[0] != "-"} <= set(pins)


def test_the_classifiers_name_pythons_that_tox_can_test() -> None:
    named = {match[1] for line in metadata(ROOT)["classifiers"] if (match := re.search(r":: (3\.\d+)$", line))}
    section = next(name for name in tox().sections() if name.startswith("testenv:py3"))
    tested = {f"3.{minor}" for minor in section.partition("{")[2].rstrip("}").split(",")}
    assert metadata(ROOT)["requires-python"] == ">=3.11" and {"3.11"} <= named <= tested
