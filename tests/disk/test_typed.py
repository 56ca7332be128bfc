"""Values of files that others may have written: the type that they must have, or an error that shows them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from distillkit.api import InputError
from distillkit.disk import files, typed


@pytest.mark.parametrize("value", [0, -3, 1.5, 2**63 - 1, -(2**63) + 1, 1e308])
def test_numbers_are_floats(value: float) -> None:
    assert typed.number(value) == float(value) and type(typed.number(value)) is float


def test_words_stand_for_what_json_has_no_numbers_for(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": [math.inf, -math.inf, math.nan, 1.5], "b": {"c": (math.inf,)}})
    text = (tmp_path / "x.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    words = typed.json_object(tmp_path / "x.json")["a"]
    assert [typed.number(word) for word in words[:2]] == [math.inf, -math.inf] and math.isnan(typed.number(words[2]))


@pytest.mark.parametrize("value", [True, None, "1", "infinity", [], {}, 10**400, 2**63])
def test_what_is_no_number_is_refused_and_shown(value: object) -> None:
    with pytest.raises(ValueError, match="not a number: "):
        typed.number(value)


@pytest.mark.parametrize("value", [-1, True, 1.0, "1", None, 2**63])
def test_what_is_no_count_is_refused(value: object) -> None:
    assert typed.count(0) == 0
    with pytest.raises(ValueError, match="not a whole number from 0 on"):
        typed.count(value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 9999, b"\xff", b'{"a": 1} x', b"9" * 5000])
def test_what_is_no_object_is_refused_in_a_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        typed.json_object(tmp_path / "x.json")
    assert str(caught.value).startswith(("cannot read", str(tmp_path))) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"a", b"\xff", b"a = " + b"[" * 9999, b"a = 1\na = 2"])
def test_what_is_no_toml_is_refused_in_a_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(InputError, match="cannot read"):
        typed.toml(tmp_path / "x.toml")


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfa = 1")
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert typed.toml(tmp_path / "x.toml") == typed.json_object(tmp_path / "x.json") == {"a": 1}


def test_text_has_nothing_that_moves_a_cursor() -> None:
    assert typed.text("a\x1b[2J\n\u202eb") == "a\ufffd[2J\ufffd\ufffdb" and typed.text(5) == "5"
