"""Parts that do not go together, and plugins that break their promises, each with what a person is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# name -> (--set, exit code, words of the answer): recipes that read well but cannot be built
SETTINGS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "freeze nothing": (('generator.freeze=["enc.*"]',), 2, ("generator.freeze", "'enc.*'", "hidden.0.weight")),
    "freeze everything": (('generator.freeze=["*"]',), 2, ("generator.freeze", "nothing would train")),
    "dropout without dropout": (("generator.dropout=0.1",), 2, ("generator.dropout", "'mlp' has no key 'dropout'")),
    "adversary without encoder": (
        ("generator_loss={use='dmd2', features='teacher'}",), 2,
        ("encoder of a U-Net", "a teacher in closed form has none", "or no GAN"),
    ),
    "copy of a closed form": (
        ("generator.network={use='mlp'}", "generator={init='teacher'}"), 2,
        ('init = "teacher"', "this teacher_score is no network", 'init = "scratch"'),
    ),
    "teacher without checkpoint": (
        ("teacher_score.use=network",), 2, ("teacher_score.checkpoint is missing", "from ="),
    ),
    "closed form from a recipe": (
        ("teacher_score.from=y.toml",), 2, ("teacher_score.from", "takes no checkpoint", "nothing was run.")
    ),
    "distilling nothing": (("teacher_score.use=toy-none",), 2, ("no component", "the hook 'teacher_score'")),
    "data larger than memory": (("dataset.size=1000000000000000",), 2, ("dataset.size  must be <=",)),
    "network larger than memory": (("generator.network.width=100000000000000",), 5, ("out of memory",)),
    "metric of other images": (("dataset.use=digits",), 2, ("a mixture of Gaussians", "[1, 8, 8]")),
    "no data": (("dataset.use=toy-empty",), 3, ("dataset 'toy-empty' holds no images",)),
    "data that is not there": (("dataset.use=toy-lost",), 3, ("toy.bin: no such file",)),
    "learning rate absurdly large": (
        ("generator.optimizer.lr=1e30", "run.kimg=1"), 4,
        ("not finite", "last good checkpoint is runs/0002-x/checkpoints/kimg-"),
    ),
    "loss that becomes nan": (
        ("generator_loss={use='toy-nan'}", "run.kimg=0.32"), 4,
        ("not finite", "loss = nan", "last good checkpoint is runs/0002-x/checkpoints/kimg-000000.128"),
    ),
    "loss that becomes nan before anything was saved": (
        ("generator_loss={use='toy-nan'}", "run.kimg=0.32", "run.checkpoint_kimg=1"), 4, ("there is no checkpoint yet",)
    ),
    "loss of a wrong shape": (("generator_loss={use='toy-scalar'}",), 2, ("generator_loss", "one loss per image")),
    "plugin without what it imports": (
        ("evaluate.0={use='toy-broken'}",), 2,
        ("nothing was run.", 'evaluate "toy-broken"', "No module named 'nowhere_at_all'", "distillkit-toy"),
    ),
    "plugin of another class": (("evaluate.0={use='toy-wrong'}",), 2, ("nothing was run.", "it is no subclass of",)),
    "plugin with an unknown hook": (("evaluate.0={use='toy-hook'}",), 2, ("toy_parts:Hook", "after_stop")),
}  # fmt: skip

TRAINED = {
    "learning rate absurdly large", "loss that becomes nan", "loss that becomes nan before anything was saved",
}  # fmt: skip

ENTRY_POINTS = """\
[distillkit.dataset]
toy-empty = toy_parts:Empty
toy-lost = toy_parts:Lost
[distillkit.teacher_score]
toy-none = toy_parts:NoTeacher
[distillkit.generator_loss]
toy-nan = toy_parts:Nan
toy-scalar = toy_parts:Scalar
[distillkit.evaluate]
toy-text = toy_parts:Text
toy-list = toy_parts:List
toy-broken = toy_broken:Broken
toy-wrong = toy_parts:Nan
toy-hook = toy_parts:Hook
toy-full = toy_parts:Full
"""
SOURCE = '''
import errno
import os

from distillkit.api import Dataset, Evaluate, GeneratorLoss, InputError, TeacherScore, hookimpl

class Points(Dataset):
    resolution, channels, shape = 1, 2, (2, 1, 1)

    def __len__(self):
        return 0

class Empty(Points):
    """No images."""

class Lost(Points):
    """No file."""

    def open(self, root):
        raise InputError("toy.bin: no such file")

class NoTeacher(TeacherScore):
    """No hook."""

class Nan(GeneratorLoss):
    """Not a number after 64 images."""

    recipe_defaults = {"sample": {"use": "one-step"}}

    @hookimpl
    def generator_loss(self, state, step):
        loss = step.x.square().flatten(1).sum(1)
        return loss * float("nan") if state.nimg >= 64 else loss

class Scalar(GeneratorLoss):
    """One number."""

    @hookimpl
    def generator_loss(self, step):
        return step.x.square().mean()

class Text(Evaluate):
    """Words."""

    @hookimpl
    def evaluate(self, draw):
        return {"score": "great"}

class List(Evaluate):
    """A list."""

    @hookimpl
    def evaluate(self, draw):
        return [1.0]

class Hook(Evaluate):
    """A hook that there is not."""

    @hookimpl
    def evaluate(self, draw):
        return {}

    @hookimpl
    def after_stop(self, state):
        pass

class Full(Evaluate):
    """A disk without room."""

    @hookimpl
    def evaluate(self, draw):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "features.bin")
'''


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution of broken components, installed beside the others."""
    site = tmp_path / "site"
    info = site / "distillkit_toy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: distillkit-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "toy_parts.py").write_text(SOURCE)
    (site / "toy_broken.py").write_text("import nowhere_at_all\n")
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("toy_parts", None)


@pytest.mark.parametrize("name", SETTINGS)
def test_what_cannot_be_built_or_breaks_is_told_as_such(lab, toys, name):
    sets, code, words = SETTINGS[name]
    arguments = [part for setting in sets for part in ("--set", setting)]
    trained = ["0002-x"] if name in TRAINED else []  # what was refused before that leaves no folder
    collapsed = name == "learning rate absurdly large"  # which the guard names before the run diverges
    told = lab.refused(["run", "x.toml", *arguments], code, *words, new_runs=trained, warnings=int(collapsed))
    assert ("collapsed at" in told) == collapsed


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("toy-text", ("score = 'great'", "expected a number")),
        ("toy-list", ("[1.0]", "expected {name: number}")),
        ("toy-full", ("No space left on device", "features.bin")),
    ],
)
def test_a_metric_that_fails_is_told_and_the_run_is_finished(lab, toys, metric, words):
    code, out, err = lab.give(["run", "x.toml", "--set", f"evaluate.0={{use='{metric}'}}"])
    assert code == 0 and "Traceback" not in out + err
    assert all(word in err for word in (f"evaluate '{metric}' failed", *words))
    assert metric in " ".join(out.split())  # the panel says it too
    assert (lab / "runs" / "0002-x" / "report.html").exists()
    assert "Traceback" in (lab / "runs" / "0002-x" / "log.txt").read_text()
    code, out, err = lab.give(["eval", "runs/0002-x"])
    assert code == (5 if metric == "toy-full" else 2)
