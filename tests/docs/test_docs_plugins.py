"""docs/plugins.md says what is so: hooks, kinds, members, commands, and code that is the generated one."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import attrs
import pytest

from distillkit.api import KINDS, Hooks, Turn
from distillkit.cli.main import parser
from distillkit.new import New, generate
from distillkit.registry import Catalog
from distillkit.study import jobs, read
from distillkit.testing import CONTRACTS
from distillkit.train.state import State
from distillkit.train.step import Step

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
HOOKS = [name for name in vars(Hooks) if not name.startswith("_")]


def block(start: str) -> str:
    """The fenced block that follows some text."""
    return re.search(r"```\w*\n(.*?)```", PAGE[PAGE.index(start) :], re.S)[1]


def test_every_hook_is_documented_with_exactly_its_arguments():
    rows = dict(re.findall(r"^\| `(\w+)\(([^)]*)\)` \|", PAGE.split("## Hooks")[1].split("\n## ")[0], re.M))
    real = {name: ", ".join(list(inspect.signature(getattr(Hooks, name)).parameters)[1:]) for name in HOOKS}
    assert rows == real


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_paragraph_and_a_test_that_names_it(hook):
    assert f"**`{hook}(" in PAGE
    files = (ROOT / "tests/train").glob("test_*.py")
    functions = [node.name for path in files for node in ast.parse(path.read_text()).body if hasattr(node, "name")]
    assert any(name.startswith(f"test_hook_{hook}_") for name in functions)


def test_every_kind_is_in_the_table_with_its_base_class_and_has_a_contract():
    table = PAGE.split("## Kinds")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", table, re.M))
    assert set(rows) >= set(KINDS)
    assert {kind: rows[kind] for kind in KINDS} == {kind: cls.__name__ for kind, cls in KINDS.items()}
    for contract in CONTRACTS.values():
        assert f"`{contract.__name__}`" in PAGE


def test_every_public_member_of_a_step_is_documented():
    made = set(re.findall(r"self\.(?!_)(\w+)[^=\n(]* = ", inspect.getsource(Step.__init__)))
    public = {name for name in vars(Step) if not name.startswith("_")} | (made & {"n", "batch", "first", "turn"})
    missing = [name for name in sorted(public) if not re.search(rf"`step\.{name}\b", PAGE)]
    assert not missing


def test_what_is_said_of_a_state_and_a_step_exists():
    fields = {field.name for field in attrs.fields(State)} | set(dir(State))
    assert {name for name in re.findall(r"\bstate\.(\w+)", PAGE)} <= fields
    steps = set(dir(Step)) | {"n", "batch", "first", "turn"}
    assert {name for name in re.findall(r"\bstep\.(\w+)", PAGE)} <= steps


def test_arguments_of_a_turn_are_all_there():
    told = re.search(r"`Turn\((.*?)\)`", PAGE.replace("(...)", "..."))[1]
    assert re.findall(r"(\w+)=", told) == [field.name for field in attrs.fields(Turn)]


def test_every_command_exists():
    (commands,) = [action.choices for action in parser()._actions if action.dest == "command"]
    told = set(re.findall(r"(?:`|\n)distillkit ([a-z]+)", PAGE))
    assert told and told <= set(commands)


def test_the_code_of_the_worked_example_is_what_new_writes(tmp_path):
    files = generate(New.checked("my-di", "generator_loss"), tmp_path)
    (module,) = [path for path in files if path.name == "generator_loss.py"]
    assert block("<!-- the same text as the template") == module.read_text()


def test_the_studies_of_the_worked_example_can_be_planned(tmp_path):
    recipe = block("Only what differs is written").replace('"my-di"', '"diff-instruct"')
    (tmp_path / "gaussians_my_di.toml").write_text(recipe)
    (tmp_path / "my_di.toml").write_text(block("A study runs each cell"))
    catalog = Catalog.installed()
    assert len(jobs(read(tmp_path / "my_di.toml", catalog), catalog)) == 6
    (tmp_path / "my_terms.toml").write_text(block("A question such as"))
    assert len(jobs(read(tmp_path / "my_terms.toml", catalog), catalog)) == 12


def test_links_of_the_page_lead_somewhere():
    headings = {re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-")
                for line in re.findall(r"^##+ (.*)$", PAGE, re.M)}  # fmt: skip
    for target in re.findall(r"\]\(#([^)]*)\)", PAGE):
        assert target in headings
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists()
