"""One component outside a recipe is read as strictly as inside one."""

from __future__ import annotations

import pytest

from distillkit.api import InputError
from distillkit.recipe import choice_from_table, table_of


def test_a_component_written_as_a_table_reads_as_itself(catalog):
    choice = choice_from_table("network", {"use": "mlp", "width": 4}, catalog, "student.json")
    assert (choice.name, choice.config.width) == ("mlp", 4)
    assert choice_from_table("network", table_of(choice), catalog, "student.json") == choice


def test_all_that_is_wrong_with_it_is_named_with_its_file(catalog):
    with pytest.raises(InputError, match=r"student.json: network.depth unknown key .*; network.width expected an int"):
        choice_from_table("network", {"use": "mlp", "width": "4", "depth": 1}, catalog, "student.json")
