"""The JSON Schema for editors takes every shipped recipe, as written and resolved, and flags what is wrong."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from distillkit.cli.main import main
from distillkit.explain import pages_of, recipe_schema
from distillkit.recipe import read, to_toml
from distillkit.registry import Catalog, Offer

RECIPES = Path(__file__).parents[2] / "recipes"
GOOD = """\
schema = 1
[run]
kimg = 1
batch = 32
[dataset]
use = "digits"
[teacher_score]
use = "network"
checkpoint = "teacher"
[generator.optimizer]
lr = 1e-4
[sample]
use = "one-step"
[generator_loss]
use = "sid"
alpha = 1.0
[[auxiliary_loss]]
use = "embedding"
weight = "auto"
embeddings = [{ use = "pixels" }, { use = "convnet", width = 16 }]
[[evaluate]]
use = "frechet"
images = 64
"""
EL = ["auxiliary_loss", 0]

# name -> (text of GOOD, text in its place, where the schema must complain)
WRONG: dict[str, tuple[str, str, list[Any]]] = {
    "unknown key of a component": ("alpha = 1.0", "alhpa = 1.0", ["generator_loss"]),
    "unknown key of the engine": ("kimg = 1", "kimg = 1\nkmig = 1", ["run"]),
    "unknown key of a table within": ("lr = 1e-4", "rl = 1e-4", ["generator", "optimizer"]),
    "unknown key of a list's entry": ("images = 64", "image = 64", ["evaluate", 0]),
    "unknown key of a part of a part": ("width = 16", "widht = 16", [*EL, "embeddings", 1]),
    "unknown table": ("[sample]", "[sampel]", []),
    "unknown dataset": ('"digits"', '"digit"', ["dataset", "use"]),
    "unknown teacher": ('"network"', '"netwrok"', ["teacher_score", "use"]),
    "unknown method": ('"sid"', '"sit"', ["generator_loss", "use"]),
    "unknown part": ('"pixels"', '"pixel"', [*EL, "embeddings", 0, "use"]),
    "name of another kind": ('"frechet"', '"mlp"', ["evaluate", 0, "use"]),
    "name that is a number": ('use = "one-step"', "use = 1", ["sample", "use"]),
    "no name": ('use = "frechet"', "", ["evaluate", 0]),
    "no name of a part": ('{ use = "pixels" }', "{}", [*EL, "embeddings", 0]),
    "string for an integer": ("batch = 32", 'batch = "32"', ["run", "batch"]),
    "fraction for an integer": ("batch = 32", "batch = 32.5", ["run", "batch"]),
    "boolean for an integer": ("batch = 32", "batch = true", ["run", "batch"]),
    "string for a number": ("lr = 1e-4", 'lr = "1e-4"', ["generator", "optimizer", "lr"]),
    "integer for a boolean": ("alpha = 1.0", "logvar = 1", ["generator_loss", "logvar"]),
    "number for a string": ('checkpoint = "teacher"', "checkpoint = 1", ["teacher_score", "checkpoint"]),
    "list for a number": ("alpha = 1.0", "alpha = [1.0]", ["generator_loss", "alpha"]),
    "list for a table": ("[sample]", "[[sample]]", ["sample"]),
    "table for a list": ("[[evaluate]]", "[evaluate]", ["evaluate"]),
    "value for a table": ("[run]\n", "run = 3\n[dataset.x]\n", ["run"]),
    "list too short": ("lr = 1e-4", "betas = [0.9]", ["generator", "optimizer", "betas"]),
    "string in a list of numbers": ("lr = 1e-4", 'betas = [0, "x"]', ["generator", "optimizer", "betas", 1]),
    "number below its bound": ("batch = 32", "batch = 0", ["run", "batch"]),
    "number at a bound that is none of its values": ("kimg = 1", "kimg = 0", ["run", "kimg"]),
    "number above its bound": ("batch = 32", "batch = 32\nseed = 4294967296", ["run", "seed"]),
    "entry below its bound": ("lr = 1e-4", "betas = [-1, 0]", ["generator", "optimizer", "betas", 0]),
    "none of the choices": ("batch = 32", 'batch = 32\ndevice = "gpu"', ["run", "device"]),
    "none of a component's choices": ('weight = "auto"', 'mode = "both"', [*EL, "mode"]),
    "neither a number nor one word": ('weight = "auto"', 'weight = "half"', [*EL, "weight"]),
    "infinity without a meaning": ("lr = 1e-4", "lr = inf", ["generator", "optimizer", "lr"]),
    "infinity where there is an end": ("kimg = 1", "kimg = inf", ["run", "kimg"]),
    "empty list": ('[{ use = "pixels" }, { use = "convnet", width = 16 }]', "[]", [*EL, "embeddings"]),
    "required key missing": ("batch = 32\n", "", ["run"]),
    "required table missing": ('[dataset]\nuse = "digits"\n', "", []),
    "required key of a component missing": ('"digits"', '"image-zip"', ["dataset"]),
    "schema missing": ("schema = 1\n", "", []),
    "schema of tomorrow": ("schema = 1", "schema = 2", ["schema"]),
    "extends a number": ("schema = 1", "schema = 1\nextends = 3", ["extends"]),
    "extends an absolute path": ("schema = 1", 'schema = 1\nextends = "/a.toml"', ["extends"]),
    "removed by another word": ("alpha = 1.0", "alpha = { unset = true }", ["generator_loss", "alpha"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    pages, unusable = pages_of(Catalog.installed())
    assert not unusable
    return recipe_schema(pages)


@pytest.fixture(scope="module")
def complaints(schema: dict[str, Any]) -> Any:
    """The places of the complaints about a recipe's text, read as Taplo does: what JSON has not is null."""
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema)

    def find(text: str) -> list[list[Any]]:
        data = tomllib.loads(text, parse_float=lambda digits: float(digits) if math.isfinite(float(digits)) else None)
        return [list(error.absolute_path) for error in validator.iter_errors(data)]

    return find


def test_shipped_recipes_are_valid_as_written_and_as_resolved(complaints: Any) -> None:
    files = sorted(RECIPES.glob("*.toml"))
    assert len(files) > 100
    catalog = Catalog.installed()
    for path in files:
        assert complaints(path.read_text()) == [], path.name
        assert complaints(to_toml(read(path, (), catalog), made_with={"torch": "2.13.0"})) == [], path.name


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_recipe_is_flagged_at_its_place(complaints: Any, name: str) -> None:
    old, new, place = WRONG[name]
    assert complaints(GOOD) == [] and GOOD.count(old) == 1
    assert place in complaints(GOOD.replace(old, new))


def test_a_recipe_that_extends_another_leaves_out_what_that_one_has(complaints: Any) -> None:
    head = 'schema = 1\nextends = ["a.toml", "b"]\n'
    assert complaints(head) == []
    assert complaints(head + "[generator_loss]\nalpha = 1.0\n[auxiliary_loss.0]\nratio = 1.0\n") == []
    assert complaints(head + "[generator_loss]\nalhpa = 1.0\n") == [["generator_loss"]]
    assert complaints(head + '[generator_loss]\nalpha = "x"\n') == [["generator_loss"]]
    assert complaints(head + "[[auxiliary_loss]]\nratio = 1.0\n") == [["auxiliary_loss", 0]]  # a list is not merged


def test_a_part_may_lack_what_the_recipe_that_extends_it_has() -> None:
    validator = Draft7Validator(recipe_schema(pages_of(Catalog.installed())[0], part=True))
    files = sorted(RECIPES.glob("parts/*/*.toml"))
    assert len(files) > 20
    for path in files:
        assert not list(validator.iter_errors(tomllib.loads(path.read_text()))), path
    data = tomllib.loads("schema = 1\n[generator_loss]\nuse = 'sid'\nalpha = 1.0\n")
    assert not list(validator.iter_errors(data))
    data["generator_loss"]["alhpa"] = 1.0
    assert len(list(validator.iter_errors(data))) == 1


def test_any_key_may_be_removed(complaints: Any) -> None:
    removed = "{ remove = true }"
    head = f'schema = 1\nextends = "a.toml"\nteacher_score = {removed}\nauxiliary_loss = {removed}\n'
    keys = f"alpha = {removed}\nnoise = {removed}\nlogvar = {removed}\naugment = {removed}\nbetas = {removed}\n"
    assert complaints(f'{head}[generator_loss]\nuse = "sid"\n{keys}') == []


def test_keys_carry_what_an_editor_shows(schema: dict[str, Any]) -> None:
    run = schema["properties"]["run"]["properties"]
    assert run["kimg"]["description"].startswith("images seen") and run["batch"]["minimum"] == 1
    assert run["device"]["default"] == "auto"
    sid = schema["definitions"]["generator_loss.sid"]
    assert sid["description"].startswith("Score identity") and sid["properties"]["alpha"]["default"] == 1.2


def test_the_command_prints_it_and_names_what_it_leaves_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = (Offer("kernel", "gone", "nowhere:Gone", "distillkit-gone", "1.0"),)
    monkeypatch.setattr(Catalog, "installed", classmethod(lambda cls: Catalog(offers)))
    assert main(["schema"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["definitions"]["kernel"]["properties"]["use"]["enum"] == []
    assert "warning: " in told.err and "distillkit-gone" in told.err
