"""`distillkit plugins`: the list, one explained, JSON, --verify."""

from __future__ import annotations

import json

import pytest

from distillkit.api import Choice, GeneratorLoss, Kernel, Use, field, frozen, gt
from distillkit.cli import explain, plugins
from distillkit.cli.main import main
from distillkit.registry import Catalog, Issue, Offer


class Tame(GeneratorLoss):
    """A loss that does little.

    It is here
    for the tests.
    """

    @frozen(kw_only=True)
    class Config(GeneratorLoss.Config):
        alpha: float = field(default=1.5, validator=gt(0))  # how much
        betas: tuple[float, float] = (0.0, 0.999)
        kernel: Choice[Kernel] = Use("rbf", scales=[1.0, 2.0])  # compares
        steps: int  # must be said
        name: str | None = None


class Tamer(Tame):
    """An heir."""

    @frozen(kw_only=True)
    class Config(Tame.Config):
        alpha: float = 2.0


OFFERS = (
    Offer("dataset", "dots", f"{__name__}:Missing", "other-dist", "2.0"),
    Offer("generator_loss", "tame", "broken_module_of_nobody:Tame", "distillkit-tame", "0.3"),
)


@pytest.fixture
def catalog(monkeypatch):
    made = Catalog(OFFERS, (Issue("odd-dist", "its group is no kind"),))
    monkeypatch.setattr(plugins.Catalog, "installed", classmethod(lambda cls: made))
    monkeypatch.setattr(plugins.Offer, "summary", property(lambda offer: f"about {offer.name}"))


def test_the_list_follows_the_pipeline_and_tells_what_to_write_after_use(catalog, capsys):
    assert main(["plugins"]) == 0
    told = capsys.readouterr()
    assert (
        told.out.index("dataset") < told.out.index("dots") < told.out.index("generator_loss") < told.out.index("tame")
    )
    assert "about dots" in told.out and "other-dist" in told.out
    assert told.err == "warning: odd-dist: its group is no kind\n"


def test_the_list_in_a_pipe_is_plain_and_80_columns_wide(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_holds_every_offer(catalog, capsys):
    assert main(["plugins", "--json", "--kind", "generator_loss"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "plugins": [
            {"kind": "generator_loss", "name": "tame", "summary": "about tame", "dist": "distillkit-tame",
             "version": "0.3", "target": "broken_module_of_nobody:Tame", "refused": ""},
        ],
        "issues": [{"dist": "odd-dist", "message": "its group is no kind"}],
    }  # fmt: skip
    assert told.err == ""


def test_verify_imports_everything_and_names_what_is_broken(catalog, capsys):
    assert main(["plugins", "--verify"]) == 2
    out = capsys.readouterr().out
    assert "broken" in out and "distillkit-tame" in out and "No module named 'broken_module_of_nobody'" in out
    assert "0 of 2 can be used" in out and "Traceback" not in out


def test_verify_shows_tracebacks_on_request(catalog, capsys):
    assert main(["plugins", "--verify", "--traceback", "--kind", "generator_loss"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["tamr"], 'did you mean "tame"'), (["--kind", "lose"], "generator_loss"), (["zzzzzz"], "lists what is installed"),
     (["dots", "--kind", "generator_loss"], "is offered as dataset")],
)  # fmt: skip
def test_an_unknown_name_is_2_with_a_hint(catalog, capsys, arguments, hint):
    assert main(["plugins", *arguments]) == 2
    assert hint in capsys.readouterr().err


def rows(config):
    return {key: rest for key, *rest in explain._rows(config)}


def test_keys_are_told_with_type_default_and_meaning():
    assert rows(Tame.Config) == {
        "alpha": ["float", "1.5", "how much"],
        "betas": ["list of float", "[0, 0.999]", ""],
        "kernel": ["kernel table", '{ use = "rbf", scales = [1, 2] }', "compares"],
        "steps": ["int", "required", "must be said"],
        "name": ["str", "none", ""],
    }


def test_meanings_are_inherited_with_the_keys():
    assert rows(Tamer.Config)["alpha"] == ["float", "2", "how much"]
    assert rows(Tamer.Config)["steps"] == ["int", "required", "must be said"]


def test_keys_of_the_engine_are_told_as_a_recipe_writes_them(capsys):
    assert main(["plugins", "gaussian-mixture", "--kind", "teacher_score"]) == 0
    out = capsys.readouterr().out
    assert "from_" not in out and "modes" in out and '"gaussian-mixture"' in out


def test_an_explained_docstring_fits_any_width():
    assert explain._reflowed("One\ntwo.\n\n  code\n  more\n\n- a\n- b") == "One two.\n\n  code\n  more\n\n- a\n- b"
