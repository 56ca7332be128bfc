"""`run RUN --extend --set run.kimg=N`: a run goes on to another end, to the bits of a run of N from the start."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from distillkit.api import Optimizer, PluginError
from distillkit.cli.main import main
from distillkit.disk import checkpoint
from distillkit.disk.rundir import RunDir
from distillkit.recipe import choice_from_table, read
from distillkit.recipe.ends import depends_on_kimg
from distillkit.registry import Catalog
from distillkit.run import extension
from distillkit.testing import tiny_recipe

RUN = {"kimg": 0.064, "batch": 16, "tick_kimg": 0.016, "checkpoint_kimg": 0.032, "keep_best": "mixture/sw2"}
TERM = {"use": "embedding", "weight": "auto", "real_batch": 32, "embeddings": [{"use": "pixels"}]}
SID = tiny_recipe(
    "sid", run=RUN, teacher_score={"use": "gaussian-mixture"}, auxiliary_loss=[TERM],
    generator={"ema": "power", "optimizer": {"lr": 1e-2, "warmup_kimg": 0.05}},
    evaluate=[{"use": "mixture", "every_kimg": 0.048}],
)  # fmt: skip
COSINE = 'generator.optimizer.schedule="cosine"'
N = ("--set", "run.kimg=0.16")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sid.toml").write_text(SID)


def digest(run: str) -> str:
    return sha256(Path(run, "result", "student.safetensors").read_bytes()).hexdigest()


def evaluations(run: str) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "row", "check")}
        for row in rows if row["what"] == "evaluate"
    ]  # fmt: skip


def test_it_is_the_run_of_n_from_the_start_and_is_found_as_one(capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "sid.toml"]) == 0
    before = {path: path.read_bytes() for path in Path("runs/0001-sid").rglob("*") if path.is_file()}
    assert main(["run", "runs/0001-sid", "--extend", *N]) == 0
    assert main(["run", "sid.toml", *N, "--runs", "fresh"]) == 0
    assert digest("runs/0002-sid") == digest("fresh/0001-sid") != digest("runs/0001-sid")
    assert evaluations("runs/0002-sid") == evaluations("fresh/0001-sid")
    results = [json.loads(Path(run, "result/metrics.json").read_text()) for run in ("runs/0002-sid", "fresh/0001-sid")]
    assert results[0]["metrics"] == results[1]["metrics"] and results[0]["nimg"] == results[1]["nimg"]
    assert {path: path.read_bytes() for path in before} == before
    capsys.readouterr()
    assert main(["run", "sid.toml", *N]) == 0
    assert "reuse runs/0002-sid" in capsys.readouterr().out
    made = RunDir.open(Path("runs/0002-sid"))
    assert made.info["extends"] | {"fingerprint": "", "recipe": ""} == {
        "run": "runs/0001-sid", "nimg": 64, "fingerprint": "", "recipe": ""
    }  # fmt: skip
    assert made.recipe.read_text() == SID and read(made.resolved).run.kimg == 0.16


def test_the_plan_names_the_shorter_run(capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "sid.toml"]) == 0
    assert main(["check", "sid.toml", *N]) == 0
    assert "runs/0001-sid has 0.064 kimg of the same" in capsys.readouterr().out
    assert main(["check", "sid.toml", *N, "--set", "run.seed=1"]) == 0
    assert "of the same" not in capsys.readouterr().out


def test_a_schedule_that_ends_with_the_run_makes_another_run(capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "sid.toml", "--set", COSINE]) == 0
    for told in ("0.16 kimg, from 0.064 of runs/0001-sid", "reuse runs/0002-sid"):
        assert main(["run", "runs/0001-sid", "--extend", *N]) == 0
        assert told in capsys.readouterr().out
    assert main(["run", "sid.toml", "--set", COSINE, *N]) == 0
    assert "0003-sid" in capsys.readouterr().out and digest("runs/0003-sid") != digest("runs/0002-sid")
    assert main(["run", "--resume", "runs/0002-sid"]) == 0
    assert "reuse runs/0002-sid" in capsys.readouterr().out


def test_an_extension_that_was_killed_goes_on(capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "sid.toml"]) == 0
    assert main(["run", "runs/0001-sid", "--extend", *N]) == 0
    whole = digest("runs/0002-sid")
    run = RunDir.open(Path("runs/0002-sid"))

    def killed(*names: str) -> None:
        shutil.rmtree(run.result)
        run.exit.unlink()
        for name in names:
            shutil.rmtree(run.checkpoints / name)

    killed("kimg-000000.160")
    assert main(["run", "runs/0001-sid", "--extend", *N]) == 0
    assert digest("runs/0002-sid") == whole
    killed(*(path.name for path in run.checkpoints.iterdir()))  # before anything was brought over
    capsys.readouterr()
    assert main(["run", "--resume", "runs/0002-sid"]) == 0
    assert "goes on from runs/0001-sid at 0.064 kimg" in capsys.readouterr().out
    assert digest("runs/0002-sid") == whole


def test_a_run_that_was_stopped_is_trained_to_another_end() -> None:
    assert main(["run", "sid.toml"]) == 0
    run = RunDir.open(Path("runs/0001-sid"))
    shutil.rmtree(run.result)
    shutil.rmtree(run.checkpoints / "kimg-000000.064")
    run.write_exit(75, "SIGTERM", 32, "kimg-000000.032")
    assert main(["run", "runs/0001-sid", "--extend", *N]) == 0
    assert RunDir.open(Path("runs/0002-sid")).info["extends"]["nimg"] == 48
    assert main(["run", "sid.toml", *N, "--runs", "fresh"]) == 0
    assert digest("runs/0002-sid") == digest("fresh/0001-sid")


def test_children_of_the_shorter_run_keep_their_parent(capsys: pytest.CaptureFixture) -> None:
    Path("child.toml").write_text('schema = 1\nextends = "sid.toml"\n[generator]\nfrom = "sid.toml"\n')
    assert main(["run", "child.toml"]) == 0
    assert main(["run", "runs/0001-sid", "--extend", *N]) == 0
    capsys.readouterr()
    assert main(["run", "child.toml"]) == 0
    shown = capsys.readouterr().out
    assert "reuse runs/0001-sid" in shown and "reuse runs/0002-child" in shown
    assert main(["run", "runs/0002-child", "--extend", *N]) == 0
    assert "reuse runs/0001-sid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ([], "says how long it is to be"),
        (["run.kimg=0.064"], "says how long it is to be"),
        (["run.kimg=0.032"], "has seen 0.064"),
        (["run.kimg=0.16", "run.seed=3"], "--extend sets run.kimg"),
        (["run.kimg=0.16", "generator_loss.alpha=1.1"], "--extend sets run.kimg"),
    ],
)
def test_what_is_no_longer_run_is_refused(sets: list[str], told: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "sid.toml"]) == 0
    assert main(["run", "runs/0001-sid", "--extend", *(part for text in sets for part in ("--set", text))]) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in Path("runs").glob("0*")] == ["0001-sid"]


def test_keys_that_change_no_bits_may_be_set() -> None:
    assert main(["run", "sid.toml"]) == 0
    assert main(["run", "runs/0001-sid", "--extend", *N, "--set", "run.checkpoint_kimg=0.1"]) == 0


def test_a_damaged_checkpoint_is_refused_and_leaves_no_folder(capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "sid.toml"]) == 0
    newest = checkpoint.newest(Path("runs/0001-sid/checkpoints"))
    file = newest / "networks.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert main(["run", "runs/0001-sid", "--extend", *N]) == 3
    assert f"checkpoint {newest} is damaged" in capsys.readouterr().err


METHODS = [
    (name, "generator_loss") for name in ("sid", "sida", "dmd", "dmd2", "f-distill", "ladd", "diff-instruct", "gdd")
]
METHODS += [("adversarial", "auxiliary_loss")]


@pytest.mark.parametrize(("name", "kind"), METHODS)
def test_a_method_says_whether_its_critic_ends_with_the_run(name: str, kind: str) -> None:
    catalog = Catalog.installed()
    for schedule, depends in (("constant", False), ("cosine", True)):
        choice = choice_from_table(kind, {"use": name, "schedule": schedule}, catalog, "a test")
        assert depends_on_kimg((choice,)) is depends


def test_consistency_training_ends_with_the_run_unless_told_when() -> None:
    catalog = Catalog.installed()
    found = [choice_from_table("generator_loss", {"use": "ct", **more}, catalog, "a test") for more in
             ({}, {"schedule_kimg": 10.0})]  # fmt: skip
    assert list(map(depends_on_kimg, found)) == [True, False]


def test_a_plugin_whose_schedule_says_nothing_is_named() -> None:
    state = SimpleNamespace(settings={"critic": Optimizer(schedule="cosine")})
    note = {"run": "x", "fingerprint": "e", "nimg": 1, "recipe": "f"}
    with pytest.raises(PluginError, match=r"'critic' depends on run\.kimg"):
        extension.check(state, RunDir(Path("x"), {"fingerprint": "f", "extends": note}))
    extension.check(state, RunDir(Path("x"), {"fingerprint": "other", "extends": note}))
    extension.check(state, RunDir(Path("x"), {"fingerprint": "f"}))
