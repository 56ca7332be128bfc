"""What metrics told of their own numbers: recipes may be equal where the files that they name were not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from distillkit.compare.groups import Group

Facts = dict[str, set[str]]  # values of a fact, such as the sha256 of the features, over runs


def check(groups: Sequence[Group]) -> None:
    """Warns of facts behind a metric that are not the same in all groups; runs that told none are left out."""
    names = {name for group in groups for run in group.finished for name in run.scores.protocol}
    for name in sorted(names):
        having = [(group.label, facts) for group in groups if (facts := _facts(group, name))]
        for sentence in _differing(having):
            warnings.warn(f"{name} is not measured alike: {sentence}", stacklevel=3)


def _facts(group: Group, name: str) -> Facts:
    told = [run.scores.protocol.get(name, {}) for run in group.finished]
    return {key: {facts[key] for facts in told if key in facts} for key in {key for facts in told for key in facts}}


def _differing(having: Sequence[tuple[str, Facts]]) -> Iterator[str]:
    for key in sorted({key for _, facts in having for key in facts}):
        values = [(label, facts[key]) for label, facts in having if key in facts]
        if len(set().union(*(each for _, each in values))) > 1:
            yield f"{key} is " + ", ".join(f"{' and '.join(sorted(each))!r} in {label}" for label, each in values)
