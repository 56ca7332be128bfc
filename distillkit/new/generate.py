"""Templates -> a distribution: pyproject, module, contract test, toy recipe, README."""

from __future__ import annotations

import keyword
import os
import re
import sys
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from string import Template

from attrs import frozen

from distillkit import __version__
from distillkit.api import KINDS, UsageError
from distillkit.api.errors import FULL
from distillkit.disk import files

PREFIX = "distillkit-"
NUMERICS = "NUMERICS = 1  # raise it where a run's bits change on purpose: finished runs are then run again\n"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# What the toy recipe of a kind uses beside distillkit itself.
NEEDS = {
    "dataset": ("edm",), "augment": ("datasets", "edm"), "embedding": ("sid", "el"), "backbone": ("datasets", "gdd"),
    "adapter": ("edm", "sid"), "kernel": ("sid", "el", "embeddings"), "features": ("sid", "metrics"),
    "generator_loss": (), "teacher_score": ("dit", "sid"),
}  # fmt: skip


@frozen
class New:
    """Names of a plugin to be made: "my-loss" gives distribution, module and class."""

    name: str
    kind: str

    @classmethod
    def checked(cls, name: str, kind: str) -> New:
        """Raises UsageError for a name or kind that cannot be."""
        name = name.removeprefix(PREFIX)
        if kind not in KINDS:
            near = get_close_matches(kind, KINDS, n=1)
            meant = f"did you mean {near[0]}?   " if near else ""
            raise UsageError(f"no kind of component is called {kind[:64]!r}; {meant}kinds: {', '.join(KINDS)}")
        if not _NAME.fullmatch(name) or len(name) > 64:
            raise UsageError(f"a name is lower-case words joined by hyphens, such as my-loss: {name[:64]!r}")
        new = cls(name, kind)
        if not new.type.isidentifier() or keyword.iskeyword(new.type) or new.dist in sys.stdlib_module_names:
            raise UsageError(f"{name!r} makes no class name in Python: {new.type!r}")
        return new

    @property
    def offered(self) -> str:
        """The kind that its component is of: a teacher starts as a network, which `network` makes a teacher."""
        return "network" if self.kind == "teacher_score" else self.kind

    @property
    def dist(self) -> str:
        return PREFIX + self.name

    @property
    def module(self) -> str:
        return self.dist.replace("-", "_")

    @property
    def type(self) -> str:
        """Of the class: MyLoss; a base class of that name would be hidden by it."""
        made = "".join(word.capitalize() for word in self.name.split("-"))
        return made + "Plugin" if made in _TAKEN else made


_TAKEN = {cls.__name__ for cls in KINDS.values()} | {
    "None", "True", "False", "Path", "Tensor", "State", "Step", "Term", "Draw", "Optimizer", "UsageError", "Callable",
    "Denoiser", "Transformer", "Block", "Mapping", "ClassVar", "Fourier", "Filters", "Config",
}  # fmt: skip


def generate(new: New, folder: Path) -> list[Path]:
    """Write the distribution into `folder`/distillkit-NAME -> its files. Refuses to write into what exists."""
    top = folder / new.dist
    if top.exists() or top.is_symlink():
        plugin = "a plugin" if (top / "pyproject.toml").is_file() else "a folder" if top.is_dir() else "a file"
        raise UsageError(f"{top} exists already, {plugin}; choose another name, or --to another folder")
    names = _names(new)
    texts = {
        "pyproject.toml": _filled("pyproject.toml.txt", names),
        "README.md": _filled("README.md.txt", names),
        f"{new.module}/__init__.py": f'"""{new.type}: a {new.kind} for distillkit."""\n\n{NUMERICS}',
        f"{new.module}/{new.kind}.py": _filled(f"{new.kind}/part.py.txt", names),
        f"tests/test_{new.module}.py": _filled(f"{new.kind}/test.py.txt", names),
        "recipes/toy.toml": _filled(f"{new.kind}/toy.toml.txt", names),
    }
    if new.kind == "importer":
        texts[f"recipes/toy.{new.name}"] = _filled("importer/toy.file.txt", names)  # what it reads
    if new.kind in ("adapter", "teacher_score"):
        texts["recipes/teacher.toml"] = _filled(f"{new.kind}/teacher.toml.txt", names)  # what it stands beside, or is
    try:
        with files.staged(top) as made:
            for name, text in texts.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_text(text, encoding="utf-8")
            os.replace(made, top)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    return [top / name for name in texts]


def _names(new: New) -> dict[str, str]:
    major, minor = __version__.split(".")[:2]
    needs = [PREFIX + part for part in NEEDS.get(new.kind, ("sid",))]
    told = f"; it needs {' and '.join(needs)} beside" if needs else ""
    return {
        "name": new.name, "kind": new.kind, "offered": new.offered, "Class": new.type, "dist": new.dist,
        "module": new.module,
        "low": f"{major}.{minor}", "high": f"{major}.{int(minor) + 1}", "needs": told,
    }  # fmt: skip


def _filled(template: str, names: dict[str, str]) -> str:
    text = resources.files("distillkit.new").joinpath("templates", template).read_text(encoding="utf-8")
    return Template(text).substitute(names)
