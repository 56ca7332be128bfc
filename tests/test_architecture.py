"""What the code may import and call, checked in its syntax trees."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

from distillkit import api
from distillkit.api import KINDS, Hooks

ROOT = Path(__file__).parents[1]
# The rooms from the ground up: each imports only from itself and from those before it.
ROOMS = {
    "api": "what a plugin imports, types included; no torch",
    "calling": "packages that can be called",
    "noise": "shared maths: sigmas, weights, numbers by (seed, image)",
    "convert": "shared maths: what any network predicts, as D(x; sigma)",
    "mmd": "shared maths: the squared MMD and its gradient",
    "distances": "shared maths: how far apart two images are",
    "weights": "files of weights as data, for importers",
    "seeds": "images by seed, as published evaluations number them",
    "device": "what a run computes on",
    "kit": "the device that the testing kit's contracts compute on: an option of pytest",
    "registry": "what is installed",
    "disk": "what survives a crash: all that a run writes goes through here",
    "text": "words to rows of labels",
    "assets": "published files",
    "recipe": "TOML to frozen values",
    "explain": "what may stand in a recipe, told to people, programs and editors",
    "images": "images in and out: packing, sheets, statistics",
    "guard": "whether a run is well, by the rows of its log",
    "show": "pages, charts, lines on a screen",
    "networks": "networks on disk and out in the world",
    "train": "what one iteration needs",
    "evaluate": "numbers and pictures of the average",
    "dry": "a recipe's own objects without numbers: what it refuses, what it costs",
    "run": "recipes to finished runs",
    "launch": "one command as several processes: started, watched, ended",
    "compare": "runs side by side",
    "watch": "runs followed in a browser while they go",
    "plan": "what a run will take",
    "study": "many runs from one file",
    "python": "what the commands do, as functions",
    "teachercheck": "whether a teacher is right",
    "builtin": "components, through the same door as plugins",
    "testing": "the kit for authors of plugins",
    "new": "a plugin to start from",
    "cli": "commands",
}
ORDER = list(ROOMS)
ALLOWED = {name: set(ORDER[: i + 1]) for i, name in enumerate(ORDER)}
MATHS = {"noise", "convert", "mmd", "distances"}
ALLOWED |= {
    "builtin": {"api", "noise", "convert", "weights", "builtin"}, "plugin": {"api", "testing", "weights"} | MATHS,
}  # fmt: skip
for shipped in ("new", "cli"):
    ALLOWED[shipped].discard("testing")  # which needs pytest
NO_TORCH = ("distillkit.api", "distillkit.registry", "distillkit.recipe", "distillkit.cli.main")
LONGEST = 300  # lines
FORBIDDEN_MODULES = {"torchvision", "cPickle", "dill", "joblib", "shelve", "marshal", "yaml"}
FORBIDDEN_CALLS = {
    "exec", "eval", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
}  # fmt: skip
FORBIDDEN_METHODS = {"extractall"}


def sources(*folders: str) -> list[Path]:
    """Python files of this repository, tests of plugins included, what was built left out."""
    found = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return sorted(file for file in found if not {"build", "dist", ".venv", "runs"} & set(file.relative_to(ROOT).parts))


CORE = sources("distillkit")
PLUGINS = [file for file in sources("plugins") if "tests" not in file.relative_to(ROOT).parts]
EVERYTHING = sources("distillkit", "plugins", "tests", "benchmarks", "docs")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def imports(path: Path) -> set[str]:
    """Dotted names that the file imports, inside functions and for type checkers too."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports relatively: write the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(dotted: str) -> str | None:
    """api, noise, ... of a name within distillkit; "" for what is its own: __version__."""
    pieces = dotted.split(".")
    if pieces[0] != "distillkit" or len(pieces) == 1:
        return None
    return "" if pieces[1].startswith("__") else pieces[1]


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_one_way(path: Path) -> None:
    layer = path.relative_to(ROOT / "distillkit").parts[0].removesuffix(".py")
    if layer.startswith("__"):
        return  # the package itself, and `python -m distillkit`
    assert layer in ALLOWED, f"{layer} is no room of this house: {', '.join(ORDER)}"
    wrong = [name for name in imports(path) if (found := part(name)) and found not in ALLOWED[layer]]
    assert not wrong, f"{layer} may import {', '.join(sorted(ALLOWED[layer]))}, not {', '.join(wrong)}"
    others = [name for name in imports(path) if name.startswith("distillkit_")]
    assert not others, f"the core names a plugin: {others}"


@pytest.mark.parametrize("path", PLUGINS, ids=name_of)
def test_plugins_import_the_api_and_no_other_plugin(path: Path) -> None:
    own = path.relative_to(ROOT / "plugins").parts[1]
    wrong = [name for name in imports(path) if (found := part(name)) and found not in ALLOWED["plugin"]]
    may = ",".join(sorted(ALLOWED["plugin"]))
    assert not wrong, f"a plugin may import distillkit.{{{may}}}, not {', '.join(wrong)}"
    strange = [name for name in imports(path) if name.startswith("distillkit_") and name.split(".")[0] != own]
    assert not strange, f"{own} imports another plugin: {strange}"


def test_the_public_surface_imports_neither_torch_nor_plugins() -> None:
    code = (
        f"import sys, {', '.join(NO_TORCH)}\n"
        "from distillkit.registry import Catalog\n"
        "[offer.summary for offer in Catalog.installed().offers]\n"
        "print(*[m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy') or m.startswith('distillkit_')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert [name for name in done.stdout.split() if not name.startswith("distillkit_") or "editable" not in name] == []


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_files_are_short_and_ascii(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST, "split it: a file has one purpose"
    assert text.isascii(), f"not ASCII: {sorted(set(text) - set(map(chr, range(128))))}"


def test_every_module_starts_with_what_it_is() -> None:
    silent = [
        name_of(path) for path in CORE + PLUGINS if path.read_bytes().strip() and not ast.get_docstring(tree(path))
    ]
    assert not silent


def forbidden(path: Path) -> Iterator[str]:
    """Calls and imports that run what a stranger wrote."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if named == ["pickle"] and isinstance(node, ast.ImportFrom):
                yield f"{node.lineno}: from pickle import: write pickle.NAME, which can be searched for"
            yield from (f"{node.lineno}: import {name}" for name in named if name.split(".")[0] in FORBIDDEN_MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in FORBIDDEN_CALLS or called.rpartition(".")[2] in FORBIDDEN_METHODS:
            yield f"{node.lineno}: {called}()"
        if called == "torch.load" and arguments.get("weights_only") != "True":
            yield f"{node.lineno}: torch.load() without weights_only=True"
        if called.rpartition(".")[2] == "load" and arguments.get("allow_pickle", "False") != "False":
            yield f"{node.lineno}: {called}(allow_pickle=...)"
        if arguments.get("shell", "False") != "False":
            yield f"{node.lineno}: {called}(shell=...)"


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_nothing_runs_what_came_in_a_file(path: Path) -> None:
    assert list(forbidden(path)) == []


def test_collectives_are_in_the_room_of_ranks_alone() -> None:
    """There the errors of all of them are explained, and a process alone meets none."""
    asks = [path for path in (*CORE, *PLUGINS) if any(name.startswith("torch.distributed") for name in imports(path))]
    asks += [path for path in (*CORE, *PLUGINS) if "torch.distributed." in path.read_text("utf-8")]
    assert {name_of(path.parent) for path in asks} == {"distillkit/train/ranks"}


def test_the_search_for_forbidden_calls_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "from pickle import loads\nfrom yaml import load\nexec('')\neval('')\nz.extractall()\ntorch.load(f)\n"
        "torch.load(f, weights_only=False)\nnp.load(f, allow_pickle=True)\nrun('ls', shell=True)\n"
        "pickle.loads(b)\ntorch.load(f, weights_only=True)\nnp.load(f)\nnet.eval()\nre.compile('')\npickle.dumps(1)\n"
    )
    assert [line.partition(":")[0] for line in forbidden(path)] == [str(n) for n in range(1, 11)]


COMMENTED = ["train"]  # rooms where the code alone does not tell why
FEWEST = 6  # comments per 100 lines there


def comments(path: Path) -> list[tuple[str, str]]:
    """Comments for people, each with the line of code that it stands behind or above."""
    lines = path.read_text(encoding="utf-8").splitlines()
    with path.open("rb") as file:
        found = [token for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    spoken = [token for token in found if not re.match(r"# (fmt|type|noqa|pragma)\b", token.string)]
    code = {n: line for n, line in enumerate(lines, 1) if not line.lstrip().startswith("#")}
    return [
        (token.string, code.get(token.start[0]) or next((code[n] for n in code if n > token.start[0]), ""))
        for token in spoken
    ]


@pytest.mark.parametrize("room", COMMENTED)
def test_comments_are_many_and_none_repeats_its_code(room: str) -> None:
    files = sources(f"distillkit/{room}")
    found = [(path, comment, code.split("#")[0]) for path in files for comment, code in comments(path)]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert 100 * len(found) >= FEWEST * lines, f"{len(found)} comments in {lines} lines of {room}: say why"
    echoes = [
        f"{name_of(path)}: {comment}"
        for path, comment, code in found
        if set(re.findall("[a-z]+", comment.lower())) <= set(re.findall("[a-z]+", code.lower()))
    ]
    assert not echoes, f"these say only what their code says: {echoes}"


def test_the_search_for_comments_tells_those_for_people_from_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("# Why.\n# And how.\nx = 1\ny = 2  # fmt: skip\nz = '# no comment'  # units: m\n")
    assert comments(path) == [
        ("# Why.", "x = 1"),
        ("# And how.", "x = 1"),
        ("# units: m", path.read_text().splitlines()[-1]),
    ]


BY_NAME = ("subset_hook_caller", "alone", "hooked")  # take the name of a hook
HOOKS = [name for name in vars(Hooks) if not name.startswith("_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_called_by_the_engine(hook: str) -> None:
    assert inspect.getdoc(getattr(Hooks, hook))
    called = {
        text
        for path in sources("distillkit/train", "distillkit/evaluate", "distillkit/run")
        for node in ast.walk(tree(path))
        for text in mentioned(node)
    }  # fmt: skip
    assert hook in called, f"the engine never asks {hook}"


def mentioned(node: ast.AST) -> Iterator[str]:
    """Hooks asked as `hook.NAME(...)`, or by name."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("hook"):
        yield node.attr
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
        yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def test_every_kind_with_a_table_of_its_own_is_a_hook() -> None:
    assert {"sample", "teacher_score", "generator_loss", "auxiliary_loss", "evaluate"} <= set(KINDS) & set(HOOKS)


def test_everything_public_in_the_api_has_a_docstring() -> None:
    silent = []
    for path in sources("distillkit/api"):
        for node in tree(path).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            inner = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.FunctionDef)]
            nodes = [node, *[n for n in inner if isinstance(node, ast.ClassDef) and not n.name.startswith("_")]]
            silent += [f"{path.stem}.{n.name}" for n in nodes if not ast.get_docstring(n) and not overrides(n)]
    assert silent == []


def overrides(node: ast.AST) -> bool:
    """A method that its base class has described, or one form of an overloaded one."""
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    return node.name in {"load_state_dict", "build"} or "overload" in map(ast.unparse, node.decorator_list)


def test_the_api_exports_what_it_says() -> None:
    assert sorted(api.__all__) == sorted(set(api.__all__))
    assert [name for name in api.__all__ if not hasattr(api, name)] == []
    assert all(attrs.has(cls.Config) for cls in KINDS.values())
