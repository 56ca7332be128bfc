"""Checkpoints, run folders and commands that are not what they should be, each with what a person is told."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from distillkit.api import Choice
from distillkit.api.slots import NoSlot

START = 'checkpoint = "net"'
SCRATCH = 'init = "scratch"\nema = "none"\n\n[generator.network]\nuse = "mlp"\nwidth = 128\n'
TEACHER = '[teacher_score]\nuse = "gaussian-mixture"'


def card(**changes: object) -> Callable[[Path], None]:
    def change(net: Path) -> None:
        path = net / "student.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda net: (net / name).write_text(content)


def cut(net: Path) -> None:
    path = net / "student.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def other_weights(net: Path) -> None:
    path = net / "student.safetensors"
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: tensor[:1].clone() for name, tensor in tensors.items()}, path)


WEIGHTS = "student.safetensors"
# name -> (what happened to a good network, words of the answer)
NETWORKS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no such path": (shutil.rmtree, ("net is missing", "a result folder")),
    "an empty folder": (lambda net: (shutil.rmtree(net), net.mkdir()), ("net/student.safetensors is missing",)),
    "a file of another kind": (lambda net: (shutil.rmtree(net), net.write_text("x")), ("/net",)),
    "no weights": (lambda net: (net / WEIGHTS).unlink(), ("net/student.safetensors is missing",)),
    "no card": (lambda net: (net / "student.json").unlink(), ("net/student.json is missing",)),
    "weights cut short": (cut, ("net/student.safetensors: damaged",)),
    "weights that are text": (text(WEIGHTS, "hello"), ("net/student.safetensors: damaged",)),
    "weights that are empty": (text(WEIGHTS, ""), ("net/student.safetensors: damaged",)),
    "weights of other shapes": (other_weights, ("does not fit 'mlp' of its card", "size mismatch")),
    "card that is no JSON": (text("student.json", "{"), ("net/student.json: not the card of a network",)),
    "card that is a list": (text("student.json", "[]"), ("net/student.json: not the card of a network",)),
    "card 5000 deep": (text("student.json", "[" * 5000), ("net/student.json: not the card of a network",)),
    "card of tomorrow": (card(format=2), ("not a card this version reads", "format")),
    "card of an unknown network": (card(network={"use": "mpl"}), ('no network named "mpl"', 'did you mean "mlp"?')),
    "card with an unknown key": (card(network={"use": "mlp", "wdth": 3}), ("network.wdth unknown key", "width")),
    "card with a size that is true": (card(resolution=True), ("not a card this version reads", "resolution")),
    "card with a negative size": (card(resolution=-1), ("not a card this version reads", "resolution")),
    "card with an absurd size": (card(resolution=10**6), ("not a card this version reads", "resolution, channels")),
    "card with a size beyond numbers": (card(channels=10**400), ("not a card this version reads", "channels")),
    "card of a megabyte": (
        card(recipe="x" * 2**20),
        ("net/student.json: not the card of a network", "at most 1048576"),
    ),
    "card of blocks without end": (card(network={"use": "mlp", "depth": 10**8}), ("tells of a larger network",)),
    "card of blocks without bounds": (
        card(network={"use": "mlp", "width": 10**8}),
        ("tells of a larger network",),
    ),
    "card of a network that fits no image": (
        card(network={"use": "edm-ddpmpp", "channel_mult": [1] * 400}),
        ("no network can be made of this card: channel_mult has 400 levels",),
    ),
    "card whose seed is text": (card(seed="1"), ("not a card this version reads", "seed")),
    "card whose images are text": (card(nimg="1"), ("not a card this version reads", "nimg")),
    "card whose versions are numbers": (card(versions={"a": 1}), ("not a card this version reads", "versions")),
    "card of other images": (card(label_dim=3), ("does not fit 'mlp' of its card", "size mismatch")),
}


@pytest.mark.parametrize("place", ["generator", "teacher"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_cannot_be_read_is_told_as_such(lab, name, place):
    damage, words = NETWORKS[name]
    shutil.copytree(lab / "runs" / "0001-x" / "result", lab / "net")
    (lab / "net" / "manifest.json").unlink()  # which would tell, and no more than that it is damaged
    damage(lab / "net")
    if place == "generator":
        lab.edit((SCRATCH, START))
    else:
        lab.edit((TEACHER, f'[teacher_score]\nuse = "network"\n{START}'))
    lab.refused(["run", "x.toml"], 3, *words)


@pytest.mark.parametrize(
    "shape", [{"resolution": 8}, {"channels": 3}, {"label_dim": 4}], ids=["resolution", "channels", "labels"]
)
@pytest.mark.parametrize(("table", "old", "new"), [
    ("generator", SCRATCH, START), ("teacher_score", TEACHER, f'[teacher_score]\nuse = "network"\n{START}'),
])  # fmt: skip
def test_a_network_for_other_images_is_refused(lab, table, old, new, shape):
    from distillkit.builtin.mlp import Mlp
    from distillkit.networks import network_file

    shape = {"resolution": 1, "channels": 2, "label_dim": 0} | shape
    mlp = Choice("network", "mlp", Mlp, Mlp.Config(), NoSlot())
    network_file.save(lab / "net", network_file.new_network(mlp, **shape), {})
    lab.edit((old, new))
    words = f"the network is for {shape['channels']} channels, {shape['resolution']} px, {shape['label_dim']} labels"
    lab.refused(["run", "x.toml"], 2, f"{table}: {words}", "the data set has 2 channels, 1 px, 0 labels")


def test_a_closed_form_teacher_for_other_images_is_refused(lab):
    lab.edit(('[dataset]\nuse = "gaussian-mixture"\nsize = 256', '[dataset]\nuse = "digits"'))
    lab.refused(["run", "x.toml"], 2, "teacher_score: a mixture of Gaussians", "[2, 1, 1]", "[1, 8, 8]")


# name -> (what happened to the folder of a run that was stopped half-way, exit code, words of the answer)
def stopped(run: Path) -> None:
    shutil.rmtree(run / "result")
    shutil.rmtree(run / "checkpoints" / "kimg-000000.128")
    (run / "exit.json").unlink()


def damaged(run: Path) -> None:
    stopped(run)
    for path in run.glob("checkpoints/*/networks.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])


def of_another_recipe(run: Path) -> None:
    from distillkit.disk import checkpoint

    stopped(run)
    tensors, meta, path = checkpoint.load_newest(run / "checkpoints", "cpu")
    shutil.rmtree(path)
    thin = {name: tensor[:1] if tensor.ndim else tensor for name, tensor in tensors.items()}
    checkpoint.save(run / "checkpoints", 64, thin, meta, keep=2)


def edited(run: Path) -> None:
    stopped(run)
    path = run / "resolved.toml"
    path.write_text(path.read_text().replace("alpha = 1.0", "alpha = 1.1"))


RESUMES: dict[str, tuple[Callable[[Path], object], int, tuple[str, ...]]] = {
    "no such folder": (shutil.rmtree, 2, ("0001-x is not a run folder",)),
    "a folder that is no run": (lambda run: (run / "run.json").unlink(), 2, ("not a run folder", "no run.json")),
    "run.json that is no JSON": (text("run.json", "{"), 3, ("cannot read runs/0001-x/run.json",)),
    "run.json without fingerprint": (text("run.json", "{}"), 3, ("run.json has no fingerprint",)),
    "a recipe that was edited": (edited, 2, ("other plugins or an edited recipe", "run the recipe anew")),
    "no resolved recipe": (lambda run: (run / "resolved.toml").unlink(), 2, ("resolved.toml", "no such file")),
    "nothing but damaged checkpoints": (damaged, 3, ("no undamaged checkpoint", "damaged-kimg-000000.064", "remove")),
    "a checkpoint of another recipe": (of_another_recipe, 3, ("the checkpoint does not fit this recipe",)),
    "a result that is gone": (lambda run: shutil.rmtree(run / "result"), 3, ("runs/0001-x/result", "--again")),
    "a result that is damaged": (text("result/metrics.json", "{"), 3, ("result/metrics.json", "--again")),
    "exit.json that is no JSON": (text("exit.json", "{"), 3, ("cannot read runs/0001-x/exit.json",)),
}


@pytest.mark.parametrize("name", RESUMES)
def test_a_run_that_cannot_go_on_is_told_as_such(lab, name):
    damage, code, words = RESUMES[name]
    damage(lab / "runs" / "0001-x")
    warnings = 1 if name in ("nothing but damaged checkpoints", "exit.json that is no JSON") else 0
    lab.refused(["run", "--resume", "runs/0001-x"], code, *words, warnings=warnings, touched=True)


def test_a_run_in_use_by_another_process_is_left_alone(lab):
    stopped(lab / "runs" / "0001-x")
    with subprocess.Popen(
        [sys.executable, "-c", "import fcntl; f = open('runs/0001-x/lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
         "f.write('process 12345 on elsewhere'); f.flush(); print(flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        other.stdout.readline()
        words = ("runs/0001-x is in use by process 12345 on elsewhere", "wait for it, or stop it")
        lab.refused(["run", "x.toml"], 2, *words)
        lab.refused(["run", "--resume", "runs/0001-x"], 2, *words)
        other.communicate(b"\n")


def test_a_full_disk_loses_no_checkpoint(lab):
    run = lab / "runs" / "0001-x"
    stopped(run)
    before = {path: path.read_bytes() for path in run.glob("checkpoints/**/*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        words = "the page failed: disk full", "cannot save", "File too large", "make room", "intact"
        lab.refused(["run", "x.toml"], 5, *words, touched=True, warnings=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in run.glob("checkpoints/**/*") if path.is_file()} == before
    assert not list(run.rglob(".tmp-*"))
    assert json.loads((run / "exit.json").read_text())["code"] == 5


# command line -> words of the answer
COMMANDS: dict[str, tuple[str, ...]] = {
    "fly": ("no command 'fly'", "distillkit alone lists them"),
    "run": ("give a RECIPE to run, or --resume RUN",),
    "run x.toml --resume runs/0001-x": ("give a RECIPE to run, or --resume RUN",),
    "run --resume runs/0001-x --set run.kimg=1": ("--resume goes on with a run as it is",),
    "run x.toml --seed -1": ("a seed is a whole number from 0 to 2**32 - 1",),
    "run x.toml --seeds 1,1": ("a seed occurs twice",),
    "run x.toml --runs x.toml": ("x.toml", "Not a directory"),
    "run x.toml --runs /proc/distillkit": ("cannot make a run folder in /proc/distillkit", "choose another place"),
    "check none.toml": ("no such file",),
    "plugins diggits": ('no dataset named "diggits"', 'did you mean "digits"?'),
    "plugins qqqq": ('no plugin offers "qqqq"', "lists what is installed"),
    "plugins --kind losses": ("no kind of component is called 'losses'", "generator_loss"),
    "report runs": ("runs: not a run directory", "metrics.jsonl"),
    "report nowhere": ("nowhere: no such run directory",),
}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_wrong_command_is_told_as_such(lab, line):
    lab.refused(line.split(), 2, *COMMANDS[line])


def test_a_gpu_that_is_not_there_is_told(lab, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ('run.device = "cuda"', "no GPU", 'write "cpu" or "auto"')
    lab.refused(["run", "x.toml", "--again", "--set", "run.device=cuda"], 2, *words)
