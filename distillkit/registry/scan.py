"""Installed distributions -> offers and issues, from their metadata alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, PackageMetadata, distributions
from urllib.parse import urlparse
from urllib.request import url2pathname

from attrs import evolve, frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from distillkit import __version__
from distillkit.api import KINDS
from distillkit.registry.offer import Offer

PREFIX = "distillkit."
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OF_FILES = re.compile(rf"({_NAME.pattern}\.)?{_NAME.pattern}")  # an importer's: "pt", or "mine.pt" among several
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@frozen
class Issue:
    """Something about an installed distribution that `distillkit plugins` shows."""

    dist: str
    message: str


def disabled() -> frozenset[str]:
    """Normalised names of the distributions that DISTILLKIT_DISABLE switches off."""
    return frozenset(canonicalize_name(n.strip()) for n in os.environ.get("DISTILLKIT_DISABLE", "").split(",") if n)


def scan() -> tuple[list[Offer], list[Issue]]:
    """All offers of installed distributions that are not disabled, and what is wrong with any of them.

    Of a distribution that is found twice on sys.path only the first counts, as for `import`.
    """
    offers: list[Offer] = []
    issues: list[Issue] = []
    seen = set(disabled())
    for dist in distributions():
        try:
            points = [point for point in dist.entry_points if point.group.startswith(PREFIX)]
            if not points:
                continue
            metadata = dist.metadata  # parsed anew whenever it is asked for, as name and version are
            if canonicalize_name(metadata["Name"]) in seen:
                continue
            seen.add(canonicalize_name(metadata["Name"]))
            for found in _offers(dist, metadata, points):
                if isinstance(found, Issue):
                    issues.append(found)
                else:
                    offers.append(found)
        except Exception as error:  # metadata of others: reported, and no reason to list nothing
            name = str(getattr(dist, "_path", "a distribution")).replace("\\", "/").rpartition("/")[2]
            issues.append(Issue(name, f"metadata cannot be read: {type(error).__name__}: {error}"))
    return offers, issues


def _offers(dist: Distribution, metadata: PackageMetadata, points: list[EntryPoint]) -> Iterator[Offer | Issue]:
    name, version = metadata["Name"], metadata["Version"]
    refused = _refused(metadata.get_all("Requires-Dist") or dist.requires or ())  # the latter: of an egg-info
    if refused:
        yield Issue(name, refused)
    roots = _roots(dist)
    for point in points:
        kind = point.group.removeprefix(PREFIX)
        wrong = _malformed(kind, point)
        if wrong:
            yield Issue(name, wrong)
        else:
            offer = Offer(kind, point.name, point.value.partition("[")[0].strip(), name, version, refused)
            yield evolve(offer, roots=roots)


def _malformed(kind: str, point: EntryPoint) -> str:
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        return f'"{point.group}" is no kind' + (f"; did you mean {PREFIX}{near[0]}?" if near else "")
    if point.name in getattr(KINDS[kind], "own", ()):
        return f'{kind} "{point.name}" is a name of distillkit\'s own'
    if not (_OF_FILES if kind == "importer" else _NAME).fullmatch(point.name):
        return f'the {kind} name "{point.name}" is not lower-case with hyphens'
    if not _TARGET.fullmatch(point.value.partition("[")[0].strip()):
        return f'the target of {kind} "{point.name}" is not "module:Class": "{point.value}"'
    return ""


def _refused(requires: Iterable[str]) -> str:
    """Why the running distillkit is not one that a distribution with these requirements supports."""
    for line in requires:
        need = Requirement(line)
        if canonicalize_name(need.name) != "distillkit" or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        if not need.specifier.contains(__version__, prereleases=True):
            return f"it needs distillkit {need.specifier}, and this is {__version__}"
    return ""


def _roots(dist: Distribution) -> tuple[str, ...]:
    """Folders of an editable install whose import hook leaves no folder on sys.path."""
    text = dist.read_text("direct_url.json")
    url = urlparse(json.loads(text).get("url", "")) if text else None
    if url is None or url.scheme != "file":
        return ()
    folder = url2pathname(url.path)
    return folder, os.path.join(folder, "src")
