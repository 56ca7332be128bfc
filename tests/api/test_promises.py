"""What the api promises of state, step and networks is what the engine has, plugins use, and docs/plugins.md says."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Generic, Protocol

import pytest
from torch import nn

from distillkit import api
from distillkit.evaluate.draw import Drawer
from distillkit.testing import toy_state, toy_step
from distillkit.testing.networks import ATTRIBUTES
from distillkit.train.state import State
from distillkit.train.step import Step

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^\| (`(?:state|step|draw)\..*?) \|", re.MULTILINE)  # the first column
PLUGINS = [
    path
    for folder in ("plugins", "distillkit/builtin", "distillkit/new/templates")
    for path in sorted((ROOT / folder).rglob("*.py*"))
    if path.suffixes in ([".py"], [".py", ".txt"]) and not {"tests", ".venv"} & set(path.relative_to(ROOT).parts[1:])
]


def members(protocol: type) -> set[str]:
    """Names that a Protocol promises."""
    bases = [base for base in protocol.__mro__ if base not in (object, Protocol, Generic)]
    named = {name for base in bases for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    return {name for name in named if not name.startswith("_")}


@pytest.mark.parametrize(("protocol", "real"), [(api.State, State), (api.Step, Step), (api.Draw, Drawer)])
def test_the_engine_has_every_method_with_the_promised_arguments(protocol: type, real: type) -> None:
    methods = {name: method for name, method in vars(protocol).items() if inspect.isfunction(method)}
    for name in members(protocol) & set(methods):
        promised = list(inspect.signature(methods[name]).parameters.values())
        actual = list(inspect.signature(getattr(real, name)).parameters.values())
        for want, got in zip(promised, actual, strict=False):
            assert (want.name, want.kind) == (got.name, got.kind), f"{protocol.__name__}.{name}"
            assert got.default == want.default or want.default is inspect.Parameter.empty, f"{name}({want.name})"
        assert len(actual) >= len(promised)
        assert all(one.default is not inspect.Parameter.empty for one in actual[len(promised) :]), name


def test_every_member_is_there_when_a_run_has_been_set_up() -> None:
    state = toy_state()
    step = toy_step(state)
    for promise, real in ((api.State, state), (api.Step, step), (api.Draw, Drawer.student(state))):
        for name in sorted(members(promise)):
            getattr(real, name)


def test_the_networks_of_a_run_are_denoisers() -> None:
    state = toy_state()
    for network in (state.generator, state.ema, state.teacher.network, state.copy_of("teacher")):
        assert isinstance(network, nn.Module)
        for name in members(api.Denoiser):
            getattr(network, name)
    for name in members(api.Denoise):
        getattr(state.teacher_score, name)


def test_the_tables_of_the_documents_are_the_protocols() -> None:
    rows = " ".join(row.group(1) for row in TABLE.finditer(DOCS))
    for name, promise in (("state", api.State), ("step", api.Step), ("draw", api.Draw)):
        told = set(re.findall(rf"`{name}\.(\w+)", rows))
        assert told == members(promise)
    calls = {f"{name}.{method}": arguments for name, method, arguments in re.findall(r"`(\w+)\.(\w+)\(([^)]*)\)", rows)}
    for name, promise in (("state", api.State), ("step", api.Step), ("draw", api.Draw)):
        for method in [key for key, value in vars(promise).items() if inspect.isfunction(value) and key[0] != "_"]:
            promised = [str(one).partition(":")[0] for one in list(_parameters(promise, method))[1:]]
            assert [one.partition("=")[0] for one in calls[f"{name}.{method}"].split(", ") if one] == promised, method


def _parameters(protocol: type, method: str) -> Iterator[inspect.Parameter]:
    yield from inspect.signature(getattr(protocol, method)).parameters.values()


def uses(path: Path) -> Iterator[tuple[str, str, int]]:
    """("state" or "step", attribute, line) of everything that a file asks of one, known by the types of arguments."""
    names = {"Class": "Toy", "module": "toy"}  # of templates
    tree = ast.parse(Template(path.read_text(encoding="utf-8")).safe_substitute(names))
    for scope in ast.walk(tree):
        kept = {"State": "state", "Step": "step"}
        if isinstance(scope, ast.FunctionDef):
            given = {arg.arg: ast.unparse(arg.annotation) for arg in scope.args.args if arg.annotation is not None}
            names = {arg: kept[text] for arg, text in given.items() if text in kept}
        elif isinstance(scope, ast.ClassDef):
            pairs = ast.walk(scope)
            names = {
                f"self.{node.targets[0].attr}": node.value.id
                for node in pairs
                if isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("state", "step")
            }
        else:
            continue
        for node in ast.walk(scope):
            if isinstance(node, ast.Attribute) and (owner := names.get(ast.unparse(node.value))):
                yield owner, node.attr, node.lineno


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_use_nothing_that_is_not_promised(path: Path) -> None:
    known = {"state": members(api.State), "step": members(api.Step)}
    strange = [f"{line}: {owner}.{name}" for owner, name, line in uses(path) if name not in known[owner]]
    assert not strange


def test_the_search_for_uses_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "def f(state: State, step: Step, other: int):\n    state.a; step.b; other.c\n"
        "class A:\n    def __init__(self, state: State):\n        self.run = state\n    def g(self): self.run.d\n"
    )
    assert sorted({(owner, name) for owner, name, _ in uses(path)}) == [("state", "a"), ("state", "d"), ("step", "b")]
    assert sum(1 for path in PLUGINS for _ in uses(path)) > 200


def test_every_ability_of_a_network_is_in_the_documents() -> None:
    table = DOCS.split("### Networks")[1].split("\n## ")[0]
    for ability in (api.EncoderFeatures, api.EncoderDecoder, api.LogVar, api.ForcedNormalization, api.Rebuildable):
        (row,) = re.findall(rf"^\| `{ability.__name__}` \|.*", table, re.MULTILINE)
        assert [name for name in members(ability) if not re.search(rf"`{name}\b", row)] == []
    told = re.findall(r"\w+", table.split("It has the attributes `")[1].split("`")[0])
    own = {name for name in members(api.Denoiser) if not hasattr(nn.Module, name)}
    assert {*told, "compute_dtype"} == own == set(ATTRIBUTES)


def test_every_attribute_is_explained_by_a_string_behind_it() -> None:
    """Methods and properties have docstrings: test_architecture asks for them."""
    for promise in (api.State, api.Step, api.Denoiser, api.Rebuildable):
        (tree,) = ast.parse(inspect.getsource(promise)).body
        assert isinstance(tree, ast.ClassDef)
        for node, after in pairwise(tree.body):
            if isinstance(node, ast.AnnAssign):
                assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant), ast.unparse(node)
