"""`distillkit check`: the recipe with every default, and what a run would do, or lack; nothing is built."""

from __future__ import annotations

from argparse import Namespace

from rich.syntax import Syntax

from distillkit.cli import screen
from distillkit.cli.console import console


def main(arguments: Namespace) -> int:
    """Show the recipe and the plan -> exit code."""
    from distillkit.assets.folder import folder
    from distillkit.assets.locate import require
    from distillkit.engine import runner  # torch comes with it
    from distillkit.recipe import to_toml
    from distillkit.registry import Catalog

    nodes = runner.graph(arguments.recipe, arguments.sets, Catalog.installed(), None)
    text = to_toml(nodes[-1].recipe, made_with=nodes[-1].versions)
    if arguments.toml:
        print(text, end="")
        return 0
    out = console()
    if out.is_terminal:
        out.print(Syntax(text, "toml", theme="ansi_dark", background_color="default"))
    else:
        print(text)
    found = [runner.existing(node, arguments.runs) for node in nodes]
    screen.choose().plan(runner.rows(nodes, found))
    print(f"\n{arguments.recipe} is a valid recipe; nothing was built.")
    require(arguments.recipe, runner.unfinished(nodes, found), folder())
    return 0
