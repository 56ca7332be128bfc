"""An optimizer's `name` and `schedule`: the engine's names, and components of plugins by name or table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distillkit.api import Choice, Optimizer
from distillkit.recipe import Recipe, RecipeProblems, fingerprint, read, to_toml, used_distributions, used_numerics
from distillkit.registry import Catalog
from distillkit.testing import tiny_recipe

CATALOG = Catalog.installed()


def recipe(folder: Path, **keys: Any) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(tiny_recipe("sid", generator={"optimizer": keys}))
    return read(path, catalog=CATALOG)


def printed(recipe: Recipe) -> str:
    return fingerprint(recipe, {}, used_numerics(recipe, CATALOG))


def test_a_name_alone_is_the_table_with_all_defaults(tmp_path: Path) -> None:
    one = recipe(tmp_path, name="muon", schedule="wsd")
    other = recipe(tmp_path, name={"use": "muon"}, schedule={"use": "wsd", "decay": 0.2})
    assert one == other and printed(one) == printed(other)
    optimizer = one.generator.optimizer
    assert isinstance(optimizer.name, Choice) and optimizer.name.config.momentum == 0.95
    assert used_distributions(one, CATALOG)["distillkit-optim"] == "0.1.0"


def test_its_keys_are_part_of_a_fingerprint_and_the_engines_names_are_as_before(tmp_path: Path) -> None:
    made = [{}, {"name": "adamw"}, {"name": "muon"}, {"name": {"use": "muon", "steps": 6}}, {"schedule": "wsd"}]
    assert len({printed(recipe(tmp_path, **keys)) for keys in made}) == len(made)
    assert printed(recipe(tmp_path)) == printed(recipe(tmp_path, name="adam", schedule="constant"))


def test_it_is_written_and_read_again_as_it_was(tmp_path: Path) -> None:
    before = recipe(tmp_path, name={"use": "muon", "nesterov": False}, schedule="wsd")
    again = tmp_path / "again.toml"
    again.write_text(to_toml(before))
    assert read(again, catalog=CATALOG).generator == before.generator


def test_a_recipe_over_another_keeps_the_keys_of_the_same_optimizer_and_drops_those_of_another(tmp_path: Path) -> None:
    (tmp_path / "low.toml").write_text(
        tiny_recipe("sid", generator={"optimizer": {"name": {"use": "muon", "steps": 7}}})
    )
    names = []
    for text in ('{ use = "muon", nesterov = false }', '"prodigy"', '"radam"'):
        path = tmp_path / "high.toml"
        path.write_text(f'schema = 1\nextends = "low.toml"\n[generator.optimizer]\nlr = 1.0\nname = {text}\n')
        names.append(read(path, catalog=CATALOG).generator.optimizer.name)
    muon, prodigy, radam = names
    assert isinstance(muon, Choice) and (muon.config.steps, muon.config.nesterov) == (7, False)
    assert isinstance(prodigy, Choice) and prodigy.name == "prodigy" and radam == "radam"


NAMES = '"adam", "adamw", "radam", "muon", "prodigy"'


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"name": "moun"}, f'name must be one of {NAMES}, got "moun" did you mean "muon"?'),
        ({"name": "adamm"}, f'name must be one of {NAMES}, got "adamm" did you mean "adam"?'),
        ({"name": 3}, "name expected a string or a table with use, got 3"),
        ({"name": {"use": "adam"}}, 'name.use "adam" is the engine\'s, and no table write "adam" alone'),
        ({"name": {"use": "muon", "step": 3}}, "name.step unknown key did you mean steps?"),
        ({"schedule": {"use": "wsd", "decay": 2}}, "schedule.decay must be <= 1: 2"),
        ({"schedule": "wsb"}, 'schedule must be one of "constant", "cosine", "inverse_sqrt", "wsd", got "wsb"'),
    ],
)
def test_what_is_wrong_is_told_with_what_there_is(tmp_path: Path, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeProblems) as caught:
        recipe(tmp_path, **keys)
    assert f"generator.optimizer.{told}" in " ".join(str(caught.value).split())


def test_one_that_is_not_installed_is_told_with_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLKIT_DISABLE", "distillkit-optim")
    path = tmp_path / "recipe.toml"
    path.write_text(tiny_recipe("sid", generator={"optimizer": {"name": "muon"}}))
    with pytest.raises(RecipeProblems, match="distillkit-optim offers it, but DISTILLKIT_DISABLE switches it off"):
        read(path, catalog=Catalog.installed())


def test_in_python_a_wrong_name_is_refused_as_before() -> None:
    with pytest.raises(ValueError, match="'name' must be in 'adam', 'adamw', 'radam'"):
        Optimizer(name="adamm")
