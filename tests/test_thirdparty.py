"""A distribution that the core has never heard of, next to broken and hostile ones, as its users meet it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Written from the documents of 0.1.0, and not to be changed: what they promised works for one release.
STRANGER = Path(__file__).parent / "thirdparty" / "distillkit-toyloss"
TOLD = "DeprecationWarning: state.add_critic(name, init, optimizer) goes with distillkit 0.2: write state.add_network("
TRAP = """
import pathlib
pathlib.Path(__file__).with_suffix(".sprung").touch()
from distillkit.api import Sample


class Trapped(Sample):
    '''Looks harmless.'''
"""
NAMED = """
import sys
from distillkit.recipe import RecipeProblems, read
try:
    read("recipes/gaussians_toy.toml", sys.argv[1:])
except RecipeProblems as problems:
    print(problems, file=sys.stderr)
    sys.exit(problems.exit_code)
"""  # what `distillkit check` does, without waiting for torch
LOSS = """
from distillkit.api import GeneratorLoss


class Loss(GeneratorLoss):
    '''Another one.'''
"""


def publish(site: Path, name: str, group: str, offer: str, source: str, needs: str = "distillkit>=0.1") -> None:
    """An installed distribution: its metadata and its module."""
    module = name.replace("-", "_")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {needs}\n"
    (info / "METADATA").write_text(head)
    (info / "entry_points.txt").write_text(f"[distillkit.{group}]\n{offer}\n")
    (site / f"{module}.py").write_text(source)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on PYTHONPATH with the stranger's wheel, installed by pip without any network, and bad neighbours."""
    root = tmp_path_factory.mktemp("thirdparty")
    source, site = root / "source", root / "site"
    shutil.copytree(STRANGER, source)
    for command in (
        ["hatchling", "build", "-t", "wheel"],
        ["pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), "--find-links", "dist", "--pre",
         "distillkit-toyloss"],
    ):  # fmt: skip
        subprocess.run([sys.executable, "-m", *command], cwd=source, check=True, capture_output=True)
    publish(site, "distillkit-trap", "sample", "trapped = distillkit_trap:Trapped", TRAP)
    publish(site, "distillkit-broken", "generator_loss", "broken = distillkit_broken:Loss", "import no_such_module")
    publish(site, "distillkit-future", "generator_loss", "later = distillkit_future:Loss", LOSS, "distillkit>=7")
    publish(site, "distillkit-twin-a", "generator_loss", "twin = distillkit_twin_a:Loss", LOSS)
    publish(site, "distillkit-twin-b", "generator_loss", "twin = distillkit_twin_b:Loss", LOSS)
    publish(site, "distillkit-typo", "generater_loss", "typo = distillkit_typo:Loss", LOSS)
    return site


class Shell:
    """Runs the command line in an empty folder, as somebody who has installed all that."""

    def __init__(self, site: Path, folder: Path) -> None:
        self.site, self.folder = site, folder
        self.env = {
            **os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "200",
            "DISTILLKIT_HOME": str(folder / "home"),
        }  # fmt: skip

    def python(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True, check=False
        )

    def distillkit(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "distillkit", *arguments, **env)

    @property
    def sprung(self) -> bool:
        return (self.site / "distillkit_trap.sprung").exists()


@pytest.fixture
def shell(site: Path, tmp_path: Path) -> Shell:
    shutil.copytree(STRANGER / "recipes", tmp_path / "recipes")
    (site / "distillkit_trap.sprung").unlink(missing_ok=True)
    return Shell(site, tmp_path)


def test_it_is_listed_with_its_summary_and_explained_with_its_keys(shell: Shell) -> None:
    listed = shell.distillkit("plugins")
    assert listed.returncode == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("toy-diff-instruct")]
    assert "Diff-Instruct: push x along D_fake - D_real at one noise level" in line and "toyloss" in line
    page = shell.distillkit("plugins", "toy-diff-instruct")
    assert page.returncode == 0 and "distillkit-toyloss 1.2.3" in page.stdout
    for key, default, meaning in (("P_mean", "-1.2", "mean of ln sigma"), ("lr", "1e-05", "of the fake score")):
        (line,) = [line for line in page.stdout.splitlines() if line.startswith(f"{key} ")]
        assert "number" in line and default in line and meaning in line
    assert not shell.sprung


def test_its_recipe_is_checked_and_runs(shell: Shell) -> None:
    checked = shell.distillkit("check", "recipes/gaussians_toy.toml", "--full")
    assert checked.returncode == 0, checked.stderr
    assert 'use = "toy-diff-instruct"' in checked.stdout and 'distillkit-toyloss = "1.2.3"' in checked.stdout
    ran = shell.distillkit("run", "recipes/gaussians_toy.toml")
    assert ran.returncode == 0, ran.stderr
    (folder,) = (shell.folder / "runs").glob("[0-9]*")
    metrics = json.loads((folder / "result" / "metrics.json").read_text())["metrics"]
    assert metrics["mixture/sw2"] < 0.5  # of points that start 1.2 off on average
    assert not shell.sprung


def test_a_wrong_key_of_it_is_told_like_one_of_ours(shell: Shell) -> None:
    refused = shell.python("-c", NAMED, "generator_loss.P_sdt=1.0")
    assert refused.returncode == 2
    assert "generator_loss.P_sdt  unknown key" in refused.stderr and "did you mean P_std?" in refused.stderr


def test_its_contract_holds_for_somebody_who_has_the_wheel_only_and_new_forms_are_told(shell: Shell) -> None:
    shutil.copytree(STRANGER / "tests", shell.folder / "tests")
    tested = shell.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout and "skipped" not in tested.stdout
    assert TOLD in tested.stdout
    assert not shell.sprung


def test_what_is_not_named_is_imported_by_verify_alone(shell: Shell) -> None:
    verified = shell.distillkit("plugins", "--verify")
    assert shell.sprung
    assert verified.returncode == 2
    assert "ok      sample trapped" in verified.stdout and "ok      generator_loss toy-diff-instruct" in verified.stdout
    assert "broken  generator_loss broken" in verified.stdout and "broken  generator_loss later" in verified.stdout


def test_every_bad_neighbour_is_listed_with_the_way_out(shell: Shell) -> None:
    told = shell.distillkit("plugins").stderr.splitlines()
    for distribution, wrong in {
        "distillkit-future": "it needs distillkit >=7, and this is 0.1.0",
        "distillkit-typo": '"distillkit.generater_loss" is no kind; did you mean distillkit.generator_loss?',
        "distillkit-twin-a": 'generator_loss "twin" is offered by distillkit-twin-a 1.0',
    }.items():
        (line,) = [line for line in told if line.startswith(f"warning: {distribution}: ")]
        assert wrong in line
    (clash,) = [line for line in told if "twin" in line]
    assert clash.endswith("uninstall one, or set DISTILLKIT_DISABLE=distillkit-twin-b")
    assert not shell.sprung


@pytest.mark.parametrize(
    ("name", "wrong", "way_out"),
    [
        ("broken", "No module named 'no_such_module'", "pip uninstall distillkit-broken, or set DISTILLKIT_DISABLE="),
        ("later", "it needs distillkit >=7, and this is 0.1.0", "pip uninstall distillkit-future, or set"),
        ("twin", "is offered by distillkit-twin-a 1.0", "uninstall one, or set DISTILLKIT_DISABLE=distillkit-twin-b"),
        ("typo", 'no generator_loss named "typo"', "installed: "),
    ],
)
def test_a_bad_neighbour_is_explained_when_it_is_named(shell: Shell, name: str, wrong: str, way_out: str) -> None:
    refused = shell.python("-c", NAMED, f"generator_loss.use={name}")
    assert refused.returncode == 2
    assert wrong in refused.stderr and way_out in refused.stderr and "Traceback" not in refused.stderr


def test_a_disabled_distribution_is_not_there(shell: Shell) -> None:
    disabled = {"DISTILLKIT_DISABLE": "distillkit-toyloss,distillkit-twin-b"}
    listed = shell.distillkit("plugins", **disabled)
    assert "toy-diff-instruct" not in listed.stdout and "is offered by" not in listed.stderr
    refused = shell.python("-c", NAMED, **disabled)
    assert refused.returncode == 2 and 'no generator_loss named "toy-diff-instruct"' in refused.stderr
