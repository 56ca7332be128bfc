"""docs/data.md as a newcomer follows it: its recipes and every command, on a folder of photos, with few images seen."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distillkit.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


def photos(folder: Path) -> None:
    """Two classes of eight photos, no two of one size."""
    draw = np.random.default_rng(0)
    for number in range(16):
        path = folder / ("cats", "dogs")[number % 2] / f"{number:04d}.{('jpg', 'png')[number % 3 == 0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (24 + number, 40 - number, 3), dtype=np.uint8)).save(path)


def test_the_page_takes_a_folder_of_photos_to_an_exported_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    for name in ("teacher.toml", "student.toml"):
        table = re.search(rf"`{name}`.*?```toml\n(.*?)```", PAGE, re.S)
        assert table, f"the page has no {name}"
        (tmp_path / name).write_text(re.sub(r"(?m)^kimg = \d+", "kimg = 0.128", table[1]))
    assert len(COMMANDS) == 6 and "six commands" in PAGE
    for line in COMMANDS:
        assert main(shlex.split(line)[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
    assert Path("sheet.png").is_file() and Path("exported/student.pt2").is_file()
    assert "2 classes: cats 8, dogs 8" in capsys.readouterr().out


def test_the_readme_has_the_same_way_in_short() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    block = re.search(r"## Your own images\n\n```sh\n(.*?)```", text, re.S)
    assert block
    assert [line.split()[1] for line in block[1].splitlines()] == [
        "data", "run", "run", "sample", "export", "push",
    ]  # fmt: skip


def test_the_rules_of_pictures_are_those_of_the_plugins_readme() -> None:
    readme = (Path(__file__).parents[2] / "plugins/distillkit-datasets/README.md").read_text(encoding="utf-8")
    rows = [line for line in PAGE.split("## What becomes of a picture")[1].splitlines() if line.startswith("|")]
    assert len(rows) == 24 and "\n".join(rows[:13]) in readme and "\n".join(rows[13:]) in readme
