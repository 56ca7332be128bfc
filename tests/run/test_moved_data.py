"""A run is found again however its data are spelt, from wherever, and where its folder was moved with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from distillkit.cli.main import main
from distillkit.disk import typed
from distillkit.testing import tiny_recipe

DATA = {"use": "npz", "path": "../data/set.npz", "labels": False}
SMALL = {"evaluate": None, "run": {"kimg": 0.032, "batch": 16, "tick_kimg": 0.016, "threads": 1}}
TEACHER = tiny_recipe("edm", dataset=DATA, sample={"use": "heun", "steps": 2}, **SMALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a recipe, data and a finished run."""
    project = tmp_path / "project"
    for name in ("recipes", "data"):
        (project / name).mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (64, 2, 2, 1), dtype=np.uint8)
    np.savez(project / "data/set.npz", images=images)
    (project / "recipes/t.toml").write_text(TEACHER)
    monkeypatch.chdir(project)
    assert main(["run", "recipes/t.toml"]) == 0
    return project


def reused(capsys: pytest.CaptureFixture, *argv: object) -> bool:
    capsys.readouterr()
    code = main(["check", *map(str, argv)])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return "/0001-" in captured.out + captured.err


def test_it_is_found_in_every_spelling(project: Path, capsys: pytest.CaptureFixture) -> None:
    run = project / "runs/0001-t"
    assert typed.toml(run / "resolved.toml")["dataset"]["path"] == "../../data/set.npz"
    assert reused(capsys, "recipes/t.toml")
    assert reused(capsys, project / "recipes/t.toml") and reused(capsys, run / "resolved.toml")
    for text in ("data/set.npz", "./data/set.npz", project / "data/set.npz"):
        assert reused(capsys, "recipes/t.toml", "--set", f"dataset.path={text}")
    Path("t.toml").write_text(TEACHER.replace("../data", "data"))
    assert reused(capsys, "t.toml")
    shutil.copy("data/set.npz", "data/other.npz")
    assert not reused(capsys, "recipes/t.toml", "--set", "dataset.path=data/other.npz")


def test_it_is_found_and_goes_on_from_elsewhere_and_where_all_was_moved(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reused(capsys, "project/recipes/t.toml", "--runs", "project/runs")
    project.rename(tmp_path / "moved")
    assert reused(capsys, "moved/recipes/t.toml", "--runs", "moved/runs")
    assert main(["run", "--resume", "moved/runs/0001-t"]) == 0
    monkeypatch.chdir(tmp_path / "moved")
    assert reused(capsys, "recipes/t.toml")


SPELT = {"data/set.npz": "../data/set.npz", "WHOLE": "../data/set.npz", "../set.npz": "../../set.npz",
         "./data/set.npz": None}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SPELT.items())
def test_a_run_of_before_is_found(
    project: Path, old: str, new: str | None, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fingerprint has the path as its recipe wrote it, which its resolved.toml repeats."""
    shutil.rmtree("runs")
    shutil.copy("data/set.npz", "..")
    text = str(project / "data/set.npz") if old == "WHOLE" else old
    Path("recipes/old.toml").write_text(TEACHER.replace("../data/set.npz", text))
    with monkeypatch.context() as before:
        before.setattr("distillkit.run.nodes.spelt", lambda text, home, folder=None: text)
        assert main(["run", "recipes/old.toml"]) == 0
    run = Path("runs/0001-old")
    assert typed.toml(run / "resolved.toml")["dataset"]["path"] == text
    assert reused(capsys, "recipes/old.toml") and reused(capsys, run / "resolved.toml")
    assert main(["run", "--resume", str(run)]) == 0
    if new:
        Path("recipes/old.toml").write_text(TEACHER.replace("../data/set.npz", new))
        assert reused(capsys, "recipes/old.toml")


def test_a_study_names_data_as_seen_from_its_own_folder(project: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from distillkit.registry import Catalog
    from distillkit.study import jobs, read

    Path("studies").mkdir()
    Path("studies/s.toml").write_text(
        'schema = 1\nname = "s"\nseeds = [0]\nset = ["dataset.path=../data/set.npz"]\n'
        '[[cell]]\nrecipe = "../recipes/t.toml"\n'
    )
    catalog = Catalog.installed()
    (job,) = jobs(read(Path("studies/s.toml"), catalog), catalog)
    assert 'dataset.path="data/set.npz"' in job.sets
    monkeypatch.chdir(tmp_path)
    (far,) = jobs(read(Path("project/studies/s.toml"), catalog), catalog, runs=Path("project/runs"))
    assert far.fingerprint == job.fingerprint and reused(capsys, "project/recipes/t.toml", "--runs", "project/runs")


def test_tables_of_python_count_from_the_working_directory(project: Path) -> None:
    import distillkit
    from distillkit.python.asked import file_of
    from distillkit.registry import Catalog
    from distillkit.study import jobs
    from distillkit.study.plan import Cell, Study

    tables = typed.toml(project / "recipes/t.toml")
    tables["dataset"]["path"] = "data/set.npz"
    assert distillkit.run(tables, name="t", quiet=True).path.name == "0001-t"
    with file_of(tables, "t") as file:  # whose runs are commands
        study = Study(schema=1, name="s", seeds=(0,), cell=(Cell(recipe=str(file)),), path=Path("s.toml"))
        (job,) = jobs(study, Catalog.installed())
    assert 'dataset.path="data/set.npz"' in job.sets
