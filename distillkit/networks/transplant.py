"""Weights of one network in another one, by their names: what is missing, left over or of another shape is told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatch

from attrs import frozen
from torch import Tensor, nn

from distillkit.api import UsageError

SHOWN = 6  # names in a message


@frozen(kw_only=True)
class Allowed:
    """Names, with * as in file names, of weights that may be new, and of those that may stay behind."""

    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def transplant(tensors: Mapping[str, Tensor], network: nn.Module, allowed: Allowed, where: str) -> None:
    """Put `tensors` into the network where names and shapes agree.

    Further inputs that add nothing yet may be new without being named. Raises UsageError that lists all others which
    `allowed` does not name, and a pattern of it that names none.
    """
    own: dict[str, Tensor] = network.state_dict()
    # convert.Further, and what plugins have in its place.
    silent = [f"{name}." for name, part in network.named_modules() if getattr(part, "silent", None) is True]
    other = [name for name in own if name in tensors and tensors[name].shape != own[name].shape]
    missing = [name for name in own if name not in tensors]
    new = [name for name in missing if not name.startswith(tuple(silent))]
    unused = [name for name in tensors if name not in own]
    told = [
        *_refused("new_weights", "missing in the teacher", new, allowed.new, own),
        *_refused("new_weights", "of another shape", other, allowed.new, own, tensors),
        *_refused("unused_weights", "left over", unused, allowed.unused, tensors),
        *_idle("new_weights", allowed.new, [*missing, *other]),
        *_idle("unused_weights", allowed.unused, unused),
    ]
    if told:
        raise UsageError(f"{where}: " + "; ".join(told))
    kept = {name: tensor for name, tensor in tensors.items() if name in own and name not in other}
    network.load_state_dict(own | kept)


def _refused(
    key: str, what: str, names: Collection[str], patterns: Collection[str], shapes: Mapping[str, Tensor],
    before: Mapping[str, Tensor] | None = None,
) -> Iterable[str]:  # fmt: skip
    """A line of all that no pattern names."""
    wrong = [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]
    if not wrong:
        return
    sizes = [
        f"{name} {list(shapes[name].shape)}" + (f" (there {list(before[name].shape)})" if before else "")
        for name in wrong[:SHOWN]
    ]
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    yield f"weights {what}: {', '.join(sizes)}{more}; allow them by name: generator.{key} = {_pattern(wrong, shapes)}"


def _idle(key: str, patterns: Collection[str], names: Collection[str]) -> Iterable[str]:
    # A pattern that fits nothing is a misspelt one, or one that was right for another network.
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            yield f"generator.{key}: no such weight is named like {pattern!r}"


def _pattern(wrong: list[str], every: Collection[str]) -> str:
    """As few patterns as name all of these and no other weight."""
    found: dict[str, None] = {}
    for name in wrong:
        parts = name.split(".")
        heads = [".".join(parts[:n]) + "." for n in range(1, len(parts))]
        whole = [head for head in heads if all(other in wrong for other in every if other.startswith(head))]
        found[f"{whole[0]}*" if whole else name] = None
    return "[" + ", ".join(f'"{name}"' for name in found) + "]"
