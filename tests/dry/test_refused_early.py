"""What `distillkit run` would refuse is refused by `check`, with key and line, and before a parent trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distillkit.cli.main import main
from distillkit.testing import tiny_recipe

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
}  # fmt: skip
EXACT = {"use": "gaussian-mixture"}
DIGITS: dict[str, Any] = {
    "dataset": {"use": "digits"}, "generator": {"init": "scratch", "network": UNET}, "evaluate": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    return tmp_path


def written(method: str, name: str = "late.toml", **tables: Any) -> None:
    Path(name).write_text(tiny_recipe(method, **tables))


LATE: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "guidance by labels that are not there": (
        "sid",
        {"teacher_score": {**EXACT, "guidance": {"use": "classifier-free", "scale": 2.0}}},
        "teacher_score.guidance",
        "needs labels",
    ),
    "inner convolutions of a network that has none": (
        "gdd-i",
        {"generator_loss": {"backbones": [{"use": "random-pyramid"}]}},
        "generator_loss",
        "take `gdd`",
    ),
    "augmentation of a network without labels for it": (
        "edm",
        {**DIGITS, "generator_loss": {"augment": {"use": "edm"}}},
        "generator_loss.augment",
        "augment_dim",
    ),
    "a pattern that names no parameter": (
        "edm",
        {"generator": {"freeze": ["encoder.*"]}},
        "generator.freeze",
        "one is",
    ),
    "an expected error that the network does not give": (
        "sid",
        {"teacher_score": EXACT, "generator_loss": {"logvar": True}},
        "generator_loss.logvar",
        "EDM2",
    ),
    "EDM2's loss of another network": ("edm2", {}, "generator_loss", 'write use = "edm2"'),
    "dropout of a network that has none": ("edm", {"generator": {"dropout": 0.1}}, "generator.dropout", "no key"),
    "more levels than the images can be halved": (
        "edm",
        {"generator": {"network": {**UNET, "use": "edm-ddpmpp"}}},
        "generator.network.channel_mult",
        "multiple of 2",
    ),
    "too few real images for an unbiased estimate": (
        "sid",
        {"teacher_score": EXACT, "auxiliary_loss": [{"use": "embedding", "real_batch": 1, "estimator": "unbiased"}]},
        "auxiliary_loss[0]",
        "at least 2 images",
    ),
    "layers of a teacher in closed form": (
        "sid",
        {"teacher_score": EXACT, "evaluate": [{"use": "layer-activation"}]},
        "evaluate[0]",
        "a teacher that is a network",
    ),
    "classes where the data have none": (
        "edm",
        {"evaluate": [{"use": "mixture", "images": 64}, {"use": "frechet"}]},
        "evaluate[1].features",
        "learn from classes",
    ),
    "more neighbours than images": (
        "edm",
        {**DIGITS, "evaluate": [{"use": "frechet", "images": 4}]},
        "evaluate[0]",
        "at least 6 images",
    ),
    "a teacher that there is not": (
        "edm",
        {**DIGITS, "evaluate": [{"use": "frechet", "sampler": {"use": "heun"}}]},
        "evaluate[0].sampler",
        "[teacher_score]",
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_check_names_the_key_its_line_and_what_would_be_right(
    case: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    method, tables, key, told = LATE[case]
    written(method, **tables)
    assert main(["check", "late.toml"]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert f" {key} " in shown and told in shown, shown
    line = int(shown.split("late.toml:")[1].split()[0])
    table = key.split(".")[0].split("[")[0]
    assert any(table in text for text in Path("late.toml").read_text().splitlines()[:line]), shown
    assert not (here / "runs").exists() and not (here / "home").exists(), "check writes nothing"


TORCHSCRIPT = {"use": "torchscript", "network": "nowhere.pt"}
KEPT: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "no held-out images": ("frechet/fd_test", {"use": "frechet"}, {"held_out": 0}),
    "their floor neither": ("frechet/fd_test_floor", {"use": "frechet"}, {"held_out": 0}),
    "no extrapolation": ("frechet/fd_inf", {"use": "frechet"}, {}),
    "no middle layer": ("frechet/sfd", {"use": "frechet", "features": TORCHSCRIPT}, {}),
    "no labels to agree with": ("frechet/label_agreement", {"use": "frechet"}, {"conditional": False}),
    "no Inception": ("fid/fid", {"use": "fid", "features": {"use": "digits-classifier"}}, {}),
}


@pytest.mark.parametrize("case", KEPT)
def test_a_metric_that_this_run_does_not_measure_is_refused_before_a_parent_trains(
    case: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    asked, metric, data = KEPT[case]
    images = {"use": "digits", **data}
    written("edm", name="teacher.toml", **DIGITS | {"dataset": images})
    tables = {"dataset": images, "teacher_score": {"use": "network", "from": "teacher.toml"}}
    written("sid", **tables, evaluate=[{**metric, "every_kimg": 0.016}], run={"keep_best": asked})
    for command in ("check", "run"):
        if command == "run" and metric.get("features") == TORCHSCRIPT:
            continue  # which looks for the file first
        assert main([command, "late.toml"]) == 2
        shown = " ".join(capsys.readouterr().err.split())
        told = f'run.keep_best = "{asked}" is not measured; there are {asked.split("/")[0]}/fd'
        assert "late.toml:" in shown and told in shown, shown
    assert not (here / "runs").exists()


@pytest.mark.parametrize("asked", ["frechet/fd_test", "frechet/sfd", "frechet/label_agreement"])
def test_a_metric_that_this_run_measures_may_be_kept(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    written("edm", **DIGITS | {"evaluate": [{"use": "frechet", "every_kimg": 0.016}]}, run={"keep_best": asked})
    assert main(["check", "late.toml"]) == 0, capsys.readouterr().err


def test_a_metric_that_is_kept_must_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    written("edm", run={"keep_best": "frechet/fd"})
    assert main(["check", "late.toml"]) == 2
    assert "run.keep_best" in capsys.readouterr().err


def test_no_parent_trains_for_a_child_that_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written("edm", name="teacher.toml", evaluate=None)
    teacher = {"use": "network", "from": "teacher.toml"}
    written("gdd-i", teacher_score=teacher)
    for command in ("check", "run"):
        assert main([command, "late.toml"]) == 2
        assert "late.toml" in (told := capsys.readouterr().err) and "take `gdd`" in told
    assert not (here / "runs").exists()


def test_no_parent_trains_for_a_child_whose_files_are_missing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written("edm", name="teacher.toml", **DIGITS)
    teacher = {"use": "network", "from": "teacher.toml"}
    written("sid", **{**DIGITS, "dataset": {"use": "image-zip", "path": "nowhere.zip"}}, teacher_score=teacher)
    assert main(["run", "late.toml"]) == 3
    assert "nowhere.zip" in capsys.readouterr().err and not (here / "runs").exists()


def test_a_checkpoint_that_is_nowhere_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    written("sid", teacher_score={"use": "network", "checkpoint": "nowhere.pkl"})
    assert main(["check", "late.toml"]) == 3
    assert "nowhere.pkl" in capsys.readouterr().err


def test_a_setting_given_on_the_command_line_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    written("edm")
    assert main(["check", "late.toml", "--set", 'generator.freeze=["nothing"]']) == 2
    assert "--set generator.freeze" in " ".join(capsys.readouterr().err.split())


def test_a_recipe_that_is_well_is_tried_and_leaves_no_trace(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written("sid", teacher_score=EXACT, auxiliary_loss=[{"use": "frechet", "population": 64, "minimum": 2}])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert main(["check", "late.toml"]) == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert "tried without numbers" in capsys.readouterr().out
    assert [path.name for path in here.iterdir()] == ["late.toml"]


def test_numbers_that_python_cannot_work_with_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    written("edm", sample={"use": "heun", "steps": 3, "sigma_min": 1e-320, "sigma_max": 1e300, "rho": 0.1})
    assert main(["check", "late.toml"]) == 2
    assert " sample " in (told := " ".join(capsys.readouterr().err.split())) and "too large or small" in told
