"""What a card may say, key by key: a stranger may have written it, and pages, samplers and memory depend on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distillkit.disk import typed

LARGEST = 1 << 20  # bytes of a card
PIXELS = 4 * 4096 * 4096  # numbers of an image; as large as any picture that is read
WIDEST = 1 << 20  # entries of a label
PROMPTS = 1000  # prompts that a card may name
CALLS = 10_000  # network calls per image; the longest published sampler takes 2,047


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= typed.LARGEST


def _is_table(value: Any) -> bool:
    return type(value) is dict and type(value.get("use")) is str


def _is_text(value: Any) -> bool:
    return type(value) is str and len(value) <= 1000


def _are_texts(value: Any) -> bool:
    return type(value) is dict and all(_is_text(key) and _is_text(part) for key, part in value.items())


def _is_layout(value: Any) -> bool:
    sizes = ("classes", "tokens", "width", "pooled")
    if type(value) is not dict or set(value) != {*sizes, "guidance"} or type(value["guidance"]) is not bool:
        return False
    if not all(_is_count(value[size]) and value[size] <= WIDEST for size in sizes):
        return False
    return bool(value["tokens"] * value["width"] <= WIDEST)


def _are_scales(value: Any) -> bool:
    if type(value) is not dict or set(value) != {"low", "high", "usual"}:
        return False
    if not all(type(number) in (int, float) and abs(number) < 1e6 for number in value.values()):
        return False
    return bool(value["low"] <= value["usual"] <= value["high"])


def _are_prompts(value: Any) -> bool:
    if type(value) is not dict or not set(value) <= {"words", "encoder"} or type(value.get("words")) is not list:
        return False
    words = value["words"]
    if not 0 < len(words) <= PROMPTS or not all(type(word) is str and len(word) <= 2000 for word in words):
        return False
    return _are_texts(value.get("encoder", {})) and all(word.isprintable() for word in words)


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


NEEDED: dict[str, Callable[[Any], bool]] = {
    "format": _is_count, "network": _is_table, "label_dim": lambda n: _is_count(n) and n <= WIDEST,
    "resolution": lambda n: _is_count(n) and 1 <= n <= PIXELS, "channels": lambda n: _is_count(n) and 1 <= n <= PIXELS,
}  # fmt: skip
OTHER: dict[str, Callable[[Any], bool]] = {
    "sample": _is_table, "seed": _is_count, "precision": _is_text, "decoder": _or_none(_is_table),
    "nimg": _or_none(_is_count), "nfe": _or_none(_is_count), "recipe": _is_text, "fingerprint": _is_text,
    "created": _is_text, "versions": _are_texts, "licence": _or_none(_are_texts), "method": _or_none(_is_text),
    "teacher": _or_none(_is_text), "data": _or_none(_is_text),
    "average": _or_none(_is_text), "layout": _is_layout, "guidance": _are_scales, "prompts": _are_prompts,
}  # fmt: skip


def wrong(card: dict[str, Any]) -> list[str]:
    """Keys whose values no card has; a missing one is a KeyError."""
    found = [key for key, check in NEEDED.items() if not check(card[key])]
    if not found and card["channels"] * card["resolution"] ** 2 > PIXELS:
        found = ["resolution", "channels"]
    return found + [key for key, check in OTHER.items() if key in card and not check(card[key])]
