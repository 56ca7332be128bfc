"""`distillkit completion`: a script by which a shell completes commands, options, recipes and runs."""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterator

from distillkit.api import KINDS
from distillkit.api.errors import UsageError
from distillkit.registry import Catalog

SHELLS = ("bash", "zsh", "tcsh", "fish")
RECIPES, RUNS, FILES, FOLDERS = "recipes", "runs", "file", "directory"  # the last two are shtab's
MEANT = {"RECIPE": RECIPES, "STUDY": RECIPES, "RUN": RUNS, "DIR": FOLDERS} | dict.fromkeys(
    ("FILE", "PATH", "IN", "OUT", "SRC", "OUT.npz", "OUT.zip"), FILES
)
CALLED = {  # how each shell's script calls what completes them
    RECIPES: {"bash": "_distillkit_recipes", "zsh": "_distillkit_recipes", "fish": "(_distillkit_recipes)",
              "tcsh": "f:*.toml"},
    RUNS: {"bash": "_distillkit_runs", "zsh": "_distillkit_runs", "fish": "(_distillkit_runs)", "tcsh": "d"},
}  # fmt: skip
BEFORE = {
    "bash": """
_distillkit_recipes() {{
  compgen -W "{recipes}" -- "$1"; compgen -f -X '!*.toml' -- "$1"; compgen -d -S / -- "$1"
}}
_distillkit_runs() {{
  ( cd runs 2>/dev/null && compgen -d -X '![0-9]*' -- "$1" ); compgen -W "{students}" -- "$1"; compgen -d -- "$1"
}}
""",
    "zsh": """
_distillkit_recipes() {{ _alternative 'recipes:shipped recipe:({recipes})' 'files:recipe:_files -g "*.toml(-.)"' }}
_distillkit_runs() {{
  local -a names=( runs/[0-9]*(N/:t) {students} )
  _alternative "runs:run:($names)" 'folders:folder:_files -/'
}}
""",
    "fish": """
function _distillkit_recipes; printf '%s\\n' {recipes} *.toml; __fish_complete_directories; end
function _distillkit_runs
  for run in runs/*/; basename $run; end
  printf '%s\\n' {students}; __fish_complete_directories
end
""",
}


def add(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def main(args: Namespace) -> int:
    """Print the script -> exit code."""
    try:
        import shtab
    except ImportError as error:
        raise UsageError(f"completion is written by shtab: pip install 'distillkit[completion]' ({error})") from error
    from distillkit.cli.main import parser
    from distillkit.networks.shipped import names as students
    from distillkit.recipe import shipped

    whole = parser()
    for action in actions(whole):
        if action.metavar in MEANT and not action.choices:
            meant = MEANT[str(action.metavar)]
            action.complete = CALLED.get(meant, meant)  # type: ignore[attr-defined] # where shtab looks
    for name, known in choices(Catalog.installed()).items():
        command, _, dest = name.partition(" ")
        for action in actions(_of(whole, command)):
            if action.dest == dest and not action.choices:
                action.choices = known
    fill = {"recipes": " ".join(shipped.names()), "students": " ".join(students())}
    print(shtab.complete(whole, args.shell, preamble=BEFORE.get(args.shell, "").format(**fill)))
    return 0


def choices(catalog: Catalog) -> dict[str, list[str]]:
    """What arguments may be that are names, by "command dest"."""
    from distillkit.assets.table import table
    from distillkit.explain import engine_pages
    from distillkit.recipe import shipped

    def offered(kind: str) -> list[str]:
        return sorted({offer.name for offer in catalog.of(kind)})

    return {
        "plugins name": sorted({*engine_pages(), *(offer.name for offer in catalog.offers)}),
        "plugins kind": list(KINDS), "new kind": list(KINDS), "run log": offered("logger"),
        "launch on": offered("launch"), "assets names": list(table()), "recipes names": shipped.names(),
    }  # fmt: skip


def actions(parser: ArgumentParser) -> Iterator[Action]:
    """Every argument, those of commands within too."""
    for action in parser._actions:
        yield action
        if isinstance(action, _SubParsersAction):
            for within in action.choices.values():
                yield from actions(within)


def _of(whole: ArgumentParser, command: str) -> ArgumentParser:
    found = next(action for action in whole._actions if isinstance(action, _SubParsersAction))
    made: ArgumentParser = found.choices[command]
    return made
