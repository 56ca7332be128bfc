"""`distillkit plugins`: what a recipe can name, read from metadata; NAME, --keys and --verify import what they tell."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distillkit.api import KINDS, UsageError
from distillkit.cli import explain
from distillkit.cli.console import console
from distillkit.explain import Page, as_json, engine_pages, finite, gloss, page_of
from distillkit.registry import Catalog, NotOffered, Offer, Unusable, apart


def add(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="what follows `use =`, or run, generator ...")
    parser.add_argument("--kind", metavar="KIND", help="only this kind, such as generator_loss")
    parser.add_argument("--json", action="store_true", help="for programs; of NAME with its keys")
    parser.add_argument("--keys", action="store_true", help="with --json: the keys of all, which imports them")
    parser.add_argument(
        "--verify", action="store_true", help="import everything, in another process, and report what is broken"
    )
    parser.add_argument("--traceback", action="store_true", help="with --verify: show why")


def main(args: Namespace) -> int:
    """List, explain or verify -> exit code."""
    catalog, out = Catalog.installed(), console()
    pages = _engine_pages(args)
    offers = _picked(catalog, args.kind, args.name, bool(pages))
    if args.verify:
        return _verify(catalog, offers, out, args.traceback)
    if args.json:
        print(json.dumps(_as_json(catalog, offers, pages, keys=bool(args.name or args.keys)), indent=2))
    elif args.name:
        _explain(catalog, offers, pages, out)
    else:
        for kind in KINDS:
            same = [offer for offer in offers if offer.kind == kind]
            if same:
                out.print(_section(kind, same))
        out.print(Text("distillkit plugins NAME explains one; also: recipe, run, generator, optimizer", "dim"))
    if not args.json:
        _complain(catalog)
    return 0


def _engine_pages(args: Namespace) -> list[Page]:
    """Tables of the engine, where they are asked for: by their name, or with all else for programs."""
    everything = args.keys and args.name is None and args.kind is None
    if args.name is None and not everything:
        return []
    return [page for page in engine_pages().values() if everything or page.name == args.name]


def _explain(catalog: Catalog, offers: Sequence[Offer], pages: Sequence[Page], out: Console) -> None:
    for offer in offers:
        out.print(explain.screen(page_of(offer)))
    for page in pages:
        out.print(explain.screen(page, sorted({offer.name for offer in catalog.of(page.kind)})))


def _picked(catalog: Catalog, kind: str | None, name: str | None, explained: bool) -> list[Offer]:
    """List the offers that are asked for; [] is no mistake where a table of the engine has the name."""
    if kind is not None and kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        meant = f"did you mean {near[0]}?   " if near else ""
        raise UsageError(f"no kind of component is called {kind!r}; {meant}kinds: {', '.join(KINDS)}")
    offers = [offer for each in KINDS for offer in catalog.of(each) if kind in (None, each)]
    if name is None:
        return offers
    picked = [offer for offer in offers if offer.name == name]
    if not picked and not explained:
        _refuse(catalog, kind, name)
    return picked


def _refuse(catalog: Catalog, kind: str | None, name: str) -> None:
    """Raise NotOffered with the catalog's hint, from the kind that has a name like it."""
    names = {offer.name: offer.kind for offer in catalog.offers}
    near = get_close_matches(name, names, n=1)
    if kind is not None or near:
        catalog.find(kind or names[near[0]], name)
    tables = get_close_matches(name, [*engine_pages(), *(f"--kind {kind}" for kind in KINDS)], n=1)
    hint = f"did you mean {tables[0]}?   " if tables else ""
    raise NotOffered(f'no plugin offers "{name[:64]}"', f"{hint}`distillkit plugins` lists what is installed")


def _section(kind: str, offers: Sequence[Offer]) -> Padding:
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="cyan", no_wrap=True, min_width=18)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_row(Text(kind, "bold default"), Text(gloss(kind), "dim"), "")  # no header: rich sets those at the bottom
    for offer in offers:
        note = Text(f"refused: {offer.refused}", "red") if offer.refused else Text(offer.summary or "(no docstring)")
        table.add_row(offer.name, note, offer.dist.removeprefix("distillkit-"))
    return Padding(table, (0, 0, 1, 0))


def _as_json(catalog: Catalog, offers: Sequence[Offer], pages: Sequence[Page], keys: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"plugins": [_offer_as_json(offer, keys) for offer in offers]}
    if keys:
        told["tables"] = [
            {"name": page.name, "summary": page.text, "keys": list(map(as_json, page.keys))} for page in pages
        ]
    return told | {"issues": [{"dist": issue.dist, "message": issue.message} for issue in catalog.issues]}


def _offer_as_json(offer: Offer, keys: bool) -> dict[str, Any]:
    """All of an offer; one that cannot be used has no keys, and `refused` says why."""
    told = {key: getattr(offer, key) for key in ("kind", "name", "summary", "dist", "version", "target", "refused")}
    if not keys:
        return told
    try:
        page = page_of(offer)
    except Unusable as error:
        return told | {"refused": told["refused"] or str(error), "keys": [], "sets": {}}
    return told | {"keys": list(map(as_json, page.keys)), "sets": finite(page.sets)}


def _complain(catalog: Catalog) -> None:
    for issue in catalog.issues:
        print(f"warning: {issue.dist}: {issue.message}", file=sys.stderr)


def _verify(catalog: Catalog, offers: Sequence[Offer], out: Console, show: bool) -> int:
    """Import every offer, elsewhere; exit code 2 when one cannot be used."""
    broken = 0
    for each in apart.imported(offers):
        offer, label = each.offer, f"{each.offer.kind} {each.offer.name}"
        if each.why:
            broken += 1
            out.print(Text.assemble(("broken  ", "red"), f"{label}: {each.why}"), soft_wrap=True)
            if show and each.trace:
                out.print(Text(each.trace), soft_wrap=True)
        else:
            out.print(Text.assemble(("ok      ", "green"), label, (f"  {offer.dist} {offer.version}", "dim")))
    _complain(catalog)
    print(f"{len(offers) - broken} of {len(offers)} can be used")
    return UsageError.exit_code if broken or catalog.issues else 0
