"""The networks that come along: they load by name, and draw the digits that they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import distillkit
from distillkit.api import UsageError
from distillkit.cli.main import main
from distillkit.disk import manifest
from distillkit.networks import network_file, shipped
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog

STUDENTS = [name for name in shipped.names() if not name.endswith("teacher")]


def real() -> tuple[Tensor, Tensor]:
    """Digits that people wrote, and which they are."""
    data = choice_from_table("dataset", {"use": "digits"}, Catalog.installed(), "here").build()
    data.open(Path())
    index = torch.arange(len(data))
    return data.images(index).flatten(1), data.classes(index)


def test_a_teacher_and_its_students_come_along() -> None:
    assert shipped.names() == ["digits/sid", "digits/sid2a_el", "digits/teacher"]
    assert sum(path.stat().st_size for path in shipped.FOLDER.rglob("*")) < 4e6  # bytes: of the wheel


@pytest.mark.parametrize("name", shipped.names())
def test_their_files_are_as_the_run_wrote_them_and_name_no_machine(name: str) -> None:
    folder = shipped.FOLDER / name
    manifest.check_result(folder)
    card = network_file.read_card(folder)
    assert card["versions"]["distillkit"] and card["recipe"] == name.replace("/", "_")
    assert not any(facts["at"].startswith(("/", "~")) for facts in card.get("inputs", {}).values())


@pytest.mark.parametrize("name", STUDENTS)
def test_in_one_call_they_draw_the_digit_that_is_asked_for(name: str) -> None:
    student = distillkit.load(name)
    assert student.nfe == 1
    wanted = torch.arange(200) % 10
    drawn = student(n=200, seed=0, labels=wanted.tolist()).flatten(1)
    x, classes = real()
    nearest = classes[torch.cdist(drawn, x).argmin(1)]
    assert float((nearest == wanted).float().mean()) > 0.9


def test_the_teacher_draws_them_in_many_calls() -> None:
    assert distillkit.load("digits/teacher").nfe > 10


def test_a_command_draws_with_one_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "digits/sid2a_el", "-n", "10"]) == 0
    assert (tmp_path / "samples.png").is_file() and "NFE 1" in capsys.readouterr().out


def test_a_name_beside_those_is_told_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "digits/sidd"]) == 2
    assert "digits/sid, digits/sid2a_el, digits/teacher do" in capsys.readouterr().err
    with pytest.raises(UsageError, match="digits/sid2a_el"):
        distillkit.load("digits/nobody")


def test_a_folder_of_that_name_wins_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits" / "sid").mkdir(parents=True)
    with pytest.warns(UserWarning, match="digits/sid is the folder here"):
        assert shipped.found(Path("digits/sid")) == Path("digits/sid")


def test_other_paths_are_left_alone() -> None:
    for text in ("runs/0001-x", "sid", "a/b/c", "faces/sid"):
        assert shipped.found(Path(text)) == Path(text)
