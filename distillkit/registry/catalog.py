"""What can be named in a recipe here: every offer of every installed distribution."""

from __future__ import annotations

import json
from collections import defaultdict
from difflib import get_close_matches

from attrs import frozen
from packaging.utils import canonicalize_name

from distillkit.api import Component
from distillkit.registry.errors import NotOffered, Unusable
from distillkit.registry.known import KNOWN
from distillkit.registry.offer import Offer
from distillkit.registry.scan import Issue, disabled, scan


@frozen
class Catalog:
    """Offers by kind and name, and what is wrong with what is installed."""

    offers: tuple[Offer, ...]
    issues: tuple[Issue, ...] = ()
    disabled: frozenset[str] = frozenset()

    @classmethod
    def installed(cls) -> Catalog:
        """Read the entry points of all installed distributions; imports none of them."""
        offers, issues = scan()
        offers.sort(key=lambda offer: (offer.kind, offer.name, offer.dist))
        groups: dict[tuple[str, str], list[Offer]] = defaultdict(list)
        for offer in offers:
            groups[offer.kind, offer.name].append(offer)
        for group in groups.values():
            if len(group) > 1 and group[0].kind != "importer":  # which share suffixes: they are asked in turn
                issues.append(Issue(group[0].dist, str(_clash(group))))
        return cls(tuple(offers), tuple(issues), disabled())

    def of(self, kind: str) -> list[Offer]:
        """Offers of one kind, by name."""
        return [offer for offer in self.offers if offer.kind == kind]

    def find(self, kind: str, name: str) -> Offer:
        """The offer of that name.

        Raises NotOffered, with the nearest names as hint, or Unusable when two distributions offer it.
        """
        found = [offer for offer in self.of(kind) if offer.name == name]
        if not found:
            raise NotOffered(f"no {kind} named {json.dumps(name[:64])}", self.instead(kind, name))
        if len(found) > 1:
            raise _clash(found)
        return found[0]

    def load(self, kind: str, name: str) -> type[Component]:
        """The class of that name, imported and checked."""
        return self.find(kind, name).load()

    def instead(self, kind: str, name: str) -> str:
        """What to do about a name that nobody here offers."""
        names = sorted({offer.name for offer in self.of(kind)})
        installed = f"installed: {', '.join(names) or 'none'}"
        dist = KNOWN.get((kind, name))
        if dist and canonicalize_name(dist) in self.disabled:
            return f"{dist} offers it, but DISTILLKIT_DISABLE switches it off"
        if dist and dist not in {offer.dist for offer in self.offers}:
            return f"pip install {dist}   {installed}"
        others = sorted({offer.kind for offer in self.offers if offer.name == name})
        if others:
            return f'"{name}" is offered as {", ".join(others)}   {installed}'
        near = get_close_matches(name, names, n=1)
        return f'did you mean "{near[0]}"?   {installed}' if near else installed


def _clash(group: list[Offer]) -> Unusable:
    dists = " and ".join(f"{offer.dist} {offer.version} ({offer.target})" for offer in group)
    return Unusable(
        f'{group[0].kind} "{group[0].name}" is offered by {dists}',
        f"uninstall one, or set DISTILLKIT_DISABLE={group[1].dist}",
    )
