"""Loggers beside a run: told of all, left out when they fail, and no part of what the run is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distillkit.builtin.jsonl import JsonLines
from distillkit.cli.main import main
from distillkit.disk import checkpoint
from distillkit.testing import LoggerContract, tiny_recipe

KILLED = RuntimeError("killed")


class TestJsonLines(LoggerContract):
    use = "jsonl"

    def events(self, info: Any) -> list[dict[str, Any]]:
        return valid(info.folder / "events.jsonl")

    def scalars(self, info: Any) -> dict[str, list[tuple[int, float]]]:
        names = {"loss/generator": "tick", "frechet/fd": "evaluated"}
        return {
            name: [(row["nimg"], row[name]) for row in self.events(info) if row["what"] == what]
            for name, what in names.items()
        }

    def pictured(self, info: Any) -> list[int]:
        return [row["nimg"] for row in self.events(info) if row["what"] == "pictures"]


def valid(path: Path) -> list[dict[str, Any]]:
    """The events of a run, without those that came again."""
    kept: list[dict[str, Any]] = []
    for row in map(json.loads, path.read_text().splitlines()):
        if row["what"] == "run_started":
            kept = [old for old in kept if old.get("nimg", 0) <= row["nimg"]]
        kept.append(row)
    return kept


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "one.toml"
    path.write_text(tiny_recipe("sid", teacher_score={"use": "gaussian-mixture"}))
    return path


def events() -> list[dict[str, Any]]:
    (path,) = Path("runs").glob("0001-*/loggers/jsonl/events.jsonl")
    return valid(path)


def test_a_logger_is_told_of_the_whole_run(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "one.toml", "--log", "jsonl"]) == 0
    found = events()
    assert {row["what"] for row in found} == {
        "run_started", "tick", "evaluated", "pictures", "checkpoint_saved", "run_ended",
    }  # fmt: skip
    (run,) = Path("runs").glob("0001-*")
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    ticks = [(row["nimg"], row["loss/generator"]) for row in logged if row["what"] == "tick"]
    assert [(row["nimg"], row["loss/generator"]) for row in found if row["what"] == "tick"] == ticks
    assert found[-1]["code"] == 0 and found[-1]["reason"] == "finished" and found[-1]["metrics"]
    assert all(Path(row["path"]).exists() for row in found if row["what"] == "pictures")
    assert "events in " in capsys.readouterr().out + (run / "log.txt").read_text()


def test_a_run_with_a_logger_is_the_run_without(recipe: Path) -> None:
    assert main(["run", "one.toml"]) == 0
    assert main(["run", "one.toml", "--log", "jsonl"]) == 0
    assert [path.name for path in Path("runs").glob("0*")] == ["0001-one"]


def test_a_killed_run_goes_on_as_one_curve(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoint.save

    def once(*args: Any, **keys: Any) -> Path:
        monkeypatch.setattr(checkpoint, "save", second)
        return save(*args, **keys)

    def second(*args: Any, **keys: Any) -> Path:
        raise KILLED

    monkeypatch.setattr(checkpoint, "save", once)
    sets = ["--set", "run.tick_kimg=0.016", "--set", "run.checkpoint_kimg=0.032", "--log", "jsonl"]
    assert main(["run", "one.toml", *sets]) == 1
    assert events()[-1]["code"] == 1 and events()[-1]["reason"] == "killed"
    monkeypatch.setattr(checkpoint, "save", save)
    assert main(["run", "one.toml", *sets]) == 0
    found = events()
    assert [row["nimg"] for row in found if row["what"] == "tick"] == [16, 32, 48, 64]
    started = [row for row in found if row["what"] == "run_started"]
    assert [row["nimg"] for row in started] == [0, 32] and started[0]["id"] == started[1]["id"]


@pytest.mark.parametrize("what", ["run_started", "tick", "evaluated", "pictures", "checkpoint_saved", "run_ended"])
def test_a_logger_that_fails_is_told_once_and_left_out(
    what: str, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: JsonLines, *facts: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(JsonLines, what, fails)
    assert main(["run", "one.toml", "--log", "jsonl"]) == 0
    told = " ".join("".join(capsys.readouterr()).split())
    assert told.count(f"logger 'jsonl' failed at {what}: ConnectionError: no route to host") == 1
    (run,) = Path("runs").glob("0001-*")
    assert json.loads((run / "exit.json").read_text())["code"] == 0


def test_a_logger_without_its_package_is_refused_before_anything_is_made(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(self: JsonLines, config: Any) -> None:
        from distillkit.api import UsageError

        raise UsageError("pip install 'distillkit-loggers[x]'")

    monkeypatch.setattr(JsonLines, "__init__", missing)
    assert main(["run", "one.toml", "--log", "jsonl"]) == 2
    assert "pip install" in capsys.readouterr().err and not Path("runs").exists()


def test_an_unknown_logger_is_told_with_those_there_are(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "one.toml", "--log", "tensorbord"]) == 2
    assert "tensorboard" in capsys.readouterr().err


def test_a_smoke_run_tells_nobody(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Mapping[str, Any]] = []
    monkeypatch.setattr(JsonLines, "run_started", lambda self, info: told.append(info))
    assert main(["run", "one.toml", "--log", "jsonl", "--smoke"]) == 0
    assert not told
