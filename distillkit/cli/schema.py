"""`distillkit schema`: a JSON Schema of recipes with what is installed here, for editors."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace

from distillkit.explain import pages_of, recipe_schema
from distillkit.registry import Catalog


def add(parser: ArgumentParser) -> None:
    parser.add_argument("--part", action="store_true", help="of files that recipes extend, which lack some keys")


def main(args: Namespace) -> int:
    """Print the schema -> exit code; a component that cannot be used is left out, and named."""
    pages, unusable = pages_of(Catalog.installed())
    for error in unusable:
        print(f"warning: {error}", file=sys.stderr)
    print(json.dumps(recipe_schema(pages, part=args.part), indent=1))
    return 0
