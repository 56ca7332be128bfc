"""Mistakes that people make at the command line, and the way out that each is told."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from distillkit.cli.main import main
from distillkit.cli.overview import COMMANDS, GROUPS
from distillkit.testing import tiny_recipe

STUDY = 'schema = 1\nname = "s"\nseeds = [0]\n\n[[cell]]\nrecipe = "gaussians_sid"\n'
BELOW = 'schema = 1\nextends = "gaussians_sid"\n'
TINY = {"evaluate": None, "run": {"kimg": 0.016, "batch": 16, "threads": 1}}
TEACHER = {"sample": {"use": "heun", "steps": 2}, **TINY}
GAUSSIANS = {"teacher_score": {"use": "gaussian-mixture"}, **TINY}
# The command line in a folder with these files and with runs, its exit code, and what must be told.
FILES = {
    "study.toml": STUDY,
    "no_seeds.toml": STUDY.replace("[0]", "[]"),
    "recipe.toml": BELOW + "\n[run]\nkimg = 1\n",
    "typed.toml": BELOW + '[run]\nkimg = "100"\n',
    "not_toml.toml": "schema = 1\n[run\n",
    "no_schema.toml": "[run]\nkimg = 1\n",
    "from.toml": BELOW + '[generator]\nfrom = "recip.toml"\n',
    "best.toml": BELOW + '[run]\nkeep_best = "mixture/fd"\n',
    "toy.toml": tiny_recipe("sid", **GAUSSIANS),
    "wide.toml": tiny_recipe(
        "sid", dataset={"use": "npz", "path": "wide.npz"},
        teacher_score={"use": "network", "checkpoint": "runs/0020-toy/result"}, generator=None, **TINY,
    ),
    "labels.toml": tiny_recipe(
        "sid", dataset={"use": "npz", "path": "good.npz"},
        teacher_score={"use": "gaussian-mixture"}, sample={"use": "one-step"}, **TINY,
    ),
    "npz.toml": tiny_recipe("edm", dataset={"use": "npz", "path": "bad.npz"}, **TEACHER),
    "zip.toml": tiny_recipe("edm", dataset={"use": "image-zip", "path": "foto.zip"}, **TEACHER),
    "away.toml": tiny_recipe("edm", dataset={"use": "image-zip", "path": "nowhere/photo.zip"}, **TEACHER),
    "folder.toml": tiny_recipe("edm", dataset={"use": "image-folder", "path": "empty"}, **TEACHER),
    "notes.txt": "no network",
    "net.pkl": "nonsense",
    "photo.zip": "no zip",
    "distillkit-my-loss/pyproject.toml": "",
    "photos/a.png": "\x89PNG\r\n\x1a\nbroken",
    "empty/readme.txt": "",
}  # fmt: skip
MISTAKES: dict[str, tuple[int, str]] = {
    # commands and their arguments
    "runn digits_sid": (2, "no command 'runn'; did you mean run?"),
    "smaple 1": (2, "did you mean sample?"),
    "frobnicate": (2, "distillkit alone lists them"),
    "run": (2, "give a RECIPE to run, or --resume RUN"),
    "run toy.toml npz.toml": (2, "what is 'npz.toml'? distillkit run takes RECIPE"),
    "run toy.toml --kimg 3": (2, "no option --kimg; a key of the recipe is given by --set KEY=VALUE"),
    "run toy.toml --agian": (2, "no option --agian; did you mean --again?"),
    "run toy.toml --set": (2, "a value is missing after --set KEY=VALUE"),
    "run toy.toml --seed -1": (2, "a seed is a whole number from 0"),
    "run toy.toml --seeds 0,0": (2, "a seed occurs twice"),
    "run toy.toml --nproc 0": (2, "a whole number from 1 to 1024"),
    "run toy.toml --nproc gpu": (2, "torch sees no GPU here: give a number"),
    "run toy.toml --seed 5 --nnodes 2": (2, "--nproc"),
    "run toy.toml --shard 2": (2, "--shard N goes with several processes: --nproc N"),
    "run --resume 0001-a --seed 3": (2, "--resume goes on with a run as it is"),
    "sample": (2, "missing: RUN (a run or its number, a result folder"),
    "data packk": (2, "did you mean pack?"),
    "data": (2, "missing: ACTION (pack, "),
    "completion bsh": (2, "did you mean bash?"),
    # recipes
    "run digits_sd": (2, "did you mean digits_sid?"),
    "check digits_sidd": (2, "did you mean digits_sid"),
    "check-teacher digits_teacher": (2, "has no [teacher_score]: name a recipe that distils the teacher"),
    "check-teacher digits_sid": (3, "is not trained yet: distillkit run digits_teacher"),
    "plan cifar10_sid": (2, "did you mean cifar1"),
    "run tyo.toml": (2, "did you mean toy.toml?"),
    "run qqqqqqq.toml": (2, "distillkit recipes lists those that are shipped"),
    "run empty": (2, "no such file: it is a folder"),
    "run 20": (2, "it is a run: --resume 20, or 20 --extend --set run.kimg=N"),
    "run toy.toml --resume 20": (2, "give a RECIPE to run, or --resume RUN to go on with a run, not both"),
    "run 0020-toy": (2, "it is a run: --resume 0020-toy"),
    "run runs/0020-toy": (2, "--extend --set run.kimg=N"),
    "run study.toml": (2, "distillkit study study.toml"),
    "study gaussians_sid": (2, "distillkit run gaussians_sid"),
    "study recipe.toml": (2, "distillkit run recipe.toml"),
    "study gaussians_sid --claim": (2, "distillkit run gaussians_sid"),
    "tune gaussians_sid --vary run.batch=32": (2, "KEY=LOW..HIGH or KEY=A|B|C"),
    "study no_seeds.toml": (2, "no_seeds.toml:3 seeds must not be empty"),
    "run typed.toml": (2, "without quotes: 100"),
    "run not_toml.toml": (2, "not_toml.toml:2 not TOML"),
    "run no_schema.toml": (2, "schema = 1 at the top"),
    "run from.toml": (2, "did you mean recipe.toml?"),
    "run best.toml": (2, "it does of: on_mode, modes_covered, sw2"),
    "recipes copy digits_sd": (2, "did you mean digits_sid?"),
    "recipes --data afqh": (2, "did you mean afhq?"),
    # keys
    "run digits_sid --set lr=1e-4": (2, "write generator.optimizer.lr or generator_loss.lr"),
    "run digits_sid --set betas=[0.0,0.9]": (2, "write generator.optimizer.betas or generator_loss.betas"),
    "run digits_sid --set batch=32": (2, "write run.batch"),
    "run digits_sid --set run.bacth=32": (2, "did you mean batch?"),
    "run digits_sid --set run.batch": (2, "for example run.kimg=100"),
    "run digits_sid --set run.kimg=": (2, "expected a number"),
    "run digits_sid --set generator_loss.use=sidd": (2, 'did you mean "sid"'),
    "run digits_sid --set generator_loss=sida": (2, 'its name is the key use within: use = "sida"'),
    "run digits_sid --log tensorbord": (2, "tensorboard"),
    "run toy.toml --seed 6 --set run.device=cuda": (2, 'write "cpu" or "auto"'),
    "run toy.toml --set run.device=gpu": (2, 'must be one of "auto", "cpu", "cuda"'),
    "plugins sidd": (2, 'did you mean "sid"'),
    "plugins --kind generator_los": (2, "did you mean generator_loss?"),
    "launch toy.toml --on slrum": (2, 'did you mean "slurm"?'),
    "assets get edm-cifar10-32x32-cond-v.pkl": (2, "did you mean edm-cifar10-32x32-cond-vp.pkl?"),
    # data and networks
    "check npz.toml": (3, "no array called images or arr_0, as np.savez(PATH, images=x) does; it holds x uint8 [4, 2"),
    "check zip.toml": (3, "foto.zip: no such file; did you mean photo.zip?"),
    "check away.toml": (3, "there is no folder nowhere in"),
    "check folder.toml": (3, "holds no images: PNG, JPEG or WebP files"),
    "check wide.toml": (2, "the network is for 2 channels, 1 px, 0 labels; the data set has 1 channels, 4 px"),
    "data check photo.zp": (3, "did you mean 'photo.zip'?"),
    "data check photos": (3, "a.png: no PNG, JPEG or WebP image"),
    "data check notes.txt": (2, "its name ends with none of .zip"),
    "data pack empty out.zip --resolution 32": (3, "there are no images to pack: no PNG, JPEG or WebP files"),
    "data pack photos photo.zip --resolution 32": (2, "photo.zip exists already; remove it, or choose another name"),
    "convert empty out": (2, "empty is a folder; no file in it ends with .bin, .pkl"),
    "convert . out": (2, ". is a folder; name one of its files, such as net.pkl"),
    "convert runs/0020-toy out": (2, "is a network of ours already: distillkit sample runs/0020-toy"),
    "convert gone.pkl out": (2, "gone.pkl: a link to nothing"),
    "convert nte.pkl out": (2, "did you mean net.pkl?"),
    "convert notes.txt out": (3, "importers here read .bin, .pkl"),
    "convert net.pkl empty": (2, "empty exists already; OUT is a folder that is made: choose another name"),
    "new my-loss --kind generator_loss": (2, "exists already, a plugin; choose another name, or --to another folder"),
    "new my-loss --kind generator_los": (2, "did you mean generator_loss?"),
    "new MyLoss --kind generator_loss": (2, "lower-case words joined by hyphens, such as my-loss"),
    "new my-loss": (2, "missing: --kind KIND (such as generator_loss"),
    # runs and students
    "run --resume 9": (2, "no run 9 in runs; there are 0021-half, 0020-toy"),
    "run --resume toy.toml": (2, "it is a recipe: distillkit run toy.toml"),
    "report 9": (2, "no run 9 in runs"),
    "report toy.toml": (2, "no such run directory; there are 0021-half"),
    "sample 9": (2, "no run 9 in runs"),
    "sample 21": (3, "has no student yet: distillkit run --resume runs/0021-half goes on with it"),
    "sample toy.toml": (3, "toy.toml is a recipe: distillkit run toy.toml makes a student"),
    "sample digits/sid2a": (2, "digits/sid, digits/sid2a_el, digits/teacher do"),
    "sample 20 --out x.jpg": (2, "must end with .png, .npz or .zip"),
    "sample 20 --seeds 9-1": (2, "seeds, in order"),
    "sample 20 --labels 3": (2, "the student has no labels: leave them out"),
    "sample 20 --device cuda": (2, 'write "cpu" or "auto"'),
    "sample 20 --out notes.txt/x.png": (2, "notes.txt"),
    "export onnx 20 --to onnx": (3, "there are 0021-half, 0020-toy"),
    "sample runs": (3, "it is a folder of runs: name one, such as runs/0021-half"),
    "compare runs": (2, "it is a folder of runs: name one, such as runs/0021-half"),
    "eval 000": (2, "no run 000 in runs"),
    "eval 21": (2, "there is no result to measure; distillkit run --resume runs/0021-half goes on with it"),
    "eval 20": (2, "name a recipe that has some with --recipe"),
    "export 20 --to onxx out": (2, "did you mean onnx?"),
    "export 20 out": (2, "missing: --to (safetensors, "),
    "export 20 --to safetensors empty": (2, "empty exists already; choose another folder"),
    "compare": (2, "missing: RUN"),
    "compare b": (2, "'b' may be 2 runs of runs: 0002-b, 0003-b"),
    "watch nowhere": (2, "give a run, or the folder that has them"),
    "watch --port 99999": (2, "a whole number from 0 to 65535"),
    "run toy.toml --runs notes.txt/x": (2, "Not a directory; choose another place"),
}


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with those files, a finished run and one that is not."""
    place = tmp_path_factory.mktemp("used")
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(text.encode("latin-1"))
    grey = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1), dtype=np.uint8)
    for name, arrays in {
        "bad": {"x": grey[:4, :2, :2]},
        "good": {"images": grey[:, :2, :2]},
        "wide": {"images": grey},
    }.items():
        np.savez(place / f"{name}.npz", **arrays)
    (place / "gone.pkl").symlink_to("was.pkl")
    for name in ("0001-a", "0002-b", "0003-b", "0012-digits_sid"):
        (place / "runs" / name).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["run", "toy.toml", "--runs", "made"]) == 0
    shutil.move(place / "made" / "0001-toy", place / "runs" / "0020-toy")
    shutil.rmtree(place / "made")
    half = place / "runs" / "0021-half"
    shutil.copytree(
        place / "runs" / "0020-toy", half, ignore=shutil.ignore_patterns("result", "exit.json", "report.html")
    )
    (half / "run.json").write_text(json.dumps({**json.loads((half / "run.json").read_text()), "fingerprint": "0" * 16}))
    return place


@pytest.fixture
def runs(used: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(used)
    return used / "runs"


def one_error(told: str) -> str:
    """The one thing that is wrong, on one line: `error: ...`, or the only problem of a recipe with its hint."""
    lines = [line for line in told.splitlines() if line.strip() and not line.startswith("warning: ")]
    if re.match("1 problem in .*; nothing was run.", lines[0]):
        assert len(lines) <= 3, told
    else:
        assert len(lines) == 1 and lines[0].startswith("error: "), told
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_told_with_the_way_out(line: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(runs.parent.rglob("[!.]*"))
    code, told = MISTAKES[line]
    capsys.readouterr()
    assert main(shlex.split(line)) == code
    assert told in one_error(capsys.readouterr().err)
    assert sorted(runs.parent.rglob("[!.]*")) == before


EXTRAS = {
    "wandb": ("run toy.toml --seed 7 --log wandb", "pip install 'distillkit-loggers[wandb]'"),
    "tensorboard": ("run toy.toml --seed 8 --log tensorboard", "pip install 'distillkit-loggers[tensorboard]'"),
    "shtab": ("completion bash", "pip install 'distillkit[completion]'"),
    "huggingface_hub": ("pull somebody/student", "pip install 'distillkit[hub]'"),
}


@pytest.mark.parametrize("module", EXTRAS)
def test_an_extra_that_is_missing_is_named_with_the_line_to_install(
    module: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line, told = EXTRAS[module]
    monkeypatch.setitem(sys.modules, module, None)
    assert main(shlex.split(line)) == 2
    assert told in one_error(capsys.readouterr().err)


def test_a_port_in_use_is_told(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["watch", "--port", str(taken.getsockname()[1])]) == 2
    assert "0 takes one that is free" in one_error(capsys.readouterr().err)


def test_there_are_mistakes_of_many_kinds() -> None:
    assert len(MISTAKES) + len(EXTRAS) + 1 >= 90
    assert {line.split()[0] for line in MISTAKES} >= {*COMMANDS} - {"push", "pull", "schema", "doctor", "completion"}


NAMES = {"1": "0001-a", "0012": "0012-digits_sid", "12": "0012-digits_sid", "0012-dig": "0012-digits_sid",
         "digits_sid": "0012-digits_sid"}  # fmt: skip


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_a_run_is_found_by_its_number_or_the_beginning_of_its_name(text: str, name: str, runs: Path) -> None:
    from distillkit.cli.runs import run_path

    assert run_path(text) == Path("runs") / name


def test_what_is_there_is_meant_as_it_is_written(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distillkit.cli.runs import run_path

    monkeypatch.chdir(tmp_path)
    (tmp_path / "1").mkdir()
    shutil.copytree(runs, "runs")
    assert run_path("1") == Path("1") and run_path("runs/0001-a") == Path("runs/0001-a")
    assert run_path("nobody") == Path("nobody")  # the command says what is missing


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_alone_it_shows_its_commands_in_groups_and_three_examples(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert all(f"\n{group}\n" in shown for group in GROUPS) and all(f"  {name} " in shown for name in COMMANDS)
    assert shown.count("  distillkit ") == 3


def test_a_command_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--help"]) == 0
    assert "usage: distillkit sample" in capsys.readouterr().out
