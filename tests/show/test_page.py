"""What every page is: one script of ours whose hash is its policy, and pictures that keep their pixels."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from PIL import Image

from distillkit.show import html


def test_the_policy_lets_the_one_script_run_that_the_page_has():
    page = html.page("t", "<p>x</p>", "f")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page and script.isascii()
    assert not re.search(r"https?:|\beval\b|innerHTML|\bfetch\b", script)


@pytest.mark.parametrize(("size", "shown"), [((64, 32), 256), ((200, 9), 400), ((241, 9), None), ((662, 568), None)])
def test_a_small_picture_is_enlarged_by_a_whole_number(size, shown, tmp_path):
    Image.new("L", size).save(tmp_path / "x.png")
    figure = html.picture(tmp_path / "x.png", "x")
    assert re.findall(r'class="pixels" width="(\d+)"', figure) == ([str(shown)] if shown else [])
