"""The shipped recipes as files: short, made of parts, listed, and found by name wherever one is."""

from __future__ import annotations

import fnmatch
import re
import runpy
from pathlib import Path

import pytest

from distillkit.recipe import read, shipped
from distillkit.recipe.collection import Listed, listed, picked
from distillkit.recipe.load import files, load

RECIPES = Path(__file__).parents[2] / "recipes"
ALL = sorted(path.stem for path in RECIPES.glob("*.toml"))
PARTS = sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.glob("parts/*/*.toml"))


@pytest.fixture(scope="module")
def recipes() -> list[Listed]:
    return listed()


def test_they_are_those_of_the_checkout() -> None:
    assert shipped.folder() == RECIPES and shipped.names() == ALL


@pytest.mark.parametrize("name", [*ALL, *PARTS])
def test_a_file_is_short_and_plain(name: str) -> None:
    text = (RECIPES / f"{name}.toml").read_text()
    assert text.isascii() and len(text.splitlines()) <= 50 and max(map(len, text.splitlines())) <= 120
    if name in ALL and name.endswith("_el"):
        assert re.search(r'extends = \["\w+.toml", "parts/loss/embedding\w*.toml"\]', text) or "uncond" in name
        assert len(text.splitlines()) <= 12


def test_every_part_is_of_use() -> None:
    used = {file.resolve() for name in ALL for file in files(RECIPES / f"{name}.toml")}
    assert {RECIPES / f"{name}.toml" for name in PARTS} <= used


def test_the_embedding_loss_is_written_once() -> None:
    """A change of its default is one edit."""
    having = [path for path in RECIPES.rglob("*.toml") if 'use = "embedding"' in path.read_text()]
    assert having == [RECIPES / "parts/loss/embedding.toml"]
    assert sum("parts/loss/embedding" in str(files(RECIPES / f"{name}.toml")) for name in ALL) == 138


def test_every_recipe_says_what_it_is(recipes: list[Listed]) -> None:
    for one in recipes:
        about = one.about
        assert about.data and about.images and about.method and about.paper and about.runs_on, one.name
        assert (about.loss == "embedding") == one.name.endswith("_el"), one.name
        assert one.name.startswith(f"{about.data}_"), one.name
        assert about.source is None or about.fid is not None, one.name


def test_a_number_without_a_further_loss_is_none_of_the_recipe_with_it(recipes: list[Listed]) -> None:
    fids = {one.name: one.about.published for one in recipes}
    assert fids["afhq_sid"] == "FID 1.628 (README of the authors' code)" and fids["afhq_sid_el"] == ""
    assert fids["afhq_sid2a_el"] == "FID 1.26 (figures of its paper)"


@pytest.mark.parametrize(
    ("data", "method", "names"),
    [
        ("afhq", "gdd", ["afhq_gdd", "afhq_gdd_el"]),
        ("cifar10", "di", [f"cifar10_{c}_di{el}" for c in ("cond", "uncond") for el in ("", "_el")]),
        ("AFHQv2", "GDD-I", ["afhq_gdd_i", "afhq_gdd_i_el"]),
        ("nowhere", None, []),
    ],
)
def test_they_are_found_by_data_and_method(
    recipes: list[Listed], data: str, method: str | None, names: list[str]
) -> None:
    assert [one.name for one in picked(recipes, data, method)] == names


def test_the_page_of_recipes_is_the_one_that_is_written_from_them() -> None:
    script = runpy.run_path(str(Path(__file__).with_name("page.py")))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), "python tests/recipes/page.py"


def test_every_file_is_listed_and_every_link_leads_somewhere() -> None:
    page = (RECIPES / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert {f"{name}.toml" for name in ALL} <= set(links)
    assert all((RECIPES / link).exists() for link in links)
    for pattern in re.findall(r"`([\w*]+)\.toml`", page):
        assert fnmatch.filter(ALL, pattern)


def test_a_recipe_elsewhere_extends_and_starts_from_shipped_ones_by_name(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('schema = 1\nextends = ["digits_sid2a", "parts/loss/embedding"]\n')
    recipe = read(mine)
    assert recipe.starts_from == {"teacher_score": "digits_teacher", "generator": "digits_sid"}
    assert recipe.start_paths["generator"] == RECIPES / "digits_sid.toml"
    mine.write_text('schema = 1\nextends = ["parts/data/ffhq", "parts/method/di_published"]\n')
    recipe = read(mine)
    assert (recipe.dataset.config.path, recipe.evaluate[0].config.reference) == ("ffhq-64x64.zip", "ffhq-64x64.npz")
    assert (recipe.generator.dropout, recipe.evaluate[0].slot.every_kimg) == (0.05, 5000)
    assert load(mine).origin(("dataset", "path")).file == "parts/data/ffhq.toml"
