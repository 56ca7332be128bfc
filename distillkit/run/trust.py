"""Programs that a run folder names: those of runs that were not made here run only where the user says so.

A TorchScript file is a program with the rights of whoever calls it. A recipe that a person runs is that person's word;
a run folder may be anybody's, its recipe and the sums in it too. So the sums of what ran here by a recipe are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from distillkit.api import UsageError
from distillkit.api.keys import is_program
from distillkit.assets.folder import folder, home, require_ours
from distillkit.disk import files
from distillkit.recipe.schema import Recipe
from distillkit.run import inputs

FILE = "programs"  # in the cache: sums, one a line
ANY = ("any",)  # what --trust means


def programs(recipes: Iterable[Recipe]) -> dict[Path, str]:
    """The programs that recipes name, published files apart, with their sums; those that are not there are left out."""
    found = {path for recipe in recipes for path in inputs.paths(recipe, is_program).values()}
    return {path: files.sha256(path) for path in sorted(found) if path.is_file() and path.parent != folder()}


def admit(run: Path | None, recipes: Sequence[Recipe], given: Sequence[str], remember: bool = True) -> None:
    """Ask for the programs of a run folder, then remember them; those of a user's recipe (None) run unasked."""
    if run is not None:
        require(run, recipes, given)
    if remember:
        note(recipes)


def note(recipes: Iterable[Recipe]) -> None:
    """Remember what the recipes of a user name: it may run again in the runs that come of them."""
    new = set(programs(recipes).values()) - _known()
    if not new:
        return
    try:
        home().mkdir(parents=True, exist_ok=True)
        files.write_atomic(home() / FILE, "".join(f"{each}\n" for each in sorted(_known() | new)).encode())
    except OSError:  # then --trust is asked for, which is what a read-only home has to do with it
        return


def require(run: Path, recipes: Iterable[Recipe], given: Sequence[str]) -> None:
    """Raises UsageError for programs that never ran here by a recipe of the user's, unless `given` names their sums."""
    strange: Mapping[Path, str] = {p: s for p, s in programs(recipes).items() if s not in _known()}
    refused = {path: digest for path, digest in strange.items() if digest not in given and tuple(given) != ANY}
    if refused:
        lines = "\n".join(f"  {path}   --trust-sha256 {digest}" for path, digest in refused.items())
        raise UsageError(
            f"error: {run} names programs (TorchScript) that no recipe has run here; they could do whatever you can:\n"
            f"{lines}\nIf you know who made them: give that sum, or --trust for all of them."
        )


def _known() -> set[str]:
    path = home() / FILE
    if not path.exists():
        return set()
    require_ours(path)
    return set(files.read(path).decode(errors="replace").split())
