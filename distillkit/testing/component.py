"""What every component owes: a summary, a Config that survives TOML, a constructor that does nothing much."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import attrs
import pytest
import torch

from distillkit.api import Choice
from distillkit.recipe import choice_from_table, table_of, tiny
from distillkit.recipe.write import toml
from distillkit.testing import toys
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

SUMMARY = 100  # characters


class ComponentContract:
    """Base of all contracts. A subclass whose name starts with Test names a component in `use`.

    Every test runs in an empty folder of its own; `files` fills it.
    """

    kind: ClassVar[str]
    use: ClassVar[str]
    config: ClassVar[toys.Tables] = {}  # keys of the component's table, over its defaults and what is `tiny` in them
    recipe: ClassVar[toys.Tables] = {}  # other tables, over those of the toy recipe

    def files(self, folder: Path) -> None:
        """Write what `config` names, into the folder that relative paths start from."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path_factory.getbasetemp() / "distillkit-home"))
        self.files(tmp_path)

    @property
    def table(self) -> toys.Tables:
        """The component's table, as small as it and its parts say they can be."""
        given: toys.Tables = {"use": self.use, **self.config}
        small = table_of(tiny(choice_from_table(self.kind, given, toys.catalog(), where=type(self).__name__)))
        return toys.merged(small, given)

    @property
    def choice(self) -> Choice[Any]:
        return choice_from_table(self.kind, self.table, toys.catalog(), where=type(self).__name__)

    def state(self, ranks: Ranks | None = None, **tables: Any) -> State:
        """The state of the toy recipe with this component in it, `recipe` over it and `tables` over that.

        `ranks`: of one process of several.
        """
        own = [self.table] if self.kind in ("auxiliary_loss", "evaluate") else self.table
        hooked = self.kind in toys.DEFAULTS or isinstance(own, list)
        return toys.toy_state(ranks, **toys.merged(self.recipe, {self.kind: own} if hooked else {}, tables))

    def test_its_docstring_starts_with_a_line_that_a_list_can_show(self) -> None:
        first = (self.choice.cls.__doc__ or "").strip().partition("\n")[0]
        assert first, f"{self.choice.cls.__name__} has no docstring"
        assert len(first) <= SUMMARY, f"{len(first)} characters, at most {SUMMARY}: {first}"

    def test_its_config_is_frozen_and_every_key_has_a_type(self) -> None:
        config = self.choice.config
        types = get_type_hints(type(config))
        for name in (attribute.name for attribute in attrs.fields(type(config))):
            assert types[name] is not Any, f"{name} may be anything"
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(config, name, getattr(config, name))

    def test_its_config_survives_toml(self) -> None:
        before = table_of(self.choice)
        text = tomllib.loads(toml({"part": before}))["part"]
        after = choice_from_table(self.kind, text, toys.catalog(), where="round trip")
        assert (after.config, after.slot) == (self.choice.config, self.choice.slot)

    def test_its_constructor_draws_no_random_numbers(self) -> None:
        choice, before = self.choice, torch.get_rng_state()
        choice.build()
        assert torch.equal(torch.get_rng_state(), before)
