"""`distillkit new`: start a plugin of any kind, complete and working."""

from __future__ import annotations

import warnings
from argparse import ArgumentParser, Namespace
from pathlib import Path

from distillkit.new import New, generate
from distillkit.registry import Catalog


def add(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what recipes will say after `use =`, such as my-loss")
    parser.add_argument("--kind", required=True, metavar="KIND", help="such as generator_loss; see distillkit plugins")
    parser.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="where its folder is made (here)")


def main(args: Namespace) -> int:
    """Write the distribution and say what to do with it -> exit code."""
    new = New.checked(args.name, args.kind)
    taken = [offer for offer in Catalog.installed().of(new.offered) if offer.name == new.name]
    if taken:
        warnings.warn(
            f"{taken[0].dist} offers a {new.offered} called {new.name!r} already: with both installed, naming it in a "
            "recipe is an error",
            stacklevel=1,
        )
    files = generate(new, args.to)
    for path in files:
        print(path)
    top = files[0].parent
    print(f"\nnext:  cd {top} && pip install -e '.[test]' && pytest && distillkit run recipes/toy.toml")
    return 0
