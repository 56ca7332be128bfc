"""`distillkit recipes`, and shipped recipes by name in an empty folder."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest

from distillkit.cli.main import main
from distillkit.recipe import chain, shipped
from distillkit.registry import Catalog
from distillkit.run.nodes import graph

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_they_are_listed_at_80_columns_by_data_and_method(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["recipes"]) == 0
    whole = capsys.readouterr().out.splitlines()
    assert max(map(len, whole)) <= 80 and all(any(name in line for line in whole) for name in shipped.names())
    assert main(["recipes", "--data", "afhq", "--method", "sid2a"]) == 0
    heading, _, first, second, *_ = capsys.readouterr().out.splitlines()
    assert heading == "AFHQv2 at 64x64"
    assert first.split() == ["afhq_sid2a", "sid2a", "1.276", "GPU"]
    assert second.split() == ["afhq_sid2a_el", "sid2a", "+", "embedding", "1.26", "GPU"]


@pytest.mark.parametrize("method", ["di", "diff-instruct", "Diff-Instruct"])
def test_a_method_has_the_name_of_its_recipes_or_that_of_its_component(method, capsys):
    assert main(["recipes", "--data", "digits", "--method", method, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["use"] for one in told["recipes"]} == {"diff-instruct"}


def test_programs_get_json(capsys):
    assert main(["recipes", "--data", "ffhq", "--method", "gdd_i", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["recipes"]] == ["ffhq_gdd_i", "ffhq_gdd_i_el"]
    assert told["recipes"][0] | {"fid": 0.85, "source": "its paper", "loss": None, "kimg": 10_000} == told["recipes"][0]
    assert Path(told["recipes"][0]["file"]).is_file()


def test_what_is_not_there_is_told_with_what_is(capsys):
    assert main(["recipes", "--data", "mars"]) == 2
    assert "no shipped recipe is for --data mars" in (told := capsys.readouterr().err) and "afhq, cifar10_cond" in told
    assert main(["recipes", "copy", "afhq_sid2"]) == 2
    assert "no shipped recipe is called 'afhq_sid2'; did you mean afhq_sid" in capsys.readouterr().err
    assert main(["check", "afhq_sid2a_ell"]) == 2
    assert "did you mean afhq_sid2a_el?" in capsys.readouterr().err


def test_a_copy_is_the_same_recipe_and_is_written_once(capsys):
    catalog = Catalog.installed()
    assert main(["recipes", "copy", "digits_uncond_sid_el", "afhq_sid2a_el"]) == 0
    assert "recipes/digits_uncond_sid_el.toml written" in capsys.readouterr().out
    for name in ("digits_uncond_sid_el", "afhq_sid2a_el"):
        mine, theirs = (graph(Path(path), (), catalog, None) for path in (f"recipes/{name}.toml", shipped.asked(name)))
        assert [node.fingerprint for node in mine] == [node.fingerprint for node in theirs]
        assert all(node.recipe.path.resolve().is_relative_to(Path().resolve()) for node in mine)
    assert main(["recipes", "copy", "digits_uncond_sid_el"]) == 0, "what is there already is the same"
    Path("recipes/digits_sid.toml").write_text("schema = 1\n")
    assert main(["recipes", "copy", "digits_uncond_sid_el"]) == 2
    assert "recipes/digits_sid.toml is there already and another" in capsys.readouterr().err
    assert main(["recipes", "copy", "digits_uncond_sid_el", "--to", "mine"]) == 0


def test_a_name_runs_in_an_empty_folder_and_a_file_of_that_name_comes_first(empty):
    assert main(["run", "digits_sid", "--smoke"]) == 0
    assert [recipe.name for recipe in chain(shipped.asked("digits_sid2a_el"))] == [
        "digits_teacher", "digits_sid", "digits_sid2a_el"
    ]  # fmt: skip
    (empty / "digits_sid").write_text("mine")
    assert shipped.asked("digits_sid") == Path("digits_sid")


def test_a_wheel_holds_them_and_an_editable_install_does_not(tmp_path, monkeypatch):
    from hatchling.builders.wheel import WheelBuilder

    monkeypatch.chdir(ROOT)  # where builds run
    for version, expected in (("standard", len(list((ROOT / "recipes").rglob("*.toml")))), ("editable", 0)):
        (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path / version), versions=[version])
        held = [name for name in ZipFile(wheel).namelist() if name.startswith("distillkit/_recipes/")]
        assert sum(name.endswith(".toml") for name in held) == expected, version
