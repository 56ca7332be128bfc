"""The recipes that come with distillkit: where they are, and their names.

A wheel holds them in `distillkit/_recipes`; in a checkout, and so in an editable install, they are in `recipes`.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from itertools import islice
from pathlib import Path

MANY = 1000  # files of a folder that are looked at
PACKAGE = Path(__file__).parents[1]
_NAME = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*")


@cache
def folder() -> Path:
    """Where they are."""
    packed = PACKAGE / "_recipes"
    return packed if packed.is_dir() else PACKAGE.parent / "recipes"


def names() -> list[str]:
    """Of all recipes, without the parts that they are made of."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def is_name(value: str) -> bool:
    """May it be the name of a shipped recipe or of a part, such as `afhq_sid` or `parts/loss/embedding`?"""
    return _NAME.fullmatch(value) is not None


def path_of(written: str, base: Path) -> Path:
    """The file that a recipe in the folder `base` names by `extends` or `from`."""
    return folder() / f"{written}.toml" if is_name(written) else base / written


def seen_from(file: Path, base: Path) -> str:
    """How a recipe in the folder `base` names the file: a shipped one elsewhere by name, others by relative path."""
    if file.parent == base:
        return file.name
    real, here = Path(os.path.realpath(file.parent), file.name), os.path.realpath(base)
    home = os.path.realpath(folder())
    if real.is_relative_to(home) and not Path(here).is_relative_to(home):
        return real.relative_to(home).with_suffix("").as_posix()
    return Path(os.path.relpath(real, here)).as_posix()


def asked(text: str) -> Path:
    """The file that a command's argument RECIPE means: a path, else the name of a shipped recipe."""
    if is_name(text) and not Path(text).exists() and path_of(text, Path()).is_file():
        return path_of(text, Path())
    return Path(text)


def told(path: Path) -> str:
    """How messages call a recipe: a shipped one by its name."""
    return path.stem if path.parent == folder() else str(path)


def near(text: str, base: Path = Path()) -> str:
    """A hint where there is no such file: the recipe that may have been meant, here, in recipes/ or shipped."""
    known = {name: name for name in reversed(names())}
    with suppress(OSError, ValueError):  # a name that can be none
        for place in (Path("recipes"), Path(text).parent):
            files = islice((base / place).glob("*.toml"), MANY)
            known |= {path.stem: (place / path.name).as_posix() for path in sorted(files) if path.is_file()}
    found = get_close_matches(Path(text).name.removesuffix(".toml"), known, n=1)
    meant = f"did you mean {known[found[0]]}?   " if found else ""
    return f"{meant}distillkit recipes lists those that are shipped"
