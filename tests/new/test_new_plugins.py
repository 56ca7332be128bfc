"""A plugin of every kind, as generated: it installs without a network, keeps its contract and runs its toy recipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distillkit.api import KINDS
from distillkit.cli.main import main

RUN_ALL = """
import os, sys
from distillkit.cli.main import main
for recipe in sys.argv[1:]:
    os.chdir(os.path.dirname(os.path.dirname(recipe)))
    print("exit code", main(["run", recipe]), recipe, flush=True)
"""


def name_of(kind: str) -> str:
    return f"trial-{kind.replace('_', '-')}"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a distribution per kind, and `site` where pip installed them all."""
    folder = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        assert main(["new", name_of(kind), "--kind", kind, "--to", str(folder)]) == 0
    made = sorted(str(path) for path in folder.glob("distillkit-trial-*"))
    options = ["-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *made], check=True, capture_output=True)
    return folder


def python(world: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    more = {"PYTHONPATH": str(world / "site"), "OMP_NUM_THREADS": "1", "DISTILLKIT_HOME": str(world / "home")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=world, env=os.environ | more, capture_output=True, text=True, check=False)


def test_every_kind_has_all_that_a_distribution_needs(world):
    for kind in KINDS:
        top = world / f"distillkit-{name_of(kind)}"
        module = f"distillkit_{name_of(kind).replace('-', '_')}"
        names = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file() and "build" not in path.parts}
        assert names == {
            "pyproject.toml", "README.md", f"{module}/__init__.py", f"{module}/{kind}.py",
            f"tests/test_{module}.py", "recipes/toy.toml",
            *([f"recipes/toy.{name_of(kind)}"] if kind == "importer" else []),
            *(["recipes/teacher.toml"] if kind in ("adapter", "teacher_score") else []),
        }  # fmt: skip


def test_they_keep_their_contracts(world):
    tests = sorted(str(path) for path in world.glob("distillkit-trial-*/tests"))
    done = python(world, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_their_toy_recipes_run(world):
    recipes = sorted(str(path) for path in world.glob("distillkit-trial-*/recipes/toy.toml"))
    done = python(world, "-c", RUN_ALL, *recipes)
    told = [line for line in done.stdout.splitlines() if line.startswith("exit code")]
    assert told == [f"exit code 0 {recipe}" for recipe in recipes], done.stderr[-4000:]


def test_they_are_listed_with_their_summary_and_explained_with_their_keys(world):
    listed = python(world, "-m", "distillkit", "plugins").stdout
    for kind in KINDS:
        (line,) = [line for line in listed.splitlines() if line.startswith(name_of(kind))]
        assert "(no docstring)" not in line
    page = python(world, "-m", "distillkit", "plugins", name_of("sample")).stdout
    assert "noise level of the first call" in page
