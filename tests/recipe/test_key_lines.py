"""The line of every key, whatever way TOML allows it to be written."""

from __future__ import annotations

import tomllib

from distillkit.recipe.lines import key_lines

TEXT = '''# a comment with [brackets] = and "quotes"
top = "a ] = # string"   # [not.a.table]
"quoted key" = 1
dotted . "key" = { inline = 1, other = [2, 3] }
many = [
  "x",  # ] a comment
  [1, 2],
]
text = """
[fake]
key = 1
\\""" quote ""more"" """
raw = \'\'\'
[fake2]
''quotes'' \'\'\'

[a.b]
c = 1979-05-27T07:32:00
d.e = 1.5e-3

[[list]]
x = 1
[list.inner]
y = 2
[[list.deep]]
z = 3
[[list]]
[[list.deep]]
[[list.deep]]
z = 4'''


def test_every_key_has_its_line():
    assert set(tomllib.loads(TEXT)) == {"top", "quoted key", "dotted", "many", "text", "raw", "a", "list"}
    assert key_lines(TEXT) == {
        ("top",): 2,
        ("quoted key",): 3,
        ("dotted",): 4,
        ("dotted", "key"): 4,
        ("many",): 5,
        ("text",): 9,
        ("raw",): 13,
        ("a",): 17,
        ("a", "b"): 17,
        ("a", "b", "c"): 18,
        ("a", "b", "d"): 19,
        ("a", "b", "d", "e"): 19,
        ("list",): 21,
        ("list", 0): 21,
        ("list", 0, "x"): 22,
        ("list", 0, "inner"): 23,
        ("list", 0, "inner", "y"): 24,
        ("list", 0, "deep"): 25,
        ("list", 0, "deep", 0): 25,
        ("list", 0, "deep", 0, "z"): 26,
        ("list", 1): 27,
        ("list", 1, "deep"): 28,
        ("list", 1, "deep", 0): 28,
        ("list", 1, "deep", 1): 29,
        ("list", 1, "deep", 1, "z"): 30,
    }


def test_carriage_returns_do_not_shift_lines(put, complaints, good):
    path = put("")
    path.write_bytes((good.lstrip() + "nope = 1").replace("\n", "\r\n").encode())
    assert complaints(path.read_bytes().decode())[0].startswith("x.toml:13 generator_loss.nope")
