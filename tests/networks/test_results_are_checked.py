"""A result that is not what its run wrote is refused by all that reads it; one of 0.1.0 is used, with a word."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import distillkit
from distillkit.api import InputError
from distillkit.cli.main import main
from distillkit.disk import manifest, results


@pytest.fixture
def run(tiny: Callable[..., Path]) -> Path:
    """The folder of a finished run of eight Gaussians."""
    recipe = tiny('[[evaluate]]\nuse = "mixture"\n')
    assert main(["run", str(recipe), "--runs", str(recipe.parent / "runs")]) == 0
    return recipe.parent / "runs" / "0001-tiny"


def readers(run: Path, out: Path) -> dict[str, Callable[[], object]]:
    return {
        "student.safetensors": lambda: distillkit.load(run)(n=2),
        "student.json": lambda: distillkit.load(run)(n=2),
        "metrics.json": lambda: results.read(run),
    }


@pytest.mark.parametrize("name", ["student.safetensors", "student.json", "metrics.json"])
def test_a_flipped_bit_is_never_used(run: Path, tmp_path: Path, name: str) -> None:
    path = run / "result" / name
    text, draw = path.read_bytes(), random.Random(name)
    for _ in range(40):
        changed = bytearray(text)
        changed[draw.randrange(len(text))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(InputError, match="is not what the run wrote"):
            readers(run, tmp_path)[name]()
    path.write_bytes(text)
    readers(run, tmp_path)[name]()


def test_commands_refuse_it_with_code_3(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = run / "result" / "student.safetensors"
    text = bytearray(path.read_bytes())
    text[-5] ^= 64
    path.write_bytes(text)
    for command in (["sample", "-n", "2", "--out", "a.png"], ["eval"], ["export", "--to", "safetensors", "out"]):
        words = [word if "." not in word and word != "out" else str(tmp_path / word) for word in command]
        assert main([words[0], str(run), *words[1:]]) == 3
        assert "is not what the run wrote" in capsys.readouterr().err
    child = tmp_path / "child.toml"
    child.write_text(
        (run / "recipe.toml").read_text().replace("[generator]", f'[generator]\ncheckpoint = "{run / "result"}"')
    )
    assert main(["run", str(child), "--runs", str(tmp_path / "more")]) == 3


def test_a_damaged_manifest_is_told(run: Path) -> None:
    path = run / "result" / manifest.NAME
    path.write_text(path.read_text().replace("sha256", "sha255", 1))
    with pytest.raises(InputError, match="manifest"):
        distillkit.load(run)


def test_a_result_of_another_run_is_told(run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"fingerprint": "0" * 16}))
    with pytest.raises(InputError, match="made by another run"):
        distillkit.load(run)


def test_a_result_of_the_first_release_is_used_with_one_warning(run: Path) -> None:
    (run / "result" / manifest.NAME).unlink()
    with pytest.warns(UserWarning, match="has no manifest") as told:
        distillkit.load(run)(n=2)
    assert len(told) == 1


def test_the_folder_may_be_copied_away_from_its_run(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "result", tmp_path / "mine")
    assert distillkit.load(tmp_path / "mine")(n=2).shape == (2, 2, 1, 1)
