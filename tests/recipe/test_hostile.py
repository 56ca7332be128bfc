"""Files made to hurt: each ends in one clear problem."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillkit.recipe import RecipeProblems, read
from distillkit.registry import Catalog

HOSTILE = {
    "5000 nested arrays": (b"a = " + b"[" * 5000 + b"]" * 5000, "nested deeper than 32"),
    "5000 nested arrays on lines": (b"a = " + b"[\n" * 5000, "nested deeper than 32"),
    "5000 nested inline tables": (b"a = " + b"{b=" * 5000, "nested deeper than 32"),
    "40 KB dotted key": (b".".join([b"a"] * 20_000) + b" = 1", "nested deeper than 32"),
    "40 KB dotted table name": (b"[" + b".".join([b"a"] * 20_000) + b"]", "nested deeper than 32"),
    "dotted key of long parts": (b".".join([b"a" * 100] * 3) + b" = 1", "a key is longer than 256"),
    "dotted key in an inline table": (b"x = {" + b" . ".join([b"a"] * 9000) + b" = 1}", "nested deeper than 32"),
    "dotted key of quoted parts": (b".".join([b'"' + b"a" * 200 + b'"'] * 2) + b" = 1", "a key is longer than 256"),
    "long key": (b"a" * 300 + b" = 1", "a key is longer than 256"),
    "5000-digit integer": (b"a = " + b"9" * 5000, "not TOML: Exceeds the limit"),
    "not UTF-8": (b"a = '\xff'", "not UTF-8: byte 0xff at 5"),
    "a byte order mark, then not UTF-8": (b"\xef\xbb\xbfa = '\xff'", "not UTF-8: byte 0xff at 8"),
    "two byte order marks": (b"\xef\xbb\xbf\xef\xbb\xbfschema = 1", "not TOML"),
    "UTF-16": ("a = 1".encode("utf-16"), "not UTF-8"),
    "a zero byte": (b"a = '\x00'", "not TOML"),
    "too large": (b"#" * 300_000, "larger than 256 KB"),
    "many values": (b"a = [" + b"1," * 20_000 + b"]", "more than 5000 keys and values"),
    "many keys": (b"\n".join(b"k%d=1" % n for n in range(20_000)), "more than 5000 keys and values"),
    "no closing quote": (b'schema = 1\na = "b\nc = 1', "not TOML: Illegal character"),
    "twice the same key": (b"a = 1\na = 2", "not TOML: Cannot overwrite a value"),
    "empty": (b"", "missing"),
    "schema of tomorrow": (b"schema = 2", "this distillkit reads schema = 1"),
    "schema that is true": (b"schema = true", "this distillkit reads schema = 1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_problem(tmp_path, name):
    raw, complaint = HOSTILE[name]
    path = tmp_path / "x.toml"
    path.write_bytes(raw)
    with pytest.raises(RecipeProblems) as caught:
        read(path, (), Catalog(()))
    (problem,) = caught.value.problems
    assert problem.message.startswith(complaint)
    assert len(str(caught.value)) < 400


def test_a_byte_order_mark_is_skipped_also_by_what_is_extended_and_lines_stay_right(put, recipe, complaints, good):
    put("\ufeff" + good, "parent.toml")
    assert recipe('\ufeffschema = 1\nextends = "parent.toml"\n') == recipe(good)
    assert complaints("\ufeffschema = 1\n\nkimg : 3\n")[0].startswith("x.toml:3  not TOML: Expected '=' after a key")


def test_syntax_errors_have_their_line(complaints):
    assert complaints("schema = 1\n\nkimg : 3\n")[0].startswith("x.toml:3  not TOML: Expected '=' after a key")


def test_a_folder_or_no_file_is_one_problem(tmp_path):
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(RecipeProblems, match="no such file"):
            read(path, (), Catalog(()))


def test_huge_values_are_shortened_and_control_characters_escaped(complaints, good):
    found = complaints(good, ["run.batch=" + "9" * 4000, f'run.device="{"x" * 4000}"'])
    found += complaints(good + '"\\u001b[31m" = 1\nlr = "\\u001b]0;x"')
    found += complaints(good.replace('"points"', '"\\u001b[2J"'))
    assert all(len(text) < 300 and text.isprintable() for text in found)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([*list("ab.[]{}=\"'#\n\\1,- "), '"""', "'''", "[[", "]]", "use", "run"]), max_size=40))
def test_whatever_the_text_only_problems_come_out(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("fuzz") / "x.toml"
    path.write_text("schema = 1\n" + "".join(parts))
    with pytest.raises(RecipeProblems):
        read(path, (), Catalog(()))


@pytest.mark.parametrize("name", ["a/" * 4000 + "x.toml", "a" * 8000 + ".toml"], ids=["deep", "long"])
def test_a_name_that_no_file_can_have_is_no_such_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "r.toml").write_text(f'schema = 1\nextends = "{name}"\n')
    with pytest.raises(RecipeProblems, match=r"r.toml:2  extends  no such file: .*\.\.\."):
        read(tmp_path / "r.toml")
