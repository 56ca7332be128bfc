"""What is wrong with a recipe: every problem, with its place and what would be right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import frozen

from distillkit.api import UsageError
from distillkit.recipe import shipped

Key = tuple[str | int, ...]  # ("auxiliary_loss", 0, "weight")
Report = Callable[[Key, str, str], None]  # key, message, hint


@frozen
class Problem:
    """One thing to mend; `line` is None where the value came from no line of a file."""

    file: str  # a recipe, "--set", or whose defaults
    line: int | None
    key: str
    message: str
    hint: str = ""

    @property
    def place(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class RecipeProblems(UsageError):
    """A recipe that cannot be run; `problems` is sorted by file and line."""

    def __init__(self, path: Path, problems: Iterable[Problem]) -> None:
        own = path.name
        self.path = path
        self.problems = sorted(problems, key=lambda p: (p.file != own, p.file == "--set", p.file, p.line or 0))
        super().__init__(path, self.problems)

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [f"{count} in {shipped.told(self.path)}; nothing was run.", ""]
        width = max(len(problem.place) for problem in self.problems)
        for problem in self.problems:
            text = f"{problem.key}  {problem.message}" if problem.key else problem.message
            lines.append(f"  {problem.place:<{width}}  {text}")
            if problem.hint:
                lines.append(f"      {problem.hint}")
        return "\n".join(lines)


def key_text(key: Key) -> str:
    """("auxiliary_loss", 0, "weight") -> auxiliary_loss[0].weight; odd names are quoted and shortened."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in key]
    return "".join(parts).removeprefix(".")


def _name(part: str) -> str:
    return part if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part) else json.dumps(part[:64])
