"""Configs that are out of the ordinary are read, or end in a clear problem; a bug stays a bug."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillkit.api import InputError
from distillkit.recipe import choice_from_table, table_of
from distillkit.registry import Catalog, Offer


@pytest.fixture
def made(monkeypatch):
    """A network made from a table."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    names = ("Unreadable", "Converted", "Neighbours", "Broken", "Recursive")
    offers = [Offer("network", name.lower(), f"distillkit_odd_parts:{name}", "distillkit-odd", "1.0") for name in names]
    return lambda table: choice_from_table("network", table, Catalog(tuple(offers)), "x.json")


@pytest.fixture
def complaint(made):
    def find(table):
        with pytest.raises(InputError) as caught:
            made(table)
        return str(caught.value).removeprefix("x.json: ")

    return find


def test_a_type_that_only_a_type_checker_sees_is_a_problem_of_the_component(complaint):
    assert complaint({"use": "unreadable"}) == (
        "network.use the Config of Unreadable has a type that cannot be read: name 'Shape' is not defined"
    )


def test_a_converter_of_a_config_gets_the_checked_value(made, complaint):
    assert made({"use": "converted", "size": 2}).config.size == 4
    assert complaint({"use": "converted", "size": "2"}).startswith("network.size expected an integer")
    assert complaint({"use": "converted", "size": 1}) == "network 'size' must be >= 4: 2"
    assert complaint({"use": "converted", "size": 2, "dept": 1}).startswith("network.dept unknown key")


def test_every_validator_of_a_value_may_look_at_its_neighbours(complaint):
    assert complaint({"use": "neighbours", "low": 9, "high": 3}) == "network.high must be > low = 9: 3"
    assert (
        complaint({"use": "neighbours", "low": "x", "high": 3}) == 'network.low expected an integer, got the string "x"'
    )
    assert complaint({"use": "neighbours", "low": "x", "high": 0}).endswith("network.high must be >= 1: 0")


def test_entries_of_tuples_and_dictionaries_and_literals_are_named_by_their_place(made, complaint):
    good = {"use": "neighbours", "mode": 1, "deep": {"a": [1, "b"]}}
    assert made(good).config.deep == {"a": (1, "b")}
    assert table_of(made(good)) == {**good, "low": 0, "high": 5}
    assert complaint({**good, "mode": True, "deep": {"a": [1, 2], "b": [3]}}) == (
        'network.mode expected one of "a", 1, got true; network.deep.a[1] expected a string, got 2; '
        "network.deep.b expected a list of 2, got a list of 1"
    )


def test_a_table_that_is_none_is_named(complaint):
    assert complaint(3) == "network expected a table with use, got 3"


def test_a_bug_in_a_validator_is_not_told_as_the_users_mistake(made):
    with pytest.raises(RuntimeError, match="a bug of the plugin"):
        made({"use": "broken", "size": 1})


def test_a_type_that_holds_itself_is_read_to_any_depth(made, complaint):
    table = {"use": "recursive", "tree": {"branches": [{"branches": [{"size": 2}, {"size": 3}]}]}}
    assert [leaf.size for leaf in made(table).config.tree.branches[0].branches] == [2, 3]
    table["tree"]["branches"][0]["branches"][1] = {"size": 0, "sise": 1}
    assert complaint(table) == (
        "network.tree.branches[0].branches[1].sise unknown key (did you mean size?   keys here: size, branches); "
        "network.tree.branches[0].branches[1].size must be >= 1: 0"
    )
