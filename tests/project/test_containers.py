"""Dockerfile and conda recipe ask for what the distributions ask for; neither is built here, and both say so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import distillkit

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
RECIPE = (ROOT / "conda/recipe.yaml").read_text()
CONDA_NAMES = {"torch": "pytorch"}
PROJECTS = [
    tomllib.loads(path.read_text()) for path in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml"))
]


def asked(lines: list[str]) -> dict[str, tuple[int, ...]]:
    """Names and least versions, the highest of each: {"torch": (2, 10)}."""
    found: dict[str, tuple[int, ...]] = {}
    for line in lines:
        name, least = re.fullmatch(r"([\w-]+)(?: *>=([\d.]+))?.*", line).groups()  # type: ignore[union-attr]
        version = tuple(map(int, (least or "0").split(".")))
        found[name] = max(found.get(name, (0,)), version)
    return found


def test_the_conda_recipe_wants_what_the_distributions_want() -> None:
    wanted = asked([line for project in PROJECTS for line in project["project"]["dependencies"]])
    ours = {project["project"]["name"] for project in PROJECTS}
    wanted = {CONDA_NAMES.get(name, name): least for name, least in wanted.items() if name not in ours}
    run = re.search(r"\n  run:\n((?:    - .*\n)+)", RECIPE)
    assert run
    told = asked([line.strip("- ") for line in run[1].splitlines() if "- python " not in line])
    assert told == wanted
    assert f'version: "{distillkit.__version__}"' in RECIPE
    assert PROJECTS[0]["project"]["requires-python"] == ">=" + re.search(r'python_min: "(.*)"', RECIPE)[1]  # type: ignore[index]


def test_what_a_container_is_made_of_is_there_and_let_through() -> None:
    let = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [name for name in let if not (ROOT / name).exists()] == []
    hatch = PROJECTS[0]["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {name.strip("/") for name in hatch} <= set(let)
    assert set(re.findall(r"^COPY (\S+) \./$", DOCKERFILE, re.M)) == {"constraints.txt"} < set(let)
    assert "ARG BASE=" in DOCKERFILE and "ARG TORCH_INDEX=" in DOCKERFILE


def test_both_say_at_their_top_that_they_were_not_built() -> None:
    assert DOCKERFILE.startswith("# Not built where it was written") and RECIPE.startswith("# Not built where it was")
    told = re.sub(r"\s+", " ", (ROOT / "docs/index.md").read_text())
    assert "`Dockerfile` and `conda/recipe.yaml`" in told and "neither was built" in told
